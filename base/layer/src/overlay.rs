//! The overlay form of a diff: what an upper directory says (design D3, D13).
//!
//! Owns overlayfs's marks: whiteouts, opaque directories, in both namespaces of attributes. Refuses to compare with
//! what lies below (`normalize`) and to read contents (`content`). One `statx` for each name; attributes are listed
//! once, and only of files and directories.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use oci::Digest;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, OFlags, Statx, StatxFlags};

use crate::disk::{self, CAPABILITY};
use crate::{Entry, EntryKind, LayerError, Mtime, Toc};

/// Names in one directory that one thread looks at.
const CHUNK: usize = 256;

/// Lists an overlay upper directory as it is: whiteouts, opaque marks, hard-link groups; digests only of empty files.
///
/// `userxattr` says which marks overlayfs wrote: `user.overlay.*` or `trusted.overlay.*`. Sockets are left out (B7),
/// of extended attributes only `security.capability` stays (INS-08). A name beginning with `.wh.` is an error (ADD-23).
pub fn scan_upper(dir: BorrowedFd<'_>, userxattr: bool) -> Result<Toc, LayerError> {
    let scan = Scan { root: dir, marks: Marks::of(userxattr) };
    let mut all: Vec<Seen> = Vec::new();
    let mut level: Vec<Vec<u8>> = vec![Vec::new()];
    while !level.is_empty() {
        // Level by level: a step can nest directories so deep that recursion or open parents would run out.
        let seen: Vec<Vec<Seen>> =
            level.par_iter().map(|path| scan.directory(path)).collect::<Result<_, _>>()?;
        let first_new = all.len();
        all.extend(seen.into_iter().flatten());
        let dirs = all[first_new..].iter().filter(|seen| seen.entry.is_dir());
        level = dirs.map(|seen| seen.entry.path.clone()).collect();
    }
    all.par_sort_unstable_by(|a, b| crate::compare_paths(&a.entry.path, &b.entry.path));
    group_links(&mut all);
    Ok(Toc::from_entries(all.into_iter().map(|seen| seen.entry).collect()))
}

struct Scan<'a> {
    root: BorrowedFd<'a>,
    marks: &'static Marks,
}

/// Names of the attributes that overlayfs writes.
struct Marks {
    opaque: &'static [u8],
    whiteout: &'static [u8],
}

impl Marks {
    fn of(userxattr: bool) -> &'static Marks {
        match userxattr {
            true => &Marks { opaque: b"user.overlay.opaque", whiteout: b"user.overlay.whiteout" },
            false => {
                &Marks { opaque: b"trusted.overlay.opaque", whiteout: b"trusted.overlay.whiteout" }
            }
        }
    }
}

/// The attribute that makes an upper directory opaque.
pub(crate) fn opaque_mark(userxattr: bool) -> &'static [u8] {
    Marks::of(userxattr).opaque
}

pub(crate) struct Seen {
    pub(crate) entry: Entry,
    /// Device and inode of a file with several names.
    pub(crate) inode: Option<(u32, u32, u64)>,
}

impl Scan<'_> {
    fn directory(&self, path: &[u8]) -> Result<Vec<Seen>, LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = disk::open_beneath(self.root, path, flags)
            .map_err(|errno| LayerError::file("open", path, errno))?;
        let names =
            disk::names_in(fd.as_fd()).map_err(|errno| LayerError::file("list", path, errno))?;
        let look = |names: &[_]| -> Result<Vec<Seen>, LayerError> {
            let mut seen = Vec::with_capacity(names.len());
            for name in names {
                seen.extend(self.name(fd.as_fd(), path, name)?);
            }
            Ok(seen)
        };
        if names.len() <= CHUNK {
            return look(&names);
        }
        let chunks: Vec<Vec<Seen>> = names.par_chunks(CHUNK).map(look).collect::<Result<_, _>>()?;
        Ok(chunks.into_iter().flatten().collect())
    }

    fn name<N: AsRef<CStr>>(
        &self,
        dir: BorrowedFd<'_>,
        dir_path: &[u8],
        name: N,
    ) -> Result<Option<Seen>, LayerError> {
        let name = name.as_ref();
        let path = match dir_path {
            [] => name.to_bytes().to_vec(),
            dir_path => [dir_path, b"/", name.to_bytes()].concat(),
        };
        if name.to_bytes().starts_with(b".wh.") {
            return Err(LayerError::ReservedName { path });
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS)
            .map_err(|errno| LayerError::file("look at", &path, errno))?;
        let Some(mut entry) = plain_entry(dir, name, &path, &stat)? else { return Ok(None) };
        if matches!(entry.kind, EntryKind::Directory { .. } | EntryKind::File { .. }) {
            self.read_xattrs(dir, name.to_bytes(), &mut entry)
                .map_err(|errno| LayerError::file("read the attributes of", &path, errno))?;
        }
        let shared = stat.stx_nlink > 1 && !entry.is_dir() && entry.kind != EntryKind::Whiteout;
        let inode = shared.then_some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino));
        Ok(Some(Seen { entry, inode }))
    }

    fn read_xattrs(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        entry: &mut Entry,
    ) -> rustix::io::Result<()> {
        let listed = disk::list_xattrs(dir, name)?;
        for attribute in listed.split(|b| *b == 0) {
            if attribute == CAPABILITY {
                let value = disk::get_xattr(dir, name, CAPABILITY)?;
                entry.xattrs.insert(CAPABILITY.to_vec(), value);
            } else if attribute == self.marks.opaque {
                // The value `x` only says that whiteouts in attribute form may be inside.
                if let EntryKind::Directory { opaque } = &mut entry.kind {
                    *opaque = disk::get_xattr(dir, name, self.marks.opaque)? == b"y";
                }
            } else if attribute == self.marks.whiteout
                && matches!(entry.kind, EntryKind::File { size_bytes: 0, .. })
            {
                *entry = whiteout(std::mem::take(&mut entry.path));
                break;
            }
        }
        Ok(())
    }
}

/// A deletion as every table has it: without mode, owner and time (IMG-29).
pub(crate) fn whiteout(path: Vec<u8>) -> Entry {
    Entry {
        path,
        kind: EntryKind::Whiteout,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: BTreeMap::new(),
        link_group: None,
    }
}

/// What `statx` says; `None` for a socket.
fn plain_entry(
    dir: BorrowedFd<'_>,
    name: &CStr,
    path: &[u8],
    stat: &Statx,
) -> Result<Option<Entry>, LayerError> {
    let device = rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor);
    let (major, minor) = (stat.stx_rdev_major, stat.stx_rdev_minor);
    let size_bytes = stat.stx_size;
    let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => EntryKind::Directory { opaque: false },
        FileType::RegularFile => {
            let digest = (size_bytes == 0).then(|| Digest::of(b""));
            EntryKind::File { size_bytes, digest }
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new())
                .map_err(|errno| LayerError::file("read the link", path, errno))?;
            EntryKind::Symlink { target: target.into_bytes() }
        }
        FileType::CharacterDevice if disk::is_whiteout_device(device) => {
            return Ok(Some(whiteout(path.to_vec())));
        }
        FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
        FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket | FileType::Unknown => return Ok(None),
    };
    Ok(Some(Entry {
        path: path.to_vec(),
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: Mtime { secs: stat.stx_mtime.tv_sec, nanos: stat.stx_mtime.tv_nsec },
        xattrs: BTreeMap::new(),
        link_group: None,
    }))
}

/// Numbers the groups in the order of their first names; a file whose other names are elsewhere has none.
pub(crate) fn group_links(all: &mut [Seen]) {
    let mut names: HashMap<(u32, u32, u64), u32> = HashMap::new();
    for inode in all.iter().filter_map(|seen| seen.inode) {
        *names.entry(inode).or_default() += 1;
    }
    let mut numbers: HashMap<(u32, u32, u64), u32> = HashMap::new();
    for seen in all {
        let Some(inode) = seen.inode.filter(|inode| names[inode] > 1) else { continue };
        let next = numbers.len() as u32;
        seen.entry.link_group = Some(*numbers.entry(inode).or_insert(next));
    }
}
