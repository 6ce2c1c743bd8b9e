//! A context as one copy saw it.
//!
//! Steps of a build read a context at different times, and its files may change in between. What a step stored is what
//! its key must say: neither what the look-up saw nor what another copy, which ran beside it, has stored.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use layer::Entry;
use oci::Digest;
use tree::{Tree, TreeError};

use crate::stop::lock;

/// The context with the digests that one try of one copy has learnt.
pub(crate) struct Copied {
    tree: Arc<dyn Tree>,
    stored: Mutex<HashMap<Vec<u8>, Digest>>,
    /// A file was stored twice, with two contents: no key says both.
    is_torn: Arc<AtomicBool>,
}

impl Copied {
    /// Nothing is stored yet. `is_torn` is set when a file is stored with two contents.
    pub(crate) fn new(tree: Arc<dyn Tree>, is_torn: &Arc<AtomicBool>) -> Copied {
        Copied { tree, stored: Mutex::default(), is_torn: is_torn.clone() }
    }
}

impl Tree for Copied {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        self.tree.entry(path)
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        self.tree.children(dir)
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<(Entry, Option<Digest>)>, TreeError> {
        let mut list = self.tree.list(dir)?;
        let stored = lock(&self.stored);
        for (entry, digest) in &mut list {
            *digest = stored.get(&entry.path).copied().or(*digest);
        }
        Ok(list)
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        self.tree.open(path)
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        let stored = lock(&self.stored).get(path).copied();
        stored.map_or_else(|| self.tree.digest(path), Ok)
    }

    fn prefetch(&self, dir: &[u8]) {
        self.tree.prefetch(dir);
    }

    fn learned(&self, entry: &Entry, digest: Digest) {
        let before = lock(&self.stored).insert(entry.path.clone(), digest);
        if before.is_some_and(|before| before != digest) {
            self.is_torn.store(true, Ordering::Relaxed);
        }
        self.tree.learned(entry, digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A context of one file, which others learn of too.
    #[derive(Default)]
    struct One(Mutex<Option<Digest>>);

    fn file() -> Entry {
        Entry::plain(b"f", layer::EntryKind::File { size_bytes: 1, digest: None })
    }

    impl Tree for One {
        fn entry(&self, _path: &[u8]) -> Result<Option<Entry>, TreeError> {
            Ok(Some(file()))
        }

        fn children(&self, _dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
            Ok(vec![b"f".to_vec()])
        }

        fn open(&self, path: &[u8]) -> Result<File, TreeError> {
            Err(TreeError::new("open", path, std::io::ErrorKind::NotFound.into()))
        }

        fn digest(&self, _path: &[u8]) -> Result<Digest, TreeError> {
            Ok(lock(&self.0).expect("somebody has read it"))
        }

        fn learned(&self, _entry: &Entry, digest: Digest) {
            *lock(&self.0) = Some(digest);
        }
    }

    /// security.md A12: two copies of one file that changed in between each know their own bytes.
    #[test]
    fn what_one_copy_stored_is_not_what_the_other_stored() {
        let (context, torn) = (Arc::new(One::default()), Arc::default());
        let copies = [(); 2].map(|()| Copied::new(context.clone(), &torn));
        let digests = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        for (copy, digest) in copies.iter().zip(digests) {
            copy.learned(&file(), digest);
        }
        for (copy, digest) in copies.iter().zip(digests) {
            assert_eq!(copy.digest(b"f").expect("digest"), digest);
            assert_eq!(copy.list(b"").expect("list")[0].1, Some(digest));
        }
        assert_eq!(context.digest(b"f").expect("digest"), digests[1]);
        assert!(!torn.load(Ordering::Relaxed));
        copies[0].learned(&file(), digests[1]);
        assert!(torn.load(Ordering::Relaxed));
    }
}
