//! Unpacks a layer's tar into a directory of overlay form (security.md B1 to B8).
//!
//! Owns what a tar means above the layers below: implied parents, links to lower files, whiteouts. Every path is
//! resolved in the table that grows here, never by the kernel: symlinks of the same layer are followed inside the root,
//! what is below is not. So the directory is only ever reached by literal paths. Refuses to verify the result: the
//! caller compares the [`DiffId`].

mod pump;
mod tree;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::{DiffId, Hasher};
use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::content::open_file;
use crate::disk::{self, CAPABILITY, Maker};
use crate::normalize::normalize_unpacked;
use crate::overlay::{opaque_mark, whiteout};
use crate::{Entry, EntryKind, LayerError, TarEntry, TarKind, TarReader, Toc, lookup};
use pump::Pumped;
pub(crate) use tree::clean_name;
use tree::{Name, Tree};

const BUFFER_BYTES: usize = 128 * 1024;
/// A layer that unpacks to more is a bomb (security.md B9).
pub const SIZE_MAX_BYTES: u64 = 64 << 30;

/// How a tar is applied.
pub struct ApplyOptions<'a> {
    /// Write overlayfs's marks as `user.overlay.*`: in a user namespace (design D13).
    pub userxattr: bool,
    /// Leave all owners as they are: the namespace maps a single id. The table has the tar's owners nevertheless.
    pub owners_in_toc_only: bool,
    /// Opens the directory of a layer below by its index, for hard links to its files.
    /// `None`: not present; a link to one of its files is an error then.
    pub lower_dir: &'a dyn Fn(usize) -> Option<OwnedFd>,
}

/// What applying a tar gave.
#[derive(Debug)]
pub struct Applied {
    /// The table as the tar has it, with the parents that the tar implied, all digests known. Opaque directories are
    /// whiteouts by name, whiteouts of nothing are gone. What the tar repeats from below stays.
    pub toc: Toc,
    /// Digest of the whole uncompressed stream, what comes after the end of the tar included.
    pub diff_id: DiffId,
    /// Length of that stream.
    pub size_bytes: u64,
    /// Bytes in the files of all entries, hard links once.
    pub files_bytes: u64,
    /// Devices that a user namespace cannot make. They are in the table alone; a step does not see them (B7).
    pub toc_only: Vec<Vec<u8>>,
    /// Something but zeros came after the end of the tar. It was hashed and otherwise ignored (B4).
    pub has_trailing_data: bool,
}

/// Unpacks an uncompressed layer tar into `into`, an empty directory that nobody else changes, which becomes an overlay
/// lower directory above `below` (top first). Owners, modes and times of the tar are kept, of extended attributes only
/// `security.capability`. The entry of the root changes nothing. On an error `into` is left half filled.
pub fn apply_tar(
    tar: &mut (dyn Read + Send),
    into: BorrowedFd<'_>,
    below: &[&Toc],
    options: &ApplyOptions<'_>,
) -> Result<Applied, LayerError> {
    let mut apply = Apply::new(into, below, options)?;
    let pumped = pump::hashed(tar, SIZE_MAX_BYTES, |src| {
        let mut reader = TarReader::new(src);
        let mut files_bytes = 0_u64;
        while let Some(entry) = reader.next_entry()? {
            // Before a disk is filled with what will be too much.
            files_bytes = files_bytes.saturating_add(entry.size_bytes);
            if files_bytes > SIZE_MAX_BYTES {
                return Err(LayerError::entry(
                    &entry.name,
                    "the layer unpacks to more than 64 GiB",
                ));
            }
            apply.entry(entry, &mut reader)?;
        }
        Ok((reader.finish()?, files_bytes))
    });
    let Pumped { result: (has_trailing_data, files_bytes), diff_id, size_bytes } = pumped?;
    apply.finish_disk()?;
    let toc = normalize_unpacked(apply.tree.into_toc(), below)?;
    let toc_only = apply.toc_only;
    Ok(Applied { toc, diff_id, size_bytes, files_bytes, toc_only, has_trailing_data })
}

struct Apply<'a> {
    into: BorrowedFd<'a>,
    below: &'a [&'a Toc],
    options: &'a ApplyOptions<'a>,
    maker: Maker,
    tree: Tree,
    /// Names that the tar deletes below, and directories whose content it deletes.
    whiteouts: BTreeSet<Vec<u8>>,
    opaques: BTreeSet<Vec<u8>>,
    toc_only: Vec<Vec<u8>>,
    /// Names made from lower files that were linked to, by the lower path.
    copied: HashMap<Vec<u8>, Vec<u8>>,
    /// The directory that was used last.
    parent: Option<(Vec<u8>, OwnedFd)>,
    buffer: Vec<u8>,
}

impl<'a> Apply<'a> {
    fn new(
        into: BorrowedFd<'a>,
        below: &'a [&'a Toc],
        options: &'a ApplyOptions<'a>,
    ) -> Result<Apply<'a>, LayerError> {
        let stat = rustix::fs::fstat(into).map_err(|e| LayerError::file("look at", b"", e))?;
        let setgid = stat.st_mode & 0o2000 != 0;
        Ok(Apply {
            into,
            below,
            options,
            maker: Maker::new(setgid, options.owners_in_toc_only),
            tree: Tree::default(),
            whiteouts: BTreeSet::new(),
            opaques: BTreeSet::new(),
            toc_only: Vec::new(),
            copied: HashMap::new(),
            parent: None,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    fn entry(&mut self, entry: TarEntry, content: &mut dyn Read) -> Result<(), LayerError> {
        let bad = |reason| LayerError::entry(&entry.name, reason);
        let names = clean_name(&entry.name).map_err(bad)?;
        let Some((last, dirs)) = names.split_last() else {
            return match entry.kind {
                TarKind::Directory => Ok(()),
                _ => Err(bad("the root can only be a directory")),
            };
        };
        let name = match Name::of(dirs, last).map_err(bad)? {
            Name::Ignored => return Ok(()),
            Name::Plain => last.clone(),
            Name::Opaque => {
                let dir = self.directory(dirs, &entry.name)?;
                self.opaques.insert(dir);
                return Ok(());
            }
            Name::Whiteout(name) => {
                let dir = self.directory(dirs, &entry.name)?;
                self.whiteouts.insert(join(&dir, &name));
                return Ok(());
            }
        };
        let dir = self.directory(dirs, &entry.name)?;
        let path = join(&dir, &name);
        let is_dir = entry.kind == TarKind::Directory;
        if let Some(existing) = self.tree.get(&path) {
            if existing.is_dir() && is_dir {
                self.tree.set_metadata(&path, to_entry(entry, path.clone()));
                return Ok(());
            }
            if entry.kind == (TarKind::HardLink { target: path.clone() }) {
                return Ok(());
            }
            self.remove(&path)?;
        }
        match entry.kind {
            TarKind::HardLink { .. } => self.hard_link(entry, path),
            TarKind::Directory => self.make_dir(to_entry(entry, path)),
            TarKind::File => {
                let is_sparse = entry.is_sparse;
                self.make_file(to_entry(entry, path), content, is_sparse)
            }
            _ => self.make_special(to_entry(entry, path)),
        }
    }

    /// The directory that names lead to, in this layer; what is missing of it is made (implied parents).
    fn directory(&mut self, names: &[Vec<u8>], of: &[u8]) -> Result<Vec<u8>, LayerError> {
        let (dir, missing) =
            self.tree.resolve(names).map_err(|reason| LayerError::entry(of, reason))?;
        let mut path = dir;
        for name in missing {
            path = join(&path, &name);
            let lower = lookup(self.below, &path).map(|(_, entry)| entry);
            let implied = match lower {
                Some(entry) if entry.is_dir() => {
                    let kind = EntryKind::Directory { opaque: false };
                    Entry { path: path.clone(), kind, ..entry.clone() }
                }
                _ => implied_dir(path.clone()),
            };
            self.make_dir(implied)?;
        }
        Ok(path)
    }

    /// A descriptor of a directory of this layer.
    fn open_dir(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, LayerError> {
        if self.parent.as_ref().is_none_or(|(of, _)| of != path) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let fd = disk::open_beneath(self.into, path, flags)
                .map_err(|errno| LayerError::file("open", path, errno))?;
            self.parent = Some((path.to_vec(), fd));
        }
        let (_, fd) = self.parent.as_ref().expect("just set");
        Ok(fd.as_fd())
    }

    fn make_dir(&mut self, entry: Entry) -> Result<(), LayerError> {
        let parent = self.open_dir(entry.parent())?;
        // Its mode and owner come at the end: until then nothing inherits a group from it.
        rustix::fs::mkdirat(parent, entry.name(), Mode::RWXU)
            .map_err(|errno| LayerError::file("create", &entry.path, errno))?;
        self.tree.add(entry);
        Ok(())
    }

    fn make_file(
        &mut self,
        mut entry: Entry,
        content: &mut dyn Read,
        is_sparse: bool,
    ) -> Result<(), LayerError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let maker = self.maker;
        let parent = self.open_dir(entry.parent())?;
        let mut file = disk::create_file(parent, entry.name())
            .map_err(|errno| LayerError::file("create", &entry.path, errno))?;
        let mut hasher = Hasher::new();
        let mut out = disk::Filled { file: &mut file, is_sparse };
        let written = disk::copy_stream(content, &mut out, Some(&mut hasher), &mut buffer)
            .map_err(|error| match error {
                Ok(source) => LayerError::ReadTar { source },
                Err(source) => LayerError::file("write", &entry.path, source),
            })?;
        entry.kind = EntryKind::File { size_bytes: written, digest: Some(hasher.finish()) };
        disk::set_metadata(file.as_fd(), &entry, maker)
            .map_err(|errno| LayerError::file("set the metadata of", &entry.path, errno))?;
        self.buffer = buffer;
        self.tree.add(entry);
        Ok(())
    }

    fn make_special(&mut self, entry: Entry) -> Result<(), LayerError> {
        if let EntryKind::CharDevice { major: 0, minor: 0 } = entry.kind {
            return Err(LayerError::entry(
                &entry.path,
                "a character device 0:0 would delete what is below",
            ));
        }
        let maker = self.maker;
        let covers = lookup(self.below, &entry.path).is_some();
        let is_device =
            matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        let parent = self.open_dir(entry.parent())?;
        match disk::make_special(parent, entry.name(), &entry.kind) {
            Err(Errno::PERM) if is_device => {
                // A user namespace cannot make it: in the table alone, and nothing shows through.
                if covers {
                    disk::make_special(parent, entry.name(), &EntryKind::Whiteout)
                        .map_err(|errno| LayerError::file("create", &entry.path, errno))?;
                }
                self.toc_only.push(entry.path.clone());
                self.tree.add_toc_only(entry, covers);
                return Ok(());
            }
            made => made.map_err(|errno| LayerError::file("create", &entry.path, errno))?,
        }
        disk::set_special_metadata(parent, entry.name(), &entry, maker)
            .map_err(|errno| LayerError::file("set the metadata of", &entry.path, errno))?;
        self.tree.add(entry);
        Ok(())
    }

    fn hard_link(&mut self, link: TarEntry, path: Vec<u8>) -> Result<(), LayerError> {
        let bad = |reason| LayerError::entry(&link.name, reason);
        let TarKind::HardLink { target } = &link.kind else { return Ok(()) };
        let names = clean_name(target).map_err(bad)?;
        let (last, dirs) = names.split_last().ok_or_else(|| bad("a hard link to the root"))?;
        let (dir, missing) = self.tree.resolve(dirs).map_err(bad)?;
        let dir = missing.iter().fold(dir, |dir, name| join(&dir, name));
        let target = join(&dir, last);
        let target = self.copied.get(&target).cloned().unwrap_or(target);
        match self.tree.get(&target) {
            Some(found) if found.is_dir() => Err(bad("a hard link to a directory")),
            Some(_) if self.tree.is_toc_only(&target) => {
                self.tree.link(&target, path);
                Ok(())
            }
            Some(_) => {
                self.link_on_disk(&target, &path)?;
                self.tree.link(&target, path.clone());
                self.follow_metadata(link, path)
            }
            None => self.copy_up(&target, path, &link),
        }
    }

    fn link_on_disk(&mut self, target: &[u8], path: &[u8]) -> Result<(), LayerError> {
        let (target_dir, target_name) = split(target);
        let (dir, name) = split(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let from = disk::open_beneath(self.into, target_dir, flags)
            .map_err(|errno| LayerError::file("open", target_dir, errno))?;
        let to = self.open_dir(dir)?;
        rustix::fs::linkat(from, target_name, to, name, AtFlags::empty())
            .map_err(|errno| LayerError::file("link", path, errno))
    }

    /// A link's header has metadata too; where it differs the last one counts, as in other engines.
    fn follow_metadata(&mut self, link: TarEntry, path: Vec<u8>) -> Result<(), LayerError> {
        let Some(now) = self.tree.get(&path) else { return Ok(()) };
        let mut wanted = to_entry(link, path.clone());
        wanted.kind = now.kind.clone();
        wanted.xattrs.extend(now.xattrs.clone());
        if let EntryKind::Symlink { .. } = wanted.kind {
            wanted.mode = now.mode;
        }
        let same = |a: &Entry, b: &Entry| {
            (a.mode, a.uid, a.gid, a.mtime, &a.xattrs) == (b.mode, b.uid, b.gid, b.mtime, &b.xattrs)
        };
        if same(now, &wanted) {
            return Ok(());
        }
        let maker = Maker::new(true, self.options.owners_in_toc_only);
        let is_file = matches!(wanted.kind, EntryKind::File { .. });
        let parent = self.open_dir(wanted.parent())?;
        let done = match is_file {
            true => disk::open_beneath(parent, wanted.name(), disk::read_flags())
                .and_then(|fd| disk::set_metadata(fd.as_fd(), &wanted, maker)),
            false => disk::set_special_metadata(parent, wanted.name(), &wanted, maker),
        };
        done.map_err(|errno| LayerError::file("set the metadata of", &path, errno))?;
        self.tree.set_metadata(&path, wanted);
        Ok(())
    }

    /// A hard link to a file of a layer below: a copy of it, as a copy-up would make. The lower name itself does not
    /// change, so it needs no entry; further links to it are links to the copy.
    fn copy_up(&mut self, target: &[u8], path: Vec<u8>, link: &TarEntry) -> Result<(), LayerError> {
        let bad = |reason| LayerError::entry(&link.name, reason);
        let (layer, lower) = lookup(self.below, target)
            .ok_or_else(|| bad("a hard link to a name that is not there"))?;
        let entry = Entry { path: path.clone(), link_group: None, ..lower.clone() };
        match entry.kind {
            EntryKind::Directory { .. } => return Err(bad("a hard link to a directory")),
            EntryKind::File { .. } => {
                let dir = (self.options.lower_dir)(layer)
                    .ok_or_else(|| bad("a hard link into a layer that is not present"))?;
                let mut content = open_file(dir.as_fd(), &lower.path)?;
                self.make_file(entry, &mut content, false)?;
            }
            _ => self.make_special(entry)?,
        }
        self.copied.insert(target.to_vec(), path);
        Ok(())
    }

    /// Removes a name of this layer with all below it.
    fn remove(&mut self, path: &[u8]) -> Result<(), LayerError> {
        self.copied.retain(|_, copy| !tree::is_at_or_below(copy, path));
        if self.tree.is_on_disk(path) {
            let (dir, name) = split(path);
            let parent = self.open_dir(dir)?;
            disk::remove_tree(parent, name)
                .map_err(|errno| LayerError::file("remove", path, errno))?;
        }
        if self.parent.as_ref().is_some_and(|(of, _)| tree::is_at_or_below(of, path)) {
            self.parent = None;
        }
        self.toc_only.retain(|name| !tree::is_at_or_below(name, path));
        self.tree.remove(path);
        Ok(())
    }

    /// Writes overlayfs's marks, then the directories' metadata, children first.
    fn finish_disk(&mut self) -> Result<(), LayerError> {
        self.mark_opaque();
        for path in std::mem::take(&mut self.whiteouts) {
            let (dir, name) = split(&path);
            let has_dir = dir.is_empty() || self.tree.get(dir).is_some_and(Entry::is_dir);
            if self.tree.get(&path).is_some() || !has_dir || lookup(self.below, &path).is_none() {
                continue;
            }
            let parent = self.open_dir(dir)?;
            disk::make_special(parent, name, &EntryKind::Whiteout)
                .map_err(|errno| LayerError::file("delete", &path, errno))?;
            self.tree.add(whiteout(path));
        }
        for entry in self.tree.directories().rev() {
            self.finish_dir(entry)
                .map_err(|errno| LayerError::file("set the metadata of", &entry.path, errno))?;
        }
        self.finish_root()
    }

    /// Directories whose content below is deleted: by an opaque marker, or by a whiteout of a name that the layer has
    /// itself; in what order the tar had them does not matter (B5).
    fn mark_opaque(&mut self) {
        let gone = self.opaques.iter().chain(&self.whiteouts);
        let is_dir_below = |path: &[u8]| {
            path.is_empty() || lookup(self.below, path).is_some_and(|(_, entry)| entry.is_dir())
        };
        let marked: Vec<Vec<u8>> = gone.filter(|path| is_dir_below(path)).cloned().collect();
        for path in marked {
            self.tree.set_opaque(&path);
        }
        // The root has no entry that could be opaque: its names go one by one.
        if self.opaques.contains(&b""[..]) {
            let names = crate::children(self.below, b"");
            for (_, entry) in names {
                match self.tree.get(entry.name()) {
                    Some(_) => self.tree.set_opaque(entry.name()),
                    None => {
                        self.whiteouts.insert(entry.name().to_vec());
                    }
                }
            }
        }
    }

    fn finish_dir(&self, entry: &Entry) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = disk::open_beneath(self.into, &entry.path, flags)?;
        if let EntryKind::Directory { opaque: true } = entry.kind {
            let mark = opaque_mark(self.options.userxattr);
            rustix::fs::fsetxattr(&fd, mark, b"y", XattrFlags::empty())?;
        }
        disk::set_metadata(fd.as_fd(), entry, self.maker)
    }

    /// The root's time must not say when it was unpacked.
    fn finish_root(&self) -> Result<(), LayerError> {
        let fd = disk::open_beneath(self.into, b"", OFlags::RDONLY | OFlags::DIRECTORY);
        let epoch = rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: epoch, last_modification: epoch };
        fd.and_then(|fd| rustix::fs::futimens(fd, &times))
            .map_err(|errno| LayerError::file("set the metadata of", b"", errno))
    }
}

fn implied_dir(path: Vec<u8>) -> Entry {
    Entry::plain(&path, EntryKind::Directory { opaque: false })
}

/// A tar's entry as a layer has it: a plain path, only the attributes that stay, links with the one mode of links.
pub(crate) fn to_entry(entry: TarEntry, path: Vec<u8>) -> Entry {
    let TarEntry { name: _, kind, mode, uid, gid, size_bytes, mtime, mut xattrs, .. } = entry;
    xattrs.retain(|name, _| name == CAPABILITY);
    let kind = match kind {
        TarKind::File | TarKind::HardLink { .. } => EntryKind::File { size_bytes, digest: None },
        TarKind::Directory => EntryKind::Directory { opaque: false },
        TarKind::Symlink { target } => EntryKind::Symlink { target },
        TarKind::CharDevice { major, minor } => EntryKind::CharDevice { major, minor },
        TarKind::BlockDevice { major, minor } => EntryKind::BlockDevice { major, minor },
        TarKind::Fifo => EntryKind::Fifo,
    };
    let (mode, xattrs) = match kind {
        EntryKind::Symlink { .. } => (0o777, BTreeMap::new()),
        EntryKind::File { .. } | EntryKind::Directory { .. } => (mode, xattrs),
        _ => (mode, BTreeMap::new()),
    };
    Entry { path, kind, mode, uid, gid, mtime, xattrs, link_group: None }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        [] => name.to_vec(),
        dir => [dir, b"/", name].concat(),
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}
