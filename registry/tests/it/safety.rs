//! Credentials go nowhere else, and nobody sends us where we should not go (spec/security.md C1, C2, C3).

use registry::RegistryErrorKind as Kind;
use testkit::image::TestImage;
use testkit::registry::{Auth, FaultKind, Settings, TestRegistry};

use super::*;

const BASIC: &str = "dTpw";

fn token_registry(realm: &str) -> TestRegistry {
    let auth = Auth::Token {
        basic: Some(BASIC.to_owned()),
        identity: None,
        anonymous: "pull",
        expires_in_secs: 300,
    };
    let realm = realm.to_owned();
    let registry = TestRegistry::start_with(Settings { auth, realm, ..Settings::default() });
    TestImage::new(&[]).push_to(&registry, "app", "1");
    registry
}

fn client_for(registry: &TestRegistry) -> RegistryClient {
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{BASIC}"}}}}}}"#, registry.host());
    RegistryClient::new(options(&config))
}

fn sent_credentials(registry: &TestRegistry) -> Vec<String> {
    registry.log().iter().filter_map(|l| l.headers.get("authorization").cloned()).collect()
}

#[test]
fn redirected_blobs_take_no_credentials_along() {
    let (home, other) = (token_registry(""), TestRegistry::start());
    let bytes = noise(1000);
    home.put_blob("app", &bytes);
    other.put_blob("cdn", &bytes);
    let target = format!("http://{}/v2/cdn/blobs/{}?sig=s", other.host(), Digest::of(&bytes));
    let redirect = FaultKind::Status(307, vec![("location", target)], String::new());
    let client = client_for(&home);
    client.resolve(&reference(&home, "app:1")).expect("a token is there");
    home.fail_with("GET", "/blobs/", 1, redirect);
    let got = read_blob(&client, &reference(&home, "app:1"), &blob_descriptor(&bytes));
    assert_eq!(got.expect("redirected"), bytes);
    assert_eq!(other.calls().len(), 1);
    assert_eq!(sent_credentials(&other), [""; 0]);
    assert!(!sent_credentials(&home).is_empty());
}

#[test]
fn uploads_elsewhere_take_no_credentials_along() {
    let other = TestRegistry::start();
    let auth = Auth::Basic(BASIC.to_owned());
    let upload_base = Some(format!("http://{}", other.host()));
    let home = TestRegistry::start_with(Settings { auth, upload_base, ..Settings::default() });
    let client = client_for(&home);
    let open = || Ok(Box::new(&b"x"[..]) as Box<dyn std::io::Read>);
    let pushed = client.push_blob(&reference(&home, "app:1"), &Digest::of(b"x"), 1, &open, None);
    // The other one knows no such upload; what matters is what it was told.
    assert_eq!(pushed.expect_err("unknown upload").kind(), Kind::NotFound);
    assert!(!other.log().is_empty());
    assert_eq!(sent_credentials(&other), [""; 0]);
}

#[test]
fn unsafe_realms_are_not_contacted() {
    let check = |realm: &str, kind: Kind| {
        let registry = token_registry(realm);
        let got = client_for(&registry).resolve(&reference(&registry, "app:1"));
        let error = got.expect_err(realm);
        assert_eq!(error.kind(), kind, "{realm}: {}", chain(&error));
    };
    let listener = TestRegistry::start();
    check("https://example.invalid/token", Kind::Unsafe); // not the registry's own domain
    check("http://u:p@127.0.0.1/token", Kind::Unsafe);
    check("ftp://127.0.0.1/token", Kind::Unsafe);
    let elsewhere = vec![("location", format!("http://{}/token", listener.host()))];
    let registry = token_registry("");
    registry.fail_with("", "/token", 1, FaultKind::Status(302, elsewhere, String::new()));
    let error = client_for(&registry).resolve(&reference(&registry, "app:1")).expect_err("302");
    assert_eq!(error.kind(), Kind::Unsafe);
    assert!(listener.log().is_empty());
    // Without credentials a foreign realm is asked, but never at a link-local address, by whatever name.
    let registry = token_registry("http://metadata.test/token");
    let dir = tempfile::tempdir().expect("temp dir");
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "169.254.169.254 metadata.test\n").expect("write");
    let client = RegistryClient::new(RegistryOptions { hosts_file: hosts, ..options("") });
    let error = client.resolve(&reference(&registry, "app:1")).expect_err("link-local");
    assert_eq!(error.kind(), Kind::Unsafe, "{}", chain(&error));
}

#[test]
fn redirects_to_unsafe_places_end() {
    let check = |location: String, kind: Kind| {
        let registry = TestRegistry::start();
        registry.put_blob("app", b"x");
        let redirect = FaultKind::Status(302, vec![("location", location.clone())], String::new());
        registry.fail_with("GET", "/blobs/", 99, redirect);
        let got = read_blob(&client(), &reference(&registry, "app:1"), &blob_descriptor(b"x"));
        let error = got.expect_err(&location);
        assert_eq!(error.kind(), kind, "{location}: {}", chain(&error));
        assert!(!chain(&error).contains("SIGNATURE"), "{}", chain(&error));
    };
    check("http://169.254.169.254/latest?k=SIGNATURE".to_owned(), Kind::Unsafe);
    check("http://[::ffff:169.254.169.254]/".to_owned(), Kind::Unsafe);
    check("file:///etc/passwd".to_owned(), Kind::Malformed);
    check("/v2/app/blobs/again?k=SIGNATURE".to_owned(), Kind::Malformed);
}
