//! Containers of Azure's blob storage, in process (CIO-09).

use ::registry::Secret;
use remotecache::{AzblobOptions, RemoteErrorKind};
use testkit::azblob::{ACCOUNT, FaultKind, TestAzblob};

use super::*;

fn options(server: &TestAzblob) -> AzblobOptions {
    AzblobOptions {
        account_url: format!("{}/", server.url()),
        account_name: ACCOUNT.to_owned(),
        container: "cache".to_owned(),
        names: vec!["main".to_owned(), "other".to_owned()],
        prefix: "p/q/".to_owned(),
        blobs_prefix: "blobs".to_owned(),
        manifests_prefix: "manifests".to_owned(),
        secret_access_key: Secret::new(server.key()),
    }
}

fn dest(options: &AzblobOptions) -> Arc<dyn CachePlace> {
    to(ExportPlace::Azblob(options.clone()))
}

fn src(options: &AzblobOptions) -> Arc<dyn CachePlace> {
    from(ImportPlace::Azblob(options.clone()))
}

#[test]
fn a_cache_comes_back_and_nothing_is_sent_twice() {
    let server = TestAzblob::start();
    let options = options(&server);
    assert!(src(&options).read().expect("no container is no error").is_none());
    let cache = cache(&["a", "b"]);
    assert_eq!(export(&*dest(&options), &cache), [Put::Sent, Put::Sent]);
    assert!(src(&options).read().expect("read").is_some());
    check(&*src(&options), &cache);
    let manifest = server.blob("cache/p/q/manifests/main");
    assert!(manifest.is_some() && manifest == server.blob("cache/p/q/manifests/other"));
    let first = cache.document.layers[0].descriptor.digest;
    assert!(server.names().contains(&format!("cache/p/q/blobs/{first}")));
    server.clear_log();
    assert_eq!(export(&*dest(&options), &cache), [Put::Existed, Put::Existed]);
    let puts: Vec<String> =
        server.calls().into_iter().filter(|call| call.starts_with("PUT")).collect();
    assert_eq!(puts.len(), 2, "the two manifests alone: {puts:?}");
}

#[test]
fn large_blobs_go_in_blocks_and_come_back_after_a_cut() {
    let server = TestAzblob::start();
    let place = dest(&options(&server));
    let content = noise("large", 20 << 20);
    let blob = Descriptor::new("x", Digest::of(&content), content.len() as u64);
    let open = || Ok(Box::new(Cursor::new(content.clone())) as Box<dyn Read + Send>);
    let busy = FaultKind::Status(503, Vec::new(), String::new());
    server.fail_with("PUT", "blockid", 1, busy);
    assert_eq!(place.put(&blob, &open, None).expect("put"), Put::Sent);
    let blocks = server.calls().iter().filter(|call| call.starts_with("PUT")).count();
    assert_eq!(blocks, 1 + 4 + 1, "{:?}", server.calls()); // container, three blocks and one again, list
    server.fail_with("GET", "blobs", 1, FaultKind::CutBody(5 << 20));
    assert!(read_blob(&*place, &blob).expect("goes on") == content);
}

#[test]
fn a_wrong_key_is_said_without_it() {
    let server = TestAzblob::start();
    let wrong =
        AzblobOptions { secret_access_key: Secret::new("d3Jvbmc=".to_owned()), ..options(&server) };
    let error = src(&wrong).read().expect_err("a wrong key");
    assert_eq!(error.kind(), RemoteErrorKind::Unauthorized, "{}", chain(&error));
    let text = chain(&error);
    assert!(text.contains("AuthenticationFailed: told so"), "{text}");
    assert!(!text.contains("SharedKey") && !text.contains("RequestId"), "{text}");
    let no_base64 = AzblobOptions { secret_access_key: Secret::new("n@t".to_owned()), ..wrong };
    let opened = open_import(&CacheImport::new(ImportPlace::Azblob(no_base64)), &client());
    let text = chain(&opened.err().expect("no key"));
    assert!(text.contains("not base64") && !text.contains("n@t"), "{text}");
}

#[test]
fn what_others_wrote_is_no_cache_of_ours() {
    let server = TestAzblob::start();
    let options = options(&server);
    let cache = cache(&["a"]);
    export(&*dest(&options), &cache);
    let body = br#"{"layers":[],"records":[]}"#.to_vec();
    server.fail_with("GET", "manifests", 1, FaultKind::Body(body));
    let error = src(&options).read().expect_err("BuildKit's");
    assert_eq!(error.kind(), RemoteErrorKind::Foreign);
    server.fail_with("GET", "blobs", 1, FaultKind::Body(noise("x", 400)));
    assert!(src(&options).read().is_err());
}
