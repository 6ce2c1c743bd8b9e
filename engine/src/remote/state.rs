//! What one build keeps of the caches that it reads and writes.
//!
//! Owns the shapes. Refuses to know who fills them, who waits for them, and what a build is.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread::JoinHandle;

use graph::VertexId;
use oci::Digest;
use remotecache::{CacheDocument, CacheExport, CacheLayer, CachePlace, Put};
use store::RecordKeys;

use super::index::{ImportedRecord, Index};
use crate::slots::Slots;
use crate::value::{LayerName, StackValue};

/// The imports of one build.
#[derive(Default)]
pub(crate) struct Imports {
    pub(super) places: Mutex<Vec<State>>,
    pub(super) changed: Condvar,
    pub(super) index: Mutex<Option<Arc<Index>>>,
}

/// How far the reading of one place is.
pub(super) enum State {
    Reading {
        name: String,
    },
    Read {
        place: Arc<dyn CachePlace>,
        document: Arc<CacheDocument>,
    },
    /// There is nothing to be had of it; said to the user in these words.
    Nothing {
        warning: String,
    },
}

/// The hits of one build.
#[derive(Default)]
pub(crate) struct Hits(pub(super) Mutex<Vec<Hit>>);

/// A vertex that was taken from an imported cache.
pub(super) struct Hit {
    pub(super) vertex: VertexId,
    /// What its layers stand on; `None` when that is nothing, and for a copy that can be put on anything.
    pub(super) below: Option<StackValue>,
    /// The keys of the store's own record; of `cache` only the one that it was found by.
    pub(super) keys: RecordKeys,
    pub(super) record: Arc<ImportedRecord>,
}

/// The exports of one build.
#[derive(Default)]
pub(crate) struct Exports {
    pub(super) list: OnceLock<Vec<Arc<Export>>>,
    /// What vertices read from contexts, URLs and git when they got their result.
    pub(super) contents: Mutex<HashMap<VertexId, Vec<Digest>>>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Nobody will publish anything.
    pub(super) abandoned: AtomicBool,
}

/// One `--cache-to` with a place.
pub(super) struct Export {
    pub(super) number: u32,
    pub(super) options: CacheExport,
    pub(super) place: Arc<dyn CachePlace>,
    pub(super) sent: Mutex<HashMap<LayerName, Sent>>,
    /// How blobs got there.
    pub(super) puts: Mutex<HashMap<Digest, Put>>,
    /// Why the export fails, once it does: what is not begun is left then.
    pub(super) failed: OnceLock<Failure>,
    pub(super) permits: Slots,
}

pub(super) type Sent = Arc<OnceLock<Result<CacheLayer, Failure>>>;

/// Why a layer did not get where it should.
#[derive(Clone)]
pub(super) struct Failure {
    pub(super) text: String,
    /// It lies in an imported cache and cannot be had: the export goes on without what needs it.
    pub(super) is_lost: bool,
    /// This machine's disk has no room for it.
    pub(super) is_full: bool,
}

/// The travelling mounts of one build.
#[derive(Default)]
pub(crate) struct Travelling {
    /// Keys of mounts that could not be brought: nobody tries again.
    pub(super) lost: Mutex<HashSet<Digest>>,
    pub(super) brought: AtomicU32,
}
