//! What a tar has made so far: names, the files behind them, and how paths resolve among them.
//!
//! Owns the meaning of names in a tar. Refuses to touch a file.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use crate::{Entry, EntryKind, Toc};

/// Limits of security.md B9.
const NAME_MAX_BYTES: usize = 255;
const PATH_MAX_BYTES: usize = 4096;
const DEPTH_MAX: usize = 1024;
const ENTRIES_MAX: usize = 10_000_000;
const LINKS_MAX: usize = 255;

/// Splits a tar's name into components as the path of Go's `Clean` has them, kept inside the root: `..` goes up where
/// it can, leading slashes and dots mean nothing.
pub(crate) fn clean_name(name: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            part if part.len() > NAME_MAX_BYTES => return Err("a name of more than 255 bytes"),
            part if part.contains(&0) => return Err("a name with a zero byte"),
            part => names.push(part.to_vec()),
        }
    }
    if names.len() > DEPTH_MAX {
        return Err("more than 1024 directories deep");
    }
    match names.iter().map(|name| name.len() + 1).sum::<usize>() > PATH_MAX_BYTES {
        true => Err("a path of more than 4096 bytes"),
        false => Ok(names),
    }
}

/// What a name means in a layer tar (OCI image spec, "Whiteouts"; security.md B5).
pub(crate) enum Name {
    /// A name like any other.
    Plain,
    /// The name below is deleted.
    Whiteout(Vec<u8>),
    /// All that is below in the directory is deleted.
    Opaque,
    /// Bookkeeping of AUFS, which means nothing here.
    Ignored,
}

impl Name {
    pub(crate) fn of(dirs: &[Vec<u8>], last: &[u8]) -> Result<Name, &'static str> {
        if dirs.iter().any(|dir| dir.starts_with(b".wh..wh.")) {
            return Ok(Name::Ignored);
        }
        if dirs.iter().any(|dir| dir.starts_with(b".wh.")) {
            return Err("a directory whose name means a deletion");
        }
        match last.strip_prefix(b".wh.") {
            None => Ok(Name::Plain),
            Some(b".wh..opq") => Ok(Name::Opaque),
            Some(b"" | b"." | b"..") => Err("a deletion of no name"),
            Some(name) if name.starts_with(b".wh.") => Ok(Name::Ignored),
            Some(name) => Ok(Name::Whiteout(name.to_vec())),
        }
    }
}

/// Whether `path` is `top` or lies below it.
pub(crate) fn is_at_or_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The names of a layer in the making. Several names can be one file.
#[derive(Default)]
pub(crate) struct Tree {
    names: BTreeMap<Vec<u8>, usize>,
    files: Vec<Node>,
}

struct Node {
    /// Its path is that of the first name; the others' differ.
    entry: Entry,
    on_disk: bool,
    /// A device that could not be made.
    toc_only: bool,
}

impl Tree {
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.names.get(path).map(|at| &self.files[*at].entry)
    }

    pub(crate) fn is_on_disk(&self, path: &[u8]) -> bool {
        self.names.get(path).is_some_and(|at| self.files[*at].on_disk)
    }

    pub(crate) fn is_toc_only(&self, path: &[u8]) -> bool {
        self.names.get(path).is_some_and(|at| self.files[*at].toc_only)
    }

    pub(crate) fn add(&mut self, entry: Entry) {
        self.insert(entry, true, false);
    }

    /// Adds a device that could not be made; `on_disk` when a whiteout stands in its place.
    pub(crate) fn add_toc_only(&mut self, entry: Entry, on_disk: bool) {
        self.insert(entry, on_disk, true);
    }

    fn insert(&mut self, entry: Entry, on_disk: bool, toc_only: bool) {
        self.names.insert(entry.path.clone(), self.files.len());
        self.files.push(Node { entry, on_disk, toc_only });
    }

    /// Makes `path` a further name of `target`.
    pub(crate) fn link(&mut self, target: &[u8], path: Vec<u8>) {
        if let Some(at) = self.names.get(target).copied() {
            self.names.insert(path, at);
        }
    }

    /// Gives a file or directory the mode, owner, time and attributes of `from`.
    pub(crate) fn set_metadata(&mut self, path: &[u8], from: Entry) {
        if let Some(at) = self.names.get(path) {
            let entry = &mut self.files[*at].entry;
            let Entry { path: _, kind: _, mode, uid, gid, mtime, xattrs, link_group: _ } = from;
            (entry.mode, entry.uid, entry.gid) = (mode, uid, gid);
            (entry.mtime, entry.xattrs) = (mtime, xattrs);
        }
    }

    pub(crate) fn set_opaque(&mut self, path: &[u8]) {
        if let Some(at) = self.names.get(path)
            && let EntryKind::Directory { opaque } = &mut self.files[*at].entry.kind
        {
            *opaque = true;
        }
    }

    /// Forgets a name and all below it.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.names.remove(path);
        let (first, end) = ([path, b"/"].concat(), [path, b"0"].concat());
        let range = (Bound::Included(&first[..]), Bound::Excluded(&end[..]));
        let below: Vec<Vec<u8>> =
            self.names.range::<[u8], _>(range).map(|(name, _)| name.clone()).collect();
        for name in below {
            self.names.remove(&name);
        }
    }

    /// All directories, parents before children.
    pub(crate) fn directories(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.names.values().map(|at| &self.files[*at].entry).filter(|entry| entry.is_dir())
    }

    /// Follows names through directories and symlinks of this layer, inside the root. Returns the directory that is
    /// there and the names below it that are missing.
    pub(crate) fn resolve(
        &self,
        names: &[Vec<u8>],
    ) -> Result<(Vec<u8>, Vec<Vec<u8>>), &'static str> {
        if self.files.len() > ENTRIES_MAX {
            return Err("more than ten million entries");
        }
        let literal = names.join(&b'/');
        if self.get(&literal).is_some_and(Entry::is_dir) {
            return Ok((literal, Vec::new()));
        }
        let mut todo: VecDeque<Vec<u8>> = names.iter().cloned().collect();
        let mut at: Vec<Vec<u8>> = Vec::new();
        // How much of `at` is there; `..` of a link can lead back from what is not.
        let mut missing = 0;
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at.pop();
                    missing = usize::min(missing, at.len());
                    continue;
                }
                _ => at.push(name),
            }
            match self.get(&at.join(&b'/')).map(|entry| &entry.kind) {
                None => continue,
                Some(EntryKind::Directory { .. }) => missing = at.len(),
                Some(EntryKind::Symlink { target }) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err("too many symlinks on the way");
                    }
                    at.pop();
                    if target.starts_with(b"/") {
                        at.clear();
                        missing = 0;
                    }
                    for part in target.split(|b| *b == b'/').rev() {
                        todo.push_front(part.to_vec());
                    }
                }
                Some(_) => return Err("something on the way is no directory"),
            }
        }
        let names = at.split_off(missing.min(at.len()));
        Ok((at.join(&b'/'), names))
    }

    /// The raw table: hard-link groups of files with several names.
    pub(crate) fn into_toc(self) -> Toc {
        let mut counts: HashMap<usize, u32> = HashMap::new();
        for at in self.names.values() {
            *counts.entry(*at).or_default() += 1;
        }
        let entries = self.names.into_iter().map(|(path, at)| {
            let link_group = (counts[&at] > 1).then_some(at as u32);
            Entry { path, link_group, ..self.files[at].entry.clone() }
        });
        Toc::from_entries(entries.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dir, file, link};

    #[test]
    fn names_are_cleaned_into_the_root() {
        let cases: &[(&str, &str)] = &[
            ("a/b", "a/b"),
            ("/a//b/", "a/b"),
            ("./a/./b", "a/b"),
            ("../../a", "a"),
            ("a/../../b", "b"),
            ("a/..", ""),
            (".", ""),
            ("/", ""),
            ("", ""),
            ("a\\..\\b", "a\\..\\b"),
            ("...", "..."),
        ];
        for (name, path) in cases {
            let cleaned = clean_name(name.as_bytes()).unwrap().join(&b'/');
            assert_eq!(cleaned, path.as_bytes(), "{name}");
        }
        let long = [&[b'y'; 200][..], b"/"].concat();
        for bad in [vec![b'x'; 256], b"x/".repeat(1025), long.repeat(21)] {
            assert!(clean_name(&bad).is_err());
        }
    }

    #[test]
    fn resolution_stays_inside() {
        let mut tree = Tree::default();
        for entry in [
            dir("d"),
            dir("d/e"),
            file("f", b""),
            link("abs", "/d/e"),
            link("up", "../../../d"),
            link("d/back", ".."),
            link("loop", "loop"),
            link("gone", "not/here"),
            link("half", "d/new/../e"),
        ] {
            tree.add(entry);
        }
        type Expect = Result<(&'static str, &'static str), ()>;
        let cases: &[(&str, Expect)] = &[
            ("", Ok(("", ""))),
            ("d/e", Ok(("d/e", ""))),
            ("d/x/y", Ok(("d", "x/y"))),
            ("abs", Ok(("d/e", ""))),
            ("abs/x", Ok(("d/e", "x"))),
            ("up/e", Ok(("d/e", ""))),
            ("d/back/d/back/abs", Ok(("d/e", ""))),
            ("gone", Ok(("", "not/here"))),
            ("half", Ok(("d/e", ""))),
            ("f/x", Err(())),
            ("loop/x", Err(())),
        ];
        for (path, expect) in cases {
            let found = tree.resolve(&clean_name(path.as_bytes()).unwrap());
            let found = found.map(|(dir, missing)| (dir, missing.join(&b'/'))).map_err(|_| ());
            let expect = expect.map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec()));
            assert_eq!(found, expect, "{path}");
        }
    }
}
