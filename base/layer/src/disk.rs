//! System calls on layer directories, all relative to descriptors (security.md R1).
//!
//! Owns how a name is opened, made, given its metadata and removed. Refuses to know tars and tables. Paths are literal:
//! where a symlink stands in the way the call fails, except in [`open_in_root`].

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use oci::Hasher;
use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::{Entry, EntryKind, Mtime};

/// The one extended attribute that layers keep (INS-08).
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

const PATH_MAX_BYTES: usize = 4000;

/// Opens a literal path below `root`; an empty path is `root` itself.
pub(crate) fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    if path.len() <= PATH_MAX_BYTES {
        let path = if path.is_empty() { b"." } else { path };
        return rustix::fs::openat2(root, path, flags, Mode::empty(), resolve);
    }
    // A step can nest directories deeper than the kernel takes paths.
    let cut = path[..PATH_MAX_BYTES].iter().rposition(|b| *b == b'/').ok_or(Errno::NAMETOOLONG)?;
    let middle = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat2(root, &path[..cut], middle, Mode::empty(), resolve)?;
    open_beneath(dir.as_fd(), &path[cut + 1..], flags)
}

/// Opens a directory by a path whose symlinks, `..` and leading slashes stay in `root`.
pub(crate) fn open_in_root(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { b"." } else { path };
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // Somebody renamed something while the kernel looked at a `..`.
            Err(Errno::AGAIN) if tries < 100 => tries += 1,
            done => return done,
        }
    }
}

/// Reads a directory's names, in no order.
pub(crate) fn names_in(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut entries = rustix::fs::RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Lists extended attributes of a regular file or directory `name` in `dir`, zero after each.
pub(crate) fn list_xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = vec![0; 512];
    let proc_path = proc_path(dir, Some(name));
    loop {
        let listed = match rustix::fs::llistxattr(&proc_path[..], &mut buffer[..]) {
            // No proc file system here: the long way.
            Err(Errno::NOENT | Errno::NOTDIR) => {
                let fd = open_beneath(dir, name, read_flags())?;
                rustix::fs::flistxattr(fd, &mut buffer[..])
            }
            listed => listed,
        };
        match listed {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 8, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
    }
}

/// Reads one extended attribute of a regular file or directory.
pub(crate) fn get_xattr(
    dir: BorrowedFd<'_>,
    name: &[u8],
    attribute: &[u8],
) -> rustix::io::Result<Vec<u8>> {
    let fd = open_beneath(dir, name, read_flags())?;
    let mut value = vec![0; 64 * 1024];
    let len = rustix::fs::fgetxattr(fd, attribute, &mut value[..])?;
    value.truncate(len);
    Ok(value)
}

/// Flags for reading a file that may turn out to be anything.
pub(crate) fn read_flags() -> OFlags {
    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY
}

/// A name for what a descriptor has open; the last component is never followed by the calls it is used with.
fn proc_path(fd: BorrowedFd<'_>, name: Option<&[u8]>) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if let Some(name) = name {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

/// Makes a new regular file with mode 0600 (security.md B8: the final mode comes last).
pub(crate) fn create_file(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Copies `src` to its end into `out` and into a hash; returns the number of bytes. An error of `src` is `Err(Ok(_))`,
/// one of `out` is `Err(Err(_))`.
pub(crate) fn copy_stream(
    src: &mut dyn Read,
    out: &mut Filled<'_>,
    mut hasher: Option<&mut Hasher>,
    buffer: &mut [u8],
) -> Result<u64, Result<io::Error, io::Error>> {
    let mut total = 0;
    loop {
        let len = match src.read(buffer) {
            Ok(0) => {
                out.finish(total).map_err(Err)?;
                return Ok(total);
            }
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Ok(error)),
        };
        if let Some(hasher) = &mut hasher {
            hasher.update(&buffer[..len]);
        }
        out.write_at(&buffer[..len], total).map_err(Err)?;
        total += len as u64;
    }
}

/// A new file that is filled from its beginning to its end.
pub(crate) struct Filled<'a> {
    pub(crate) file: &'a mut File,
    /// Where there are only zeros it gets holes.
    pub(crate) is_sparse: bool,
}

/// A hole is as long as this, or several of it.
const HOLE_BYTES: u64 = 4096;

impl Filled<'_> {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if !self.is_sparse {
            return self.file.write_all(bytes);
        }
        let (mut rest, mut at) = (bytes, at);
        while !rest.is_empty() {
            let room = usize::try_from(HOLE_BYTES - at % HOLE_BYTES).unwrap_or(rest.len());
            let (block, behind) = rest.split_at(room.min(rest.len()));
            if block.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(block, at)?;
            }
            at += block.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Ends it where its content ends, be that in a hole.
    fn finish(&mut self, size_bytes: u64) -> io::Result<()> {
        if self.is_sparse { self.file.set_len(size_bytes) } else { Ok(()) }
    }
}

/// Who owns what this process makes.
#[derive(Clone, Copy)]
pub(crate) struct Maker {
    uid: u32,
    gid: u32,
    /// Always set the owner: a directory with the setgid bit may be above.
    always: bool,
    /// Never set the owner: the ids are not mapped.
    never: bool,
}

impl Maker {
    pub(crate) fn new(always: bool, never: bool) -> Maker {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Maker { uid, gid, always, never }
    }

    fn must_chown(self, entry: &Entry) -> bool {
        !self.never && (self.always || (self.uid, self.gid) != (entry.uid, entry.gid))
    }
}

/// Gives an open file or directory its metadata in the order of security.md B8: owner, xattrs, mode, time.
pub(crate) fn set_metadata(
    fd: BorrowedFd<'_>,
    entry: &Entry,
    maker: Maker,
) -> rustix::io::Result<()> {
    if maker.must_chown(entry) {
        rustix::fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    set_xattrs(fd, &entry.xattrs)?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    rustix::fs::futimens(fd, &timestamps(entry.mtime))
}

fn set_xattrs(fd: BorrowedFd<'_>, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> rustix::io::Result<()> {
    for (name, value) in xattrs {
        rustix::fs::fsetxattr(fd, &name[..], value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Gives a symlink, device or pipe its metadata without following it.
pub(crate) fn set_special_metadata(
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    maker: Maker,
) -> rustix::io::Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    if maker.must_chown(entry) {
        let [uid, gid] = [entry.uid, entry.gid];
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(parent, name, uid, gid, nofollow)?;
    }
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = open_beneath(parent, name, flags)?;
        let mode = Mode::from_raw_mode(entry.mode);
        rustix::fs::chmod(proc_path(fd.as_fd(), None), mode)?;
    }
    rustix::fs::utimensat(parent, name, &timestamps(entry.mtime), nofollow)
}

/// Makes a symlink, device, pipe or whiteout. Fails with `PERM` for a device in a user namespace.
pub(crate) fn make_special(
    parent: BorrowedFd<'_>,
    name: &[u8],
    kind: &EntryKind,
) -> rustix::io::Result<()> {
    let node = |file_type, major, minor| {
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(parent, name, file_type, mode, rustix::fs::makedev(major, minor))
    };
    match kind {
        EntryKind::Symlink { target } => rustix::fs::symlinkat(&target[..], parent, name),
        EntryKind::CharDevice { major, minor } => node(FileType::CharacterDevice, *major, *minor),
        EntryKind::BlockDevice { major, minor } => node(FileType::BlockDevice, *major, *minor),
        EntryKind::Whiteout => node(FileType::CharacterDevice, 0, 0),
        EntryKind::Fifo | EntryKind::Socket => node(FileType::Fifo, 0, 0),
        EntryKind::Directory { .. } | EntryKind::File { .. } => Err(Errno::INVAL),
    }
}

/// Sets the modification time of an open file or directory.
pub(crate) fn set_time(fd: BorrowedFd<'_>, mtime: Mtime) -> rustix::io::Result<()> {
    rustix::fs::futimens(fd, &timestamps(mtime))
}

fn timestamps(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Whether a device number is that of an overlay whiteout.
pub(crate) fn is_whiteout_device(device: Dev) -> bool {
    device == rustix::fs::makedev(0, 0)
}

/// Removes a name and all that is below it, without following anything (security.md A11). Any depth is fine.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        done => return done,
    }
    let open = |dir: BorrowedFd<'_>, name: &[u8]| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty())
    };
    // A directory at a time: what is in it is unlinked, subdirectories are moved up beside it. So neither the stack
    // nor the number of descriptors grows with the depth.
    let mut moved = 0u64;
    let top = open(parent, name)?;
    let mut todo: Vec<Vec<u8>> = unlink_files(top.as_fd())?;
    while let Some(dir_name) = todo.pop() {
        let dir = open(top.as_fd(), &dir_name)?;
        for inner in unlink_files(dir.as_fd())? {
            let unique = loop {
                moved += 1;
                let unique = format!(".removed-{moved}").into_bytes();
                match rustix::fs::statat(&top, &unique[..], AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => break unique,
                    Err(errno) => return Err(errno),
                    Ok(_) => continue,
                }
            };
            match rustix::fs::renameat(&dir, &inner[..], &top, &unique[..]) {
                Ok(()) => todo.push(unique),
                // A directory of a lower layer cannot be renamed on overlay (no redirects): go down instead.
                Err(Errno::XDEV) => remove_tree(dir.as_fd(), &inner)?,
                Err(errno) => return Err(errno),
            }
        }
        rustix::fs::unlinkat(&top, &dir_name[..], AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Unlinks all that is no directory and returns the names of the directories.
fn unlink_files(dir: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut dirs = Vec::new();
    for name in names_in(dir)? {
        match rustix::fs::unlinkat(dir, name.as_c_str(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::PERM) => dirs.push(name.into_bytes()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(dirs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn remove_tree_takes_deep_trees_and_follows_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let root = testing::open(temp.path());
        std::fs::create_dir_all(temp.path().join("t/a/b/c")).unwrap();
        std::fs::write(temp.path().join("t/a/f"), "x").unwrap();
        std::fs::write(temp.path().join("canary"), "x").unwrap();
        std::os::unix::fs::symlink("../../canary", temp.path().join("t/a/l")).unwrap();
        std::os::unix::fs::symlink("..", temp.path().join("t/up")).unwrap();
        let mut at = open_beneath(root.as_fd(), b"t/a/b/c", OFlags::RDONLY).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
            at = open_beneath(at.as_fd(), b"deeper", OFlags::RDONLY).unwrap();
        }
        let deep = [b"t/a/b/c".to_vec(), b"/deeper".repeat(3000)].concat();
        assert!(open_beneath(root.as_fd(), &deep, OFlags::RDONLY).is_ok(), "longer than PATH_MAX");
        drop(at);
        remove_tree(root.as_fd(), b"t").unwrap();
        assert!(!temp.path().join("t").exists() && temp.path().join("canary").exists());
        remove_tree(root.as_fd(), b"canary").unwrap();
        assert_eq!(remove_tree(root.as_fd(), b"canary"), Err(Errno::NOENT));
    }
}
