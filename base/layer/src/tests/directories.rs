//! The tar of a directory that is no layer, both ways.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use oci::Digest;

use crate::testing::{Head, Tar, open};
use crate::{
    DirScan, LayerError, UnpackLimits, UnpackOptions, scan_dir, unpack_archive, write_dir_tar,
};

const WHOLE: UnpackOptions =
    UnpackOptions { owner: None, whole_directory: true, keep_own_ids: false, limits: None };

fn scan(dir: &Path) -> DirScan {
    scan_dir(open(dir).as_fd()).unwrap()
}

fn tar(dir: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    write_dir_tar(open(dir).as_fd(), &scan(dir), &mut out).unwrap();
    out
}

fn fill(dir: &Path) {
    fs::create_dir_all(dir.join("sub/.wh..wh..opq")).unwrap();
    fs::write(dir.join("sub/.wh.f"), "a name like others").unwrap();
    fs::write(dir.join("big"), vec![7; 300_000]).unwrap();
    fs::hard_link(dir.join("big"), dir.join("sub/big-too")).unwrap();
    symlink("../outside", dir.join("link")).unwrap();
    fs::set_permissions(dir.join("sub"), fs::Permissions::from_mode(0o2750)).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(dir.join("z"), "").unwrap();
}

#[test]
fn a_directory_comes_back_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(from.path());
    let bytes = tar(from.path());
    assert_eq!(bytes, tar(from.path()), "equal bytes for an equal directory");
    let told = unpack_archive(&mut &bytes[..], open(to.path()).as_fd(), &WHOLE).unwrap();
    assert_eq!(told.entries, 8);
    // Times, owners, modes and links are in the tar, so this is all of them.
    assert_eq!(Digest::of(&bytes), Digest::of(&tar(to.path())));
    let meta = |path: &str| fs::symlink_metadata(to.path().join(path)).unwrap();
    assert_eq!(meta("").mode() & 0o7777, 0o1777);
    assert_eq!(meta("big").ino(), meta("sub/big-too").ino());
    let source = fs::metadata(from.path().join("big")).unwrap();
    assert_eq!(
        (meta("big").mtime(), meta("big").mtime_nsec()),
        (source.mtime(), source.mtime_nsec())
    );
    assert_eq!(scan(from.path()).size_bytes, 300_032 + 512);
}

#[test]
fn every_touch_changes_the_state() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let mut states = vec![scan(dir.path()).state];
    assert_eq!(scan(dir.path()).state, states[0]);
    let mut changed = |what: &str| {
        let state = scan(dir.path()).state;
        assert!(!states.contains(&state), "{what}");
        states.push(state);
    };
    fs::write(dir.path().join("z"), "").unwrap();
    changed("written, as empty as before");
    fs::set_permissions(dir.path().join("z"), fs::Permissions::from_mode(0o600)).unwrap();
    changed("mode");
    fs::rename(dir.path().join("z"), dir.path().join("y")).unwrap();
    changed("name");
    fs::remove_file(dir.path().join("link")).unwrap();
    symlink("../outsidf", dir.path().join("link")).unwrap();
    changed("target");
}

#[test]
fn what_changes_while_it_is_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let before = scan(dir.path());
    let check = |what: &str| {
        let done = write_dir_tar(open(dir.path()).as_fd(), &before, &mut std::io::sink());
        assert!(matches!(done, Err(LayerError::Changed { .. })), "{what}: {done:?}");
    };
    fs::write(dir.path().join("z"), "more").unwrap();
    check("longer");
    fs::remove_file(dir.path().join("z")).unwrap();
    check("gone");
    symlink("/etc/passwd", dir.path().join("z")).unwrap();
    check("a link now");
}

#[test]
fn hostile_archives_stay_inside() {
    let into = tempfile::tempdir().unwrap();
    let dir = into.path().join("in");
    fs::create_dir(&dir).unwrap();
    let check = |tar: Tar, options: &UnpackOptions| {
        unpack_archive(&mut &tar.end()[..], open(&dir).as_fd(), options)
    };
    let names = Tar::default().file("../up", b"1").file("/abs", b"2").symlink("l", "../..");
    check(names.file("l/through", b"3"), &WHOLE).unwrap();
    let mut found: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    found.sort();
    assert_eq!(found, ["abs", "l", "through", "up"]);
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 1);
    let device = Tar::default().raw(b'3', b"null", Head::default(), b"");
    assert!(check(device, &WHOLE).unwrap_err().is_malformed());
    let limits = |size_bytes, entries| UnpackOptions {
        limits: Some(UnpackLimits { size_bytes, entries }),
        ..WHOLE
    };
    let two = || Tar::default().file("a", b"12345").file("b", b"12345");
    check(two(), &limits(10, 2)).unwrap();
    assert!(check(two(), &limits(9, 2)).unwrap_err().is_malformed());
    assert!(check(two(), &limits(10, 1)).unwrap_err().is_malformed());
}
