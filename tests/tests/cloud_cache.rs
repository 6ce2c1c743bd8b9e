//! Caches in S3 and in the cache service of GitHub Actions, as two machines use them (CIO-07, CIO-08).

use testkit::actions::{FaultKind, TestActions};
use testkit::s3::TestS3;
use world::{Run, World};

const STAGES: &str = "\
FROM base AS tools
COPY tool.txt /tool.txt
RUN date +%N > /unseen && cat /tool.txt > /tool.sum

FROM base
RUN date +%N > /made
COPY src /src
RUN cat /src/* /made > /all
COPY --from=tools /tool.sum /tool.sum
";

/// A machine that has the base image and the context; none without busybox.
fn machine() -> Option<World> {
    let world = World::new();
    if !world.base() {
        return None;
    }
    world.write("context/tool.txt", "tool");
    world.write("context/src/one.txt", "1");
    world.dockerfile(STAGES);
    Some(world)
}

/// Digests of the layers; the image's own digest has the time in it at which the base was imported.
fn layers(world: &World) -> serde_json::Value {
    let told: serde_json::Value =
        serde_json::from_str(world.shale(&["inspect", "app"]).ok()).unwrap();
    let layers = told[0]["RootFS"]["Layers"].clone();
    assert!(layers.as_array().is_some_and(|layers| layers.len() == 5), "{layers}");
    layers
}

/// Nothing of it is told to a person.
#[track_caller]
fn assert_silent(run: &Run, secrets: &[&str]) {
    for secret in secrets {
        assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{run}");
    }
}

#[test]
fn a_bucket_carries_a_cache_to_an_empty_machine() {
    let server = TestS3::start();
    let settings = server.settings();
    let cache = format!(
        "type=s3,bucket={},region={},endpoint_url={},name=main;other,prefix=team/",
        settings.bucket,
        settings.region,
        server.url()
    );
    let (Some(mut first), Some(mut second)) = (machine(), machine()) else { return };
    for world in [&mut first, &mut second] {
        world.set("AWS_ACCESS_KEY_ID", &settings.access_key_id);
        world.set("AWS_SECRET_ACCESS_KEY", &settings.secret_access_key);
    }
    let built = first.build(&["-t", "app", "--cache-to", &format!("{cache},mode=max")]);
    built.ok();
    assert_silent(&built, &[&settings.secret_access_key]);
    assert!(server.keys().contains(&"team/manifests/main".to_owned()), "{:?}", server.keys());

    server.clear_log();
    let built = second.build(&["-t", "app", "--cache-from", &cache]);
    built.ok();
    assert_eq!(built.ran(), Vec::<String>::new(), "{built}");
    assert_eq!(layers(&first), layers(&second)); // CIO-12
    // The manifest, the document and the four layers of the result; the other stage stays where it is.
    let got = server.calls().iter().filter(|call| call.starts_with("GET")).count();
    assert_eq!(got, 6, "{:#?}", server.calls());

    // One changed file runs what depends on it, and nothing that is there is sent again.
    second.write("context/src/one.txt", "2");
    server.clear_log();
    let both = ["--cache-from", &cache, "--cache-to", &format!("{cache},mode=max")];
    let built = second.build(&["-t", "app", both[0], both[1], both[2], both[3]]);
    built.ok();
    assert!(built.ran().iter().any(|step| step.contains("cat /src")), "{built}");
    assert!(!built.ran().iter().any(|step| step.contains("date")), "{built}");
    let sent: Vec<String> =
        server.calls().into_iter().filter(|call| call.starts_with("PUT")).collect();
    let blobs = sent.iter().filter(|call| call.contains("/blobs/")).count();
    assert!(blobs <= 4, "the changed layers and the document: {sent:#?}");
}

#[test]
fn a_bucket_that_refuses_is_a_warning_to_a_reader_and_an_error_to_a_writer() {
    let server = TestS3::start();
    let settings = server.settings();
    let Some(mut world) = machine() else { return };
    world.set("AWS_ACCESS_KEY_ID", &settings.access_key_id);
    world.set("AWS_SECRET_ACCESS_KEY", "wrongwrongwrong");
    let cache = format!(
        "type=s3,bucket={},region={},endpoint_url={}",
        settings.bucket,
        settings.region,
        server.url()
    );
    let built = world.build(&["-t", "app", "--cache-from", &cache]);
    built.ok();
    assert!(built.stderr.contains("SignatureDoesNotMatch"), "{built}");
    assert_silent(&built, &["wrongwrong"]);
    let built = world.build(&["-t", "app", "--cache-to", &format!("{cache},ignore-error=true")]);
    built.ok();
    assert!(built.stderr.contains("SignatureDoesNotMatch"), "{built}");
    let built = world.build(&["-t", "app", "--cache-to", &cache]); // CIO-11
    assert_ne!(built.code, Some(0), "{built}");
    assert!(built.stderr.contains("SignatureDoesNotMatch"), "{built}");
    assert_silent(&built, &["wrongwrong"]);
}

#[test]
fn a_jobs_cache_serves_the_next_job() {
    for version in ["1", "2"] {
        let server = TestActions::start();
        let (Some(mut first), Some(mut second)) = (machine(), machine()) else { return };
        let tokens =
            [server.token(&["refs/heads/main"]), server.token(&["topic", "refs/heads/main"])];
        for (world, token) in [&mut first, &mut second].into_iter().zip(&tokens) {
            world.set("ACTIONS_RUNTIME_TOKEN", token);
            world.set("ACTIONS_RESULTS_URL", &server.url());
            world.set("ACTIONS_CACHE_URL", &server.url());
            world.set("ACTIONS_CACHE_SERVICE_V2", if version == "2" { "True" } else { "" });
        }
        let built = first.build(&["-t", "app", "--cache-to", "type=gha,scope=ci,mode=max"]);
        built.ok();
        assert_silent(&built, &[&tokens[0], "SECRET"]);
        let is_v2 = server.calls().iter().any(|call| call.contains("twirp"));
        assert_eq!(is_v2, version == "2", "{:#?}", server.calls());
        let built = second.build(&["-t", "app", "--cache-from", "type=gha,scope=ci"]);
        built.ok();
        assert_eq!(built.ran(), Vec::<String>::new(), "{built}");
        assert_eq!(layers(&first), layers(&second));
    }
}

#[test]
fn a_service_that_fails_makes_no_build_fail() {
    let server = TestActions::start();
    let Some(mut world) = machine() else { return };
    let token = server.token(&["main"]);
    world.set("ACTIONS_RUNTIME_TOKEN", &token);
    world.set("ACTIONS_RESULTS_URL", &server.url());
    world.set("ACTIONS_CACHE_SERVICE_V2", "True");
    world.build(&["-t", "app", "--cache-to", "type=gha,mode=max"]).ok();
    // Evicted layers are noticed late.
    for key in server.keys().iter().filter(|key| key.starts_with("buildkit-blob")).take(3) {
        server.evict(key);
    }
    let Some(mut other) = machine() else { return };
    other.set("ACTIONS_RUNTIME_TOKEN", &token);
    other.set("ACTIONS_RESULTS_URL", &server.url());
    other.set("ACTIONS_CACHE_SERVICE_V2", "True");
    let built = other.build(&["-t", "app", "--cache-from", "type=gha"]);
    built.ok();
    let gone = FaultKind::Status(404, Vec::new(), "{\"code\":\"bad_route\"}".to_owned());
    server.fail_with("POST", "GetCacheEntryDownloadURL", 99, gone);
    let built = other.build(&["-t", "app", "--cache-from", "type=gha"]);
    built.ok();
    assert!(built.stderr.contains("404"), "{built}");
}
