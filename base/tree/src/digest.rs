//! The digest of a selection: the part of a COPY's key that says what it reads (CACHE-20 to CACHE-26).
//!
//! The digest is sha256 over this, numbers little-endian, `bytes` with their length (u64) in front:
//!
//! ```text
//! "shale-selection-1\0"
//! for each picked path:   "P", bytes name, u8 (1: a directory), then for a file its thing, then
//! for each thing below:   "I", bytes path from the picked one, u8 implied, thing
//! at the end:             "E"
//! thing: u8 kind, u32 mode, u32 uid, u32 gid,
//!        file: 32 bytes digest; link: bytes target; device: u32 major, u32 minor
//!        u32 number of attributes, for each bytes name, bytes value
//!        u32 hard-link group: 0 for none, else numbered by first use below this picked path, from 1
//! ```
//!
//! No time, no size (the content's digest says it), nothing of a picked directory but its name (CACHE-25).

use std::collections::HashMap;

use graph::{Selection, TreeDigest};
use layer::{Entry, EntryKind};
use oci::{Digest, Hasher};
use rayon::prelude::*;

use crate::{Item, Picked, SelectError, Tree, TreeError, select, walk};

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
    hasher.update(b"shale-selection-1\0");
    for one in picked {
        put_picked(&mut hasher, tree, one)?;
    }
    hasher.update(b"E");
    Ok(TreeDigest(hasher.finish()))
}

fn put_picked(hasher: &mut Hasher, tree: &dyn Tree, picked: &Picked) -> Result<(), TreeError> {
    hasher.update(b"P");
    put_bytes(hasher, &picked.name);
    hasher.update(&[u8::from(picked.entry.is_dir())]);
    if !picked.entry.is_dir() {
        let digest = content_digest(tree, &picked.entry)?;
        put_thing(hasher, &picked.entry, digest, 0);
        return Ok(());
    }
    let mut items: Vec<Item> = Vec::new();
    walk::<TreeError>(tree, picked, &mut |item| {
        items.push(item);
        Ok(())
    })?;
    let digests = items.par_iter().map(|item| content_digest(tree, &item.entry));
    let digests: Vec<Option<Digest>> = digests.collect::<Result<_, _>>()?;
    let groups = hard_links(&items);
    for ((item, digest), group) in items.iter().zip(digests).zip(groups) {
        hasher.update(b"I");
        put_bytes(hasher, &item.relative);
        hasher.update(&[u8::from(item.implied)]);
        put_thing(hasher, &item.entry, digest, group);
    }
    Ok(())
}

/// Numbers of the hard-link groups with two members at least, by first use; 0 for everything else.
fn hard_links(items: &[Item]) -> Vec<u32> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    for group in items.iter().filter_map(|item| item.entry.link_group) {
        *counts.entry(group).or_default() += 1;
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let number = |item: &Item| match item.entry.link_group {
        Some(group) if counts[&group] > 1 => {
            let next = numbers.len() as u32 + 1;
            *numbers.entry(group).or_insert(next)
        }
        _ => 0,
    };
    items.iter().map(number).collect()
}

fn content_digest(tree: &dyn Tree, entry: &Entry) -> Result<Option<Digest>, TreeError> {
    match &entry.kind {
        EntryKind::File { digest: Some(digest), .. } => Ok(Some(*digest)),
        EntryKind::File { .. } => tree.digest(&entry.path).map(Some),
        // What it becomes in the image (COPY-47).
        EntryKind::Socket => Ok(Some(Digest::of(b""))),
        _ => Ok(None),
    }
}

fn put_thing(hasher: &mut Hasher, entry: &Entry, digest: Option<Digest>, group: u32) {
    let kind = match &entry.kind {
        EntryKind::Directory { .. } => b'd',
        EntryKind::File { .. } | EntryKind::Socket => b'f',
        EntryKind::Symlink { .. } => b'l',
        EntryKind::CharDevice { .. } => b'c',
        EntryKind::BlockDevice { .. } => b'b',
        EntryKind::Fifo => b'p',
        EntryKind::Whiteout => b'w',
    };
    hasher.update(&[kind]);
    // A link's mode means nothing and differs between file systems.
    let mode = if kind == b'l' { 0o777 } else { entry.mode };
    for number in [mode, entry.uid, entry.gid] {
        hasher.update(&number.to_le_bytes());
    }
    if let Some(digest) = digest {
        hasher.update(digest.as_bytes());
    }
    match &entry.kind {
        EntryKind::Symlink { target } => put_bytes(hasher, target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            hasher.update(&major.to_le_bytes());
            hasher.update(&minor.to_le_bytes());
        }
        _ => {}
    }
    hasher.update(&(entry.xattrs.len() as u32).to_le_bytes());
    for (name, value) in &entry.xattrs {
        put_bytes(hasher, name);
        put_bytes(hasher, value);
    }
    hasher.update(&group.to_le_bytes());
}

fn put_bytes(hasher: &mut Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
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
