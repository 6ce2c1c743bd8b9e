//! What is an input of a step's key and what is not: each row of testdata/keys/matrix.txt, through the built program.
//!
//! A row builds, changes one thing, and builds again. Named are exactly the steps that run in the second build. Then a
//! build without the cache must give the same image, byte for byte: a hit that was wrong would differ.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use testkit::need;
use world::cases::Site;
use world::{Registry, Run, World};

/// The issue asks for so many inputs at least.
const ROWS_MIN: usize = 70;
const ROWS_AT_ONCE: usize = 3;

/// One input of the matrix.
#[derive(Debug, Default)]
struct Row {
    /// `INSTRUCTION: input`.
    input: String,
    /// The behaviours, or where they were seen.
    from: String,
    needs_root: bool,
    dockerfile: String,
    setup: String,
    change: String,
    /// Arguments of the first build, and of the second when they are others.
    first: String,
    then: Option<String>,
    /// Shell text that the second build runs through; `"$@"` is the command.
    via: Option<String>,
    /// The image is not the one that a build without the cache would make, on purpose.
    is_stale_by_design: bool,
    /// Beginnings of the names of the steps that run, sorted.
    ran: Vec<String>,
}

#[test]
fn every_row_of_the_matrix() {
    need!("busybox", "docker-registry", "git");
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/keys/matrix.txt");
    let rows = parse(&std::fs::read_to_string(testdata).unwrap());
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let world = World::new();
    assert!(world.base());
    let grounds = Grounds {
        site: Site::start(),
        registry: Registry::start(&world),
        only: std::env::var("SHALE_ROWS").ok(),
        world,
    };
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..ROWS_AT_ONCE {
            scope.spawn(|| {
                while let Some((number, row)) = numbered(&rows, &next) {
                    if let Err(text) = grounds.judge(number, row) {
                        failed.lock().unwrap().push((number, text));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let told: Vec<String> = failed.into_iter().map(|(_, text)| text).collect();
    assert!(told.is_empty(), "{} of {} rows:\n{}", told.len(), rows.len(), told.join("\n"));
}

fn numbered<'a>(rows: &'a [Row], next: &AtomicUsize) -> Option<(usize, &'a Row)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    rows.get(number).map(|row| (number, row))
}

/// What all rows share.
struct Grounds {
    site: Site,
    /// Ends before the world looks for what is left over.
    registry: Registry,
    /// `SHALE_ROWS`: only rows with this in their title.
    only: Option<String>,
    world: World,
}

impl Grounds {
    fn judge(&self, number: usize, row: &Row) -> Result<(), String> {
        let skipped = self.only.as_ref().is_some_and(|only| !row.input.contains(only.as_str()));
        if skipped || (row.needs_root && !testkit::need::is_met(&["root"])) {
            return Ok(());
        }
        let place = Place::new(self, number);
        let wrong = |what: &str, run: &Run| format!("{} ({}): {what}\n{run}", row.input, row.from);
        place.prepare(row).map_err(|text| format!("{}: {text}", row.input))?;
        let first = place.build(&row.first, None, None);
        if first.code != Some(0) {
            return Err(wrong("the first build failed", &first));
        }
        place.script(&row.change).map_err(|text| format!("{}: {text}", row.input))?;
        self.site.serve(&place.name, &place.http());
        let then = row.then.as_deref().unwrap_or(&row.first);
        let second = place.build(then, row.via.as_deref(), Some("second"));
        if second.code != Some(0) {
            return Err(wrong("the second build failed", &second));
        }
        let mut ran: Vec<String> = second.ran().iter().map(|name| without_place(name)).collect();
        ran.sort();
        let fits = |(name, want): (&String, &String)| {
            name.starts_with(&want.replace("@base@", &place.name))
        };
        if ran.len() != row.ran.len() || !ran.iter().zip(&row.ran).all(fits) {
            return Err(wrong(&format!("ran {ran:?}, not {:?}", row.ran), &second));
        }
        let anew = place.build(&format!("{then} --no-cache"), row.via.as_deref(), Some("anew"));
        if anew.code != Some(0) {
            return Err(wrong("the build without the cache failed", &anew));
        }
        if (place.image("second") == place.image("anew")) == row.is_stale_by_design {
            let what = match row.is_stale_by_design {
                true => "the image is up to date after all",
                false => "the image is not what a build without the cache makes",
            };
            return Err(wrong(what, &second));
        }
        let _ = std::fs::remove_dir_all(&place.top);
        Ok(())
    }
}

/// `COPY f /x` of `[main 2/3] COPY f /x`.
fn without_place(name: &str) -> String {
    name.split_once("] ").map_or(name, |(_, text)| text).to_owned()
}

/// The directories of one row, a base image of its own, and what its scripts know.
struct Place<'a> {
    grounds: &'a Grounds,
    name: String,
    top: PathBuf,
}

impl<'a> Place<'a> {
    fn new(grounds: &'a Grounds, number: usize) -> Place<'a> {
        let name = format!("row-{number}");
        Place { grounds, top: grounds.world.path(&name), name }
    }

    fn context(&self) -> PathBuf {
        self.top.join("context")
    }

    fn http(&self) -> PathBuf {
        self.top.join("http")
    }

    fn prepare(&self, row: &Row) -> Result<(), String> {
        let write = |path: &str, text: &str| {
            let path = self.top.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("base/Dockerfile", &format!("FROM base\nRUN echo {} > /row\n", self.name));
        let base = self.top.join("base");
        self.grounds.world.shale(&["build", "-q", "-t", &self.name, base.to_str().unwrap()]).ok();
        let files = [("f", "one\n"), ("d/a", "a\n"), ("d/b", "b\n"), ("d/e/c", "c\n")];
        for (path, text) in files {
            write(&format!("context/{path}"), text);
        }
        std::fs::create_dir(self.http()).unwrap();
        let url = self.grounds.site.serve(&self.name, &self.http());
        write("context/Dockerfile", &self.said(&row.dockerfile, &url));
        self.script(&row.setup)?;
        self.grounds.site.serve(&self.name, &self.http());
        Ok(())
    }

    /// Replaces the words that stand for what is known only now.
    fn said(&self, text: &str, url: &str) -> String {
        let text = text.replace("@base@", &self.name).replace("@http@", url);
        text.replace("@registry@", &self.grounds.registry.address())
    }

    /// Runs shell text in the context directory.
    fn script(&self, text: &str) -> Result<(), String> {
        let url = self.grounds.site.serve(&self.name, &self.http());
        let text = format!("set -e\nshale() {{ \"$SHALE\" \"$@\"; }}\n{}", self.said(text, &url));
        let shale = self.grounds.world.command(&[]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(text);
        self.grounds.world.environment(&mut shell);
        shell.env("SHALE", shale.get_program()).env("HTTP_ROOT", self.http());
        shell.env("TOP", &self.top).current_dir(self.context()).stdin(Stdio::null());
        let run = Run::new(&mut shell);
        if run.code == Some(0) { Ok(()) } else { Err(format!("a script failed\n{run}")) }
    }

    /// Builds; with a name the image is kept as an archive.
    fn build(&self, arguments: &str, via: Option<&str>, archive: Option<&str>) -> Run {
        let mut command = vec!["build".to_owned()];
        let url = self.grounds.site.serve(&self.name, &self.http());
        let arguments = self.said(arguments, &url);
        let mut words = arguments.split_whitespace().peekable();
        if !arguments.contains("--progress") && !arguments.contains("-q") {
            command.push("--progress=plain".to_owned());
        }
        let is_context = |word: &&str| *word == "-" || !word.starts_with('-');
        let context = words.next_if(is_context).unwrap_or(".");
        command.extend(words.map(str::to_owned));
        if let Some(archive) = archive {
            let dest = self.archive(archive).to_string_lossy().into_owned();
            command.push(format!("--output=type=oci,rewrite-timestamp=true,dest={dest}"));
        }
        command.push(context.to_owned());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let shale = self.grounds.world.command(&command);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(via.unwrap_or(r#"exec "$@""#)).arg("sh");
        shell.arg(shale.get_program()).args(shale.get_args());
        self.grounds.world.environment(&mut shell);
        shell.env("SOURCE_DATE_EPOCH", "0").env("TOP", &self.top);
        shell.current_dir(self.context()).stdin(Stdio::null());
        Run::new(&mut shell)
    }

    fn archive(&self, name: &str) -> PathBuf {
        self.top.join(format!("{name}.tar"))
    }

    fn image(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.archive(name)).unwrap()
    }
}

/// Reads the table. Its head says how it is written.
fn parse(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if let Some(input) = line.strip_prefix("=== ") {
            rows.push(Row { input: input.to_owned(), ..Row::default() });
            continue;
        }
        let row = rows.last_mut().unwrap_or_else(|| panic!("{line:?} is in no row"));
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let add = |to: &mut String| {
            to.push_str(rest);
            to.push('\n');
        };
        match word {
            "|" => add(&mut row.dockerfile),
            "setup:" => add(&mut row.setup),
            "change:" => add(&mut row.change),
            "from:" => rest.clone_into(&mut row.from),
            "first:" => rest.clone_into(&mut row.first),
            "then:" => row.then = Some(rest.to_owned()),
            "via:" => row.via = Some(rest.to_owned()),
            "needs:" => row.needs_root = rest == "root",
            "stale:" => row.is_stale_by_design = rest == "yes",
            "ran:" if rest == "nothing" => {}
            "ran:" => row.ran.extend(rest.split("; ").map(str::to_owned)),
            _ => panic!("{line:?} means nothing"),
        }
    }
    for row in &mut rows {
        let has = [&row.from, &row.dockerfile].iter().all(|part| !part.is_empty());
        let differs = !row.change.is_empty() || row.then.is_some() || row.via.is_some();
        assert!(has && differs, "{row:?} lacks something");
        row.ran.sort();
    }
    rows
}
