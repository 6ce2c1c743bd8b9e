//! Layers that other tools write in forms of their own: zstd in pieces with a table of contents, tars with holes.

use testkit::need;
use testkit::registry::TestRegistry;
use world::World;

use super::zoo::{docker_archive, layers};
use super::{NAME, Storage, came_back, image, loaded};

#[test]
fn chunked_zstd_is_zstd() {
    need!("skopeo");
    let (world, registry) = (loaded(&layers()), TestRegistry::start());
    let name = registry.name("zoo:1");
    std::fs::create_dir_all(world.path("skopeo")).unwrap();
    let to = format!("docker://{name}");
    let copy = ["--insecure-policy", "--tmpdir", "../skopeo", "copy", "-q"];
    let format =
        ["--dest-tls-verify=false", "--format=oci", "--dest-compress-format", "zstd:chunked"];
    let all = [&copy[..], &format, &["docker-archive:../zoo.tar", &to]].concat();
    world.program("skopeo", &all).ok();
    // It is what it is called, with its table of contents behind the data.
    let (_, manifest) = registry.manifest("zoo", "1").unwrap();
    let text = String::from_utf8_lossy(&manifest);
    assert!(text.contains("io.containers.zstd-chunked.manifest-checksum"), "{text}");
    let other = World::new();
    other.shale(&["pull", &name]).ok();
    assert_eq!(image(&other, &name).files, image(&world, NAME).files);
    other.dockerfile(&format!("FROM {name}\nCOPY Dockerfile /made\n"));
    other.build(&["-t", "made"]).ok();
    assert!(image(&other, "made").files.contains(" made\n"));
    // And on to the next, byte for byte.
    let copy = registry.name("copy:1");
    other.shale(&["tag", &name, &copy]).ok();
    other.shale(&["push", &copy]).ok();
    assert_eq!(registry.manifest("copy", "1").unwrap().1, manifest);
}

/// Files with holes at every place, and what says that of them in GNU tar's words.
const FORMS: [&[&str]; 3] = [
    &["--format=gnu"],
    &["--format=posix", "--sparse-version=0.1"],
    &["--format=posix", "--sparse-version=1.0"],
];

fn holes(world: &World) {
    let script = "mkdir -p ../holes && cd ../holes && truncate -s 5M all && truncate -s 3M middle \
        && printf data | dd of=middle bs=1 seek=1048576 conv=notrunc status=none \
        && seq 20000 > begin && truncate -s 4M begin \
        && truncate -s 2M end && seq 20000 >> end \
        && for i in $(seq 0 40); do \
             printf x | dd of=many bs=1 seek=$((i * 65536)) conv=notrunc status=none; done \
        && truncate -s 4000001 many && seq 5000 > none";
    world.program("sh", &["-c", script]).ok();
}

#[test]
fn sparse_files_stay_what_they_are() {
    need!("tar");
    let world = World::new();
    holes(&world);
    let tar = |form: &[&str], to: &str| {
        let usual = ["--sort=name", "--mtime=@1000000000", "--owner=0", "--group=0"];
        let all = [&usual[..], form, &["-C", "../holes", "-cf", to, "."]].concat();
        world.program("tar", &all).ok();
        std::fs::read(world.path(to.trim_start_matches("../"))).unwrap()
    };
    let plain = tar(&["--format=gnu"], "../plain.tar");
    world.write("plain-image.tar", docker_archive(std::slice::from_ref(&plain), "plain:1"));
    world.shale(&["load", "-i", "../plain-image.tar"]).ok();
    let expect = image(&world, "plain:1").files;
    for form in FORMS {
        let sparse = tar(&[&["-S"], form].concat(), "../sparse.tar");
        assert!(sparse.len() < plain.len() / 10, "{form:?}: {}", sparse.len());
        let other = loaded(&[sparse]);
        let first = image(&other, NAME);
        assert_eq!(first.files, expect, "{form:?}");
        // Nobody needs the room of a hole.
        let used = other.program("du", &["-sk", other.store().join("layers").to_str().unwrap()]);
        let used: u64 = used.ok().split_whitespace().next().unwrap().parse().unwrap();
        assert!(used < 2000, "{form:?}: {used} kB");
        // As it came it goes on, its form included.
        other.shale(&["save", "-o", "../saved.tar", NAME]).ok();
        assert_eq!(came_back(&other, "saved.tar", NAME), first, "{form:?}");
        // The old form docker and podman do not unpack at all.
        let is_old = form[0] == "--format=gnu";
        if !is_old && testkit::need::is_met(&["root", "podman"]) {
            let storage = Storage::new();
            let said = storage.run(&other, "podman", &["load", "-i", "../saved.tar"]);
            let name = said.ok().lines().last().unwrap().trim_start_matches("Loaded image: ");
            let name = name.to_owned();
            // This version fails to write what it has read, so its files are looked at where they are.
            let at = storage.run(&other, "podman", &["image", "mount", &name]).ok().to_owned();
            let theirs = world.path("holes");
            other.program("diff", &["-r", &at, theirs.to_str().unwrap()]).ok();
            storage.run(&other, "podman", &["image", "unmount", &name]).ok();
        }
    }
    // Readers differ on what this form means: it is not guessed.
    let odd = tar(&["-S", "--format=posix", "--sparse-version=0.0"], "../sparse.tar");
    let other = World::new();
    other.write("odd.tar", docker_archive(&[odd], "odd:1"));
    other.shale(&["load", "-i", "../odd.tar"]).ok();
    other.shale(&["export", "-o", "../tree/", "odd:1"]).fails(4, &["PAX form 0.0"]);
}
