//! BuildKit's own config of a cache (CIO-10): written so that its importer reads our caches without an error, and
//! finds nothing in them that it could take for a result of its own.
//!
//! A record's digest there is a hash over our cache key and a word of ours. BuildKit computes its digests from other
//! things, so that no equal one can come up. Chains of layers begin above the base image, whose layers are not part of
//! the cache.

use std::collections::HashMap;

use oci::{Descriptor, Digest};
use serde::Serialize;

use crate::{CacheDocument, CacheLayer};

/// Media type of the config.
pub(crate) const CONFIG_MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// BuildKit reads no longer config.
const CONFIG_MAX_BYTES: usize = 1 << 20;

/// The config's members; a back end may add some of its own, which BuildKit passes over.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Config {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<Layer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) records: Vec<Record>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Layer {
    blob: String,
    /// Place of the layer below, -1 for none. Its reader takes an absent one for 0.
    parent: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

/// What back ends without manifests need to know of a layer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    media_type: String,
    #[serde(rename = "diffID")]
    diff_id: String,
    size: u64,
    created_at: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Record {
    layers: Vec<RecordResult>,
    digest: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordResult {
    layer: usize,
    created_at: String,
}

/// The config of a document; with facts on layers where no manifest has them (`annotated`).
pub(crate) fn config(document: &CacheDocument, annotated: bool) -> Config {
    let document = document.in_order();
    let (mut layers, mut records) = (Vec::new(), Vec::new());
    let mut places: HashMap<(i64, Digest), usize> = HashMap::new();
    for entry in &document.records {
        let Some(chain) = document.layers_of(entry).filter(|chain| !chain.is_empty()) else {
            continue;
        };
        let mut parent = -1;
        for layer in chain {
            let place = *places.entry((parent, layer.descriptor.digest)).or_insert_with(|| {
                layers.push(to_layer(layer, parent, annotated));
                layers.len() - 1
            });
            parent = i64::try_from(place).unwrap_or(i64::MAX);
        }
        let top = usize::try_from(parent).unwrap_or_default();
        for key in &entry.keys {
            let result = RecordResult { layer: top, created_at: entry.created.clone() };
            records
                .push(Record { layers: vec![result], digest: record_digest(&key.0).to_string() });
        }
    }
    Config { layers, records }
}

/// The config as bytes that BuildKit reads: of a cache that is too large for it, as much as fits.
pub(crate) fn config_json(document: &CacheDocument) -> Vec<u8> {
    let mut config = config(document, false);
    let json = |config: &Config| {
        serde_json::to_vec(config).expect("a config holds only strings, numbers and lists")
    };
    let whole = json(&config);
    if whole.len() <= CONFIG_MAX_BYTES {
        return whole;
    }
    config.records.clear();
    let layers = json(&config);
    if layers.len() <= CONFIG_MAX_BYTES { layers } else { json(&Config::default()) }
}

/// The records of an image's config: of those whose layers lie in the image in one piece, the place of the highest.
pub(crate) fn inline_records(document: &CacheDocument, diff_ids: &[oci::DiffId]) -> Vec<Record> {
    let mut records = Vec::new();
    for entry in &document.records {
        let Some(chain) = document.layers_of(entry) else { continue };
        let wanted: Vec<oci::DiffId> = chain.iter().map(|layer| layer.diff_id).collect();
        let found = diff_ids.windows(wanted.len().max(1)).position(|part| part == wanted);
        let Some(top) = found.map(|first| first + wanted.len() - 1) else { continue };
        for key in &entry.keys {
            let result = RecordResult { layer: top, created_at: entry.created.clone() };
            records
                .push(Record { layers: vec![result], digest: record_digest(&key.0).to_string() });
        }
    }
    records
}

fn to_layer(layer: &CacheLayer, parent: i64, annotated: bool) -> Layer {
    let Descriptor { media_type, digest, size_bytes, .. } = &layer.descriptor;
    Layer {
        blob: digest.to_string(),
        parent,
        annotations: annotated.then(|| Annotations {
            media_type: media_type.clone(),
            diff_id: layer.diff_id.to_string(),
            size: *size_bytes,
            created_at: layer.created.clone(),
        }),
    }
}

fn record_digest(key: &Digest) -> Digest {
    let mut text = b"shale cache key\0".to_vec();
    text.extend_from_slice(key.as_bytes());
    Digest::of(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::testing::{entry, layer};

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| n.to_string()).collect()
    }

    #[test]
    fn chains_share_their_beginning() {
        let document = CacheDocument {
            layers: names(3).iter().map(|name| layer(name)).collect(),
            records: vec![entry("x", &[0, 1]), entry("y", &[0, 2]), entry("link", &[1])],
            ..CacheDocument::default()
        };
        let config = config(&document, false);
        let parents: Vec<i64> = config.layers.iter().map(|layer| layer.parent).collect();
        // 0 below 1 and below 2, and 1 once more on nothing.
        assert_eq!(parents.iter().filter(|parent| **parent == -1).count(), 2);
        assert_eq!(config.layers.len(), 4);
        assert_eq!(config.records.len(), 6); // two keys each
        let parent_is_before = |(place, parent): (usize, &i64)| *parent < place as i64;
        assert!(parents.iter().enumerate().all(parent_is_before));
        let ours: Vec<String> =
            document.records.iter().flat_map(|e| &e.keys).map(|key| key.to_string()).collect();
        assert!(config.records.iter().all(|record| !ours.contains(&record.digest)));
    }

    #[test]
    fn it_is_written_as_buildkit_reads_it() {
        let document = CacheDocument {
            layers: vec![layer("a")],
            records: vec![entry("x", &[0])],
            ..CacheDocument::default()
        };
        let text = String::from_utf8(config_json(&document)).expect("JSON");
        let blob = layer("a").descriptor.digest;
        assert!(text.contains(&format!(r#"{{"layers":[{{"blob":"{blob}","parent":-1}}],"records":[{{"layers":[{{"layer":0,"createdAt":"2026-"#)), "{text}");
        assert_eq!(config_json(&CacheDocument::default()), b"{}");
        let annotated = serde_json::to_value(config(&document, true)).expect("JSON");
        let annotations = &annotated["layers"][0]["annotations"];
        assert_eq!(annotations["size"], 100);
        assert_eq!(annotations["diffID"], layer("a").diff_id.to_string());
        assert!(annotations["createdAt"].is_string() && annotations["mediaType"].is_string());
    }

    #[test]
    fn what_buildkit_would_not_read_is_not_written() {
        let of = |layers: usize, records: usize| CacheDocument {
            layers: names(layers).iter().map(|name| layer(name)).collect(),
            records: (0..records).map(|n| entry(&n.to_string(), &[(n % layers) as u32])).collect(),
            ..CacheDocument::default()
        };
        let few = config_json(&of(10, 5_000));
        assert!(few.len() <= CONFIG_MAX_BYTES);
        let few: serde_json::Value = serde_json::from_slice(&few).expect("JSON");
        assert_eq!((few["layers"].as_array().map(Vec::len), few.get("records")), (Some(10), None));
        assert_eq!(config_json(&of(12_000, 12_000)).len(), b"{}".len());
    }
}
