//! Everything that imported caches hold, by what it is looked for.
//!
//! Owns the answers in memory: no look-up needs a round trip. Refuses to know whether what it names is still there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use graph::{CacheKey, InstructionDigest, OperationDigest, Stack};
use oci::{ChainId, Reference};
use remotecache::{CacheDocument, CacheEntry, CachePlace};
use store::CacheRecord;

use super::layer::ImportedLayer;

/// A cache that was read.
pub(super) struct Source {
    pub(super) place: Arc<dyn CachePlace>,
    pub(super) document: Arc<CacheDocument>,
    /// Its name, when it lies in a registry.
    pub(super) reference: Option<Reference>,
}

/// All records of all imports; of those with one key the one of the first import.
#[derive(Default)]
pub(crate) struct Index {
    instructions: HashMap<InstructionDigest, Vec<Arc<ImportedRecord>>>,
    operations: HashSet<OperationDigest>,
    keys: HashMap<CacheKey, Arc<ImportedRecord>>,
}

/// A record of an imported cache.
pub(crate) struct ImportedRecord {
    pub(super) entry: CacheEntry,
    /// The layers above its base, lowest first.
    pub(super) layers: Vec<Arc<ImportedLayer>>,
}

impl Index {
    pub(super) fn of(sources: &[Source]) -> Index {
        let mut index = Index::default();
        for source in sources {
            let mut layers = HashMap::new();
            for entry in &source.document.records {
                if let Some(record) = record(source, entry, &mut layers) {
                    index.add(Arc::new(record));
                }
            }
        }
        index
    }

    fn add(&mut self, record: Arc<ImportedRecord>) {
        let entry = &record.entry;
        self.instructions.entry(entry.instruction).or_default().push(record.clone());
        self.operations.extend(entry.operation);
        for key in &entry.keys {
            self.keys.entry(*key).or_insert_with(|| record.clone());
        }
    }

    /// The record of a key.
    pub(super) fn find(&self, key: &CacheKey) -> Option<&Arc<ImportedRecord>> {
        self.keys.get(key)
    }

    /// The records of an instruction, whatever it read.
    pub(super) fn records_of(&self, instruction: &InstructionDigest) -> &[Arc<ImportedRecord>] {
        self.instructions.get(instruction).map_or(&[], Vec::as_slice)
    }

    /// Whether nothing was imported.
    pub(super) fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// Whether any record is of this operation: else no key of it can be found.
    pub(super) fn knows(&self, operation: &OperationDigest) -> bool {
        self.operations.contains(operation)
    }
}

type Layers = HashMap<(ChainId, bool), Arc<ImportedLayer>>;

/// A record with its layers; `None` for one that names others than the document has. Records share what they stand on.
fn record(source: &Source, entry: &CacheEntry, known: &mut Layers) -> Option<ImportedRecord> {
    let is_alone = entry.base.is_none() && entry.layers.len() == 1;
    let mut chain = entry.base;
    let mut layers = Vec::new();
    for at in &entry.layers {
        let layer = source.document.layers.get(*at as usize)?;
        let next = chain.map_or(ChainId(layer.diff_id.0), |chain| chain.then(layer.diff_id));
        chain = Some(next);
        let new = || {
            Arc::new(ImportedLayer {
                chain: next,
                diff_id: layer.diff_id,
                content_id: layer.content_id,
                created: layer.created.clone(),
                descriptor: layer.descriptor.clone(),
                is_alone,
                place: source.place.clone(),
                repository: source.reference.clone(),
            })
        };
        layers.push(known.entry((next, is_alone)).or_insert_with(new).clone());
    }
    Some(ImportedRecord { entry: entry.clone(), layers })
}

impl ImportedRecord {
    /// Its keys, if it is of this operation.
    pub(super) fn keys_of(&self, operation: &OperationDigest) -> Vec<CacheKey> {
        match self.entry.operation.as_ref() == Some(operation) {
            true => self.entry.keys.clone(),
            false => Vec::new(),
        }
    }

    /// The record as one of the store would be, without its layers: for who asks when, how long and of what.
    pub(super) fn told(&self) -> CacheRecord {
        let CacheEntry { created, took_ms, step, inputs, .. } = &self.entry;
        CacheRecord {
            stack: Stack::default(),
            layer: None,
            created: created.clone(),
            took_ms: *took_ms,
            step: step.clone(),
            inputs: inputs.clone(),
        }
    }
}
