//! Ways in which registries of others are not like the usual one, and what a registry has.

use registry::{Found, Pushed, RegistryErrorKind as Kind};
use testkit::registry::{Auth, FaultKind, Settings, TestRegistry};
use testkit::search_index::SearchIndex;

use super::*;

fn push(client: &RegistryClient, to: &Reference, bytes: &[u8]) -> Pushed {
    let open = || Ok(Box::new(std::io::Cursor::new(bytes.to_vec())) as Box<dyn std::io::Read>);
    client.push_blob(to, &Digest::of(bytes), bytes.len() as u64, &open, None).expect("push")
}

#[test]
fn who_says_only_at_the_root_how_to_authenticate_is_asked_there() {
    let auth = Auth::Basic("dTpw".to_owned());
    let registry = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    testkit::image::TestImage::new(&[]).push_to(&registry, "app", "1");
    let silent = || FaultKind::Status(401, Vec::new(), String::new());
    registry.fail_with("GET", "/manifests/", 1, silent());
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, registry.host());
    let client = RegistryClient::new(options(&config));
    client.resolve(&reference(&registry, "app:1")).expect("the password is good");
    let calls = registry.calls();
    assert!(calls.iter().any(|call| call == "GET /v2/ 401"), "{calls:#?}");

    // One that does not say it there either has said no.
    registry.fail_with("GET", "/v2/", 9, silent());
    let client = RegistryClient::new(options(&config));
    let error = client.resolve(&reference(&registry, "app:1")).expect_err("nobody gets in");
    assert_eq!(error.kind(), Kind::Unauthorized, "{}", chain(&error));
}

#[test]
fn who_takes_no_upload_in_one_request_gets_content_and_end_apart() {
    for status in [405, 500] {
        let registry = TestRegistry::start();
        let refused = FaultKind::Status(status, Vec::new(), String::new());
        registry.fail_with("PUT", "/blobs/uploads/", 1, refused);
        let (name, bytes) = (reference(&registry, "team/app:1"), noise(40_000));
        assert_eq!(push(&client(), &name, &bytes), Pushed::Uploaded);
        assert_eq!(registry.blob("team/app", &Digest::of(&bytes)).as_deref(), Some(&bytes[..]));
        let methods: Vec<String> = registry
            .calls()
            .iter()
            .filter(|call| call.contains("/uploads/"))
            .map(|call| call.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(methods, ["POST", "PUT", "POST", "PATCH", "PUT"], "{status}");
        let log = registry.log();
        let patch = log.iter().find(|l| l.method == "PATCH").expect("a piece");
        assert_eq!(patch.headers.get("content-range"), None, "it is no piece but all of it");
    }
}

#[test]
fn a_search_finds_what_the_registry_says() {
    let index = SearchIndex::start(&[("web", "serves", 3, true), ("web-two", "", 0, false)]);
    let found = client().search(&index.host(), "web", 25).expect("answer").expect("a search");
    let first = Found {
        name: "web".to_owned(),
        description: "serves".to_owned(),
        stars: 3,
        is_official: true,
        is_automated: false,
    };
    assert_eq!((found.len(), &found[0]), (2, &first));
    let found = client().search(&index.host(), "web", 1).expect("answer").expect("a search");
    assert_eq!(found, [first]);

    let none = FaultKind::Body(b"{\"results\":null}".to_vec());
    index.fail_with("GET", "/v1/search", 1, none);
    assert_eq!(client().search(&index.host(), "web", 1).expect("answer"), Some(Vec::new()));
    index.fail_with("GET", "/v1/search", 1, FaultKind::Body(b"[".to_vec()));
    let error = client().search(&index.host(), "web", 1).expect_err("no JSON");
    assert_eq!(error.kind(), Kind::Malformed);

    let registry = TestRegistry::start();
    assert_eq!(client().search(&registry.host(), "web", 1).expect("answer"), None);
}

#[test]
fn lists_of_repositories_have_an_end() {
    let registry = TestRegistry::start();
    let page = |names: &str| {
        let headers = vec![("link", "</v2/_catalog?last=x>; rel=\"next\"".to_owned())];
        FaultKind::Status(200, headers, format!(r#"{{"repositories":{names}}}"#))
    };
    registry.fail_with("GET", "/v2/_catalog", 1, page(r#"["a","B\u001b[31m","../c"]"#));
    let last = FaultKind::Status(200, Vec::new(), r#"{"repositories":["d/e"]}"#.to_owned());
    registry.fail_with("GET", "/v2/_catalog", 1, last);
    assert_eq!(client().catalog(&registry.host()).expect("two pages"), ["a", "d/e"]);

    registry.fail_with("GET", "/v2/_catalog", 5000, page("null"));
    let error = client().catalog(&registry.host()).expect_err("no end");
    assert!(chain(&error).contains("has no end"), "{}", chain(&error));
}
