//! Waiting for each other: locks on files with names, polled so that a wait can be cancelled.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::Duration;

use oci::Digest;
use rustix::fs::FlockOperation;

use crate::disk::{self, Disk};
use crate::error::{Failure, StoreError, at};
use crate::lease::Lease;

const WAIT_MIN: Duration = Duration::from_millis(1);
const WAIT_MAX: Duration = Duration::from_millis(50);

/// Keeps everybody else out of one piece of work. Dropped, or when its process dies, the next one comes in and finds
/// the result.
#[derive(Debug)]
pub struct FlightGuard {
    file: Option<File>,
    path: String,
    lease: Lease,
}

impl Lease {
    /// Waits until no other thread or process does the work `name` (a near key, a blob's digest, a chain
    /// id), then keeps
    /// others out of it. Look for the result again after it. `cancel` is asked while waiting. The caller gives its job
    /// slot back first, or uses [`Lease::try_single_flight`].
    ///
    /// # Errors
    /// Cancelled ([`StoreError::is_cancelled`]), or the store cannot be written.
    pub fn single_flight(
        &self,
        name: &str,
        cancel: &dyn Fn() -> bool,
    ) -> Result<FlightGuard, StoreError> {
        let mut pause = Pause::new();
        loop {
            if let Some(guard) = self.try_single_flight(name)? {
                return Ok(guard);
            }
            pause.wait(cancel, "do once", name)?;
        }
    }

    /// [`Lease::single_flight`] without waiting; `None` when somebody else is at it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn try_single_flight(&self, name: &str) -> Result<Option<FlightGuard>, StoreError> {
        let path = format!("locks/{}", Digest::of(name.as_bytes()).hex());
        let operation = FlockOperation::NonBlockingLockExclusive;
        let file = try_lock_named(self.disk(), &path, operation)?;
        Ok(file.map(|file| FlightGuard { file: Some(file), path, lease: self.clone() }))
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        // Removed while locked: who opened it meanwhile sees that it is no longer the named one.
        let _ = self.lease.disk().unlink(&self.path);
        self.file = None;
    }
}

/// Locks the file of a name, if it can be had at once. A file that lost its name while it was being locked does not
/// count.
pub(crate) fn try_lock_named(
    disk: &Disk,
    path: &str,
    operation: FlockOperation,
) -> Result<Option<File>, StoreError> {
    loop {
        let file = disk.open_lock(path).map_err(at("open", path))?;
        if !disk::try_lock(&file, operation).map_err(at("lock", path))? {
            return Ok(None);
        }
        let ours = rustix::fs::fstat(file.as_fd()).map_err(|e| at("look at", path)(e.into()))?;
        let named = disk.stat(path).map_err(at("look at", path))?;
        if named.is_some_and(|named| (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)) {
            return Ok(Some(file));
        }
    }
}

/// Growing pauses between attempts.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Pause {
        Pause(WAIT_MIN)
    }

    pub(crate) fn wait(
        &mut self,
        cancel: &dyn Fn() -> bool,
        operation: &'static str,
        object: &str,
    ) -> Result<(), StoreError> {
        if cancel() {
            return Err(Failure::Cancelled { operation, object: object.to_owned() }.into());
        }
        thread::sleep(self.0);
        self.0 = (self.0 * 2).min(WAIT_MAX);
        Ok(())
    }
}
