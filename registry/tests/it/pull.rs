//! Manifests and blobs: what arrives is what was asked for, or nothing does (spec/security.md C5, C7, C8).

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use registry::RegistryErrorKind as Kind;
use testkit::image::TestImage;
use testkit::registry::{FaultKind, TestRegistry};
use testkit::rootfs::TarBuilder;

use super::*;

fn image() -> TestImage {
    TestImage::new(&[TarBuilder::new().file("a", 0o644, b"a").finish()])
}

#[test]
fn a_tag_and_a_digest_resolve_to_the_same_bytes() {
    let registry = TestRegistry::start();
    let image = image();
    image.push_to(&registry, "team/app", "1");
    let client = client();
    let by_tag = client.resolve(&reference(&registry, "team/app:1")).expect("by tag");
    let pinned = reference(&registry, "team/app:1").with_digest(image.digest());
    let by_digest = client.resolve(&pinned).expect("by digest");
    assert_eq!(by_tag, by_digest);
    assert_eq!((by_tag.bytes, by_tag.digest), (image.manifest.clone(), image.digest()));
    assert_eq!(by_tag.media_type, oci::media::OCI_MANIFEST);
    client.ping(&registry.host()).expect("ping");
}

#[test]
fn a_silent_registry_of_this_machine_is_waited_for_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let host = listener.local_addr().expect("bound").to_string();
    let came = Arc::new(AtomicUsize::new(0));
    let count = came.clone();
    std::thread::spawn(move || {
        // Connections stay open and nothing is said on them.
        let mut held = Vec::new();
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            held.push(stream);
        }
    });
    let idle_timeout = Duration::from_millis(200);
    let client = RegistryClient::new(RegistryOptions { idle_timeout, ..options("") });
    let name: Reference = format!("{host}/app:1").parse().expect("valid reference");
    let error = client.blob_exists(&name, &Digest::of(b"x")).expect_err("silence");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(chain(&error).contains("no answer in time"), "{}", chain(&error));
    assert_eq!(came.load(Ordering::SeqCst), 1, "asked what it speaks, and nothing more");
}

#[test]
fn a_missing_tag_says_so_with_the_registrys_words() {
    let registry = TestRegistry::start();
    let name = reference(&registry, "app:gone");
    let error = client().resolve(&name).expect_err("no such tag");
    assert!(error.is_not_found() && !error.is_temporary());
    let text = chain(&error);
    assert!(text.starts_with(&format!("get manifest of {name}: http://")), "{text}");
    assert!(text.contains("404 Not Found: MANIFEST_UNKNOWN: manifest_unknown"), "{text}");
}

#[test]
fn nobody_listening_is_unreachable() {
    let registry = TestRegistry::start();
    let name = reference(&registry, "app:1");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = port.local_addr().expect("bound");
    drop(port);
    let nobody = name.to_string().replace(&registry.host(), &address.to_string());
    let error = client().resolve(&nobody.parse().expect("reference")).expect_err("refused");
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
}

#[test]
fn a_proxy_that_is_not_there_is_named_without_its_password() {
    let mut options = options("");
    options.proxy.https = Some("http://bob:hidden@127.0.0.1:1".to_owned());
    let name: Reference = "registry.example/app:1".parse().expect("a reference");
    let error = RegistryClient::new(options).resolve(&name).expect_err("no proxy");
    let text = chain(&error);
    assert!(text.contains("https://registry.example through proxy http://127.0.0.1:1: "), "{text}");
    assert!(!text.contains("hidden") && !text.contains("bob"), "{text}");
}

#[test]
fn manifests_that_lie_are_refused() {
    let check = |fault: FaultKind, expect: Kind| {
        let registry = TestRegistry::start();
        let image = image();
        image.push_to(&registry, "app", "1");
        registry.fail_with("GET", "/manifests/", 1, fault.clone());
        let error = client().resolve(&reference(&registry, "app:1")).expect_err("a lie");
        assert_eq!(error.kind(), expect, "{fault:?}: {}", chain(&error));
    };
    check(FaultKind::Body(b"{}".to_vec()), Kind::Digest);
    let other = vec![("content-type", oci::media::OCI_INDEX.to_owned())];
    check(FaultKind::Headers(other), Kind::Malformed); // C4
    check(FaultKind::Endless, Kind::Malformed); // C7
    check(FaultKind::Status(403, vec![], "no".to_owned()), Kind::Denied);
}

#[test]
fn temporary_failures_are_tried_again() {
    let check = |fault: FaultKind, times: u32, expect: Option<Kind>| {
        let registry = TestRegistry::start();
        image().push_to(&registry, "app", "1");
        let client = client();
        // The first contact of a loopback registry looks for TLS and must not eat the fault.
        client.ping(&registry.host()).expect("ping");
        registry.fail_with("GET", "/manifests/", times, fault.clone());
        let got = client.resolve(&reference(&registry, "app:1"));
        assert_eq!(got.as_ref().err().map(RegistryError::kind), expect, "{fault:?}: {got:?}");
    };
    let status = |code| FaultKind::Status(code, vec![], String::new());
    check(status(503), 2, None);
    check(status(503), 3, Some(Kind::Server));
    check(status(429), 2, None);
    check(status(408), 1, None);
    check(FaultKind::Close, 2, None);
    check(status(404), 1, Some(Kind::NotFound));
    let slow = |secs: &str| vec![("retry-after", secs.to_owned())];
    check(FaultKind::Status(429, slow("100"), String::new()), 1, Some(Kind::TooManyRequests));
    let started = Instant::now();
    check(FaultKind::Status(429, slow("1"), String::new()), 1, None);
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_cut_blob_goes_on_where_it_was() {
    let check = |faults: &[FaultKind], expect: Option<Kind>| {
        let registry = TestRegistry::start();
        let bytes = noise(300_000);
        registry.put_blob("app", &bytes);
        for fault in faults {
            registry.fail_with("GET", "/blobs/", 1, fault.clone());
        }
        let name = reference(&registry, "app:1");
        let got = read_blob(&client(), &name, &blob_descriptor(&bytes));
        match (got, expect) {
            (Ok(got), None) => assert!(got == bytes, "{faults:?}: other bytes"),
            (Err(error), Some(kind)) => assert_eq!(error.kind(), kind, "{}", chain(&error)),
            (got, _) => panic!("{faults:?}: {:?}", got.map(|b| b.len())),
        }
        registry.log()
    };
    let cut = FaultKind::CutBody;
    let log = check(&[cut(100_000), cut(70_000)], None);
    let ranges: Vec<_> = log.iter().filter_map(|l| l.headers.get("range")).cloned().collect();
    assert_eq!(ranges, ["bytes=100000-", "bytes=170000-"]);
    check(&[cut(100_000), FaultKind::NoRange], None);
    check(&[cut(0), cut(0)], None);
    check(&[cut(9), cut(9), cut(9)], Some(Kind::Unreachable));
    check(&[cut(100_000), FaultKind::Body(noise(200_000))], Some(Kind::Digest));
    let other_range = vec![("content-range", "bytes 5-299999/300000".to_owned())];
    // A server that lies about parts is asked for the whole once more.
    check(&[cut(100_000), FaultKind::Headers(other_range.clone())], None);
    check(&[cut(100_000), FaultKind::Status(416, vec![], String::new())], None);
    let twice = FaultKind::Status(416, vec![], String::new());
    check(&[cut(100_000), twice.clone(), twice], Some(Kind::Refused));
    let encoded = vec![("content-encoding", "gzip".to_owned())];
    check(&[FaultKind::Headers(encoded)], Some(Kind::Malformed));
}

#[test]
fn blobs_that_lie_are_refused() {
    let check = |served: &[u8], descriptor: &Descriptor, expect: Kind| {
        let registry = TestRegistry::start();
        registry.put_blob("app", b"right");
        registry.fail_with("GET", "/blobs/", 9, FaultKind::Body(served.to_vec()));
        let name = reference(&registry, "app:1");
        let error = read_blob(&client(), &name, descriptor).expect_err("a lie");
        assert_eq!(error.kind(), expect, "{}", chain(&error));
        assert!(error.to_string().contains(&descriptor.digest.to_string()));
    };
    let right = blob_descriptor(b"right");
    check(b"wrong", &right, Kind::Digest);
    check(b"right!", &right, Kind::Digest);
    check(b"righ", &right, Kind::Digest);
    let long = Descriptor { size_bytes: 6, ..right.clone() };
    check(b"right", &long, Kind::Digest);
}

#[test]
fn stopping_ends_a_transfer() {
    let registry = TestRegistry::start();
    registry.put_blob("app", b"x");
    registry.fail_with("GET", "/blobs/", 1, FaultKind::Endless);
    let client = client();
    let name = reference(&registry, "app:1");
    let endless = Descriptor { size_bytes: u64::MAX, ..blob_descriptor(b"x") };
    let reader = client.clone();
    let thread = std::thread::spawn(move || {
        let mut blob = reader.blob(&name, &endless).map_err(|_| ())?;
        std::io::copy(&mut blob, &mut std::io::sink()).map_err(|_| ())
    });
    while registry.calls().len() < 2 {
        std::thread::yield_now();
    }
    client.stop();
    assert!(thread.join().expect("no panic").is_err());
    let error = client.ping(&registry.host()).expect_err("stopped");
    assert_eq!(error.kind(), Kind::Cancelled);
}
