//! From an overlay upper directory to a table, to a tar, and back (design D3, INS-06 to INS-08, IMG-24 to IMG-29).
//! The kernel's overlayfs makes the upper directories and says what they mean.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::testing::{file, need_root, open, skipped};
use crate::{
    ApplyOptions, Encoding, EntryKind, Toc, apply_tar, content_id, digest_files, normalize,
    scan_upper, write_tar,
};

/// Runs a script with the layers mounted (lowest first) in `merged`; nothing of it outlives the script's namespace.
fn with_overlay(
    lowers: &[&Path],
    upper: Option<&Path>,
    user: bool,
    script: &str,
) -> Option<String> {
    let temp = tempfile::tempdir().unwrap();
    for name in ["merged", "work", "none"] {
        std::fs::create_dir(temp.path().join(name)).unwrap();
    }
    let mut dirs: Vec<String> = lowers.iter().rev().map(|p| p.display().to_string()).collect();
    dirs.push(temp.path().join("none").display().to_string());
    let mut options = format!(
        "redirect_dir=nofollow,metacopy=off,index=off,xino=off,lowerdir={}",
        dirs.join(":")
    );
    if let Some(upper) = upper {
        let work = temp.path().join("work");
        options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    if user {
        options += ",userxattr";
    }
    let merged = temp.path().join("merged");
    let script = format!(
        "set -e; mount -t overlay overlay -o '{options}' '{0}'; cd '{0}'; {script}",
        merged.display()
    );
    let flags: &[&str] = if user { &["-Urm"] } else { &["-m"] };
    let output = Command::new("unshare").args(flags).args(["sh", "-c", &script]).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            skipped(&format!("unshare: {error}"));
            return None;
        }
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What the kernel shows of layers, lowest first: kinds, modes, owners, times of files in seconds, links, contents.
fn shown(lowers: &[&Path]) -> Option<String> {
    let list = "find . -mindepth 1 \\( -type d -printf '%P %y %m %U:%G\\n' -o -printf '%P %y %m %U:%G %s %Ts %l\\n' \\) | sort;
        find . -type f -print0 | sort -z | xargs -0 -r sha256sum; find . -type f -links +1 -printf 'links %n %P\\n' | sort";
    with_overlay(lowers, None, false, list)
}

struct Layer {
    dir: TempDir,
    toc: Toc,
}

/// Commits an upper directory.
fn commit(dir: TempDir, lower: &[&Layer], userxattr: bool) -> Layer {
    let below: Vec<&Toc> = lower.iter().rev().map(|layer| &layer.toc).collect();
    let dirs =
        |at: usize| -> Option<OwnedFd> { Some(open(lower[lower.len() - 1 - at].dir.path())) };
    let fd = open(dir.path());
    let raw = scan_upper(fd.as_fd(), userxattr).unwrap();
    let mut toc = normalize(raw, fd.as_fd(), &below, &dirs).unwrap();
    digest_files(fd.as_fd(), &mut toc, &|| false).unwrap();
    Layer { dir, toc }
}

/// Runs a script above layers and commits what it did; `None` without the means.
fn run(lower: &[&Layer], script: &str) -> Option<Layer> {
    let upper = tempfile::tempdir().unwrap();
    let paths: Vec<&Path> = lower.iter().map(|layer| layer.dir.path()).collect();
    with_overlay(&paths, Some(upper.path()), false, script)?;
    Some(commit(upper, lower, false))
}

/// Names with what matters: `-` deletions, `/` directories, `=` further names of a file.
fn names(toc: &Toc) -> Vec<String> {
    let mut groups = std::collections::BTreeSet::new();
    let mut name = |entry: &crate::Entry| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        match entry.kind {
            EntryKind::Whiteout => format!("-{path}"),
            EntryKind::Directory { .. } => format!("{path}/"),
            _ if entry.link_group.is_some_and(|group| !groups.insert(group)) => format!("={path}"),
            _ => path,
        }
    };
    toc.entries().iter().map(&mut name).collect()
}

fn base() -> Option<Layer> {
    run(
        &[],
        "mkdir -p d/sub/deep e tmp; chmod 1777 tmp; echo one >d/one; echo two >d/two; echo deep >d/sub/deep/f;
         echo e >e/f; ln -s d link; ln d/one e/uno; echo x >script; chmod 755 script; chown 5:6 e/f;
         touch -d @1600000000 d/two e/f script; touch -h -d @1600000000 link",
    )
}

#[test]
fn a_steps_changes_and_nothing_else() {
    if !need_root() {
        return;
    }
    let Some(base) = base() else { return };
    let listed = "d/ d/one d/sub/ d/sub/deep/ d/sub/deep/f d/two e/ e/f =e/uno link script tmp/";
    assert_eq!(names(&base.toc).join(" "), listed);
    let cases: &[(&str, &[&str])] = &[
        // INS-06: a layer without a change.
        ("true", &[]),
        ("touch tmp/x; rm tmp/x", &[]),
        // Copied up, and then as before.
        ("chmod 644 d/two; chown 0:0 d", &[]),
        ("mv script s; mv s script", &[]),
        ("echo 2wo >d/two; touch -d @1600000000 d/two", &["d/", "d/two"]),
        ("touch -d @1600000000.5 d/two", &["d/", "d/two"]),
        ("chmod 600 d/two", &["d/", "d/two"]),
        ("chmod 700 d", &["d/"]),
        ("chown 1:1 link -h", &["link"]),
        // INS-07: parents of what changed.
        ("echo n >d/sub/deep/n", &["d/", "d/sub/", "d/sub/deep/", "d/sub/deep/n"]),
        // IMG-29: deletions.
        ("rm d/one", &["d/", "-d/one"]),
        ("rm -r d", &["-d"]),
        ("touch new; rm new", &[]),
        ("rm -r d; mkdir d; echo n >d/n", &["d/", "d/n", "-d/one", "-d/sub", "-d/two"]),
        (
            "rm -r d; mkdir -p d/sub/deep; echo n >d/sub/n",
            &["d/", "-d/one", "d/sub/", "d/sub/deep/", "-d/sub/deep/f", "d/sub/n", "-d/two"],
        ),
        (
            "mv d moved",
            &[
                "-d",
                "moved/",
                "moved/one",
                "moved/sub/",
                "moved/sub/deep/",
                "moved/sub/deep/f",
                "moved/two",
            ],
        ),
        ("rm link; mkdir link; touch link/x", &["link/", "link/x"]),
        ("rm -r d; ln -s e d", &["d"]),
        ("rm -r d; echo now a file >d", &["d"]),
        // Hard links: only what is left after equal names are out.
        ("ln d/two third", &["third"]),
        ("echo a >a; ln a b; ln a d/c", &["a", "=b", "d/", "=d/c"]),
        ("echo more >>d/one", &["d/", "d/one"]),
    ];
    for (script, expect) in cases {
        let Some(layer) = run(&[&base], script) else { return };
        assert_eq!(names(&layer.toc), *expect, "{script}");
        round_trip(&base, &layer, script);
    }
}

/// The tar of a layer, unpacked elsewhere, means the same: to the kernel, and in its content id.
fn round_trip(base: &Layer, layer: &Layer, script: &str) {
    let mut tar = Vec::new();
    let fd = open(layer.dir.path());
    write_tar(fd.as_fd(), &layer.toc, &Encoding::default(), &mut tar).unwrap();
    let other = tempfile::tempdir().unwrap();
    let lower_dir = |_| Some(open(base.dir.path()));
    let options =
        ApplyOptions { userxattr: false, owners_in_toc_only: false, lower_dir: &lower_dir };
    let below = [&base.toc];
    let applied = apply_tar(&mut &tar[..], open(other.path()).as_fd(), &below, &options).unwrap();
    assert_eq!(content_id(&applied.toc), content_id(&layer.toc), "{script}");
    // A new name of a file below: overlayfs has both names in the upper, the tar has the new one alone (design D3).
    let keep_links = script != "ln d/two third";
    let shown = |dir: &Path| {
        let text = shown(&[base.dir.path(), dir])?;
        let kept = text.lines().filter(|line| keep_links || !line.starts_with("links "));
        Some(kept.map(|line| format!("{line}\n")).collect::<String>())
    };
    let here = shown(layer.dir.path());
    assert_eq!(here, shown(other.path()), "{script}");
    assert!(here.is_some_and(|text| text.contains("script")), "{script}");
}

#[test]
fn odd_things_in_an_upper() {
    if !need_root() {
        return;
    }
    let script = "mkdir d; mknod d/dev c 1 3; mkfifo d/pipe; echo x >d/f; touch \"$(printf 'd/a\\nb\\377')\";
        python3 -c \"import os,socket; socket.socket(socket.AF_UNIX).bind('d/sock');
os.setxattr('d/f', 'user.mine', b'x')
os.setxattr('d/f', 'security.capability', bytes([1,0,0,2])+bytes(16))
os.setxattr('d', 'user.dir', b'x')\"; chmod 6755 d/f; chown 0:7 d; chmod 2775 d; touch -d @-5 d/pipe";
    let Some(layer) = run(&[], script) else { return };
    let entry = |path: &str| layer.toc.get(path.as_bytes()).unwrap();
    assert!(layer.toc.get(b"d/sock").is_none(), "sockets are left out (B7)");
    assert_eq!(entry("d/dev").kind, EntryKind::CharDevice { major: 1, minor: 3 });
    assert_eq!(entry("d/pipe").mtime.secs, -5);
    assert_eq!((entry("d").mode, entry("d").gid), (0o2775, 7));
    assert_eq!(entry("d/f").mode, 0o6755);
    assert_eq!(entry("d/f").xattrs.keys().collect::<Vec<_>>(), [b"security.capability"]);
    assert!(entry("d").xattrs.is_empty());
    assert!(layer.toc.get(b"d/a\nb\xff").is_some());
}

#[test]
fn names_of_deletions_are_refused() {
    for name in [".wh.x", "a/.wh.x", "a/.wh..wh..opq"] {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("a")).unwrap();
        std::fs::write(temp.path().join(name), "").unwrap();
        let error = scan_upper(open(temp.path()).as_fd(), false).unwrap_err();
        assert!(error.is_reserved_name(), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn marks_of_a_user_namespace() {
    let lower = tempfile::tempdir().unwrap();
    for dir in ["gone", "again/sub"] {
        std::fs::create_dir_all(lower.path().join(dir)).unwrap();
    }
    std::fs::write(lower.path().join("again/old"), "old").unwrap();
    let lower = commit(lower, &[], true);
    let upper = tempfile::tempdir().unwrap();
    let probe = Command::new("unshare").args(["-Urm", "true"]).status();
    if !probe.is_ok_and(|status| status.success()) {
        skipped("needs user namespaces");
        return;
    }
    let script = "rm -r gone again; mkdir again; echo new >again/new";
    with_overlay(&[lower.dir.path()], Some(upper.path()), true, script);
    let layer = commit(upper, &[&lower], true);
    assert_eq!(names(&layer.toc), ["again/", "again/new", "-again/old", "-again/sub", "-gone"]);
}

#[test]
fn whiteouts_in_attribute_form() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("gone"), "").unwrap();
    std::fs::write(temp.path().join("kept"), "").unwrap();
    let file = std::fs::File::open(temp.path().join("gone")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    if let Err(error) = rustix::fs::fsetxattr(&file, "user.overlay.whiteout", b"", flags) {
        skipped(&format!("{error}"));
        return;
    }
    let dir = open(temp.path());
    assert_eq!(names(&scan_upper(dir.as_fd(), true).unwrap()), ["-gone", "kept"]);
    assert_eq!(names(&scan_upper(dir.as_fd(), false).unwrap()), ["gone", "kept"]);
}

#[test]
fn missing_lower_layers_count_as_different() {
    let [lower, upper] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let time = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    for dir in [&lower, &upper] {
        let file = std::fs::File::create(dir.path().join("f")).unwrap();
        std::io::Write::write_all(&mut &file, b"same").unwrap();
        file.set_times(time).unwrap();
    }
    let below = scan_upper(open(lower.path()).as_fd(), false).unwrap();
    let fd = open(upper.path());
    let with = |below: &Toc, present: bool| {
        let raw = scan_upper(fd.as_fd(), false).unwrap();
        let dirs = |_| present.then(|| open(lower.path()));
        names(&normalize(raw, fd.as_fd(), &[below], &dirs).unwrap())
    };
    assert_eq!(with(&below, false), ["f"]);
    assert_eq!(with(&below, true), [""; 0]);
    // With its digest in the table the lower file is not needed.
    let mut known = below.clone();
    digest_files(open(lower.path()).as_fd(), &mut known, &|| false).unwrap();
    assert_eq!(with(&known, false), [""; 0]);
    std::fs::write(lower.path().join("f"), "else").unwrap();
    assert_eq!(with(&below, true), ["f"]);
}

#[test]
fn content_ids_see_everything_but_times() {
    let sample = || file("d", b"x");
    let id = |entry: crate::Entry| content_id(&Toc::from_entries(vec![entry]));
    let mut later = sample();
    later.mtime.secs += 1;
    assert_eq!(id(later), id(sample()));
    let changes: [fn(&mut crate::Entry); 8] = [
        |e| e.path = b"e".to_vec(),
        |e| e.mode = 0o600,
        |e| e.uid = 1,
        |e| e.gid = 1,
        |e| drop(e.xattrs.insert(b"security.capability".to_vec(), b"".to_vec())),
        |e| e.kind = file("d", b"y").kind,
        |e| e.kind = EntryKind::Whiteout,
        |e| e.kind = EntryKind::Symlink { target: b"x".to_vec() },
    ];
    let mut ids: Vec<_> = changes
        .iter()
        .map(|change| {
            let mut entry = sample();
            change(&mut entry);
            id(entry)
        })
        .collect();
    ids.push(id(sample()));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), changes.len() + 1);
    // A fixed value: another encoding must be another version.
    assert_eq!(
        content_id(&Toc::default()).to_string(),
        "sha256:ff40beef2e5787ba614940b35ecd80b584700a2b67ad710bcc5b3143c15b47e0"
    );
    assert_eq!(
        id(sample()).to_string(),
        "sha256:85ce7c8d672fc36e424f1be7918cb2aa44e4ee9671b812476d2552f0ed517006"
    );
}

#[test]
fn deep_and_wide_uppers() {
    let temp = tempfile::tempdir().unwrap();
    let mut at = open(temp.path());
    for _ in 0..2500 {
        rustix::fs::mkdirat(&at, "deeper", rustix::fs::Mode::RWXU).unwrap();
        at = open_dir(&at, "deeper");
    }
    let wide = PathBuf::from(temp.path()).join("wide");
    std::fs::create_dir(&wide).unwrap();
    for n in 0..3000 {
        std::fs::write(wide.join(n.to_string()), n.to_string()).unwrap();
    }
    let fd = open(temp.path());
    let mut toc = scan_upper(fd.as_fd(), false).unwrap();
    assert_eq!(toc.entries().len(), 2500 + 1 + 3000);
    digest_files(fd.as_fd(), &mut toc, &|| false).unwrap();
    assert!(toc.has_all_digests());
    let meta = std::fs::metadata(wide.join("7")).unwrap();
    let entry = toc.get(b"wide/7").unwrap();
    assert_eq!((entry.mtime.secs, i64::from(entry.mtime.nanos)), (meta.mtime(), meta.mtime_nsec()));
    drop(at);
    crate::disk::remove_tree(fd.as_fd(), b"deeper").unwrap();
}

fn open_dir(parent: &OwnedFd, name: &str) -> OwnedFd {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    rustix::fs::openat(parent, name, flags, rustix::fs::Mode::empty()).unwrap()
}
