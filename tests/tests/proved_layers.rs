//! What an image's config says of its layers is seen to be true before the image gets a name and before anybody gets a
//! layer of it, once for each blob (spec/security.md R3).

use testkit::image::{TestImage, descriptor, gzip};
use testkit::registry::TestRegistry;
use testkit::rootfs::TarBuilder;
use world::World;

const LIE: &str = "unpacks to";

fn tar(name: &str, length: usize) -> Vec<u8> {
    TarBuilder::new().file(name, 0o644, &vec![b'x'; length]).finish()
}

/// An image whose second layer is the tar of another one than its config says.
fn liar() -> TestImage {
    TestImage::with_config(&[tar("a", 9000), tar("evil", 20)], |config| {
        config.rootfs.diff_ids[1].0 = digest(&tar("good", 20)).parse().unwrap();
    })
}

fn digest(bytes: &[u8]) -> String {
    descriptor("", bytes).digest.to_string()
}

fn notes(world: &World) -> std::path::PathBuf {
    world.store().join("layer-blobs")
}

#[test]
fn a_pull_of_a_lying_image_names_nothing() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let image = liar();
    image.push_to(&registry, "app", "1");
    let name = registry.name("app:1");
    let blob = digest(&image.layers[1]);
    let (found, said) = (digest(&tar("evil", 20)), digest(&tar("good", 20)));
    for _ in 0..2 {
        world.shale(&["pull", &name]).fails(4, &[&blob, &found, LIE, &said]);
        assert_eq!(world.shale(&["images", "-aq"]).ok(), "");
    }
    // The layer that is what it says was noted.
    assert_eq!(std::fs::read_dir(notes(&world)).unwrap().count(), 1);
}

#[test]
fn a_name_stays_with_the_image_that_told_the_truth() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let honest = TestImage::new(&[tar("a", 9000), tar("good", 20)]);
    honest.push_to(&registry, "app", "1");
    let name = registry.name("app:1");
    world.shale(&["pull", &name]).ok();
    let before = world.shale(&["images", "--digests", "--no-trunc"]).ok().to_owned();
    // The same config over other bytes.
    let mut liar = liar();
    let (old, new) = (&honest.layers[1], &liar.layers[1]);
    let text = String::from_utf8(honest.manifest.clone()).unwrap();
    let text = text.replace(&digest(old), &digest(new));
    let size = |bytes: &[u8]| format!("\"size\": {}", bytes.len());
    liar.manifest = text.replace(&size(old), &size(new)).into_bytes();
    liar.config = honest.config.clone();
    liar.push_to(&registry, "app", "1");
    world.shale(&["pull", &name]).fails(4, &[LIE]);
    assert_eq!(world.shale(&["images", "--digests", "--no-trunc"]).ok(), before);
    assert!(world.shale(&["save", &name, "-o", "whole.tar"]).code == Some(0));
}

#[test]
fn what_was_proved_is_not_read_again_and_what_was_not_is_before_it_goes_out() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let image = TestImage::new(&[tar("a", 9000), tar("b", 70_000)]);
    image.push_to(&registry, "app", "1");
    let (name, other) = (registry.name("app:1"), registry.name("other:1"));
    world.shale(&["pull", &name]).ok();
    let sizes = || world.shale(&["history", "--format", "{{.Size}}", &name]).ok().to_owned();
    assert_eq!(sizes(), "70kB\n9kB");
    // As a store of an earlier version has it.
    std::fs::remove_dir_all(notes(&world)).unwrap();
    std::fs::create_dir(notes(&world)).unwrap();
    world.shale(&["tag", &name, &other]).ok();
    world.shale(&["push", &other]).ok();
    assert_eq!(std::fs::read_dir(notes(&world)).unwrap().count(), 2);
    assert_eq!(sizes(), "70kB\n9kB");
    // A blob whose note is there is not opened: this one cannot be.
    let blob =
        world.store().join("blobs/sha256").join(&digest(&image.layers[1])["sha256:".len()..]);
    let (whole, size) = (std::fs::read(&blob).unwrap(), image.layers[1].len());
    std::fs::write(&blob, vec![0; size]).unwrap();
    world.shale(&["pull", &name]).ok();
    std::fs::remove_dir_all(notes(&world)).unwrap();
    std::fs::create_dir(notes(&world)).unwrap();
    world.shale(&["pull", &name]).fails(4, &[LIE]);
    world.shale(&["push", &other]).fails(1, &[LIE, "shale rmi"]);
    world.shale(&["save", &name, "-o", "no.tar"]).fails(1, &[LIE]);
    assert!(!world.path("no.tar").exists());
    std::fs::write(&blob, whole).unwrap();
    world.shale(&["push", &other]).ok();
}

#[test]
fn a_layer_that_is_only_passed_on_is_looked_into_on_the_way() {
    let world = World::new();
    let (from, to) = (TestRegistry::start(), TestRegistry::start());
    liar().push_to(&from, "app", "1");
    world.dockerfile(&format!("FROM {}\nENV a=b\n", from.name("app:1")));
    // Nothing is unpacked for this, the layers go from one registry to the other.
    let target = to.name("made:1");
    world.build(&["-t", &target, "--push"]).fails(4, &[LIE]);
    assert!(to.manifest("made", "1").is_none());
}

#[test]
fn a_blob_of_two_layers_is_one_of_them() {
    let (world, registry) = (World::new(), TestRegistry::start());
    // The same blob twice, and the config says two things of it.
    let image = TestImage::with_config(&[tar("a", 10), tar("a", 10)], |config| {
        config.rootfs.diff_ids[1].0 = digest(b"other").parse().unwrap();
    });
    image.push_to(&registry, "app", "1");
    world.shale(&["pull", &registry.name("app:1")]).fails(4, &[LIE]);
    let image = TestImage::new(&[tar("a", 10), tar("a", 10)]);
    image.push_to(&registry, "app", "2");
    world.shale(&["pull", &registry.name("app:2")]).ok();
}

#[test]
fn layers_of_every_compression_are_proved() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let tar = tar("a", 300_000);
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    for (at, blob) in [tar.clone(), gzip(&tar), zstd, gzip(&tar[..50_000])].iter().enumerate() {
        let mut image = TestImage::new(std::slice::from_ref(&tar));
        let layer = descriptor("application/vnd.oci.image.layer.v1.tar+gzip", blob);
        let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
        manifest["layers"][0]["digest"] = layer.digest.to_string().into();
        manifest["layers"][0]["size"] = layer.size_bytes.into();
        image.manifest = serde_json::to_vec(&manifest).unwrap();
        image.layers = vec![blob.clone()];
        image.push_to(&registry, "app", &at.to_string());
        let name = registry.name(&format!("app:{at}"));
        let run = world.shale(&["pull", &name]);
        if at < 3 {
            run.ok();
            let shown = world.shale(&["images", "--format", "{{.Size}}", &name]);
            assert_eq!(shown.ok(), "300kB", "{at}");
        } else {
            run.fails(4, &[LIE]);
        }
    }
}

#[test]
fn a_packed_layer_is_not_the_tar_of_its_own_digest() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let blob = digest(&gzip(&tar("a", 300_000)));
    let image = TestImage::with_config(&[tar("a", 300_000)], |config| {
        config.rootfs.diff_ids[0].0 = blob.parse().unwrap();
    });
    image.push_to(&registry, "app", "1");
    let name = registry.name("app:1");
    for _ in 0..2 {
        world.shale(&["pull", &name]).fails(4, &[&digest(&tar("a", 300_000)), LIE, &blob]);
        assert_eq!(world.shale(&["images", "-aq"]).ok(), "");
    }
    assert_eq!(std::fs::read_dir(notes(&world)).unwrap().count(), 0);
}

#[test]
fn a_blob_that_is_there_is_not_taken_for_one_of_another_length() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let image = TestImage::new(&[tar("a", 70_000)]);
    image.push_to(&registry, "app", "1");
    world.shale(&["pull", &registry.name("app:1")]).ok();
    let kind = "application/vnd.oci.image.manifest.v1+json";
    for (tag, at) in [("config", "/config"), ("layer", "/layers/0")] {
        let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
        let blob = manifest.pointer_mut(at).unwrap();
        // A config that is really a layer would be read whole.
        blob["digest"] = digest(&image.layers[0]).into();
        blob["size"] = 10.into();
        registry.put_manifest("app", tag, kind, &serde_json::to_vec(&manifest).unwrap());
        world.shale(&["pull", &registry.name(&format!("app:{tag}"))]).fails(4, &["not 10 bytes"]);
        assert_eq!(world.shale(&["images", "-aq"]).ok().lines().count(), 1);
    }
}

/// An image whose only layer may not be given on and lies elsewhere.
fn foreign(tar: &[u8], url: &str) -> TestImage {
    let mut image = TestImage::new(&[tar.to_vec()]);
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    let layer = &mut manifest["layers"][0];
    layer["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into();
    layer["urls"] = serde_json::json!(["http://127.0.0.1:1/nobody", "file:///etc/passwd", url]);
    image.manifest = serde_json::to_vec(&manifest).unwrap();
    image
}

#[test]
fn a_layer_that_may_not_be_given_on_comes_from_elsewhere() {
    let (world, registry) = (World::new(), TestRegistry::start());
    // Any server will do; this one wants to know nobody.
    let elsewhere = TestRegistry::start();
    let tar = tar("a", 70_000);
    let blob = elsewhere.put_blob("files", &gzip(&tar));
    let url = format!("http://{}/v2/files/blobs/{blob}", elsewhere.host());
    let image = foreign(&tar, &url);
    registry.put_blob("app", &image.config);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest("app", "1", kind, &image.manifest);
    let (name, copy) = (registry.name("app:1"), registry.name("copy:1"));
    let host = registry.host();
    let auth = format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6c2VjcmV0"}}}}}}"#);
    world.write("home/.docker/config.json", auth);
    world.shale(&["pull", &name]).ok();
    assert_eq!(world.shale(&["history", "--format", "{{.Size}}", &name]).ok(), "70kB");
    assert!(elsewhere.log().iter().all(|one| !one.headers.contains_key("authorization")));
    // It stays where it is, unless its sender says so.
    world.shale(&["tag", &name, &copy]).ok();
    // This registry wants to have all itself.
    world.shale(&["push", &copy]).fails(4, &["MANIFEST_BLOB_UNKNOWN"]);
    assert!(registry.blob("copy", &blob).is_none());
    world.shale(&["push", "--allow-nondistributable-artifacts", &copy]).ok();
    assert!(registry.blob("copy", &blob).is_some());
}

#[test]
fn other_bytes_from_elsewhere_are_no_layer() {
    let (world, registry) = (World::new(), TestRegistry::start());
    let elsewhere = TestRegistry::start();
    let (good, evil) = (tar("a", 500), gzip(&tar("evil", 500)));
    let blob = elsewhere.put_blob("files", &evil);
    let image = foreign(&good, &format!("http://{}/v2/files/blobs/{blob}", elsewhere.host()));
    registry.put_blob("app", &image.config);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.put_manifest("app", "1", kind, &image.manifest);
    // What the registry said is told.
    world.shale(&["pull", &registry.name("app:1")]).fails(4, &["404"]);
    assert_eq!(world.shale(&["images", "-aq"]).ok(), "");
}

#[test]
fn a_configuration_that_waits_for_ever_is_none() {
    let world = World::new();
    let config = world.path("home/.docker/config.json");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    world.program("mkfifo", &[config.to_str().unwrap()]).ok();
    let odd = "it is not a regular file";
    let login = ["login", "-u", "me", "--password-stdin", "127.0.0.1:1"];
    world.shale_with_input(&login, b"secret").fails(1, &[odd]);
    world.shale(&["logout", "127.0.0.1:1"]).fails(1, &[odd]);
    // Others go on without it.
    world.shale(&["registry", "explain", "app"]).ok();
    assert!(world.shale(&["registry", "explain", "app"]).stderr.contains(odd));
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let world = World::new();
    world.dockerfile("FROM scratch\nADD http://me:secret@127.0.0.1:1/x /x\n");
    for progress in ["plain", "rawjson", "quiet"] {
        let run = world.shale(&["build", "--progress", progress, "."]);
        run.fails(4, &["127.0.0.1:1/x"]);
        assert!(!run.stderr.contains("secret") && !run.stdout.contains("secret"), "{run}");
    }
}
