//! Caches that are written (`--cache-to`): layers go out beside the build as soon as they are complete, the document
//! that names them at the end.
//!
//! Owns when that is done, and what it means for the build when it fails (CIO-11). Where layers go is `sending`'s
//! business, what a document says is `entries`'.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use graph::{Graph, VertexId};
use progress::EventKind;
use remotecache::CacheExport;

use super::entries;
use super::hit;
use super::state::Export;
use crate::error::{BuildError, BuildErrorKind, told};
use crate::internal::{self, Internal};
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::Value;

/// Opens all places that the request names. Contacts nobody yet.
pub(crate) fn open(session: &Arc<Session>) -> Result<(), Stop> {
    let mut list = Vec::new();
    for (number, options) in session.request.cache_to.iter().enumerate() {
        let opened = remotecache::open_export(options, &session.registry);
        match opened {
            Ok(Some(place)) => list.push(Arc::new(Export::new(number as u32, options, place))),
            Ok(None) => {}
            Err(error) => {
                let failed = BuildError::new(BuildErrorKind::Registry, "cannot export the cache");
                unless_ignored(session, options, failed.because(error))?;
            }
        }
    }
    if !list.is_empty() {
        // Layers are opened to be sent.
        session.worker()?;
    }
    let _ = session.exports.list.set(list);
    Ok(())
}

fn list(session: &Session) -> &[Arc<Export>] {
    session.exports.list.get().map_or(&[], Vec::as_slice)
}

/// A failed export fails the build, or is a warning if the user said so (CIO-11).
fn unless_ignored(
    session: &Session,
    options: &CacheExport,
    error: BuildError,
) -> Result<(), BuildError> {
    if !options.ignore_error || error.kind() == BuildErrorKind::Cancelled {
        return Err(error);
    }
    session.warn(format!("{}, ignored as you asked", told(&error)));
    Ok(())
}

/// A vertex has its value: the layer that it made goes out now.
pub(crate) fn offer(session: &Arc<Session>, graph: &Graph, id: VertexId, value: &Value) {
    let exports = list(session);
    if exports.is_empty() || !graph.vertex(id).op.makes_layer() {
        return;
    }
    let Some(layer) = value.stack().and_then(|stack| stack.own_layers().1.pop()) else { return };
    for export in exports.iter().filter(|export| export.wants(graph, id)) {
        let (session, export, layer) = (session.clone(), export.clone(), layer.clone());
        let own = session.clone();
        let thread = std::thread::spawn(move || {
            // What failed is told when the document should name it.
            let _ = export.send(&session, &layer);
        });
        lock(&own.exports.threads).push(thread);
    }
}

/// Writes the documents, after all layers have got where they should. The result of the build is done by now.
pub(crate) fn publish(
    session: &Arc<Session>,
    graph: &Arc<Graph>,
    values: &[Value],
) -> Result<(), Stop> {
    for export in list(session) {
        let name = format!("exporting cache to {}", export.place.name());
        let what = Internal::ExportCache(export.number);
        let done = internal::step(&session.events, what, &name, || {
            let document = entries::document(session, graph, values, export)?;
            for blob in document.blobs() {
                session.events.emit(EventKind::Transfer {
                    vertex: what.vertex(),
                    item: export.shown(&blob.digest),
                    done_bytes: blob.size_bytes,
                    total_bytes: Some(blob.size_bytes),
                });
            }
            session.check_cancelled()?;
            Ok::<_, Stop>(export.place.publish(&document).map_err(|e| export.unpublished(e))?)
        });
        session.check_cancelled()?;
        match done {
            Err(Stop::Failed(error)) => unless_ignored(session, &export.options, error)?,
            done => done?,
        }
    }
    Ok(())
}

/// Ends everything of imports and exports: waits for what is still sent, starts nothing more.
pub(crate) fn end(session: &Session) {
    // Hits hold the session that holds them.
    hit::forget(session);
    session.exports.abandoned.store(true, Ordering::Relaxed);
    let threads = std::mem::take(&mut *lock(&session.exports.threads));
    for thread in threads {
        // One that panicked has not sent its layer: there is no result that names it.
        let _ = thread.join();
    }
}
