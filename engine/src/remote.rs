//! Results that lie outside the store: caches that are read (`--cache-from`) and written (`--cache-to`).
//!
//! Owns look-ups in what was imported, bringing layers of it, and the export beside the build. Refuses to know formats
//! and protocols: they are crate `remotecache`'s.

mod entries;
mod export;
mod hit;
mod import;
mod index;
pub(crate) mod inline;
mod layer;
mod listings;
mod mounts;
mod sending;
pub(crate) mod state;

use crate::error::BuildError;
use crate::session::Session;

pub(crate) use export::{end, offer, open, publish};
pub(crate) use hit::{
    content_of, earlier, file_records, find, has_record_of, is_imported, knows, note,
};
pub(crate) use import::{learn, start};
pub(crate) use layer::{bring, download};
pub(crate) use listings::listing;
pub(crate) use mounts::bring as bring_mount;
pub(crate) use sending::note_contents;

/// An import did not have what it promised: the build goes on without imports.
pub(crate) fn lost(session: &Session, error: &BuildError) {
    import::forget(session, error);
    hit::forget(session);
}
