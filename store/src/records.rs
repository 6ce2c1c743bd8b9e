//! Cache records: what a step made, filed under its cache keys and its near key, and listed under its instruction
//! digest (design D4). A record that is torn, or does not hold the key that it is found by, counts as absent.

use graph::{CacheKey, InstructionDigest, LayerId, NearKey, OperationDigest, Stack};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};
use crate::layout::locked;
use crate::lease::Lease;
use crate::seal;

const KIND: &str = "record";
/// One file has several names, so its checksum binds none of them; its body lists the keys.
const SEALED_NAME: &str = "records";
const LIST_KIND: &str = "record-list";
/// How many records stay listed under one instruction digest. One is enough to know that the instruction was run
/// before; the keys find the right one.
const RECORDS_PER_INSTRUCTION_MAX: usize = 16;

/// The result of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    /// The file system after the step, the layers that it ran on included.
    pub stack: Stack,
    /// The layer that the step made, if it made one; for `--link` the only one of the stack.
    pub layer: Option<LayerId>,
    /// When the step ran, RFC 3339.
    pub created: String,
    /// How long it took, in milliseconds: what its result saves.
    pub took_ms: u64,
    /// The instruction as people know it: `RUN make`.
    pub step: String,
    /// What it read, as label and digest, for whoever asks why it ran again.
    pub inputs: Vec<(String, String)>,
}

/// Everything that a record is filed under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordKeys {
    /// What was known before the step ran.
    pub instruction: InstructionDigest,
    /// The same with the digests of contents, once they are known.
    pub operation: Option<OperationDigest>,
    /// The weak and strong keys, once they are known.
    pub cache: Vec<CacheKey>,
    /// The key of this machine.
    pub near: Option<NearKey>,
}

#[derive(Serialize, Deserialize)]
struct RecordFile {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    instruction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    operation: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    cache: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    near: Option<String>,
    /// Chain and number of layers of the base.
    base: Option<(String, usize)>,
    /// Layer ids, one after the other.
    layers: String,
    layer: Option<String>,
    created: String,
    #[serde(default)]
    took_ms: u64,
    #[serde(default)]
    step: String,
    inputs: Vec<(String, String)>,
}

fn cache_path(key: &CacheKey) -> String {
    format!("records/cache/{}", key.0.hex())
}

fn near_path(key: &NearKey) -> String {
    format!("records/near/{}", key.0.hex())
}

pub(crate) fn list_path(instruction: &InstructionDigest) -> String {
    format!("records/instruction/{}", instruction.0.hex())
}

impl Lease {
    /// The record of a weak or strong cache key. Its layers are not protected yet: [`Lease::hold_layers`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn find(&self, key: &CacheKey) -> Result<Option<CacheRecord>, StoreError> {
        self.read_record(&cache_path(key))
    }

    /// The record of a near key. Its layers are not protected yet: [`Lease::hold_layers`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn find_near(&self, key: &NearKey) -> Result<Option<CacheRecord>, StoreError> {
        self.read_record(&near_path(key))
    }

    /// The latest records of an instruction, whatever it read, the oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn records_of(
        &self,
        instruction: &InstructionDigest,
    ) -> Result<Vec<CacheRecord>, StoreError> {
        let records = self.records_with_keys(instruction)?;
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    /// Whether there is a record of an instruction at all: [`Lease::records_of`] without reading more than one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_record_of(&self, instruction: &InstructionDigest) -> Result<bool, StoreError> {
        for path in self.listed(&list_path(instruction))?.iter().rev() {
            if self.read_record_file(path)?.as_ref().and_then(to_record).is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// [`Lease::records_of`] with what each is filed under.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn records_with_keys(
        &self,
        instruction: &InstructionDigest,
    ) -> Result<Vec<(RecordKeys, CacheRecord)>, StoreError> {
        let mut records = Vec::new();
        for path in self.listed(&list_path(instruction))? {
            let Some(file) = self.read_record_file(&path)? else { continue };
            let Some(record) = to_record(&file) else { continue };
            records.push((to_keys(&file, instruction), record));
        }
        Ok(records)
    }

    /// Files a record under all its keys. What was there is replaced.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_record(&self, keys: &RecordKeys, record: &CacheRecord) -> Result<(), StoreError> {
        let mut file = to_file(record);
        file.instruction = Some(keys.instruction.to_string());
        file.operation = keys.operation.map(|key| key.to_string());
        file.cache = keys.cache.iter().map(CacheKey::to_string).collect();
        file.near = keys.near.map(|key| key.to_string());
        let near = keys.near.iter().map(near_path);
        let paths: Vec<String> = near.chain(keys.cache.iter().map(cache_path)).collect();
        // Keys first: a record that is listed but not found by key would be waited for in vain.
        self.publish_linked(&paths, &seal_record(&file))?;
        match paths.into_iter().next() {
            Some(path) => self.list_record(&list_path(&keys.instruction), path),
            None => Ok(()),
        }
    }

    /// Files a record under one more near key.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn add_near(&self, key: &NearKey, record: &CacheRecord) -> Result<(), StoreError> {
        let mut file = to_file(record);
        file.near = Some(key.to_string());
        self.publish_result(&near_path(key), &seal_record(&file))
    }

    fn read_record(&self, path: &str) -> Result<Option<CacheRecord>, StoreError> {
        let Some(file) = self.read_record_file(path)? else { return Ok(None) };
        let Some(record) = to_record(&file) else { return Ok(None) };
        self.note_used(path);
        self.note_listed(&file);
        Ok(Some(record))
    }

    fn read_record_file(&self, path: &str) -> Result<Option<RecordFile>, StoreError> {
        let bytes = self.disk().read(path).map_err(at("read", path))?;
        Ok(bytes.and_then(|bytes| parse_file(path, &bytes)))
    }

    /// A record that is used keeps its other names too when the build is made durable.
    fn note_listed(&self, file: &RecordFile) {
        let Some(instruction) = file.instruction.as_deref().and_then(|text| text.parse().ok())
        else {
            return;
        };
        let keys = to_keys(file, &instruction);
        for path in keys.cache.iter().map(cache_path).chain(keys.near.iter().map(near_path)) {
            self.note_used(&path);
        }
        self.note_used(&list_path(&instruction));
    }

    /// Paths of an instruction's records, the oldest first.
    fn listed(&self, list: &str) -> Result<Vec<String>, StoreError> {
        let bytes = self.disk().read(list).map_err(at("read", list))?;
        Ok(bytes.and_then(|bytes| parse_list(list, &bytes)).unwrap_or_default())
    }

    /// Puts a record at the end of its instruction's list. Two processes that do so at the same moment may lose one
    /// entry; the other one says as well that the instruction was run before.
    fn list_record(&self, list: &str, path: String) -> Result<(), StoreError> {
        let _updating = locked(&self.store().shared.updating);
        let mut paths = self.listed(list)?;
        paths.retain(|old| *old != path);
        paths.push(path);
        paths.drain(..paths.len().saturating_sub(RECORDS_PER_INSTRUCTION_MAX));
        self.publish_result(list, &seal::seal_json(LIST_KIND, list, &paths))
    }
}

/// Paths of the records in an instruction's list; `None` when it is not whole.
pub(crate) fn parse_list(path: &str, bytes: &[u8]) -> Option<Vec<String>> {
    seal::unseal_json(LIST_KIND, path, bytes)
}

fn seal_record(file: &RecordFile) -> Vec<u8> {
    seal::seal_json(KIND, SEALED_NAME, file)
}

/// `None` when the file is not whole or not filed under a key that it has.
fn parse_file(path: &str, bytes: &[u8]) -> Option<RecordFile> {
    let file: RecordFile = seal::unseal_json(KIND, SEALED_NAME, bytes)?;
    let (area, hex) = path.rsplit_once('/')?;
    let is_key = |text: &String| text.strip_prefix("sha256:") == Some(hex);
    let right = match area {
        "records/cache" => file.cache.iter().any(is_key),
        "records/near" => file.near.iter().any(is_key),
        _ => false,
    };
    right.then_some(file)
}

/// The layers that a record needs; `None` when the file is not whole.
pub(crate) fn parse(path: &str, bytes: &[u8]) -> Option<CacheRecord> {
    to_record(&parse_file(path, bytes)?)
}

impl CacheRecord {
    /// Every layer that the record names.
    pub(crate) fn all_layers(&self) -> impl Iterator<Item = LayerId> {
        self.stack.layers.iter().copied().chain(self.layer)
    }
}

fn to_file(record: &CacheRecord) -> RecordFile {
    let CacheRecord { stack, layer, created, took_ms, step, inputs } = record;
    RecordFile {
        instruction: None,
        operation: None,
        cache: Vec::new(),
        near: None,
        base: stack.base.map(|(chain, count)| (chain.to_string(), count)),
        layers: join_ids(&stack.layers),
        layer: layer.map(|id| id.to_string()),
        created: created.clone(),
        took_ms: *took_ms,
        step: step.clone(),
        inputs: inputs.clone(),
    }
}

fn to_record(file: &RecordFile) -> Option<CacheRecord> {
    Some(CacheRecord {
        stack: to_stack(file.base.as_ref(), &file.layers)?,
        layer: match &file.layer {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        },
        created: file.created.clone(),
        took_ms: file.took_ms,
        step: file.step.clone(),
        inputs: file.inputs.clone(),
    })
}

/// Layer ids as text, one after the other.
pub(crate) fn join_ids(layers: &[LayerId]) -> String {
    layers.iter().map(LayerId::to_string).collect()
}

/// A stack from its text form; `None` when it makes no sense.
pub(crate) fn to_stack(base: Option<&(String, usize)>, layers: &str) -> Option<Stack> {
    const DIGITS: usize = 32;
    if !layers.is_ascii() || !layers.len().is_multiple_of(DIGITS) {
        return None;
    }
    let ids = (0..layers.len()).step_by(DIGITS).map(|at| layers[at..at + DIGITS].parse().ok());
    let layers = ids.collect::<Option<Vec<LayerId>>>()?;
    let base = match base {
        Some((chain, count)) if *count <= layers.len() => Some((chain.parse().ok()?, *count)),
        Some(_) => return None,
        None => None,
    };
    Some(Stack { base, layers })
}

fn to_keys(file: &RecordFile, instruction: &InstructionDigest) -> RecordKeys {
    RecordKeys {
        instruction: *instruction,
        operation: file.operation.as_deref().and_then(|text| text.parse().ok()),
        cache: file.cache.iter().filter_map(|text| text.parse().ok()).collect(),
        near: file.near.as_deref().and_then(|text| text.parse().ok()),
    }
}
