//! What a step's command sees, and what is seen of it (spec sections 3.5 to 3.13).

use world::World;

/// The last stage is a check by itself: its command fails when something is not as it should be.
fn passes(world: &World, dockerfile: &str) {
    world.dockerfile(dockerfile);
    world.build(&["--no-cache"]).ok();
}

#[test]
fn the_output_of_a_failed_step_is_shown_to_its_end() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nRUN seq 1 1000000; exit 3\n");
    let run = world.build(&["--progress=plain"]);
    run.fails(1, &["exit code: 3"]);
    let numbers = run.stderr.lines().filter(|line| line.starts_with("#") && !line.contains('['));
    let last = numbers.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).max();
    assert_eq!(last, Some(1_000_000), "the output was cut");
    assert!(run.stderr.contains(" ERROR: process "), "the end of the step is not shown");
}

#[test]
fn a_working_directory_below_one_that_the_user_may_not_enter() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let closed = "FROM base\nRUN mkdir -m 700 /closed\nWORKDIR /closed/work\nUSER 1000\n";
    passes(&world, &format!("{closed}RUN test \"$(pwd)\" = /closed/work && ! ls /closed\n"));
}

#[test]
fn mnt_34_a_cache_starts_as_its_source_is() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let source = "FROM base AS src\nRUN mkdir -m 750 /s && echo hi > /s/f && chown 3:4 /s\n";
    let mount = "--mount=type=cache,from=src,source=/s,target=/c";
    let check = "test \"$(stat -c %u:%g:%a /c) $(cat /c/f)\"";
    passes(&world, &format!("{source}FROM base\nRUN {mount} {check} = '3:4:750 hi'\n"));
    let owned = format!("{mount},uid=9,mode=0700");
    passes(&world, &format!("{source}FROM base\nRUN {owned} {check} = '9:4:700 hi'\n"));
}

#[test]
fn xenv_15_processes_end_with_their_step() {
    let world = World::new();
    if !world.base() {
        return;
    }
    let writer = "(while :; do echo x >> /f; done) & (sleep 600 &); echo started > /f";
    let settled = "a=$(wc -c < /f); sleep 0.2; test \"$a\" = \"$(wc -c < /f)\"";
    passes(&world, &format!("FROM base\nRUN {writer}\nRUN {settled}\n"));
    assert_eq!(world.leftovers(), [""; 0]);
}

#[test]
fn xenv_16_a_step_may_have_fewer_descriptors_than_we_need() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile("FROM base\nRUN test \"$(ulimit -n) $(ulimit -Hn)\" = '5 6'\n");
    world.build(&["--ulimit", "nofile=5:6"]).ok();
}

#[test]
fn lex_53_a_file_for_another_frontend_is_refused() {
    let world = World::new();
    world.dockerfile("# syntax=example.com/other:1\nthis is some other language\n");
    world.build(&[]).fails(2, &["frontend example.com/other:1 is not supported", "Dockerfile:1"]);
    world.dockerfile("# syntax=docker/dockerfile:1\nFROM scratch\nENV A=b\n");
    world.build(&[]).ok();
}
