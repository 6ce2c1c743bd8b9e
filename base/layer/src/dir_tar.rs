//! The tar of a directory that is no layer: the whole tree as it is, for somebody who unpacks it into an empty one.
//!
//! Owns the order of entries and what is left out: devices, sockets, all extended attributes but for
//! `security.capability`. Refuses to know what the directory is for. Nothing in it is followed. Names that mean
//! something in layers (`.wh.x`) are names like others here; times keep their nanoseconds, which build tools compare.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use oci::{Digest, Hasher};
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags};
use rustix::io::Errno;

use crate::disk::{self, CAPABILITY};
use crate::overlay::{Seen, group_links};
use crate::tar_write::BLOCK_BYTES;
use crate::{Entry, EntryKind, LayerError, Mtime, TarWriter, file_bytes};

/// What is in a directory, as [`scan_dir`] found it.
#[derive(Debug)]
pub struct DirScan {
    /// The directory itself first, then all below it, parents before children.
    entries: Vec<Entry>,
    /// What its regular files take in a tar, hard links once.
    pub size_bytes: u64,
    /// Devices and sockets, which no tar of it has.
    pub left_out: u64,
    /// Stands for names, metadata, change times and inodes: what has not been touched has an equal one.
    pub state: Digest,
}

impl DirScan {
    /// How many entries there are, the directory itself not counted.
    pub fn count(&self) -> u64 {
        self.entries.len() as u64 - 1
    }
}

/// Lists a directory and everything below. What vanishes meanwhile counts as [`LayerError::Changed`].
pub fn scan_dir(dir: BorrowedFd<'_>) -> Result<DirScan, LayerError> {
    let mut scan = Scan { root: dir, seen: Vec::new(), stamps: Vec::new(), left_out: 0 };
    scan.look(dir, b".", Vec::new())?;
    let mut at = 0;
    // Level by level: a step can nest directories so deep that recursion or open parents would run out.
    while at < scan.seen.len() {
        if scan.seen[at].entry.is_dir() {
            let path = scan.seen[at].entry.path.clone();
            scan.directory(&path)?;
        }
        at += 1;
    }
    let Scan { seen, mut stamps, left_out, .. } = scan;
    let mut all = seen;
    all.sort_unstable_by(|a, b| crate::compare_paths(&a.entry.path, &b.entry.path));
    stamps.sort_unstable();
    let mut hasher = Hasher::new();
    stamps.iter().for_each(|stamp| hasher.update(stamp));
    group_links(&mut all);
    let entries: Vec<Entry> = all.into_iter().map(|seen| seen.entry).collect();
    let size_bytes = file_bytes(&entries, BLOCK_BYTES);
    Ok(DirScan { entries, size_bytes, left_out, state: hasher.finish() })
}

/// Writes the tar of a directory. A file that is no longer what the scan saw is [`LayerError::Changed`].
pub fn write_dir_tar(
    dir: BorrowedFd<'_>,
    scan: &DirScan,
    out: &mut dyn Write,
) -> Result<(), LayerError> {
    let mut writer = TarWriter::new(out).exact_times();
    let mut first_names: HashMap<u32, &[u8]> = HashMap::new();
    for entry in &scan.entries {
        if let Some(group) = entry.link_group {
            if let Some(first) = first_names.get(&group) {
                writer.hard_link(entry, first)?;
                continue;
            }
            first_names.insert(group, &entry.path);
        }
        match entry.kind {
            EntryKind::File { .. } => write_file(dir, entry, &mut writer)?,
            _ => writer.header(entry)?,
        }
    }
    writer.finish()
}

fn write_file(
    dir: BorrowedFd<'_>,
    entry: &Entry,
    writer: &mut TarWriter<'_>,
) -> Result<(), LayerError> {
    let changed = || LayerError::Changed { path: entry.path.clone() };
    let fd = match disk::open_beneath(dir, &entry.path, disk::read_flags()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(changed()),
        opened => opened.map_err(|errno| LayerError::file("open", &entry.path, errno))?,
    };
    let mut file = File::from(fd);
    writer.entry(entry, Some(&mut file))?;
    let now = rustix::fs::fstat(&file)
        .map_err(|errno| LayerError::file("look at", &entry.path, errno))?;
    let nanos = u32::try_from(now.st_mtime_nsec).unwrap_or(0);
    let is_same = (now.st_mtime, nanos) == (entry.mtime.secs, entry.mtime.nanos);
    if is_same { Ok(()) } else { Err(changed()) }
}

struct Scan<'a> {
    root: BorrowedFd<'a>,
    seen: Vec<Seen>,
    stamps: Vec<Vec<u8>>,
    left_out: u64,
}

impl Scan<'_> {
    fn directory(&mut self, path: &[u8]) -> Result<(), LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = match disk::open_beneath(self.root, path, flags) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                return Err(LayerError::Changed { path: path.to_vec() });
            }
            opened => opened.map_err(|errno| LayerError::file("open", path, errno))?,
        };
        let names =
            disk::names_in(fd.as_fd()).map_err(|errno| LayerError::file("list", path, errno))?;
        for name in names {
            let name = name.to_bytes();
            let child = match path {
                [] => name.to_vec(),
                path => [path, b"/", name].concat(),
            };
            self.look(fd.as_fd(), name, child)?;
        }
        Ok(())
    }

    fn look(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> Result<(), LayerError> {
        let stat = rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        let stat = match stat {
            Err(Errno::NOENT) => return Err(LayerError::Changed { path }),
            stat => stat.map_err(|errno| LayerError::file("look at", &path, errno))?,
        };
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::Directory => EntryKind::Directory { opaque: false },
            FileType::RegularFile => EntryKind::File { size_bytes: stat.stx_size, digest: None },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .map_err(|errno| LayerError::file("read the link", &path, errno))?;
                EntryKind::Symlink { target: target.into_bytes() }
            }
            FileType::Fifo => EntryKind::Fifo,
            _ => {
                self.left_out += 1;
                return Ok(());
            }
        };
        let mut entry = Entry {
            path,
            kind,
            mode: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: Mtime { secs: stat.stx_mtime.tv_sec, nanos: stat.stx_mtime.tv_nsec },
            xattrs: std::collections::BTreeMap::new(),
            link_group: None,
        };
        self.capability(dir, name, &mut entry)?;
        self.stamps.push(stamp(&entry.path, &stat));
        let shared = stat.stx_nlink > 1 && !entry.is_dir();
        let inode = shared.then_some((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino));
        self.seen.push(Seen { entry, inode });
        Ok(())
    }

    fn capability(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        entry: &mut Entry,
    ) -> Result<(), LayerError> {
        // Only programs have them; looking at every file would double the time.
        if !matches!(entry.kind, EntryKind::File { .. }) || entry.mode & 0o111 == 0 {
            return Ok(());
        }
        let fail = |errno| LayerError::file("read the attributes of", &entry.path, errno);
        let listed = disk::list_xattrs(dir, name).map_err(fail)?;
        if listed.split(|b| *b == 0).any(|attribute| attribute == CAPABILITY) {
            let value = disk::get_xattr(dir, name, CAPABILITY).map_err(fail)?;
            entry.xattrs.insert(CAPABILITY.to_vec(), value);
        }
        Ok(())
    }
}

/// Everything of one name that changes when somebody touches it; the path first, so that they can be sorted.
fn stamp(path: &[u8], stat: &rustix::fs::Statx) -> Vec<u8> {
    let is_dir = FileType::from_raw_mode(stat.stx_mode.into()).is_dir();
    // How large a directory is on disk is the file system's affair.
    let size_bytes = if is_dir { 0 } else { stat.stx_size };
    let mut out = Vec::with_capacity(path.len() + 72);
    out.extend_from_slice(path);
    out.push(0);
    for number in [
        stat.stx_mode.into(),
        stat.stx_uid.into(),
        stat.stx_gid.into(),
        size_bytes,
        stat.stx_ino,
        stat.stx_mtime.tv_sec as u64,
        stat.stx_mtime.tv_nsec.into(),
        stat.stx_ctime.tv_sec as u64,
        stat.stx_ctime.tv_nsec.into(),
    ] {
        out.extend_from_slice(&u64::to_le_bytes(number));
    }
    out
}
