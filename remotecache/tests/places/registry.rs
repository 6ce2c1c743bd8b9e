//! Registries: the distribution project's own server, and the one in process that fails as told.

use oci::Reference;
use remotecache::RemoteErrorKind;
use testkit::registry::TestRegistry;
use testkit::server::RegistryServer;

use super::*;

fn name(host: &str, rest: &str) -> Reference {
    format!("{host}/{rest}").parse().expect("reference")
}

fn dest(reference: &Reference) -> ExportPlace {
    ExportPlace::Registry { reference: reference.clone(), insecure: false }
}

fn src(reference: &Reference) -> ImportPlace {
    ImportPlace::Registry { reference: reference.clone(), insecure: false }
}

#[test]
fn a_real_server_takes_every_form() {
    testkit::need!("docker-registry");
    let server = RegistryServer::start();
    for (oci, image_manifest) in [(true, true), (true, false), (false, false)] {
        let reference = name(server.host(), &format!("team/app:cache-{oci}-{image_manifest}"));
        assert!(from(src(&reference)).read().expect("no error").is_none());
        let mut export_to = CacheExport::new(dest(&reference));
        (export_to.oci_media_types, export_to.image_manifest) = (oci, image_manifest);
        let mut cache = cache(&["a", "b"]);
        export(&*open(&export_to), &cache);
        let layer = if oci { media::OCI_LAYER_GZIP } else { media::DOCKER_LAYER_GZIP };
        for kept in &mut cache.document.layers {
            kept.descriptor.media_type = layer.to_owned();
        }
        check(&*from(src(&reference)), &cache); // CIO-04
    }
}

#[test]
fn a_real_server_is_sent_nothing_twice() {
    testkit::need!("docker-registry");
    let server = RegistryServer::start();
    let (first, other) = (name(server.host(), "a/app:1"), name(server.host(), "b/app:1"));
    let cache = cache(&["a"]);
    let blob = &cache.document.layers[0].descriptor;
    let open = || Ok(Box::new(Cursor::new(cache.blobs[0].clone())) as Box<dyn Read + Send>);
    for (reference, elsewhere, want) in [
        (&first, None, Put::Sent),
        (&first, None, Put::Existed),
        (&other, Some(&first), Put::Mounted),
    ] {
        let place = to(dest(reference));
        assert_eq!(place.put(blob, &open, elsewhere).expect("put"), want);
        place.publish(&cache.document).expect("publish");
        check(&*from(src(reference)), &cache);
    }
}

#[test]
fn names_are_set_last() {
    let registry = TestRegistry::start();
    let reference = name(&registry.host(), "app:cache");
    let (old, new) = (cache(&["old"]), cache(&["new"]));
    export(&*to(dest(&reference)), &old);
    registry.clear_log();
    export(&*to(dest(&reference)), &new);
    let calls = registry.calls();
    let last = calls.last().expect("calls");
    assert!(last.starts_with("PUT") && last.contains("manifests/cache"), "{calls:?}");
    assert_eq!(calls.iter().filter(|call| call.contains("/manifests/")).count(), 1);
    check(&*from(src(&reference)), &new);
}

#[test]
fn a_look_up_takes_two_round_trips() {
    let registry = TestRegistry::start();
    let reference = name(&registry.host(), "app:cache");
    export(&*to(dest(&reference)), &cache(&["a", "b", "c"]));
    registry.clear_log();
    let document = from(src(&reference)).read().expect("read").expect("a document");
    assert_eq!(document.records.len(), 3);
    let calls = registry.calls();
    let gets = calls.iter().filter(|call| call.contains("/manifests/") || call.contains("/blobs/"));
    assert_eq!(gets.count(), 2, "{calls:?}");
}

#[test]
fn a_server_with_faults_gives_errors() {
    let registry = TestRegistry::start();
    let reference = name(&registry.host(), "app:cache");
    let cache = cache(&["a"]);
    export(&*to(dest(&reference)), &cache);
    use testkit::registry::FaultKind;
    let status = |code| FaultKind::Status(code, Vec::new(), String::new());
    registry.fail_with("GET", "manifests", 9, status(500));
    let error = from(src(&reference)).read().expect_err("faults");
    assert_eq!(error.kind(), RemoteErrorKind::Unreachable);
    assert!(error.to_string().contains("read registry cache"), "{error}");
    let nowhere = name("127.0.0.1:1", "app:cache");
    let error = from(src(&nowhere)).read().expect_err("nobody there");
    assert_eq!(error.kind(), RemoteErrorKind::Unreachable);
}

#[test]
fn what_is_no_cache_of_ours_is_said() {
    let registry = TestRegistry::start();
    let image = testkit::image::TestImage::new(&[testkit::rootfs::TarBuilder::new()
        .file("a", 0o644, b"hello")
        .finish()]);
    image.push_to(&registry, "app", "1");
    let error = from(src(&name(&registry.host(), "app:1"))).read().expect_err("an image");
    assert_eq!(error.kind(), RemoteErrorKind::Foreign);
    // As BuildKit writes one: its own config, and no document.
    let config = br#"{"layers":[],"records":[]}"#;
    let digest = registry.put_blob("kit", config);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"application/vnd.buildkit.cacheconfig.v0","digest":"{digest}","size":{}}},"layers":[]}}"#,
        media::OCI_MANIFEST,
        config.len()
    );
    registry.put_manifest("kit", "cache", media::OCI_MANIFEST, manifest.as_bytes());
    let error = from(src(&name(&registry.host(), "kit:cache"))).read().expect_err("BuildKit's");
    assert_eq!(error.kind(), RemoteErrorKind::Foreign);
    assert!(chain(&error).contains("BuildKit"), "{}", chain(&error));
}
