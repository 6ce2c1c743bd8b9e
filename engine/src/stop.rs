//! Why work ends early, and how: streams that end when the user wants an end, and locks that outlive a panic.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sys::Cancel;

use crate::error::{BuildError, BuildErrorKind};

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

impl Stop {
    /// The error of work that no other process can do again; `unmet` says what needs a worker.
    pub(crate) fn into_error(self, unmet: &str) -> BuildError {
        match self {
            Stop::Failed(error) | Stop::CacheLost(error) => error,
            Stop::NeedsWorker => BuildError::new(BuildErrorKind::Environment, unmet),
        }
    }
}

impl From<BuildError> for Stop {
    fn from(error: BuildError) -> Stop {
        Stop::Failed(error)
    }
}

/// Bytes that end with an error when the user wants an end.
pub(crate) struct Stoppable<'a, R> {
    pub(crate) inner: R,
    pub(crate) cancel: &'a Cancel,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T> Stoppable<'_, T> {
    fn check(&self) -> io::Result<()> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::other("the build was cancelled")),
            false => Ok(()),
        }
    }
}

/// Locks, also after a thread panicked while it held the lock: all guarded values are whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
