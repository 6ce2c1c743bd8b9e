//! A cache inside an image's config (CIO-06): the document without descriptors, which the image's manifest has, and
//! BuildKit's own member beside it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, DiffId};
use serde::Deserialize;
use serde_json::Value;

use crate::document::{decode_inline, encode_inline};
use crate::{CacheDocument, RemoteError, RemoteErrorKind, buildkit};

/// The config's member that holds our document.
pub const MEMBER: &str = "vnd.shale.cache.v1";
/// The config's member that holds BuildKit's records.
const BUILDKIT_MEMBER: &str = "moby.buildkit.cache.v0";
/// All members that an inline cache has in a config.
pub const MEMBERS: [&str; 2] = [BUILDKIT_MEMBER, MEMBER];

/// Members for the config of an image with these layers. Records that name other layers are left out, and mounts and
/// listings: an image brings nothing but its layers.
///
/// # Errors
/// The document is too large.
pub fn members(
    document: &CacheDocument,
    diff_ids: &[DiffId],
) -> Result<Vec<(String, Value)>, RemoteError> {
    let mut document = document.in_order();
    let own: Vec<bool> =
        document.layers.iter().map(|layer| diff_ids.contains(&layer.diff_id)).collect();
    document.records.retain(|entry| entry.layers.iter().all(|place| own[*place as usize]));
    document.mounts.clear();
    document.listings.clear();
    let records = buildkit::inline_records(&document, diff_ids);
    let records = serde_json::to_vec(&records).expect("records are strings and numbers");
    let text = |bytes: Vec<u8>| Value::String(STANDARD.encode(bytes));
    let own = encode_inline(&document)?;
    Ok(vec![(BUILDKIT_MEMBER.to_owned(), text(records)), (MEMBER.to_owned(), text(own))])
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "vnd.shale.cache.v1")]
    cache: Option<String>,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

/// Reads the document from an image's config; `layers` are those of its manifest. `None` when the config has none.
pub(crate) fn read(
    config: &[u8],
    layers: &[Descriptor],
) -> Result<Option<CacheDocument>, RemoteError> {
    let damaged = |reason: String| {
        RemoteError::new(RemoteErrorKind::Damaged, "read the cache in an image's config")
            .because(reason)
    };
    let config: Config =
        serde_json::from_slice(config).map_err(|error| damaged(error.to_string()))?;
    let Some(text) = config.cache else { return Ok(None) };
    let diff_ids: Vec<DiffId> = config
        .rootfs
        .diff_ids
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, oci::ParseDigestError>>()
        .map_err(|error| damaged(error.to_string()))?;
    if diff_ids.len() != layers.len() {
        let (has, names) = (layers.len(), diff_ids.len());
        return Err(damaged(format!("the image has {has} layers, its config names {names}")));
    }
    let blobs: HashMap<DiffId, &Descriptor> = diff_ids.into_iter().zip(layers).collect();
    let bytes = STANDARD.decode(text).map_err(|error| damaged(error.to_string()))?;
    let document = decode_inline(&bytes, &|diff_id| blobs.get(diff_id).map(|blob| (*blob).clone()));
    // An image brings nothing but its layers, whatever its config says.
    document.map(|document| {
        Some(CacheDocument { mounts: Vec::new(), listings: Vec::new(), ..document })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::testing::{digest, entry, layer};
    use crate::document::{MountBlob, encode_inline};

    #[test]
    fn an_image_brings_only_its_layers() {
        let document = CacheDocument {
            layers: vec![layer("a"), layer("foreign")],
            records: vec![entry("one", &[0]), entry("two", &[0, 1])],
            mounts: vec![MountBlob {
                namespace: String::new(),
                id: "go".to_owned(),
                owner: None,
                origin: None,
                descriptor: Descriptor::new("m", digest("m"), 7),
            }],
            listings: vec![(graph::TreeDigest(digest("t")), Descriptor::new("l", digest("l"), 8))],
        };
        let own = document.layers[0].clone();
        let config = serde_json::json!({
            MEMBER: STANDARD.encode(encode_inline(&document).expect("encode")),
            "rootfs": { "diff_ids": [own.diff_id.to_string()] },
        });
        let config = config.to_string();
        let read = read(config.as_bytes(), std::slice::from_ref(&own.descriptor));
        let read = read.expect("no damage").expect("a cache");
        assert_eq!(read.layers, [own]);
        assert_eq!(read.records.len(), 1);
        assert!(read.mounts.is_empty() && read.listings.is_empty());
    }
}
