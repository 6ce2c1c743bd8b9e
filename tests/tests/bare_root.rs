//! The program alone: a root file system without libc, name service configuration or any other program.

use std::process::Command;

use testkit::need;
use testkit::registry::{Settings, TestRegistry};
use world::{Registry, Run, World};

/// Makes the directory the root of a mount namespace, with kernel file systems, and runs shale there. The busybox
/// that sets this up is gone when shale starts.
const ENTER: &str = r#"
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mkdir .setup
cp "$(command -v busybox)" .setup/busybox
pivot_root . old
shift
exec /.setup/busybox sh -c '
    b=/.setup/busybox
    $b umount -l /old && $b rmdir /old && $b rm -r /.setup && exec /shale "$@"' shale "$@"
"#;

fn bare(world: &World, arguments: &[&str]) -> Run {
    let root = world.path("bare");
    std::fs::create_dir_all(root.join("old")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", ENTER, "sh"]);
    command.arg(&root).args(arguments);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("SHALE_ROOT", "/store");
    command.env("HOME", "/").env("SSL_CERT_FILE", "/roots.pem");
    Run::new(&mut command)
}

#[test]
fn it_builds_pulls_and_runs() {
    need!("root", "unshare", "busybox", "docker-registry", "pivot_root");
    let world = World::new();
    if !world.base() {
        return;
    }
    let registry = Registry::start(&world);
    let name = format!("{}/base:1", registry.address());
    world.shale(&["tag", "base", &name]).ok();
    world.shale(&["push", &name]).ok();
    let shale = world.command(&[]).get_program().to_owned();
    for directory in ["proc", "sys", "dev", "tmp", "etc"] {
        std::fs::create_dir_all(world.path("bare").join(directory)).unwrap();
    }
    std::fs::copy(shale, world.path("bare/shale")).unwrap();
    // No name server answers: localhost has to be known without one.
    world.write("bare/etc/resolv.conf", "nameserver 127.0.0.1\n");
    let localhost = name.replace("127.0.0.1", "localhost");
    let dockerfile = format!("FROM {localhost}\nRUN echo in a bare root > /made\n");
    world.write("bare/context/Dockerfile", dockerfile);
    bare(&world, &["build", "--network=none", "-t", "app", "/context"]).ok();
    let run = bare(&world, &["run", "--network=none", "app", "cat", "/made"]);
    assert_eq!(run.ok(), "in a bare root");
}

#[test]
fn it_trusts_the_roots_that_it_is_given() {
    need!("root", "unshare", "busybox", "pivot_root");
    let world = World::new();
    if !world.base() {
        return;
    }
    let shale = world.command(&[]).get_program().to_owned();
    for directory in ["proc", "sys", "dev", "tmp", "etc"] {
        std::fs::create_dir_all(world.path("bare").join(directory)).unwrap();
    }
    std::fs::copy(shale, world.path("bare/shale")).unwrap();
    std::fs::copy(world.path("base.tar"), world.path("bare/base.tar")).unwrap();
    let settings = Settings { tls: true, ..Settings::default() };
    let registry = TestRegistry::start_with(settings);
    let name = format!("{}/base:1", registry.host().replace("127.0.0.1", "localhost"));
    bare(&world, &["import", "/base.tar", &name]).ok();
    // A file of roots that is not there is a setting that cannot be used, and none of the machine is.
    bare(&world, &["push", &name]).fails(2, &["root certificates", "roots.pem"]);
    world.write("bare/roots.pem", testkit::tls::ROOT_PEM);
    bare(&world, &["push", &name]).ok();
    bare(&world, &["rmi", &name]).ok();
    world.write("bare/context/Dockerfile", format!("FROM {name}\nRUN echo over TLS > /made\n"));
    bare(&world, &["build", "--network=none", "-t", "app", "/context"]).ok();
    let run = bare(&world, &["run", "--network=none", "app", "cat", "/made"]);
    assert_eq!(run.ok(), "over TLS");
}
