//! An entry of a list: a manifest, what it is for, and where its content is. Owns the form in which lists are kept and
//! the index that is made of entries.

use std::collections::BTreeMap;

use oci::{Descriptor, Digest, ImageId, Platform, Reference, media};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::StoredManifest;

use crate::error::{BuildError, BuildErrorKind};

/// Marks a manifest of an index as one that says something of another (ATT-04).
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// A manifest that a list names.
#[derive(Clone, Debug, PartialEq)]
pub struct ListEntry {
    /// What was named: several entries where that was an index.
    pub named: Reference,
    /// The manifest, as an index lists it but for its platform.
    pub descriptor: Descriptor,
    /// What it is for.
    pub platform: ListedPlatform,
    /// The manifest, byte for byte.
    pub manifest: Vec<u8>,
    /// Where its content is.
    pub origin: Origin,
}

/// Where the content of an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In this repository.
    Registry(Reference),
    /// In the store.
    Image(ImageId),
    /// Here: all blobs that the manifest names.
    Documents(Vec<StoredManifest>),
}

/// A platform as indexes have it, every word as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPlatform {
    /// Go's name of the processor.
    #[serde(default)]
    pub architecture: String,
    /// Go's name of the operating system.
    #[serde(default)]
    pub os: String,
    /// Version of the operating system.
    #[serde(rename = "os.version", default, skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What the operating system must be able to do.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    #[serde(deserialize_with = "null_default")]
    pub os_features: Vec<String>,
    /// Variant of the processor.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl ListedPlatform {
    /// The platform in its normal form, for comparing.
    pub fn normal(&self) -> Platform {
        let platform = Platform::new(&self.os, &self.architecture, &self.variant);
        Platform { os_version: self.os_version.clone(), ..platform }
    }

    /// Whether it says enough for an index.
    pub fn is_complete(&self) -> bool {
        !self.os.is_empty() && !self.architecture.is_empty()
    }
}

impl ListEntry {
    /// Whether it says something of another entry instead of being an image.
    pub fn is_attestation(&self) -> bool {
        self.descriptor.annotations.contains_key(REFERENCE_TYPE)
            || (self.platform.os == "unknown" && self.platform.architecture == "unknown")
    }

    /// The entry with its digest, for people and registries.
    pub fn reference(&self) -> Reference {
        self.named.with_digest(self.descriptor.digest)
    }

    /// As an index lists it.
    pub fn listed(&self) -> Value {
        let descriptor = Descriptor { platform: None, ..self.descriptor.clone() };
        let mut value = to_value(&descriptor);
        if let (Some(members), true) = (value.as_object_mut(), self.platform.is_complete()) {
            members.insert("platform".to_owned(), to_value(&self.platform));
        }
        value
    }
}

/// An index over entries: OCI's, unless all manifests are docker's. Gives its media type and the document.
pub(super) fn index_of(
    entries: &[ListEntry],
    annotations: &BTreeMap<String, String>,
) -> (&'static str, Vec<u8>) {
    let is_docker = |entry: &ListEntry| entry.descriptor.media_type == media::DOCKER_MANIFEST;
    let all_docker = !entries.is_empty() && entries.iter().all(is_docker) && annotations.is_empty();
    let media_type = if all_docker { media::DOCKER_INDEX } else { media::OCI_INDEX };
    let mut index = Map::new();
    index.insert("schemaVersion".to_owned(), 2.into());
    index.insert("mediaType".to_owned(), media_type.into());
    index.insert("manifests".to_owned(), entries.iter().map(ListEntry::listed).collect());
    if !annotations.is_empty() {
        index.insert("annotations".to_owned(), to_value(annotations));
    }
    let bytes = serde_json::to_vec_pretty(&index).expect("texts and numbers can be written");
    (media_type, bytes)
}

/// How entries are kept in the store.
#[derive(Serialize, Deserialize)]
struct Kept {
    entries: Vec<KeptEntry>,
}

#[derive(Serialize, Deserialize)]
struct KeptEntry {
    named: String,
    descriptor: Descriptor,
    platform: ListedPlatform,
    manifest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    /// Media types and texts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    documents: Vec<(String, String)>,
}

/// Entries as the store keeps them.
pub(super) fn to_document(entries: &[ListEntry]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let one = |entry: &ListEntry| {
        let (repository, image, documents) = match &entry.origin {
            Origin::Registry(name) => (Some(name.to_string()), None, Vec::new()),
            Origin::Image(id) => (None, Some(id.to_string()), Vec::new()),
            Origin::Documents(all) => {
                let one = |d: &StoredManifest| (d.media_type.clone(), text(&d.bytes));
                (None, None, all.iter().map(one).collect())
            }
        };
        KeptEntry {
            named: entry.named.to_string(),
            descriptor: entry.descriptor.clone(),
            platform: entry.platform.clone(),
            manifest: text(&entry.manifest),
            repository,
            image,
            documents,
        }
    };
    let kept = Kept { entries: entries.iter().map(one).collect() };
    serde_json::to_string(&kept).expect("texts and numbers can be written")
}

/// [`to_document`] the other way.
///
/// # Errors
/// The document was written by another version or by something else.
pub(super) fn from_document(text: &str) -> Result<Vec<ListEntry>, BuildError> {
    let damaged = || {
        let text = "the list that the store keeps cannot be read";
        BuildError::new(BuildErrorKind::Files, text)
            .with_hint("remove it with `shale manifest rm` and make it anew")
    };
    let kept: Kept = serde_json::from_str(text).map_err(|error| damaged().because(error))?;
    let entries = kept.entries.into_iter().map(|kept| from_kept(kept).ok_or_else(damaged));
    entries.collect()
}

fn from_kept(kept: KeptEntry) -> Option<ListEntry> {
    let origin = match (kept.repository, kept.image) {
        (Some(name), _) => Origin::Registry(name.parse().ok()?),
        (None, Some(id)) => Origin::Image(id.parse().ok()?),
        (None, None) => Origin::Documents(
            kept.documents
                .into_iter()
                .map(|(media_type, text)| {
                    let bytes = text.into_bytes();
                    StoredManifest { media_type, digest: Digest::of(&bytes), bytes }
                })
                .collect(),
        ),
    };
    let manifest = kept.manifest.into_bytes();
    (Digest::of(&manifest) == kept.descriptor.digest).then_some(())?;
    Some(ListEntry {
        named: kept.named.parse().ok()?,
        descriptor: kept.descriptor,
        platform: kept.platform,
        manifest,
        origin,
    })
}

fn to_value(data: &impl Serialize) -> Value {
    serde_json::to_value(data).expect("texts and numbers can be written")
}

fn null_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    de: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(de)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(media_type: &str, variant: &str) -> ListEntry {
        let manifest = format!(r#"{{"v":"{variant}"}}"#).into_bytes();
        let digest = Digest::of(&manifest);
        ListEntry {
            named: "r.test/a:1".parse().expect("a name"),
            descriptor: Descriptor::new(media_type, digest, manifest.len() as u64),
            platform: ListedPlatform {
                os: "linux".to_owned(),
                architecture: "arm64".to_owned(),
                variant: variant.to_owned(),
                os_features: vec!["f".to_owned()],
                ..ListedPlatform::default()
            },
            manifest,
            origin: Origin::Registry("r.test/a:1".parse().expect("a name")),
        }
    }

    #[test]
    fn the_index_keeps_every_word_of_a_platform() {
        let (media_type, bytes) = index_of(&[entry(media::OCI_MANIFEST, "v8")], &BTreeMap::new());
        let index: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(media_type, media::OCI_INDEX);
        let platform = &index["manifests"][0]["platform"];
        assert_eq!(platform["variant"], "v8");
        assert_eq!(platform["os.features"][0], "f");
        assert_eq!(entry("", "v8").platform.normal(), entry("", "").platform.normal());
    }

    #[test]
    fn docker_s_manifests_have_docker_s_list() {
        let none = BTreeMap::new();
        let docker = || entry(media::DOCKER_MANIFEST, "");
        assert_eq!(index_of(&[docker(), docker()], &none).0, media::DOCKER_INDEX);
        assert_eq!(
            index_of(&[docker(), entry(media::OCI_MANIFEST, "")], &none).0,
            media::OCI_INDEX
        );
        let annotations = [("a".to_owned(), "b".to_owned())].into();
        assert_eq!(index_of(&[docker()], &annotations).0, media::OCI_INDEX);
    }

    #[test]
    fn what_is_kept_comes_back() {
        let bytes = b"{}".to_vec();
        let document =
            StoredManifest { media_type: "m".to_owned(), digest: Digest::of(&bytes), bytes };
        let mut entries = vec![entry(media::OCI_MANIFEST, "v8"), entry("m", ""), entry("m", "v9")];
        entries[1].origin = Origin::Image(ImageId(Digest::of(b"config")));
        entries[2].origin = Origin::Documents(vec![document]);
        let text = to_document(&entries);
        assert_eq!(from_document(&text).expect("it was just written"), entries);
        let damaged = text.replace(r#"\"v\":\"v8\""#, r#"\"v\":\"v7\""#);
        assert_ne!(damaged, text);
        assert!(from_document(&damaged).is_err() && from_document("[]").is_err());
    }
}
