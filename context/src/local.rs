//! A directory of this machine as a tree: filtered, read in place, each directory once.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use layer::{Entry, Mtime};
use oci::{Digest, Hasher};
use pattern::{IgnoreRules, Matched};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use tree::{Tree, TreeError, join};

use crate::ContextError;
use crate::archive::CAPABILITY;
use crate::stat::{FileStat, file_clock};
use crate::stat_cache::StatCache;

/// How the files of a directory are to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Files are 0644 or 0755 and directories 0755, whatever the umask made them (ADD-58).
    pub plain_modes: bool,
    /// All times are this one.
    pub mtime: Option<Mtime>,
}

/// A directory context. Owners are 0:0 (COPY-50), extended attributes are left out, ignored paths do not exist.
/// What was seen once is answered the same way for the life of the tree.
pub struct LocalTree {
    root: OwnedFd,
    ignore: Option<IgnoreRules>,
    view: View,
    dirs: RwLock<HashMap<Vec<u8>, Arc<Vec<Found>>>>,
    /// Paths that were asked for without their directory being read.
    singles: RwLock<HashMap<Vec<u8>, Found>>,
    /// What a copy or a digest learnt.
    digests: RwLock<HashMap<Vec<u8>, Digest>>,
    groups: Mutex<HashMap<(u64, u64), u32>>,
    stats: StatCache,
}

/// A name in a directory.
#[derive(Clone)]
struct Found {
    name: Vec<u8>,
    stat: FileStat,
    target: Option<Vec<u8>>,
    /// The time before the status was asked for.
    seen_at: Mtime,
    /// The digest that the stat cache had for this status when the directory was read.
    known: Option<Digest>,
}

impl LocalTree {
    /// Opens a directory. `stat_cache` is the file that remembers digests; `None` remembers nothing.
    ///
    /// # Errors
    /// The directory is not there or cannot be opened.
    pub fn open(
        dir: &Path,
        ignore: Option<IgnoreRules>,
        stat_cache: Option<PathBuf>,
    ) -> Result<LocalTree, ContextError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty());
        let root = root.map_err(|e| ContextError::file("open context", dir)(e.into()))?;
        Ok(LocalTree::new(root, ignore, stat_cache, View::default()))
    }

    /// The same of a directory that is open already.
    pub fn new(
        root: OwnedFd,
        ignore: Option<IgnoreRules>,
        stat_cache: Option<PathBuf>,
        view: View,
    ) -> LocalTree {
        LocalTree {
            root,
            ignore: ignore.filter(|rules| !rules.is_empty()),
            view,
            dirs: RwLock::default(),
            singles: RwLock::default(),
            digests: RwLock::default(),
            groups: Mutex::default(),
            stats: StatCache::new(stat_cache),
        }
    }

    /// The root of the directory, ignored paths included; for the Dockerfile, which no rule hides (CTX-21).
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Writes the stat cache. Also done when the tree is dropped, then without telling errors: a cache that was not
    /// written costs time and nothing else.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> io::Result<()> {
        self.stats.save()
    }

    /// The content of a directory, read once. Digests are looked up here, where many threads are at it.
    fn read(&self, dir: &[u8]) -> Result<Arc<Vec<Found>>, TreeError> {
        let known = self.dirs.read().unwrap_or_else(|lock| lock.into_inner()).get(dir).cloned();
        if let Some(list) = known {
            return Ok(list);
        }
        let list = read_dir(self.root.as_fd(), dir);
        let mut list = list.map_err(|e| TreeError::new("read directory", dir, e))?;
        if let Some(rules) = &self.ignore {
            let parent = judge_path(rules, dir);
            list.retain(|found| self.is_visible(rules, &parent, &join(dir, &found.name), found));
        }
        for found in list.iter_mut().filter(|found| found.stat.is_file()) {
            found.known = self.stats.get(&found.stat);
        }
        let list = Arc::new(list);
        let mut dirs = self.dirs.write().unwrap_or_else(|lock| lock.into_inner());
        Ok(Arc::clone(dirs.entry(dir.to_vec()).or_insert(list)))
    }

    /// A hidden directory is there all the same when something in it is not hidden (IGN-14).
    fn is_visible(
        &self,
        rules: &IgnoreRules,
        parent: &Matched,
        path: &[u8],
        found: &Found,
    ) -> bool {
        if !rules.judge(parent, path).is_hidden() {
            return true;
        }
        found.stat.is_dir()
            && rules.may_have_exception_below(path)
            // What cannot be read has nothing to show; it is an error only when it is asked for (CTX-20).
            && self.read(path).is_ok_and(|list| !list.is_empty())
    }

    fn find(&self, path: &[u8]) -> Result<Option<Found>, TreeError> {
        let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b""[..], path),
        };
        let listed = self.dirs.read().unwrap_or_else(|lock| lock.into_inner()).get(dir).cloned();
        if let Some(list) = listed.filter(|_| !path.is_empty()) {
            let at = list.binary_search_by(|found| found.name.as_slice().cmp(name));
            return Ok(at.ok().map(|at| list[at].clone()));
        }
        let single = self.singles.read().unwrap_or_else(|lock| lock.into_inner());
        if let Some(found) = single.get(path) {
            return Ok(Some(found.clone()));
        }
        drop(single);
        let found = look(self.root.as_fd(), path, name);
        let Some(found) = found.map_err(|e| TreeError::new("look up", path, e))? else {
            return Ok(None);
        };
        let rules = self.ignore.as_ref().filter(|_| !path.is_empty());
        let visible = |rules| self.is_visible(rules, &judge_path(rules, dir), path, &found);
        if !rules.is_none_or(visible) {
            return Ok(None);
        }
        let mut singles = self.singles.write().unwrap_or_else(|lock| lock.into_inner());
        Ok(Some(singles.entry(path.to_vec()).or_insert(found).clone()))
    }

    fn entry_of(&self, path: Vec<u8>, found: &Found) -> Entry {
        let stat = &found.stat;
        let mode = match (self.view.plain_modes, stat.file_type()) {
            (true, FileType::RegularFile) if stat.mode & 0o111 == 0 => 0o644,
            (true, FileType::RegularFile | FileType::Directory) => 0o755,
            _ => stat.mode & 0o7777,
        };
        Entry {
            kind: stat.kind(found.target.as_deref()),
            mode,
            uid: 0,
            gid: 0,
            mtime: self.view.mtime.unwrap_or(stat.mtime),
            xattrs: self.capability(&path, found).into_iter().collect(),
            link_group: self.link_group(stat),
            path,
        }
    }

    /// Of extended attributes only a program's capabilities are part of the tree (INS-08). A file that the stat cache
    /// knows has none; three system calls for each program would be most of a cached build's work.
    fn capability(&self, path: &[u8], found: &Found) -> Option<(Vec<u8>, Vec<u8>)> {
        let stat = &found.stat;
        if !is_program(stat) || self.view.plain_modes {
            return None;
        }
        if found.known.is_some() || self.stats.get(stat).is_some() {
            return None;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = sys::open_beneath(self.root.as_fd(), path, flags, Mode::empty()).ok()?;
        let value = sys::xattr::get_path(&fd, CAPABILITY).ok()??;
        Some((CAPABILITY.to_vec(), value))
    }

    fn link_group(&self, stat: &FileStat) -> Option<u32> {
        if stat.links < 2 || stat.is_dir() {
            return None;
        }
        let mut groups = self.groups.lock().unwrap_or_else(|lock| lock.into_inner());
        let next = groups.len() as u32 + 1;
        Some(*groups.entry((stat.device, stat.inode)).or_insert(next))
    }

    fn open_file(&self, path: &[u8]) -> io::Result<(File, FileStat)> {
        // Never blocks, should a FIFO have taken the file's place.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = sys::open_beneath(self.root.as_fd(), path, flags, Mode::empty())?;
        let stat = FileStat::new(&rustix::fs::fstat(&fd)?);
        if stat.file_type() != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
        }
        Ok((File::from(fd), stat))
    }

    fn read_digest(&self, path: &[u8]) -> io::Result<Digest> {
        let read_at = file_clock();
        let (mut file, before) = self.open_file(path)?;
        if let Some(digest) = self.stats.get(&before) {
            return Ok(digest);
        }
        let mut hasher = Hasher::new();
        io::copy(&mut file, &mut hasher)?;
        let digest = hasher.finish();
        let is_plain =
            !is_program(&before) || sys::xattr::get(&file, CAPABILITY).is_ok_and(|v| v.is_none());
        let after = FileStat::new(&rustix::fs::fstat(&file)?);
        if is_plain && after.same_content(&before) {
            self.stats.put(&before, read_at, digest);
        }
        Ok(digest)
    }
}

impl Tree for LocalTree {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        Ok(self.find(path)?.map(|found| self.entry_of(path.to_vec(), &found)))
    }

    fn list(&self, dir: &[u8]) -> Result<Vec<(Entry, Option<Digest>)>, TreeError> {
        let list = self.read(dir)?;
        let learned = self.digests.read().unwrap_or_else(|lock| lock.into_inner());
        let with_digest = |found: &Found| {
            let path = join(dir, &found.name);
            // What a copy learnt counts more than what was remembered.
            let known = learned.get(&path).copied().or(found.known);
            (self.entry_of(path, found), known)
        };
        Ok(list.iter().map(with_digest).collect())
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        Ok(self.read(dir)?.iter().map(|found| found.name.clone()).collect())
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        let opened = self.open_file(path).map_err(|e| TreeError::new("open", path, e))?;
        Ok(opened.0)
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        let digests = self.digests.read().unwrap_or_else(|lock| lock.into_inner());
        if let Some(digest) = digests.get(path) {
            return Ok(*digest);
        }
        drop(digests);
        // The status that was seen may say it without opening the file.
        let seen = self.find(path)?.and_then(|found| self.stats.get(&found.stat));
        let digest = match seen {
            Some(digest) => digest,
            None => self.read_digest(path).map_err(|e| TreeError::new("read", path, e))?,
        };
        let mut digests = self.digests.write().unwrap_or_else(|lock| lock.into_inner());
        Ok(*digests.entry(path.to_vec()).or_insert(digest))
    }

    fn prefetch(&self, dir: &[u8]) {
        rayon::scope(|scope| self.prefetch_in(scope, dir.to_vec()));
    }

    fn learned(&self, entry: &Entry, digest: Digest) {
        let mut digests = self.digests.write().unwrap_or_else(|lock| lock.into_inner());
        digests.insert(entry.path.clone(), digest);
        drop(digests);
        if !entry.xattrs.is_empty() {
            return;
        }
        // Only what is still as it was seen before the copy may be remembered.
        let Ok(Some(seen)) = self.find(&entry.path) else { return };
        let now = look(self.root.as_fd(), &entry.path, &seen.name);
        if now.is_ok_and(|now| now.is_some_and(|now| now.stat.same_content(&seen.stat))) {
            self.stats.put(&seen.stat, seen.seen_at, digest);
        }
    }
}

impl LocalTree {
    fn prefetch_in<'scope>(&'scope self, scope: &rayon::Scope<'scope>, dir: Vec<u8>) {
        let Ok(list) = self.read(&dir) else { return };
        for found in list.iter().filter(|found| found.stat.is_dir()) {
            let path = join(&dir, &found.name);
            scope.spawn(move |scope| self.prefetch_in(scope, path));
        }
    }
}

impl Drop for LocalTree {
    fn drop(&mut self) {
        let _ = self.stats.save();
    }
}

fn is_program(stat: &FileStat) -> bool {
    stat.file_type() == FileType::RegularFile && stat.mode & 0o111 != 0
}

/// What the rules said of a directory, from the root on.
fn judge_path(rules: &IgnoreRules, dir: &[u8]) -> Matched {
    let ends = dir.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    let ends = ends.chain((!dir.is_empty()).then_some(dir.len()));
    ends.fold(Matched::default(), |parent, end| rules.judge(&parent, &dir[..end]))
}

/// Looks at one literal path; `None` when nothing is there, or a link is on the way.
fn look(root: BorrowedFd<'_>, path: &[u8], name: &[u8]) -> io::Result<Option<Found>> {
    let seen_at = file_clock();
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let fd = match sys::open_beneath(root, path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) => {
            return match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                _ => Err(error),
            };
        }
    };
    let stat = FileStat::new(&rustix::fs::fstat(&fd)?);
    let target = match stat.file_type() {
        FileType::Symlink => Some(rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes()),
        _ => None,
    };
    Ok(Some(Found { name: name.to_vec(), stat, target, seen_at, known: None }))
}

/// Everything in a directory, sorted. A name that vanishes while it is read was never there.
fn read_dir(root: BorrowedFd<'_>, dir: &[u8]) -> io::Result<Vec<Found>> {
    let seen_at = file_clock();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let fd = sys::open_beneath(root, dir, flags, Mode::empty())?;
    // Sorted before they are asked about: a name is smaller than what is found.
    let names = read_names(&fd)?;
    let mut names: Vec<&CStr> = names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .collect();
    names.sort_unstable();
    let mut list = Vec::with_capacity(names.len());
    for name in names {
        let stat = match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileStat::new(&stat),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let target = match stat.file_type() {
            FileType::Symlink => match rustix::fs::readlinkat(&fd, name, Vec::new()) {
                Ok(target) => Some(target.into_bytes()),
                Err(Errno::NOENT | Errno::INVAL) => continue,
                Err(errno) => return Err(errno.into()),
            },
            _ => None,
        };
        list.push(Found { name: name.to_bytes().to_vec(), stat, target, seen_at, known: None });
    }
    Ok(list)
}

/// The names in a directory, each with a zero behind it.
fn read_names(dir: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut names = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 32 << 10];
    let mut entries = RawDir::new(dir, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes_with_nul();
        if !matches!(name, b".\0" | b"..\0") {
            names.extend_from_slice(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
