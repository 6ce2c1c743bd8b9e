//! Why work ends early, and locks that outlive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::BuildError;

/// Why work stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It failed.
    Failed(BuildError),
    /// Something has to run, and this process only looks up.
    NeedsWorker,
    /// An imported cache does not have what it promised: without it the build still can be done.
    CacheLost(BuildError),
}

impl From<BuildError> for Stop {
    fn from(error: BuildError) -> Stop {
        Stop::Failed(error)
    }
}

/// Locks, also after a thread panicked while it held the lock: all guarded values are whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
