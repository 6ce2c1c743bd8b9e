//! Caches inside images' configs.

use remotecache::inline;
use testkit::image::TestImage;
use testkit::registry::TestRegistry;
use testkit::rootfs::TarBuilder;

use super::*;

/// An image with `layers` layers of its own above one of a base, whose config holds a cache of them, and one record
/// whose layer the image has not.
fn image(platform: &str, layers: usize) -> (TestImage, CacheDocument) {
    let tars: Vec<Vec<u8>> = (0..=layers)
        .map(|n| TarBuilder::new().file(&format!("{platform}{n}"), 0o644, b"x").finish())
        .collect();
    let plain = TestImage::new(&tars);
    let diff_ids: Vec<DiffId> = tars.iter().map(|tar| DiffId(Digest::of(tar))).collect();
    let mut all = cache(&["a", "b", "c", "d"][..layers + 1]);
    for (place, layer) in all.document.layers.iter_mut().take(layers).enumerate() {
        layer.diff_id = diff_ids[place + 1];
        let blob = &plain.layers[place + 1];
        layer.descriptor =
            Descriptor::new(media::OCI_LAYER_GZIP, Digest::of(blob), blob.len() as u64);
    }
    for entry in &mut all.document.records {
        entry.instruction =
            InstructionDigest(Digest::of(format!("{platform} {}", entry.step).as_bytes()));
        entry.keys = vec![CacheKey(Digest::of(format!("{platform} {}", entry.step).as_bytes()))];
    }
    let members = inline::members(&all.document, &diff_ids).expect("members");
    let image = TestImage::with_config(&tars, |config| config.extra.extend(members));
    all.document.records.pop();
    all.document.layers.pop();
    (image, all.document)
}

fn read(registry: &TestRegistry, rest: &str) -> CacheDocument {
    let reference = registry.name(rest).parse().expect("reference");
    let place = from(ImportPlace::Registry { reference, insecure: false });
    place.read().expect("read").expect("a document")
}

#[test]
fn an_image_brings_its_cache() {
    let registry = TestRegistry::start();
    let (image, document) = image("amd64", 2);
    image.push_to(&registry, "app", "1");
    let found = read(&registry, "app:1"); // CIO-06
    assert_eq!(found.encode().expect("encode"), document.encode().expect("encode"));
}

#[test]
fn an_index_brings_the_caches_of_all_its_images() {
    let registry = TestRegistry::start();
    let images = ["amd64", "arm64"].map(|platform| image(platform, 2));
    let mut entries = Vec::new();
    for (n, (image, _)) in images.iter().enumerate() {
        image.push_to(&registry, "app", &format!("part{n}"));
        entries.push(serde_json::json!({
            "mediaType": media::OCI_MANIFEST,
            "digest": image.digest().to_string(),
            "size": image.manifest.len(),
        }));
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries,
    });
    registry.put_manifest("app", "all", media::OCI_INDEX, index.to_string().as_bytes());
    assert_eq!(read(&registry, "app:all").records.len(), 4); // CIO-14
}

#[test]
fn buildkits_member_is_one_that_it_reads() {
    use base64::Engine as _;
    let (image, _) = image("amd64", 2);
    let config: serde_json::Value = serde_json::from_slice(&image.config).expect("JSON");
    let text = config["moby.buildkit.cache.v0"].as_str().expect("base64, as Go writes bytes");
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    let records: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    let tops: Vec<u64> = records
        .as_array()
        .expect("a list")
        .iter()
        .map(|record| record["layers"][0]["layer"].as_u64().expect("a place"))
        .collect();
    assert_eq!(tops, [1, 2]); // places in the image, above the base's layer
}
