//! A tree in memory, for tests: `dir/file=content link->target`, missing directories are made.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use layer::{Entry, EntryKind};
use oci::Digest;

use crate::resolve::ancestors;
use crate::{Tree, TreeError};

pub(crate) struct MemoryTree {
    entries: BTreeMap<Vec<u8>, Entry>,
    contents: BTreeMap<Vec<u8>, Vec<u8>>,
}

pub(crate) fn memory_tree(text: &str) -> MemoryTree {
    let mut tree = MemoryTree { entries: BTreeMap::new(), contents: BTreeMap::new() };
    tree.add("", EntryKind::Directory { opaque: false });
    for word in text.split_whitespace() {
        if let Some((path, target)) = word.split_once("->") {
            tree.add(path, EntryKind::Symlink { target: target.into() });
        } else if let Some((path, content)) = word.split_once('=') {
            tree.add(path, EntryKind::File { size_bytes: content.len() as u64, digest: None });
            tree.contents.insert(path.into(), content.into());
        } else {
            tree.add(word, EntryKind::Directory { opaque: false });
        }
    }
    tree
}

impl MemoryTree {
    fn add(&mut self, path: &str, kind: EntryKind) {
        for dir in ancestors(path.as_bytes()) {
            let kind = EntryKind::Directory { opaque: false };
            self.entries.entry(dir.clone()).or_insert_with(|| Entry::plain(&dir, kind));
        }
        let entry = Entry::plain(path.as_bytes(), kind);
        let mode = if matches!(entry.kind, EntryKind::File { .. }) { 0o644 } else { 0o755 };
        self.entries.insert(path.into(), Entry { mode, ..entry });
    }

    pub(crate) fn entry_mut(&mut self, path: &str) -> &mut Entry {
        self.entries.get_mut(path.as_bytes()).expect(path)
    }
}

impl Tree for MemoryTree {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        Ok(self.entries.get(path).cloned())
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        let inside = |e: &&Entry| !e.path.is_empty() && e.parent() == dir;
        Ok(self.entries.values().filter(inside).map(|e| e.name().to_vec()).collect())
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        use std::io::{Seek, Write};
        let fail = |error: io::Error| TreeError::new("open", path, error);
        let content =
            self.contents.get(path).ok_or_else(|| fail(io::ErrorKind::NotFound.into()))?;
        let mut file = tempfile::tempfile().map_err(fail)?;
        file.write_all(content).and_then(|()| file.rewind()).map_err(fail)?;
        Ok(file)
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        let fail = || TreeError::new("open", path, io::ErrorKind::NotFound.into());
        self.contents.get(path).map(|content| Digest::of(content)).ok_or_else(fail)
    }
}
