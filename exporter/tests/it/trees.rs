//! The flattened file system as tar and directory.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use exporter::{DirOptions, ExportErrorKind as Kind, write_directory, write_tree_tar};
use layer::{TarKind, TarReader};
use oci::Platform;
use testkit::rootfs::TarBuilder;
use tree::{StackTree, Tree};

use crate::fixture::{Fixture, bytes_of, chain, sample_tars};

fn host() -> Platform {
    "linux/amd64".parse().expect("platform")
}

fn sample(fixture: &Fixture) -> StackTree {
    fixture.tree(&fixture.layers(&sample_tars()))
}

/// Names in a tar with what they are.
fn listing(bytes: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(bytes);
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().expect("valid tar") {
        let kind = match entry.kind {
            TarKind::File => format!("file {}", entry.size_bytes),
            TarKind::HardLink { target } => format!("= {}", String::from_utf8_lossy(&target)),
            TarKind::Symlink { target } => format!("-> {}", String::from_utf8_lossy(&target)),
            TarKind::Directory => "dir".to_owned(),
            other => format!("{other:?}"),
        };
        let name = String::from_utf8_lossy(&entry.name);
        lines.push(format!("{name} {:o} {} {kind}", entry.mode, entry.mtime.secs));
    }
    lines
}

fn tar_of(
    fixture: &Fixture,
    trees: &[(Platform, &dyn Tree)],
    split: Option<bool>,
    epoch: Option<i64>,
) -> Result<Vec<String>, exporter::ExportError> {
    bytes_of(|out| write_tree_tar(trees, split, epoch, out, fixture.job())).map(|b| listing(&b))
}

#[test]
fn a_tar_has_what_a_container_would_see() {
    let fixture = Fixture::new();
    let tree = sample(&fixture);
    let got = tar_of(&fixture, &[(host(), &tree)], None, None).expect("tar");
    let expect = [
        "bin/ 755 1 dir",
        "bin/tool 4755 1 file 10",
        "bin/tool2 4755 1 = bin/tool",
        "data/ 2750 1 dir",
        "data/link 777 1 -> ../bin/tool",
        "data/new 444 1 file 3",
        "data/noise 600 1 file 300000",
        "empty/ 711 1 dir",
    ];
    assert_eq!(got, expect);
    let split = tar_of(&fixture, &[(host(), &tree)], Some(true), Some(7)).expect("tar");
    assert_eq!(split[0], "linux_amd64/ 755 7 dir"); // OUT-33, EPO-14
    assert_eq!(split[3], "linux_amd64/bin/tool2 4755 7 = linux_amd64/bin/tool");
    let scratch = StackTree::new(Vec::new());
    assert!(tar_of(&fixture, &[(host(), &scratch)], None, None).expect("tar").is_empty()); // OUT-36
}

#[test]
fn platforms_merge_when_their_files_agree() {
    let fixture = Fixture::new();
    let tree = |content: &[u8]| {
        let tar = TarBuilder::new().dir("d", 0o755).file("d/f", 0o644, content).finish();
        fixture.tree(&fixture.layers(&[tar]))
    };
    let (one, same, other) = (tree(b"1"), tree(b"1"), tree(b"2"));
    let arm: Platform = "linux/arm/v7".parse().expect("platform");
    let pair = |b| -> [(Platform, &dyn Tree); 2] { [(host(), &one), (arm.clone(), b)] };
    let names = tar_of(&fixture, &pair(&other), None, None).expect("split");
    assert_eq!(names[3], "linux_arm_v7/ 755 0 dir");
    assert_eq!(tar_of(&fixture, &pair(&same), Some(false), None).expect("merge").len(), 2);
    let error = tar_of(&fixture, &pair(&other), Some(false), None).expect_err("differ");
    assert_eq!(
        error.to_string(),
        "cannot overwrite /d/f from linux_amd64 with linux_arm_v7 when split option is disabled"
    );
    assert_eq!(error.kind(), Kind::Unsupported);
}

fn write(fixture: &Fixture, tree: &dyn Tree, dest: &Path, options: &DirOptions) {
    write_directory(&[(host(), tree)], dest, options, fixture.job())
        .unwrap_or_else(|e| panic!("{}", chain(&e)));
}

#[test]
fn a_directory_gets_modes_times_and_links() {
    let fixture = Fixture::new();
    let tree = sample(&fixture);
    let dest = fixture.dir.path().join("out");
    for epoch in [None, Some(99)] {
        write(&fixture, &tree, &dest, &DirOptions { epoch, ..DirOptions::default() });
        let check = |path: &str, mode: u32| {
            let meta = fs::symlink_metadata(dest.join(path)).expect(path);
            assert_eq!(meta.mode() & 0o7777, mode, "{path}");
            assert_eq!(meta.mtime(), epoch.unwrap_or(1), "{path}");
        };
        check("bin", 0o755);
        check("bin/tool", 0o4755);
        check("data", 0o2750);
        check("data/new", 0o444);
        check("empty", 0o711);
        check("data/link", 0o777);
        let inode = |path: &str| fs::metadata(dest.join(path)).expect(path).ino();
        assert_eq!(inode("bin/tool"), inode("bin/tool2"));
        assert_eq!(fs::read(dest.join("data/noise")).expect("noise").len(), 300_000);
        assert!(!dest.join("data/gone").exists());
        let names: Vec<_> = fs::read_dir(dest.join("bin")).expect("list").collect();
        assert_eq!(names.len(), 2, "a temporary name was left: {names:?}");
    }
}

#[test]
fn what_is_there_is_replaced_and_never_followed() {
    let fixture = Fixture::new();
    let tree = sample(&fixture);
    let (dest, outside) = (fixture.dir.path().join("out"), fixture.dir.path().join("outside"));
    fs::create_dir_all(dest.join("data/new/deep")).expect("mkdir");
    fs::create_dir(&outside).expect("mkdir");
    fs::write(outside.join("tool"), "mine").expect("write");
    symlink(&outside, dest.join("bin")).expect("link");
    symlink(outside.join("tool"), dest.join("data/noise")).expect("link");
    fs::write(dest.join("own"), "kept").expect("write");
    fs::write(dest.join("empty"), "a file where a directory comes").expect("write");
    write(&fixture, &tree, &dest, &DirOptions::default());
    assert_eq!(fs::read(outside.join("tool")).expect("untouched"), b"mine");
    assert_eq!(fs::read_dir(&outside).expect("list").count(), 1);
    assert_eq!(fs::read(dest.join("data/new")).expect("replaced"), b"new");
    assert!(fs::symlink_metadata(dest.join("bin")).expect("bin").is_dir());
    assert_eq!(fs::read(dest.join("own")).expect("OUT-31"), b"kept");
    symlink(&outside, dest.join("way-out")).expect("link");
    write(&fixture, &tree, &dest, &DirOptions { delete: true, ..DirOptions::default() });
    assert!(!dest.join("own").exists() && dest.join("bin/tool2").exists());
    assert!(fs::symlink_metadata(dest.join("way-out")).is_err());
    assert_eq!(fs::read(outside.join("tool")).expect("untouched"), b"mine");
}
