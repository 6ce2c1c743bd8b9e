//! Stopped builds: no tag, no mount, no process, no temporary file (CLI-04, CACHE-46). The world checks it at its end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use world::World;

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.dockerfile(
            "FROM base\nRUN echo done-before > /a\nRUN touch /begun; sleep 600 & sleep 601\n",
        );
        world
    })
}

/// Starts a build and waits until its endless step runs.
fn begun(world: &World) -> Child {
    let mut command = world.command(&["build", "--progress=plain", "-t", "never", "."]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !sleeps() {
        assert!(Instant::now() < deadline, "the step does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn sleeps() -> bool {
    let lines = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines = lines.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| line == b"sleep\x00601\x00")
}

/// The tests of this module look for the same process: one at a time.
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn stopped(signal: &str, want: Option<i32>) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(world) = prepared() else { return };
    let mut build = begun(&world);
    let asked = Instant::now();
    world.program("kill", &[signal, &build.id().to_string()]).ok();
    let status = build.wait().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(15), "stopping took {:?}", asked.elapsed());
    match want {
        Some(code) => assert_eq!(status.code(), Some(code)),
        None => assert_eq!(status.signal(), Some(9)),
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while sleeps() {
        assert!(Instant::now() < deadline, "the step lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!world.shale(&["images"]).ok().contains("never"));
    if want.is_none() {
        // A killed build leaves garbage in the store, which the next one takes away.
        world.dockerfile("FROM base\nRUN true\n");
        world.build(&[]).ok();
    }
    // What was done before the end is kept.
    world.dockerfile("FROM base\nRUN echo done-before > /a\n");
    assert_eq!(world.build(&[]).ran(), Vec::<String>::new());
}

#[test]
fn interrupted() {
    stopped("-INT", Some(130));
}

#[test]
fn terminated() {
    stopped("-TERM", Some(143));
}

#[test]
fn killed() {
    stopped("-KILL", None);
}

#[test]
fn a_failed_step_takes_its_children_along() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nRUN sleep 602 & echo started; exit 1\n");
    world.build(&[]).fails(1, &["started", "exit code: 1"]);
}

/// Ends a command in the foreground when it has said that it runs; gives its exit code.
fn stopped_run(world: &World, signal: &str, script: &str) -> Option<i32> {
    let mut command = world.command(&["run", "base", "sh", "-c", script]);
    let mut run = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut said = [0; 1];
    std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut said).unwrap();
    let asked = Instant::now();
    world.program("kill", &[signal, &run.id().to_string()]).ok();
    let status = run.wait().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(8), "stopping took {:?}", asked.elapsed());
    status.code()
}

#[test]
fn a_stopped_command_has_its_own_code() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let plain = "echo x; exec sleep 600";
    assert_eq!(stopped_run(&world, "-TERM", plain), Some(143));
    assert_eq!(stopped_run(&world, "-HUP", plain), Some(129));
    let caught = "trap 'exit 5' TERM; trap 'exit 6' HUP; echo x; sleep 600 & wait";
    assert_eq!(stopped_run(&world, "-TERM", caught), Some(5));
    assert_eq!(stopped_run(&world, "-HUP", caught), Some(6));
}
