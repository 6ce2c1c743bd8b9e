//! The cache service of GitHub Actions, in process, in both of its versions (CIO-07).

use ::registry::Secret;
use remotecache::{GhaOptions, RemoteErrorKind};
use testkit::actions::{FaultKind, TestActions};

use super::*;

fn options(server: &TestActions, version: u32, token: &str) -> GhaOptions {
    GhaOptions {
        url: Some(server.url()),
        url_v2: (version == 2).then(|| server.url()),
        version: Some(version),
        token: Secret::new(token.to_owned()),
        scope: "buildkit".to_owned(),
        timeout_s: 600,
    }
}

fn dest(options: &GhaOptions) -> Arc<dyn CachePlace> {
    to(ExportPlace::Gha(options.clone()))
}

fn src(options: &GhaOptions) -> Arc<dyn CachePlace> {
    from(ImportPlace::Gha(options.clone()))
}

fn put(place: &dyn CachePlace, content: &[u8]) -> Result<Put, String> {
    let blob = Descriptor::new("x", Digest::of(content), content.len() as u64);
    let open = || Ok(Box::new(Cursor::new(content.to_vec())) as Box<dyn Read + Send>);
    place.put(&blob, &open, None).map_err(|error| chain(&error))
}

/// Key of a scope's index with a number, as BuildKit forms it.
fn index_key(branch: &str, number: u32) -> String {
    format!("index-buildkit-1-{}#{number}", &Digest::of(branch.as_bytes()).hex()[..8])
}

#[test]
fn a_cache_comes_back_and_is_replaced() {
    for version in [1, 2] {
        let server = TestActions::start();
        let options = options(&server, version, &server.token(&["main"]));
        assert!(src(&options).read().expect("no error").is_none());
        let first = cache(&["a"]);
        assert_eq!(export(&*dest(&options), &first), [Put::Sent]);
        check(&*src(&options), &first);
        let second = cache(&["a", "b"]);
        assert_eq!(export(&*dest(&options), &second), [Put::Existed, Put::Sent]);
        check(&*src(&options), &second);
        let keys = server.keys();
        assert!(keys.contains(&index_key("main", 1)) && keys.contains(&index_key("main", 2)));
        let blob = second.document.layers[1].descriptor.digest;
        assert!(keys.contains(&format!("buildkit-blob-1-{blob}")), "{keys:?}");
    }
}

#[test]
fn a_branch_reads_its_own_and_the_default_branchs() {
    let server = TestActions::start();
    let main = options(&server, 2, &server.token(&["main"]));
    let topic = options(&server, 2, &server.token(&["topic", "main"]));
    export(&*dest(&main), &cache(&["a"]));
    check(&*src(&topic), &cache(&["a"]));
    export(&*dest(&topic), &cache(&["a", "b"]));
    // What only the topic has is not seen by the default branch.
    check(&*src(&main), &cache(&["a"]));
    let seen = src(&topic).read().expect("read").expect("a document");
    assert_eq!(seen.records.len(), 2);
    assert_eq!(seen.layers.len(), 2);
}

#[test]
fn an_index_of_another_builder_hides_none_of_ours() {
    let server = TestActions::start();
    let main = options(&server, 2, &server.token(&["main"]));
    let topic = options(&server, 2, &server.token(&["topic", "main"]));
    export(&*dest(&topic), &cache(&["a"]));
    server.put(&index_key("main", 1), "main", b"{\"layers\":[]}");
    check(&*src(&topic), &cache(&["a"]));
    let error = src(&main).read().expect_err("BuildKit's");
    assert_eq!(error.kind(), RemoteErrorKind::Foreign);
}

#[test]
fn large_blobs_go_in_parts_and_come_back_after_cuts() {
    let content = noise("large", (33 << 20) + 77);
    let blob = Descriptor::new("x", Digest::of(&content), content.len() as u64);
    for (version, method, part) in [(1, "PATCH", "caches/"), (2, "PUT", "comp=block&")] {
        let server = TestActions::start();
        let options = options(&server, version, &server.token(&["main"]));
        let busy = FaultKind::Status(429, vec![("retry-after", "0".to_owned())], String::new());
        server.fail_with(method, part, 1, busy);
        server.fail_with(method, part, 1, FaultKind::Close);
        assert_eq!(put(&*dest(&options), &content), Ok(Put::Sent));
        server.fail_with("GET", "/store/", 1, FaultKind::CutBody(3_000_000));
        assert!(read_blob(&*src(&options), &blob).expect("the blob") == content);
        let ranges: Vec<String> =
            server.log().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect();
        assert_eq!(ranges, ["bytes=3000000-"]);
    }
}

#[test]
fn an_expired_url_is_asked_for_anew() {
    let server = TestActions::start();
    let options = options(&server, 2, &server.token(&["main"]));
    let content = noise("blob", 100_000);
    put(&*dest(&options), &content).expect("put");
    let blob = Descriptor::new("x", Digest::of(&content), content.len() as u64);
    let expired = "<Error><Code>AuthenticationFailed</Code><Message>x</Message></Error>";
    server.fail_with("GET", "/store/", 1, FaultKind::CutBody(10));
    let mut reader = src(&options).open(&blob).expect("opened");
    server.expire_urls();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("the blob");
    assert!(bytes == content);
    // When the new one is refused too, the answer counts, and no signature is shown.
    server.fail_with("GET", "/store/", 2, FaultKind::Status(403, Vec::new(), expired.to_owned()));
    let error = read_blob(&*src(&options), &blob).expect_err("refused");
    assert!(error.contains("AuthenticationFailed") && !error.contains("SECRET"), "{error}");
}

#[test]
fn an_index_that_nobody_ends_is_stepped_over() {
    let server = TestActions::start();
    let options = options(&server, 2, &server.token(&["main"]));
    export(&*dest(&options), &cache(&["a"]));
    let version = server.version().expect("an entry");
    server.leave_unfinished(&index_key("main", 2), &version, "main");
    export(&*dest(&options), &cache(&["b"]));
    check(&*src(&options), &cache(&["b"]));
    assert!(server.keys().contains(&index_key("main", 3)));
}

#[test]
fn evicted_blobs_are_missed_and_sent_again() {
    let server = TestActions::start();
    let options = options(&server, 2, &server.token(&["main"]));
    let cache = cache(&["a"]);
    export(&*dest(&options), &cache);
    let blob = &cache.document.layers[0].descriptor;
    server.evict(&format!("buildkit-blob-1-{}", blob.digest));
    let error = src(&options).open(blob).map(drop).expect_err("evicted");
    assert_eq!(error.kind(), RemoteErrorKind::NotFound);
    assert_eq!(export(&*dest(&options), &cache), [Put::Sent]);
    check(&*src(&options), &cache);
}

#[test]
fn refusals_say_why_and_show_no_token() {
    let server = TestActions::start();
    for version in [1, 2] {
        let error = src(&options(&server, version, "e30.tokentoken.x")).read();
        let error = error.expect_err("a bad token");
        assert_eq!(error.kind(), RemoteErrorKind::Unauthorized);
        let text = chain(&error);
        assert!(text.contains("bad token") && !text.contains("tokentoken"), "{text}");
    }
    let nothing = GhaOptions { url: None, url_v2: None, ..options(&server, 2, "e30.x.x") };
    let error = open_import(&CacheImport::new(ImportPlace::Gha(nothing)), &client());
    let error = error.err().expect("no url");
    assert!(chain(&error).contains("ACTIONS_RESULTS_URL"), "{}", chain(&error));
}
