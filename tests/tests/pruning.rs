//! What prunes take, what they say of it, and what they would take: images, results and transfers that were broken off.

use testkit::need;
use testkit::rootfs::TarBuilder;
use world::{Registry, World};

/// Imports an image of one file and gives its id.
fn imported(world: &World, name: &str, file: &str, content: &[u8]) -> String {
    let tar = TarBuilder::new().file(file, 0o644, content).finish();
    let path = world.write(&format!("{file}.tar"), tar);
    world.shale(&["import", &path.to_string_lossy(), name]).ok().to_owned()
}

/// The words of a dry run in those of a real one.
fn as_done(text: &str) -> String {
    let text = text.replace("Would delete images:", "Deleted Images:");
    text.replace("Would delete", "Deleted").replace("Would reclaim", "Total reclaimed space")
}

/// A store with a named and a nameless image, a result that nothing needs, and the beginning of a blob.
fn store() -> World {
    let world = World::new();
    imported(&world, "base:1", "big", &[7; 300_000]);
    world.dockerfile("FROM base:1\nCOPY f /f\n");
    for content in ["one", "two"] {
        world.write("context/f", content);
        world.shale(&["build", "-q", "-t", "app:1", "."]).ok();
    }
    let partial = world.store().join("partial");
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join("a".repeat(64)), vec![b'x'; 1_500_000]).unwrap();
    world
}

#[test]
fn dry_runs_say_what_prunes_do() {
    for arguments in [
        &["image", "prune"][..],
        &["image", "prune", "-a"],
        &["system", "prune"],
        &["system", "prune", "-a"],
        &["system", "prune", "-a", "--filter", "until=24h"],
        &["cache", "prune", "-a"],
    ] {
        let world = store();
        let all = || {
            let ids = |of: &[&str]| world.shale(of).ok().to_owned();
            (ids(&["images", "-aq"]), ids(&["cache", "ls", "-aq"]))
        };
        let before = all();
        let told = world.shale(&[arguments, &["--dry-run"]].concat());
        assert_eq!(before, all(), "{arguments:?} --dry-run has changed something");
        let done = world.shale(arguments);
        assert_eq!(as_done(told.ok()), done.ok(), "{arguments:?}");
    }
}

#[test]
fn broken_transfers_count() {
    let world = store();
    let sums = world.shale(&["system", "df", "--format", "{{.Type}} {{.Size}}"]);
    assert!(sums.ok().contains("Build Cache 1.5"), "{sums}");
    let told = world.shale(&["cache", "ls", "--filter", "type=download", "-q"]);
    assert_eq!(told.ok(), "a".repeat(12));
    world.shale(&["rmi", "app:1"]).ok();
    assert!(world.store().join("partial").join("a".repeat(64)).exists(), "it was no image's");
    let done = world.shale(&["system", "prune"]);
    assert!(done.ok().contains("aaaaaaaaaaaa   download   1.5MB"), "{done}");
    assert!(!world.store().join("partial").join("a".repeat(64)).exists());
}

#[test]
fn an_image_whose_tag_moved_keeps_its_repository() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let name = format!("{}/moved", registry.address());
    let tag = format!("{name}:1");
    let old = imported(&world, &tag, "old", b"old");
    world.shale(&["push", "-q", &tag]).ok();
    let digest = world.shale(&["inspect", "-f", "{{index .RepoDigests 0}}", &tag]);
    imported(&world, "other:1", "new", b"new");
    world.shale(&["tag", "other:1", &tag]).ok();
    let form = ["images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"];
    let row = format!("{name}:<none> {old}");
    assert!(world.shale(&form).ok().contains(&row));
    assert_eq!(world.shale(&[&form[..], &["-f", "dangling=true"]].concat()).ok(), row);
    assert!(world.shale(&[&form[..], &[&name]].concat()).ok().contains(&row));
    assert!(!world.shale(&[&form[..], &[&tag]].concat()).ok().contains(&row));
    let pruned = world.shale(&["image", "prune"]);
    let first = format!("Deleted Images:\nuntagged: {}\ndeleted: {old}\n", digest.ok());
    assert!(pruned.ok().starts_with(&first), "{pruned}");
}

#[test]
fn images_of_one_tag_are_told_apart_in_an_archive() {
    need!("skopeo");
    let world = World::new();
    let mut ids = Vec::new();
    for name in ["one:1", "two:1"] {
        ids.push(imported(&world, name, &name[..3], name.as_bytes()));
    }
    let archive = world.path("both.tar");
    let archive = archive.to_string_lossy();
    world.shale(&["save", "--format", "oci", "-o", &archive, "one:1", "two:1"]).ok();
    for (name, id) in ["one:1", "two:1"].iter().zip(&ids) {
        let from = format!("oci-archive:{archive}:docker.io/library/{name}");
        let raw = world.program("skopeo", &["inspect", "--raw", &from]);
        assert!(raw.ok().contains(id), "{raw}");
    }
    // Alone it has its bare tag.
    world.shale(&["save", "--format", "oci", "-o", &archive, "one:1"]).ok();
    let raw = world.program("skopeo", &["inspect", "--raw", &format!("oci-archive:{archive}:1")]);
    assert!(raw.ok().contains(&ids[0]), "{raw}");
}
