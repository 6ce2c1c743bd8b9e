//! Layers put on each other as one tree. Everything but file contents comes from the tables of contents.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};

use layer::{Entry, EntryKind, Toc};
use oci::{Digest, Hasher};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::{Tree, TreeError};

/// Opens the directory of one layer, when a file in it is wanted.
pub trait LayerDir: Send + Sync {
    /// A new descriptor of the directory.
    ///
    /// # Errors
    /// The layer is not on this machine, or cannot be opened.
    fn open(&self) -> io::Result<OwnedFd>;
}

/// Bits of a hard-link group's number that are the layer's own.
const GROUP_BITS: u32 = 22;

/// The tree that a stack of layers shows.
pub struct StackTree {
    /// Highest first.
    layers: Vec<Layer>,
    digests: Mutex<HashMap<Vec<u8>, Digest>>,
}

struct Layer {
    toc: Arc<Toc>,
    dir: Arc<dyn LayerDir>,
    opened: OnceLock<OwnedFd>,
}

impl StackTree {
    /// Makes the tree of layers, lowest first. Nothing is opened yet. No layers at all are an empty tree.
    pub fn new(layers: Vec<(Arc<Toc>, Arc<dyn LayerDir>)>) -> StackTree {
        let layer = |(toc, dir)| Layer { toc, dir, opened: OnceLock::new() };
        StackTree {
            layers: layers.into_iter().rev().map(layer).collect(),
            digests: Mutex::default(),
        }
    }

    fn tocs(&self) -> Vec<&Toc> {
        self.layers.iter().map(|layer| &*layer.toc).collect()
    }

    /// An entry of a layer as one of the whole tree: hard-link groups are numbered in each layer by itself, the layer's
    /// place makes them different.
    fn placed(&self, index: usize, entry: &Entry) -> Entry {
        let place = (index as u32) << GROUP_BITS;
        let group = |group| place | (group & ((1 << GROUP_BITS) - 1));
        Entry { link_group: entry.link_group.map(group), ..entry.clone() }
    }

    /// The layer that has a file, and its entry there.
    fn file(&self, path: &[u8]) -> Result<(&Layer, Entry), TreeError> {
        let fail = |errno: Errno| TreeError::new("open", path, errno.into());
        let tocs = self.tocs();
        let (index, entry) = layer::lookup(&tocs, path).ok_or_else(|| fail(Errno::NOENT))?;
        match entry.kind {
            EntryKind::File { .. } => Ok((&self.layers[index], entry.clone())),
            _ => Err(fail(Errno::INVAL)),
        }
    }
}

impl Layer {
    fn open(&self, path: &[u8]) -> io::Result<File> {
        if self.opened.get().is_none() {
            // Two threads may both open it; one descriptor is dropped.
            let _ = self.opened.set(self.dir.open()?);
        }
        let dir = self.opened.get().expect("set on the line before");
        // Never blocks, should somebody have put a FIFO in the place of the file.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = sys::open_beneath(dir.as_fd(), path, flags, Mode::empty())?;
        Ok(File::from(fd))
    }
}

impl Tree for StackTree {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        let tocs = self.tocs();
        let Some((index, entry)) = layer::lookup(&tocs, path) else {
            return Ok(path.is_empty().then(empty_root));
        };
        Ok(Some(self.placed(index, entry)))
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<(Entry, Option<Digest>)>, TreeError> {
        let tocs = self.tocs();
        let children = layer::children(&tocs, dir).into_iter();
        Ok(children.map(|(index, entry)| (self.placed(index, entry), None)).collect())
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        let tocs = self.tocs();
        Ok(layer::children(&tocs, dir).iter().map(|(_, entry)| entry.name().to_vec()).collect())
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        let (layer, _) = self.file(path)?;
        layer.open(path).map_err(|error| TreeError::new("open", path, error))
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        let (layer, entry) = self.file(path)?;
        if let EntryKind::File { digest: Some(digest), .. } = entry.kind {
            return Ok(digest);
        }
        let known = self.digests.lock().unwrap_or_else(|lock| lock.into_inner()).get(path).copied();
        if let Some(digest) = known {
            return Ok(digest);
        }
        let fail = |error| TreeError::new("read", path, error);
        let mut file = layer.open(path).map_err(fail)?;
        let mut hasher = Hasher::new();
        io::copy(&mut file, &mut hasher).map_err(fail)?;
        let digest = hasher.finish();
        self.learned(&entry, digest);
        Ok(digest)
    }

    fn learned(&self, entry: &Entry, digest: Digest) {
        let mut digests = self.digests.lock().unwrap_or_else(|lock| lock.into_inner());
        digests.insert(entry.path.clone(), digest);
    }
}

/// The root of a tree in which no layer says anything of its root.
fn empty_root() -> Entry {
    Entry::plain(b"", EntryKind::Directory { opaque: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{resolve, select};
    use std::io::Read;
    use std::path::PathBuf;

    struct Dir(PathBuf);

    impl LayerDir for Dir {
        fn open(&self) -> io::Result<OwnedFd> {
            File::open(&self.0).map(OwnedFd::from)
        }
    }

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, ..empty_root() }
    }

    fn layer(entries: Vec<Entry>, dir: &std::path::Path) -> (Arc<Toc>, Arc<dyn LayerDir>) {
        (Arc::new(Toc::from_entries(entries)), Arc::new(Dir(dir.to_owned())))
    }

    #[test]
    fn higher_layers_hide_lower_ones() {
        let low = tempfile::tempdir().expect("temporary directory");
        let high = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(low.path().join("d")).expect("mkdir");
        std::fs::write(low.path().join("d/keep"), "low").expect("write");
        std::fs::write(high.path().join("new"), "high").expect("write");
        let file = || EntryKind::File { size_bytes: 3, digest: None };
        let dir = || EntryKind::Directory { opaque: false };
        let mut linked = entry("d/keep", file());
        linked.link_group = Some(1);
        let below = vec![
            entry("d", dir()),
            entry("d/gone", file()),
            linked,
            entry("l", EntryKind::Symlink { target: b"d".to_vec() }),
        ];
        let mut above = entry("new", file());
        above.link_group = Some(1);
        let above = vec![entry("d", dir()), entry("d/gone", EntryKind::Whiteout), above];
        let tree = StackTree::new(vec![layer(below, low.path()), layer(above, high.path())]);

        assert_eq!(tree.children(b"").expect("root"), [b"d".to_vec(), b"l".into(), b"new".into()]);
        assert_eq!(tree.children(b"d").expect("d"), [b"keep".to_vec()]);
        assert!(tree.entry(b"d/gone").expect("look up").is_none());
        assert_eq!(resolve(&tree, b"l/keep", true).expect("resolve"), Some(b"d/keep".to_vec()));
        let group = |path: &[u8]| tree.entry(path).expect("entry").and_then(|e| e.link_group);
        assert_ne!(group(b"d/keep"), group(b"new"));
        let mut text = String::new();
        tree.open(b"d/keep").expect("open").read_to_string(&mut text).expect("read");
        assert_eq!(text, "low");
        assert_eq!(tree.digest(b"new").expect("digest"), Digest::of(b"high"));
        assert!(tree.open(b"d").is_err());
    }

    #[test]
    fn scratch_is_an_empty_directory() {
        let tree = StackTree::new(Vec::new());
        let selection = |path: &str| graph::Selection { path: path.into(), ..Default::default() };
        assert_eq!(select(&tree, &selection("/")).expect("root").len(), 1); // COPY-75
        assert!(select(&tree, &selection("/x")).expect_err("x").is_not_found());
    }
}
