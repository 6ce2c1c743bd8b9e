//! What people and exports ask of cache mounts: which there are, how large, in use or not; being rid of them.

use std::collections::HashSet;
use std::fs::File;
use std::io;

use oci::Digest;
use rustix::fs::{FlockOperation, Stat};
use serde::{Deserialize, Serialize};

use super::{CacheMount, CacheMountId, id};
use crate::disk::{self, Disk};
use crate::error::{StoreError, at};
use crate::flight::try_lock_named;
use crate::layout::Store;
use crate::lease::Lease;
use crate::{census, seal, trash, usage};

const BLOB_KIND: &str = "cache-mount-blob";

/// A cache mount and its directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMountInfo {
    /// [`CacheMountId::key`].
    pub key: Digest,
    /// What it is; `None` when the note on it is damaged.
    pub id: Option<CacheMountId>,
    /// One for each that were in use at the same time.
    pub dirs: Vec<CacheMountDir>,
}

/// One directory of a cache mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheMountDir {
    /// Bytes on disk.
    pub size_bytes: u64,
    /// Whether all of it could be read: files of other ids need their namespace.
    pub is_whole: bool,
    /// When a step last began to use it, in seconds since 1970.
    pub used_secs: i64,
    /// Whether somebody uses it now.
    pub in_use: bool,
}

/// What [`Store::clear_cache_mount`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Directories that went to trash.
    pub removed: usize,
    /// Directories that are in use and stay.
    pub in_use: usize,
}

/// The blob that a cache mount was last sent or received as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMountBlob {
    /// Stands for the content at that time (`layer::DirState`), in hexadecimal digits.
    pub state: String,
    /// How the blob was made, for whoever wants one made otherwise.
    pub form: String,
    /// Digest of the blob, in hexadecimal digits.
    pub digest: String,
    /// Length of the blob in bytes.
    pub size_bytes: u64,
}

impl Store {
    /// The cache mounts that have a directory, by their keys.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountInfo>, StoreError> {
        let disk = self.disk();
        let mut found = Vec::new();
        for name in disk.list("cache-mounts").map_err(at("list", "cache-mounts"))? {
            let Ok(key) = Digest::from_hex(&name) else { continue };
            let home = format!("cache-mounts/{name}");
            let about = id::about_path(&home);
            let note = disk.read(&about).map_err(at("read", about.as_str()))?;
            let id = note.and_then(|file| CacheMountId::unseal(&about, &file));
            let mut dirs = Vec::new();
            for slot in slots_in(disk, &home).map_err(at("list", home.as_str()))? {
                dirs.extend(look(disk, &home, &slot).map_err(at("look at", slot))?);
            }
            if !dirs.is_empty() {
                found.push(CacheMountInfo { key, id, dirs });
            }
        }
        Ok(found)
    }

    /// Moves the directories of a cache mount to trash, but for those that are in use. Waits for nobody.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn clear_cache_mount(&self, key: &Digest) -> Result<Cleared, StoreError> {
        let home = format!("cache-mounts/{}", key.hex());
        let mut cleared = Cleared::default();
        for slot in slots_in(self.disk(), &home).map_err(at("list", home.as_str()))? {
            match discard_unused(self.disk(), &slot, |_| true).map_err(at("remove", slot))? {
                true => cleared.removed += 1,
                false => cleared.in_use += 1,
            }
        }
        Ok(cleared)
    }
}

impl Lease {
    /// Opens the first directory of a cache mount for reading. `Err` of the inner result: a step is using it. Steps
    /// that share it may come in while it is open.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_cache_mount(
        &self,
        id: &CacheMountId,
    ) -> Result<Result<Option<CacheMount>, InUse>, StoreError> {
        let slots = slots_in(self.disk(), &id.home()).map_err(at("list", id.home()))?;
        let Some(slot) = slots.first() else { return Ok(Ok(None)) };
        let path = format!("{slot}.lock");
        let operation = FlockOperation::NonBlockingLockExclusive;
        let _probe = probe(self.disk(), &id.home()).map_err(at("lock", id.home()))?;
        let Some(lock) = try_lock_named(self.disk(), &path, operation)? else {
            return Ok(Err(InUse));
        };
        // Not atomic: a step may come in between, and then this is its directory.
        let operation = FlockOperation::NonBlockingLockShared;
        if !disk::try_lock(&lock, operation).map_err(at("lock", path))? {
            return Ok(Err(InUse));
        }
        if self.disk().stat(slot).map_err(at("look at", slot.as_str()))?.is_none() {
            return Ok(Ok(None));
        }
        Ok(Ok(Some(self.opened(slot, lock)?)))
    }

    /// Whether a cache mount has nothing in it: no directory, or an empty one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_cache_mount_empty(&self, id: &CacheMountId) -> Result<bool, StoreError> {
        for slot in slots_in(self.disk(), &id.home()).map_err(at("list", id.home()))? {
            let data = self.disk().path(&format!("{slot}/data"));
            match std::fs::read_dir(data).map(|mut entries| entries.next().is_none()) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e) if disk::is_absent(&e) => {}
                Err(e) => return Err(at("list", slot)(e)),
            }
        }
        Ok(true)
    }

    /// Notes which blob holds what is in a cache mount now.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_cache_mount_blob(
        &self,
        mount: &CacheMount,
        blob: &CacheMountBlob,
    ) -> Result<(), StoreError> {
        self.note_blob(&mount.slot, blob)
    }

    pub(super) fn note_blob(&self, slot: &str, blob: &CacheMountBlob) -> Result<(), StoreError> {
        let path = format!("{slot}.blob");
        self.publish(&path, &seal::seal_json(BLOB_KIND, &path, blob), false)
    }

    /// What was last noted.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn cache_mount_blob(
        &self,
        mount: &CacheMount,
    ) -> Result<Option<CacheMountBlob>, StoreError> {
        let path = format!("{}.blob", mount.slot);
        let file = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(file.and_then(|file| seal::unseal_json(BLOB_KIND, &path, &file)))
    }
}

/// A step is using the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse;

/// Held while somebody tries locks only to see whether they are free. Nobody does more under it than a rename.
pub(super) fn probe(disk: &Disk, home: &str) -> io::Result<File> {
    let file = disk.open_lock(&format!("{home}/probe"))?;
    disk::lock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Moves a directory to trash, unless somebody uses it, or `may_go` says no to how it is while nobody does; then
/// `false`.
pub(crate) fn discard_unused(
    disk: &Disk,
    slot: &str,
    may_go: impl FnOnce(Option<&Stat>) -> bool,
) -> io::Result<bool> {
    let Some((home, _)) = slot.rsplit_once('/') else { return Ok(false) };
    let _probe = probe(disk, home)?;
    let lock = disk.open_lock(&format!("{slot}.lock"))?;
    let is_free = disk::try_lock(&lock, FlockOperation::NonBlockingLockExclusive)?
        && may_go(disk.stat(slot)?.as_ref());
    if is_free {
        trash::discard(disk, slot)?;
    }
    Ok(is_free)
}

/// All directories of all cache mounts, below the store's root.
pub(crate) fn slots(disk: &Disk) -> io::Result<Vec<String>> {
    let mut slots = Vec::new();
    for home in census::in_dir(disk, "cache-mounts")? {
        slots.extend(slots_in(disk, &home)?);
    }
    Ok(slots)
}

/// The directories of one cache mount, the first one first.
fn slots_in(disk: &Disk, home: &str) -> io::Result<Vec<String>> {
    let names = disk.list(home)?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers.into_iter().map(|number| format!("{home}/{number}")).collect())
}

fn look(disk: &Disk, home: &str, slot: &str) -> io::Result<Option<CacheMountDir>> {
    let Some(stat) = disk.stat(slot)? else { return Ok(None) };
    let in_use = {
        let _probe = probe(disk, home)?;
        let lock = disk.open_lock(&format!("{slot}.lock"))?;
        !disk::try_lock(&lock, FlockOperation::NonBlockingLockExclusive)?
    };
    let (size_bytes, is_whole) = usage::measure(&disk.path(slot), &mut HashSet::new());
    Ok(Some(CacheMountDir { size_bytes, is_whole, used_secs: stat.st_mtime, in_use }))
}
