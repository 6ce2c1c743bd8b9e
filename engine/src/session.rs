//! What the parts of one build share: where results live, who works, who listens.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, OnceLock};

use executor::Worker;
use parser::SourceText;
use progress::Emitter;
use registry::RegistryClient;
use store::Lease;
use sys::Cancel;

use crate::error::BuildError;
use crate::facts::Facts;
use crate::finish::Finisher;
use crate::request::BuildRequest;
use crate::source::Contexts;

/// One build's surroundings. Shared by its threads.
pub(crate) struct Session {
    pub(crate) request: Arc<BuildRequest>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) registry: Arc<RegistryClient>,
    /// `None` in the process that only looks up (design D1).
    pub(crate) worker: Option<Arc<dyn Worker>>,
    pub(crate) events: Emitter,
    pub(crate) cancel: Cancel,
    pub(crate) facts: Mutex<Facts>,
    pub(crate) finisher: Finisher,
    pub(crate) slots: Slots,
    /// How many slots there are.
    pub(crate) jobs: usize,
    pub(crate) networks_expected: Once,
    pub(crate) contexts: Contexts,
    /// Cache mounts that were emptied for this build.
    pub(crate) emptied: Mutex<HashSet<String>>,
    /// The Dockerfile, once it was read.
    pub(crate) source: OnceLock<SourceText>,
    /// An image could not be resolved because of its registry.
    pub(crate) registry_failed: Mutex<bool>,
    pub(crate) epoch: OnceLock<Option<i64>>,
}

/// Why work stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(BuildError),
    /// Something has to run, and this process only looks up.
    NeedsWorker,
}

impl From<BuildError> for Stop {
    fn from(error: BuildError) -> Stop {
        Stop::Failed(error)
    }
}

impl Session {
    /// The worker, or the reason to start the process that has one.
    pub(crate) fn worker(&self) -> Result<&Arc<dyn Worker>, Stop> {
        self.worker.as_ref().ok_or(Stop::NeedsWorker)
    }

    /// Whether this process can give files no owner but its own: those of images are then only noted.
    pub(crate) fn maps_one_id(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.level() == executor::Level::UserNsSingle)
    }

    /// SOURCE_DATE_EPOCH in seconds since 1970, if one holds (EPO-01). Known once the plan is made.
    pub(crate) fn epoch(&self) -> Option<i64> {
        self.epoch.get().copied().flatten()
    }

    /// Fails when the build was stopped.
    pub(crate) fn check_cancelled(&self) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() { Err(BuildError::cancelled()) } else { Ok(()) }
    }
}

/// Counts the steps that run at the same time. Waiting for digests and locks takes no slot (design D7).
pub(crate) struct Slots {
    free: Mutex<usize>,
    changed: Condvar,
}

/// The right to run; given back on drop.
pub(crate) struct Slot<'a>(&'a Slots);

impl Slots {
    /// `count` steps may run at once; at least one.
    pub(crate) fn new(count: usize) -> Slots {
        Slots { free: Mutex::new(count.max(1)), changed: Condvar::new() }
    }

    /// Waits for a free slot.
    pub(crate) fn take(&self) -> Slot<'_> {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = self.changed.wait(free).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

/// Locks, also after a thread panicked while it held the lock: all guarded values are whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
