//! Transfers that end early go on where they were; what a registry can list is listed whole.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use oci::Hasher;
use registry::{BlobPrefix, Pushed, RegistryErrorKind as Kind};
use testkit::registry::{FaultKind, Settings, TestRegistry};

use super::*;

fn push_from<'f>(
    registry: &TestRegistry,
    bytes: &[u8],
    from: &[&'f Reference],
) -> Result<(Pushed, Option<&'f Reference>), RegistryError> {
    let to = reference(registry, "app:1");
    let open = |at: u64| {
        let rest = bytes[at as usize..].to_vec();
        Ok(Box::new(std::io::Cursor::new(rest)) as Box<dyn std::io::Read>)
    };
    client().push_blob_from(&to, &Digest::of(bytes), bytes.len() as u64, &open, from)
}

fn arrived(registry: &TestRegistry, bytes: &[u8]) -> bool {
    registry.blob("app", &Digest::of(bytes)).is_some_and(|found| found[..] == *bytes)
}

/// Methods of the requests of uploads, and the parts that they sent.
fn uploads(registry: &TestRegistry) -> Vec<String> {
    let of_upload = registry.log().into_iter().filter(|logged| logged.path.contains("/uploads/"));
    let part = |logged: testkit::registry::Logged| {
        let range = logged.headers.get("content-range").map(|range| format!(" {range}"));
        format!("{}{}", logged.method, range.unwrap_or_default())
    };
    of_upload.map(part).collect()
}

#[test]
fn a_cut_upload_goes_on_where_the_registry_has_come_to() {
    let registry = TestRegistry::start();
    let bytes = noise(3_000_000);
    registry.cut_next_upload(2_000_000);
    assert_eq!(push_from(&registry, &bytes, &[]).expect("pushed").0, Pushed::Uploaded);
    assert!(arrived(&registry, &bytes));
    assert_eq!(uploads(&registry), ["POST", "PUT", "GET", "PATCH 2000000-2999999", "PUT"]);
}

#[test]
fn an_upload_that_the_registry_has_lost_begins_anew() {
    let check = |fault: FaultKind, method: &'static str| {
        let registry = TestRegistry::start();
        let bytes = noise(3_000_000);
        registry.cut_next_upload(2_000_000);
        registry.fail_with(method, "/uploads/", 1, fault);
        push_from(&registry, &bytes, &[]).expect("pushed");
        assert!(arrived(&registry, &bytes));
        assert_eq!(uploads(&registry).last().map(String::as_str), Some("PUT"));
    };
    let gone = |status| FaultKind::Status(status, vec![], String::new());
    check(gone(404), "GET");
    check(gone(404), "PATCH");
    check(gone(416), "PATCH");
    check(FaultKind::Headers(vec![("range", "0-99999999".to_owned())]), "GET");
}

#[test]
fn a_registry_that_takes_no_long_bodies_gets_pieces() {
    let body_max_bytes = Some(1 << 20);
    let registry = TestRegistry::start_with(Settings { body_max_bytes, ..Settings::default() });
    let bytes = noise(2_500_000);
    push_from(&registry, &bytes, &[]).expect("pushed");
    assert!(arrived(&registry, &bytes));
    let uploads = uploads(&registry);
    assert_eq!(uploads[uploads.len() - 2..], ["PATCH 2097152-2499999", "PUT"]);
}

#[test]
fn pieces_are_as_long_as_the_registry_wants_them() {
    let settings = Settings {
        body_max_bytes: Some(2_000_000),
        piece_min_bytes: Some(1_500_000),
        ..Settings::default()
    };
    let registry = TestRegistry::start_with(settings);
    let bytes = noise(4_000_000);
    push_from(&registry, &bytes, &[]).expect("pushed");
    let uploads = uploads(&registry);
    let sent = uploads.iter().filter(|one| one.starts_with("PATCH"));
    let last: Vec<&String> = sent.rev().take(3).collect();
    assert_eq!(last, ["PATCH 3000000-3999999", "PATCH 1500000-2999999", "PATCH 0-1499999"]);
    // Who wants longer pieces than it takes gets nothing, and no endless tries.
    let settings = Settings {
        body_max_bytes: Some(1_000_000),
        piece_min_bytes: Some(1_500_000),
        ..Settings::default()
    };
    let registry = TestRegistry::start_with(settings);
    let error = push_from(&registry, &bytes, &[]).expect_err("413");
    assert_eq!(error.kind(), Kind::Refused, "{}", chain(&error));
}

#[test]
fn a_blob_is_mounted_from_the_first_repository_that_has_it() {
    let registry = TestRegistry::start();
    registry.put_blob("third", b"layer");
    let from: Vec<Reference> =
        ["app", "first", "third"].map(|name| reference(&registry, name)).into();
    let from: Vec<&Reference> = from.iter().collect();
    let (pushed, place) = push_from(&registry, b"layer", &from).expect("mounted");
    assert_eq!((pushed, place), (Pushed::Mounted, Some(from[2])));
    let elsewhere: Reference = "registry.example/third".parse().expect("a name");
    let (pushed, _) = push_from(&registry, b"other", &[&elsewhere]).expect("sent");
    assert_eq!(pushed, Pushed::Uploaded, "another registry's cannot be mounted");
}

#[test]
fn a_blob_goes_on_behind_what_an_earlier_transfer_got() {
    let bytes = noise(300_000);
    let check = |prefix: &[u8], fault: Option<FaultKind>, expect: Result<u64, Kind>| {
        let registry = TestRegistry::start();
        registry.put_blob("app", &bytes);
        if let Some(fault) = fault {
            registry.fail_with("GET", "/blobs/", 1, fault);
        }
        let mut hasher = Hasher::new();
        hasher.update(prefix);
        let prefix = BlobPrefix { size_bytes: prefix.len() as u64, hasher };
        let name = reference(&registry, "app:1");
        let mut got = Vec::new();
        let read =
            client().blob_behind(&name, &blob_descriptor(&bytes), prefix).and_then(|mut blob| {
                let error = |error: std::io::Error| error.into_inner().expect("ours").downcast();
                match blob.read_to_end(&mut got) {
                    Ok(_) => Ok(()),
                    Err(e) => Err(*error(e).expect("a registry error")),
                }
            });
        let result = read.map(|()| got.len() as u64).map_err(|error| error.kind());
        assert_eq!(result, expect);
        registry.log().iter().filter(|logged| logged.path.contains("/blobs/")).count()
    };
    assert_eq!(check(&bytes[..100_000], None, Ok(200_000)), 1);
    assert_eq!(check(&bytes[..100_000], Some(FaultKind::NoRange), Ok(200_000)), 1);
    assert_eq!(check(&bytes, None, Ok(0)), 0, "nothing is missing");
    check(&noise(100_001)[1..], None, Err(Kind::Digest));
    check(&noise(100_001)[1..], Some(FaultKind::NoRange), Err(Kind::Digest));
    check(&noise(300_001)[1..], None, Err(Kind::Digest));
}

#[test]
fn all_tags_are_listed_whatever_the_length_of_a_page() {
    let settings = Settings { tags_in_page: Some(2), ..Settings::default() };
    let registry = TestRegistry::start_with(settings);
    for tag in ["1", "2", "3", "4", "5"] {
        registry.put_manifest("app", tag, oci::media::OCI_MANIFEST, b"{}");
    }
    let name = reference(&registry, "app");
    assert_eq!(client().tags(&name).expect("listed"), ["1", "2", "3", "4", "5"]);
    let elsewhere = vec![("link", "<http://registry.example/v2/>; rel=\"next\"".to_owned())];
    registry.fail_with("GET", "/tags/list", 1, FaultKind::Headers(elsewhere));
    let error = client().tags(&name).expect_err("it goes on elsewhere");
    assert_eq!(error.kind(), Kind::Malformed);
    let own = vec![("link", "</v2/app/tags/list>; rel=next".to_owned())];
    registry.fail_with("GET", "/tags/list", 2000, FaultKind::Headers(own));
    assert_eq!(client().tags(&name).expect_err("no end").kind(), Kind::Malformed);
}

#[test]
fn referrers_are_found_with_and_without_the_registrys_help() {
    for referrers in [true, false] {
        let registry = TestRegistry::start_with(Settings { referrers, ..Settings::default() });
        let name = reference(&registry, "app:1");
        let subject = Digest::of(b"the image");
        assert_eq!(client().referrers(&name, &subject, None).expect("none"), []);
        let mut pushed = Vec::new();
        for kind in ["application/sbom", "application/signature"] {
            let manifest = serde_json::json!({
                "schemaVersion": 2, "mediaType": oci::media::OCI_MANIFEST, "artifactType": kind,
                "subject": {"mediaType": oci::media::OCI_MANIFEST, "digest": subject.to_string(), "size": 9},
            });
            let bytes = manifest.to_string().into_bytes();
            let mut listed = blob_descriptor(&bytes);
            listed.media_type = oci::media::OCI_MANIFEST.to_owned();
            listed.artifact_type = Some(kind.to_owned());
            for _ in 0..2 {
                client().push_referrer(&name, &subject, &listed, &bytes).expect("pushed");
            }
            pushed.push(listed.digest);
        }
        let found = client().referrers(&name, &subject, None).expect("two");
        let digests: Vec<Digest> = found.iter().map(|one| one.digest).collect();
        assert!(digests.len() == 2 && pushed.iter().all(|d| digests.contains(d)), "{found:?}");
        let sboms = client().referrers(&name, &subject, Some("application/sbom")).expect("one");
        assert_eq!(sboms.iter().map(|one| one.digest).collect::<Vec<_>>(), pushed[..1]);
    }
}

/// A server that gives every request one tag, until it is stopped.
struct OneTag {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl OneTag {
    fn start(address: &str) -> OneTag {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = stopped.clone();
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    break;
                }
                let mut connection = connection.expect("a connection");
                let _ = connection.read(&mut [0; 4096]);
                let body = br#"{"name": "app", "tags": ["1"]}"#;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = connection.write_all(&[head.as_bytes(), body].concat());
            }
        });
        OneTag { address, stopped, thread }
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.join().expect("the server ends");
    }
}

#[test]
fn a_server_that_has_answered_is_waited_for() {
    let mut options = options("");
    options.retry = RetryPolicy {
        tries: 4,
        first_delay: Duration::from_millis(200),
        max_delay: Duration::from_secs(2),
        max_retry_after: Duration::from_secs(2),
    };
    let client = RegistryClient::new(options);
    let server = OneTag::start("127.0.0.1:0");
    let address = server.address.to_string();
    let name: Reference = format!("{address}/app").parse().expect("valid reference");
    assert_eq!(client.tags(&name).expect("it is there"), ["1"]);
    server.stop();
    let again = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        OneTag::start(&address)
    });
    assert_eq!(client.tags(&name).expect("it is there again"), ["1"]);
    again.join().expect("a server").stop();
    client.tags(&name).expect_err("it is gone for good");
}
