//! What an engine says of an image.

use oci::{DiffId, Digest};
use serde_json::Value;

/// An image of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineImage {
    /// The id that the engine knows it by: digest of its config, for some engines of its manifest.
    pub id: Digest,
    /// Digests of its layers' tars, lowest first.
    pub layers: Vec<DiffId>,
    /// What the engine says of its manifest's media type.
    pub(crate) manifest_type: Option<String>,
    /// Its names there.
    pub(crate) names: Vec<String>,
}

impl EngineImage {
    /// Reads what Docker and Podman answer alike; `None` when there is no id in it.
    pub(crate) fn from_json(value: &Value) -> Option<EngineImage> {
        let texts = |value: &Value| -> Vec<String> {
            let list = value.as_array().into_iter().flatten();
            list.filter_map(|v| v.as_str()).map(str::to_owned).collect()
        };
        let layers = texts(&value["RootFS"]["Layers"]);
        Some(EngineImage {
            id: digest(value["Id"].as_str()?)?,
            layers: layers.iter().filter_map(|text| digest(text)).map(DiffId).collect(),
            manifest_type: value["ManifestType"].as_str().map(str::to_owned),
            names: texts(&value["RepoTags"]),
        })
    }
}

/// A digest with or without its `sha256:`.
pub(crate) fn digest(text: &str) -> Option<Digest> {
    text.parse().ok().or_else(|| Digest::from_hex(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_are_understood() {
        let hex = "3".repeat(64);
        for id in [hex.clone(), format!("sha256:{hex}")] {
            let value = serde_json::json!({
                "Id": id, "RepoTags": ["a:1"], "RootFS": {"Layers": [format!("sha256:{hex}")]},
            });
            let image = EngineImage::from_json(&value).expect("an image");
            assert_eq!((image.id.hex(), image.layers.len()), (hex.clone(), 1));
            assert_eq!(image.names, ["a:1"]);
        }
        assert_eq!(EngineImage::from_json(&serde_json::json!({"Id": "short"})), None);
        let bare = EngineImage::from_json(&serde_json::json!({"Id": hex})).expect("an image");
        assert!(bare.layers.is_empty() && bare.names.is_empty());
    }
}
