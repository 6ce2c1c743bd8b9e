//! A cache directory that is made aside and put in place when it is whole.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FlockOperation, Mode};

use super::{CacheMountBlob, CacheMountId, manage};
use crate::error::{StoreError, at};
use crate::flight::try_lock_named;
use crate::ingest::Ingest;
use crate::layout::locked;
use crate::lease::Lease;
use crate::trash;

/// A new, empty cache directory of mode 0755 that nobody else sees yet. Removed when dropped.
#[derive(Debug)]
pub struct PreparedCacheMount {
    lease: Lease,
    whole: String,
    path: std::path::PathBuf,
    dir: OwnedFd,
    _ingest: Ingest,
}

impl Lease {
    /// Makes a cache directory aside.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn prepare_cache_mount(&self) -> Result<PreparedCacheMount, StoreError> {
        let ingest = self.new_ingest()?;
        let whole = format!("{}/slot", ingest.name());
        let data = format!("{whole}/data");
        let make = || -> io::Result<()> {
            self.disk().make_dir(&whole)?;
            self.disk().make_dir(&data)?;
            let mode = Mode::from_raw_mode(0o755);
            Ok(rustix::fs::chmodat(self.disk().root(), &*data, mode, AtFlags::empty())?)
        };
        make().map_err(at("make", data.as_str()))?;
        let (path, dir) = (self.disk().path(&data), self.open_dir(&data)?);
        Ok(PreparedCacheMount { lease: self.clone(), whole, path, dir, _ingest: ingest })
    }
}

impl PreparedCacheMount {
    /// Absolute path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, open for look-ups.
    pub fn dir(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.dir.as_fd()
    }

    /// Puts it in the place of the first directory of `id`, whose content goes to trash; `blob` is what it was made of.
    /// `false` when that one is in
    /// use: then nothing has changed.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn install(
        self,
        id: &CacheMountId,
        blob: Option<&CacheMountBlob>,
    ) -> Result<bool, StoreError> {
        let lease = &self.lease;
        let home = id.home();
        lease.make_home(&home, id)?;
        let slot = format!("{home}/0");
        let _probe = manage::probe(lease.disk(), &home).map_err(at("lock", home.as_str()))?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        let lock = try_lock_named(lease.disk(), &format!("{slot}.lock"), operation)?;
        let Some(_lock) = lock else { return Ok(false) };
        trash::discard(lease.disk(), &slot).map_err(at("empty", slot.as_str()))?;
        lease.disk().rename(&self.whole, &slot).map_err(at("make", slot.as_str()))?;
        locked(&lease.inner.used_mounts).insert(slot.clone());
        if let Some(blob) = blob {
            lease.note_blob(&slot, blob)?;
        }
        Ok(true)
    }

    pub(super) fn whole(&self) -> &str {
        &self.whole
    }
}
