//! The table of contents of a layer (design D3): its entries in one fixed order.
//!
//! Owns the order of paths and the look-up in one table. Refuses to know how tables lie on each other (`stack`) and
//! how they are stored (`toc_format`).

use std::cmp::Ordering;

use oci::Digest;

use crate::{Entry, EntryKind};

/// The entries of a layer, sorted component by component, each by its bytes: a parent stands before its children and
/// a directory's descendants stand together. No path occurs twice. The root itself has no entry (IMG-24).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toc {
    entries: Vec<Entry>,
}

impl Toc {
    /// Sorts the entries; of several with one path the last stays. An entry for the root is dropped. Every entry's
    /// parent must be among them, else the entry is not found.
    pub fn from_entries(mut entries: Vec<Entry>) -> Toc {
        entries.retain(|entry| !entry.path.is_empty());
        let sorted = |pair: &[Entry]| compare_paths(&pair[0].path, &pair[1].path).is_lt();
        if !entries.windows(2).all(sorted) {
            entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
            entries.reverse();
            entries.dedup_by(|later, kept| later.path == kept.path);
            entries.reverse();
        }
        Toc { entries }
    }

    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries, taken out.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Whether the layer changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| compare_paths(&entry.path, path)).ok()?;
        Some(&self.entries[at])
    }

    /// The direct children of a directory in order; of the root for an empty path. Whiteouts are among them.
    pub fn children(&self, dir: &[u8]) -> impl Iterator<Item = &Entry> {
        DirRange::of(&self.entries, dir).children()
    }

    /// Everything below a directory in order, the directory itself not.
    pub fn below(&self, dir: &[u8]) -> &[Entry] {
        DirRange::of(&self.entries, dir).entries
    }

    /// Whether every regular file's digest is known.
    pub fn has_all_digests(&self) -> bool {
        self.entries.iter().all(|e| !matches!(e.kind, EntryKind::File { digest: None, .. }))
    }

    /// Notes digests that were found while files were read; `learned` names entries by index.
    pub fn learn(&mut self, learned: &[(usize, Digest)]) {
        for (at, found) in learned {
            if let Some(Entry { kind: EntryKind::File { digest, .. }, .. }) =
                self.entries.get_mut(*at)
            {
                *digest = Some(*found);
            }
        }
    }
}

/// The order of a table of contents: component by component, each by its bytes.
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    // A slash ends a component, so it sorts before every other byte; no name holds a zero byte.
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).position(|(x, y)| x != y) {
        Some(at) => rank(a[at]).cmp(&rank(b[at])),
        None => a.len().cmp(&b.len()),
    }
}

/// What lies below one directory of one table.
#[derive(Clone, Copy)]
pub(crate) struct DirRange<'a> {
    /// All descendants.
    pub(crate) entries: &'a [Entry],
    /// Bytes of their paths that are the directory's path and a slash.
    prefix: usize,
}

impl<'a> DirRange<'a> {
    pub(crate) fn root(toc: &'a Toc) -> DirRange<'a> {
        DirRange { entries: &toc.entries, prefix: 0 }
    }

    fn of(entries: &'a [Entry], dir: &[u8]) -> DirRange<'a> {
        let all = DirRange { entries, prefix: 0 };
        match dir {
            [] => all,
            dir => all.find(dir).map_or(DirRange { entries: &[], prefix: 0 }, |(_, range)| range),
        }
    }

    /// The child of that name and what lies below it.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&'a Entry, DirRange<'a>)> {
        let at = self
            .entries
            .binary_search_by(|entry| compare_paths(&entry.path[self.prefix..], name))
            .ok()?;
        Some((&self.entries[at], self.descend(at, name.len())))
    }

    /// What lies below the child at `at`.
    fn descend(&self, at: usize, name_len: usize) -> DirRange<'a> {
        let rest = &self.entries[at + 1..];
        let slash = self.prefix + name_len;
        let path = &self.entries[at].path;
        let inside = |entry: &Entry| {
            entry.path.get(slash) == Some(&b'/') && entry.path.starts_with(&path[..slash])
        };
        let len = match rest.first().is_some_and(inside) {
            true => rest.partition_point(inside),
            false => 0,
        };
        DirRange { entries: &rest[..len], prefix: slash + 1 }
    }

    /// The direct children in order.
    pub(crate) fn children(self) -> impl Iterator<Item = &'a Entry> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let entry = self.entries.get(at)?;
            let name = &entry.path[self.prefix..];
            let name_len = name.iter().position(|b| *b == b'/').unwrap_or(name.len());
            at += 1 + self.descend(at, name_len).entries.len();
            Some((entry, name_len == name.len()))
        })
        .filter_map(|(entry, direct)| direct.then_some(entry))
    }

    /// Bytes of a descendant's path before the part that is relative to the directory.
    pub(crate) fn prefix(&self) -> usize {
        self.prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dir, file};

    #[test]
    fn order_is_by_component() {
        let toc = Toc::from_entries(
            ["a-b", "a", "b", "a/x", "a.c", "a/x/y"]
                .map(|path| if path.len() == 1 { dir(path) } else { file(path, b"") })
                .to_vec(),
        );
        let paths: Vec<_> = toc.entries().iter().map(|e| e.path.clone()).collect();
        assert_eq!(paths, [&b"a"[..], b"a/x", b"a/x/y", b"a-b", b"a.c", b"b"]);
        let names = |dir: &[u8]| toc.children(dir).map(|e| e.path.clone()).collect::<Vec<_>>();
        assert_eq!(names(b""), [&b"a"[..], b"a-b", b"a.c", b"b"]);
        assert_eq!(names(b"a"), [b"a/x"]);
        assert_eq!(names(b"b"), [b""; 0]);
        assert_eq!(toc.below(b"a").len(), 2);
        assert!(toc.get(b"a/x/y").is_some() && toc.get(b"a/y").is_none());
    }

    #[test]
    fn last_of_equal_paths_wins() {
        let toc = Toc::from_entries(vec![file("f", b"one"), dir("d"), file("f", b"two")]);
        assert_eq!(toc.entries(), [dir("d"), file("f", b"two")]);
    }
}
