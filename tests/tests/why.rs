//! Why steps run: `because …`, and `shale why` afterwards (docs/why.md).

use std::os::unix::fs::PermissionsExt as _;

use world::{Run, World};

const DOCKERFILE: &str = "\
FROM base AS build
ENV FOO=1
COPY src src
RUN cat src/* > /out

FROM base
COPY --from=build /out /out
RUN cat /out
";

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.write("context/src/api.ts", "api");
        world.write("context/src/main.ts", "main");
        world.dockerfile(DOCKERFILE);
        world.build(&["-t", "app"]).ok();
        world
    })
}

/// The reasons of the steps that ran, in the order in which they started, with the beginning of their instruction.
#[track_caller]
fn reasons(run: &Run) -> Vec<(String, String)> {
    run.ok();
    let lines: Vec<&str> = run.stderr.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((number, because)) = line.split_once(" because ") else { continue };
        let heading =
            lines[..at].iter().rev().find(|line| line.starts_with(&format!("{number} [")));
        let name = heading.expect("a step has its name").split_once("] ").expect("a place").1;
        let name: Vec<&str> = name.split(' ').take(2).collect();
        found.push((name.join(" "), because.to_owned()));
    }
    found
}

/// Stages run beside each other: the order does not count.
#[track_caller]
fn check(world: &World, arguments: &[&str], want: &[(&str, &str)]) {
    let run = world.build(arguments);
    let mut found = reasons(&run);
    let mut want: Vec<_> = want.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    found.sort();
    want.sort();
    assert_eq!(found, want, "{run}");
}

/// What a step is told to differ in: the lines behind `different`.
#[track_caller]
fn different(world: &World, step: &str) -> Vec<String> {
    let run = world.shale(&["why", step]);
    let text = run.ok();
    let lines = text.lines().skip_while(|line| !line.starts_with("different "));
    let of_it = lines.take_while(|line| line.starts_with("different ") || line.starts_with("  "));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    of_it.map(|line| words(line.trim_start_matches("different"))).collect()
}

#[test]
fn a_changed_file_is_named_and_what_follows_from_it() {
    let Some(world) = prepared() else { return };
    world.write("context/src/api.ts", "new api");
    check(
        &world,
        &["-t", "app"],
        &[
            ("COPY src", "src/api.ts changed"),
            ("RUN cat", "build:2 changed"),
            ("COPY --from=build", "out in stage build changed"),
            ("RUN cat", "stage-1:2 changed"),
        ],
    );
    assert_eq!(different(&world, "build:2"), ["src/api.ts content"]);
    assert_eq!(different(&world, "Dockerfile:3"), ["src/api.ts content"]);
    assert_eq!(different(&world, "stage-1:2"), ["out in stage build content"]);
    let said = world.shale(&["why"]);
    said.ok();
    for want in [
        "build:2     ran",
        "because src/api.ts changed",
        "instruction, base image base:latest, 1 of 2 files",
    ] {
        assert!(said.stdout.contains(want), "no {want:?}\n{said}");
    }
    check(&world, &["-t", "app"], &[]);
    let said = world.shale(&["why"]);
    assert!(said.ok().contains("Every step was cached."), "{said}");
    // What was cached in the meantime is still known.
    world.write("context/src/main.ts", "new main");
    let run = world.build(&["-t", "app"]);
    assert_eq!(reasons(&run)[0].1, "src/main.ts changed", "{run}");
}

#[test]
fn each_kind_of_change_has_its_word() {
    let Some(world) = prepared() else { return };
    world.dockerfile("FROM base\nCOPY src src\n");
    let because = |want: &str| check(&world, &[], &[("COPY src", want)]);
    // Of what the other Dockerfile copied: the instruction is the same.
    check(&world, &[], &[]);
    let api = world.path("context/src/api.ts");
    let chmod =
        |mode| std::fs::set_permissions(&api, std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o600);
    because("src/api.ts mode 0644 -> 0600");
    assert_eq!(different(&world, "2"), ["src/api.ts mode 0644 -> 0600"]);
    world.write("context/src/new.ts", "new");
    because("src/new.ts is new");
    std::fs::rename(world.path("context/src/new.ts"), world.path("context/src/other.ts")).unwrap();
    because("src/new.ts renamed to src/other.ts");
    assert_eq!(different(&world, "2"), ["src/other.ts renamed from src/new.ts"]);
    std::fs::remove_file(world.path("context/src/other.ts")).unwrap();
    std::fs::remove_file(world.path("context/src/main.ts")).unwrap();
    std::os::unix::fs::symlink("api.ts", world.path("context/src/main.ts")).unwrap();
    because("src/main.ts changed, -1 file");
    assert_eq!(different(&world, "2"), ["src/main.ts file -> link", "src/other.ts gone"]);
    world.write("context/src/api.ts", "2");
    world.write("context/src/d/one", "1");
    world.write("context/src/d/two", "2");
    because("src/api.ts changed, +2 files");
    std::fs::create_dir(world.path("context/src/empty")).unwrap();
    because("src/empty is new");
    // A name that would move the cursor is shown as what it is.
    world.write("context/src/\x1b[2J", "x");
    because("src/\\x1b[2J is new");
    assert_eq!(different(&world, "2"), ["src/\\x1b[2J new"]);
}

#[test]
fn variables_and_instructions_are_told_apart() {
    let Some(world) = prepared() else { return };
    let edit = |from: &str, to: &str| {
        let text = world.read("context/Dockerfile");
        assert!(text.contains(from));
        world.dockerfile(&text.replace(from, to));
    };
    edit("ENV FOO=1", "ENV FOO=hunter2");
    let run = world.build(&[]);
    let first = reasons(&run);
    assert_eq!(first, [("RUN cat".to_owned(), "ENV FOO changed".to_owned())], "{run}");
    let told = different(&world, "build:3");
    assert!(told.len() == 1 && told[0].starts_with("ENV FOO "), "{told:?}");
    edit("ENV FOO=hunter2", "ENV FOO=hunter2 BAR=x");
    assert_eq!(reasons(&world.build(&[]))[0].1, "ENV BAR is new");
    edit("RUN cat src/*", "USER root\nRUN cat src/*");
    assert_eq!(reasons(&world.build(&[]))[0].1, "USER changed");
    edit("RUN cat src/* > /out", "RUN cat src/a* > /out");
    assert_eq!(reasons(&world.build(&[]))[0].1, "instruction changed");
    // What else differs is known after the step.
    edit("COPY src src", "COPY --chmod=0644 src src");
    world.write("context/src/api.ts", "new api");
    assert_eq!(reasons(&world.build(&[]))[0].1, "--chmod changed");
    let told = different(&world, "build:2");
    assert!(told.len() == 2 && told[0].starts_with("--chmod "), "{told:?}");
    assert_eq!(told[1], "src/api.ts content");
    edit("COPY --chmod=0644 src src", "COPY src src");
    world.write("context/src/api.ts", "api");
    edit("RUN cat src/a* > /out", "RUN --network=none cat src/a* > /out");
    assert_eq!(reasons(&world.build(&[]))[0].1, "--network changed");
    edit("COPY src src", "COPY src src\nRUN echo put in between");
    let run = world.build(&[]);
    assert_eq!(reasons(&run)[0], ("RUN echo".to_owned(), "new step".to_owned()), "{run}");
    assert_eq!(reasons(&run)[1], ("RUN --network=none".to_owned(), "build:3 is new".to_owned()));
    edit("COPY src src", "COPY --chown=7:7 src src");
    assert_eq!(reasons(&world.build(&[]))[0].1, "--chown changed");
    // The values of variables are nobody's business.
    let json = world.shale(&["why", "--json", "all"]);
    assert!(!json.ok().contains("hunter2"), "{json}");
    for file in std::fs::read_dir(world.store().join("logs/builds")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn bases_stages_heredocs_and_mounts() {
    let Some(world) = prepared() else { return };
    world.write("context/m/a", "1");
    let text = "FROM base AS lib\nCOPY m/a /part\n\
                FROM base\nCOPY <<END /text\none\nEND\n\
                RUN --mount=target=/m,source=m cat /m/a > /a\n\
                RUN --mount=from=lib,source=/part,target=/p cat /p > /b\n";
    world.dockerfile(text);
    world.build(&[]).ok();
    world.write("context/m/a", "2");
    check(
        &world,
        &[],
        &[
            ("copy /m", "m/a changed"),
            ("COPY m/a", "m/a changed"),
            ("RUN --mount=target=/m,source=m", "m/a changed"),
            (
                "RUN --mount=from=lib,source=/part,target=/p",
                "part in stage lib changed, stage-1:3 changed",
            ),
        ],
    );
    world.dockerfile(&text.replace("one", "two"));
    let run = world.build(&[]);
    assert_eq!(reasons(&run)[0], ("COPY <<END".to_owned(), "its text changed".to_owned()), "{run}");
    assert_eq!(reasons(&run)[1].1, "stage-1:2 changed", "{run}");
    // Another base under the same name.
    world.write("context/other/Dockerfile", "FROM base\nRUN echo other > /other\n");
    let other = world.shale(&["build", "-q", "-t", "base", "other"]);
    other.ok();
    let run = world.build(&[]);
    assert!(reasons(&run).iter().any(|(_, why)| why == "base image base:latest changed"), "{run}");
    let told = different(&world, "lib:2");
    assert!(told.len() == 1 && told[0].starts_with("base image base:latest "), "{told:?}");
}

#[test]
fn flags_failures_and_what_was_pruned() {
    let Some(world) = prepared() else { return };
    let run = world.build(&["--no-cache-filter=build"]);
    assert_eq!(reasons(&run)[0].1, "--no-cache-filter", "{run}");
    let run = world.build(&["--no-cache"]);
    assert!(reasons(&run).iter().all(|(_, why)| why == "--no-cache"), "{run}");
    // One that is expected to be cached does not run, and is explained all the same.
    world.write("context/src/main.ts", "main, too");
    world.build(&["--expect-cached", "build:2"]).fails(7, &["because src/main.ts changed"]);
    let said = world.shale(&["why"]);
    for want in ["build:2     refused", "build:3     not reached", "src/main.ts   content"] {
        assert!(said.ok().contains(want), "no {want:?}\n{said}");
    }
    // A step that failed, then the same one again, then an edited one.
    let bad = "FROM base\nCOPY src src\nRUN test -e /flag\nRUN echo end\n";
    world.dockerfile(bad);
    world.build(&[]).fails(1, &["exit code: 1"]);
    let said = world.shale(&["why"]);
    for want in [", failed", "3      failed", "4      not reached"] {
        assert!(said.ok().contains(want), "no {want:?}\n{said}");
    }
    let again = world.build(&[]);
    assert!(again.stderr.contains("because it failed in the last build"), "{again}");
    world.dockerfile(&bad.replace("test -e /flag", "test -e /src"));
    let run = world.build(&[]);
    let want = [("RUN test", "instruction changed"), ("RUN echo", "first build")];
    let want = want.map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(reasons(&run), want, "{run}");
    // A step that has results of other files fails, is tried again, and then once more with other files.
    world.dockerfile("FROM base\nCOPY src src\nRUN ! grep bad src/api.ts\n");
    world.build(&[]).ok();
    let tried = |because: &str| {
        let run = world.build(&[]);
        run.fails(1, &["exit code: 1"]);
        assert!(run.stderr.contains(&format!("because {because}\n")), "no {because:?}\n{run}");
    };
    world.write("context/src/api.ts", "bad");
    tried("step 2 changed");
    tried("it failed in the last build");
    world.write("context/src/api.ts", "bad, too");
    tried("step 2 changed");
    // Everything that no tag needs goes.
    world.dockerfile("FROM base\nCOPY src src\nRUN echo pruned\n");
    world.build(&[]).ok();
    world.shale(&["cache", "prune", "--all", "--force"]).ok();
    let run = world.build(&[]);
    let found = reasons(&run);
    assert_eq!(found.last().unwrap().1, "result was pruned", "{run}");
}

/// `COPY . .` is the same instruction everywhere.
#[test]
fn another_project_with_the_same_instruction_is_no_predecessor() {
    let Some(world) = prepared() else { return };
    let build = |dir: &str| world.shale(&["build", "--progress=plain", dir]);
    for (dir, files) in [("one", "abcdef"), ("two", "uvwxyz")] {
        for file in files.chars() {
            world.write(&format!("context/{dir}/{file}"), format!("{dir} {file}"));
        }
        world.write(&format!("context/{dir}/Dockerfile"), "FROM base\nCOPY . /app\n");
        let run = build(dir);
        assert_eq!(reasons(&run)[0].1, "first build", "{run}");
    }
    // Each is compared with its own, also where it has been moved to another place.
    world.write("context/one/a", "changed");
    assert_eq!(reasons(&build("one"))[0].1, "a changed");
    std::fs::rename(world.path("context/one"), world.path("context/three")).unwrap();
    world.write("context/three/b", "changed");
    assert_eq!(reasons(&build("three"))[0].1, "b changed");
}

#[test]
fn a_password_in_the_url_of_the_dockerfile_is_in_no_log() {
    use std::io::{Read as _, Write as _};

    let Some(world) = prepared() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // Lives as long as this process.
    std::thread::spawn(move || {
        let text = "FROM base\nRUN echo from the web\n";
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", text.len());
            let _ = write!(stream, "{head}\r\nConnection: close\r\n\r\n{text}");
        }
    });
    let run = world.build(&["-f", &format!("http://u:hunter2@127.0.0.1:{port}/Dockerfile")]);
    let shown = format!("http://127.0.0.1:{port}/Dockerfile");
    let loaded = format!("load build definition from {shown}");
    run.ok();
    assert!(run.stderr.contains(&loaded), "{run}");
    let told = world.shale(&["why", "2"]);
    assert!(told.ok().contains(&format!("{shown}:2")), "{told}");
    let files = std::fs::read_dir(world.store().join("logs/builds")).expect("logs");
    let logs =
        files.map(|file| std::fs::read_to_string(file.expect("a log").path()).expect("text"));
    for text in logs.chain([run.stderr.clone(), told.stdout.clone()]) {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_is_asked_for_wrongly_is_answered() {
    let Some(world) = prepared() else { return };
    let unknown = world.shale(&["why", "build:9"]);
    unknown.fails(2, &["no step build:9", "build:2    COPY src src"]);
    world.shale(&["why", "nope"]).fails(2, &["no step nope"]);
    let empty = World::new();
    empty.shale(&["why"]).fails(1, &["no build", "shale build ."]);
    // A directory in which nothing was built: the last build of all.
    let elsewhere = world.shale(&["why"]);
    elsewhere.ok();
    let mut command = world.command(&["why"]);
    let there = Run::new(command.current_dir(world.path("tmp")));
    assert_eq!(there.ok(), elsewhere.ok());
    // A log that is damaged counts as absent.
    for file in std::fs::read_dir(world.store().join("logs/builds")).unwrap() {
        std::fs::write(file.unwrap().path(), "what").unwrap();
    }
    world.shale(&["why"]).fails(1, &["no build"]);
    world.write("context/src/api.ts", "still compared");
    assert_eq!(reasons(&world.build(&[]))[0].1, "src/api.ts changed");
}

#[test]
fn the_document_for_programs() {
    let Some(world) = prepared() else { return };
    world.write("context/src/api.ts", "new api");
    world.build(&[]).ok();
    let json = world.shale(&["why", "build:2", "--json"]);
    let document: serde_json::Value = serde_json::from_str(json.ok()).expect("JSON");
    assert_eq!(document["build"]["ok"], true);
    assert_eq!(document["steps"].as_array().map(Vec::len), Some(1));
    let step = &document["steps"][0];
    assert_eq!((&step["step"], &step["outcome"]), (&"build:2".into(), &"ran".into()));
    assert_eq!(step["because"], "src/api.ts changed");
    let different = &step["compared"]["different"];
    assert_eq!(different[0]["kind"], "files");
    let files = &different[0]["files"];
    assert_eq!((&files["same"], &files["total"]), (&1.into(), &2.into()));
    assert_eq!(files["different"][0]["path"], "src/api.ts");
    assert_eq!(files["different"][0]["how"][0], "content");
    let all: serde_json::Value =
        serde_json::from_str(world.shale(&["why", "--json"]).ok()).expect("JSON");
    assert_eq!(all["steps"].as_array().map(Vec::len), Some(6));
}
