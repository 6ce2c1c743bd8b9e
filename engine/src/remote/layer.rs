//! A layer that lies in an imported cache, brought here when a byte of it is needed.
//!
//! Owns the way from its blob to a layer of the store, and the check that it is what the cache said. Refuses to know
//! which steps want it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;

use graph::{LayerId, Stack};
use store::StoreError;

use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image::{Packed, bring_blob, known_stack_layers, unpack};
use crate::session::Session;
use crate::slots::Slots;
use crate::stop::Stop;
use crate::value::{Above, ImportedLayer};

/// Layers that are downloaded at the same time.
const DOWNLOADS_MAX: usize = 4;

/// Brings the imported ones of `above`, which lie on what `bottom` gives: downloads run ahead side by side, also while
/// the bottom is fetched; unpacking is in order. When one fails, those that are not begun are left. `vertex` gets the
/// progress.
pub(crate) fn bring(
    session: &Arc<Session>,
    above: &[Above],
    bottom: impl FnOnce() -> Result<Stack, Stop>,
    vertex: u32,
) -> Result<Stack, Stop> {
    let permits = Slots::new(DOWNLOADS_MAX);
    let has_failed = AtomicBool::new(false);
    let failing = |_: &Stop| has_failed.store(true, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let download_ahead = |layer: &Arc<ImportedLayer>| {
            let (layer, permits, has_failed) = (layer.clone(), &permits, &has_failed);
            scope.spawn(move || {
                let known = known_stack_layers(session, layer.chain)?.is_some();
                let _permit = permits.take();
                if has_failed.load(Ordering::Relaxed) {
                    return Ok(Ahead::Left);
                }
                let done = if known { Ok(()) } else { download(session, &layer, vertex) };
                done.inspect_err(failing).map(|()| Ahead::Done)
            })
        };
        let mut downloads: VecDeque<_> = imported(above).map(download_ahead).collect();
        let mut stack = bottom().inspect_err(failing)?;
        for layer in above {
            let layer = match layer {
                Above::Layer(layer) => *layer,
                Above::Imported(layer) => {
                    if let Ahead::Left = joined(downloads.pop_front())? {
                        return Err(first_failure(downloads));
                    }
                    let below = if layer.is_alone { &[][..] } else { &stack.layers[..] };
                    put(session, layer, below, vertex).inspect_err(failing)?
                }
            };
            stack = stack.with(layer);
        }
        Ok(stack)
    })
}

/// What became of a layer before it was its turn.
enum Ahead {
    Done,
    /// Not begun, since another one has failed: that one's turn comes.
    Left,
}

/// Why layers were left.
fn first_failure(mut downloads: VecDeque<ScopedJoinHandle<'_, Result<Ahead, Stop>>>) -> Stop {
    loop {
        if let Err(stop) = joined(downloads.pop_front()) {
            return stop;
        }
    }
}

fn imported(above: &[Above]) -> impl Iterator<Item = &Arc<ImportedLayer>> {
    above.iter().filter_map(|layer| match layer {
        Above::Layer(_) => None,
        Above::Imported(layer) => Some(layer),
    })
}

fn joined(download: Option<ScopedJoinHandle<'_, Result<Ahead, Stop>>>) -> Result<Ahead, Stop> {
    download.ok_or_else(bug)?.join().unwrap_or_else(|_| Err(bug()))
}

fn bug() -> Stop {
    BuildError::new(BuildErrorKind::Files, "a download ended by a bug in shale").into()
}

/// The layer in the store on just these layers, if it is there. One that is not what the cache said is not it.
pub(crate) fn known(
    session: &Arc<Session>,
    layer: &ImportedLayer,
    below: &[LayerId],
) -> Result<Option<LayerId>, Stop> {
    let below = if layer.is_alone { &[][..] } else { below };
    let Some(layers) = known_stack_layers(session, layer.chain)? else { return Ok(None) };
    let Some((top, lower)) = layers.split_last() else { return Ok(None) };
    let fits = lower == below && finish::is_listed(session, *top)?;
    Ok((fits && finish::content_id(session, &layers)? == layer.content_id).then_some(*top))
}

/// The layer on these layers: found in the store, else unpacked.
fn put(
    session: &Arc<Session>,
    layer: &ImportedLayer,
    below: &[LayerId],
    vertex: u32,
) -> Result<LayerId, Stop> {
    if let Some(layer) = known(session, layer, below)? {
        return Ok(layer);
    }
    download(session, layer, vertex)?;
    let malformed = |why: &str| {
        let text = format!("a layer of {} cannot be used: {why}", layer.place.name());
        BuildError::new(BuildErrorKind::Registry, text)
    };
    let packed = Packed {
        descriptor: &layer.descriptor,
        diff_id: layer.diff_id,
        created: &layer.created,
        malformed: &malformed,
    };
    let made = unpack(session, &packed, below, layer.chain).map_err(of_cache)?;
    let stack: Vec<LayerId> = below.iter().copied().chain([made]).collect();
    let found = finish::content_id(session, &stack)?;
    if found != layer.content_id {
        let text = format!("its content is {found}, the cache says {}", layer.content_id);
        return Err(Stop::CacheLost(malformed(&text)));
    }
    Ok(made)
}

/// What is wrong with a blob is the cache's fault; the rest is this machine's.
fn of_cache(stop: Stop) -> Stop {
    match stop {
        Stop::Failed(error) if error.kind() == BuildErrorKind::Registry => Stop::CacheLost(error),
        stop => stop,
    }
}

/// Brings a layer's blob into the store, verified, unless it is there.
pub(crate) fn download(session: &Session, layer: &ImportedLayer, vertex: u32) -> Result<(), Stop> {
    let ImportedLayer { descriptor, place, .. } = layer;
    let lost = || {
        let text = format!("cannot get a layer of {}", place.name());
        BuildError::new(BuildErrorKind::Registry, text)
    };
    let open = || place.open(descriptor).map_err(|e| ended(session, lost().because(e)));
    let not_kept = |error: StoreError| match error.is_disk_full() || error.is_not_writable() {
        true => BuildError::store("cannot keep a downloaded layer", error).into(),
        false => ended(session, lost().because(error)),
    };
    bring_blob(session, descriptor, vertex, open, not_kept)
}

/// A cache that was lost, unless the user wanted an end.
fn ended(session: &Session, lost: BuildError) -> Stop {
    match session.check_cancelled() {
        Ok(()) => Stop::CacheLost(lost),
        Err(cancelled) => cancelled.into(),
    }
}
