//! Directories of `RUN --mount=type=cache`: `cache-mounts/<sha256 of the identity>/<n>/data`, with a lock `<n>.lock`
//! beside each. They are never part of a layer or key, and their content is the business of the tools that use them.
//!
//! Owns who may be in one at a time. Whoever only wants to know whether somebody is in holds `probe` while he tries the
//! locks: a step that is refused asks again under it, so that a look never costs a build its directory.

mod id;
mod manage;
mod prepared;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use graph::CacheSharing;
use rustix::fs::FlockOperation;

use crate::disk;
use crate::error::{StoreError, at};
use crate::flight::{Pause, try_lock_named};
use crate::layout::locked;
use crate::lease::Lease;
use crate::trash;

pub(crate) use id::about_path;
pub use id::{CacheMountId, CacheMountOwner};
pub use manage::{CacheMountBlob, CacheMountDir, CacheMountInfo, Cleared, InUse};
pub(crate) use manage::{discard_unused, slots};
pub use prepared::PreparedCacheMount;

/// Directories of one identity that are in use at once; more users wait.
const SIBLINGS_MAX: u32 = 64;

/// What a step wants.
#[derive(Clone, Copy, Debug)]
pub struct CacheMountRequest<'a> {
    /// Equal ones share (MNT-32).
    pub id: &'a CacheMountId,
    /// What happens with a second user at the same time (MNT-33).
    pub sharing: CacheSharing,
    /// Start with an empty directory (MNT-38).
    pub empty: bool,
}

/// A cache directory in use. Its lock is held until this is dropped.
#[derive(Debug)]
pub struct CacheMount {
    /// Of the directory around it, below the store's root.
    slot: String,
    path: PathBuf,
    dir: OwnedFd,
    _lock: File,
}

impl CacheMount {
    /// Absolute path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, open for look-ups.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Lease {
    /// Opens a cache directory, waiting for it if it is `locked` and in use (MNT-33). A new or emptied one is an empty
    /// directory of mode 0755 that `init` may fill and change (MNT-34, MNT-35) before anybody else sees it. Several for
    /// one step are to be taken sorted by identity, after the step's near key (design D6).
    ///
    /// # Errors
    /// Cancelled, `init` failed, or the store cannot be written.
    pub fn cache_mount(
        &self,
        request: &CacheMountRequest<'_>,
        init: &dyn Fn(&Path) -> io::Result<()>,
        cancel: &dyn Fn() -> bool,
    ) -> Result<CacheMount, StoreError> {
        let home = request.id.home();
        self.make_home(&home, request.id)?;
        let mut pause = Pause::new();
        loop {
            for sibling in 0..siblings(request) {
                let slot = format!("{home}/{sibling}");
                if let Some(lock) = self.take(&home, &slot, request)? {
                    return self.open_slot(&slot, lock, init);
                }
            }
            pause.wait(cancel, "use cache mount", &request.id.id)?;
        }
    }

    /// Notes whose directories these are, for people.
    fn make_home(&self, home: &str, id: &CacheMountId) -> Result<(), StoreError> {
        let about = id::about_path(home);
        let note = self.disk().read(&about).map_err(at("read", about.as_str()))?;
        if note.is_some_and(|file| CacheMountId::unseal(&about, &file).is_some()) {
            return Ok(());
        }
        self.disk().make_dir(home).map_err(at("make", home))?;
        self.publish(&about, &id.seal(&about), false)
    }

    /// The lock of one directory, if it can be had as the request wants it.
    fn take(
        &self,
        home: &str,
        slot: &str,
        request: &CacheMountRequest<'_>,
    ) -> Result<Option<File>, StoreError> {
        let path = format!("{slot}.lock");
        let shared = request.sharing == CacheSharing::Shared;
        let operation = match shared && !request.empty {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        let lock = match try_lock_named(self.disk(), &path, operation)? {
            Some(lock) => lock,
            None => {
                let _probe = manage::probe(self.disk(), home).map_err(at("lock", home))?;
                let lock = try_lock_named(self.disk(), &path, operation)?;
                let Some(lock) = lock else { return Ok(None) };
                lock
            }
        };
        if request.empty {
            trash::discard(self.disk(), slot).map_err(at("empty", slot))?;
        }
        if request.empty && shared {
            // Not atomic: somebody may have come in between, and then this one is theirs.
            let got = disk::try_lock(&lock, FlockOperation::NonBlockingLockShared);
            return Ok(got.map_err(at("lock", path))?.then_some(lock));
        }
        Ok(Some(lock))
    }

    fn open_slot(
        &self,
        slot: &str,
        lock: File,
        init: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<CacheMount, StoreError> {
        if self.disk().stat(slot).map_err(at("look at", slot))?.is_none() {
            self.make_slot(slot, init)?;
        } else {
            let _ = self.disk().touch(slot);
        }
        self.opened(slot, lock)
    }

    fn opened(&self, slot: &str, lock: File) -> Result<CacheMount, StoreError> {
        // Measured when the build ends: until then it may grow.
        locked(&self.inner.used_mounts).insert(slot.to_owned());
        let data = format!("{slot}/data");
        let dir = self.open_dir(&data)?;
        Ok(CacheMount { slot: slot.to_owned(), path: self.disk().path(&data), dir, _lock: lock })
    }

    /// Makes the directory aside and renames it into place; another shared user may have been first.
    fn make_slot(
        &self,
        slot: &str,
        init: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let prepared = self.prepare_cache_mount()?;
        init(prepared.path()).map_err(at("fill", slot))?;
        match self.disk().rename(prepared.whole(), slot) {
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(at("make", slot)),
        }
    }
}

/// `locked` has one directory only; the others take the next one that is free.
fn siblings(request: &CacheMountRequest<'_>) -> u32 {
    match request.sharing {
        CacheSharing::Locked => 1,
        CacheSharing::Shared | CacheSharing::Private => SIBLINGS_MAX,
    }
}
