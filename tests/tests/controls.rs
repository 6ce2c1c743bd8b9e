//! Flags that say which earlier results may be used, and what a build says of its result (docs/cache.md). Most of it
//! stands in the cases `cache-control-…`.

use std::process::Command;

use testkit::need;
use world::{Run, World};

/// Lets shale make no namespace: the limits hold in a user namespace of the test's own and go with it.
fn without_namespaces(world: &World, arguments: &[&str]) -> Option<Run> {
    const CLOSE: &str = "echo 0 > /proc/sys/user/max_user_namespaces && \
                         echo 0 > /proc/sys/user/max_mnt_namespaces && exec \"$@\"";
    let inside = |program: &str, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", CLOSE, "sh", program]);
        command.args(arguments).current_dir(world.path("context"));
        world.environment(&mut command);
        Run::new(&mut command)
    };
    if inside("true", &[]).code != Some(0) {
        need::is_met(&["user namespaces with limits of their own"]);
        return None;
    }
    let own = world.command(&[]);
    Some(inside(&own.get_program().to_string_lossy(), arguments))
}

#[test]
fn a_cached_build_of_two_platforms_makes_no_namespace() {
    let world = World::new();
    world.write("context/one.txt", "1");
    world.dockerfile("FROM scratch\nCOPY one.txt /one.txt\nLABEL a=b\n");
    let arguments = |iidfile: &'static str| {
        ["build", "--platform=linux/amd64,linux/arm64", "-t", "app", "--iidfile", iidfile, "."]
    };
    world.shale(&arguments("../first")).ok();
    let Some(again) = without_namespaces(&world, &arguments("../second")) else { return };
    again.ok();
    assert_eq!(world.read("first"), world.read("second"));
    // The test would notice: a step to run needs namespaces.
    world.write("context/one.txt", "2");
    let refused = without_namespaces(&world, &arguments("../third")).unwrap();
    assert_eq!(refused.code, Some(3), "{refused}");
}

#[test]
fn a_build_says_what_it_made_and_what_the_cache_saved() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.write("context/one.txt", "1");
    world.dockerfile("FROM base\nRUN sleep 0.3\nCOPY one.txt /one.txt\n\nRUN cat /one.txt\n");
    let build = |more: &[&str]| {
        let mut all = vec!["-t", "app", "-t", "registry.example/b:2", "--iidfile", "../id"];
        all.extend(more);
        let built = world.build(&all);
        built.ok();
        built
    };
    let says = |built: &Run, line: &str| {
        assert!(built.stderr.lines().any(|said| said.ends_with(line)), "no {line:?}\n{built}");
    };
    let first = build(&[]);
    says(&first, "cache: 0 reused, 3 ran");
    for again in [first, build(&[])] {
        says(&again, &format!(" writing image {} done", world.read("id")));
        says(&again, " naming to docker.io/library/app:latest done");
        says(&again, " naming to registry.example/b:2 done");
    }
    let cached = build(&[]);
    let line = cached.stderr.lines().find(|line| line.starts_with("cache: ")).unwrap();
    assert!(line.starts_with("cache: 3 reused (saved 0.") && line.ends_with("s), 0 ran"), "{line}");
    world.write("context/one.txt", "2");
    says(&build(&[]), ", 2 ran. First change: Dockerfile:3");
    assert_eq!(build(&["-q"]).stderr, "");
}

#[test]
fn a_build_that_was_expected_to_be_cached_names_nothing() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nRUN touch /x\n");
    let refused = world.build(&["-t", "app", "--expect-cached", "2"]);
    refused.fails(7, &["Dockerfile:2:1", "step 2 is expected to be cached", "first build"]);
    assert_eq!(refused.ran(), Vec::<String>::new());
    world.shale(&["inspect", "app"]).fails(1, &["no such image"]);
    world.build(&["-t", "app"]).ok();
    world.build(&["-t", "app", "--expect-cached", "2"]).ok();
}
