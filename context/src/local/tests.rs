use super::*;
use graph::Selection;
use pattern::IgnoreFile;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, SystemTime};
use tree::{Picked, digest_selection, select, walk};

struct Context {
    dir: tempfile::TempDir,
}

/// A directory with the given files: `path=content`.
fn context(words: &str) -> Context {
    let context = Context { dir: tempfile::tempdir().expect("temporary directory") };
    for word in words.split_whitespace() {
        let (path, content) = word.split_once('=').expect("path=content");
        context.write(path, content);
    }
    context
}

impl Context {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("context").join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("inside")).expect("mkdir");
        fs::write(path, content).expect("write");
    }

    fn tree(&self, ignore: &str) -> LocalTree {
        let rules = IgnoreFile::parse(ignore.as_bytes()).expect("ignore file");
        let cache = self.dir.path().join("stat");
        LocalTree::open(&self.path(""), Some(rules), Some(cache)).expect("open")
    }
}

/// Everything that a COPY of the path would bring.
fn seen(tree: &LocalTree, path: &str) -> String {
    let selection = Selection { path: path.into(), wildcards: true, ..Default::default() };
    let mut paths = Vec::new();
    let picked: Vec<Picked> = select(tree, &selection).unwrap_or_default();
    for one in &picked {
        if !one.entry.is_dir() {
            paths.push(one.path.clone());
        }
        walk::<TreeError>(tree, one, &mut |item| {
            paths.push(item.entry.path);
            Ok(())
        })
        .expect("walk");
    }
    paths.iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn ignored_paths_do_not_exist() {
    let context = context("a.txt=a b.md=b out/x=x out/keep/y=y src/a.txt=s src/deep/c.go=c");
    let check = |ignore: &str, path: &str, want: &str| {
        assert_eq!(seen(&context.tree(ignore), path), want, "{ignore:?} {path}");
    };
    check("", ".", "a.txt b.md out out/keep out/keep/y out/x src src/a.txt src/deep src/deep/c.go");
    check("out\n!out/keep/y", "out", "out/keep out/keep/y");
    check("out\n!out/keep/y", "out/keep/y", "out/keep/y");
    check("out\n!out/keep/y", "out/x", ""); // IGN-23
    check("**\n!**/*.go", ".", "src src/deep src/deep/c.go"); // IGN-14
    check("b.md", "*.md *.txt", "");
    check("b.md", "*.*", "a.txt"); // IGN-22
    check("src/**/a.txt\n**/deep/*.go", "src", "src/deep");
    check("src", "src/deep", "");
}

/// The view of a tree agrees with judging each path by itself.
#[test]
fn views_agree_with_single_judgements() {
    let names = ["a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "e/f/g/a"];
    let context = context(&names.map(|name| format!("{name}=x")).join(" "));
    let patterns = ["a", "d", "*", "**/a", "d/*", "!d/e", "!**/b", "!d/e/a", "e/**", "!e/f/g/*"];
    for first in patterns {
        for second in patterns {
            for third in ["", "!d/a", "d/e"] {
                let ignore = format!("{first}\n{second}\n{third}");
                let rules = IgnoreFile::parse(ignore.as_bytes()).expect("rules");
                let tree = context.tree(&ignore);
                let view = seen(&tree, ".");
                let view: Vec<&str> = view.split(' ').collect();
                for name in names {
                    let want = !rules.is_ignored(name.as_bytes());
                    assert_eq!(view.contains(&name), want, "{ignore:?} {name} in a walk");
                    let single = context.tree(&ignore).entry(name.as_bytes()).expect("entry");
                    assert_eq!(single.is_some(), want, "{ignore:?} {name} alone");
                }
            }
        }
    }
}

#[test]
fn entries_look_as_in_an_image() {
    let context = context("f=text d/x=1");
    fs::set_permissions(context.path("f"), PermissionsExt::from_mode(0o4751)).expect("chmod");
    fs::hard_link(context.path("f"), context.path("d/link")).expect("link");
    symlink("d/x", context.path("l")).expect("symlink");
    std::os::unix::fs::chown(context.path("f"), None, None).expect("chown");
    let tree = context.tree("");
    let entry = |path: &str| tree.entry(path.as_bytes()).expect("entry").expect(path);
    fs::set_permissions(context.path("f"), PermissionsExt::from_mode(0o4751)).expect("chmod");
    let f = entry("f");
    assert_eq!((f.mode, f.uid, f.gid), (0o4751, 0, 0)); // COPY-50, CTX-17
    assert!(f.link_group.is_some() && f.link_group == entry("d/link").link_group);
    assert_eq!(entry("l").kind, layer::EntryKind::Symlink { target: b"d/x".to_vec() });
    assert!(tree.entry(b"l/x").expect("literal").is_none());
    assert!(tree.entry(b"f/x").expect("below a file").is_none());
    assert!(tree.open(b"d").is_err());
}

#[test]
fn nothing_outside_is_seen() {
    let context = context("f=1");
    let secret = context.dir.path().join("secret");
    fs::write(&secret, "secret").expect("write");
    symlink(&secret, context.path("abs")).expect("symlink");
    symlink("../secret", context.path("rel")).expect("symlink");
    symlink("..", context.path("up")).expect("symlink");
    let tree = context.tree("");
    for path in ["abs", "rel", "up/secret", "../secret"] {
        assert_eq!(seen(&tree, path), "", "{path}"); // COPY-13
        assert!(tree.open(path.as_bytes()).is_err(), "{path}");
    }
}

#[test]
fn only_what_is_named_is_read() {
    let context = context("a=1 closed/x=2");
    let fifo = rustix::fs::FileType::Fifo;
    let path = context.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, Mode::RUSR, 0).expect("mkfifo");
    let tree = context.tree("");
    assert_eq!(seen(&tree, "a"), "a"); // CTX-16
    assert!(tree.dirs.read().expect("lock").is_empty());
    assert!(tree.open(b"pipe").is_err());
}

fn set_old(path: &Path, age: u64) {
    let time = SystemTime::now() - Duration::from_secs(age);
    fs::File::options().write(true).open(path).expect("open").set_modified(time).expect("utimes");
}

#[test]
fn new_bytes_with_old_size_and_time_are_seen() {
    let context = context("f=one");
    let path = context.path("f");
    set_old(&path, 1_000);
    let mtime = fs::metadata(&path).expect("stat").modified().expect("mtime");
    let selection = Selection { path: "f".into(), ..Default::default() };
    let digest = || {
        let tree = context.tree("");
        let digest = digest_selection(&tree, &selection).expect("digest");
        tree.save().expect("save");
        digest
    };
    let first = digest();
    assert_eq!(first, digest());
    fs::write(&path, "two").expect("write");
    fs::File::options().write(true).open(&path).expect("open").set_modified(mtime).expect("time");
    assert_ne!(first, digest());
}

#[test]
fn a_settled_file_is_not_read_again() {
    let context = context("f=one");
    // Waits until the change time is past the clock's granularity, by the same clock.
    let settled = || {
        let stat = FileStat::new(&rustix::fs::stat(context.path("f")).expect("stat"));
        stat.is_settled(file_clock())
    };
    while !settled() {
        std::thread::yield_now();
    }
    let tree = context.tree("");
    assert_eq!(tree.digest(b"f").expect("digest"), Digest::of(b"one"));
    drop(tree);
    // A wrong digest in the cache is believed: so the file was not read.
    let cache = context.dir.path().join("stat");
    let stat = FileStat::new(&rustix::fs::stat(context.path("f")).expect("stat"));
    let forged = StatCache::new(Some(cache));
    forged.put(&stat, file_clock(), Digest::of(b"forged"));
    forged.save().expect("save");
    assert_eq!(context.tree("").digest(b"f").expect("digest"), Digest::of(b"forged"));
    // What a copy learnt counts more in this run.
    let tree = context.tree("");
    let entry = tree.entry(b"f").expect("entry").expect("f");
    tree.learned(&entry, Digest::of(b"one"));
    assert_eq!(tree.digest(b"f").expect("digest"), Digest::of(b"one"));
}

/// A file with a record in the stat cache has no capabilities, so one with capabilities never gets one.
#[test]
fn capabilities_are_seen_in_every_run() {
    testkit::need!("root");
    let context = context("x=1 y=1");
    for name in ["x", "y"] {
        let mode = PermissionsExt::from_mode(0o755);
        fs::set_permissions(context.path(name), mode).expect("chmod");
    }
    let capability = *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let give = |name: &str| {
        let file = fs::File::open(context.path(name)).expect("open");
        sys::xattr::set(&file, CAPABILITY, &capability).expect("setxattr");
    };
    give("x");
    let settled = |name: &str| {
        let stat = FileStat::new(&rustix::fs::stat(context.path(name)).expect("stat"));
        stat.is_settled(file_clock())
    };
    let seen = |tree: &LocalTree, name: &str| {
        let entry = tree.entry(name.as_bytes()).expect("entry").expect(name);
        tree.learned(&entry, tree.digest(name.as_bytes()).expect("digest"));
        !entry.xattrs.is_empty()
    };
    while !settled("x") || !settled("y") {
        std::thread::yield_now();
    }
    for _ in 0..2 {
        let tree = context.tree("");
        assert_eq!([seen(&tree, "x"), seen(&tree, "y")], [true, false]); // INS-08
    }
    give("y");
    assert!(seen(&context.tree(""), "y"));
}

#[test]
fn git_checkouts_have_plain_modes() {
    let context = context("f=1 x=2 d/y=3");
    fs::set_permissions(context.path("f"), PermissionsExt::from_mode(0o600)).expect("chmod");
    fs::set_permissions(context.path("x"), PermissionsExt::from_mode(0o700)).expect("chmod");
    fs::set_permissions(context.path("d"), PermissionsExt::from_mode(0o700)).expect("chmod");
    let root = fs::File::open(context.path("")).expect("open");
    let mtime = Mtime { secs: 5, nanos: 0 };
    let view = View { plain_modes: true, mtime: Some(mtime) };
    let tree = LocalTree::new(root.into(), None, None, view);
    for (path, mode) in [("f", 0o644), ("x", 0o755), ("d", 0o755)] {
        let entry = tree.entry(path.as_bytes()).expect("entry").expect(path);
        assert_eq!((entry.mode, entry.mtime), (mode, mtime), "{path}"); // ADD-58
    }
}
