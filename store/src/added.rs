//! How much one lease has added to the store, and who wants to know when it becomes more.
//!
//! Owns the sums in memory. Refuses to know what is added, and where other processes are told of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// What was added, in estimated bytes on the disk.
#[derive(Default)]
pub(crate) struct Added {
    bytes: AtomicU64,
    /// How many of these others know of.
    pub(crate) told_bytes: Mutex<u64>,
    growth: OnceLock<Growth>,
}

struct Growth {
    step_bytes: u64,
    call: Box<dyn Fn() + Send + Sync>,
}

impl Added {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds, and calls whoever watches when one more step is full.
    pub(crate) fn note(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(growth) = self.growth.get()
            && before / growth.step_bytes != (before + bytes) / growth.step_bytes
        {
            (growth.call)();
        }
    }

    /// Only the first call of this counts.
    pub(crate) fn watch(&self, step_bytes: u64, call: Box<dyn Fn() + Send + Sync>) {
        let _ = self.growth.set(Growth { step_bytes: step_bytes.max(1), call });
    }
}

impl fmt::Debug for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Added").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
