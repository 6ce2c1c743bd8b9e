//! `--ssh` with key files: the built-in agent as a step sees it (MNT-80 to MNT-84, CLI-42).

use std::path::Path;

use testkit::need;
use world::{Run, World, user};

fn new_key(world: &World, name: &str, kind: &str, passphrase: &str) {
    let path = world.write(name, "");
    std::fs::remove_file(&path).unwrap();
    let key = path.to_str().unwrap();
    world.program("ssh-keygen", &["-q", "-t", kind, "-N", passphrase, "-C", kind, "-f", key]).ok();
    if let Some(user) = user_of(&path) {
        std::os::unix::fs::chown(&path, Some(user), Some(user)).unwrap();
    }
}

/// Who owns the directory of a file.
fn user_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path.parent()?).ok().map(|directory| directory.uid())
}

/// Builds a step that asks the agent.
fn asked(world: &World, mount: &str, arguments: &[&str]) -> Run {
    let program = env!("CARGO_BIN_EXE_agent-client");
    world.write("context/client", std::fs::read(program).unwrap());
    world.dockerfile(&format!("FROM base\nCOPY --chmod=755 client /client\nRUN {mount} /client\n"));
    world.build(&[&["--no-cache"][..], arguments].concat())
}

fn lists_its_keys(world: &World) {
    if !world.base() {
        return;
    }
    new_key(world, "keys/one", "ed25519", "");
    new_key(world, "keys/two", "ecdsa", "");
    let run = asked(world, "--mount=type=ssh", &["--ssh", "default=../keys/one,../keys/two"]);
    run.ok();
    assert!(run.stderr.contains("all asked"), "{run}");
    for name in ["keys/one.pub", "keys/two.pub"] {
        let public = world.read(name);
        let words: Vec<&str> = public.split_ascii_whitespace().collect();
        let line = format!("key {}", words[1]);
        assert!(run.stderr.contains(&line), "no {line}\n{run}");
        // As with BuildKit the comment, which mostly names a person and a machine, stays outside.
        assert!(!run.stderr.contains(&format!("{line} {}", words[2])), "{run}");
    }
}

#[test]
fn cli_42_key_files_are_served_by_an_agent() {
    need!("ssh-keygen");
    lists_its_keys(&World::new());
}

#[test]
fn cli_42_key_files_of_an_ordinary_user() {
    need!("ssh-keygen");
    let Some(user) = user("shale-test-ranges") else { return };
    lists_its_keys(&World::of(user));
}

#[test]
fn mnt_83_the_key_itself_is_not_in_the_step() {
    need!("ssh-keygen");
    let world = World::new();
    if !world.base() {
        return;
    }
    new_key(&world, "keys/one", "ed25519", "");
    // A line of the private part, looked for in every file and every process that the step sees.
    let key = world.read("keys/one");
    let secret = key.lines().rev().nth(2).unwrap();
    let search = format!(
        "! grep -rsF '{secret}' /run /tmp /dev/pipes /etc /var && ! cat /proc/*/environ | grep -F '{secret}'"
    );
    world.dockerfile(&format!("FROM base\nRUN --mount=type=ssh,id=k,required {search}\n"));
    world.build(&["--ssh", "k=../keys/one"]).ok();
    assert!(!world.read("context/Dockerfile").is_empty());
}

#[test]
fn cli_42_keys_that_cannot_be_served_are_refused_at_once() {
    need!("ssh-keygen");
    let world = World::new();
    world.dockerfile("FROM scratch\n");
    new_key(&world, "keys/locked", "ed25519", "a passphrase");
    let locked = world.build(&["--ssh", "default=../keys/locked"]);
    locked.fails(2, &["keys/locked is protected by a passphrase", "ssh-add"]);
    world.build(&["--ssh", "default=Dockerfile"]).fails(2, &["Dockerfile holds no private key"]);
    world.build(&["--ssh", "default=none"]).fails(2, &["none", "No such file"]);
    world.build(&["--ssh", "default"]).fails(2, &["SSH_AUTH_SOCK"]);
}
