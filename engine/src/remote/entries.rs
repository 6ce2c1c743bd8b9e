//! What an exported cache says: a record for each step, with the keys that other machines will find it by.
//!
//! Owns choosing the steps and naming their results. Nothing secret is part of it: layers, digests and the steps' own
//! text, no mounts (CIO-16).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use graph::{CacheKey, Graph, OperationDigest, VertexId};
use oci::{ChainId, Digest};
use planner::key;
use remotecache::{CacheDocument, CacheEntry, CacheLayer};
use store::CacheRecord;

use super::hit::record_of;
use super::listings;
use super::mounts;
use super::sending::contents_of;
use super::state::Export;
use crate::error::BuildError;
use crate::keys::{self, Form};
use crate::session::Session;
use crate::stop::Stop;
use crate::value::{LayerName, OwnLayer, StackValue, Value};
use crate::work::{Values, Work};

/// The document of one export; its layers are in the place then.
pub(super) fn document(
    session: &Arc<Session>,
    graph: &Arc<Graph>,
    values: &[Value],
    export: &Export,
) -> Result<CacheDocument, Stop> {
    let wanted = graph.vertices.iter().filter(|v| v.op.makes_layer() && export.wants(graph, v.id));
    let wanted: Vec<VertexId> = wanted.map(|vertex| vertex.id).collect();
    let values: Values = Arc::new(values.iter().cloned().map(Some).collect());
    let results = results(session, graph, &values, &wanted)?;
    let mut layers = Layers::default();
    for result in &results {
        layers.add(&result.layers);
    }
    let sent = export.send_all(session, &layers.list);
    let mut document = CacheDocument::default();
    let mut places = HashMap::new();
    let mut lost = 0;
    for (layer, sent) in layers.list.iter().zip(sent) {
        match sent {
            Ok(sent) => drop(places.insert(layer.name(), place_of(&mut document.layers, sent))),
            Err(failure) if failure.is_lost => lost += 1,
            Err(failure) => return Err(export.failure(&failure).into()),
        }
    }
    if lost > 0 {
        session.warn(format!(
            "{lost} layers of an imported cache are gone: the exported one is without what needs them"
        ));
    }
    for result in &results {
        document.records.extend(entry(result, &places)?);
    }
    document.listings = listings::export(session, &document.records, export);
    document.mounts = mounts::export(session, graph, &values, export);
    Ok(document)
}

/// The results of these vertices, as far as they can be exported.
pub(super) fn results(
    session: &Arc<Session>,
    graph: &Arc<Graph>,
    values: &Values,
    wanted: &[VertexId],
) -> Result<Vec<StepResult>, Stop> {
    let mut results = Vec::new();
    for id in wanted {
        let (session, graph, values) = (session.clone(), graph.clone(), values.clone());
        results.extend(result(Work { session, graph, id: *id, values })?);
    }
    Ok(results)
}

/// The result of a vertex.
pub(super) struct StepResult {
    work: Work,
    contents: Vec<Digest>,
    base: Option<ChainId>,
    /// All layers above the base, the step's own on top; of a linked copy its own alone.
    layers: Vec<OwnLayer>,
}

fn result(work: Work) -> Result<Option<StepResult>, Stop> {
    let contents = match contents_of(&work.session, work.id) {
        Some(contents) => contents,
        None if key::content_sources(&work.graph, work.vertex()).is_empty() => Vec::new(),
        None => return Ok(None),
    };
    let Some(stack) = work.value(work.id).stack() else { return Ok(None) };
    let (mut base, mut layers) = stack.own_layers();
    if work.is_linked() {
        base = None;
        layers.drain(..layers.len().saturating_sub(1));
    }
    if layers.is_empty() {
        return Ok(None);
    }
    Ok(Some(StepResult { work, contents, base, layers }))
}

/// All layers of an export, each once.
#[derive(Default)]
struct Layers {
    list: Vec<OwnLayer>,
    known: HashSet<LayerName>,
}

impl Layers {
    fn add(&mut self, layers: &[OwnLayer]) {
        for layer in layers {
            if self.known.insert(layer.name()) {
                self.list.push(layer.clone());
            }
        }
    }
}

/// The place of a layer in the document's list; equal ones are listed once.
fn place_of(list: &mut Vec<CacheLayer>, layer: CacheLayer) -> u32 {
    let at = list.iter().position(|known| *known == layer).unwrap_or_else(|| {
        list.push(layer);
        list.len() - 1
    });
    at as u32
}

/// The record of a result, whose layers have these places by their names; `None` when one has none.
pub(super) fn entry(
    result: &StepResult,
    places: &HashMap<LayerName, u32>,
) -> Result<Option<CacheEntry>, Stop> {
    let StepResult { work, contents, base, .. } = result;
    let layers = result.layers.iter().map(|layer| places.get(&layer.name()).copied());
    let Some(layers) = layers.collect::<Option<Vec<u32>>>() else { return Ok(None) };
    let operation = key::operation_digest(work.vertex(), contents);
    let (known_keys, told) = known(result, &operation)?;
    let mut keys: BTreeSet<CacheKey> = known_keys.into_iter().collect();
    keys.extend(keys::cache_key(work, contents, Form::Weak)?);
    if has_sources_here(work) {
        keys.extend(keys::cache_key(work, contents, Form::Strong)?);
    }
    let Some(told) = told else { return Ok(None) };
    Ok(Some(CacheEntry {
        instruction: key::instruction_digest(work.vertex()),
        operation: Some(operation),
        keys: keys.into_iter().collect(),
        base: *base,
        layer: layers.last().copied(),
        layers,
        created: told.created,
        took_ms: told.took_ms,
        step: told.step,
        inputs: told.inputs,
    }))
}

/// Whether the files that a step reads of other stages are here: no key is worth fetching them.
fn has_sources_here(work: &Work) -> bool {
    let uses = key::input_uses(&work.graph, work.vertex());
    let is_here = |id: VertexId| matches!(work.value(id).stack(), Some(StackValue::Present(_)));
    uses.iter().all(|one| is_here(one.input))
}

type Known = (Vec<CacheKey>, Option<CacheRecord>);

/// What records of the result say of it: keys that it was found by before, time, inputs.
fn known(result: &StepResult, operation: &OperationDigest) -> Result<Known, Stop> {
    let StepResult { work, layers, .. } = result;
    let session = &work.session;
    let top = match layers.last() {
        Some(OwnLayer::Here(layers)) => layers.last().copied(),
        _ => None,
    };
    if let Some(record) = record_of(session, work.id) {
        return Ok((record.keys_of(operation), Some(record.told())));
    }
    let Some(top) = top else { return Ok((Vec::new(), None)) };
    let instruction = key::instruction_digest(work.vertex());
    let records = session.lease.records_with_keys(&instruction);
    let records = records.map_err(|e| BuildError::store("cannot look up cache records", e))?;
    let own = records.into_iter().filter(|(_, record)| record.layer == Some(top));
    let mut known: Known = (Vec::new(), None);
    for (keys, record) in own {
        if keys.operation == Some(*operation) {
            known.0.extend(&keys.cache);
        }
        if known.1.as_ref().is_none_or(|told| told.inputs.is_empty()) {
            known.1 = Some(record);
        }
    }
    if known.1.is_none() {
        let info = session.lease.layer(top);
        let info = info.map_err(|e| BuildError::store("cannot read a layer's facts", e))?;
        known.1 = info.map(|info| CacheRecord {
            stack: graph::Stack::default(),
            layer: None,
            created: info.created,
            took_ms: 0,
            step: work.vertex().origin.text().to_owned(),
            inputs: Vec::new(),
        });
    }
    Ok(known)
}
