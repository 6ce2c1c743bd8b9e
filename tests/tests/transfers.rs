//! Pull and push: docker's words, what was cut goes on, what a registry has is not sent.

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::image::{TestImage, descriptor};
use testkit::need;
use testkit::registry::{Fault, FaultKind, Settings, TestRegistry};
use testkit::rootfs::TarBuilder;
use testkit::wire::{Piece, Wire};
use world::{Registry, Run, World};

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn image(length: usize, seed: u64) -> TestImage {
    TestImage::new(&[TarBuilder::new().file("a", 0o644, &noise(length, seed)).finish()])
}

/// Requests for blobs and uploads, with what they say of parts.
fn moves(registry: &TestRegistry) -> Vec<String> {
    let of_blobs = registry.log().into_iter().filter(|one| one.path.contains("/blobs/"));
    let told = |one: testkit::registry::Logged| {
        let kind = if one.path.contains("uploads/") { "upload" } else { "blob" };
        let part = one.headers.get("range").or(one.headers.get("content-range"));
        format!("{} {kind} {}", one.method, part.map_or("", |part| part.as_str()))
    };
    of_blobs.map(|one| told(one).trim_end().to_owned()).collect()
}

/// Names in a directory of the store.
fn names(world: &World, area: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(world.store().join(area)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_pull_speaks_as_dockers_does() {
    let world = World::new();
    let registry = TestRegistry::start();
    let image = image(1000, 1);
    image.push_to(&registry, "team/app", "1");
    image.push_to(&registry, "team/app", "2");
    let name = registry.name("team/app:1");
    let digest = image.digest();
    let said = world.shale(&["pull", &name]);
    assert_eq!(
        said.ok(),
        format!(
            "1: Pulling from team/app\nDigest: {digest}\nStatus: Downloaded newer image for {name}\n{name}"
        )
    );
    let again = world.shale(&["pull", &name]);
    assert!(again.ok().contains(&format!("Status: Image is up to date for {name}\n")), "{again}");
    assert_eq!(world.shale(&["pull", "-q", "--disable-content-trust=false", &name]).ok(), name);
    let pinned = format!("{}@{digest}", registry.name("team/app"));
    let said = world.shale(&["pull", &pinned]);
    assert!(said.ok().starts_with(&format!("{digest}: Pulling from team/app\n")), "{said}");
    assert!(said.ok().ends_with(&pinned), "{said}");
    let latest = world.shale(&["pull", &registry.name("team/app")]);
    assert!(latest.stdout.starts_with("Using default tag: latest\n"), "{latest}");
    latest.fails(4, &["team/app:latest", "404", "`shale registry tags 127.0.0.1:"]);
}

#[test]
fn all_tags_go_both_ways() {
    let world = World::new();
    let settings = Settings { tags_in_page: Some(2), ..Settings::default() };
    let registry = TestRegistry::start_with(settings);
    for (seed, tag) in ["1", "2", "3"].into_iter().enumerate() {
        image(1000, seed as u64).push_to(&registry, "app", tag);
    }
    let name = registry.name("app");
    let said = world.shale(&["pull", "-a", &name]);
    for tag in ["1", "2", "3"] {
        assert!(said.ok().contains(&format!("{tag}: Pulling from app\n")), "{said}");
        let copy = registry.name(&format!("copy:{tag}"));
        world.shale(&["tag", &registry.name(&format!("app:{tag}")), &copy]).ok();
    }
    assert!(said.ok().ends_with(&format!("image for {name}\n{name}")), "{said}");
    let copy = registry.name("copy");
    let said = world.shale(&["push", "-a", &copy]);
    assert!(said.ok().starts_with(&format!("The push refers to repository [{copy}]\n")), "{said}");
    for tag in ["1", "2", "3"] {
        let (_, pushed) = registry.manifest("copy", tag).expect("it was pushed");
        assert_eq!(registry.manifest("app", tag).unwrap().1, pushed);
        let size = pushed.len();
        let line = format!("{tag}: digest: {} size: {size}", descriptor("", &pushed).digest);
        assert!(said.ok().contains(&line), "{said}");
    }
    let wrong = world.shale(&["pull", "-a", &registry.name("app:1")]);
    wrong.fails(2, &["tag can't be used with --all-tags/-a"]);
    world.shale(&["push", "-a", &registry.name("none")]).fails(1, &["no image of the name"]);
}

#[test]
fn a_pull_that_was_cut_goes_on_in_another_process() {
    let world = World::new();
    let registry = TestRegistry::start();
    let image = image(6_000_000, 7);
    image.push_to(&registry, "app", "1");
    let layer = descriptor("", &image.layers[0]).digest.hex();
    let name = registry.name("app:1");
    let path = format!("/blobs/sha256:{layer}");
    let cut = || {
        registry.fail_with("GET", &path, 1, FaultKind::CutBody(4_000_000));
        let refused = FaultKind::Status(403, vec![], String::new());
        registry.fail(Fault {
            method: "GET",
            path: path.clone(),
            skip: 0,
            times: 1,
            kind: refused,
        });
        world.shale(&["pull", &name]).fails(4, &["403"]);
    };
    cut();
    assert_eq!(names(&world, "partial"), std::slice::from_ref(&layer));
    assert!(!world.shale(&["images"]).ok().contains("app"));
    world.shale(&["pull", &name]).ok();
    assert_eq!(moves(&registry).last().unwrap(), "GET blob bytes=4000000-");
    assert_eq!(names(&world, "partial"), [""; 0]);
    world.shale(&["cache", "verify"]).ok();

    // What a power cut has spoilt is fetched again.
    let world = World::new();
    registry.fail_with("GET", &path, 1, FaultKind::CutBody(4_000_000));
    let refused = FaultKind::Status(403, vec![], String::new());
    registry.fail(Fault { method: "GET", path, skip: 0, times: 1, kind: refused });
    world.shale(&["pull", &name]).fails(4, &["403"]);
    let left = world.store().join("partial").join(&layer);
    let mut bytes = std::fs::read(&left).unwrap();
    bytes[1_000_000..2_000_000].fill(0);
    std::fs::write(&left, bytes).unwrap();
    world.shale(&["pull", &name]).ok();
    let moved = moves(&registry);
    assert_eq!(moved[moved.len() - 2..], ["GET blob bytes=4000000-", "GET blob"]);
    world.shale(&["cache", "verify"]).ok();
}

#[test]
fn a_push_that_failed_sends_only_what_is_missing() {
    let world = World::new();
    let registry = TestRegistry::start();
    let image = image(3_000_000, 9);
    image.push_to(&registry, "app", "1");
    let name = registry.name("app:1");
    world.shale(&["pull", &name]).ok();
    drop(registry);
    let registry = TestRegistry::start();
    let copy = registry.name("other/app:1");
    world.shale(&["tag", &name, &copy]).ok();
    let away = FaultKind::Status(503, vec![], String::new());
    registry.fail_with("PUT", "/manifests/", 100, away);
    let failed = world.shale(&["push", &copy]);
    failed.fails(4, &["503", &format!("`shale push {copy}` again sends only what")]);
    let before = moves(&registry).len();
    registry.clear_faults();
    world.shale(&["push", &copy]).ok();
    assert_eq!(moves(&registry)[before..], ["HEAD blob", "HEAD blob"]);
    assert_eq!(registry.manifest("other/app", "1").unwrap().1[..], image.manifest);
}

#[test]
fn a_blob_is_mounted_where_it_was_pulled_from_or_pushed_to() {
    let world = World::new();
    let registry = TestRegistry::start();
    let image = image(100_000, 11);
    image.push_to(&registry, "base", "1");
    world.dockerfile(&format!("FROM {}\nENV A=b\n", registry.name("base:1")));
    let app = registry.name("app:1");
    world.build(&["-t", &app]).ok();
    let said = world.shale(&["push", &app]);
    said.ok();
    assert!(said.stderr.contains("mounted from base"), "{said}");
    let layer = descriptor("", &image.layers[0]).digest;
    assert!(registry.blob("app", &layer).is_some());
    let third = registry.name("third:1");
    world.shale(&["tag", &app, &third]).ok();
    let said = world.shale(&["push", &third]);
    said.ok();
    assert_eq!(said.stderr.matches("mounted from app").count(), 2, "layer and config: {said}");
    let said = world.shale(&["push", "-q", &third]);
    assert_eq!(said.ok(), third);
}

#[test]
fn what_is_no_image_is_called_what_it_is() {
    let world = World::new();
    let registry = TestRegistry::start();
    let put = |tag: &str, media_type: &str, text: String| {
        registry.put_manifest("odd", tag, media_type, text.as_bytes());
    };
    registry.put_blob("odd", b"{}");
    let config = descriptor("", b"{}").digest;
    let of_chart = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#
    );
    put("chart", "application/vnd.oci.image.manifest.v1+json", of_chart);
    let old = r#"{"schemaVersion":1,"name":"odd","tag":"old","fsLayers":[],"history":[]}"#;
    put("old", "application/vnd.docker.distribution.manifest.v1+json", old.to_owned());
    let pull = |tag: &str| world.shale(&["pull", &registry.name(&format!("odd:{tag}"))]);
    pull("chart").fails(4, &["an artifact with a application/vnd.cncf.helm.config.v1+json"]);
    pull("old").fails(4, &["schema 1"]);
}

#[test]
fn one_platform_of_an_index_can_be_pushed_alone() {
    let world = World::new();
    let registry = TestRegistry::start();
    world.dockerfile("FROM scratch\nENV A=b\n");
    let name = registry.name("app:1");
    world.build(&["--platform", "linux/amd64,linux/arm64", "-t", &name]).ok();
    let said = world.shale(&["push", "--platform", "linux/arm64", &name]);
    let (media_type, manifest) = registry.manifest("app", "1").unwrap();
    assert_eq!(media_type, "application/vnd.oci.image.manifest.v1+json");
    assert!(said.ok().contains(&descriptor("", &manifest).digest.to_string()), "{said}");
    let missing = world.shale(&["push", "--platform", "linux/s390x", &name]);
    missing.fails(2, &["nothing for linux/s390x", "linux/amd64, linux/arm64"]);
    world.shale(&["push", &name]).ok();
    let (media_type, _) = registry.manifest("app", "1").unwrap();
    assert_eq!(media_type, "application/vnd.oci.image.index.v1+json");
}

#[test]
fn a_platform_that_is_not_there_is_told_with_those_that_are() {
    let world = World::new();
    let registry = TestRegistry::start();
    world.dockerfile("FROM scratch\nENV A=b\n");
    let name = registry.name("app:1");
    world.build(&["--platform", "linux/amd64,linux/arm64", "-t", &name, "--push"]).ok();
    let alone = registry.name("alone:1");
    world.build(&["--platform", "linux/amd64", "-t", &alone, "--push"]).ok();
    let pulled = world.shale(&["pull", "--platform", "linux/s390x", &alone]);
    pulled.ok();
    assert!(
        pulled.stderr.contains("for linux/amd64, and there is none for linux/s390x"),
        "{pulled}"
    );
    let pulled = world.shale(&["pull", "--platform", "linux/amd64", &alone]);
    assert!(!pulled.stderr.contains("there is none"), "{pulled}");
    world.shale(&["pull", &format!("docker://{name}")]).fails(2, &["without the transport: "]);
    world.shale(&["pull", "--platform", "linux/s390x", &name]).fails(
        4,
        &["cannot pull", "no match for platform", "linux/s390x", "linux/amd64, linux/arm64"],
    );
}

/// Stops a transfer at a registry that does not answer; gives its exit code and its words.
fn stopped(world: &World, registry: &TestRegistry, signal: &str, arguments: &[&str]) -> Run {
    let before = registry.log().len();
    let mut command = world.command(arguments);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let moving = command.spawn().unwrap();
    let asked = Instant::now();
    while registry.log().len() == before {
        assert!(asked.elapsed() < Duration::from_secs(30), "nothing was asked for");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    world.program("kill", &[signal, &moving.id().to_string()]).ok();
    let output = moving.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run {
        line: format!("{arguments:?}"),
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        took: asked.elapsed(),
    }
}

#[test]
fn a_stopped_transfer_has_its_own_code_and_no_other_reason() {
    let world = World::new();
    let registry = TestRegistry::start();
    image(5_000_000, 31).push_to(&registry, "app", "1");
    let silent = || FaultKind::Wire(Wire::instead(vec![Piece::Pause(Duration::from_secs(60))]));
    let name = registry.name("app:1");
    world.shale(&["pull", &name]).ok();
    world.shale(&["tag", &name, &registry.name("new:1")]).ok();
    registry.fail_with("GET", "/blobs/", 100, silent());
    registry.fail_with("POST", "/blobs/", 100, silent());
    let (new, other) = (registry.name("new:1"), World::new());
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let pull = stopped(&other, &registry, signal, &["pull", &name]);
        let push = stopped(&world, &registry, signal, &["push", &new]);
        for run in [pull, push] {
            run.fails(code, &["cancelled"]);
            assert!(
                !run.stderr.contains("cannot") && !run.stderr.contains("content to push"),
                "{run}"
            );
        }
    }
}

#[test]
fn a_real_registry_takes_mounts_and_pushes_that_go_on() {
    need!("docker-registry");
    let world = World::new();
    let from = TestRegistry::start();
    image(3_000_000, 13).push_to(&from, "app", "1");
    let name = from.name("app:1");
    world.shale(&["pull", &name]).ok();
    let registry = Registry::start(&world);
    let names = ["one", "two"].map(|n| format!("{}/team/{n}:1", registry.address()));
    for name_there in &names {
        world.shale(&["tag", &name, name_there]).ok();
    }
    let first = world.shale(&["push", &names[0]]);
    first.ok();
    let second = world.shale(&["push", &names[1]]);
    second.ok();
    assert_eq!(second.stderr.matches("mounted from team/one").count(), 2, "{second}");
    let again = world.shale(&["push", &names[1]]);
    assert_eq!(again.stderr.matches(" exists ").count(), 2, "{again}");
    let other = World::new();
    other.shale(&["pull", "-a", &format!("{}/team/two", registry.address())]).ok();
    let digest = |run: &world::Run| {
        run.ok().lines().find_map(|l| l.split("sha256:").nth(1).map(|d| d[..64].to_owned()))
    };
    assert_eq!(digest(&first), digest(&second));
}
