//! The document as bytes: JSON, compressed with zstd. Written in one order, so that equal caches have equal digests;
//! read with limits, because anybody who may write to the place may have written it. Normative:
//! docs/remote-cache.md.

use std::io::Read;
use std::str::FromStr;

use oci::{Descriptor, DiffId, media};
use serde::{Deserialize, Serialize};

use super::{CacheDocument, CacheEntry, CacheLayer, MountBlob};
use crate::{RemoteError, RemoteErrorKind};

/// The version that is written, and the highest that is read.
const VERSION: u64 = 1;
/// Longest encoded document.
pub(crate) const COMPRESSED_MAX_BYTES: u64 = 64 << 20;
/// Longest document in JSON.
const JSON_MAX_BYTES: u64 = 64 << 20;
/// Most layers, records, mounts or listings.
const ITEMS_MAX: usize = 200_000;
/// Most layers of one record.
const LAYERS_OF_RECORD_MAX: usize = 1024;
/// Most keys of one record.
const KEYS_MAX: usize = 64;
/// Most keys, layers and inputs of all records together: a few bytes of JSON are many more in memory.
const WORDS_MAX: usize = 2_000_000;
/// Most inputs of one record.
const INPUTS_MAX: usize = 65_536;
/// Longest text in a record, in bytes.
const TEXT_MAX_BYTES: usize = 64 << 10;
const ZSTD_LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    version: u64,
    #[serde(default)]
    layers: Vec<LayerFile>,
    #[serde(default)]
    records: Vec<RecordFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    listings: Vec<ListingFile>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayerFile {
    diff_id: String,
    content_id: String,
    created: String,
    /// Absent inside an image's config: there the image's manifest has the descriptor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordFile {
    instruction: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operation: Option<String>,
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    layers: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layer: Option<u32>,
    created: String,
    #[serde(default)]
    took_ms: u64,
    #[serde(default)]
    step: String,
    #[serde(default)]
    inputs: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
struct MountFile {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    namespace: String,
    id: String,
    /// Owner, group, mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<(u32, u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    blob: Descriptor,
}

#[derive(Serialize, Deserialize)]
struct ListingFile {
    tree: String,
    blob: Descriptor,
}

impl CacheDocument {
    /// Writes the document. Equal content gives equal bytes, in whatever order it was put together. Layers that no
    /// record names are left out.
    ///
    /// # Errors
    /// It is larger than what [`CacheDocument::decode`] reads.
    pub fn encode(&self) -> Result<Vec<u8>, RemoteError> {
        encode(&self.in_order(), true)
    }

    /// Reads a document. Members that are not known are passed over.
    ///
    /// # Errors
    /// It is damaged, too large, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<CacheDocument, RemoteError> {
        decode(bytes, &|_| None)
    }
}

/// [`CacheDocument::encode`] for an image's config, without descriptors of layers.
pub(crate) fn encode_inline(document: &CacheDocument) -> Result<Vec<u8>, RemoteError> {
    encode(&document.in_order(), false)
}

/// [`CacheDocument::decode`] for what [`encode_inline`] wrote: `blob_of` knows the image's layers. Records with layers
/// that it does not know are left out.
pub(crate) fn decode_inline(
    bytes: &[u8],
    blob_of: &dyn Fn(&DiffId) -> Option<Descriptor>,
) -> Result<CacheDocument, RemoteError> {
    decode(bytes, blob_of)
}

fn encode(document: &CacheDocument, with_blobs: bool) -> Result<Vec<u8>, RemoteError> {
    let too_large = |what: &str| {
        RemoteError::new(RemoteErrorKind::TooLarge, "write the cache's document")
            .because(what.to_owned())
    };
    check_limits(document).map_err(|reason| too_large(&reason))?;
    let json = serde_json::to_vec(&to_file(document, with_blobs))
        .expect("a document holds only strings, numbers and lists");
    if json.len() as u64 > JSON_MAX_BYTES {
        return Err(too_large(&format!("{} bytes, {JSON_MAX_BYTES} at most", json.len())));
    }
    zstd::bulk::compress(&json, ZSTD_LEVEL).map_err(|error| {
        RemoteError::new(RemoteErrorKind::Local, "compress the cache's document").because(error)
    })
}

fn decode(
    bytes: &[u8],
    blob_of: &dyn Fn(&DiffId) -> Option<Descriptor>,
) -> Result<CacheDocument, RemoteError> {
    let failed =
        |kind, reason: String| RemoteError::new(kind, "read the cache's document").because(reason);
    let damaged = |reason: String| failed(RemoteErrorKind::Damaged, reason);
    let json = decompressed(bytes).map_err(|error| damaged(error.to_string()))?;
    if json.len() as u64 > JSON_MAX_BYTES {
        let reason = format!("more than {JSON_MAX_BYTES} bytes");
        return Err(failed(RemoteErrorKind::TooLarge, reason));
    }
    let VersionOnly { version } =
        serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    if version > VERSION {
        let reason = format!("it has version {version}, this program reads up to {VERSION}");
        return Err(failed(RemoteErrorKind::Newer, reason));
    }
    let file: File = serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
    drop(json);
    let document = from_file(file, blob_of).map_err(damaged)?;
    check_limits(&document).map_err(damaged)?;
    Ok(document)
}

/// At most one byte more than what is allowed.
fn decompressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut decoder = zstd::Decoder::new(bytes)?;
    // 8 MiB is what the highest ordinary level needs; more would be memory for the sender's asking.
    decoder.window_log_max(23)?;
    let mut json = Vec::new();
    decoder.take(JSON_MAX_BYTES + 1).read_to_end(&mut json)?;
    Ok(json)
}

/// What is true of every document, whether it is about to be written or was just read.
pub(crate) fn check_limits(document: &CacheDocument) -> Result<(), String> {
    let CacheDocument { layers, records, mounts, listings } = document;
    let counts = [layers.len(), records.len(), mounts.len(), listings.len()];
    if counts.iter().any(|count| *count > ITEMS_MAX) {
        return Err(format!("more than {ITEMS_MAX} layers, records, mounts or listings"));
    }
    let words = |entry: &CacheEntry| entry.keys.len() + entry.layers.len() + entry.inputs.len();
    if records.iter().map(words).sum::<usize>() > WORDS_MAX {
        return Err(format!("records with more than {WORDS_MAX} keys, layers and inputs"));
    }
    let is_short = |text: &String| text.len() <= TEXT_MAX_BYTES;
    for (number, entry) in records.iter().enumerate() {
        let wrong = |what: &str| Err(format!("record {number}: {what}"));
        if entry.keys.is_empty() || entry.keys.len() > KEYS_MAX {
            return wrong("no key, or too many");
        }
        if entry.layers.len() > LAYERS_OF_RECORD_MAX || entry.inputs.len() > INPUTS_MAX {
            return wrong("too many layers or inputs");
        }
        if entry.layers.iter().any(|place| *place as usize >= layers.len()) {
            return wrong("a layer that is not in the list");
        }
        if entry.layer.is_some() && entry.layer != entry.layers.last().copied() {
            return wrong("the step's own layer is not its last");
        }
        let texts = entry.inputs.iter().flat_map(|(label, digest)| [label, digest]);
        if !texts.chain([&entry.step]).all(is_short) || !is_time(&entry.created) {
            return wrong("a text that is too long, or a time that is none");
        }
    }
    if !layers.iter().all(|layer| is_time(&layer.created)) {
        return Err("a layer with a time that is none".to_owned());
    }
    let has_short_texts = |mount: &MountBlob| {
        [&mount.id, &mount.namespace].into_iter().chain(&mount.origin).all(is_short)
    };
    if !mounts.iter().all(has_short_texts) {
        return Err("a mount with an id that is too long".to_owned());
    }
    Ok(())
}

/// RFC 3339: it goes into configs of images, and into BuildKit's config, whose reader refuses others. Which forms the
/// parser takes besides is of no use here.
pub(super) fn is_time(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_digit() || b"-:.+TZ".contains(&byte);
    let shape = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        0..=18 => byte.is_ascii_digit(),
        _ => is_plain(byte),
    };
    (20..=40).contains(&text.len())
        && text.bytes().enumerate().all(shape)
        && text.parse::<jiff::Timestamp>().is_ok()
}

fn to_file(document: &CacheDocument, with_blobs: bool) -> File {
    let layer = |layer: &CacheLayer| LayerFile {
        diff_id: layer.diff_id.to_string(),
        content_id: layer.content_id.to_string(),
        created: layer.created.clone(),
        blob: with_blobs.then(|| plain(&layer.descriptor)),
    };
    let record = |entry: &CacheEntry| RecordFile {
        instruction: entry.instruction.to_string(),
        operation: entry.operation.map(|digest| digest.to_string()),
        keys: entry.keys.iter().map(ToString::to_string).collect(),
        base: entry.base.map(|chain| chain.to_string()),
        layers: entry.layers.clone(),
        layer: entry.layer,
        created: entry.created.clone(),
        took_ms: entry.took_ms,
        step: entry.step.clone(),
        inputs: entry.inputs.clone(),
    };
    let mount = |mount: &MountBlob| MountFile {
        namespace: mount.namespace.clone(),
        id: mount.id.clone(),
        owner: mount.owner,
        origin: mount.origin.clone(),
        blob: mount.descriptor.clone(),
    };
    let listing = |(tree, blob): &(graph::TreeDigest, Descriptor)| ListingFile {
        tree: tree.to_string(),
        blob: blob.clone(),
    };
    File {
        version: VERSION,
        layers: document.layers.iter().map(layer).collect(),
        records: document.records.iter().map(record).collect(),
        mounts: document.mounts.iter().map(mount).collect(),
        listings: document.listings.iter().map(listing).collect(),
    }
}

fn from_file(
    file: File,
    blob_of: &dyn Fn(&DiffId) -> Option<Descriptor>,
) -> Result<CacheDocument, String> {
    let mut places: Vec<Option<u32>> = Vec::with_capacity(file.layers.len());
    let mut layers = Vec::with_capacity(file.layers.len());
    for layer in file.layers {
        let diff_id = parsed(&layer.diff_id)?;
        let blob = layer.blob.or_else(|| blob_of(&diff_id));
        let Some(descriptor) = blob.as_ref().filter(|blob| is_layer(blob)).map(plain) else {
            places.push(None);
            continue;
        };
        places.push(u32::try_from(layers.len()).ok());
        let content_id = parsed(&layer.content_id)?;
        layers.push(CacheLayer { diff_id, content_id, descriptor, created: layer.created });
    }
    let mut records = Vec::with_capacity(file.records.len());
    for record in file.records {
        records.extend(record_from_file(record, &places)?);
    }
    let mut mounts = Vec::new();
    for mount in file.mounts {
        let MountFile { namespace, id, owner, origin, blob } = mount;
        mounts.push(MountBlob { namespace, id, owner, origin, descriptor: blob });
    }
    let mut listings = Vec::new();
    for listing in file.listings {
        listings.push((parsed(&listing.tree)?, listing.blob));
    }
    Ok(CacheDocument { layers, records, mounts, listings })
}

/// `None` for a record with a layer whose blob nobody knows.
fn record_from_file(
    record: RecordFile,
    places: &[Option<u32>],
) -> Result<Option<CacheEntry>, String> {
    let place = |place: &u32| {
        places.get(*place as usize).copied().ok_or("a record names a layer that is not in the list")
    };
    let layers: Vec<Option<u32>> = record.layers.iter().map(place).collect::<Result<_, _>>()?;
    let layer = record.layer.as_ref().map(place).transpose()?;
    let (Some(layers), false) = (layers.into_iter().collect(), layer == Some(None)) else {
        return Ok(None);
    };
    Ok(Some(CacheEntry {
        instruction: parsed(&record.instruction)?,
        operation: record.operation.as_deref().map(parsed).transpose()?,
        keys: record.keys.iter().map(|key| parsed(key)).collect::<Result<_, _>>()?,
        base: record.base.as_deref().map(parsed).transpose()?,
        layers,
        layer: layer.flatten(),
        created: record.created,
        took_ms: record.took_ms,
        step: record.step,
        inputs: record.inputs,
    }))
}

/// Kinds of layers that can be unpacked. One of another kind makes its records unusable, and no others.
fn is_layer(blob: &Descriptor) -> bool {
    matches!(
        &*blob.media_type,
        media::OCI_LAYER
            | media::OCI_LAYER_GZIP
            | media::OCI_LAYER_ZSTD
            | media::DOCKER_LAYER
            | media::DOCKER_LAYER_GZIP
            | media::DOCKER_LAYER_ZSTD
    )
}

/// A descriptor without what somebody else may have added: it gets into the manifests of images.
fn plain(blob: &Descriptor) -> Descriptor {
    Descriptor::new(&blob.media_type, blob.digest, blob.size_bytes)
}

fn parsed<T: FromStr<Err = oci::ParseDigestError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: oci::ParseDigestError| error.to_string())
}
