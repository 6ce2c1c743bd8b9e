//! Pushing what was built, and what was pulled.

use exporter::{ExportErrorKind as Kind, ImageOptions, prepare, push};
use oci::{Digest, Platform, Reference};
use registry::{Credentials, RegistryClient, RegistryOptions};
use store::{LayerBlob, StoredManifest};
use testkit::image::TestImage;
use testkit::registry::TestRegistry;

use crate::fixture::{Fixture, chain, names};

fn client() -> RegistryClient {
    RegistryClient::new(RegistryOptions::new(Credentials::none()))
}

fn reference(registry: &TestRegistry, rest: &str) -> Reference {
    registry.name(rest).parse().expect("reference")
}

fn uploads(registry: &TestRegistry) -> usize {
    let calls = registry.calls();
    calls.iter().filter(|c| c.starts_with("PUT") && c.contains("/uploads/")).count()
}

#[test]
fn names_share_one_upload() {
    let fixture = Fixture::new();
    let prepared = fixture.prepared();
    let registry = TestRegistry::start();
    let names: Vec<Reference> =
        ["app:1", "app:2", "other/app:1"].map(|n| reference(&registry, n)).into();
    push(&prepared, &names, false, &client(), fixture.job()).expect("push");
    assert_eq!(uploads(&registry), 3, "two layers and a config"); // OUT-14
    for (repository, tag) in [("app", "1"), ("app", "2"), ("other/app", "1")] {
        let (media_type, bytes) = registry.manifest(repository, tag).expect("tagged");
        assert_eq!(Digest::of(&bytes), prepared.target.digest);
        assert_eq!(media_type, oci::media::OCI_MANIFEST);
    }
    let before = uploads(&registry);
    push(&prepared, &names, false, &client(), fixture.job()).expect("again");
    assert_eq!(uploads(&registry), before);
}

#[test]
fn an_index_comes_after_its_manifests() {
    let fixture = Fixture::new();
    let layers = fixture.layers(&crate::fixture::sample_tars());
    let images = ["linux/amd64", "linux/arm64"].map(|p| fixture.image(&layers, p));
    let prepared = prepare(&images, &ImageOptions::default(), fixture.job()).expect("prepare");
    let registry = TestRegistry::start();
    let name = reference(&registry, "multi:1");
    push(&prepared, std::slice::from_ref(&name), false, &client(), fixture.job()).expect("push");
    let resolved = client().resolve(&name).expect("index");
    let Ok(oci::Document::Index(index)) =
        oci::Document::from_json(&resolved.bytes, &resolved.media_type)
    else {
        panic!("not an index")
    };
    for image in &images {
        let entry = index.select(&image.platform).expect("platform");
        client().resolve(&name.with_digest(entry.digest)).expect("manifest");
    }
    let puts: Vec<String> =
        registry.calls().into_iter().filter(|c| c.starts_with("PUT /v2/multi/manifests")).collect();
    assert!(puts.last().expect("pushed").starts_with("PUT /v2/multi/manifests/1 "), "{puts:?}");
}

#[test]
fn what_was_pulled_is_pushed_as_it_was() {
    let fixture = Fixture::new();
    let image = TestImage::new(&crate::fixture::sample_tars());
    let mut built = fixture.image(&[], "linux/amd64");
    built.config = image.config.clone();
    built.id = oci::ImageId(Digest::of(&image.config));
    built.platform = Platform::host();
    let config = oci::ImageConfig::from_json(&image.config).expect("config");
    for (diff_id, blob) in config.rootfs.diff_ids.iter().zip(&image.layers) {
        let (digest, size_bytes) =
            fixture.lease.put_blob(None, &mut blob.as_slice()).expect("blob");
        let compression = "gzip".to_owned();
        let media_type = oci::media::OCI_LAYER_GZIP.to_owned();
        let blob = LayerBlob { compression, media_type, digest, size_bytes };
        fixture.lease.set_layer_blob(*diff_id, &blob).expect("note");
    }
    built.manifest = Some(StoredManifest {
        media_type: oci::media::OCI_MANIFEST.to_owned(),
        bytes: image.manifest.clone(),
        digest: image.digest(),
    });
    let prepared = prepare(&[built], &ImageOptions::default(), fixture.job()).expect("prepare");
    let registry = TestRegistry::start();
    image.push_to(&registry, "app", "pulled");
    let name = reference(&registry, "app:again");
    push(&prepared, &[name], false, &client(), fixture.job()).expect("push");
    assert_eq!(uploads(&registry), 0); // design D9
    assert_eq!(registry.manifest("app", "again").expect("tagged").1[..], image.manifest[..]);
}

#[test]
fn refusals_before_anything_is_sent() {
    let fixture = Fixture::new();
    let prepared = fixture.prepared();
    let registry = TestRegistry::start();
    let check = |names: &[Reference], by_digest, expect: &str| {
        let error = push(&prepared, names, by_digest, &client(), fixture.job()).expect_err(expect);
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Unsupported, expect));
    };
    check(&[], false, "tag is needed when pushing to registry"); // ERR-74
    let tagged = reference(&registry, "app:1");
    let text = format!("can't push tagged ref {tagged} by digest"); // OUT-11
    check(&[tagged], true, &text);
    assert!(registry.log().is_empty());
    let untagged = reference(&registry, "app");
    push(&prepared, &[untagged], true, &client(), fixture.job()).expect("by digest");
    assert!(registry.manifest("app", &prepared.target.digest.to_string()).is_some());
    assert!(registry.manifest("app", "latest").is_none());
    let gone = names(&["127.0.0.1:1/app"]);
    let error = push(&prepared, &gone, false, &client(), fixture.job()).expect_err("nobody there");
    assert_eq!(error.kind(), Kind::Registry, "{}", chain(&error));
}
