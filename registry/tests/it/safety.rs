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
fn lists_that_go_on_elsewhere_take_no_credentials_along() {
    let (home, other) = (token_registry(""), TestRegistry::start());
    let client = client_for(&home);
    let name = reference(&home, "app:1");
    client.resolve(&name).expect("a token is there");
    let elsewhere = vec![("location", format!("http://{}/v2/app/tags/list", other.host()))];
    home.fail_with("GET", "/tags/list", 1, FaultKind::Status(307, elsewhere, String::new()));
    // The next page is at the host that says so, which is not the registry.
    let next = vec![("link", "</v2/app/tags/list?n=2>; rel=\"next\"".to_owned())];
    let page = |name: &str| format!(r#"{{"tags":["{name}"]}}"#);
    other.fail_with("GET", "/tags/list", 1, FaultKind::Status(200, next, page("a")));
    // Nor does it say how the registry is authenticated to.
    let challenge = vec![("www-authenticate", "Basic realm=\"x\"".to_owned())];
    other.fail_with("GET", "/tags/list", 1, FaultKind::Status(401, challenge, String::new()));
    let error = client.tags(&name).expect_err("401");
    assert_eq!(error.kind(), Kind::Unauthorized, "{}", chain(&error));
    assert_eq!(other.calls().len(), 2);
    assert_eq!(sent_credentials(&other), [""; 0]);
    let before = sent_credentials(&home);
    client.resolve(&name).expect("the token is still the answer");
    assert_eq!(sent_credentials(&home).last(), before.last());
}

#[test]
fn what_comes_back_from_elsewhere_gets_no_credentials() {
    let (home, other) = (token_registry(""), TestRegistry::start());
    let client = client_for(&home);
    let name = reference(&home, "app:1");
    client.resolve(&name).expect("a token is there");
    let to = |host: String| {
        FaultKind::Status(302, vec![("location", format!("http://{host}/x"))], String::new())
    };
    home.fail_with("GET", "/tags/list", 1, to(other.host()));
    other.fail_with("GET", "/x", 1, to(home.host()));
    assert!(client.tags(&name).is_err());
    let log = home.log();
    let back = log.iter().find(|request| request.path == "/x").expect("it came back");
    assert_eq!(back.headers.get("authorization"), None);
}

#[test]
fn secrets_that_a_server_says_again_are_not_shown() {
    let home = token_registry("");
    let client = client_for(&home);
    let name = reference(&home, "app:1");
    client.resolve(&name).expect("a token is there");
    let token = sent_credentials(&home).pop().expect("a token");
    let words = token.split_once(' ').expect("Bearer").1;
    let echo = format!(r#"{{"errors":[{{"code":"DENIED","message":"not {words} of {token}"}}]}}"#);
    home.fail_with("GET", "/manifests/", 1, FaultKind::Status(403, Vec::new(), echo));
    let shown = chain(&client.resolve(&name).expect_err("403"));
    assert!(shown.contains("DENIED: not *** of Bearer ***"), "{shown}");
    // A password in any of its forms, also as JSON may write it.
    let basic = "dXNlcjpzM2NyM3Qtd29yZA==";
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{basic}"}}}}}}"#, home.host());
    let first = format!("\\u00{:02x}{}", basic.as_bytes()[0], &basic[1..]);
    let echo = format!(r#"{{"details":"{basic} {first} s3cr3t-word"}}"#);
    home.fail_with("", "/token", 1, FaultKind::Status(403, Vec::new(), echo));
    let client = RegistryClient::new(options(&config));
    let shown = chain(&client.resolve(&name).expect_err("403"));
    assert!(
        shown.ends_with("403 Forbidden: *** *** *** (sent: password of user from test)"),
        "{shown}"
    );
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
