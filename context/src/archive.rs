//! A tar as a context (CTX-08, CTX-12, CTX-17): owners, modes and kinds are what the archive says.
//!
//! Nothing of the archive becomes a name on this machine: contents are stored under their digests, and everything else
//! lives in a table of contents beside them. So no entry can lead anywhere (security.md A9, B1).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use layer::{Entry, EntryKind, LayerError, TarEntry, TarKind, TarReader, Toc};
use oci::{Digest, Hasher};
use pattern::clean;
use rustix::io::Errno;
use tree::{Step, Tree, TreeError, join, resolve_with};

use crate::ContextError;
use crate::error::Failure;

const TOC: &str = "toc";
const CONTENTS: &str = "contents";
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// A context that came as an archive.
pub struct ArchiveTree {
    toc: Toc,
    dir: PathBuf,
}

/// Whether the first bytes of a context are an archive; if not it is a Dockerfile (CTX-08, CTX-12).
pub fn looks_like_archive(head: &[u8]) -> bool {
    let compressed = head.starts_with(&[0x1f, 0x8b])
        || head.starts_with(b"BZh")
        || head.starts_with(b"\xfd7zXZ\0")
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    compressed || layer::detect_archive(head)
}

/// Reads an archive, compressed or not, into an empty directory.
///
/// # Errors
/// What is no archive or a damaged one, entries that no tree can have, a disk that is full.
pub fn unpack_context(src: impl Read + Send, into: &Path) -> Result<ArchiveTree, ContextError> {
    let contents = into.join(CONTENTS);
    fs::create_dir(&contents).map_err(ContextError::file("create", &contents))?;
    let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, layer::decompress(src)));
    let mut building = Building::new(contents);
    loop {
        let entry = reader.next_entry().map_err(archive)?;
        let Some(entry) = entry else { break };
        building.add(entry, &mut reader)?;
    }
    let toc = Toc::from_entries(building.into_entries());
    let path = into.join(TOC);
    let file = File::create_new(&path).map_err(ContextError::file("create", &path))?;
    let mut file = BufWriter::new(file);
    toc.write(&mut file).map_err(archive)?;
    file.flush().map_err(ContextError::file("write", &path))?;
    Ok(ArchiveTree { toc, dir: into.to_owned() })
}

/// The newest modification time of a regular file in a tar, compressed or not; `None` when it has none or is no tar
/// (EPO-04).
pub fn newest_in_archive(src: impl Read + Send) -> Option<layer::Mtime> {
    let mut reader = TarReader::new(BufReader::with_capacity(256 << 10, layer::decompress(src)));
    let mut newest = None;
    while let Some(entry) = reader.next_entry().ok()? {
        if entry.kind == TarKind::File {
            newest = newest.max(Some(entry.mtime));
        }
    }
    newest
}

fn archive(source: LayerError) -> ContextError {
    ContextError(Failure::Archive { source })
}

impl ArchiveTree {
    /// Opens a directory that [`unpack_context`] filled before.
    ///
    /// # Errors
    /// There is no whole archive in it.
    pub fn open(dir: &Path) -> Result<ArchiveTree, ContextError> {
        let path = dir.join(TOC);
        let file = File::open(&path).map_err(ContextError::file("open", &path))?;
        let toc = Toc::read(&mut BufReader::new(file)).map_err(archive)?;
        Ok(ArchiveTree { toc, dir: dir.to_owned() })
    }

    /// The newest modification time of a regular file in it (EPO-04).
    pub fn newest(&self) -> Option<layer::Mtime> {
        let files = self.toc.entries().iter();
        let files = files.filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
        files.map(|entry| entry.mtime).max()
    }

    fn file(&self, path: &[u8]) -> Result<Digest, TreeError> {
        match self.toc.get(path).map(|entry| &entry.kind) {
            Some(EntryKind::File { digest: Some(digest), .. }) => Ok(*digest),
            Some(_) => Err(TreeError::new("open", path, Errno::INVAL.into())),
            None => Err(TreeError::new("open", path, Errno::NOENT.into())),
        }
    }
}

impl Tree for ArchiveTree {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        if path.is_empty() {
            return Ok(Some(implied_dir(b"")));
        }
        Ok(self.toc.get(path).cloned())
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        Ok(self.toc.children(dir).map(|entry| entry.name().to_vec()).collect())
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        let content = self.dir.join(CONTENTS).join(self.file(path)?.hex());
        File::open(content).map_err(|error| TreeError::new("open", path, error))
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        self.file(path)
    }
}

/// The tree while the archive is read.
struct Building {
    contents: PathBuf,
    entries: HashMap<Vec<u8>, Entry>,
    children: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    groups: u32,
    stored: u64,
}

impl Building {
    fn new(contents: PathBuf) -> Building {
        let entries = HashMap::from([(Vec::new(), implied_dir(b""))]);
        Building { contents, entries, children: HashMap::new(), groups: 0, stored: 0 }
    }

    fn into_entries(self) -> Vec<Entry> {
        self.entries.into_values().collect()
    }

    fn add(&mut self, entry: TarEntry, content: &mut dyn Read) -> Result<(), ContextError> {
        let path = self.place(&entry.name)?;
        let kind = match &entry.kind {
            TarKind::Directory => EntryKind::Directory { opaque: false },
            TarKind::File => {
                let (digest, size_bytes) = self.store(content)?;
                EntryKind::File { size_bytes, digest: Some(digest) }
            }
            TarKind::HardLink { target } => return self.link(path, target),
            TarKind::Symlink { target } => EntryKind::Symlink { target: target.clone() },
            TarKind::CharDevice { major, minor } => {
                EntryKind::CharDevice { major: *major, minor: *minor }
            }
            TarKind::BlockDevice { major, minor } => {
                EntryKind::BlockDevice { major: *major, minor: *minor }
            }
            TarKind::Fifo => EntryKind::Fifo,
        };
        let is_dir = matches!(kind, EntryKind::Directory { .. });
        if path.is_empty() {
            // The root stays a directory whatever the archive says of it (security.md B2).
            return match is_dir {
                true => Ok(()),
                false => Err(bad(&entry.name, "the root of an archive must be a directory")),
            };
        }
        let capability = entry.xattrs.into_iter().filter(|(name, _)| name == CAPABILITY);
        self.put(Entry {
            path,
            kind,
            mode: entry.mode & 0o7777,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: capability.collect(),
            link_group: None,
        });
        Ok(())
    }

    /// Where an entry's name leads: links among its directories are followed inside the archive.
    fn place(&mut self, name: &[u8]) -> Result<Vec<u8>, ContextError> {
        let cleaned = clean(&[b"/", name].concat())[1..].to_vec();
        let (dir, last) = match cleaned.iter().rposition(|b| *b == b'/') {
            Some(at) => (&cleaned[..at], &cleaned[at + 1..]),
            None => (&b""[..], &cleaned[..]),
        };
        let entries = &self.entries;
        let mut look = |path: &[u8]| -> Result<Step, std::convert::Infallible> {
            Ok(match entries.get(path).map(|entry| &entry.kind) {
                None => Step::Missing,
                Some(EntryKind::Symlink { target }) => Step::Link(target.clone()),
                Some(_) => Step::Other,
            })
        };
        let Ok(resolved) = resolve_with(dir, true, &mut look);
        let resolved = resolved.ok_or_else(|| bad(name, "too many links on the way"))?;
        self.make_dirs(&resolved.path, name)?;
        Ok(join(&resolved.path, last))
    }

    fn make_dirs(&mut self, dir: &[u8], name: &[u8]) -> Result<(), ContextError> {
        let ends = dir.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends.chain((!dir.is_empty()).then_some(dir.len())).collect::<Vec<_>>() {
            match self.entries.get(&dir[..end]) {
                Some(entry) if entry.is_dir() => {}
                Some(_) => return Err(bad(name, "a directory on the way is something else")),
                None => self.put(implied_dir(&dir[..end])),
            }
        }
        Ok(())
    }

    /// The last entry of a name counts; a directory that becomes something else takes what it held with it.
    fn put(&mut self, entry: Entry) {
        let (path, is_dir) = (entry.path.clone(), entry.is_dir());
        if let Some(old) = self.entries.insert(path.clone(), entry) {
            if old.is_dir() && !is_dir {
                self.forget_below(path);
            }
            return;
        }
        let parent = path.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &path[..at]);
        self.children.entry(parent.to_vec()).or_default().push(path);
    }

    fn forget_below(&mut self, dir: Vec<u8>) {
        let mut dirs = vec![dir];
        while let Some(dir) = dirs.pop() {
            for path in self.children.remove(&dir).unwrap_or_default() {
                self.entries.remove(&path);
                dirs.push(path);
            }
        }
    }

    fn link(&mut self, path: Vec<u8>, target: &[u8]) -> Result<(), ContextError> {
        let target = self.place(target)?;
        let no_file = || bad(&target, "a hard link to something that is no earlier file");
        let found = self.entries.get_mut(&target).filter(|entry| !entry.is_dir());
        let found = found.ok_or_else(no_file)?;
        if found.link_group.is_none() {
            self.groups += 1;
            found.link_group = Some(self.groups);
        }
        let linked = Entry { path, ..found.clone() };
        if linked.path != target {
            self.put(linked);
        }
        Ok(())
    }

    /// Stores content under its digest.
    fn store(&mut self, content: &mut dyn Read) -> Result<(Digest, u64), ContextError> {
        self.stored += 1;
        let temporary = self.contents.join(format!("new-{}", self.stored));
        let fail = |operation| ContextError::file(operation, &temporary);
        let file = File::create_new(&temporary).map_err(fail("create"))?;
        let mut both = Hashing { file, hasher: Hasher::new() };
        let size_bytes = io::copy(content, &mut both).map_err(fail("write"))?;
        let digest = both.hasher.finish();
        fs::rename(&temporary, self.contents.join(digest.hex())).map_err(fail("rename"))?;
        Ok((digest, size_bytes))
    }
}

struct Hashing {
    file: File,
    hasher: Hasher,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn bad(name: &[u8], reason: &'static str) -> ContextError {
    archive(LayerError::BadEntry { name: name.to_vec(), reason })
}

fn implied_dir(path: &[u8]) -> Entry {
    Entry::plain(path, EntryKind::Directory { opaque: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer::{Mtime, TarWriter};
    use tree::resolve;

    /// A tar of `path=content`, `path/` and `link->target` words.
    fn tar(words: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = TarWriter::new(&mut bytes);
        for word in words.split_whitespace() {
            let (path, kind, content) = if let Some((path, target)) = word.split_once("->") {
                (path, EntryKind::Symlink { target: target.into() }, "")
            } else if let Some((path, text)) = word.split_once('=') {
                let size_bytes = text.len() as u64;
                (path, EntryKind::File { size_bytes, digest: None }, text)
            } else {
                (word.trim_end_matches('/'), EntryKind::Directory { opaque: false }, "")
            };
            let mtime = Mtime { secs: 7, nanos: 0 };
            let entry =
                Entry { kind, uid: 7, gid: 8, mode: 0o640, mtime, ..implied_dir(path.as_bytes()) };
            let mut content = content.as_bytes();
            let is_file = matches!(entry.kind, EntryKind::File { .. });
            let content: Option<&mut dyn Read> = if is_file { Some(&mut content) } else { None };
            writer.entry(&entry, content).expect("tar entry");
        }
        writer.finish().expect("tar end");
        bytes
    }

    fn show(tree: &ArchiveTree) -> String {
        let entries = tree.toc.entries().iter();
        let paths = entries.map(|e| format!("{}:{}", String::from_utf8_lossy(&e.path), e.uid));
        paths.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn recorded_owners_are_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tree = unpack_context(&*tar("f=text d/sub/x=y l->d"), dir.path()).expect("unpack");
        assert_eq!(show(&tree), "d:0 d/sub:0 d/sub/x:7 f:7 l:7"); // COPY-50, CTX-17
        assert_eq!(tree.digest(b"f").expect("digest"), Digest::of(b"text"));
        let again = ArchiveTree::open(dir.path()).expect("open");
        let mut text = String::new();
        again.open(b"f").expect("open").read_to_string(&mut text).expect("read");
        assert_eq!(text, "text");
        assert_eq!(resolve(&again, b"l/sub/x", true).expect("link"), Some(b"d/sub/x".to_vec()));
        assert_eq!(again.entry(b"f").expect("entry").map(|e| e.mode), Some(0o640));
        assert_eq!(again.newest().map(|time| time.secs), Some(7));
        assert_eq!(newest_in_archive(&*tar("f=text")).map(|time| time.secs), Some(7));
        assert_eq!(newest_in_archive(&*tar("d/ l->d")), None); // EPO-04
        assert_eq!(newest_in_archive(&b"no archive"[..]), None);
    }

    #[test]
    fn nothing_leaves_the_archive() {
        let check = |words: &str, want: &str| {
            let dir = tempfile::tempdir().expect("temporary directory");
            let got = match unpack_context(&*tar(words), dir.path()) {
                Ok(tree) => show(&tree),
                Err(_) => "error".to_owned(),
            };
            assert_eq!(got, want, "{words}");
            let names: Vec<_> = fs::read_dir(dir.path().join(CONTENTS)).expect("list").collect();
            assert!(names.iter().all(|n| n.as_ref().expect("name").file_name().len() == 64));
        };
        check("d/ l->d l/f=x", "d:7 d/f:7 l:7");
        check("l->/etc l/f=x", "etc:0 etc/f:7 l:7");
        check("l->../../.. l/f=x", "f:7 l:7");
        check("d/a=1 d=2", "d:7");
        check("f=1 f/x=2", "error");
        check("f=1 f=2", "f:7");
    }

    #[test]
    fn a_dockerfile_is_no_archive() {
        assert!(looks_like_archive(&tar("f=x")));
        assert!(looks_like_archive(&[0x1f, 0x8b, 8, 0]));
        assert!(!looks_like_archive(b"FROM scratch\n"));
        assert!(!looks_like_archive(b""));
    }
}
