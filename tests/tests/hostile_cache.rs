//! Caches and images that lie: what they say of themselves never becomes a wrong result, of this build or a later one.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::Digest as _;
use world::{Run, World};

const STEPS: &str = "\
FROM base
RUN echo below > /below
RUN echo top > /top
CMD [\"cat\", \"/below\", \"/top\"]
";

/// A cache in a directory, whose document can be changed.
struct Cache(PathBuf);

impl Cache {
    /// Of a build of this Dockerfile, on a machine of its own.
    fn of(dockerfile: &str, into: &World, name: &str) -> Cache {
        let world = machine(dockerfile);
        let cache = Cache(into.path(name));
        let to = format!("type=local,dest={},mode=max", cache.0.display());
        world.build(&["-t", "app", "--cache-to", &to]).ok();
        cache
    }

    fn from(&self) -> String {
        format!("type=local,src={}", self.0.display())
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        self.0.join("blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
    }

    /// Stores bytes; their descriptor, of the kind that another one has.
    fn put(&self, bytes: &[u8], like: &Value) -> Value {
        let hex: String =
            sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(self.0.join("blobs/sha256").join(&hex), bytes).unwrap();
        let mut descriptor = like.clone();
        descriptor["digest"] = json!(format!("sha256:{hex}"));
        descriptor["size"] = json!(bytes.len());
        descriptor
    }

    fn document(&self) -> Value {
        let manifest = read(&self.blob(&read(&self.0.join("index.json"))["manifests"][0]));
        let bytes = std::fs::read(self.blob(own(&manifest))).unwrap();
        serde_json::from_slice(&zstd::decode_all(&bytes[..]).unwrap()).unwrap()
    }

    fn set(&self, document: &Value) {
        let index_path = self.0.join("index.json");
        let mut index = read(&index_path);
        let mut manifest = read(&self.blob(&index["manifests"][0]));
        let bytes = zstd::encode_all(document.to_string().as_bytes(), 1).unwrap();
        let descriptor = self.put(&bytes, own(&manifest));
        *manifest["layers"].as_array_mut().unwrap().last_mut().unwrap() = descriptor;
        let named = index["manifests"][0].clone();
        index["manifests"][0] = self.put(manifest.to_string().as_bytes(), &named);
        std::fs::write(index_path, index.to_string()).unwrap();
    }
}

/// The document is the last blob of the manifest.
fn own(manifest: &Value) -> &Value {
    let own = manifest["layers"].as_array().unwrap().last().unwrap();
    assert!(own["mediaType"].as_str().unwrap().contains("shale.cache"), "{own}");
    own
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn machine(dockerfile: &str) -> World {
    let world = World::new();
    world.base();
    world.dockerfile(dockerfile);
    world
}

/// The record of a step.
fn record<'a>(document: &'a mut Value, step: &str) -> &'a mut Value {
    let mut records = document["records"].as_array_mut().unwrap().iter_mut();
    records.find(|record| record["step"] == step).unwrap()
}

#[track_caller]
fn assert_right(world: &World, built: &Run) {
    built.ok();
    assert_eq!(world.shale(&["run", "app"]).ok(), "below\ntop", "{built}");
}

#[test]
fn a_layer_that_is_not_what_a_cache_says_is_made_again() {
    let first = World::new();
    if !first.base() {
        return;
    }
    let cache = Cache::of(STEPS, &first, "cache");
    let honest = cache.document();
    let lie = |change: &dyn Fn(&mut Value), why: &str| {
        let mut document = honest.clone();
        let at = record(&mut document, "RUN echo top > /top")["layer"].as_u64().unwrap();
        change(&mut document["layers"][at as usize]);
        cache.set(&document);
        let world = machine(STEPS);
        let built = world.build(&["-t", "app", "--cache-from", &cache.from()]);
        assert_right(&world, &built);
        assert!(built.stderr.contains("built without imported caches"), "{built}");
        assert!(built.stderr.contains(why) && built.stderr.contains("local cache"), "{built}");
        assert_eq!(built.ran().len(), 2, "{built}");
        // Nor is anything of it believed by the next build.
        assert_right(&world, &world.build(&["-t", "app"]));
    };
    let digest = |digit: &str| json!(format!("sha256:{}", digit.repeat(64)));
    lie(&|layer| layer["contentId"] = digest("1"), "its content is");
    lie(&|layer| layer["diffId"] = digest("2"), "unpacks to");
    lie(&|layer| layer["blob"]["digest"] = digest("3"), "No such file");
    lie(&|layer| layer["blob"]["size"] = json!(1), "longer");
    // Nor does a step bring others below it than those that its key was made of.
    let mut document = honest.clone();
    let own = record(&mut document, "RUN echo top > /top")["layer"].clone();
    record(&mut document, "RUN echo top > /top")["layers"] = json!([own, own]);
    cache.set(&document);
    let world = machine(STEPS);
    let built = world.build(&["-t", "app", "--cache-from", &cache.from()]);
    assert_right(&world, &built);
    assert_eq!(built.ran().len(), 1, "{built}");
}

#[test]
fn a_layer_with_a_wrong_label_is_no_layer_with_a_wrong_label_in_images() {
    let first = World::new();
    if !first.base() {
        return;
    }
    let cache = Cache::of(STEPS, &first, "cache");
    let mut document = cache.document();
    for layer in document["layers"].as_array_mut().unwrap() {
        layer["blob"]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+zstd");
    }
    cache.set(&document);
    let world = machine(STEPS);
    assert_right(&world, &world.build(&["-t", "app", "--cache-from", &cache.from()]));
    world.build(&["-o", "type=oci,dest=../out,tar=false,compression=zstd"]).ok();
    let layout = Cache(world.path("out"));
    let manifest = read(&layout.blob(&read(&layout.0.join("index.json"))["manifests"][0]));
    let layers = manifest["layers"].as_array().unwrap();
    for layer in &layers[layers.len() - 2..] {
        let bytes = std::fs::read(layout.blob(layer)).unwrap();
        assert!(bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "{layer} is not zstd");
    }
}

#[test]
fn a_cache_answers_for_no_step_but_those_of_the_build_that_named_it() {
    let first = World::new();
    if !first.base() {
        return;
    }
    let cache = Cache::of(STEPS, &first, "cache");
    let other_steps = STEPS.replace("echo below", "echo other");
    let mut of_other = Cache::of(&other_steps, &first, "other").document();
    let foreign = record(&mut of_other, "RUN echo top > /top")["keys"].clone();
    let mut document = cache.document();
    let keys = record(&mut document, "RUN echo top > /top")["keys"].as_array_mut().unwrap();
    keys.extend(foreign.as_array().unwrap().clone());
    cache.set(&document);

    let world = machine(STEPS);
    let built = world.build(&["-t", "app", "--cache-from", &cache.from()]);
    assert_right(&world, &built);
    assert!(built.ran().is_empty(), "{built}");
    world.dockerfile(&other_steps);
    let built = world.build(&["-t", "app"]);
    built.ok();
    assert_eq!(world.shale(&["run", "app"]).ok(), "other\ntop", "{built}");
}

#[test]
fn an_archive_whose_layer_is_another_one_is_not_loaded() {
    let world = World::new();
    if !world.base() {
        return;
    }
    world.dockerfile(STEPS);
    world.build(&["-t", "app"]).ok();
    let told: Value = serde_json::from_str(world.shale(&["inspect", "app"]).ok()).unwrap();
    let diff_ids = told[0]["RootFS"]["Layers"].as_array().unwrap();
    let top = diff_ids.last().unwrap();
    world.write("evil/file", "evil");
    world.program("tar", &["-cf", "../evil/layer.tar", "-C", "../evil", "file"]).ok();
    let config = json!({
        "architecture": told[0]["Architecture"],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [top] },
    });
    world.write("evil/config.json", config.to_string());
    let manifest =
        json!([{ "Config": "config.json", "Layers": ["layer.tar"], "RepoTags": ["evil:1"] }]);
    world.write("evil/manifest.json", manifest.to_string());
    let files = ["config.json", "manifest.json", "layer.tar"];
    world.program("tar", &[&["-cf", "../evil.tar", "-C", "../evil"][..], &files].concat()).ok();
    world.shale(&["load", "-i", "../evil.tar"]).fails(1, &["is not the"]);
    // The layer that it took the name of is what it was.
    world.shale(&["save", "-o", "../app.tar", "app"]).ok();
    let second = World::new();
    second.shale(&["load", "-i", world.path("app.tar").to_str().unwrap()]).ok();
    assert_eq!(second.shale(&["run", "app"]).ok(), "below\ntop");
}
