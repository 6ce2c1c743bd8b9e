//! The limit on what the store takes on the disk.
//!
//! Owns what the limit is and how far one session is with keeping it. When it is kept is `room`'s business.

use std::sync::atomic::{AtomicBool, Ordering};

use store::{Store, StoreError};

/// How much the store may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMax {
    /// What fits the file system ([`Store::default_max_bytes`]).
    #[default]
    Default,
    /// So many bytes.
    Bytes(u64),
    /// Whatever there is.
    Unlimited,
}

impl CacheMax {
    /// The limit of a store in bytes; `None` when there is none.
    ///
    /// # Errors
    /// The file system does not say its size.
    pub fn bytes(self, store: &Store) -> Result<Option<u64>, StoreError> {
        match self {
            CacheMax::Default => store.default_max_bytes().map(Some),
            CacheMax::Bytes(bytes) => Ok(Some(bytes)),
            CacheMax::Unlimited => Ok(None),
        }
    }
}

/// The limit of one session.
#[derive(Default)]
pub(crate) struct Cap {
    max: CacheMax,
    /// Somebody collects already.
    busy: AtomicBool,
    /// It was said that not enough can be removed.
    warned: AtomicBool,
}

impl Cap {
    pub(crate) fn new(max: CacheMax) -> Cap {
        Cap { max, ..Cap::default() }
    }

    /// The limit in bytes. A file system that does not say its size sets none.
    pub(crate) fn bytes(&self, store: &Store) -> Option<u64> {
        self.max.bytes(store).ok().flatten()
    }

    /// Whether to collect now: not when somebody does already, nor where not enough can go: looking again
    /// and again frees nothing.
    pub(crate) fn begin(&self) -> bool {
        !self.warned.load(Ordering::Relaxed) && !self.busy.swap(true, Ordering::AcqRel)
    }

    /// What [`Cap::begin`] has begun is over.
    pub(crate) fn end(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// Whether it is to be said that not enough can be removed: once.
    pub(crate) fn is_news(&self) -> bool {
        !self.warned.swap(true, Ordering::Relaxed)
    }
}
