//! A real registry server: push, pull, and its ways to say no.

use testkit::need;
use world::{Registry, World};

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.dockerfile("FROM base\nRUN echo pushed > /made\n");
        world
    })
}

#[test]
fn what_was_pushed_is_pulled_with_the_same_digest() {
    need!("docker-registry", "skopeo");
    let Some(world) = prepared() else { return };
    let registry = Registry::start(&world);
    let name = format!("{}/team/app:1", registry.address());
    world.build(&["-t", &name, "--push", "--metadata-file", "../facts.json"]).ok();
    let facts: serde_json::Value = serde_json::from_str(&world.read("facts.json")).unwrap();
    let digest = facts["containerimage.digest"].as_str().unwrap();
    let remote = format!("docker://{name}");
    let inspect = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &remote];
    assert_eq!(world.program("skopeo", &inspect).ok(), digest);

    let other = World::new();
    other.shale(&["pull", &name]).ok();
    assert_eq!(other.shale(&["run", &name, "cat", "/made"]).ok(), "pushed");
    let again = format!("{}/team/again:2", registry.address());
    other.shale(&["tag", &name, &again]).ok();
    assert!(other.shale(&["push", &again]).ok().contains(digest)); // design D9
    let by_digest = format!("{}/team/app@{digest}", registry.address());
    other.dockerfile(&format!("FROM {by_digest}\nRUN grep pushed /made\n"));
    other.build(&[]).ok();
    let localhost = name.replace("127.0.0.1", "localhost");
    other.shale(&["pull", &localhost]).ok();
}

#[test]
fn images_that_cannot_be_had_are_registry_errors() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let fails = |dockerfile: &str, words: &[&str]| {
        world.dockerfile(dockerfile);
        world.build(&["-t", "half-made"]).fails(4, words);
        assert!(!world.shale(&["images"]).ok().contains("half-made"));
    };
    let address = registry.address();
    let missing = format!("FROM {address}/no/such:1\n");
    fails(&missing, &["no/such", "not found", "Dockerfile:1"]); // ERR-19
    let nothing = "0".repeat(64);
    fails(&format!("FROM {address}/no/such@sha256:{nothing}\n"), &["not found"]);
    world.dockerfile("FROM scratch\nENV A=b\n");
    let own = format!("{address}/own:1");
    world.build(&["-t", &own]).ok();
    world.dockerfile(&format!("FROM {own}\n"));
    world.build(&["--pull"]).fails(4, &["not found", "hint: the store has", "leave out --pull"]);
    drop(registry);
    world.build(&["--pull"]).fails(4, &["refused", "hint: the store has", "leave out --pull"]);
    fails(&format!("FROM {address}/any:1\n"), &[&address, "refused"]);
    world.shale(&["pull", &format!("{address}/any:1")]).fails(4, &["refused"]);
}

#[test]
fn bytes_that_are_not_what_was_promised_are_refused() {
    need!("docker-registry");
    let Some(world) = prepared() else { return };
    let registry = Registry::start(&world);
    let name = format!("{}/app:1", registry.address());
    world.build(&["-t", &name, "--push"]).ok();
    // The server keeps blobs as files and does not look at them again.
    let blobs = world.path("registry/data/docker/registry/v2/blobs/sha256");
    let find = [blobs.to_str().unwrap(), "-name", "data", "-size", "+4k"];
    let layer = world.program("find", &find).ok().lines().next().unwrap().to_owned();
    let mut bytes = std::fs::read(&layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&layer, bytes).unwrap();
    let other = World::new();
    let run = other.shale(&["pull", &name]);
    run.fails(4, &["digest"]);
    assert!(!other.shale(&["images"]).ok().contains("app"), "{run}");
}
