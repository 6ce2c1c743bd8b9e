//! The digest of a selection: the part of a COPY's key that says what it reads (CACHE-20 to CACHE-26).
//!
//! The digest is sha256 over this, numbers little-endian, `bytes` with their length (u64) in front:
//!
//! ```text
//! "shale-selection-1\0"
//! for each picked path:   "P", bytes name, u8 (1: a directory), then for a file its thing, then
//! for each thing below:   "I", bytes path from the picked one, u8 implied, thing
//!                         (a directory that counts itself comes first, with an empty path)
//! at the end:             "E"
//! thing: u8 kind, u32 mode, u32 uid, u32 gid,
//!        file: 32 bytes digest; link: bytes target; device: u32 major, u32 minor
//!        u32 number of attributes, for each bytes name, bytes value
//!        u32 hard-link group: 0 for none, else numbered by first use below this picked path, from 1
//! ```
//!
//! No time, no size (the content's digest says it), nothing of a picked directory but its name (CACHE-25), unless it is
//! mounted: then whoever runs on it sees its mode and owner.

use graph::{Selection, TreeDigest};
use layer::{Entry, EntryKind};
use oci::{Digest, Hasher};

use crate::below::put_below;
use crate::{Picked, SelectError, Tree, TreeError, select};

/// Selects, reads what has no known digest, many files at once, and makes the digest.
///
/// # Errors
/// As [`select`], and files that cannot be read.
pub fn digest_selection(tree: &dyn Tree, selection: &Selection) -> Result<TreeDigest, SelectError> {
    digest_picked(tree, &select(tree, selection)?).map_err(SelectError::Tree)
}

/// The digest of what was selected before.
///
/// # Errors
/// Files and directories that cannot be read.
pub fn digest_picked(tree: &dyn Tree, picked: &[Picked]) -> Result<TreeDigest, TreeError> {
    let mut hasher = Hasher::new();
    put_selection(&mut hasher, tree, picked)?;
    Ok(TreeDigest(hasher.finish()))
}

/// Takes what is hashed: a hash, or whoever keeps it as a listing.
pub(crate) trait Sink {
    fn update(&mut self, bytes: &[u8]);
}

impl Sink for Hasher {
    fn update(&mut self, bytes: &[u8]) {
        Hasher::update(self, bytes);
    }
}

pub(crate) fn put_selection(
    hasher: &mut impl Sink,
    tree: &dyn Tree,
    picked: &[Picked],
) -> Result<(), TreeError> {
    hasher.update(BEGIN);
    for one in picked {
        put_picked(hasher, tree, one)?;
    }
    hasher.update(b"E");
    Ok(())
}

/// The first bytes of what is hashed.
pub(crate) const BEGIN: &[u8] = b"shale-selection-1\0";

fn put_picked(hasher: &mut impl Sink, tree: &dyn Tree, picked: &Picked) -> Result<(), TreeError> {
    let mut bytes = vec![b'P'];
    put_bytes(&mut bytes, &picked.name);
    bytes.push(u8::from(picked.entry.is_dir()));
    if !picked.entry.is_dir() {
        let digest = content_digest(tree, &picked.entry)?;
        put_thing(&mut bytes, &picked.entry, digest);
    } else if picked.itself {
        put_item(&mut bytes, b"", false, &picked.entry, None);
    }
    hasher.update(&bytes);
    if picked.entry.is_dir() { put_below(hasher, tree, picked) } else { Ok(()) }
}

/// The digest of what is in a thing, read if the entry does not say it.
pub(crate) fn content_digest(tree: &dyn Tree, entry: &Entry) -> Result<Option<Digest>, TreeError> {
    match &entry.kind {
        EntryKind::File { digest: Some(digest), .. } => Ok(Some(*digest)),
        EntryKind::File { .. } => tree.digest(&entry.path).map(Some),
        // What it becomes in the image (COPY-47).
        EntryKind::Socket => Ok(Some(Digest::of(b""))),
        _ => Ok(None),
    }
}

/// A thing below a picked directory.
pub(crate) fn put_item(
    bytes: &mut Vec<u8>,
    relative: &[u8],
    implied: bool,
    entry: &Entry,
    digest: Option<Digest>,
) {
    bytes.push(b'I');
    put_bytes(bytes, relative);
    bytes.push(u8::from(implied));
    put_thing(bytes, entry, digest);
}

/// A thing that is in no hard-link group.
fn put_thing(bytes: &mut Vec<u8>, entry: &Entry, digest: Option<Digest>) {
    let kind = match &entry.kind {
        EntryKind::Directory { .. } => b'd',
        EntryKind::File { .. } | EntryKind::Socket => b'f',
        EntryKind::Symlink { .. } => b'l',
        EntryKind::CharDevice { .. } => b'c',
        EntryKind::BlockDevice { .. } => b'b',
        EntryKind::Fifo => b'p',
        EntryKind::Whiteout => b'w',
    };
    bytes.push(kind);
    // A link's mode means nothing and differs between file systems.
    let mode = if kind == b'l' { 0o777 } else { entry.mode };
    for number in [mode, entry.uid, entry.gid] {
        put_number(bytes, number);
    }
    if let Some(digest) = digest {
        bytes.extend_from_slice(digest.as_bytes());
    }
    match &entry.kind {
        EntryKind::Symlink { target } => put_bytes(bytes, target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_number(bytes, *major);
            put_number(bytes, *minor);
        }
        _ => {}
    }
    put_number(bytes, entry.xattrs.len() as u32);
    for (name, value) in &entry.xattrs {
        put_bytes(bytes, name);
        put_bytes(bytes, value);
    }
    put_number(bytes, 0);
}

fn put_number(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryTree, memory_tree};

    fn digest(tree: &MemoryTree, path: &str) -> String {
        let selection =
            Selection { path: path.to_owned(), wildcards: true, ..Selection::default() };
        digest_selection(tree, &selection).expect(path).to_string()
    }

    #[test]
    fn what_counts_and_what_does_not() {
        let base = "f=one d/a=a d/sub/b=b e/f=one l->f";
        let tree = memory_tree(base);
        let same = |changed: &MemoryTree, path: &str, want: bool| {
            assert_eq!(digest(&tree, path) == digest(changed, path), want, "{path}");
        };
        let changed = |change: &dyn Fn(&mut Entry), path: &str| {
            let mut tree = memory_tree(base);
            change(tree.entry_mut(path));
            tree
        };
        let touched = changed(&|entry| entry.mtime.secs = 7, "d/a");
        same(&touched, "d", true); // CACHE-21
        same(&changed(&|entry| entry.mode = 0o700, "d/a"), "d", false); // CACHE-22
        same(&changed(&|entry| entry.uid = 7, "d/sub"), "d", false);
        same(&changed(&|entry| entry.mode = 0o700, "d"), "d", true); // CACHE-25
        same(&changed(&|entry| entry.mode = 0o700, "d"), ".", false);
        same(&memory_tree("f=two d/a=a d/sub/b=b"), "f", false);
        same(&memory_tree("f=one d/a=a d/sub/c=b"), "d", false); // CACHE-23
        same(&memory_tree("f=one d/a=a d/sub/b=b e/f=one l->f new=x"), "[ef]", true); // CACHE-24
        same(&memory_tree("f=one d/a=a d/sub/b=b e/f=one l->f"), "*", true);
        assert_eq!(digest(&tree, "f"), digest(&tree, "e/f"));
        assert_ne!(digest(&tree, "f"), digest(&tree, "l"));
        assert_eq!(digest(&tree, "d"), digest(&tree, "d/"));
    }

    #[test]
    fn a_mounted_directory_counts_itself() {
        let mounted = |tree: &MemoryTree, path: &str| {
            let selection =
                Selection { path: path.to_owned(), itself: true, ..Selection::default() };
            digest_selection(tree, &selection).expect(path).to_string()
        };
        let tree = memory_tree("f=one d/a=a");
        for change in [
            &(|entry: &mut Entry| entry.mode = 0o700) as &dyn Fn(&mut Entry),
            &|entry: &mut Entry| entry.uid = 7,
            &|entry: &mut Entry| entry.gid = 7,
        ] {
            let mut other = memory_tree("f=one d/a=a");
            change(other.entry_mut("d"));
            assert_ne!(mounted(&tree, "d"), mounted(&other, "d"));
            assert_ne!(mounted(&tree, ""), mounted(&other, ""), "it is in the root");
        }
        let mut touched = memory_tree("f=one d/a=a");
        touched.entry_mut("d").mtime.secs = 7;
        assert_eq!(mounted(&tree, "d"), mounted(&touched, "d"));
        assert_ne!(mounted(&tree, "d"), digest(&tree, "d"));
        assert_eq!(mounted(&tree, "f"), digest(&tree, "f"));
    }

    #[test]
    fn hard_links_are_numbered_by_first_use() {
        let link = |tree: &mut MemoryTree, group: u32, paths: &[&str]| {
            for path in paths {
                tree.entry_mut(path).link_group = Some(group);
            }
        };
        let text = "d/a=a d/b=a d/c=a c=a";
        let (mut one, mut two, mut other) =
            (memory_tree(text), memory_tree(text), memory_tree(text));
        link(&mut one, 1, &["d/a", "d/b", "c"]);
        link(&mut two, 900, &["d/a", "d/b"]);
        link(&mut other, 1, &["d/b", "d/c"]);
        assert_eq!(digest(&one, "d"), digest(&two, "d"));
        assert_ne!(digest(&one, "d"), digest(&other, "d"));
        assert_eq!(digest(&one, "c"), digest(&two, "c"));
    }

    #[test]
    fn the_encoding_does_not_change() {
        // A new value here means that nobody's cache is hit any more: raise the version in the first line too.
        let tree = memory_tree("d/a=a d/l->a d/s/x=x");
        assert_eq!(
            digest(&tree, "d"),
            "sha256:8df4721ba40421c15b5ca829051d4bdb037de6bbefce52a9869dd05f8b37d246"
        );
    }
}
