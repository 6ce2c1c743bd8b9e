//! What happens before anything is built: help, version, unknown flags.

use std::time::Duration;

use world::{World, is_release};

#[test]
fn help_and_version_need_no_store() {
    let world = World::new();
    assert!(world.shale(&["--help"]).ok().contains("build"));
    assert!(world.shale(&["build", "--help"]).ok().contains("--build-arg"));
    assert!(world.shale(&["version"]).ok().starts_with("shale "));
    assert!(!world.store().exists());
}

#[test]
fn help_starts_at_once() {
    let world = World::new();
    let fastest = (0..20).map(|_| world.shale(&["--help"]).took).min().unwrap();
    if is_release() {
        assert!(fastest < Duration::from_millis(5), "--help took {fastest:?}");
    }
}

#[test]
fn unknown_words_are_errors_before_anything_is_read() {
    let world = World::new();
    world.shale(&["build", "--no-such-flag", "."]).fails(2, &["--no-such-flag"]); // CLI-05
    world.shale(&["build"]).fails(2, &["CONTEXT"]); // CLI-01
    world.shale(&["build", ".", "other"]).fails(2, &["unexpected argument"]);
    world.shale(&["buld", "."]).fails(2, &["build"]);
    world
        .shale(&["build", "-t", "UPPER", "."])
        .fails(2, &["invalid tag", "invalid reference format"]);
    world.shale(&["build", "--push", "."]).fails(2, &["tag is needed when pushing to registry"]);
    world.shale(&["build", "no/such/dir"]).fails(2, &["unable to prepare context", "not found"]);
    assert!(!world.store().exists());
}
