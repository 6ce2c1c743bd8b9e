//! Directories of `RUN --mount=type=cache`: `cache-mounts/<sha256 of the identity>/<n>/data`, with a lock `<n>.lock`
//! beside each. They are never part of a layer or key, and their content is the business of the tools that use them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use graph::CacheSharing;
use oci::Digest;
use rustix::fs::FlockOperation;

use crate::disk;
use crate::error::{StoreError, at};
use crate::flight::{Pause, try_lock_named};
use crate::lease::Lease;
use crate::trash;

/// Directories of one identity that are in use at once; more users wait.
const SIBLINGS_MAX: u32 = 64;

/// What a step wants.
#[derive(Clone, Copy, Debug)]
pub struct CacheMountRequest<'a> {
    /// Identity (MNT-32): equal ones share.
    pub id: &'a str,
    /// What happens with a second user at the same time (MNT-33).
    pub sharing: CacheSharing,
    /// Start with an empty directory (MNT-38).
    pub empty: bool,
}

/// A cache directory in use. Its lock is held until this is dropped.
#[derive(Debug)]
pub struct CacheMount {
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
        let home = format!("cache-mounts/{}", Digest::of(request.id.as_bytes()).hex());
        self.make_home(&home, request.id)?;
        let mut pause = Pause::new();
        loop {
            for sibling in 0..siblings(request) {
                let slot = format!("{home}/{sibling}");
                if let Some(lock) = self.take(&slot, request)? {
                    return self.open_slot(&slot, lock, init);
                }
            }
            pause.wait(cancel, "use cache mount", request.id)?;
        }
    }

    fn make_home(&self, home: &str, id: &str) -> Result<(), StoreError> {
        let identity = format!("{home}/identity");
        if self.disk().stat(&identity).map_err(at("look at", identity.as_str()))?.is_some() {
            return Ok(());
        }
        self.disk().make_dir(home).map_err(at("make", home))?;
        self.publish(&identity, id.as_bytes(), false)
    }

    /// The lock of one directory, if it can be had as the request wants it.
    fn take(
        &self,
        slot: &str,
        request: &CacheMountRequest<'_>,
    ) -> Result<Option<File>, StoreError> {
        let path = format!("{slot}.lock");
        let shared = request.sharing == CacheSharing::Shared;
        let operation = match shared && !request.empty {
            true => FlockOperation::NonBlockingLockShared,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        let Some(lock) = try_lock_named(self.disk(), &path, operation)? else { return Ok(None) };
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
        let data = format!("{slot}/data");
        Ok(CacheMount { path: self.disk().path(&data), dir: self.open_dir(&data)?, _lock: lock })
    }

    /// Makes the directory aside and renames it into place; another shared user may have been first.
    fn make_slot(
        &self,
        slot: &str,
        init: &dyn Fn(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        let ingest = self.new_ingest()?;
        let whole = format!("{}/slot", ingest.name());
        let data = format!("{whole}/data");
        let path = self.disk().path(&data);
        let prepare = || {
            self.disk().make_dir(&whole)?;
            self.disk().make_dir(&data)?;
            let mode = rustix::fs::Mode::from_raw_mode(0o755);
            rustix::fs::chmodat(
                self.disk().root(),
                data.as_str(),
                mode,
                rustix::fs::AtFlags::empty(),
            )?;
            init(&path)
        };
        prepare().map_err(at("fill", slot))?;
        match self.disk().rename(&whole, slot) {
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
