//! Layer tars, friendly and hostile, unpacked above other layers (security.md B1 to B8, B12).

use std::fs::Permissions;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use oci::Digest;
use tempfile::TempDir;

use crate::testing::{Head, Tar, need_root, open, skipped};
use crate::{
    Applied, ApplyOptions, Encoding, EntryKind, LayerError, Toc, apply_tar, content_id, scan_upper,
    write_tar,
};

/// A layer on disk.
struct Layer {
    temp: TempDir,
    applied: Applied,
}

impl Layer {
    fn path(&self) -> &Path {
        self.temp.path()
    }

    fn toc(&self) -> &Toc {
        &self.applied.toc
    }
}

/// Applies a tar above other layers, lowest first.
fn apply(tar: &[u8], lower: &[&Layer]) -> Result<Layer, LayerError> {
    let temp = tempfile::Builder::new().prefix("layer").tempdir().unwrap();
    let below: Vec<&Toc> = lower.iter().rev().map(|layer| layer.toc()).collect();
    let lower_dir =
        |at: usize| -> Option<OwnedFd> { Some(open(lower[lower.len() - 1 - at].path())) };
    let options =
        ApplyOptions { userxattr: false, owners_in_toc_only: false, lower_dir: &lower_dir };
    let mut src = tar;
    let applied = apply_tar(&mut src, open(temp.path()).as_fd(), &below, &options)?;
    assert_eq!(applied.diff_id.0, Digest::of(tar));
    assert_eq!(applied.size_bytes, tar.len() as u64);
    Ok(Layer { temp, applied })
}

/// One line for each entry.
fn lines(toc: &Toc) -> Vec<String> {
    let line = |entry: &crate::Entry| {
        let path = String::from_utf8_lossy(&entry.path);
        let what = match &entry.kind {
            EntryKind::Directory { opaque } => {
                assert!(!opaque);
                "dir".to_owned()
            }
            EntryKind::File { size_bytes, digest } => {
                assert!(digest.is_some());
                format!("file {size_bytes}")
            }
            EntryKind::Symlink { target } => format!("-> {}", String::from_utf8_lossy(target)),
            EntryKind::CharDevice { major, minor } => format!("char {major}:{minor}"),
            EntryKind::BlockDevice { major, minor } => format!("block {major}:{minor}"),
            EntryKind::Fifo => "pipe".to_owned(),
            EntryKind::Socket => "socket".to_owned(),
            EntryKind::Whiteout => return format!("{path} gone"),
        };
        let group = entry.link_group.map_or(String::new(), |group| format!(" link {group}"));
        format!("{path} {:o} {}:{} {what}{group}", entry.mode, entry.uid, entry.gid)
    };
    toc.entries().iter().map(line).collect()
}

fn check(tar: Tar, lower: &[&Layer], expect: &[&str]) -> Layer {
    let layer = apply(&tar.end(), lower).unwrap();
    assert_eq!(lines(layer.toc()), expect);
    // What the disk says is what the table says.
    let raw = scan_upper(open(layer.path()).as_fd(), false).unwrap();
    let below: Vec<&Toc> = lower.iter().rev().map(|layer| layer.toc()).collect();
    let dir = open(layer.path());
    let mut again = crate::normalize::normalize_unpacked(raw, &below).unwrap();
    crate::digest_files(dir.as_fd(), &mut again, &|| false).unwrap();
    assert_eq!(lines(&again), expect);
    assert_eq!(&again, layer.toc());
    // And a tar of it means the same again (B12).
    let mut bytes = Vec::new();
    write_tar(dir.as_fd(), layer.toc(), &Encoding::default(), &mut bytes).unwrap();
    let twice = apply(&bytes, lower).unwrap();
    assert_eq!(whole_seconds(twice.toc()), whole_seconds(layer.toc()));
    assert_eq!(content_id(twice.toc()), content_id(layer.toc()));
    layer
}

/// A table as a tar of it would give it.
fn whole_seconds(toc: &Toc) -> Toc {
    let mut entries = toc.entries().to_vec();
    entries.iter_mut().for_each(|entry| entry.mtime.nanos = 0);
    Toc::from_entries(entries)
}

fn base() -> Layer {
    let etc = Head { mode: 0o750, owner: (3, 4), ..Head::default() };
    let tar = Tar::default()
        .raw(b'5', b"etc", etc, b"")
        .file("etc/passwd", b"root")
        .dir("d")
        .file("d/one", b"1")
        .file("d/two", b"2")
        .dir("d/sub")
        .file("d/sub/deep", b"3")
        .symlink("lib", "d")
        .end();
    apply(&tar, &[]).unwrap()
}

#[test]
fn every_kind_with_its_metadata() {
    if !need_root() {
        return;
    }
    let head = |mode, owner| Head { mode, owner, ..Head::default() };
    let device = |major, minor| Head { device: (major, minor), ..Head::default() };
    let capability =
        b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let tar = Tar::default()
        .raw(b'5', b"d", head(0o1777, (5, 6)), b"")
        .raw(b'0', b"d/suid", head(0o4755, (1000, 1000)), b"#!")
        .pax(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.mine", b"x"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.user.overlay.whiteout", b""),
            ("mtime", b"12.345678901"),
        ])
        .raw(b'0', b"d/capable", head(0o755, (0, 0)), b"")
        .raw(
            b'2',
            b"d/link",
            Head { link: b"/etc/passwd", mode: 0, owner: (7, 7), ..Head::default() },
            b"",
        )
        .raw(b'6', b"d/pipe", head(0o600, (0, 0)), b"")
        .raw(b'3', b"d/null", device(1, 3), b"")
        .raw(b'4', b"d/disk", device(254, 0), b"");
    let expect = [
        "d 1777 5:6 dir",
        "d/capable 755 0:0 file 0",
        "d/disk 644 0:0 block 254:0",
        "d/link 777 7:7 -> /etc/passwd",
        "d/null 644 0:0 char 1:3",
        "d/pipe 600 0:0 pipe",
        "d/suid 4755 1000:1000 file 2",
    ];
    let layer = check(tar, &[], &expect);
    let capable = layer.toc().get(b"d/capable").unwrap();
    assert_eq!(capable.xattrs.keys().collect::<Vec<_>>(), [b"security.capability"]);
    assert_eq!(capable.xattrs.values().next().unwrap(), capability);
    assert_eq!((capable.mtime.secs, capable.mtime.nanos), (12, 345_678_901));
    let meta = std::fs::metadata(layer.path().join("d")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.mtime()), (0o1777, 5, 1_700_000_000));
}

/// Archives that try to reach a host directory, and are confined.
fn escapes(away: &str, up: &str) -> Vec<(&'static str, Tar)> {
    let t = Tar::default;
    vec![
        ("absolute name", t().file(&format!("{away}/canary"), b"x")),
        ("dots", t().file(&format!("{up}/canary"), b"x")),
        ("dots in the middle", t().file(&format!("a/{up}/canary"), b"x")),
        ("link to outside", t().symlink("l", away).file("l/canary", b"x")),
        ("link up to outside", t().symlink("l", up).file("l/canary", b"x")),
        ("chain", t().symlink("b", "/").symlink("a", "b").file(&format!("a{away}/canary"), b"x")),
        ("link replaced by file", t().symlink("c", &format!("{away}/canary")).file("c", b"x")),
        (
            "directory over link",
            t().symlink("c", away).raw(
                b'5',
                b"c",
                Head { mode: 0o777, owner: (4242, 4242), ..Head::default() },
                b"",
            ),
        ),
        ("PAX name", t().pax(&[("path", format!("{up}/canary").as_bytes())]).file("n", b"x")),
        (
            "GNU name",
            t().raw(b'L', b"l", Head::default(), format!("{up}/canary\0").as_bytes())
                .file("n", b"x"),
        ),
        ("whiteout outside", t().file(&format!("{up}/.wh.canary"), b"")),
        ("whiteout through a link", t().symlink("l", away).file("l/.wh.canary", b"")),
        ("opaque through a link", t().symlink("l", away).file("l/.wh..wh..opq", b"")),
        ("whiteout of a link", t().symlink("l", away).file(".wh.l", b"")),
        ("backslashes", t().file("..\\..\\canary", b"x")),
        (
            "device through a link",
            t().symlink("l", away).raw(b'6', b"l/canary", Head::default(), b""),
        ),
    ]
}

/// Archives that mean nothing sensible, and are refused.
fn refused(away: &str, up: &str) -> Vec<(&'static str, Tar)> {
    let t = Tar::default;
    vec![
        ("hard link to a host file", t().hard_link("h", &format!("{away}/canary"))),
        ("hard link with dots", t().hard_link("h", &format!("{up}/canary"))),
        ("hard link through a link", t().symlink("l", away).hard_link("h", "l/canary")),
        ("hard link to a directory", t().dir("d").hard_link("h", "d")),
        ("hard link before its target", t().hard_link("h", "f").file("f", b"")),
        ("hard link to a whiteout", t().file(".wh.x", b"").hard_link("h", ".wh.x")),
        ("hard link to the root", t().hard_link("h", ".")),
        ("endless links", t().symlink("l", "m").symlink("m", "l").file("l/f", b"")),
        ("file as a directory", t().file("f", b"").file("f/g", b"")),
        ("root as a link", t().symlink(".", "/etc")),
        ("root as a file", t().file("/", b"x")),
        (
            "root as a device",
            t().raw(b'3', b"a/..", Head { device: (1, 3), ..Head::default() }, b""),
        ),
        ("0:0 device", t().raw(b'3', b"c", Head::default(), b"")),
        ("whiteout of nothing", t().file(".wh.", b"")),
        ("whiteout of dot", t().file("a/.wh..", b"")),
        ("whiteout of dots", t().file("a/.wh...", b"")),
        ("below a whiteout", t().file("a/.wh.b/c", b"")),
        ("long name", t().pax(&[("path", &[b'x'; 256])]).file("n", b"")),
    ]
}

#[test]
fn nothing_leaves_the_root() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::set_permissions(outside.path(), Permissions::from_mode(0o700)).unwrap();
    let canary = outside.path().join("canary");
    std::fs::write(&canary, "token").unwrap();
    let away = outside.path().to_str().unwrap();
    let up = format!("{}{away}", "../".repeat(9));
    for (what, tar) in escapes(away, &up) {
        apply(&tar.end(), &[]).map(|_| ()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(std::fs::read(&canary).unwrap(), b"token", "{what}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1, "{what}");
        let meta = std::fs::metadata(outside.path()).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o700), "{what}");
    }
    for (what, tar) in refused(away, &up) {
        let error = apply(&tar.end(), &[]).map(|layer| lines(layer.toc()));
        assert!(error.as_ref().is_err_and(LayerError::is_malformed), "{what}: {error:?}");
    }
    assert_eq!(std::fs::read(&canary).unwrap(), b"token");
}

#[test]
fn implied_parents_are_those_below() {
    let base = base();
    let tar = Tar::default()
        .file("etc/new", b"n")
        .file("fresh/er/f", b"f")
        .file("lib/x", b"x")
        .file(".//./d//sub/deep", b"4");
    let expect = [
        "d 755 0:0 dir",
        "d/sub 755 0:0 dir",
        "d/sub/deep 644 0:0 file 1",
        "etc 750 3:4 dir",
        "etc/new 644 0:0 file 1",
        "fresh 755 0:0 dir",
        "fresh/er 755 0:0 dir",
        "fresh/er/f 644 0:0 file 1",
        // A directory in place of the link below: what overlayfs-based engines make of it.
        "lib 755 0:0 dir",
        "lib/x 644 0:0 file 1",
    ];
    let layer = check(tar, &[&base], &expect);
    let dir = layer.toc().get(b"etc").unwrap();
    assert_eq!(dir.mtime, base.toc().get(b"etc").unwrap().mtime);
}

#[test]
fn whiteouts_in_any_order() {
    let base = base();
    for first in [true, false] {
        let add = |tar: Tar| tar.dir("d").file("d/new", b"n");
        let remove =
            |tar: Tar| tar.file("d/.wh.one", b"").file("d/.wh.nothing", b"").file(".wh.lib", b"");
        let tar = match first {
            true => add(remove(Tar::default())),
            false => remove(add(Tar::default())),
        };
        let expect = ["d 755 0:0 dir", "d/new 644 0:0 file 1", "d/one gone", "lib gone"];
        let layer = check(tar, &[&base], &expect);
        let node = std::fs::symlink_metadata(layer.path().join("d/one")).unwrap();
        assert!(node.file_type().is_char_device() && node.rdev() == 0);
    }
}

#[test]
fn opaque_directories_become_whiteouts_by_name() {
    let base = base();
    let expect = [
        "d 755 0:0 dir",
        "d/one 644 0:0 file 1",
        "d/own 644 0:0 file 1",
        "d/sub 755 0:0 dir",
        "d/sub/deep gone",
        "d/sub/own 644 0:0 file 1",
        "d/two gone",
    ];
    let own =
        |tar: Tar| tar.file("d/own", b"o").file("d/one", b"1").dir("d/sub").file("d/sub/own", b"o");
    for (marker, first) in
        [("d/.wh..wh..opq", true), ("d/.wh..wh..opq", false), (".wh.d", true), (".wh.d", false)]
    {
        let tar = match first {
            true => own(Tar::default().file(marker, b"").dir("d")),
            false => own(Tar::default().dir("d")).file(marker, b""),
        };
        check(tar, &[&base], &expect);
    }
    let all = ["d gone", "etc gone", "lib gone", "new 644 0:0 file 0"];
    check(Tar::default().file(".wh..wh..opq", b"").file("new", b""), &[&base], &all);
    let nothing: [&str; 0] = [];
    check(Tar::default().file(".wh..wh..opq", b""), &[], &nothing);
    check(Tar::default().file("a/.wh..wh.plnk/1.2", b"").file(".wh..wh.aufs", b""), &[], &nothing);
}

#[test]
fn last_entry_wins() {
    let base = base();
    let t = Tar::default;
    check(t().file("f", b"one").file("f", b"three"), &[], &["f 644 0:0 file 5"]);
    check(t().dir("x").file("x/y", b"").file("x", b"1"), &[], &["x 644 0:0 file 1"]);
    check(
        t().file("x", b"1").dir("x").file("x/y", b""),
        &[],
        &["x 755 0:0 dir", "x/y 644 0:0 file 0"],
    );
    check(t().symlink("x", "y").dir("x"), &[], &["x 755 0:0 dir"]);
    check(
        t().dir("d-b").dir("d").file("d/f", b"").file("d-b/f", b"").file("d", b""),
        &[],
        &["d 644 0:0 file 0", "d-b 755 0:0 dir", "d-b/f 644 0:0 file 0"],
    );
    let mode = Head { mode: 0o700, owner: (9, 9), ..Head::default() };
    check(
        t().dir("x").file("x/y", b"").raw(b'5', b"./x/", mode, b""),
        &[],
        &["x 700 9:9 dir", "x/y 644 0:0 file 0"],
    );
    check(t().dir("."), &[], &[]);
    check(t().file("d", b"now a file"), &[&base], &["d 644 0:0 file 10"]);
}

#[test]
fn what_a_tar_repeats_stays() {
    let base = base();
    let same = Tar::default().dir("d").file("d/one", b"1").symlink("lib", "d");
    check(same, &[&base], &["d 755 0:0 dir", "d/one 644 0:0 file 1", "lib 777 0:0 -> d"]);
}

#[test]
fn hard_links() {
    let base = base();
    let t = Tar::default;
    let layer = check(
        t().file("d/f", b"f")
            .hard_link("d/g", "/d/f")
            .hard_link("a", "./d/g")
            .file("d/g", b"other"),
        &[],
        &[
            "a 644 0:0 file 1 link 0",
            "d 755 0:0 dir",
            "d/f 644 0:0 file 1 link 0",
            "d/g 644 0:0 file 5",
        ],
    );
    let inode = |name: &str| std::fs::metadata(layer.path().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("d/f"));
    assert_ne!(inode("a"), inode("d/g"));
    // To a file below: the target itself is not changed.
    let layer = check(
        t().hard_link("h", "etc/passwd").hard_link("d/i", "etc/passwd"),
        &[&base],
        &["d 755 0:0 dir", "d/i 644 0:0 file 4 link 0", "h 644 0:0 file 4 link 0"],
    );
    assert_eq!(std::fs::read(layer.path().join("h")).unwrap(), b"root");
    check(
        t().file("d/one", b"1").hard_link("d/uno", "d/one"),
        &[&base],
        &["d 755 0:0 dir", "d/one 644 0:0 file 1 link 0", "d/uno 644 0:0 file 1 link 0"],
    );
    // A link to a link is a second name of the link; then writing to it does not write through.
    let outside = tempfile::tempdir().unwrap();
    let canary = outside.path().join("c");
    std::fs::write(&canary, "token").unwrap();
    let tar = t().symlink("l", canary.to_str().unwrap()).hard_link("h", "l").file("h", b"x");
    apply(&tar.end(), &[]).unwrap();
    assert_eq!(std::fs::read(&canary).unwrap(), b"token");
    // A link's own header counts, too.
    let head = Head { link: b"f", mode: 0o755, owner: (1, 2), ..Head::default() };
    check(
        t().file("f", b"f").raw(b'1', b"g", head, b""),
        &[],
        &["f 755 1:2 file 1 link 0", "g 755 1:2 file 1 link 0"],
    );
}

#[test]
fn links_of_the_same_layer_are_followed_inside() {
    let tar = Tar::default()
        .dir("usr")
        .symlink("bin", "usr/bin")
        .symlink("abs", "/usr")
        .file("bin/sh", b"#")
        .file("abs/f", b"f")
        .hard_link("abs/g", "bin/sh");
    let expect = [
        "abs 777 0:0 -> /usr",
        "bin 777 0:0 -> usr/bin",
        "usr 755 0:0 dir",
        "usr/bin 755 0:0 dir",
        "usr/bin/sh 644 0:0 file 1 link 0",
        "usr/f 644 0:0 file 1",
        "usr/g 644 0:0 file 1 link 0",
    ];
    check(tar, &[], &expect);
}

#[test]
fn broken_streams_are_errors() {
    let tar = Tar::default().file("f", &[7; 5000]).end();
    for at in [100, 512, 3000, 5000] {
        assert!(matches!(apply(&tar[..at], &[]), Err(LayerError::ReadTar { .. })), "cut at {at}");
    }
    let trailing = [&tar[..], b"more"].concat();
    assert!(apply(&trailing, &[]).unwrap().applied.has_trailing_data);
    // Large enough that the reading thread is still busy when parsing fails.
    let mut bad = Tar::default().file("f", b"").bytes;
    bad.extend(vec![1; 20 << 20]);
    assert!(matches!(apply(&bad, &[]), Err(LayerError::BadHeader { offset: 512, .. })));
    let gzip = {
        let mut out = Vec::new();
        crate::compress(crate::Compression::gzip(), &mut &tar[..], &mut out).unwrap();
        out
    };
    let temp = tempfile::tempdir().unwrap();
    let options =
        ApplyOptions { userxattr: false, owners_in_toc_only: false, lower_dir: &|_| None };
    let mut cut = crate::decompress(&gzip[..gzip.len() - 9]);
    assert!(apply_tar(&mut cut, open(temp.path()).as_fd(), &[], &options).is_err());
}

#[test]
fn large_and_many() {
    let big: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut tar = Tar::default().file("big", &big);
    for n in 0..2000 {
        tar = tar.file(&format!("d{}/{n}", n % 7), format!("{n}").as_bytes());
    }
    let layer = apply(&tar.end(), &[]).unwrap();
    assert_eq!(layer.toc().entries().len(), 1 + 7 + 2000);
    assert_eq!(std::fs::read(layer.path().join("big")).unwrap(), big);
    assert_eq!(std::fs::read(layer.path().join("d3/1403")).unwrap(), b"1403");
}

/// What `devices_in_a_user_namespace` runs in a namespace that maps one id.
#[test]
#[ignore = "run by devices_in_a_user_namespace"]
fn inside_a_user_namespace() {
    let base = Tar::default().file("null", b"hidden").file("other", b"");
    let [lower, upper] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let below = |_| Some(open(lower.path()));
    let options = ApplyOptions { userxattr: true, owners_in_toc_only: true, lower_dir: &below };
    let apply = |tar: Tar, into: &Path, below: &[&Toc]| {
        apply_tar(&mut &tar.end()[..], open(into).as_fd(), below, &options).unwrap()
    };
    let lower_toc = apply(base, lower.path(), &[]).toc;
    let device = Head { device: (1, 3), owner: (5, 6), ..Head::default() };
    let tar = Tar::default()
        .raw(b'3', b"null", device.clone(), b"")
        .raw(b'4', b"d/disk", device.clone(), b"")
        .hard_link("d/again", "d/disk")
        .raw(b'0', b"owned", Head { owner: (7, 8), ..Head::default() }, b"")
        .file(".wh.other", b"")
        .raw(b'3', b"replaced", device, b"")
        .file("replaced", b"now a file");
    let applied = apply(tar, upper.path(), &[&lower_toc]);
    assert_eq!(
        lines(&applied.toc),
        [
            "d 755 0:0 dir",
            "d/again 644 5:6 block 1:3 link 0",
            "d/disk 644 5:6 block 1:3 link 0",
            "null 644 5:6 char 1:3",
            "other gone",
            "owned 644 7:8 file 0",
            "replaced 644 0:0 file 10",
        ]
    );
    assert_eq!(applied.toc_only, [&b"null"[..], b"d/disk"]);
    assert!(!upper.path().join("d/disk").exists());
    for name in ["null", "other"] {
        let node = std::fs::symlink_metadata(upper.path().join(name)).unwrap();
        assert!(node.file_type().is_char_device() && node.rdev() == 0, "{name}");
    }
}

/// B7: what a user namespace cannot make is in the table, and nothing shows through in its place.
#[test]
fn devices_in_a_user_namespace() {
    let test = std::env::current_exe().unwrap();
    let name = "tests::applying::inside_a_user_namespace";
    let output = std::process::Command::new("unshare")
        .args(["-Ur", test.to_str().unwrap(), "--ignored", "--exact", name])
        .output();
    match output {
        Err(error) => skipped(&format!("unshare: {error}")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
        }
    }
}
