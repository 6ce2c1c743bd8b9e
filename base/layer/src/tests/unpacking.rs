//! Archives that ADD unpacks into a root file system (ADD-12 to ADD-19, ADD-23; the expectations are those of the
//! conformance cases `add-tar-*`).

use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;

use crate::testing::{Head, Tar, open};
use crate::{LayerError, UnpackOptions, Unpacked, unpack_archive};

fn unpack(tar: Tar, into: &Path, owner: Option<(u32, u32)>) -> Result<Unpacked, LayerError> {
    let options = UnpackOptions { owner, ..UnpackOptions::default() };
    unpack_archive(&mut &tar.end()[..], open(into).as_fd(), &options)
}

/// Every name below, with kind, mode and owner; contents of files.
fn list(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let what = if meta.is_dir() {
                todo.push(path.clone());
                "dir".to_owned()
            } else if meta.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else if meta.file_type().is_fifo() {
                "pipe".to_owned()
            } else {
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
            };
            let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
            let name = path.strip_prefix(root).unwrap().display().to_string();
            lines.push(match meta.is_symlink() {
                true => format!("{name} {uid}:{gid} {what}"),
                false => format!("{name} {mode:o} {uid}:{gid} {what}"),
            });
        }
    }
    lines.sort();
    lines
}

#[test]
fn plain_archive_with_its_metadata() {
    let head = |mode, owner| Head { mode, owner, ..Head::default() };
    let tar = Tar::default()
        .raw(b'5', b"top", head(0o711, (0, 0)), b"")
        .file("top/f", b"f")
        .dir("top/sub")
        .raw(b'0', b"top/sub/g", head(0o4600, (5, 6)), b"g")
        .symlink("top/l", "f")
        .hard_link("top/h", "top/f")
        .raw(b'6', b"top/p", head(0o622, (0, 0)), b"")
        .file("implied/x", b"x");
    let temp = tempfile::tempdir().unwrap();
    let told = unpack(tar.clone(), temp.path(), None).unwrap();
    assert_eq!(told.entries, 8);
    let own = [
        "implied 755 0:0 dir",
        "implied/x 644 0:0 x",
        "top 711 0:0 dir",
        "top/f 644 0:0 f",
        "top/h 644 0:0 f",
        "top/l 0:0 -> f",
        "top/p 622 0:0 pipe",
        "top/sub 755 0:0 dir",
        "top/sub/g 4600 5:6 g",
    ];
    assert_eq!(list(temp.path()), own);
    let meta = |name: &str| std::fs::metadata(temp.path().join(name)).unwrap();
    assert_eq!(meta("top").mtime(), 1_700_000_000);
    assert_eq!(meta("top/f").ino(), meta("top/h").ino());
    // ADD-14: --chown for all entries, not for what the archive only implies.
    let temp = tempfile::tempdir().unwrap();
    unpack(tar, temp.path(), Some((11, 12))).unwrap();
    let chowned: Vec<String> = own
        .iter()
        .map(|line| match line.starts_with("implied 755") {
            true => (*line).to_owned(),
            false => line.replace("0:0", "11:12").replace("5:6", "11:12"),
        })
        .collect();
    assert_eq!(list(temp.path()), chowned);
}

#[test]
fn what_is_there_is_replaced_never_written_through() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    std::fs::create_dir_all(at("m/dir/in")).unwrap();
    std::fs::create_dir_all(at("m/kept")).unwrap();
    std::fs::write(at("m/kept/old"), "old").unwrap();
    std::fs::write(at("m/file"), "f").unwrap();
    std::fs::write(at("target"), "untouched").unwrap();
    symlink("../target", at("m/link")).unwrap();
    symlink("kept", at("m/dirlink")).unwrap();
    let tar = Tar::default()
        .file("m/dir", b"dir")
        .dir("m/file")
        .file("m/link", b"link")
        .file("m/file/x", b"x")
        .raw(b'5', b"m/kept", Head { mode: 0o700, owner: (8, 9), ..Head::default() }, b"")
        .dir("m/dirlink")
        .file("twice", b"one")
        .raw(b'0', b"twice", Head { mode: 0o600, ..Head::default() }, b"two");
    unpack(tar, temp.path(), None).unwrap();
    let expect = [
        "m 755 0:0 dir",
        "m/dir 644 0:0 dir",
        "m/dirlink 755 0:0 dir",
        "m/file 755 0:0 dir",
        "m/file/x 644 0:0 x",
        "m/kept 700 8:9 dir",
        "m/kept/old 644 0:0 old",
        "m/link 644 0:0 link",
        "target 644 0:0 untouched",
        "twice 600 0:0 two",
    ];
    assert_eq!(list(temp.path()), expect);
}

#[test]
fn entries_stay_below_the_destination() {
    let t = Tar::default;
    let cases: Vec<(Tar, Result<&[&str], ()>)> = vec![
        (
            t().file("ok", b"").file("../../out", b"").file("../../../../tmp/far", b""),
            Ok(&["ok 644 0:0 ", "out 644 0:0 ", "tmp 755 0:0 dir", "tmp/far 644 0:0 "]),
        ),
        (
            t().dir("d").symlink("l", "d").file("l/f", b"f"),
            Ok(&["d 755 0:0 dir", "d/f 644 0:0 f", "l 0:0 -> d"]),
        ),
        (
            t().dir("d").symlink("l", "/d").file("l/f", b"f"),
            Ok(&["d 755 0:0 dir", "d/f 644 0:0 f", "l 0:0 -> /d"]),
        ),
        (t().symlink("l", "../../../tmp/no-such-place").file("l/f", b""), Err(())),
        (t().symlink("l", "/etc").file("l/sub/f", b""), Err(())),
        (t().symlink("l", "l").file("l/f", b""), Err(())),
        (t().file("f", b"").file("f/g", b""), Err(())),
        (t().hard_link("h", "/etc/passwd"), Err(())),
        (t().symlink("e", "/etc").hard_link("h", "e/passwd"), Err(())),
        (t().symlink(".", "/etc"), Err(())),
        (t().raw(b'3', b"c", Head::default(), b""), Err(())),
        // A link that leads through itself and is then replaced.
        (
            t().dir("d").symlink("d/l", ".").file("d/l/l", b"1").file("d/m", b"2"),
            Ok(&["d 755 0:0 dir", "d/l 644 0:0 1", "d/m 644 0:0 2"]),
        ),
        (
            t().dir("./").file("./a//b/./c", b""),
            Ok(&["a 755 0:0 dir", "a/b 755 0:0 dir", "a/b/c 644 0:0 "]),
        ),
    ];
    for (number, (tar, expect)) in cases.into_iter().enumerate() {
        let temp = tempfile::tempdir().unwrap();
        let into = temp.path().join("into");
        std::fs::create_dir(&into).unwrap();
        let done = unpack(tar, &into, None);
        assert_eq!(done.is_ok(), expect.is_ok(), "case {number}: {done:?}");
        if let Ok(lines) = expect {
            assert_eq!(list(&into), lines, "case {number}");
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1, "case {number}");
    }
}

#[test]
fn names_of_deletions_are_refused() {
    for name in [".wh.x", "d/.wh.x", ".wh..wh..opq", ".wh.d/f"] {
        let temp = tempfile::tempdir().unwrap();
        let error = unpack(Tar::default().file(name, b""), temp.path(), None).unwrap_err();
        assert!(error.is_reserved_name(), "{name}: {error}");
    }
}

#[test]
fn broken_archives_are_errors() {
    let temp = tempfile::tempdir().unwrap();
    let into = open(temp.path());
    let end = Tar::default().file("f", b"content").end();
    for bytes in [&end[..600], &[&end[..], b"x"].concat()] {
        let options = UnpackOptions::default();
        assert!(unpack_archive(&mut &bytes[..], into.as_fd(), &options).is_err());
    }
}
