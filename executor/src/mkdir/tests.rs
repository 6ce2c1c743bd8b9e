use super::*;
use graph::{Mkdir, Who};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn who(user: &str) -> Who {
    Who { user: user.into(), group: None }
}

/// What WORKDIR changes: `path mode uid:gid`, or the error.
fn run(path: &str, owner: &str, epoch: Option<i64>, scratch: bool) -> String {
    let dir = tempfile::tempdir().expect("temporary directory");
    let below = dir.path().join("below");
    fs::create_dir_all(below.join("have")).expect("mkdir");
    fs::set_permissions(below.join("have"), PermissionsExt::from_mode(0o700)).expect("chmod");
    fs::create_dir_all(below.join("etc")).expect("mkdir");
    fs::write(below.join("etc/passwd"), "app:x:1234:2345\n").expect("write");
    fs::write(below.join("file"), "").expect("write");
    symlink("/have/inner", below.join("link")).expect("symlink");
    let ingest = dir.path().join("ingest");
    fs::create_dir(&ingest).expect("mkdir");
    let below: OwnedFd = fs::File::open(&below).expect("open").into();
    let layers = if scratch { Vec::new() } else { vec![below] };
    let mkdir = Mkdir { path: path.into(), owner: who(owner), epoch };
    let step = MkdirStep { layers: &layers, ingest: &ingest, mkdir: &mkdir };
    let layer = match super::mkdir(&step, Level::Root, &Cancel::new()) {
        Ok(layer) => layer,
        Err(error) => return error.to_string(),
    };
    let toc = layer.toc.expect("table of contents");
    if let Some(secs) = epoch {
        let made = ingest.join("diff").join(path.trim_start_matches('/'));
        assert_eq!(fs::metadata(made).expect("stat").mtime(), secs); // WDIR-10
    }
    let line = |e: &layer::Entry| {
        format!("{} {:o} {}:{}", String::from_utf8_lossy(&e.path), e.mode, e.uid, e.gid)
    };
    toc.entries().iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn directories_are_made_for_the_user() {
    if !crate::copy::tests::is_root() {
        return;
    }
    let check = |path: &str, owner: &str, want: &str| {
        assert_eq!(run(path, owner, None, false), want, "{path} {owner}");
    };
    check("/a/b", "", "a 755 0:0, a/b 755 0:0"); // WDIR-04
    check("/a/b", "app", "a 755 1234:2345, a/b 755 1234:2345"); // WDIR-05
    check("/a", "7", "a 755 7:7");
    check("/have", "7", ""); // WDIR-06
    check("/", "", "");
    check("/file", "", "mkdir /file: not a directory"); // WDIR-07
    check("/file/x", "", "mkdir /file: not a directory");
    check("/link/x", "", "have 700 0:0, have/inner 755 0:0, have/inner/x 755 0:0");
    assert_eq!(run("/a/b", "", Some(77), false), "a 755 0:0, a/b 755 0:0");
    assert_eq!(run("/a", "3", None, true), "a 755 3:3");
    assert!(run("/a", "app", None, true).contains("invalid user index: -1"));
}
