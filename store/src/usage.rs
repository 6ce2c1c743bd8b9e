//! How much disk the store takes: real blocks, counted rarely and estimated in between.
//!
//! A census walks what can change and knows the rest by heart: a layer never changes, so its size is measured once.
//! Its sum is in `usage`; whoever adds something appends its size to `usage-added`. Both are hints: a store without
//! them, or with wrong ones, is counted anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use graph::LayerId;
use layer::Toc;

use crate::disk::Disk;
use crate::error::{StoreError, at};
use crate::layout::{Store, locked};
use crate::lease::Lease;
use crate::seal;

const USAGE: &str = "usage";
const ADDED: &str = "usage-added";
const KIND: &str = "usage";
/// `usage-added` of this length is no hint any more; a census begins a new one.
const ADDED_MAX_BYTES: u64 = 64 << 10;
/// Some of what was added is never told: by builds that were killed, by tools in cache mounts. So a count gets old.
const COUNTED_MAX_SECS: i64 = 24 * 3600;
/// What the kernel's `st_blocks` counts.
const BLOCK_BYTES: u64 = 512;
/// What a small file takes where nobody has measured it.
const PAGE_BYTES: u64 = 4096;
/// Of a file system that a store may take when nobody has said how much.
const SHARE_OF_DISK: u64 = 5;
const DEFAULT_MIN_BYTES: u64 = 4 << 30;
const DEFAULT_MAX_BYTES: u64 = 64 << 30;

/// What the last census has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Of the store without its trash.
    pub(crate) total_bytes: u64,
    /// Of each layer, with all that belongs to it.
    pub(crate) layers: HashMap<LayerId, u64>,
    /// Of each cache mount directory, which may have grown since.
    pub(crate) mounts: BTreeMap<String, u64>,
}

impl Store {
    /// What the store takes on the disk without its trash, as far as it is known without counting; `None` when it was
    /// never counted, or a day before something was added last.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn estimated_bytes(&self) -> Result<Option<u64>, StoreError> {
        let Some(counted) = self.counted()? else { return Ok(None) };
        let added = self.disk().read(ADDED).map_err(at("read", ADDED))?.unwrap_or_default();
        if added.len() as u64 > ADDED_MAX_BYTES || self.is_count_old()? {
            return Ok(None);
        }
        let added = String::from_utf8_lossy(&added);
        let added: u64 = added.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
        Ok(Some(counted.total_bytes.saturating_add(added)))
    }

    /// The limit of a store for which nobody has set one: a fifth of the file system, at least 4 GiB, at most 64 GiB,
    /// and never more than three quarters of the file system.
    ///
    /// # Errors
    /// The file system does not say its size.
    pub fn default_max_bytes(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::fstatvfs(self.disk().root());
        let stat = stat.map_err(|e| at("look at", "the file system")(e.into()))?;
        Ok(default_max_bytes(stat.f_blocks.saturating_mul(stat.f_frsize)))
    }

    /// What this user may still write to the file system that the store is on.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::fstatvfs(self.disk().root());
        let stat = stat.map_err(|e| at("look at", "the file system")(e.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn is_count_old(&self) -> Result<bool, StoreError> {
        let time = |name| {
            let stat = self.disk().stat(name).map_err(at("look at", name))?;
            Ok::<_, StoreError>(stat.map(|stat| stat.st_mtime))
        };
        let (Some(counted), Some(added)) = (time(USAGE)?, time(ADDED)?) else { return Ok(false) };
        Ok(added - counted > COUNTED_MAX_SECS)
    }

    /// Length of what builds have told since the last count.
    pub(crate) fn told_length(&self) -> Result<usize, StoreError> {
        let stat = self.disk().stat(ADDED).map_err(at("look at", ADDED))?;
        Ok(stat.map_or(0, |stat| usize::try_from(stat.st_size).unwrap_or(0)))
    }

    pub(crate) fn counted(&self) -> Result<Option<Counted>, StoreError> {
        let bytes = self.disk().read(USAGE).map_err(at("read", USAGE))?;
        Ok(bytes.and_then(|bytes| parse(&bytes)))
    }
}

fn default_max_bytes(file_system_bytes: u64) -> u64 {
    let share = (file_system_bytes / SHARE_OF_DISK).clamp(DEFAULT_MIN_BYTES, DEFAULT_MAX_BYTES);
    // On a small disk something goes before the disk is full.
    share.min(file_system_bytes / 4 * 3)
}

impl Lease {
    /// Bytes that this lease has added to the store, estimated.
    pub fn added_bytes(&self) -> u64 {
        self.inner.added.bytes()
    }

    /// Tells others what this lease has added since it last did; `false` when that was nothing.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn tell_added(&self) -> Result<bool, StoreError> {
        let mut told = locked(&self.inner.added.told_bytes);
        let added = self.added_bytes();
        if added <= *told {
            return Ok(false);
        }
        let line = format!("{}\n", added - *told);
        self.disk().append(ADDED, line.as_bytes()).map_err(at("write", ADDED))?;
        *told = added;
        Ok(true)
    }

    /// Measures the cache mounts that this lease has used, which is when they grow, and adds what they have gained.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn count_mounts(&self) -> Result<(), StoreError> {
        let used = std::mem::take(&mut *locked(&self.inner.used_mounts));
        if used.is_empty() {
            return Ok(());
        }
        let before = self.store().counted()?.unwrap_or_default().mounts;
        for slot in used {
            let now = blocks_below(&self.disk().path(&slot), &mut HashSet::new());
            self.note_added(now.saturating_sub(before.get(&slot).copied().unwrap_or(0)));
        }
        Ok(())
    }

    /// Has `call` called each time that this lease has added so many bytes more. It must not wait for anything. Only
    /// the first call of this counts.
    pub fn watch_growth(&self, step_bytes: u64, call: impl Fn() + Send + Sync + 'static) {
        self.inner.added.watch(step_bytes, Box::new(call));
    }

    pub(crate) fn note_added(&self, bytes: u64) {
        self.inner.added.note(bytes);
    }

    /// A file of this length was added.
    pub(crate) fn note_added_file(&self, size_bytes: u64) {
        self.note_added(size_bytes.next_multiple_of(PAGE_BYTES));
    }

    /// Replaces the hints; only under `gc.lock`. What others have told since the count began, when `told_length` was
    /// [`Store::told_length`], is kept: it may count twice, until the next census.
    pub(crate) fn put_counted(
        &self,
        counted: &Counted,
        told_length: usize,
    ) -> Result<(), StoreError> {
        let told = self.disk().read(ADDED).map_err(at("read", ADDED))?.unwrap_or_default();
        self.publish(USAGE, &seal::seal(KIND, USAGE, &to_text(counted)), false)?;
        match told.get(told_length..) {
            Some(since) if !since.is_empty() => self.publish(ADDED, since, false),
            _ => self.disk().unlink(ADDED).map(drop).map_err(at("remove", ADDED)),
        }
    }
}

/// After a boot much of what was counted may be gone.
pub(crate) fn forget(disk: &Disk) -> io::Result<()> {
    disk.unlink(USAGE)?;
    disk.unlink(ADDED)?;
    Ok(())
}

/// What a layer of this content takes, roughly: no directory was looked at.
pub(crate) fn estimate_of(toc: &Toc) -> u64 {
    let directories = toc.entries().iter().filter(|entry| entry.is_dir()).count() as u64;
    layer::file_bytes(toc.entries(), PAGE_BYTES) + directories * PAGE_BYTES
}

/// Bytes of the blocks of everything at and below a path; each file once, however many names it has. What cannot be
/// read counts nothing. Does not leave the file system.
pub(crate) fn blocks_below(path: &Path, seen: &mut HashSet<(u64, u64)>) -> u64 {
    measure(path, seen).0
}

/// [`blocks_below`], and whether all of it could be read.
pub(crate) fn measure(path: &Path, seen: &mut HashSet<(u64, u64)>) -> (u64, bool) {
    let walk = walkdir::WalkDir::new(path).follow_links(false).same_file_system(true);
    let (mut total, mut is_whole) = (0, true);
    for metadata in walk.into_iter().map(|entry| entry.and_then(|entry| entry.metadata())) {
        let Ok(metadata) = metadata else {
            is_whole = false;
            continue;
        };
        let has_names = metadata.nlink() > 1 && !metadata.is_dir();
        if !has_names || seen.insert((metadata.dev(), metadata.ino())) {
            total += metadata.blocks() * BLOCK_BYTES;
        }
    }
    (total, is_whole)
}

/// Bytes of the blocks of one file or directory itself.
pub(crate) fn blocks_of(disk: &Disk, path: &str) -> io::Result<u64> {
    let stat = disk.stat(path)?;
    Ok(stat.map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK_BYTES))
}

fn to_text(counted: &Counted) -> Vec<u8> {
    let mut text = format!("{}\n", counted.total_bytes);
    for (id, bytes) in &counted.layers {
        let _ = writeln!(text, "{id} {bytes}");
    }
    for (slot, bytes) in &counted.mounts {
        let _ = writeln!(text, "{slot} {bytes}");
    }
    text.into_bytes()
}

/// `None` when the file is not whole.
fn parse(bytes: &[u8]) -> Option<Counted> {
    let body = std::str::from_utf8(seal::unseal(KIND, USAGE, bytes)?).ok()?;
    let mut lines = body.lines();
    let total_bytes = lines.next()?.parse().ok()?;
    let mut counted = Counted { total_bytes, ..Counted::default() };
    for line in lines {
        let (name, bytes) = line.split_once(' ')?;
        let bytes = bytes.parse().ok()?;
        match name.parse() {
            Ok(id) => drop(counted.layers.insert(id, bytes)),
            Err(_) => drop(counted.mounts.insert(name.to_owned(), bytes)),
        }
    }
    Some(counted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_may_take_a_fifth_within_bounds() {
        let gib = |n: u64| n << 30;
        let limits = [gib(1), gib(20), gib(100), gib(1000)].map(default_max_bytes);
        assert_eq!(limits, [gib(1) / 4 * 3, gib(4), gib(20), gib(64)]);
    }

    #[test]
    fn what_was_counted_comes_back_and_damage_is_absence() {
        let counted = Counted {
            total_bytes: 12,
            layers: HashMap::from([(LayerId(7), 4096), (LayerId(8), 0)]),
            mounts: BTreeMap::from([("cache-mounts/ab/0".to_owned(), 99)]),
        };
        let file = seal::seal(KIND, USAGE, &to_text(&counted));
        assert_eq!(parse(&file), Some(counted));
        assert_eq!(parse(&file[..file.len() - 1]), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn blocks_are_counted_once_for_each_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut seen = HashSet::new();
        let empty = blocks_below(dir.path(), &mut seen);
        std::fs::write(dir.path().join("a"), vec![1; 100_000]).expect("write");
        std::fs::hard_link(dir.path().join("a"), dir.path().join("b")).expect("link");
        let sparse = std::fs::File::create(dir.path().join("hole")).expect("a new file");
        sparse.set_len(1 << 30).expect("a hole");
        let full = blocks_below(dir.path(), &mut seen) - empty;
        assert!((100_000..300_000).contains(&full), "{full}");
        assert!(blocks_below(dir.path(), &mut seen) - empty < 8192, "they were seen before");
        assert!(measure(dir.path(), &mut HashSet::new()).1);
        assert_eq!(measure(&dir.path().join("none"), &mut seen), (0, false));
    }
}
