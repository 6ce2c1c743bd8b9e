//! Images of which every digest is right and which are wrong all the same: exit code 4 with the reason, nothing built
//! on them, nothing half-made in the store.

use testkit::image::{TestImage, descriptor, gzip};
use testkit::registry::TestRegistry;
use testkit::rootfs::TarBuilder;
use world::World;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Wrong {
    name: &'static str,
    image: TestImage,
    /// What pulling and building on it say; empty when it works.
    pull: &'static str,
    build: &'static str,
}

#[test]
fn images_that_are_wrong_in_themselves() {
    let all = wrong_layers().into_iter().chain(wrong_documents());
    let told: Vec<String> = all.filter_map(|wrong| wrong.judge().err()).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn no_further_layer_is_asked_for_once_one_has_failed() {
    let layer = |n: u8| TarBuilder::new().file("a", 0o644, &[n; 5000]).finish();
    let image = TestImage::new(&(0..30).map(layer).collect::<Vec<_>>());
    let (world, registry) = (World::new(), TestRegistry::start());
    // The config alone is there.
    registry.put_blob("app", &image.config);
    registry.put_manifest("app", "1", MANIFEST, &image.manifest);
    let name = registry.name("app:1");
    world.dockerfile(&format!("FROM {name}\nCOPY Dockerfile /made\nRUN true\n"));
    for run in [&["pull", &name][..], &["build", "."]] {
        registry.clear_log();
        world.shale(run).fails(4, &["404"]);
        let asked = registry.calls().iter().filter(|call| call.ends_with(" 404")).count();
        assert!((1..=4).contains(&asked), "{run:?}: {asked}");
    }
}

impl Wrong {
    /// Neither can be pulled nor built on.
    fn at_once(name: &'static str, image: TestImage, words: &'static str) -> Wrong {
        Wrong { name, image, pull: words, build: words }
    }

    /// Both see it when they unpack: a pull to compare digests, a build to have the files.
    fn unpacked(
        name: &'static str,
        image: TestImage,
        (pull, build): (&'static str, &'static str),
    ) -> Wrong {
        Wrong { name, image, pull, build }
    }

    fn judge(&self) -> Result<(), String> {
        let (world, registry) = (World::new(), TestRegistry::start());
        push(&registry, &self.image);
        let name = registry.name("app:1");
        world.dockerfile(&format!("FROM {name}\nCOPY Dockerfile /made\n"));
        for (run, words) in [
            (world.build(&["-t", "built"]), self.build),
            (world.shale(&["pull", &name]), self.pull),
        ] {
            let code = if words.is_empty() { 0 } else { 4 };
            if run.code != Some(code) || !run.stderr.contains(words) {
                return Err(format!("{}: expected {code} with {words:?}\n{run}", self.name));
            }
        }
        let is_built = world.shale(&["images"]).ok().contains("built");
        world.shale(&["cache", "verify"]).ok();
        match is_built == self.build.is_empty() {
            true => Ok(()),
            false => Err(format!("{}: an image is there: {is_built}", self.name)),
        }
    }
}

fn wrong_layers() -> Vec<Wrong> {
    let gzipped = good().layers[0].clone();
    let size = size_member(gzipped.len());
    let other_diff_id = TestImage::with_config(&[tar()], |config| {
        config.rootfs.diff_ids[0].0 = descriptor("", b"other").digest;
    });
    let other_tar = TarBuilder::new().file("b", 0o644, b"other").finish();
    let cut = gzipped[..gzipped.len() - 9].to_vec();
    let behind = [gzipped.clone(), b"behind".to_vec()].concat();
    // A header that promises a file of a terabyte.
    let mut huge = tar();
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
    fix_checksum(&mut huge);
    let (other, bad) = ("unpacks to", "cannot be unpacked");
    let html = b"<html>sign in</html>".to_vec();
    let (long, short) =
        (with_manifest(&size, &size_member(99_999)), with_manifest(&size, &size_member(9)));
    let digest = digest_of(&gzipped);
    vec![
        Wrong::at_once("another diff id", other_diff_id, other),
        Wrong::at_once("layer of another image", with_layer(gzip(&other_tar)), other),
        Wrong::at_once("layer that is cut", with_layer(cut), bad),
        Wrong::unpacked("layer that is no tar", with_layer(html), (other, bad)),
        Wrong::at_once("layer with something behind it", with_layer(behind), bad),
        Wrong::unpacked(
            "layer of a terabyte",
            with_layer(gzip(&huge)),
            (other, "unpacks to more than 64 GiB"),
        ),
        Wrong::at_once("layer shorter than said", long, "not 99999 bytes"),
        Wrong::at_once("layer longer than said", short, "not 9 bytes"),
        Wrong::at_once("negative size", with_manifest(&size, "\"size\": -9"), "invalid value"),
        Wrong::at_once("no digest", with_manifest(&digest, "sha256:../../etc/passwd"), "digest"),
    ]
}

fn wrong_documents() -> Vec<Wrong> {
    let no_diff_ids = TestImage::with_config(&[tar()], |config| config.rootfs.diff_ids.clear());
    let twice = with_config(replaced(&good().config, "{", "{\"os\":\"linux\","));
    let plan9 = with_config(replaced(&good().config, "\"linux\"", "\"plan9\""));
    let mut indexes = TestImage::new(&[]);
    indexes.manifest = index_with(&index_with(b"{}"));
    let layers = vec![tar(); 501];
    vec![
        Wrong::at_once("too many layers", TestImage::new(&layers), "more than 500 layers"),
        Wrong::at_once("fewer diff ids than layers", no_diff_ids, "different numbers of layers"),
        Wrong::at_once("config that is no JSON", with_config(b"hello".to_vec()), "config"),
        Wrong::at_once("config with a key twice", twice, "twice"),
        // A warning is all that docker has for it, too.
        Wrong::at_once("config of another system", plan9, ""),
        Wrong::at_once("index of indexes", indexes, "an index lists another index"),
    ]
}

/// Puts an image's parts under the names that its manifest has, whatever they are.
fn push(registry: &TestRegistry, image: &TestImage) {
    for blob in image.layers.iter().chain([&image.config]) {
        registry.put_blob("app", blob);
    }
    let is_index = String::from_utf8_lossy(&image.manifest).contains("\"manifests\"");
    let media_type = if is_index { INDEX } else { MANIFEST };
    registry.put_manifest("app", "1", media_type, &image.manifest);
    if is_index {
        registry.put_manifest("app", "inner", INDEX, &index_with(b"{}"));
    }
}

fn tar() -> Vec<u8> {
    TarBuilder::new().file("a", 0o644, &[7; 5000]).finish()
}

fn good() -> TestImage {
    TestImage::new(&[tar()])
}

fn with_layer(layer: Vec<u8>) -> TestImage {
    let mut image = good();
    image.manifest = pointed(&image.manifest, &image.layers[0], &layer);
    image.layers[0] = layer;
    image
}

fn with_config(config: Vec<u8>) -> TestImage {
    let mut image = good();
    image.manifest = pointed(&image.manifest, &image.config, &config);
    image.config = config;
    image
}

fn with_manifest(from: &str, to: &str) -> TestImage {
    let mut image = good();
    image.manifest = replaced(&image.manifest, from, to);
    image
}

/// A manifest that names another blob.
fn pointed(manifest: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let manifest = replaced(manifest, &digest_of(old), &digest_of(new));
    replaced(&manifest, &size_member(old.len()), &size_member(new.len()))
}

fn size_member(length: usize) -> String {
    format!("\"size\": {length}")
}

fn digest_of(bytes: &[u8]) -> String {
    descriptor("", bytes).digest.to_string()
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

/// An index whose only image is an index.
fn index_with(inner: &[u8]) -> Vec<u8> {
    let one = descriptor(INDEX, inner);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": INDEX,
            "digest": one.digest.to_string(),
            "size": one.size_bytes,
            "platform": {"os": "linux", "architecture": architecture},
        }],
    })
    .to_string()
    .into_bytes()
}

/// Makes the first header's checksum right.
fn fix_checksum(tar: &mut [u8]) {
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|byte| u32::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
