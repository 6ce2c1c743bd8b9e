//! The file system of the result as a directory of the calling user (OUT-30, OUT-31, OUT-36).
//!
//! Owns the rule that nothing is written outside the destination: every name is made below a descriptor of its parent
//! and no link is followed, whatever the image or an earlier output has put there (spec/security.md A).

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use layer::{Entry, EntryKind, Mtime};
use oci::Platform;
use progress::EventKind;
use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tree::Tree;

use crate::ExportError;
use crate::error::{Failure, write};
use crate::job::Job;
use crate::merge::{each_entry, places};

/// How a directory is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DirOptions {
    /// One directory for each platform; `None` for when there are several.
    pub split: Option<bool>,
    /// Remove what the result does not have (`mode=delete`).
    pub delete: bool,
    /// The time of everything written (EPO-14).
    pub epoch: Option<i64>,
}

/// Writes trees into a directory, which is made if need be. Files replace what has their name, by rename.
pub fn write_directory(
    trees: &[(Platform, &dyn Tree)],
    dest: &Path,
    options: &DirOptions,
    job: Job,
) -> Result<(), ExportError> {
    let shown = dest.display().to_string();
    let places = places(trees, options.split)?;
    fs::create_dir_all(dest).map_err(write(&shown))?;
    let root = OwnedFd::from(File::open(dest).map_err(write(&shown))?);
    let mut kept: HashSet<Vec<u8>> = HashSet::new();
    for ((_, tree), place) in trees.iter().zip(&places) {
        if place.is_empty() {
            write_tree(*tree, root.as_fd(), options, job, &mut kept)?;
        } else {
            make_dir(root.as_fd(), place.as_bytes())?;
            let sub = open_dir(root.as_fd(), place.as_bytes())?;
            let mut own = HashSet::new();
            write_tree(*tree, sub.as_fd(), options, job, &mut own)?;
            kept.extend(own.iter().map(|path| tree::join(place.as_bytes(), path)));
            kept.insert(place.as_bytes().to_vec());
        }
    }
    if options.delete { remove_others(root.as_fd(), &kept) } else { Ok(()) }
}

/// Writes one tree. Directories come first, open for us; contents on all cores; then further names; modes and times of
/// directories last, the deepest first, as every entry in them changes theirs.
fn write_tree(
    tree: &dyn Tree,
    root: BorrowedFd,
    options: &DirOptions,
    job: Job,
    kept: &mut HashSet<Vec<u8>>,
) -> Result<(), ExportError> {
    let mut dirs: Vec<Entry> = Vec::new();
    let mut files: Vec<Entry> = Vec::new();
    let mut links: Vec<(Entry, Vec<u8>)> = Vec::new();
    let mut first_names: HashMap<u32, Vec<u8>> = HashMap::new();
    each_entry(tree, &mut |mut entry| {
        job.check()?;
        if let Some(secs) = options.epoch {
            entry.mtime = Mtime { secs, nanos: 0 };
        }
        kept.insert(entry.path.clone());
        if let Some(group) = entry.link_group {
            if let Some(first) = first_names.get(&group) {
                links.push((entry, first.clone()));
                return Ok(());
            }
            first_names.insert(group, entry.path.clone());
        }
        match entry.kind {
            EntryKind::Directory { .. } => {
                make_dir(root, &entry.path)?;
                dirs.push(entry);
            }
            EntryKind::File { .. } => files.push(entry),
            EntryKind::Socket | EntryKind::Whiteout => {}
            _ => make_special(root, &entry, job)?,
        }
        Ok(())
    })?;
    write_files(tree, root, &files, job)?;
    for (entry, first) in &links {
        make_link(root, entry, first)?;
    }
    for entry in dirs.iter().rev() {
        let dir = open_dir(root, &entry.path)?;
        finish(dir.as_fd(), entry)?;
    }
    Ok(())
}

fn write_files(
    tree: &dyn Tree,
    root: BorrowedFd,
    files: &[Entry],
    job: Job,
) -> Result<(), ExportError> {
    let total: u64 = files.iter().map(size_of).sum();
    let done = AtomicU64::new(0);
    let told = Mutex::new(0u64);
    files.par_iter().try_for_each(|entry| {
        job.check()?;
        write_one(tree, root, entry)?;
        let now = done.fetch_add(size_of(entry), Ordering::Relaxed) + size_of(entry);
        // Whoever finds the lock taken leaves the telling to the other.
        if let Ok(mut told) = told.try_lock()
            && now >= *told + (8 << 20)
        {
            *told = now;
            job.transferred("files", now, total);
        }
        Ok::<(), ExportError>(())
    })?;
    if total > 0 {
        job.transferred("files", total, total);
    }
    Ok(())
}

fn size_of(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size_bytes, .. } => size_bytes,
        _ => 0,
    }
}

/// Copies a file's content beside its name and renames it there.
fn write_one(tree: &dyn Tree, root: BorrowedFd, entry: &Entry) -> Result<(), ExportError> {
    let mut source = tree.open(&entry.path)?;
    let parent = open_dir(root, entry.parent())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let temp = temp_name(entry.name());
    let fd = rustix::fs::openat(&parent, &temp[..], flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| at("create", &entry.path, errno))?;
    let mut file = File::from(fd);
    let result = io::copy(&mut source, &mut file)
        .map_err(|source| {
            let path = entry.path.clone();
            ExportError::from(Failure::TreeFile { operation: "write", path, source })
        })
        .and_then(|_| finish(file.as_fd(), entry))
        .and_then(|()| replace(parent.as_fd(), &temp, entry));
    if result.is_err() {
        // The error that led here says more than a failure to clean up.
        let _ = rustix::fs::unlinkat(&parent, &temp[..], AtFlags::empty());
    }
    result
}

/// Moves a finished temporary name to its place, also where a directory is.
fn replace(parent: BorrowedFd, temp: &[u8], entry: &Entry) -> Result<(), ExportError> {
    let name = entry.name();
    match rustix::fs::renameat(parent, temp, parent, name) {
        Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
            remove(parent, name, &entry.path)?;
            rustix::fs::renameat(parent, temp, parent, name)
        }
        other => other,
    }
    .map_err(|errno| at("rename to", &entry.path, errno))
}

/// Mode and times. Owners stay the calling user's (OUT-30).
fn finish(fd: BorrowedFd, entry: &Entry) -> Result<(), ExportError> {
    rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode))
        .map_err(|errno| at("change the mode of", &entry.path, errno))?;
    rustix::fs::futimens(fd, &times(entry))
        .map_err(|errno| at("change the time of", &entry.path, errno))
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.secs, tv_nsec: entry.mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// Makes a directory that we can write to, in the place of anything that is none.
fn make_dir(root: BorrowedFd, path: &[u8]) -> Result<(), ExportError> {
    let (parent_path, name) = split(path);
    let parent = open_dir(root, parent_path)?;
    let private = Mode::from_raw_mode(0o700);
    let fail = |errno| at("make directory", path, errno);
    match rustix::fs::mkdirat(&parent, name, private) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        remove(parent.as_fd(), name, path)?;
        return rustix::fs::mkdirat(&parent, name, private).map_err(fail);
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    if mode.contains(Mode::RWXU) {
        return Ok(());
    }
    // A directory of an earlier output may be closed even to its owner.
    let open_mode = mode | Mode::RWXU;
    rustix::fs::chmodat(&parent, name, open_mode, AtFlags::empty()).map_err(fail)
}

fn make_special(root: BorrowedFd, entry: &Entry, job: Job) -> Result<(), ExportError> {
    let parent = open_dir(root, entry.parent())?;
    let temp = temp_name(entry.name());
    let mode = Mode::from_raw_mode(entry.mode);
    let node = |kind: FileType, major: u32, minor: u32| {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(&parent, &temp[..], kind, mode, device)
    };
    let made = match &entry.kind {
        EntryKind::Symlink { target } => rustix::fs::symlinkat(&target[..], &parent, &temp[..]),
        EntryKind::Fifo => node(FileType::Fifo, 0, 0),
        EntryKind::CharDevice { major, minor } => node(FileType::CharacterDevice, *major, *minor),
        EntryKind::BlockDevice { major, minor } => node(FileType::BlockDevice, *major, *minor),
        EntryKind::Directory { .. }
        | EntryKind::File { .. }
        | EntryKind::Socket
        | EntryKind::Whiteout => return Ok(()),
    };
    match made {
        Ok(()) => {}
        // OUT-30: as far as permitted.
        Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if is_device(entry) => {
            let path = crate::error::show(&entry.path);
            let message = format!("device `{path}` is left out: making it is not permitted here");
            job.events.emit(EventKind::Warning { vertex: Some(job.vertex), message });
            return Ok(());
        }
        Err(errno) => return Err(at("create", &entry.path, errno)),
    }
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        // The creation mask took bits away.
        rustix::fs::chmodat(&parent, &temp[..], mode, AtFlags::empty())
            .map_err(|errno| at("change the mode of", &entry.path, errno))?;
    }
    rustix::fs::utimensat(&parent, &temp[..], &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| at("change the time of", &entry.path, errno))?;
    replace(parent.as_fd(), &temp, entry)
}

fn is_device(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. })
}

fn make_link(root: BorrowedFd, entry: &Entry, first: &[u8]) -> Result<(), ExportError> {
    let (first_parent, first_name) = split(first);
    let from = open_dir(root, first_parent)?;
    let to = open_dir(root, entry.parent())?;
    let temp = temp_name(entry.name());
    rustix::fs::linkat(&from, first_name, &to, &temp[..], AtFlags::empty())
        .map_err(|errno| at("link", &entry.path, errno))?;
    replace(to.as_fd(), &temp, entry)?;
    // A rename of one name of a file to another one does nothing and leaves both.
    match rustix::fs::unlinkat(&to, &temp[..], AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(at("rename to", &entry.path, errno)),
    }
}

/// Removes what is not among `kept`, without entering what goes.
fn remove_others(root: BorrowedFd, kept: &HashSet<Vec<u8>>) -> Result<(), ExportError> {
    let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let dir = open_dir(root, &path)?;
        let fail = |errno| at("list", &path, errno);
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
            if !matches!(&name[..], b"." | b"..") {
                names.push(name);
            }
        }
        for name in names {
            let child = tree::join(&path, &name);
            if !kept.contains(&child) {
                remove(dir.as_fd(), &name, &child)?;
                continue;
            }
            let stat = rustix::fs::statat(&dir, &name[..], AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| at("look at", &child, errno))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                todo.push(child);
            }
        }
    }
    Ok(())
}

fn remove(parent: BorrowedFd, name: &[u8], path: &[u8]) -> Result<(), ExportError> {
    sys::remove_tree(parent, name).map_err(|source| {
        Failure::TreeFile { operation: "remove", path: path.to_vec(), source }.into()
    })
}

/// Opens a directory below the root, through directories alone.
fn open_dir(root: BorrowedFd, path: &[u8]) -> Result<OwnedFd, ExportError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let path_or_root: &[u8] = if path.is_empty() { b"." } else { path };
    sys::open_beneath(root, path_or_root, flags, Mode::empty()).map_err(|source| {
        Failure::TreeFile { operation: "open", path: path.to_vec(), source }.into()
    })
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// A name beside `name` that nothing else has: ours by the process, and counted.
fn temp_name(name: &[u8]) -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut out = format!(".{}-{number}.", std::process::id()).into_bytes();
    out.extend(&name[..name.len().min(200)]);
    out
}

fn at(operation: &'static str, path: &[u8], errno: Errno) -> ExportError {
    Failure::TreeFile { operation, path: path.to_vec(), source: errno.into() }.into()
}
