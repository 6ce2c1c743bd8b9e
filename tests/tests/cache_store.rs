//! The disk that the store takes: the limit holds, what is needed stays, and people see and remove what they name.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::need;
use world::World;

const MIB: u64 = 1 << 20;
/// What a step of [`steps`] leaves.
const STEP_BYTES: u64 = 4 * MIB;

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then_some(world)
}

/// A Dockerfile with so many steps that each leave bytes which nothing compresses.
fn steps(name: &str, count: u64) -> String {
    let step = |n| format!("RUN head -c {STEP_BYTES} /dev/urandom > /{name}-{n}\n");
    format!("FROM base\n{}", (0..count).map(step).collect::<String>())
}

/// Blocks of everything below a directory. What vanishes meanwhile counts nothing.
fn on_disk(directory: &Path) -> u64 {
    let own = std::fs::symlink_metadata(directory).map_or(0, |m| m.blocks() * 512);
    let Ok(entries) = std::fs::read_dir(directory) else { return own };
    let entries = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => on_disk(&entry.path()),
        _ => entry.metadata().map_or(0, |m| m.blocks() * 512),
    });
    own + entries.sum::<u64>()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The largest size that a directory had while `work` ran.
fn largest_while<T>(directory: &Path, work: impl FnOnce() -> T) -> (T, u64) {
    let (done, largest) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                largest.fetch_max(on_disk(directory), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    });
    (result, largest.into_inner())
}

#[test]
fn the_limit_holds_while_a_build_runs_and_after_it() {
    let Some(world) = prepared() else { return };
    let store = world.store();
    world.build(&[]).fails(2, &[]);
    let empty = on_disk(&store);
    let max = empty + 6 * STEP_BYTES;
    let limit = format!("--cache-max={max}");
    let mut ran = 0;
    for round in 0..3 {
        world.dockerfile(&steps(&format!("round{round}"), 4));
        let (build, largest) = largest_while(&store, || world.build(&[&limit]));
        build.ok();
        assert!(!build.stderr.contains("more than its limit"), "{build}");
        ran += build.ran().len();
        let after = on_disk(&store);
        assert!(after <= max, "{} of {} KiB after round {round}", after >> 10, max >> 10);
        // A step that runs is not in the store yet, and what is removed is deleted a moment later.
        let most = max + 3 * STEP_BYTES;
        assert!(largest <= most, "{} of {} KiB in round {round}", largest >> 10, max >> 10);
    }
    assert_eq!(ran, 12, "nothing was in the way");
    // What the last build made was never in danger.
    let again = world.build(&[&limit]);
    again.ok();
    assert_eq!(again.ran(), Vec::<String>::new(), "{again}");
    assert_eq!(world.shale(&["cache", "verify"]).ok(), "");
}

#[test]
fn what_a_name_needs_stays_and_the_warning_says_what_takes_the_room() {
    let Some(mut world) = prepared() else { return };
    world.dockerfile(&steps("named", 3));
    world.build(&["-t", "named"]).ok();
    world.dockerfile(&steps("other", 1));
    world.set("SHALE_CACHE_MAX", "6m");
    let full = world.build(&[]);
    full.ok();
    let warnings = full.stderr.matches("more than its limit of 6.3MB").count();
    assert_eq!(warnings, 1, "{full}");
    assert!(full.stderr.contains("images with a name need"), "{full}");
    world.dockerfile(&steps("named", 3));
    let again = world.build(&["-t", "named"]);
    again.ok();
    assert_eq!(again.ran(), Vec::<String>::new(), "{again}");
    // A build that finds everything adds nothing and warns of nothing.
    assert!(!again.stderr.contains("more than its limit"), "{again}");
    world.shale(&["run", "named", "test", "-s", "/named-2"]).ok();
}

#[test]
fn settings_come_from_files_and_slips_in_them_are_errors() {
    let Some(world) = prepared() else { return };
    world.write("home/.config/shale/config.toml", "[cache]\nmax = \"6G\"\n");
    let usage = json(world.shale(&["cache", "du", "--format=json"]).ok());
    assert_eq!(usage["max_bytes"], 6u64 << 30);
    world.write("home/.config/shale/config.toml", "[cache]\nmaximum = \"6G\"\n");
    world.dockerfile("FROM base\n");
    world.build(&[]).fails(2, &["config.toml:2", "maximum", "docs/configuration.md"]);
    world.write("home/.config/shale/config.toml", "");
    world.build(&["--cache-max=much"]).fails(2, &["--cache-max much"]);
}

#[test]
fn prune_says_what_it_removes_and_takes_what_is_asked() {
    let Some(world) = prepared() else { return };
    world.dockerfile(
        "FROM base AS a\nRUN echo keep-me > /a\nRUN --mount=type=cache,id=tools,target=/c echo x > /c/x\n\
         FROM base\nRUN echo other > /b\nCOPY --from=a /a /\n",
    );
    world.build(&["-t", "app"]).ok();
    world.dockerfile("FROM base AS a\nRUN echo loose > /a\nRUN echo on-it >> /a\n");
    world.build(&["--output=type=cacheonly"]).ok();

    let list = world.shale(&["cache", "ls"]);
    let list = list.ok();
    let line = |text: &str| list.lines().find(|line| line.contains(text)).unwrap_or_default();
    assert!(line("echo other").ends_with("named image"), "{list}");
    assert!(!line("echo loose").contains("image"), "{list}");
    let one = world.shale(&["cache", "ls", "--format=json", "--filter", "step=echo loose"]);
    let one = json(one.ok());
    assert_eq!((&one["type"], &one["needed_by"]), (&"step".into(), &"".into()));
    assert_eq!(one["step"], "RUN echo loose > /a");
    assert!(one["bytes"].as_u64() > Some(0) && one["took_ms"].is_u64(), "{one}");

    // Nothing is old, nothing is of this name; a look removes nothing.
    for filter in ["until=24h", "step=echo never", "id=xyz"] {
        let pruned = world.shale(&["cache", "prune", "-f", "--filter", filter]);
        assert_eq!(pruned.ok(), "Total reclaimed space: 0B", "{filter}");
    }
    let look = world.shale(&["cache", "prune", "--dry-run"]);
    assert!(look.ok().starts_with("Would delete") && look.stdout.contains("tools"), "{look}");

    // What stands on a step goes with it, and nothing else.
    let id = one["id"].as_str().unwrap();
    let pruned = world.shale(&["cache", "prune", "--filter", &format!("id={id}")]);
    let said = pruned.ok();
    assert!(said.starts_with("Deleted build cache objects:\n"), "{pruned}");
    assert!(said.contains("echo loose") && said.contains("echo on-it"), "{pruned}");
    assert_eq!(said.matches("step ").count(), 2, "{pruned}");
    assert_eq!(world.build(&["--output=type=cacheonly"]).ran().len(), 2);

    let mounts = world.shale(&["cache", "prune", "--filter", "type=mount"]);
    assert!(mounts.ok().contains("tools") && !mounts.stdout.contains(" step "), "{mounts}");
    let all = world.shale(&["cache", "prune"]);
    assert!(all.ok().contains("echo loose") && all.stdout.contains("keep-me"), "{all}");
    assert!(!all.stdout.contains("echo other"), "{all}");
    assert_eq!(world.shale(&["cache", "prune"]).ok(), "Total reclaimed space: 0B");

    // The image is whole, and its own steps are only forgotten when that is asked for.
    world.shale(&["run", "app", "cat", "/a", "/b"]).ok();
    let shared = world.shale(&["cache", "prune", "-a"]);
    assert!(shared.ok().contains("echo other"), "{shared}");
    world.dockerfile("FROM base\nRUN echo other > /b\n");
    assert_eq!(world.build(&["-t", "app2"]).ran().len(), 1);
    assert_eq!(world.shale(&["cache", "verify"]).ok(), "");
}

#[test]
fn prune_of_everything_takes_images_without_a_name() {
    let Some(world) = prepared() else { return };
    world.dockerfile("FROM base\nRUN echo nameless > /a\n");
    world.build(&[]).ok();
    let cache = world.shale(&["cache", "prune"]);
    assert!(!cache.ok().contains("nameless"), "an image is no cache: {cache}");
    let all = world.shale(&["prune", "-f"]);
    assert!(all.ok().starts_with("Deleted images without a name: 1\n"), "{all}");
    assert!(all.stdout.contains("echo nameless"), "{all}");
    assert!(world.shale(&["images"]).ok().contains("base"));
    assert_eq!(world.build(&[]).ran().len(), 1);
}

#[test]
fn the_disk_that_du_counts_is_the_disk_that_is_taken() {
    let Some(world) = prepared() else { return };
    world.dockerfile(&steps("du", 2));
    world.build(&["-t", "app"]).ok();
    let usage = json(world.shale(&["cache", "du", "-v", "--format=json"]).ok());
    let total = usage["total_bytes"].as_u64().unwrap();
    let disk = on_disk(&world.store());
    // The look itself needs a lease.
    assert!(total.abs_diff(disk) < 64 << 10, "{total} counted, {disk} taken");
    let items = usage["items"].as_array().unwrap().iter();
    let items: u64 = items.map(|item| item["bytes"].as_u64().unwrap()).sum();
    let others = usage["others"].as_object().unwrap().values();
    let others: u64 = others.map(|bytes| bytes.as_u64().unwrap()).sum();
    assert_eq!(items + others, total);
    assert_eq!(usage["types"]["step"]["number"], 2);
    let text = world.shale(&["cache", "du"]);
    assert!(text.ok().contains("4.2MB"), "{text}");
    assert!(text.stdout.contains("RUN head -c 4194304"), "{text}");
}

#[test]
fn a_running_build_keeps_what_it_has_found() {
    let Some(world) = prepared() else { return };
    let text = |last: &str| format!("FROM base\nRUN echo first > /a\nRUN echo second > /b\n{last}");
    world.dockerfile(&text(""));
    world.build(&["--output=type=cacheonly"]).ok();
    world.dockerfile(&text(
        "RUN touch /begun; sleep 3; cat /a /b > /c\nCOPY --from=base /bin/sh /d\n",
    ));
    let mut command = world.command(&["build", "--progress=plain", "-t", "app", "."]);
    let build = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_begun(&world.store()) {
        assert!(Instant::now() < deadline, "the step does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pruned = world.shale(&["prune", "-a"]);
    assert!(!pruned.ok().contains("echo first"), "{pruned}");
    let ended = build.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("CACHED"), "{said}");
    world.shale(&["run", "app", "grep", "second", "/c"]).ok();
    assert_eq!(world.shale(&["cache", "verify"]).ok(), "");
}

/// Whether a step below this store has made `/begun`.
fn is_begun(store: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(store.join("ingest")) else { return false };
    entries.flatten().any(|lease| {
        let steps = std::fs::read_dir(lease.path()).into_iter().flatten().flatten();
        steps.into_iter().any(|step| {
            let inside = std::fs::read_dir(step.path()).into_iter().flatten().flatten();
            inside.into_iter().any(|dir| dir.path().join("begun").exists())
        })
    })
}

/// What a step's other users have written can only be measured and deleted where these users are.
#[test]
fn an_ordinary_user_s_store_is_counted_and_emptied_whole() {
    need!("root", "newuidmap", "setpriv");
    let Some(user) = world::user("shale-test-ranges") else { return };
    let world = World::of(user);
    if !world.base() {
        return;
    }
    world.dockerfile(
        "FROM base\nRUN mkdir -m 700 /own && head -c 3000000 /dev/urandom > /own/f && chown -R 1000:1000 /own\n",
    );
    let before = on_disk(&world.store());
    world.build(&["--output=type=cacheonly"]).ok();
    let list = world.shale(&["cache", "ls", "--format=json"]);
    assert!(json(list.ok())["bytes"].as_u64() > Some(3_000_000), "{list}");
    let pruned = world.shale(&["cache", "prune", "-f"]);
    assert!(pruned.ok().contains("RUN mkdir -m 700"), "{pruned}");
    assert_eq!(pruned.stderr, "");
    assert_eq!(std::fs::read_dir(world.store().join("trash")).unwrap().count(), 0);
    let after = on_disk(&world.store());
    assert!(after < before + (200 << 10), "{before} before, {after} after");
}
