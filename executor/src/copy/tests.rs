use super::*;
use crate::Level;
use graph::{CopySource, Selection, VertexId, Who};
use layer::Toc;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tree::{LayerDir, StackTree, TreeError};

/// Making files for other users and mounting need root: says so where a test is left out for it.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        use std::io::Write;
        let _ = writeln!(io::stderr(), "left out: needs root");
    }
    root
}

struct Dir(PathBuf);

impl LayerDir for Dir {
    fn open(&self) -> io::Result<OwnedFd> {
        fs::File::open(&self.0).map(OwnedFd::from)
    }
}

/// Fills a directory: `path=content`, `path->target`, `path/`, each with `:mode` and `:mode:uid:gid` if wanted.
fn fill(dir: &Path, words: &str) {
    for word in words.split_whitespace() {
        let mut parts = word.split(':');
        let what = parts.next().expect("a word");
        let mode = parts.next().map(|n| u32::from_str_radix(n, 8).expect("octal"));
        let owner: Vec<u32> = parts.map(|n| n.parse().expect("an id")).collect();
        let name = what.split(['=', '-']).next().expect("a name").trim_end_matches('/');
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("mkdir");
        if let Some((_, target)) = what.split_once("->") {
            symlink(target, &path).expect("symlink");
        } else if let Some((_, content)) = what.split_once('=') {
            fs::write(&path, content).expect("write");
        } else {
            fs::create_dir_all(&path).expect("mkdir");
        }
        if let [uid, gid] = owner[..] {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).expect("chown");
        }
        if let Some(mode) = mode {
            fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
        }
    }
}

fn stack_tree(dir: &Path) -> Arc<dyn Tree> {
    let fd = fs::File::open(dir).expect("open");
    let toc: Toc = layer::scan_upper(fd.as_fd(), false).expect("scan");
    Arc::new(StackTree::new(vec![(Arc::new(toc), Arc::new(Dir(dir.to_owned())))]))
}

/// One COPY on one layer.
struct Case {
    dir: tempfile::TempDir,
    copy: graph::Copy,
    sources: Vec<StepSource>,
    below: bool,
    level: Level,
}

/// A COPY of the sources (blank between them) out of `context` onto an image of `below`; no image at all for `-`.
fn case(context: &str, below: &str, sources: &str, dest: &str) -> Case {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (name, words) in [("context", context), ("below", below)] {
        fs::create_dir(dir.path().join(name)).expect("mkdir");
        fill(&dir.path().join(name), if words == "-" { "" } else { words });
    }
    let mut case = Case {
        dir,
        copy: copy_to(dest),
        sources: Vec::new(),
        below: below != "-",
        level: Level::Root,
    };
    let tree = stack_tree(&case.dir.path().join("context"));
    for path in sources.split_whitespace() {
        let selection = Selection { path: path.into(), wildcards: true, ..Selection::default() };
        case.copy.sources.push(CopySource::Tree {
            input: VertexId(0),
            selection,
            unpack: Unpack::No,
        });
        case.sources.push(StepSource::Tree(Arc::clone(&tree)));
    }
    case
}

fn copy_to(dest: &str) -> graph::Copy {
    graph::Copy {
        sources: Vec::new(),
        dest: dest.to_owned(),
        dest_is_dir: dest.ends_with('/'),
        chown: None,
        chmod: None,
        link: false,
    }
}

fn who(text: &str) -> Option<Who> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group.to_owned())),
        None => (text, None),
    };
    Some(Who { user: user.to_owned(), group })
}

impl Case {
    fn selections(&mut self, change: impl Fn(&mut Selection, &mut Unpack)) {
        for source in &mut self.copy.sources {
            if let CopySource::Tree { selection, unpack, .. } = source {
                change(selection, unpack);
            }
        }
    }

    fn try_run(&self) -> Result<Toc, ExecError> {
        let ingest = self.dir.path().join("ingest");
        let _ = fs::remove_dir_all(&ingest);
        fs::create_dir(&ingest).expect("mkdir");
        let below = fs::File::open(self.dir.path().join("below")).expect("open").into();
        let layers: Vec<OwnedFd> = if self.below { vec![below] } else { Vec::new() };
        let step =
            CopyStep { layers: &layers, ingest: &ingest, copy: &self.copy, sources: &self.sources };
        let layer = copy(&step, self.level, &Cancel::new())?;
        Ok(layer.toc.expect("a copy knows its table of contents"))
    }

    /// What the layer has, as `path mode uid:gid content`.
    fn run(&self) -> String {
        show(&self.try_run().expect("copy"), &self.diff())
    }

    fn error(&self) -> String {
        let error = self.try_run().expect_err("must fail");
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        text
    }

    fn diff(&self) -> PathBuf {
        self.dir.path().join("ingest/diff")
    }
}

fn show(toc: &Toc, diff: &Path) -> String {
    let line = |entry: &Entry| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        let content = match &entry.kind {
            EntryKind::Directory { .. } => "/".to_owned(),
            EntryKind::Symlink { target } => format!("->{}", String::from_utf8_lossy(target)),
            EntryKind::File { digest, .. } => {
                let text = fs::read(diff.join(&path)).expect("read");
                assert_eq!(*digest, Some(Digest::of(&text)), "the digest of {path}");
                String::from_utf8_lossy(&text).into_owned()
            }
            other => format!("{other:?}"),
        };
        let mode = if content.starts_with("->") { 0 } else { entry.mode };
        format!("{path} {mode:o} {}:{} {content}", entry.uid, entry.gid)
    };
    toc.entries().iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn files_go_where_the_destination_says() {
    if !is_root() {
        return;
    }
    let check = |sources: &str, dest: &str, want: &str| {
        let context = "f=F:644 g=G:600:7:8 d/a=A:644 d/sub/b=B:644 l->f";
        let below = "etc/hostname=old var->/srv lnk->/srv/new dir/x=1";
        assert_eq!(case(context, below, sources, dest).run(), want, "{sources} {dest}");
    };
    check("f", "/x", "x 644 0:0 F"); // COPY-32
    check("g", "/x", "x 600 7:8 G"); // COPY-51
    check("f", "/new/dir/y", "new 755 0:0 /, new/dir 755 0:0 /, new/dir/y 644 0:0 F"); // COPY-34
    check("f", "/new/", "new 755 0:0 /, new/f 644 0:0 F"); // COPY-31
    check("f", "/dir", "dir 755 0:0 /, dir/f 644 0:0 F"); // COPY-32
    check("f", "/etc/hostname", "etc 755 0:0 /, etc/hostname 644 0:0 F");
    check("f", "/", "f 644 0:0 F");
    check("f", "/../../high", "high 644 0:0 F");
    check("l", "/dir/", "dir 755 0:0 /, dir/l 644 0:0 F"); // COPY-15
    check("f g", "/many", "many 600 7:8 G"); // COPY-33
    check("f", "/var/f", "srv 755 0:0 /, srv/f 644 0:0 F"); // COPY-36
    check("f", "/lnk", "srv 755 0:0 /, srv/new 644 0:0 F");
    check("none*", "/x/", ""); // COPY-23
    check(
        "f d",
        "/m/",
        "m 755 0:0 /, m/a 644 0:0 A, m/f 644 0:0 F, m/sub 755 0:0 /, m/sub/b 644 0:0 B",
    );
}

#[test]
fn what_is_in_the_way_is_an_error() {
    if !is_root() {
        return;
    }
    let check = |sources: &str, below: &str, dest: &str, want: &str| {
        let error = case("f=F d/a=A d/g/x=X h/g=file", below, sources, dest).error();
        assert!(error.contains(want), "{sources} {dest}: {error}");
        assert!(!error.contains("/tmp"), "a path of the host: {error}");
    };
    check("d", "a=1", "/a", "cannot copy to non-directory: /a"); // COPY-37
    check("f d", "", "/c6", "cannot copy to non-directory: /c6"); // COPY-33
    check("h", "a/g/y=1", "/a", "cannot replace to directory /a/g with file"); // COPY-44
    check("d", "a/g=1", "/a", "cannot copy to non-directory: /a/g");
    check("d", "a/g->/tmp", "/a", "cannot copy to non-directory: /a/g");
    check("f", "etc/passwd=1", "/etc/passwd/x", "mkdir /etc/passwd: not a directory");
    check("f", "etc/hostname=1", "/etc/hostname/", "mkdir /etc/hostname: not a directory");
    check("gone", "", "/x", "\"/gone\": not found"); // COPY-05
}

#[test]
fn directories_merge() {
    if !is_root() {
        return;
    }
    let context = "d/a=new:644 d/c=c:640 d/sub/:700:5:6 d/sub/x=x:4755:5:6 d/l->a d/empty/";
    let below = "m/:711:3:4 m/a->/keep m/old=old m/sub/:755 m/sub/y=y keep=keep";
    let copy = case(context, below, "d", "/m");
    let want = "m 711 3:4 /, m/a 644 0:0 new, m/c 640 0:0 c, m/empty 755 0:0 /, m/l 0 0:0 ->a, \
                m/sub 700 5:6 /, m/sub/x 4755 5:6 x"; // COPY-40 to COPY-48
    assert_eq!(copy.run(), want);
    let made = case(context, below, "d", "/new");
    assert!(made.run().starts_with("new 755 0:0 /, new/a 644 0:0 new")); // COPY-41
    for below in [below, "-"] {
        let into_root = case("d/a=A:644 d/m/z=Z:644", below, "d", "/").run();
        assert_eq!(into_root, "a 644 0:0 A, m 755 0:0 /, m/z 644 0:0 Z"); // COPY-43
    }
}

#[test]
fn many_files_are_copied() {
    if !is_root() {
        return;
    }
    let words: Vec<String> = (0..300).map(|i| format!("d/{}/f{i}={i}:644", i % 7)).collect();
    let copy = case(&words.join(" "), "", "d", "/x");
    let toc = copy.try_run().expect("copy");
    assert_eq!(toc.entries().iter().filter(|e| !e.is_dir()).count(), 300);
    assert!(toc.has_all_digests());
    let text = show(&toc, &copy.diff());
    assert!(text.contains("x/4/f298 644 0:0 298"), "{text}");
}

#[test]
fn owners_and_modes_can_be_changed() {
    if !is_root() {
        return;
    }
    let passwd = |case: &Case| {
        let etc = case.dir.path().join("below/etc");
        fs::create_dir_all(&etc).expect("mkdir");
        fs::write(etc.join("passwd"), "root:x:0:0\napp:x:1234:2345\n").expect("write");
        fs::write(etc.join("group"), "adm:x:4:\n").expect("write");
    };
    let check = |chown: &str, chmod: Option<Mode>, dest: &str, want: &str| {
        let mut case = case("d/f=F:644 d/s/x=X:4711 d/l->f", "", "d", dest);
        passwd(&case);
        case.copy.chown = who(chown);
        case.copy.chmod = chmod;
        assert_eq!(case.run(), want, "{chown} {dest}");
    };
    check(
        "app:adm", // COPY-52, COPY-59
        None,
        "/p/q",
        "p 755 1234:4 /, p/q 755 1234:4 /, p/q/f 644 1234:4 F, p/q/l 0 1234:4 ->f, \
         p/q/s 755 1234:4 /, p/q/s/x 4711 1234:4 X",
    );
    check(
        "5:6", // COPY-35, COPY-61
        Some(Mode::Octal(0o4640)),
        "/p/q",
        "p 640 5:6 /, p/q 640 5:6 /, p/q/f 4640 5:6 F, p/q/l 0 5:6 ->f, \
         p/q/s 4640 5:6 /, p/q/s/x 4640 5:6 X",
    );
    let mut scratch = case("f=F", "-", "f", "/x");
    scratch.copy.chown = who("app");
    assert!(scratch.error().contains("invalid user index: -1")); // COPY-57
    scratch.copy.chown = who("7");
    assert_eq!(scratch.run(), "x 644 7:7 F");
}

#[test]
fn owners_that_cannot_be_given_are_noted() {
    if !is_root() {
        return;
    }
    let mut copy = case("d/f=F:644:7:8 d/s/x=X:644", "m/s/", "d", "/m/s");
    copy.level = Level::UserNsSingle;
    assert_eq!(
        copy.run(),
        "m 755 0:0 /, m/s 755 0:0 /, m/s/f 644 7:8 F, m/s/s 755 0:0 /, m/s/s/x 644 0:0 X"
    );
    let owner = |path| fs::metadata(copy.diff().join(path)).expect("stat").uid();
    assert_eq!(owner("m/s/f"), 0);
    copy.copy.chown = who("5:6");
    copy.copy.dest = "/n/o".into();
    assert_eq!(
        copy.run(),
        "n 755 5:6 /, n/o 755 5:6 /, n/o/f 644 5:6 F, n/o/s 755 5:6 /, n/o/s/x 644 5:6 X"
    );
}

#[test]
fn links_and_times_are_kept() {
    if !is_root() {
        return;
    }
    let mut copy = case("d/a=A:644 d/sub/", "-", "d", "/x");
    let context = copy.dir.path().join("context");
    for link in ["d/b", "d/sub/c"] {
        fs::hard_link(context.join("d/a"), context.join(link)).expect("link");
    }
    symlink("a", context.join("d/l")).expect("symlink");
    let time = |secs| layer::Mtime { secs, nanos: 987_654_321 };
    for (path, secs) in [("d/a", 1_000), ("d/l", -5), ("d/sub", 2_000), ("d", 3_000)] {
        let times = root::timestamps(Some(time(secs)));
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, context.join(path), &times, flags).expect("time");
    }
    copy.sources = vec![StepSource::Tree(stack_tree(&context))];
    let toc = copy.try_run().expect("copy");
    let get = |path: &str| toc.get(path.as_bytes()).expect(path);
    assert_eq!(get("x").mtime, time(3_000)); // COPY-42
    assert_eq!(get("x/a").mtime, time(1_000)); // COPY-65
    assert_eq!(get("x/l").mtime, time(-5));
    assert_eq!(get("x/sub").mtime, time(2_000)); // COPY-43
    assert!(get("x/a").link_group.is_some()); // COPY-46
    assert_eq!(get("x/b").link_group, get("x/a").link_group);
    assert_eq!(get("x/sub/c").link_group, get("x/a").link_group);
    assert!(toc.has_all_digests());
}

#[test]
fn odd_kinds_are_copied() {
    if !is_root() {
        return;
    }
    let mut copy = case("d/x=1", "-", "d", "/d");
    let context = copy.dir.path().join("context");
    let cwd = rustix::fs::CWD;
    let node = |name: &str, kind, device| {
        let mode = rustix::fs::Mode::from_raw_mode(0o620);
        let path = context.join("d").join(name);
        rustix::fs::mknodat(cwd, &path, kind, mode, device).expect("mknod");
        fs::set_permissions(path, PermissionsExt::from_mode(0o620)).expect("chmod");
    };
    use rustix::fs::{FileType, makedev};
    node("p", FileType::Fifo, 0);
    node("c", FileType::CharacterDevice, makedev(1, 3));
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let x = fs::File::open(context.join("d/x")).expect("open");
    sys::xattr::set(&x, b"security.capability", capability).expect("set capability");
    copy.sources = vec![StepSource::Tree(stack_tree(&context))];
    let toc = copy.try_run().expect("copy");
    let get = |path: &str| toc.get(path.as_bytes()).expect(path);
    assert_eq!((&get("d/p").kind, get("d/p").mode), (&EntryKind::Fifo, 0o620)); // COPY-47
    assert_eq!(get("d/c").kind, EntryKind::CharDevice { major: 1, minor: 3 });
    assert_eq!(get("d/x").xattrs.values().next().map(Vec::as_slice), Some(&capability[..])); // COPY-67
    node("w", FileType::CharacterDevice, 0);
    // A listing of a layer takes such a device for a deletion; only other trees can have one.
    struct Odd(Arc<dyn Tree>);
    impl Tree for Odd {
        fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
            let kind = match path {
                b"socket" => EntryKind::Socket,
                b"w" => EntryKind::CharDevice { major: 0, minor: 0 },
                b".wh.x" => EntryKind::Fifo,
                _ => return self.0.entry(path),
            };
            let root = self.0.entry(b"")?.expect("root");
            Ok(Some(Entry { path: path.to_vec(), kind, mode: 0o640, ..root }))
        }
        fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
            self.0.children(dir)
        }
        fn open(&self, path: &[u8]) -> Result<fs::File, TreeError> {
            self.0.open(path)
        }
        fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
            self.0.digest(path)
        }
    }
    copy.sources = vec![StepSource::Tree(Arc::new(Odd(stack_tree(&context))))];
    copy.copy.dest = "/".into();
    copy.selections(|selection, _| selection.path = "socket".into());
    assert_eq!(copy.run(), "socket 640 0:0 ");
    copy.selections(|selection, _| selection.path = "w".into());
    assert!(copy.error().contains("deletion"));
    copy.selections(|selection, _| selection.path = ".wh.x".into());
    assert!(copy.error().contains(".wh."), "{}", copy.error()); // ADD-23
}

#[test]
fn linked_copies_know_nothing_below() {
    if !is_root() {
        return;
    }
    let mut copy = case("f=F:644", "real/ sym->/real etc/", "f", "/sym/f");
    copy.copy.link = true;
    assert_eq!(copy.run(), "sym 755 0:0 /, sym/f 644 0:0 F"); // COPY-81
    copy.copy.dest = "/etc".into();
    assert_eq!(copy.run(), "etc 644 0:0 F"); // COPY-82
    copy.copy.chown = who("app");
    assert!(copy.error().contains("invalid user index")); // COPY-85
}

#[test]
fn parents_are_kept_with_their_modes() {
    if !is_root() {
        return;
    }
    let mut copy = case("p/:700 p/q/:751 p/q/x=x:644 p/r=r", "", "p/q/x", "/d");
    copy.selections(|selection, _| selection.parents = true);
    assert_eq!(copy.run(), "d 755 0:0 /, d/p 700 0:0 /, d/p/q 751 0:0 /, d/p/q/x 644 0:0 x"); // COPY-94
    copy.copy.chown = who("5:6");
    copy.copy.chmod = Some(Mode::Octal(0o640));
    assert_eq!(copy.run(), "d 640 5:6 /, d/p 640 5:6 /, d/p/q 640 5:6 /, d/p/q/x 640 5:6 x");
    copy.copy.chown = None;
    copy.copy.chmod = None;
    copy.selections(|selection, _| selection.exclude = vec!["p/q".into()]);
    assert_eq!(copy.run(), "d 755 0:0 /"); // COPY-93, COPY-102
}

#[test]
fn heredocs_and_downloads_are_files() {
    if !is_root() {
        return;
    }
    let mut copy = case("f=F", "", "", "/d/");
    let inline = |name: &str| {
        CopySource::Inline(InlineFile { name: name.into(), content: Arc::from(&b"text"[..]) })
    };
    copy.copy.sources = vec![inline("EOF"), inline("two")];
    copy.sources = vec![StepSource::Inline, StepSource::Inline];
    let want = "d 755 0:0 /, d/EOF 644 0:0 text, d/two 644 0:0 text"; // COPY-110, COPY-111
    assert_eq!(copy.run(), want);
    copy.copy.dest_is_dir = false;
    copy.copy.dest = "/one".into();
    copy.copy.chmod = Some(Mode::Octal(0o755));
    copy.copy.chown = who("5");
    assert_eq!(copy.run(), "one 755 5:5 text");

    let mut copy = case("name=body:600", "", "", "/d/");
    let tree = stack_tree(&copy.dir.path().join("context"));
    copy.copy.sources = vec![CopySource::Http { input: VertexId(0), unpack: Unpack::No }];
    for (last_modified, secs) in [(Some(77), 77), (None, 0)] {
        let (tree, name) = (Arc::clone(&tree), b"name".to_vec());
        copy.sources = vec![StepSource::Http { tree, name, last_modified }];
        assert_eq!(copy.run(), "d 755 0:0 /, d/name 600 0:0 body"); // ADD-33
        let meta = fs::metadata(copy.diff().join("d/name")).expect("stat");
        assert_eq!(meta.mtime(), secs); // ADD-34
    }
}

#[test]
fn archives_are_unpacked() {
    if !is_root() {
        return;
    }
    let mut tar = Vec::new();
    let mut writer = layer::TarWriter::new(&mut tar);
    let file = |path: &str| Entry {
        path: path.into(),
        kind: EntryKind::File { size_bytes: 1, digest: None },
        mode: 0o600,
        uid: 5,
        gid: 6,
        mtime: layer::Mtime { secs: 9, nanos: 0 },
        xattrs: Default::default(),
        link_group: None,
    };
    writer.entry(&file("top/f"), Some(&mut &b"f"[..])).expect("entry");
    writer.finish().expect("end");
    let mut copy = case("f=F:644", "plain=1", "a.tar", "/x");
    fs::write(copy.dir.path().join("context/a.tar"), &tar).expect("write");
    fs::write(copy.dir.path().join("context/not.gz"), b"\x1f\x8bnothing").expect("write");
    copy.sources = vec![StepSource::Tree(stack_tree(&copy.dir.path().join("context")))];
    let paths = |copy: &Case| {
        let toc = copy.try_run().expect("copy");
        let text = |e: &Entry| {
            format!("{} {:o} {}:{}", String::from_utf8_lossy(&e.path), e.mode, e.uid, e.gid)
        };
        toc.entries().iter().map(text).collect::<Vec<_>>().join(", ")
    };
    assert!(paths(&copy).starts_with("x 644 0:0"));
    copy.selections(|_, unpack| *unpack = Unpack::Archives);
    assert_eq!(paths(&copy), "x 755 0:0, x/top 755 0:0, x/top/f 600 5:6"); // ADD-10, ADD-13
    copy.copy.chown = who("7:8");
    copy.copy.chmod = Some(Mode::Octal(0o640)); // ADD-15
    assert_eq!(paths(&copy), "x 755 7:8, x/top 755 0:0, x/top/f 600 7:8"); // ADD-14
    copy.copy.dest = "/plain".into();
    assert!(copy.error().contains("mkdir /plain: not a directory")); // ADD-12
    copy.copy.dest = "/y".into();
    copy.selections(|selection, _| selection.path = "not.gz".into());
    assert_eq!(paths(&copy), "y 640 7:8"); // ADD-11
}

#[test]
fn a7_links_in_the_image_stay_in_the_image() {
    if !is_root() {
        return;
    }
    let canary = tempfile::tempdir().expect("temporary directory");
    fs::write(canary.path().join("f"), "canary").expect("write");
    let target = canary.path().to_str().expect("text");
    let below = format!("out->{target} up->../../../../../../{target}");
    for dest in ["/out/f", "/up/f", "/out/", "/up"] {
        let copy = case("f=F:644", &below, "f", dest);
        assert!(copy.run().ends_with("/f 644 0:0 F") || copy.run().ends_with("644 0:0 F"));
        assert_eq!(fs::read(canary.path().join("f")).expect("read"), b"canary", "{dest}");
    }
}
