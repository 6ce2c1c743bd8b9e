//! What happens before anything is built: help, version, unknown flags.

use world::World;

#[test]
fn help_and_version_need_no_store() {
    let world = World::new();
    assert!(world.shale(&["--help"]).ok().contains("build"));
    assert!(world.shale(&["build", "--help"]).ok().contains("--build-arg"));
    assert!(world.shale(&["version"]).ok().starts_with("shale "));
    assert!(!world.store().exists());
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
