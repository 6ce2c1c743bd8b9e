//! A directory's content into the destination (COPY-40 to COPY-48, COPY-90 to COPY-95), many files at once.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer::Mtime;
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tree::{Item, Picked, Tree, walk};

use super::place::{dir_meta, last, make};
use super::root::{check_name, timestamps};
use super::{CopyError, Job};

/// Files of one directory that one thread takes at once.
const BATCH: usize = 64;

/// Fewer files than this are not worth other threads.
const PARALLEL_MIN: usize = 16;

/// A picked directory on its way into the image.
struct Merge<'a> {
    tree: &'a dyn Tree,
    items: Vec<Item>,
    /// The destination.
    into: OwnedFd,
    /// Its path in the image.
    path: Vec<u8>,
}

impl Job<'_> {
    /// Merges a picked directory into the destination: directories first, then files in parallel, then hard links,
    /// and times at the very end, for everything else changes them.
    pub(super) fn merge(&self, tree: &dyn Tree, picked: &Picked) -> Result<(), CopyError> {
        let dest = self.root.resolve(self.copy.dest.as_bytes())?;
        if dest.exists && !self.root.is_dir(&dest.path)? {
            return Err(CopyError::NotDirectory { path: dest.path }); // COPY-37
        }
        let mut items = Vec::new();
        walk::<CopyError>(tree, picked, &mut |item| {
            items.push(item);
            Ok(())
        })?;
        let into = self.make_dirs(&dest.path, self.dir_mode())?; // COPY-41
        let merge = Merge { tree, items, into, path: dest.path };
        for item in merge.items.iter().filter(|item| item.entry.is_dir()) {
            self.merge_dir(&merge, item)?;
        }
        self.merge_files(&merge)?;
        for item in merge.items.iter().rev().filter(|item| item.entry.is_dir() && !item.implied) {
            let dir = open_dir(&merge, &item.relative)?;
            let times = timestamps(Some(item.entry.mtime));
            let path = tree::join(&merge.path, &item.relative);
            rustix::fs::futimens(&dir, &times).map_err(CopyError::file("set times of", &path))?;
        }
        // COPY-42, COPY-94. The root of a stack of layers has no time that anybody recorded.
        let dated = !(picked.path.is_empty() && picked.entry.mtime == Mtime::default());
        let times = timestamps(dated.then_some(picked.entry.mtime));
        rustix::fs::futimens(&merge.into, &times)
            .map_err(CopyError::file("set times of", &merge.path))
    }

    /// A nested directory, new or not, becomes what the source's is (COPY-43). One that is only on the way to what is
    /// wanted and was there before gets the source's mode, whatever --chmod says, and keeps its owner (COPY-94).
    fn merge_dir(&self, merge: &Merge<'_>, item: &Item) -> Result<(), CopyError> {
        let path = tree::join(&merge.path, &item.relative);
        let name = last(&path);
        check_name(name, &path)?;
        let parent = open_dir(merge, parent_of(&item.relative))?;
        let made = match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(CopyError::file("mkdir", &path)(errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::empty()) {
            Ok(dir) if item.implied && !made => {
                let mode = Mode::from_raw_mode(item.entry.mode);
                rustix::fs::fchmod(&dir, mode).map_err(CopyError::file("change the mode of", &path))
            }
            Ok(dir) => dir_meta(&dir, &path, &self.meta(&item.entry, &path)),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(CopyError::NotDirectory { path }), // COPY-44
            Err(errno) => Err(CopyError::file("open", &path)(errno)),
        }
    }

    fn merge_files(&self, merge: &Merge<'_>) -> Result<(), CopyError> {
        let (files, links) = split_links(&merge.items);
        let mut dirs: HashMap<&[u8], Vec<&Item>> = HashMap::new();
        for item in &files {
            dirs.entry(parent_of(&item.relative)).or_default().push(item);
        }
        let batches: Vec<(&[u8], &[&Item])> = dirs
            .iter()
            .flat_map(|(dir, items)| items.chunks(BATCH).map(|batch| (*dir, batch)))
            .collect();
        let one = |(dir, batch): &(&[u8], &[&Item])| {
            let dir = open_dir(merge, dir)?;
            batch.iter().try_for_each(|item| {
                self.check_cancelled()?;
                let path = tree::join(&merge.path, &item.relative);
                self.put(merge.tree, &item.entry, &dir, &path)
            })
        };
        match files.len() < PARALLEL_MIN {
            true => batches.iter().try_for_each(one)?,
            false => batches.par_iter().try_for_each(one)?,
        }
        links.iter().try_for_each(|(first, item)| self.merge_link(merge, first, item))
    }

    /// A further name of a file that this copy has written (COPY-46).
    fn merge_link(&self, merge: &Merge<'_>, first: &Item, item: &Item) -> Result<(), CopyError> {
        let path = tree::join(&merge.path, &item.relative);
        check_name(last(&path), &path)?;
        let from = open_dir(merge, parent_of(&first.relative))?;
        let dir = open_dir(merge, parent_of(&item.relative))?;
        let (old, new) = (last(&first.relative), last(&path));
        make(&dir, &path, || rustix::fs::linkat(&from, old, &dir, new, AtFlags::empty()))?;
        // It has the first name's owner; this notes the owner where the kernel cannot.
        self.meta(&item.entry, &path);
        let known = {
            let mut notes = self.notes();
            let known = notes.digests.get(&tree::join(&merge.path, &first.relative)).copied();
            known.map(|digest| notes.digests.insert(path, digest));
            known
        };
        if let Some(digest) = known {
            merge.tree.learned(&item.entry, digest);
        }
        Ok(())
    }
}

/// Everything that is no directory: what is copied, and further names with the first one of their group.
fn split_links(items: &[Item]) -> (Vec<&Item>, Vec<(&Item, &Item)>) {
    let mut first_of: HashMap<u32, &Item> = HashMap::new();
    let (mut files, mut links) = (Vec::new(), Vec::new());
    for item in items.iter().filter(|item| !item.entry.is_dir()) {
        let first = item.entry.link_group.map(|group| *first_of.entry(group).or_insert(item));
        match first {
            Some(first) if first.relative != item.relative => links.push((first, item)),
            _ => files.push(item),
        }
    }
    (files, links)
}

fn parent_of(relative: &[u8]) -> &[u8] {
    relative.iter().rposition(|b| *b == b'/').map_or(&[], |at| &relative[..at])
}

/// Opens a directory of the destination that this copy has made or checked.
fn open_dir(merge: &Merge<'_>, relative: &[u8]) -> Result<OwnedFd, CopyError> {
    let into: BorrowedFd<'_> = merge.into.as_fd();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let dir = sys::open_beneath(into, relative, flags, Mode::empty());
    dir.map_err(|error| CopyError::file("open", &tree::join(&merge.path, relative))(error))
}
