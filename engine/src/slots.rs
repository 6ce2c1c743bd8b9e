//! The right to run a step: so many at a time.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::stop::lock;

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
            free = self.changed.wait(free).unwrap_or_else(PoisonError::into_inner);
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
