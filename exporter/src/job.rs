//! What all outputs need besides the image: the store, the event stream, the way to stop.

use std::io;

use oci::Descriptor;
use progress::{Emitter, EventKind};
use store::Lease;
use sys::Cancel;

use crate::ExportError;
use crate::error::Failure;

/// The surroundings of one export.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Where layers and blobs are.
    pub lease: &'a Lease,
    /// Where progress is told.
    pub events: &'a Emitter,
    /// The vertex that progress is told for.
    pub vertex: u32,
    /// Ends it early.
    pub cancel: &'a Cancel,
    /// Brings a blob into the store that is not there when its bytes are wanted.
    pub fetch: Option<Fetch<'a>>,
}

/// Brings a blob into the store.
pub type Fetch<'a> = &'a (dyn Fn(&Descriptor) -> io::Result<()> + Sync);

/// Bytes between two events of one transfer.
const STEP_BYTES: u64 = 1 << 20;

impl Job<'_> {
    /// Fails when the user wants an end.
    pub(crate) fn check(&self) -> Result<(), ExportError> {
        if self.cancel.is_cancelled() { Err(Failure::Cancelled.into()) } else { Ok(()) }
    }

    /// Tells how far a transfer is.
    pub(crate) fn transferred(&self, item: &str, done_bytes: u64, total_bytes: u64) {
        self.events.emit(EventKind::Transfer {
            vertex: self.vertex,
            item: item.to_owned(),
            done_bytes,
            total_bytes: Some(total_bytes),
        });
    }
}

/// Counts bytes of a transfer and tells of them now and then.
pub(crate) struct Ticker<'a> {
    job: Job<'a>,
    item: String,
    done_bytes: u64,
    told_bytes: u64,
    total_bytes: u64,
}

impl<'a> Ticker<'a> {
    pub(crate) fn new(job: Job<'a>, item: String, total_bytes: u64) -> Ticker<'a> {
        Ticker { job, item, done_bytes: 0, told_bytes: 0, total_bytes }
    }

    /// The same, with so many bytes behind it.
    pub(crate) fn behind(mut self, done_bytes: u64) -> Ticker<'a> {
        (self.done_bytes, self.told_bytes) = (done_bytes, done_bytes);
        self
    }

    /// More bytes have passed; fails when the user wants an end.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), ExportError> {
        self.job.check()?;
        self.done_bytes += bytes as u64;
        // The end is told once, though a reader may be asked again after it.
        let at_end = self.done_bytes == self.total_bytes && self.told_bytes < self.total_bytes;
        if at_end || self.done_bytes >= self.told_bytes + STEP_BYTES {
            self.told_bytes = self.done_bytes;
            self.job.transferred(&self.item, self.done_bytes, self.total_bytes);
        }
        Ok(())
    }
}
