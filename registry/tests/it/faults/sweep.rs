//! Every kind of fault at every request of a pull and of a push: the right bytes or an error of a kind that is meant
//! for it (spec/security.md FT7). Which of the two does not matter here; the tables say it for the cases that do.

use super::scene::Scene;
use super::{Run, run_all, run_through};

/// Faults that may fall upon any request.
const KINDS: &[&str] = &[
    "close",
    "lose-answer",
    "reset",
    "half-head",
    "cut 0",
    "cut 1",
    "cut middle",
    "cut last",
    "reset-after middle",
    "flip",
    "short",
    "long",
    "empty",
    "html",
    "gzip",
    "header content-type: text/html",
    "header content-length: 99999999",
    "header content-length: 1",
    "header docker-content-digest: {other}",
    "header location: {cdn}/elsewhere",
    "header range: 0-5",
    "two-headers content-length: 5 / content-length: 6",
    "chunked",
    "bad-chunk",
    "cut-chunk",
    "huge-chunk",
    "interim",
    "smuggle",
    "endless-body",
    "endless-head",
    "huge-head",
    "garbage",
    "bad-status",
    "http-0.9",
    "no-range",
    "expire-tokens",
    "status 200",
    "status 201",
    "status 202 / location: /v2/",
    "status 204",
    "status 206 / content-range: bytes 0-1/2 -- ab",
    "status 304",
    "status 401",
    "status 401 / www-authenticate: Negotiate",
    "status 401 / www-authenticate: Basic realm=\"x\"",
    "status 401 / www-authenticate: Bearer realm=\"{cdn}/token\"",
    "status 403",
    "status 404",
    "status 409",
    "status 416",
    "status 429 / retry-after: 0",
    "status 429 / retry-after: 99999",
    "status 500",
    "status 502",
    "status 503 / retry-after: Sun, 06 Nov 1994 08:49:37 GMT",
    "status 504",
    "status 302 / location: {cdn}/elsewhere",
    "status 307 / location: {cdn}/v2/app/blobs/{layer}",
    "status 307 / location: file:///etc/passwd",
    "status 307 / location: http://169.254.169.254/",
    "status 308 / location: ",
];

/// Requests of a pull and of a push of the scene's image from and to a registry with tokens.
const PULL_REQUESTS: usize = 6;
const PUSH_REQUESTS: usize = 11;

#[test]
fn faults_at_every_request_of_a_pull() {
    run_all(&cases(PULL_REQUESTS), |faults| {
        sweep(faults, Scene::new("token").stocked(), Scene::pull)
    });
}

#[test]
fn faults_at_every_request_of_a_push() {
    run_all(&cases(PUSH_REQUESTS), |faults| sweep(faults, Scene::new("token"), Scene::push));
}

#[test]
fn as_many_requests_are_swept_as_there_are() {
    for (run, requests) in [(Scene::pull as Run, PULL_REQUESTS), (Scene::push, PUSH_REQUESTS)] {
        let scene = Scene::new("token").stocked();
        run(&scene).expect("nothing fails");
        assert_eq!(scene.home.calls().len(), requests, "{:?}", scene.home.calls());
    }
}

fn cases(requests: usize) -> Vec<String> {
    let each = |kind: &&str| (1..=requests).map(|n| format!("* * {n}: {kind}")).collect::<Vec<_>>();
    KINDS.iter().flat_map(each).collect()
}

fn sweep(faults: &str, scene: Scene, run: Run) -> Result<(), String> {
    let (scene, came, _) = run_through(scene, faults, run)?;
    let Err(failure) = came else { return Ok(()) };
    let is_meant = match failure.kind.as_str() {
        // A registry that takes a manifest and says so but does not keep it cannot be told from others.
        "Wrong" => faults.contains(&format!("{PUSH_REQUESTS}: status 20")),
        "Local" | "Configuration" | "Credentials" | "Cancelled" | "Blocked" => false,
        _ => true,
    };
    let is_readable = !failure.text.is_empty() && !failure.text.chars().any(char::is_control);
    match is_meant && is_readable {
        true => Ok(()),
        false => Err(format!("{failure:?}\n  {:?}", scene.home.calls())),
    }
}
