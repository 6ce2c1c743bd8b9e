//! Everything that imported caches hold, by what it is looked for.
//!
//! Owns the answers in memory: no look-up needs a round trip. Refuses to know whether what it names is still there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use graph::{CacheKey, ContentId, InstructionDigest, LayerId, OperationDigest, Stack};
use oci::{ChainId, Reference};
use remotecache::{CacheDocument, CacheEntry, CachePlace};
use store::CacheRecord;

use crate::value::ImportedLayer;

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
    /// By what stands for a layer that is not here.
    contents: HashMap<LayerId, ContentId>,
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
        self.contents.extend(record.layers.iter().map(|l| (l.near_id(), l.content_id)));
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

    /// The content of a layer that [`ImportedRecord::told`] names.
    pub(super) fn content_of(&self, layer: LayerId) -> Option<ContentId> {
        self.contents.get(&layer).copied()
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

    /// The record as one of the store would be, for who asks when, how long and of what. Its layers are not in the
    /// store: other ids stand for them.
    pub(super) fn told(&self) -> CacheRecord {
        let CacheEntry { base, layer, created, took_ms, step, inputs, .. } = &self.entry;
        let layers: Vec<LayerId> = self.layers.iter().map(|layer| layer.near_id()).collect();
        CacheRecord {
            layer: layer.and(layers.last().copied()),
            stack: Stack { base: base.map(|chain| (chain, 0)), layers },
            created: created.clone(),
            took_ms: *took_ms,
            step: step.clone(),
            inputs: inputs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use oci::{Descriptor, DiffId, Digest};
    use remotecache::{CacheLayer, OpenBlob, Put, RemoteError, RemoteErrorKind};

    use super::*;

    /// A place that is only named.
    struct Named(&'static str);

    impl CachePlace for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
            Ok(None)
        }

        fn open(&self, _: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
            Err(RemoteError::new(RemoteErrorKind::NotFound, "open"))
        }

        fn has(&self, _: &Descriptor) -> Result<bool, RemoteError> {
            Ok(false)
        }

        fn put(
            &self,
            _: &Descriptor,
            _: OpenBlob<'_>,
            _: Option<&Reference>,
        ) -> Result<Put, RemoteError> {
            Err(RemoteError::new(RemoteErrorKind::Refused, "put"))
        }

        fn publish(&self, _: &CacheDocument) -> Result<(), RemoteError> {
            Ok(())
        }
    }

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn layer(text: &str) -> CacheLayer {
        CacheLayer {
            diff_id: DiffId(digest(text)),
            content_id: ContentId(digest(&format!("content {text}"))),
            descriptor: Descriptor::new("x", digest(&format!("blob {text}")), 1),
            created: "2001-02-03T04:05:06Z".to_owned(),
        }
    }

    fn entry(key: &str, base: Option<&str>, layers: &[u32]) -> CacheEntry {
        CacheEntry {
            instruction: InstructionDigest(digest("instruction")),
            operation: Some(OperationDigest(digest(key))),
            keys: vec![CacheKey(digest(key))],
            base: base.map(|base| ChainId(digest(base))),
            layers: layers.to_vec(),
            layer: layers.last().copied(),
            created: "2001-02-03T04:05:06Z".to_owned(),
            took_ms: 7,
            step: format!("RUN {key}"),
            inputs: vec![("text".to_owned(), digest(key).to_string())],
        }
    }

    fn index(documents: Vec<(&'static str, CacheDocument)>) -> Index {
        let source = |(name, document): (&'static str, CacheDocument)| Source {
            place: Arc::new(Named(name)),
            document: Arc::new(document),
            reference: None,
        };
        Index::of(&documents.into_iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn records_share_the_layers_that_they_stand_on() {
        let layers = vec![layer("a"), layer("b")];
        let records = vec![entry("one", Some("base"), &[0]), entry("two", Some("base"), &[0, 1])];
        let index = index(vec![("x", CacheDocument { layers, records, ..Default::default() })]);
        let find = |key: &str| index.find(&CacheKey(digest(key))).expect("imported").clone();
        let (one, two) = (find("one"), find("two"));
        assert!(Arc::ptr_eq(&one.layers[0], &two.layers[0]));
        let base = ChainId(digest("base"));
        let [a, b] = ["a", "b"].map(|text| DiffId(digest(text)));
        assert_eq!(two.layers[1].chain, base.then(a).then(b));
        assert!(!one.layers[0].is_alone, "it stands on a base");
        assert!(index.knows(&OperationDigest(digest("one"))));
        assert!(!index.knows(&OperationDigest(digest("three"))));
        assert_eq!(index.records_of(&InstructionDigest(digest("instruction"))).len(), 2);
        assert!(index.records_of(&InstructionDigest(digest("another"))).is_empty());
    }

    #[test]
    fn a_layer_on_nothing_is_another_one_than_the_same_tar_in_a_stack() {
        let layers = vec![layer("a"), layer("b")];
        let records = vec![entry("linked", None, &[0]), entry("stack", None, &[0, 1])];
        let index = index(vec![("x", CacheDocument { layers, records, ..Default::default() })]);
        let find = |key: &str| index.find(&CacheKey(digest(key))).expect("imported").clone();
        let (linked, stack) = (find("linked"), find("stack"));
        assert!(linked.layers[0].is_alone && !stack.layers[0].is_alone);
        assert_eq!(linked.layers[0].chain, ChainId(digest("a")));
    }

    #[test]
    fn the_first_import_counts_and_broken_records_do_not() {
        let document = |keys: &[&str], places: &[u32]| CacheDocument {
            layers: vec![layer("a")],
            records: keys.iter().map(|key| entry(key, None, places)).collect(),
            ..Default::default()
        };
        let first = document(&["one"], &[0]);
        let second = document(&["one", "two"], &[0]);
        let broken = document(&["three"], &[9]);
        let index = index(vec![("first", first), ("second", second), ("broken", broken)]);
        let place = |key: &str| {
            let record = index.find(&CacheKey(digest(key)))?;
            Some(record.layers[0].place.name().to_owned())
        };
        assert_eq!(place("one").as_deref(), Some("first"));
        assert_eq!(place("two").as_deref(), Some("second"));
        assert_eq!(place("three"), None);
    }

    #[test]
    fn what_is_told_of_a_record_leads_back_to_its_contents() {
        let layers = vec![layer("a"), layer("b")];
        let records = vec![entry("one", Some("base"), &[0, 1])];
        let index = index(vec![("x", CacheDocument { layers, records, ..Default::default() })]);
        let told = index.find(&CacheKey(digest("one"))).expect("imported").told();
        let contents: Vec<_> =
            told.stack.layers.iter().map(|layer| index.content_of(*layer)).collect();
        let content = |text: &str| Some(ContentId(digest(&format!("content {text}"))));
        assert_eq!(contents, [content("a"), content("b")]);
        assert_eq!((told.took_ms, &*told.step), (7, "RUN one"));
        assert_eq!(told.layer, told.stack.layers.last().copied());
        assert_eq!(index.content_of(LayerId(1)), None);
    }
}
