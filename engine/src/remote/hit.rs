//! Hits in imported caches: look-ups, the stacks that they give, and the store's own records of them once their layers
//! are here.

use std::sync::Arc;

use graph::{CacheKey, ContentId, InstructionDigest, LayerId, OperationDigest, Stack};
use oci::Digest;
use planner::key;
use store::{CacheRecord, RecordKeys};

use super::import;
use super::index::ImportedRecord;
use super::layer::known;
use super::state::Hit;
use crate::error::BuildError;
use crate::finish;
use crate::keys;
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{Above, Bottom, ImportedLayer, LazyStack, StackValue};
use crate::work::Work;

/// What imported caches say of an instruction, whatever it read. Waits for them.
pub(crate) fn earlier(session: &Session, instruction: &InstructionDigest) -> Vec<CacheRecord> {
    let index = import::index(session);
    index.records_of(instruction).iter().map(|record| record.told()).collect()
}

/// Whether imported caches say anything of an instruction. Waits for them.
pub(crate) fn has_record_of(session: &Session, instruction: &InstructionDigest) -> bool {
    !import::index(session).records_of(instruction).is_empty()
}

/// Whether any cache was imported that holds something. Waits for them.
pub(crate) fn is_imported(session: &Session) -> bool {
    !import::index(session).is_empty()
}

/// The content of a layer that a record of [`earlier`] names.
pub(crate) fn content_of(session: &Session, layer: LayerId) -> Option<ContentId> {
    import::index(session).content_of(layer)
}

/// Whether an imported cache may have a result of this operation.
pub(crate) fn knows(session: &Session, operation: &OperationDigest) -> bool {
    import::index(session).knows(operation)
}

/// The imported record of a key that fits what the vertex stands on: the stack that it gives, and what is told of it.
pub(crate) fn find(work: &Work, key: &CacheKey) -> Result<Option<(StackValue, CacheRecord)>, Stop> {
    let index = import::index(&work.session);
    let Some(record) = index.find(key) else { return Ok(None) };
    let Some(value) = value(work, record)? else { return Ok(None) };
    Ok(Some((value, record.told())))
}

/// Notes that a record was used. Once its layers are here the store gets one of its own.
pub(crate) fn note(work: &Work, key: &CacheKey, contents: &[Digest]) {
    let index = import::index(&work.session);
    if let Some(record) = index.find(key) {
        let keys = RecordKeys {
            instruction: key::instruction_digest(work.vertex()),
            operation: Some(key::operation_digest(work.vertex(), contents)),
            cache: vec![*key],
            near: Some(keys::near_key(work, contents)),
        };
        let below = work.below().filter(|_| !work.is_linked()).cloned();
        let hit = Hit { vertex: work.id, below, keys, record: record.clone() };
        lock(&work.session.hits.0).push(hit);
    }
}

/// The record that a vertex was taken from in this build.
pub(super) fn record_of(session: &Session, vertex: graph::VertexId) -> Option<Arc<ImportedRecord>> {
    let hits = lock(&session.hits.0);
    hits.iter().rev().find(|hit| hit.vertex == vertex).map(|hit| hit.record.clone())
}

/// The stack of a record on what this build has below; `None` when it was made on something else.
fn value(work: &Work, record: &ImportedRecord) -> Result<Option<StackValue>, Stop> {
    let session = &work.session;
    if work.is_linked() {
        let [layer] = &record.layers[..] else { return Ok(None) };
        if !layer.is_alone {
            return Ok(None);
        }
        if let Some(here) = known(session, layer, &[])? {
            return Ok(Some(work.linked_on_below(here)));
        }
        let below = match work.below() {
            Some(StackValue::Lazy(lazy)) => lazy.clone(),
            Some(StackValue::Present(stack)) => return Ok(Some(on(stack, layer))),
            None => return Ok(Some(on(&Stack::default(), layer))),
        };
        return Ok(Some(StackValue::Lazy(below.with(Above::Imported(layer.clone())))));
    }
    let bottom = bottom(work.below());
    if bottom.named().base.map(|(chain, _)| chain) != record.entry.base
        || !stands_on_below(work, record)?
    {
        return Ok(None);
    }
    if let Some(stack) = here(session, &bottom, &record.layers)? {
        return Ok(Some(StackValue::Present(stack)));
    }
    let above = record.layers.iter().cloned().map(Above::Imported).collect();
    Ok(Some(StackValue::Lazy(LazyStack { bottom, above })))
}

/// Whether the layers below a record's own are by their contents what its key was made of. A cache that says otherwise
/// would change what other steps have made.
fn stands_on_below(work: &Work, record: &ImportedRecord) -> Result<bool, Stop> {
    let own = usize::from(record.entry.layer.is_some());
    let lower = record.layers.len().saturating_sub(own);
    let contents = record.layers[..lower].iter().map(|layer| layer.content_id);
    Ok(match work.below() {
        Some(below) => finish::identity(&work.session, below)?.contents.into_iter().eq(contents),
        None => lower == 0,
    })
}

/// An imported layer on layers of the store.
fn on(stack: &Stack, layer: &Arc<ImportedLayer>) -> StackValue {
    let above = vec![Above::Imported(layer.clone())];
    StackValue::Lazy(LazyStack { bottom: Bottom::Here(stack.clone()), above })
}

/// What a stack begins with: its image.
fn bottom(below: Option<&StackValue>) -> Bottom {
    let stack = match below {
        None => return Bottom::Here(Stack::default()),
        Some(StackValue::Present(stack)) => stack,
        Some(StackValue::Lazy(lazy)) => match &lazy.bottom {
            Bottom::Here(stack) => stack,
            image @ Bottom::Image(_) => return image.clone(),
        },
    };
    let count = stack.base.map_or(0, |(_, count)| count);
    Bottom::Here(Stack { base: stack.base, layers: stack.layers[..count].to_vec() })
}

/// The layers in the store, if all of them are there.
fn here(
    session: &Arc<Session>,
    bottom: &Bottom,
    layers: &[Arc<ImportedLayer>],
) -> Result<Option<Stack>, Stop> {
    let mut stack = bottom.named();
    if let Some((_, 0)) = stack.base {
        return Ok(None);
    }
    for layer in layers {
        let Some(id) = known(session, layer, &stack.layers)? else { return Ok(None) };
        stack = stack.with(id);
    }
    Ok(Some(stack))
}

/// Files records of the store's own for the hits whose layers are here by now.
pub(crate) fn file_records(session: &Arc<Session>) -> Result<(), Stop> {
    let hits = std::mem::take(&mut *lock(&session.hits.0));
    for hit in &hits {
        let bottom = bottom(hit.below.as_ref());
        if let Some(stack) = here(session, &bottom, &hit.record.layers)? {
            file(session, hit, stack)?;
        }
    }
    *lock(&session.hits.0) = hits;
    Ok(())
}

/// From now on no vertex counts as taken from an imported cache.
pub(crate) fn forget(session: &Session) {
    lock(&session.hits.0).clear();
}

fn file(session: &Session, hit: &Hit, stack: Stack) -> Result<(), Stop> {
    let Hit { keys, record, .. } = hit;
    let layer: Option<LayerId> = record.entry.layer.and(stack.layers.last().copied());
    // Further keys that the cache says it has may be of steps of other builds, which never asked for this cache. Those
    // of another operation are left; a look-up finds out what was made on something else.
    let also = keys.operation.map(|operation| record.keys_of(&operation)).unwrap_or_default();
    let also = also.into_iter().filter(|key| !keys.cache.contains(key));
    let cache = also.chain(keys.cache.iter().copied()).collect();
    let keys = RecordKeys { cache, ..keys.clone() };
    let record = CacheRecord { stack, layer, ..record.told() };
    let filed = session.lease.put_record(&keys, &record);
    Ok(filed.map_err(|e| BuildError::store("cannot file a cache record", e))?)
}
