//! Buckets: the one in process that fails as told, and moto's server, which others wrote (CIO-08).

use std::collections::BTreeMap;

use ::registry::Secret;
use remotecache::{AwsEnvironment, RemoteErrorKind, S3Options};
use serde_json::Value;
use testkit::s3::{FaultKind, S3Settings, TestS3};

use super::*;

const MANIFEST: &str = "p/manifests/main";

fn options(server: &TestS3) -> S3Options {
    let settings = server.settings();
    S3Options {
        bucket: settings.bucket.clone(),
        region: settings.region.clone(),
        names: vec!["main".to_owned(), "other".to_owned()],
        prefix: "p/".to_owned(),
        blobs_prefix: "blobs/".to_owned(),
        manifests_prefix: "manifests/".to_owned(),
        endpoint_url: Some(server.url()),
        use_path_style: true,
        access_key_id: Some(settings.access_key_id.clone()),
        secret_access_key: Some(Secret::new(settings.secret_access_key.clone())),
        session_token: None,
        touch_refresh_s: 24 * 3600,
        upload_parallelism: 4,
        retry_max_attempts: Some(3),
        environment: AwsEnvironment::default(),
    }
}

fn dest(options: &S3Options) -> Arc<dyn CachePlace> {
    to(ExportPlace::S3(options.clone()))
}

fn src(options: &S3Options) -> Arc<dyn CachePlace> {
    from(ImportPlace::S3(options.clone()))
}

fn put(place: &dyn CachePlace, content: &[u8]) -> Result<Put, String> {
    let blob = Descriptor::new("x", Digest::of(content), content.len() as u64);
    let open = || Ok(Box::new(Cursor::new(content.to_vec())) as Box<dyn Read + Send>);
    place.put(&blob, &open, None).map_err(|error| chain(&error))
}

fn blob_key(content: &[u8]) -> String {
    format!("p/blobs/{}", Digest::of(content))
}

#[test]
fn a_cache_comes_back_and_nothing_is_sent_twice() {
    let server = TestS3::start();
    let options = options(&server);
    assert!(src(&options).read().expect("no error").is_none());
    let cache = cache(&["a", "b"]);
    assert_eq!(export(&*dest(&options), &cache), [Put::Sent, Put::Sent]);
    check(&*src(&options), &cache);
    assert_eq!(server.object(MANIFEST), server.object("p/manifests/other"));
    server.clear_log();
    assert_eq!(export(&*dest(&options), &cache), [Put::Existed, Put::Existed]);
    let sent: Vec<String> =
        server.calls().into_iter().filter(|call| call.starts_with("PUT")).collect();
    assert_eq!(sent.len(), 2, "the two manifests alone: {sent:?}");
}

#[test]
fn the_manifest_is_what_buildkits_importer_reads() {
    let server = TestS3::start();
    let cache = cache(&["a"]);
    export(&*dest(&options(&server)), &cache);
    let bytes = server.object(MANIFEST).expect("the manifest");
    let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
    let layer = &manifest["layers"][0];
    let descriptor = &cache.document.layers[0].descriptor;
    assert_eq!(layer["blob"], descriptor.digest.to_string());
    assert_eq!(layer["annotations"]["size"], descriptor.size_bytes);
    assert_eq!(layer["annotations"]["mediaType"], media::OCI_LAYER_GZIP);
    assert_eq!(layer["annotations"]["diffID"], cache.document.layers[0].diff_id.to_string());
    assert_eq!(manifest["records"][0]["layers"][0]["layer"], 0);
    let own = manifest["shale.cache.v1"]["digest"].as_str().expect("our document");
    assert!(server.object(&format!("p/blobs/{own}")).is_some());
}

#[test]
fn caches_of_buildkit_and_damaged_ones_are_told_apart() {
    let server = TestS3::start();
    let options = options(&server);
    let kind = |bytes: &[u8]| {
        server.put(MANIFEST, bytes);
        src(&options).read().expect_err("no document").kind()
    };
    assert_eq!(kind(b"{\"layers\":[],\"records\":[]}"), RemoteErrorKind::Foreign);
    assert_eq!(kind(b"{\"layers\":"), RemoteErrorKind::Damaged);
    let cache = cache(&["a"]);
    export(&*dest(&options), &cache);
    let manifest = server.object(MANIFEST).expect("the manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let key = format!("p/blobs/{}", manifest["shale.cache.v1"]["digest"].as_str().expect("text"));
    let mut bytes = server.object(&key).expect("the document").to_vec();
    bytes[20] ^= 1;
    server.put(&key, &bytes);
    let error = src(&options).read().expect_err("damaged");
    assert!(chain(&error).contains("digest"), "{}", chain(&error));
    server.remove(&key);
    let error = src(&options).read().expect_err("gone");
    assert_eq!(error.kind(), RemoteErrorKind::NotFound, "{}", chain(&error));
}

#[test]
fn large_blobs_go_in_parts_and_come_back_after_cuts() {
    let server = TestS3::start();
    let options = options(&server);
    let content = noise("large", (20 << 20) + 12_345);
    server.fail_with("PUT", "partNumber=2", 1, FaultKind::Status(500, Vec::new(), String::new()));
    server.fail_with("PUT", "partNumber=3", 1, FaultKind::Close);
    let slow = "<Error><Code>InternalError</Code><Message>again</Message></Error>";
    server.fail_with("POST", "uploadId=", 1, FaultKind::Status(200, Vec::new(), slow.to_owned()));
    assert_eq!(put(&*dest(&options), &content), Ok(Put::Sent));
    assert_eq!(server.object(&blob_key(&content)).as_deref(), Some(&content[..]));
    assert_eq!(server.open_uploads(), 0);
    let blob = Descriptor::new("x", Digest::of(&content), content.len() as u64);
    server.clear_log();
    server.fail_with("GET", "blobs", 1, FaultKind::CutBody(1_000_000));
    server.fail_with("GET", "blobs", 1, FaultKind::CutBody(2_000_000));
    assert!(read_blob(&*src(&options), &blob).expect("the blob") == content);
    let ranges: Vec<String> =
        server.log().iter().filter_map(|asked| asked.headers.get("range").cloned()).collect();
    assert_eq!(ranges, ["bytes=1000000-", "bytes=3000000-"]);
}

#[test]
fn a_failed_upload_leaves_nothing_behind() {
    let server = TestS3::start();
    let options = options(&server);
    let content = noise("large", 9 << 20);
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    server.fail_with("PUT", "partNumber", 9, FaultKind::Status(403, Vec::new(), denied.to_owned()));
    let error = put(&*dest(&options), &content).expect_err("denied");
    assert!(error.contains("AccessDenied: no"), "{error}");
    assert_eq!((server.open_uploads(), server.keys().len()), (0, 0));
}

#[test]
fn old_objects_are_touched_when_they_are_needed() {
    let server = TestS3::start();
    let options = options(&server);
    assert_eq!(put(&*dest(&options), b"layer"), Ok(Put::Sent));
    server.age(Duration::from_secs(23 * 3600));
    assert_eq!(put(&*dest(&options), b"layer"), Ok(Put::Existed));
    assert!(server.age_of(&blob_key(b"layer")) >= Some(23 * 3600));
    server.age(Duration::from_secs(2 * 3600));
    assert_eq!(put(&*dest(&options), b"layer"), Ok(Put::Existed));
    assert!(server.age_of(&blob_key(b"layer")) < Some(60));
    assert_eq!(server.object(&blob_key(b"layer")).as_deref(), Some(&b"layer"[..]));
}

#[test]
fn half_an_object_is_sent_again() {
    let server = TestS3::start();
    server.put(&blob_key(b"layer"), b"lay");
    let place = dest(&options(&server));
    let blob = Descriptor::new("x", Digest::of(b"layer"), 5);
    assert!(!place.has(&blob).expect("asked"));
    assert_eq!(put(&*place, b"layer"), Ok(Put::Sent));
    assert_eq!(server.object(&blob_key(b"layer")).as_deref(), Some(&b"layer"[..]));
}

#[test]
fn what_may_pass_is_tried_again() {
    let server = TestS3::start();
    let place = dest(&options(&server));
    let slow = "<Error><Code>SlowDown</Code><Message>less</Message></Error>".to_owned();
    let late = "<Error><Code>RequestTimeout</Code><Message>late</Message></Error>".to_owned();
    for fault in [
        FaultKind::Status(503, Vec::new(), slow),
        FaultKind::Status(429, Vec::new(), String::new()),
        FaultKind::Status(400, Vec::new(), late),
        FaultKind::LoseAnswer,
    ] {
        let content = format!("{fault:?}").into_bytes();
        server.fail_with("PUT", "blobs", 1, fault);
        assert_eq!(put(&*place, &content), Ok(Put::Sent));
    }
    server.fail_with("PUT", "blobs", 3, FaultKind::Status(503, Vec::new(), String::new()));
    let error = put(&*place, b"never").expect_err("three tries");
    assert!(error.contains("503"), "{error}");
}

#[test]
fn clocks_may_differ() {
    for clock_ahead_s in [7200, -7200] {
        let server = TestS3::start_with(S3Settings { clock_ahead_s, ..S3Settings::default() });
        let options = options(&server);
        let cache = cache(&["a"]);
        export(&*dest(&options), &cache);
        check(&*src(&options), &cache);
    }
}

#[test]
fn refusals_say_why_and_name_no_secret() {
    let server = TestS3::start_with(S3Settings {
        session_token: Some("tokentokentoken".to_owned()),
        ..S3Settings::default()
    });
    let good = S3Options {
        session_token: Some(Secret::new("tokentokentoken".to_owned())),
        ..options(&server)
    };
    assert_eq!(put(&*dest(&good), b"layer"), Ok(Put::Sent));
    let secret = Some(Secret::new("wrongwrongwrong".to_owned()));
    for (options, word) in [
        (S3Options { secret_access_key: secret, ..good.clone() }, "SignatureDoesNotMatch"),
        (
            S3Options { access_key_id: Some("NOBODY".to_owned()), ..good.clone() },
            "InvalidAccessKeyId",
        ),
        (S3Options { session_token: None, ..good.clone() }, "InvalidToken"),
        (
            S3Options { region: "us-else-9".to_owned(), ..good.clone() },
            "AuthorizationHeaderMalformed",
        ),
        (S3Options { bucket: "none".to_owned(), ..good.clone() }, "NoSuchBucket"),
    ] {
        let error = put(&*dest(&options), b"other").expect_err("refused");
        let read = src(&options).read().map(drop).map_err(|error| chain(&error));
        let text = format!("{error} {read:?} {options:?}");
        assert!(error.contains(word) && text.matches(word).count() > 1, "{text}");
        for hidden in ["wrongwrong", "tokentoken", &server.settings().secret_access_key] {
            assert!(!text.contains(hidden), "{text}");
        }
    }
}

#[test]
fn a_redirect_takes_no_token_along() {
    let (server, other) = (TestS3::start(), TestS3::start());
    let options = S3Options {
        session_token: Some(Secret::new("tokentokentoken".to_owned())),
        ..options(&server)
    };
    let location = vec![
        ("location", format!("{}/bucket/p/manifests/main", other.url())),
        ("x-amz-bucket-region", "us-west-2".to_owned()),
    ];
    server.fail_with("GET", "main", 1, FaultKind::Status(307, location, String::new()));
    let error = chain(&src(&options).read().expect_err("not followed"));
    assert!(error.contains("the bucket is in region us-west-2"), "{error}");
    assert!(other.log().is_empty());
}

/// A read with the credentials of an environment.
fn read_with(server: &TestS3, environment: AwsEnvironment) -> Result<(), String> {
    let options =
        S3Options { access_key_id: None, secret_access_key: None, environment, ..options(server) };
    src(&options).read().map(drop).map_err(|error| chain(&error))
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    let secret = |text: &str| Secret::new(text.to_owned());
    pairs.iter().map(|(name, value)| ((*name).to_owned(), secret(value))).collect()
}

#[test]
fn credentials_come_from_variables_and_shared_files() {
    let server = TestS3::start();
    let (id, secret) = ("TESTKEY", "test/secret+key");
    let by_variables = variables(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]);
    let no_home = |variables| AwsEnvironment { variables, home: None };
    assert_eq!(read_with(&server, no_home(by_variables)), Ok(()));

    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join(".aws")).expect("a directory");
    let write = |name: &str, text: String| {
        std::fs::write(home.path().join(".aws").join(name), text).expect("written");
    };
    write(
        "credentials",
        format!("[default]\naws_access_key_id={id}\naws_secret_access_key = {secret}\n"),
    );
    write("config", "[profile sso]\nsso_session = x\n[profile empty]\nregion = y\n".to_owned());
    let at_home = |pairs: &[(&str, &str)]| AwsEnvironment {
        variables: variables(pairs),
        home: Some(home.path().to_owned()),
    };
    assert_eq!(read_with(&server, at_home(&[])), Ok(()));
    let error = read_with(&server, at_home(&[("AWS_PROFILE", "sso")])).expect_err("no key");
    assert!(
        error.contains("profile `sso`") && error.contains("sso_session are not supported"),
        "{error}"
    );
    let error = read_with(&server, at_home(&[("AWS_PROFILE", "empty")])).expect_err("no key");
    assert!(error.contains("it has no credential"), "{error}");
}

/// A server that wants the token of a credential for a time, and gives that credential out itself when it is told to.
fn issuing() -> (TestS3, AwsEnvironment) {
    let server = TestS3::start_with(S3Settings {
        session_token: Some("SESSION".to_owned()),
        ..S3Settings::default()
    });
    (server, AwsEnvironment::default())
}

fn answer(server: &TestS3, method: &'static str, path: &str, body: &str) {
    server.fail_with(method, path, 1, FaultKind::Status(200, Vec::new(), body.to_owned()));
}

#[test]
fn a_web_identity_is_exchanged() {
    let (server, mut environment) = issuing();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "identity+token\n").expect("written");
    environment.variables = variables(&[
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/x"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().expect("text")),
        ("AWS_ENDPOINT_URL_STS", &server.url()),
    ]);
    answer(
        &server,
        "POST",
        "/",
        "<AssumeRoleWithWebIdentityResponse xmlns=\"u\"><AssumeRoleWithWebIdentityResult><Credentials>\
         <SessionToken>SESSION</SessionToken><SecretAccessKey>test/secret+key</SecretAccessKey>\
         <Expiration>2099-01-01T00:00:00Z</Expiration><AccessKeyId>TESTKEY</AccessKeyId>\
         </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
    );
    assert_eq!(read_with(&server, environment.clone()), Ok(()));
    assert!(!server.log()[0].headers.contains_key("authorization"));
    let denied = "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>";
    server.fail_with("POST", "/", 1, FaultKind::Status(400, Vec::new(), denied.to_owned()));
    let error = read_with(&server, environment).expect_err("denied");
    assert!(error.contains("InvalidIdentityToken: no") && !error.contains("identity+"), "{error}");
}

const DOCUMENT: &str = "{\"Code\":\"Success\",\"AccessKeyId\":\"TESTKEY\",\"SecretAccessKey\":\"test/secret+key\",\
    \"Token\":\"SESSION\",\"Expiration\":\"2099-01-01T00:00:00Z\"}";

#[test]
fn a_containers_agent_is_asked() {
    let (server, mut environment) = issuing();
    environment.variables = variables(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/agent?x=1", server.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc"),
    ]);
    answer(&server, "GET", "/agent", DOCUMENT);
    assert_eq!(read_with(&server, environment), Ok(()));
    assert_eq!(server.log()[0].headers["authorization"], "Basic abc");
}

#[test]
fn the_machines_own_role_is_the_last_resort() {
    let (server, mut environment) = issuing();
    let endpoint = server.url();
    environment.variables = variables(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str())]);
    answer(&server, "PUT", "/latest/api/token", "METATOKEN");
    answer(&server, "GET", "/security-credentials/", "my role\n");
    answer(&server, "GET", "/security-credentials/my%20role", DOCUMENT);
    assert_eq!(read_with(&server, environment.clone()), Ok(()));
    assert_eq!(server.log()[2].headers["x-aws-ec2-metadata-token"], "METATOKEN");
    // A machine that is none of Amazon's has no such service.
    let error = read_with(&server, environment).expect_err("no token");
    assert!(error.contains("none is given"), "{error}");
}

#[test]
fn a_credential_is_renewed_before_it_ends() {
    let (server, mut environment) = issuing();
    let url = format!("{}/agent", server.url());
    environment.variables = variables(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())]);
    let short = DOCUMENT.replace("2099", "2001");
    for _ in 0..3 {
        answer(&server, "GET", "/agent", &short);
    }
    let options =
        S3Options { access_key_id: None, secret_access_key: None, environment, ..options(&server) };
    assert_eq!(put(&*dest(&options), b"layer"), Ok(Put::Sent));
    let asked = server.calls().iter().filter(|call| call.contains("/agent")).count();
    assert_eq!(asked, 2, "once for each request: {:#?}", server.calls());
}

#[test]
fn the_bucket_may_be_part_of_the_host() {
    let server = TestS3::start();
    let endpoint_url = Some(format!("http://localhost:{}", server.port()));
    let options = S3Options { endpoint_url, use_path_style: false, ..options(&server) };
    let cache = cache(&["a"]);
    export(&*dest(&options), &cache);
    check(&*src(&options), &cache);
    let hosts: Vec<String> =
        server.log().iter().filter_map(|asked| asked.headers.get("host").cloned()).collect();
    assert!(hosts.iter().all(|host| *host == format!("bucket.localhost:{}", server.port())));
}

#[test]
fn certificates_are_checked() {
    let server = TestS3::start_with(S3Settings { tls: true, ..S3Settings::default() });
    let dir = tempfile::tempdir().expect("a directory");
    let roots = dir.path().join("ca.pem");
    std::fs::write(&roots, testkit::tls::ROOT_PEM).expect("written");
    let import = CacheImport::new(ImportPlace::S3(options(&server)));
    let client = client_trusting(::registry::TlsRoots::Files(vec![roots]));
    let place = open_import(&import, &client).expect("options");
    assert!(place.read().expect("trusted").is_none());
    let error = src(&options(&server)).read().expect_err("not trusted");
    assert!(chain(&error).contains("TLS"), "{}", chain(&error));
}

#[test]
fn without_any_credential_the_error_says_where_it_looked() {
    let server = TestS3::start();
    let variables = variables(&[("AWS_EC2_METADATA_DISABLED", "true")]);
    let error = read_with(&server, AwsEnvironment { variables, home: None }).expect_err("none");
    assert!(error.contains("none is given by access_key_id"), "{error}");
    assert!(server.log().is_empty());
}

#[test]
fn moto_takes_and_gives_a_cache() {
    testkit::need!("moto_server");
    let server = testkit::server::MotoServer::start();
    server.create_bucket("bucket");
    let fake = TestS3::start();
    let options = S3Options {
        endpoint_url: Some(server.url()),
        region: "us-east-1".to_owned(),
        ..options(&fake)
    };
    assert!(src(&options).read().expect("no error").is_none());
    let cache = cache(&["a", "b"]);
    assert_eq!(export(&*dest(&options), &cache), [Put::Sent, Put::Sent]);
    assert_eq!(export(&*dest(&options), &cache), [Put::Existed, Put::Existed]);
    check(&*src(&options), &cache);
    let large = noise("large", (17 << 20) + 1);
    assert_eq!(put(&*dest(&options), &large), Ok(Put::Sent));
    let blob = Descriptor::new("x", Digest::of(&large), large.len() as u64);
    assert!(read_blob(&*src(&options), &blob).expect("the blob") == large);
    let touching = S3Options { touch_refresh_s: 0, ..options.clone() };
    // The server has whole seconds, so an object becomes old only in the next one.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(put(&*dest(&touching), &large), Ok(Put::Existed));
    assert!(read_blob(&*src(&options), &blob).expect("the blob") == large);
}
