//! Descriptors, manifests and indexes (OCI image spec; Docker's schema 2 under its own media types).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Digest, Platform, strict};

/// Media types (IMG-42).
pub mod media {
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd (written by some tools).
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

    /// Whether the type is that of an index or a manifest list.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, OCI_INDEX | DOCKER_INDEX)
    }

    /// Whether a layer of the type may not be given on: it is had from where its descriptor says, never pushed.
    pub fn is_foreign(media_type: &str) -> bool {
        media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
            || media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
    }
}

/// What a document says of another one: how to find it and how to check it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Kind of the content.
    pub media_type: String,
    /// Digest of the content as stored.
    #[serde(with = "text")]
    pub digest: Digest,
    /// Length in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Where else the content may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform that the content is for, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "platform")]
    pub platform: Option<Platform>,
    /// Kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Everything else that was there.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor with the three members that every one has.
    pub fn new(media_type: &str, digest: Digest, size_bytes: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size_bytes,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
            extra: Map::new(),
        }
    }
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// Kind of this document; some registries' documents lack it.
    #[serde(default)]
    pub media_type: String,
    /// Kind of an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one says something about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image index or manifest list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// Kind of this document.
    #[serde(default)]
    pub media_type: String,
    /// What the index lists.
    #[serde(default, deserialize_with = "null_default")]
    pub manifests: Vec<Descriptor>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A manifest or an index, as a registry or a layout gave it.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one is made for each image and taken apart at once")]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Several.
    Index(Index),
}

/// A document is no manifest or index that can be used.
#[derive(Debug, thiserror::Error)]
#[error("not an image manifest or index: {reason}")]
pub struct ManifestError {
    reason: String,
}

impl Document {
    /// Reads a manifest or index. `media_type` is what the transport said, empty if it said nothing; the
    /// document's own word wins.
    pub fn from_json(bytes: &[u8], media_type: &str) -> Result<Document, ManifestError> {
        let fail = |reason: String| ManifestError { reason };
        let probe = strict::parse(bytes).map_err(|e| fail(e.to_string()))?;
        if let Some(name) = in_other_case(&probe) {
            return Err(fail(format!("member {name:?} has a known name in another case")));
        }
        let inner = probe.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        let version = probe.get("schemaVersion").and_then(Value::as_u64);
        if version == Some(1) {
            let old = "it has Docker's old schema 1, which nothing can be built on: push the image again from a newer engine";
            return Err(fail(old.to_owned()));
        }
        if version != Some(2) {
            return Err(fail("schema version is not 2".to_owned()));
        }
        let both = probe.get("manifests").is_some() && probe.get("layers").is_some();
        if both {
            return Err(fail("has both `manifests` and `layers`".to_owned()));
        }
        let media_type = if inner.is_empty() { media_type } else { inner };
        let is_index = media::is_index(media_type) || probe.get("manifests").is_some();
        if is_index {
            serde_json::from_value(probe).map(Document::Index).map_err(|e| fail(e.to_string()))
        } else {
            serde_json::from_value(probe).map(Document::Manifest).map_err(|e| fail(e.to_string()))
        }
    }
}

/// Members of manifests, indexes and descriptors: what programs that ignore case would take `Layers` and so on for.
const MEMBERS: [&str; 12] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "config",
    "layers",
    "manifests",
    "subject",
    "annotations",
    "digest",
    "size",
    "urls",
    "platform",
];

fn in_other_case(document: &Value) -> Option<&str> {
    let lists = ["layers", "manifests"].map(|name| document.get(name).and_then(Value::as_array));
    let listed = lists.into_iter().flatten().flatten();
    let all = [Some(document), document.get("config"), document.get("subject")];
    let objects = all.into_iter().flatten().chain(listed).filter_map(Value::as_object);
    objects.filter_map(|object| strict::other_case(object, &MEMBERS)).next()
}

impl Manifest {
    /// Writes the document, indented by two spaces (IMG-41). Its digest is that of these bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self)
            .expect("a manifest holds only strings, numbers and string-keyed maps")
    }
}

impl Index {
    /// Writes the document, indented by two spaces (IMG-41).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self)
            .expect("an index holds only strings, numbers and string-keyed maps")
    }

    /// The entry for `platform`: of that platform, else of the next best whose programs run there (PLAT-05).
    pub fn select(&self, platform: &Platform) -> Option<&Descriptor> {
        let of = |wanted: Platform| {
            self.manifests.iter().find(move |entry| {
                entry.platform.as_ref().is_some_and(|have| {
                    (&have.os, &have.architecture, &have.variant)
                        == (&wanted.os, &wanted.architecture, &wanted.variant)
                })
            })
        };
        platform.best_first().into_iter().find_map(of)
    }
}

fn null_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    de: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

mod text {
    use super::*;
    use serde::de::Error as _;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Digest, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(de: D) -> Result<Digest, D::Error> {
        String::deserialize(de)?.parse().map_err(D::Error::custom)
    }
}

mod platform {
    use super::*;
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Members {
        #[serde(default)]
        architecture: String,
        #[serde(default)]
        os: String,
        #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
        os_version: String,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        variant: String,
    }

    pub(super) fn serialize<S: Serializer>(
        platform: &Option<Platform>,
        ser: S,
    ) -> Result<S::Ok, S::Error> {
        platform
            .as_ref()
            .map(|p| Members {
                architecture: p.architecture.clone(),
                os: p.os.clone(),
                os_version: p.os_version.clone(),
                variant: p.variant.clone(),
            })
            .serialize(ser)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        de: D,
    ) -> Result<Option<Platform>, D::Error> {
        let members: Option<Members> = Option::deserialize(de)?;
        Ok(members.map(|m| {
            let mut platform = Platform::new(&m.os, &m.architecture, &m.variant);
            platform.os_version = m.os_version;
            platform
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_keeps_what_it_does_not_know_in_descriptors() {
        let digest = Digest::of(b"");
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"m","digest":"{digest}","size":2,"data":"e30="}},"layers":null}}"#
        );
        let Document::Manifest(manifest) = Document::from_json(text.as_bytes(), "").expect("valid")
        else {
            panic!("an index")
        };
        assert_eq!(manifest.config.extra["data"], "e30=");
        assert!(manifest.layers.is_empty());
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let text = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert!(Document::from_json(text.as_bytes(), "").is_err());
        assert!(Document::from_json(b"<html>", "").is_err());
        let digest = Digest::of(b"");
        let descriptor = format!(r#"{{"mediaType":"m","digest":"{digest}","size":2}}"#);
        let text = |more: &str| {
            format!(r#"{{"schemaVersion":2,"config":{descriptor},"layers":[{descriptor}]{more}}}"#)
        };
        assert!(Document::from_json(text("").as_bytes(), "").is_ok());
        assert!(Document::from_json(text(r#","Unknown":1"#).as_bytes(), "").is_ok());
        for more in [r#","layers":[]"#, r#","Layers":[]"#, r#","CONFIG":{}"#] {
            assert!(Document::from_json(text(more).as_bytes(), "").is_err(), "{more}"); // C4
        }
        let inside = text("").replace(r#""size":2"#, r#""size":2,"Size":3"#);
        assert!(Document::from_json(inside.as_bytes(), "").is_err());
        assert!(Document::from_json(br#"{"schemaVersion":1}"#, "").is_err());
    }
}
