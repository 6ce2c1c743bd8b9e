//! Other tools take what shale makes, and shale takes what they make.

use testkit::need;
use world::{Dockerd, Run, World};

const DOCKERFILE: &str = "\
FROM base
RUN echo made here > /made && mkdir /d && touch /d/x && rm -r /d
ENV NAME=value
CMD [\"sh\", \"-c\", \"cat /made; echo $NAME; ls -d /d 2>/dev/null || true\"]
";

const SAYS: &str = "made here\nvalue";

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.dockerfile(DOCKERFILE);
        world
    })
}

#[test]
fn skopeo_reads_and_writes_our_archives() {
    need!("skopeo");
    let Some(world) = prepared() else { return };
    world.build(&["-t", "app:1", "-o", "type=oci,dest=../app.tar"]).ok();
    let inspected = world.program("skopeo", &["inspect", "oci-archive:../app.tar"]);
    assert!(inspected.ok().contains("NAME=value"), "{inspected}");
    std::fs::create_dir_all(world.path("skopeo")).unwrap();
    let copy = |from: &str, to: &str| {
        let policy = ["--insecure-policy", "--tmpdir", "../skopeo", "copy"];
        world.program("skopeo", &[&policy[..], &[from, to]].concat()).ok().to_owned()
    };
    copy("oci-archive:../app.tar", "docker-archive:../docker.tar:other/name:2");
    world.shale(&["load", "-i", "../docker.tar"]).ok();
    assert_eq!(world.shale(&["run", "other/name:2"]).ok(), SAYS);
    copy("docker-archive:../docker.tar", "oci:../layout:3");
    world.dockerfile("FROM layout\nRUN test -f /made\n");
    world.build(&["--build-context", "layout=oci-layout://../layout:3"]).ok();
}

#[test]
fn podman_runs_our_images() {
    need!("root", "podman", "runc");
    let Some(world) = prepared() else { return };
    world.build(&["-t", "app:1", "-o", "type=docker,dest=../app.tar"]).ok();
    // podman's own state is outside of the world: what it leaves there is its own business.
    let state = tempfile::Builder::new().prefix("shale-podman-").tempdir().unwrap();
    let directory = |name: &str| state.path().join(name).to_str().unwrap().to_owned();
    let podman = |arguments: &[&str]| -> Run {
        let (root, runroot, temp) = (directory("root"), directory("run"), directory("tmp"));
        let mut all = vec!["--root", &root, "--runroot", &runroot, "--tmpdir", &temp];
        all.extend(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        // crun refuses machines with both versions of cgroups.
        all.extend(["--events-backend", "none", "--runtime", "/usr/sbin/runc"]);
        all.extend(arguments);
        world.program("podman", &all)
    };
    podman(&["load", "-i", "../app.tar"]).ok();
    // podman's default limits are above those of small machines.
    let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"];
    let run = ["run", "--rm", "--network=none"];
    assert_eq!(podman(&[&run[..], &limits, &["app:1"]].concat()).ok(), SAYS);
}

#[test]
fn docker_runs_our_images() {
    need!("root", "dockerd", "docker");
    let Some(mut world) = prepared() else { return };
    world.build(&["-t", "app:1", "-o", "type=docker,dest=../app.tar"]).ok();
    let engine = Dockerd::start();
    engine.docker(&world, &["load", "-i", "../app.tar"]).ok();
    let run = ["run", "--rm", "--network=none", "app:1"];
    assert_eq!(engine.docker(&world, &run).ok(), SAYS);
    // --load speaks to the engine's socket itself.
    world.set("DOCKER_HOST", engine.host());
    world.dockerfile("FROM base\nCMD [\"echo\", \"loaded\"]\n");
    world.build(&["-t", "app:2", "--load"]).ok();
    let run = ["run", "--rm", "--network=none", "app:2"];
    assert_eq!(engine.docker(&world, &run).ok(), "loaded");
    engine.docker(&world, &["save", "-o", "../from-docker.tar", "app:2"]).ok();
    world.shale(&["rmi", "app:2"]).ok();
    world.shale(&["load", "-i", "../from-docker.tar"]).ok();
    assert_eq!(world.shale(&["run", "app:2"]).ok(), "loaded");
}
