//! Pushing: what is there is not sent, what can be mounted is mounted, what fails is sent again.

use registry::{Pushed, RegistryErrorKind as Kind};
use testkit::image::TestImage;
use testkit::registry::{Auth, FaultKind, Settings, TestRegistry};
use testkit::rootfs::TarBuilder;

use super::*;

fn push(
    client: &RegistryClient,
    to: &Reference,
    bytes: &[u8],
    from: Option<&Reference>,
) -> Result<Pushed, RegistryError> {
    let open = || Ok(Box::new(std::io::Cursor::new(bytes.to_vec())) as Box<dyn std::io::Read>);
    client.push_blob(to, &Digest::of(bytes), bytes.len() as u64, &open, from)
}

#[test]
fn an_image_arrives_whole() {
    let registry = TestRegistry::start();
    let image = TestImage::new(&[TarBuilder::new().file("a", 0o644, &noise(99_999)).finish()]);
    let client = client();
    let name = reference(&registry, "team/app:1");
    for blob in image.layers.iter().chain([&image.config]) {
        assert!(!client.blob_exists(&name, &Digest::of(blob)).expect("look"));
        assert_eq!(push(&client, &name, blob, None).expect("push"), Pushed::Uploaded);
        assert_eq!(push(&client, &name, blob, None).expect("again"), Pushed::Existed);
    }
    let digest = client.push_manifest(&name, oci::media::OCI_MANIFEST, &image.manifest);
    assert_eq!(digest.expect("manifest"), image.digest());
    assert_eq!(client.resolve(&name).expect("resolve").bytes, image.manifest);
    // Each upload is a look, an open and one request with all bytes.
    let uploads =
        registry.calls().iter().filter(|c| c.starts_with("PUT") && c.contains("uploads")).count();
    assert_eq!(uploads, 2);
    let by_digest = reference(&registry, "team/app").with_digest(image.digest());
    client.push_manifest(&by_digest, oci::media::OCI_MANIFEST, &image.manifest).expect("by digest");
}

#[test]
fn blobs_are_mounted_with_both_scopes() {
    let auth = Auth::Token {
        basic: Some("dTpw".to_owned()),
        identity: None,
        anonymous: "",
        expires_in_secs: 300,
    };
    let registry = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    registry.put_blob("base", b"layer");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.host());
    let client = RegistryClient::new(options(&config));
    let (to, from) = (reference(&registry, "app:1"), reference(&registry, "base:1"));
    assert_eq!(push(&client, &to, b"layer", Some(&from)).expect("mount"), Pushed::Mounted);
    assert!(registry.blob("app", &Digest::of(b"layer")).is_some());
    let scopes: Vec<_> =
        registry.log().into_iter().filter(|l| l.path.starts_with("/token")).collect();
    let last = &scopes.last().expect("a token was asked for").path;
    assert!(last.contains("repository%3Aapp%3Apull%2Cpush"), "{last}");
    assert!(
        last.contains("scope=repository%3Abase%3Apull&") || last.ends_with("base%3Apull"),
        "{last}"
    );
}

#[test]
fn a_declined_mount_becomes_an_upload() {
    let registry = TestRegistry::start();
    let client = client();
    let (to, from) = (reference(&registry, "app:1"), reference(&registry, "base:1"));
    assert_eq!(push(&client, &to, b"one", Some(&from)).expect("202"), Pushed::Uploaded);
    let refused = FaultKind::Status(403, vec![], String::new());
    registry.fail_with("POST", "mount=", 1, refused);
    assert_eq!(push(&client, &to, b"two", Some(&from)).expect("403"), Pushed::Uploaded);
    assert!(registry.blob("app", &Digest::of(b"two")).is_some());
}

#[test]
fn uploads_are_tried_again_from_their_start() {
    let check = |fault: FaultKind, times: u32, expect: Result<Pushed, Kind>| {
        let registry = TestRegistry::start();
        let bytes = noise(200_000);
        registry.fail_with("PUT", "/uploads/", times, fault.clone());
        let got = push(&client(), &reference(&registry, "app:1"), &bytes, None);
        assert_eq!(
            got.as_ref().map_err(RegistryError::kind),
            expect.as_ref().map_err(|k| *k),
            "{fault:?}"
        );
        if expect.is_ok() {
            assert!(registry.blob("app", &Digest::of(&bytes)).expect("stored")[..] == bytes[..]);
        }
    };
    check(FaultKind::Close, 1, Ok(Pushed::Uploaded));
    check(FaultKind::Status(500, vec![], String::new()), 2, Ok(Pushed::Uploaded));
    check(FaultKind::Status(500, vec![], String::new()), 9, Err(Kind::Server));
    check(FaultKind::Status(413, vec![], String::new()), 9, Err(Kind::Refused));
}

#[test]
fn content_that_is_not_what_it_should_be_is_not_taken() {
    let registry = TestRegistry::start();
    let client = client();
    let name = reference(&registry, "app:1");
    let open = || Ok(Box::new(&b"other"[..]) as Box<dyn std::io::Read>);
    let error = client.push_blob(&name, &Digest::of(b"right"), 5, &open, None).expect_err("digest");
    assert!(chain(&error).contains("DIGEST_INVALID"), "{}", chain(&error));
    let broken = || Err(std::io::Error::other("disk on fire"));
    let error = client.push_blob(&name, &Digest::of(b"x"), 1, &broken, None).expect_err("local");
    assert_eq!(error.kind(), Kind::Local);
    assert!(chain(&error).contains("disk on fire"));
    let wrong = reference(&registry, "app").with_digest(Digest::of(b"x"));
    let error = client.push_manifest(&wrong, oci::media::OCI_MANIFEST, b"{}").expect_err("digest");
    assert_eq!(error.kind(), Kind::Digest);
}
