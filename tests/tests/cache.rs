//! What runs again and what does not (spec section 7).

use std::time::{Duration, SystemTime};

use world::World;

const TWO_FILES: &str = "\
FROM base AS a
COPY one.txt /one.txt
RUN sha256sum /one.txt > /one.sum

FROM base
COPY two.txt /two.txt
RUN sha256sum /two.txt > /two.sum
COPY --from=a /one.sum /one.sum
";

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.write("context/one.txt", "1");
        world.write("context/two.txt", "2");
        world.dockerfile(TWO_FILES);
        world
    })
}

#[test]
fn the_second_build_executes_nothing() {
    let Some(world) = prepared() else { return };
    let first = world.build(&["-t", "app"]);
    first.ok();
    assert_eq!(first.ran().len(), 5, "{first}");
    let second = world.build(&["-t", "app"]);
    second.ok();
    assert_eq!(second.ran(), Vec::<String>::new(), "{second}");
}

#[test]
fn a_changed_file_reruns_only_what_depends_on_it() {
    let Some(world) = prepared() else { return };
    world.build(&["-t", "app"]).ok();
    world.write("context/two.txt", "changed");
    let again = world.build(&["-t", "app"]);
    again.ok();
    let ran = again.ran();
    assert!(ran.iter().any(|name| name.contains("COPY two.txt")), "{again}");
    assert!(ran.iter().any(|name| name.contains("RUN sha256sum /two.txt")), "{again}");
    assert!(!ran.iter().any(|name| name.contains("one.txt")), "{again}");
}

#[test]
fn new_bytes_with_the_same_size_and_time_are_seen() {
    let Some(world) = prepared() else { return };
    let path = world.path("context/two.txt");
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    let write = |text: &str| {
        world.write("context/two.txt", text);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    };
    write("abc");
    world.build(&["-t", "app"]).ok();
    world.build(&["-t", "app"]).ok();
    write("xyz");
    world.build(&["-t", "app"]).ok();
    assert_eq!(world.shale(&["run", "app", "cat", "/two.txt"]).ok(), "xyz");
}

/// A step that ran again with an equal result does not make its successors run (design D4).
#[test]
fn an_equal_result_does_not_disturb_what_follows() {
    let Some(world) = prepared() else { return };
    let dockerfile = |salt: &str| {
        world.dockerfile(&format!(
            "FROM base AS s\nRUN echo same > /out && : {salt}\n\
             FROM base\nCOPY --from=s /out /out\nRUN cat /out > /copy\n"
        ));
    };
    dockerfile("first");
    world.build(&["-t", "app"]).ok();
    dockerfile("second");
    let again = world.build(&["-t", "app"]);
    again.ok();
    assert_eq!(again.ran().len(), 1, "{again}");
}

#[test]
fn no_cache_runs_everything_and_keeps_the_results() {
    let Some(world) = prepared() else { return };
    world.dockerfile("FROM base\nCOPY one.txt /in\nRUN cat /proc/sys/kernel/random/uuid > /id\n");
    let id = || world.shale(&["run", "app", "cat", "/id"]).ok().to_owned();
    world.build(&["-t", "app"]).ok();
    let first = id();
    let forced = world.build(&["-t", "app", "--no-cache"]);
    forced.ok();
    assert_eq!(forced.ran().len(), 2, "{forced}"); // CACHE-40
    let second = id();
    assert_ne!(first, second);
    world.build(&["-t", "app"]).ok();
    assert_eq!(id(), second);
}

#[test]
fn two_builds_at_once_share_the_work() {
    let Some(world) = prepared() else { return };
    world.dockerfile("FROM base\nRUN sleep 1; cat /proc/sys/kernel/random/uuid > /id\n");
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let world = &world;
            scope.spawn(move || world.build(&["-t", name]).ok().to_owned());
        }
    });
    let id = |name| world.shale(&["run", name, "cat", "/id"]).ok().to_owned();
    assert_eq!((id("a"), id("a")), (id("b"), id("c"))); // CACHE-44
}

/// A build that is killed right after a step has its record, but not yet the table of contents of its layer. What the
/// layer deletes is found out from the layers below, so it must be made with them.
#[test]
fn a_layer_that_a_killed_build_left_unlisted_still_deletes() {
    let Some(world) = prepared() else { return };
    world.dockerfile(
        "FROM base\nRUN mkdir /o && touch /o/gone\nRUN rm -r /o && mkdir /o && touch /o/new\n",
    );
    let layers_of = |archive: &str| {
        let output = format!("type=oci,compression=uncompressed,dest=../{archive}");
        let built = world.build(&["-o", &output]);
        built.ok();
        assert_eq!(built.ran().len(), if archive == "whole.tar" { 2 } else { 0 }, "{built}");
        std::fs::read(world.path(archive)).unwrap()
    };
    let whole = layers_of("whole.tar");
    for entry in std::fs::read_dir(world.store().join("layers")).unwrap() {
        let layer = entry.unwrap().path();
        if layer.join("diff/o/new").exists() {
            std::fs::remove_file(layer.join("toc")).unwrap();
            std::fs::remove_file(layer.join("facts")).unwrap();
        }
    }
    assert!(layers_of("again.tar") == whole, "the layer has other entries now");
}

#[test]
fn a_layer_that_no_tar_can_hold_is_an_error_of_its_step_each_time() {
    let Some(world) = prepared() else { return };
    world.dockerfile("FROM base\nRUN touch /tmp/.wh.gone\n");
    for _ in 0..2 {
        let built = world.build(&["-t", "app"]);
        built.fails(1, &["Dockerfile:2:1", ".wh.gone"]); // ADD-23
        assert_eq!(built.ran().len(), 1, "{built}"); // CACHE-46
    }
}
