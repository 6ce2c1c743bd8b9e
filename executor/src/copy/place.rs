//! Making single things: files, links, devices, with everything that is kept of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use layer::{Entry, EntryKind, Mtime};
use oci::Digest;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use tree::Tree;

use super::content::copy_content;
use super::root::{check_name, set_owner, timestamps};
use super::{CopyError, Job, mode};

/// What a thing gets besides its content.
pub(super) struct Meta<'a> {
    pub(super) mode: u32,
    /// `None` leaves the owner of the process.
    pub(super) owner: Option<(u32, u32)>,
    /// `None` leaves the time of its making.
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Job<'_> {
    /// What an entry becomes at a path under --chown and --chmod. What was noted of the path before is forgotten.
    pub(super) fn meta<'a>(&self, entry: &'a Entry, path: &[u8]) -> Meta<'a> {
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        let owner = self.owner_of(path, uid, gid);
        let mode = mode::of(self.copy.chmod.as_ref(), entry.mode, entry.is_dir());
        Meta { mode, owner, mtime: Some(entry.mtime), xattrs: Some(&entry.xattrs) }
    }

    /// Puts a thing that is no directory at a path, of which `dir` is the directory. What is there is replaced and
    /// never written through (COPY-45).
    pub(super) fn put(
        &self,
        tree: &dyn Tree,
        entry: &Entry,
        dir: impl AsFd,
        path: &[u8],
    ) -> Result<(), CopyError> {
        let name = last(path);
        check_name(name, path)?;
        let meta = self.meta(entry, path);
        match &entry.kind {
            EntryKind::File { size_bytes, digest } => {
                let known = digest.filter(|_| *size_bytes > 0);
                let digest = self.put_file(tree, (entry, known), &dir, path, &meta)?;
                self.notes().digests.insert(path.to_vec(), digest);
                Ok(())
            }
            EntryKind::Socket => write_bytes(dir, path, b"", &meta), // COPY-47
            EntryKind::Symlink { target } => {
                make(&dir, path, || rustix::fs::symlinkat(&target[..], &dir, name))?;
                link_meta(&dir, path, &meta)
            }
            EntryKind::CharDevice { major: 0, minor: 0 } | EntryKind::Whiteout => {
                Err(CopyError::WhiteoutDevice { path: path.to_vec() })
            }
            _ => self.put_special(entry, dir, path, &meta),
        }
    }

    /// Copies one file. `known` is its digest if the content cannot change: an empty file's is always known, but a
    /// context's file may have grown since it was listed.
    fn put_file(
        &self,
        tree: &dyn Tree,
        (entry, known): (&Entry, Option<Digest>),
        dir: impl AsFd,
        path: &[u8],
        meta: &Meta<'_>,
    ) -> Result<Digest, CopyError> {
        let mut from = tree.open(&entry.path)?;
        let mut to = create(&dir, path)?;
        let digest = copy_content(&mut from, &mut to, known, (&self.no_clone, self.cancel));
        let digest = match digest {
            Err(_) if self.cancel.is_cancelled() => return Err(CopyError::Cancelled),
            other => other.map_err(|source| CopyError::Content {
                from: entry.path.clone(),
                to: path.to_vec(),
                source,
            })?,
        };
        file_meta(&to, path, meta)?;
        if known.is_none() {
            tree.learned(entry, digest);
        }
        Ok(digest)
    }

    /// Makes a pipe or a device; where devices may not be made they are noted.
    fn put_special(
        &self,
        entry: &Entry,
        dir: impl AsFd,
        path: &[u8],
        meta: &Meta<'_>,
    ) -> Result<(), CopyError> {
        let (kind, device) = match entry.kind {
            EntryKind::CharDevice { major, minor } => {
                (FileType::CharacterDevice, makedev(major, minor))
            }
            EntryKind::BlockDevice { major, minor } => {
                (FileType::BlockDevice, makedev(major, minor))
            }
            _ => (FileType::Fifo, 0),
        };
        let mut refused = false;
        make(&dir, path, || {
            match rustix::fs::mknodat(&dir, last(path), kind, Mode::RUSR, device) {
                Err(Errno::PERM) if device != 0 && self.root.may_lack_devices() => refused = true,
                other => other?,
            }
            Ok(())
        })?;
        if !refused {
            return special_meta(&dir, path, meta);
        }
        let (uid, gid) = self.owner.unwrap_or((entry.uid, entry.gid));
        let device = Entry { path: path.to_vec(), mode: meta.mode, uid, gid, ..entry.clone() };
        self.notes().devices.insert(path.to_vec(), device);
        Ok(())
    }
}

/// Writes a new file from memory.
pub(super) fn write_bytes(
    dir: impl AsFd,
    path: &[u8],
    bytes: &[u8],
    meta: &Meta<'_>,
) -> Result<(), CopyError> {
    check_name(last(path), path)?;
    let mut file = create(&dir, path)?;
    file.write_all(bytes).map_err(CopyError::file("write", path))?;
    file_meta(&file, path, meta)
}

pub(super) fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or_default()
}

/// A new empty file that only we can open so far.
fn create(dir: impl AsFd, path: &[u8]) -> Result<File, CopyError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = None;
    make(&dir, path, || {
        file = Some(rustix::fs::openat(&dir, last(path), flags, mode)?);
        Ok(())
    })?;
    Ok(File::from(file.expect("make returns without error only after the call succeeded")))
}

/// Makes something; what is in the way is removed first, but no directory (COPY-44, COPY-45).
pub(super) fn make(
    dir: impl AsFd,
    path: &[u8],
    mut create: impl FnMut() -> Result<(), Errno>,
) -> Result<(), CopyError> {
    let first = create();
    if first != Err(Errno::EXIST) {
        return first.map_err(CopyError::file("create", path));
    }
    match rustix::fs::unlinkat(&dir, last(path), AtFlags::empty()) {
        Ok(()) => create().map_err(CopyError::file("create", path)),
        Err(Errno::ISDIR) => Err(CopyError::ReplaceDirectory { path: path.to_vec() }),
        Err(errno) => Err(CopyError::file("replace", path)(errno)),
    }
}

/// Owner first, for a change of owner takes set-id bits and capabilities away; the mode last (security.md B8).
fn file_meta(file: &File, path: &[u8], meta: &Meta<'_>) -> Result<(), CopyError> {
    own(file, path, meta)?;
    for (name, value) in meta.xattrs.into_iter().flatten() {
        sys::xattr::set(file, name, value).map_err(CopyError::file("set attributes of", path))?;
    }
    let mode = Mode::from_raw_mode(meta.mode);
    rustix::fs::fchmod(file, mode).map_err(CopyError::file("change the mode of", path))?;
    let times = timestamps(meta.mtime);
    rustix::fs::futimens(file, &times).map_err(CopyError::file("set times of", path))
}

/// A link has an owner and times and nothing else (COPY-52, COPY-61).
fn link_meta(dir: impl AsFd, path: &[u8], meta: &Meta<'_>) -> Result<(), CopyError> {
    let name = last(path);
    chown_at(&dir, path, meta)?;
    let times = timestamps(meta.mtime);
    rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(CopyError::file("set times of", path))
}

/// Devices and pipes are never opened (security.md B7). Nobody else works here, so the name is still what was made.
fn special_meta(dir: impl AsFd, path: &[u8], meta: &Meta<'_>) -> Result<(), CopyError> {
    chown_at(&dir, path, meta)?;
    let mode = Mode::from_raw_mode(meta.mode);
    rustix::fs::chmodat(&dir, last(path), mode, AtFlags::empty())
        .map_err(CopyError::file("change the mode of", path))?;
    let times = timestamps(meta.mtime);
    rustix::fs::utimensat(&dir, last(path), &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(CopyError::file("set times of", path))
}

fn own(fd: impl AsFd, path: &[u8], meta: &Meta<'_>) -> Result<(), CopyError> {
    let Some((uid, gid)) = meta.owner else { return Ok(()) };
    set_owner(fd, uid, gid).map_err(CopyError::file("change the owner of", path))
}

fn chown_at(dir: impl AsFd, path: &[u8], meta: &Meta<'_>) -> Result<(), CopyError> {
    let Some((uid, gid)) = meta.owner else { return Ok(()) };
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(&dir, last(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(CopyError::file("change the owner of", path))
}

/// Owner, attributes and mode of a directory.
pub(super) fn dir_meta(dir: impl AsFd, path: &[u8], meta: &Meta<'_>) -> Result<(), CopyError> {
    own(&dir, path, meta)?;
    for (name, value) in meta.xattrs.into_iter().flatten() {
        sys::xattr::set(&dir, name, value).map_err(CopyError::file("set attributes of", path))?;
    }
    let mode = Mode::from_raw_mode(meta.mode);
    rustix::fs::fchmod(&dir, mode).map_err(CopyError::file("change the mode of", path))
}
