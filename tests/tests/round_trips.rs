//! Images go out to other tools and come back: the same image, and the same files in it.

mod odd_layers;
pub(crate) mod zoo;

use testkit::need;
use world::{Dockerd, Run, World};
use zoo::{DIR, FILE, Facts, Tar, docker_archive, layers};

const NAME: &str = "zoo:1";

/// A world with an archive of an image in its store, loaded under [`NAME`].
fn loaded(layers: &[Vec<u8>]) -> World {
    let world = World::new();
    world.write("zoo.tar", docker_archive(layers, NAME));
    assert_eq!(world.shale(&["load", "-i", "../zoo.tar"]).ok(), format!("Loaded image: {NAME}"));
    world
}

/// What has to be the same after a way out and back.
#[derive(Debug, PartialEq)]
struct Image {
    id: String,
    /// Every file with owner, mode, time, link and attributes, and what is in it.
    files: String,
}

fn image(world: &World, name: &str) -> Image {
    let id = world.shale(&["inspect", "--format", "{{.Id}}", name]).ok().to_owned();
    world.shale(&["export", "-o", "../export.tar", name]).ok();
    Image { id, files: listing(world, "../export.tar") }
}

/// The files of a tar: what GNU tar says of each, and one digest over all that is in them.
fn listing(world: &World, file: &str) -> String {
    let form = ["--numeric-owner", "--full-time", "--quoting-style=escape"];
    let all = ["--xattrs", "--xattrs-include=*", "-tvvf", file];
    let list = world.program("tar", &[&form[..], &all].concat()).ok().to_owned();
    let content = world.program("sh", &["-c", &format!("tar -xOf {file} | sha256sum")]);
    format!("{list}\n{}", content.ok())
}

/// Loads an archive into a store of its own.
fn came_back(from: &World, file: &str, name: &str) -> Image {
    let other = World::new();
    other.shale(&["load", "-i", from.path(file).to_str().unwrap()]).ok();
    image(&other, name)
}

fn skopeo(world: &World, from: &str, to: &str) {
    std::fs::create_dir_all(world.path("skopeo")).unwrap();
    let policy = ["--insecure-policy", "--tmpdir", "../skopeo", "copy", "-q"];
    world.program("skopeo", &[&policy[..], &[from, to]].concat()).ok();
}

/// podman or buildah with a storage outside of the world: what they leave there is their own business.
struct Storage(tempfile::TempDir);

impl Storage {
    fn new() -> Storage {
        Storage(tempfile::Builder::new().prefix("shale-storage-").tempdir().unwrap())
    }

    fn run(&self, world: &World, program: &str, arguments: &[&str]) -> Run {
        let directory = |name: &str| self.0.path().join(name).to_str().unwrap().to_owned();
        let (root, runroot, temp) = (directory("root"), directory("run"), directory("tmp"));
        let mut all = vec!["--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"];
        if program == "podman" {
            all.extend(["--tmpdir", &temp, "--cgroup-manager", "cgroupfs"]);
            all.extend(["--events-backend", "none"]);
        }
        all.extend(arguments);
        world.program(program, &all)
    }
}

#[test]
fn an_image_with_everything_is_read_and_written() {
    let world = loaded(&layers());
    let Image { files, .. } = image(&world, NAME);
    let line = |name: &str| {
        let found = files.lines().find(|line| line.split(' ').any(|word| word == name));
        found.unwrap_or_else(|| panic!("{name} in {files}"))
    };
    for gone in ["etc/gone", "whole/", "opaque/below", "opaque/sub/"] {
        assert!(!files.lines().any(|line| line.ends_with(&format!(" {gone}"))), "{gone}: {files}");
    }
    assert!(line("etc/").starts_with("drwx------ "));
    assert!(line("bin/tool").starts_with("-rwsr-xr-x "));
    // The other name in the layer below keeps the file that it had.
    assert!(line("bin/tool3").ends_with("link to bin/tool"), "{}", line("bin/tool3"));
    assert!(line("bin/tool2").starts_with("-rwsr-xr-x "), "{}", line("bin/tool2"));
    assert!(line("to-deep").contains(" link to "), "{}", line("to-deep"));
    assert!(line("old").contains("1969-12-20 10:13:20"), "{}", line("old"));
    assert!(line("new").contains("2242-03-16 12:56:32"), "{}", line("new"));
    assert!(line("owner").contains(" 3000000/3000000 "), "{}", line("owner"));
    assert!(line("tmp/").starts_with("drwxrwxrwt "));
    assert!(line("shared/").starts_with("drwxrwsr-x  1000/1000 "), "{}", line("shared/"));
    assert!(
        line("dev/null-like").starts_with("crw-rw-rw- ") && line("dev/null-like").contains(" 1,3 ")
    );
    assert!(line("pipe").starts_with("prw------- "));
    assert!(line("cap").starts_with("-rw-r--r--*"), "its attribute: {}", line("cap"));
    line("no-\\377\\376-text");
}

/// docker does not take such a layer, as it unpacks each alone; podman and containerd do.
#[test]
fn a_hard_link_to_a_file_of_a_lower_layer_is_that_file() {
    let lower = Tar::default().add("a", Facts { mode: 0o4750, ..FILE }, b"content").finish();
    let link = Facts { kind: b'1', mode: 0o4750, link: b"a", ..FILE };
    let world = loaded(&[lower, Tar::default().add("b", link, b"").finish()]);
    world.shale(&["export", "-o", "../tree/", NAME]).ok();
    assert_eq!(world.read("tree/b"), "content");
    let Image { files, .. } = image(&world, NAME);
    assert_eq!(files.lines().filter(|line| line.starts_with("-rwsr-x--- ")).count(), 2, "{files}");
}

#[test]
fn shale_to_shale() {
    let world = loaded(&layers());
    let first = image(&world, NAME);
    for format in ["docker", "oci", "docker-archive", "oci-archive", "oci-dir"] {
        let file = format!("{format}.saved");
        world.shale(&["save", "--format", format, "-o", &format!("../{file}"), NAME]).ok();
        assert_eq!(came_back(&world, &file, NAME), first, "{format}");
    }
    let piped = world.command(&["save", NAME]).output().unwrap();
    let other = World::new();
    let packed = zstd::encode_all(&piped.stdout[..], 1).unwrap();
    other.shale_with_input(&["load", "-q"], &packed).ok();
    assert_eq!(image(&other, NAME), first);
    // By its id it has no name.
    let unnamed = World::new();
    world.shale(&["save", "-o", "../id.tar", &first.id]).ok();
    let said = unnamed.shale(&["load", "-i", world.path("id.tar").to_str().unwrap()]);
    assert_eq!(said.ok(), format!("Loaded image ID: {}", first.id));
}

#[test]
fn several_images_in_one_archive() {
    let world = loaded(&layers());
    let second = Tar::default().add("other", FILE, b"other").finish();
    world.write("second.tar", docker_archive(&[layers()[0].clone(), second], "other:2"));
    world.shale(&["load", "-i", "../second.tar"]).ok();
    world.shale(&["tag", NAME, "zoo:2"]).ok();
    world.shale(&["tag", NAME, "localhost:5000/team/zoo:3"]).ok();
    let names = ["zoo:1", "zoo:2", "localhost:5000/team/zoo:3", "other:2"];
    for format in ["docker", "oci"] {
        let save = ["save", "--format", format, "-o", "../all.tar"];
        // A repository without a tag is all its tags.
        world.shale(&[&save[..], &["zoo", "localhost:5000/team/zoo:3", "other:2"]].concat()).ok();
        let other = World::new();
        let said = other.shale(&["load", "-i", world.path("all.tar").to_str().unwrap()]);
        for name in names {
            assert!(said.ok().contains(&format!("Loaded image: {name}")), "{said}");
            assert_eq!(image(&other, name), image(&world, name), "{format} {name}");
        }
    }
    world.shale(&["save", "-o", "../x.tar", "zoo:1", "nosuch"]).fails(1, &["no such image"]);
    assert!(!world.path("x.tar").exists());
}

#[test]
fn skopeo_takes_every_archive_and_gives_it_back() {
    need!("skopeo");
    let world = loaded(&layers());
    let first = image(&world, NAME);
    world.shale(&["save", "-o", "../docker.tar", NAME]).ok();
    world.shale(&["save", "--format", "oci", "-o", "../oci.tar", NAME]).ok();
    world.shale(&["save", "--format", "oci-dir", "-o", "../layout", NAME]).ok();
    // Each form to itself: nothing is converted, so the image is the same to its last byte.
    skopeo(&world, "docker-archive:../docker.tar", "docker-archive:../docker2.tar:zoo:1");
    skopeo(&world, "oci-archive:../oci.tar", "oci-archive:../oci2.tar:zoo:1");
    skopeo(&world, "oci:../layout:1", "oci:../layout2:zoo:1");
    for file in ["docker2.tar", "oci2.tar", "layout2"] {
        assert_eq!(came_back(&world, file, NAME), first, "{file}");
    }
    // From one to another skopeo writes the config anew, so the id is another one; the files are the same.
    skopeo(&world, "docker-archive:../docker.tar", "oci-archive:../oci3.tar:zoo:1");
    skopeo(&world, "oci-archive:../oci.tar", "docker-archive:../docker3.tar:zoo:1");
    skopeo(&world, "oci-archive:../oci.tar", "dir:../dir");
    skopeo(&world, "dir:../dir", "docker-archive:../docker4.tar:zoo:1");
    for file in ["oci3.tar", "docker3.tar", "docker4.tar"] {
        assert_eq!(came_back(&world, file, NAME).files, first.files, "{file}");
    }
    // One of several images.
    world.shale(&["tag", NAME, "zoo:2"]).ok();
    let other = docker_archive(&[Tar::default().add("x", FILE, b"x").finish()], "other:1");
    world.write("other.tar", other);
    world.shale(&["load", "-i", "../other.tar"]).ok();
    world.shale(&["save", "-o", "../all.tar", "zoo", "other:1"]).ok();
    for name in ["zoo:1", "zoo:2", "other:1"] {
        let from = format!("docker-archive:../all.tar:{name}");
        let to = format!("one-{}.tar", name.replace(':', "-"));
        skopeo(&world, &from, &format!("docker-archive:../{to}:{name}"));
        assert_eq!(came_back(&world, &to, name), image(&world, name), "{name}");
    }
}

#[test]
fn podman_and_buildah_take_every_archive_and_give_it_back() {
    need!("root", "podman", "buildah");
    let world = loaded(&layers());
    let first = image(&world, NAME);
    let forms = [("docker", "docker-archive"), ("oci", "oci-archive")];
    for (ours, theirs) in forms {
        let file = format!("{ours}.tar");
        world.shale(&["save", "--format", ours, "-o", &format!("../{file}"), NAME]).ok();
        let storage = Storage::new();
        let said = storage.run(&world, "podman", &["load", "-i", &format!("../{file}")]);
        let name =
            said.ok().lines().last().unwrap().trim_start_matches("Loaded image: ").to_owned();
        assert!(name.ends_with(NAME), "{said}");
        let saved = format!("podman-{theirs}.tar");
        let save = ["save", "-q", "--format", theirs, "-o", &format!("../{saved}"), &name];
        storage.run(&world, "podman", &save).ok();
        let back = came_back(&world, &saved, &name);
        assert_eq!(back.files, first.files, "{theirs}");
        assert_eq!(back.id, first.id, "{theirs}");
        let pulled = Storage::new();
        let from = format!("{theirs}:../{file}");
        let id = pulled.run(&world, "buildah", &["pull", "-q", &from]).ok().to_owned();
        let pushed = format!("buildah-{theirs}.tar");
        let to = format!("{theirs}:../{pushed}:zoo:1");
        // buildah writes Docker's form into OCI archives unless told otherwise.
        let push = ["push", "-q", "--format", if ours == "oci" { "oci" } else { "v2s2" }, &id, &to];
        pulled.run(&world, "buildah", &push).ok();
        assert_eq!(came_back(&world, &pushed, NAME), first, "buildah {theirs}");
    }
}

#[test]
fn docker_takes_every_archive_and_gives_it_back() {
    need!("root", "dockerd", "docker");
    let world = loaded(&layers());
    let first = image(&world, NAME);
    let engine = Dockerd::start();
    // The OCI form this engine may read or not: versions before 25 do not. Docker's form all read.
    world.shale(&["save", "-o", "../docker.tar", NAME]).ok();
    let said = engine.docker(&world, &["load", "-i", "../docker.tar"]);
    assert!(said.ok().contains("Loaded image: zoo:1"), "{said}");
    engine.docker(&world, &["save", "-o", "../back.tar", NAME]).ok();
    assert_eq!(came_back(&world, "back.tar", NAME), first);
    // The engine sees the same files as shale, but for those that it puts into every container.
    let container = engine.docker(&world, &["create", NAME]);
    engine.docker(&world, &["export", "-o", "../flat.tar", container.ok()]).ok();
    world.shale(&["import", "../flat.tar", "flat"]).ok();
    let theirs = image(&world, "flat").files;
    let own = ["dev/", ".dockerenv", "etc/", "proc/", "sys/"];
    // It knows no time before 1970.
    let is_own = |line: &&str| {
        line.ends_with(" old") || own.iter().any(|own| line.contains(&format!(" {own}")))
    };
    // The digest over all content at the end covers its own files too.
    let lines = |files: &str| -> Vec<String> {
        let content = files.lines().count() - 1;
        files.lines().take(content).filter(|line| !is_own(line)).map(str::to_owned).collect()
    };
    let (theirs, ours) = (lines(&theirs), lines(&first.files));
    let only = |some: &[String], others: &[String]| -> Vec<String> {
        some.iter().filter(|line| !others.contains(line)).cloned().collect()
    };
    assert_eq!((only(&theirs, &ours), only(&ours, &theirs)), (Vec::new(), Vec::new()));
}

#[test]
fn as_many_layers_as_there_may_be_and_none() {
    need!("skopeo");
    let layer = |at: usize| Tar::default().add(format!("f{at}"), FILE, &[b'x'; 10]).finish();
    let many: Vec<Vec<u8>> = (0..130).map(layer).collect();
    for layers in [many, Vec::new()] {
        let world = loaded(&layers);
        let first = image(&world, NAME);
        for (ours, theirs) in [("docker", "docker-archive"), ("oci", "oci-archive")] {
            world.shale(&["save", "--format", ours, "-o", "../one.tar", NAME]).ok();
            assert_eq!(came_back(&world, "one.tar", NAME), first);
            let to = format!("{theirs}:../two.tar:{NAME}");
            skopeo(&world, &format!("{theirs}:../one.tar"), &to);
            assert_eq!(came_back(&world, "two.tar", NAME), first, "{theirs}");
            std::fs::remove_file(world.path("two.tar")).unwrap();
        }
        // docker takes neither: it has at most 125 layers, and no image without one.
        if testkit::need::is_met(&["root", "podman"]) {
            let storage = Storage::new();
            storage.run(&world, "podman", &["load", "-q", "-i", "../one.tar"]).ok();
            let save = ["save", "-q", "--format", "oci-archive", "-o", "../podman.tar", NAME];
            storage.run(&world, "podman", &save).ok();
            let name = "localhost/zoo:1";
            let other = World::new();
            let path = world.path("podman.tar");
            let loaded = other.shale(&["load", "-i", path.to_str().unwrap()]).ok().to_owned();
            let name = if loaded.ends_with(name) { name } else { NAME };
            assert_eq!(image(&other, name), first);
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn files_of_an_image_go_to_a_directory_too() {
    let layer = Tar::default()
        .add("d/", DIR, b"")
        .add("d/a", Facts { mode: 0o640, ..FILE }, b"content")
        .add("d/b", Facts { kind: b'1', link: b"d/a", ..FILE }, b"")
        .add("link", Facts { kind: b'2', link: b"d/a", ..FILE }, b"");
    let world = loaded(&[layer.finish()]);
    world.shale(&["export", "-o", "../tree/", NAME]).ok();
    assert_eq!(
        (world.read("tree/d/b"), world.read("tree/link")),
        ("content".into(), "content".into())
    );
    let piped = world.command(&["export", NAME]).output().unwrap();
    world.write("piped.tar", &piped.stdout);
    world.shale(&["export", "-o", "../named.tar", NAME]).ok();
    assert_eq!(listing(&world, "../piped.tar"), listing(&world, "../named.tar"));
    world
        .shale(&["export", "--platform", "linux/s390x", NAME])
        .fails(2, &["nothing for linux/s390x"]);
    // Out as files and in again: another layer, the same files.
    world.shale(&["import", "../named.tar", "again"]).ok();
    assert_eq!(image(&world, "again").files, image(&world, NAME).files);
}
