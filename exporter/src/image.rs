//! What is exported, and how: plain data.

use std::collections::BTreeMap;

use graph::LayerId;
use layer::{Compression, Encoding};
use oci::{DiffId, ImageConfig, ImageId, Platform, Reference};
use store::{LayerBlob, StoredManifest};

/// An image for one platform, ready for outputs.
#[derive(Clone, Debug)]
pub struct BuiltImage {
    /// Digest of `config`.
    pub id: ImageId,
    /// The config document, byte for byte.
    pub config: Vec<u8>,
    /// The platform it is for.
    pub platform: Platform,
    /// Its layers, lowest first, as many as the config has diff ids.
    pub layers: Vec<LayerSource>,
    /// The manifest that it came with when nothing was built on it; written again as it is (design D9) unless
    /// [`ImageOptions::force_compression`] is set.
    pub manifest: Option<StoredManifest>,
}

/// A layer and where its bytes may be had.
#[derive(Clone, Debug)]
pub struct LayerSource {
    /// Digest of its tar, as the config has it.
    pub diff_id: DiffId,
    /// Its directory in the store, if it has one.
    pub layer: Option<LayerId>,
    /// How the tar was made of the directory.
    pub encoding: Encoding,
    /// It came with a base image: any blob that it has is kept (IMG-28).
    pub is_base: bool,
    /// The blob that the base image itself names for it, which is in the store.
    pub own: Option<LayerBlob>,
    /// The repository that its blob was pulled from: a push to the same registry mounts it (OUT-14).
    pub pulled_from: Option<Reference>,
}

/// How images are written.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageOptions {
    /// Compression of layers.
    pub compression: Compression,
    /// Compress base layers anew too.
    pub force_compression: bool,
    /// OCI media types; Docker's when false (IMG-40).
    pub oci_types: bool,
    /// Write an index even for one platform (PLAT-08).
    pub force_index: bool,
    /// The index that the images came with, kept byte for byte like their manifests.
    pub index: Option<StoredManifest>,
    /// Annotations (IMG-46).
    pub annotations: Annotations,
    /// Noted on layers that were made with clamped times (IMG-45), and the time of the result (EPO-15).
    pub epoch: Option<i64>,
}

impl Default for ImageOptions {
    fn default() -> ImageOptions {
        ImageOptions {
            compression: Compression::gzip(),
            force_compression: false,
            oci_types: true,
            force_index: false,
            index: None,
            annotations: Annotations::default(),
            epoch: None,
        }
    }
}

/// Annotations by the place they go to. Those with a platform go to that platform's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// In each manifest.
    pub manifest: Vec<(Option<Platform>, String, String)>,
    /// In each manifest's descriptor in the index.
    pub manifest_descriptor: Vec<(Option<Platform>, String, String)>,
    /// In the index.
    pub index: BTreeMap<String, String>,
    /// In the index's descriptor in an OCI layout.
    pub index_descriptor: BTreeMap<String, String>,
}

impl Annotations {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Annotations::default()
    }

    /// Those of a list that are for a platform.
    pub(crate) fn of(
        list: &[(Option<Platform>, String, String)],
        platform: &Platform,
    ) -> BTreeMap<String, String> {
        list.iter()
            .filter(|(only, _, _)| only.as_ref().is_none_or(|only| only == platform))
            .map(|(_, key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

impl BuiltImage {
    /// When the image was made, as its config says.
    pub(crate) fn created(&self) -> Option<String> {
        ImageConfig::from_json(&self.config).ok().and_then(|config| config.created)
    }
}
