//! The whole messages of section 11: `testdata/errors/*.txt`, whose README.md has the format.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::{Captures, Regex};
use world::{Registry, Run, World};

#[test]
fn of_the_file() {
    table("file");
}

#[test]
fn of_from_lines() {
    table("from");
}

#[test]
fn of_words() {
    table("words");
}

#[test]
fn of_steps() {
    table("run");
}

#[test]
fn of_copies() {
    table("copy");
}

#[test]
fn of_settings() {
    table("settings");
}

#[test]
fn of_the_command_line() {
    table("flags");
}

/// Every row of section 11 has a message, but for those that say that there is no error.
#[test]
fn of_all_rows() {
    let tables = ["file", "from", "words", "run", "copy", "settings", "flags"];
    let titles: Vec<String> =
        tables.iter().flat_map(|name| read(&path(name)).1).map(|case| case.title).collect();
    let no_error = [78, 80];
    let rows = (1..=80).filter(|row| !no_error.contains(row)).map(|row| format!("ERR-{row:02}"));
    let has = |id: &String| titles.iter().any(|title| title.split(' ').any(|word| word == id));
    let missing: Vec<String> = rows.filter(|id| !has(id)).collect();
    assert!(missing.is_empty(), "rows without a message: {missing:?}");
}

/// One case of a table.
#[derive(Default)]
struct Case {
    title: String,
    /// Headings with their bodies, but for the last one.
    sections: Vec<(String, String)>,
    /// `exit N` and the message.
    want: String,
}

/// Runs the cases of a table in one world.
fn table(name: &str) {
    testkit::need!("docker-registry");
    let path = path(name);
    let (remark, mut cases) = read(&path);
    assert!(!cases.is_empty(), "{name} has no cases");
    let world = World::new();
    if !world.base() {
        return;
    }
    let registry = Registry::start(&world);
    let updates = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut failures = String::new();
    for case in &mut cases {
        let got = outcome(&world, &registry.address(), case);
        if got != case.want {
            write!(failures, "\n=== {}\n--- want\n{}--- got\n{got}", case.title, case.want)
                .unwrap();
            case.want = got;
        }
    }
    if updates {
        std::fs::write(&path, show(&remark, &cases)).unwrap();
    } else {
        assert!(failures.is_empty(), "{failures}");
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/errors")
        .join(name)
        .with_extension("txt")
}

fn read(path: &Path) -> (String, Vec<Case>) {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut remark, mut cases) = (String::new(), Vec::<Case>::new());
    for line in text.split_inclusive('\n') {
        let Some(case) = cases.last_mut().filter(|_| !line.starts_with("=== ")) else {
            match line.strip_prefix("=== ") {
                Some(title) => {
                    cases.push(Case { title: title.trim_end().to_owned(), ..Case::default() });
                }
                None => remark.push_str(line),
            }
            continue;
        };
        if line.starts_with("--- exit ") || !case.want.is_empty() {
            case.want.push_str(line);
        } else if let Some(heading) = line.strip_prefix("--- ") {
            case.sections.push((heading.trim_end().to_owned(), String::new()));
        } else {
            case.sections.last_mut().expect("a section is open").1.push_str(line);
        }
    }
    (remark, cases)
}

fn show(remark: &str, cases: &[Case]) -> String {
    let mut text = remark.to_owned();
    for case in cases {
        writeln!(text, "=== {}", case.title).unwrap();
        for (heading, body) in &case.sections {
            write!(text, "--- {heading}\n{body}").unwrap();
        }
        text.push_str(&case.want);
    }
    text
}

/// What became of a case, as its last section should say.
fn outcome(world: &World, registry: &str, case: &Case) -> String {
    let context = world.path("context");
    std::fs::remove_dir_all(&context).unwrap();
    std::fs::create_dir(&context).unwrap();
    let fill = |text: &str| {
        let text = text.replace("@registry@", registry).replace("@long@", &"x".repeat(70_000));
        text.replace("@world@", world.path("").to_str().unwrap())
    };
    let mut line = vec!["build".to_owned(), "--progress=none".to_owned(), ".".to_owned()];
    for (heading, body) in &case.sections {
        let (kind, rest) = heading.split_once(' ').unwrap_or((heading, ""));
        let words = || fill(rest).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        match kind {
            "Dockerfile" => world.dockerfile(&fill(body)),
            "file" => drop(world.write(&format!("context/{rest}"), fill(body))),
            "image" => {
                world.write("context/first", fill(body));
                world.build(&["-f", "first", "-t", &fill(rest)]).ok();
            }
            "build" => drop(line.splice(2..2, words())),
            "shale" => line = words(),
            _ => panic!("{}: unknown section {heading}", case.title),
        }
    }
    let arguments: Vec<&str> = line.iter().map(String::as_str).collect();
    plain(world, registry, &world.shale(&arguments))
}

/// The message without what differs from run to run.
fn plain(world: &World, registry: &str, run: &Run) -> String {
    assert!(!run.stderr.contains("panicked at"), "{run}");
    let text = run.stderr.replace(registry, "@registry@");
    let top = world.path("");
    let text = text.replace(top.to_str().unwrap().trim_end_matches('/'), "@world@");
    let long = Regex::new("x{60,}").unwrap();
    let text = long.replace_all(&text, |_: &Captures<'_>| "x…");
    let underline = Regex::new(r"\^{80,}").unwrap();
    let text = underline.replace_all(&text, |_: &Captures<'_>| "^…");
    let time = Regex::new(r"(?m)^\d+\.\d{3} ").unwrap();
    let text = time.replace_all(&text, |_: &Captures<'_>| "0.000 ");
    let code = run.code.expect("no signal ended it");
    format!("--- exit {code}\n{text}")
}
