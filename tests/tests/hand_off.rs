//! Images to the engines of this machine and from them: `--load`, `load --to`, `FROM docker-daemon:`.

use testkit::need;
use world::{Dockerd, Run, World};

/// Two layers on the base.
const DOCKERFILE: &str = "\
FROM base
RUN echo one > /one
COPY new /new
CMD [\"cat\", \"/one\", \"/new\"]
";

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.dockerfile(DOCKERFILE);
        world.write("context/new", "new\n");
        world
    })
}

/// Layers whose bytes a command has sent, as its progress says.
fn sent(run: &Run) -> usize {
    let text = run.to_string();
    let is_layer = |line: &&str| {
        let mut words = line.split_whitespace();
        let number = words.next().is_some_and(|word| word.starts_with('#'));
        let is_hex = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
        number && words.next().is_some_and(is_hex) && words.last() == Some("done")
    };
    text.lines().filter(is_layer).count()
}

#[test]
fn docker_gets_what_it_lacks_and_gives_what_it_has() {
    need!("root", "dockerd", "docker");
    let Some(mut world) = prepared() else { return };
    let engine = Dockerd::start();
    world.set("DOCKER_HOST", engine.host());
    let names = |name: &str| -> String {
        let format = ["image", "inspect", "--format", "{{.Id}} {{.RepoTags}}", name];
        engine.docker(&world, &format).ok().to_owned()
    };
    // All of it, then nothing, then one layer.
    let first = world.build(&["-t", "app:1", "--load"]);
    first.ok();
    assert_eq!(sent(&first), 3, "{first}");
    let again = world.build(&["-t", "app:1", "-t", "app:again", "--load"]);
    again.ok();
    assert_eq!(sent(&again), 0, "{again}");
    assert!(names("app:1").contains("app:again"), "{}", names("app:1"));
    let unnamed = world.build(&["--load"]);
    unnamed.ok();
    assert!(unnamed.stderr.contains(" writing image sha256:"), "{unnamed}");
    world.write("context/new", "newer\n");
    let second = world.build(&["-t", "app:1", "--load", "--metadata-file", "../metadata.json"]);
    second.ok();
    assert_eq!(sent(&second), 1, "{second}");
    let run = ["run", "--rm", "--network=none", "app:1"];
    assert_eq!(engine.docker(&world, &run).ok(), "one\nnewer");
    let metadata: serde_json::Value = serde_json::from_str(&world.read("metadata.json")).unwrap();
    let id = metadata["containerimage.config.digest"].as_str().unwrap().to_owned();
    assert!(names("app:1").starts_with(&id), "{metadata}");
    // An image of the store goes the same way. What was removed meanwhile is sent again.
    engine.docker(&world, &["rmi", "-f", "app:1", "app:again"]).ok();
    let loaded = world.shale(&["load", "--to", "docker", "app:1"]);
    assert_eq!(loaded.ok(), "Loaded image: app:1");
    assert_eq!(sent(&loaded), 3, "{loaded}");
    let quiet = world.shale(&["load", "-q", "--to", "docker", &id]);
    assert_eq!(quiet.ok(), format!("Loaded image ID: {id}"));
    from_docker(&world, &engine);
}

/// The engine's images as bases.
fn from_docker(world: &World, engine: &Dockerd) {
    engine.docker(world, &["tag", "app:1", "only/there:2"]).ok();
    world.shale(&["rmi", "app:1", "app:again"]).ok();
    world.write(
        "context/Dockerfile",
        "FROM docker-daemon:only/there:2\nCOPY --from=docker-daemon:only/there:2 /new /copied\n\
         COPY --from=named /one /two\nRUN cat /one /copied > /both\nCMD [\"cat\", \"/both\"]\n",
    );
    let named = ["--build-context", "named=docker-daemon:only/there:2"];
    let build = |more: &[&str]| world.build(&[&named, more].concat());
    let steps = build(&["-t", "from:1", "--pull=never"]);
    steps.ok();
    assert_eq!(steps.ran().len(), 3, "{steps}");
    assert_eq!(world.shale(&["run", "from:1"]).ok(), "one\nnewer");
    let cached = build(&["-t", "from:1"]);
    assert!(cached.ran().is_empty(), "{cached}");
    assert!(!cached.to_string().contains("] load docker-daemon"), "{cached}");
    // The name means another image now.
    let change = ["import", "-c", "CMD [\"sh\"]", "../base.tar", "only/there:2"];
    engine.docker(world, &change).ok();
    world.dockerfile("FROM docker-daemon:only/there:2\nRUN test ! -e /one\n");
    world.build(&["-t", "from:2"]).ok();
    world.dockerfile("FROM docker-daemon:none:1\n");
    world.build(&[]).fails(1, &["docker-daemon:none:1", "has no such image", "docker images"]);
}

#[test]
#[allow(clippy::print_stderr, reason = "a test that cannot be made has no other way to say so")]
fn podman_gets_what_it_lacks_and_gives_what_it_has() {
    need!("root", "podman");
    if std::path::Path::new("/run/podman/podman.sock").exists() {
        // It would be asked before the program is, and is not the test's.
        eprintln!("not tested: this machine's own podman listens");
        return;
    }
    let Some(mut world) = prepared() else { return };
    // podman's own state is outside of the world: what it leaves there is its own business.
    let state = tempfile::Builder::new().prefix("shale-podman-").tempdir().unwrap();
    let path = |name: &str| state.path().join(name).to_str().unwrap().to_owned();
    let (root, run) = (path("root"), path("run"));
    let config = format!("[storage]\ndriver = \"vfs\"\ngraphroot = {root:?}\nrunroot = {run:?}\n");
    std::fs::write(path("storage.conf"), config).unwrap();
    world.set("CONTAINERS_STORAGE_CONF", &path("storage.conf"));
    world.build(&["-t", "app:1"]).ok();
    let load = |name: &str| world.shale(&["load", "--to", "podman", name]);
    let first = load("app:1");
    assert_eq!(first.ok(), "Loaded image: app:1");
    assert_eq!(sent(&first), 3, "{first}");
    assert_eq!(sent(&load("app:1")), 0);
    world.write("context/new", "newer\n");
    world.build(&["-t", "app:2"]).ok();
    let second = load("app:2");
    second.ok();
    assert_eq!(sent(&second), 1, "{second}");
    let listed = world
        .program("env", &["-u", "CONTAINER_HOST", "podman", "images", "--format", "{{.Names}}"]);
    assert!(listed.ok().contains("docker.io/library/app:2"), "{listed}");
    world.shale(&["rmi", "app:1", "app:2"]).ok();
    world.dockerfile("FROM containers-storage:app:2\nRUN test \"$(cat /new)\" = newer\n");
    world.build(&["-t", "from:1"]).ok();
    let again = world.build(&["-t", "from:1"]);
    assert!(again.ran().is_empty(), "{again}");
    world.dockerfile("FROM containers-storage:none:1\n");
    world.build(&[]).fails(1, &["containers-storage:none:1", "has no such image"]);
    // Where the user has named a socket, no other storage is meant.
    world.set("CONTAINER_HOST", "unix:///nonexistent/podman.sock");
    let absent = ["there is no Podman: tried /nonexistent/podman.sock\n", "CONTAINER_HOST"];
    world.shale(&["load", "--to", "podman", "from:1"]).fails(3, &absent);
}

#[test]
fn containerd_gets_the_blobs_that_it_lacks() {
    need!("root", "dockerd", "docker", "ctr");
    let Some(world) = prepared() else { return };
    // Docker's own containerd serves as one.
    let engine = Dockerd::start();
    let address = engine.containerd();
    let to = format!("containerd={address}/shale-test");
    let load = |name: &str| world.shale(&["load", "--to", &to, name]);
    world.build(&["-t", "app:1"]).ok();
    let first = load("app:1");
    first.ok();
    assert_eq!(sent(&first), 3, "{first}");
    assert_eq!(sent(&load("app:1")), 0);
    world.write("context/new", "newer\n");
    world.build(&["-t", "app:2"]).ok();
    let second = load("app:2");
    second.ok();
    assert_eq!(sent(&second), 1, "{second}");
    let listed = world.program("ctr", &["-a", &address, "-n", "shale-test", "images", "ls", "-q"]);
    assert_eq!(listed.ok(), "docker.io/library/app:1\ndocker.io/library/app:2");
    let id = world.shale(&["images", "-q", "app:2"]).ok().to_owned();
    load(&id).fails(1, &["containerd knows images by their names"]);
}

#[test]
fn an_engine_that_is_not_there_is_named() {
    let Some(mut world) = prepared() else { return };
    world.build(&["-t", "app:1"]).ok();
    world.set("DOCKER_HOST", "unix:///nonexistent/d.sock");
    let absent = ["there is no", "/nonexistent/d.sock", "DOCKER_HOST"];
    world.shale(&["load", "--to", "docker", "app:1"]).fails(3, &absent);
    world.build(&["--load"]).fails(3, &absent);
    world.dockerfile("FROM docker-daemon:app:1\n");
    world.build(&[]).fails(3, &absent);
    let no_containerd = ["there is no containerd: tried ", "CONTAINERD_ADDRESS"];
    world
        .shale(&["load", "--to", "containerd=/nonexistent/c.sock", "app:1"])
        .fails(3, &no_containerd);
    world.set("DOCKER_HOST", "tcp://127.0.0.1:1");
    let tcp = ["tried tcp://127.0.0.1:1 (Connection refused", "tcp://host:port"];
    world.shale(&["load", "--to", "docker", "app:1"]).fails(3, &tcp);
    world.set("DOCKER_HOST", "ssh://me@far");
    let ssh = ["ssh://me@far is reached through ssh", "ssh -nNT -L"];
    world.shale(&["load", "--to", "docker", "app:1"]).fails(3, &ssh);
    world.set("DOCKER_HOST", "");
    world.set("DOCKER_CONTEXT", "nowhere");
    let context = ["docker's context nowhere: there is none", "DOCKER_HOST"];
    world.shale(&["load", "--to", "docker", "app:1"]).fails(3, &context);
    world
        .shale(&["load", "--to", "lxc", "app:1"])
        .fails(2, &["unknown engine", "docker, podman or"]);
    world.shale(&["load", "app:1"]).fails(2, &["--to"]);
    world.dockerfile("FROM docker-daemon:\n");
    world.build(&[]).fails(2, &["invalid reference format"]);
}
