//! Images made in memory, and the places that tests want them in: an OCI layout directory, a test registry.

use std::io::Write as _;
use std::path::Path;

use oci::{Descriptor, DiffId, Digest, History, ImageConfig, Index, Manifest, Platform, media};
use serde_json::json;

use crate::registry::TestRegistry;

/// A whole image in memory.
#[derive(Clone, Debug)]
pub struct TestImage {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// The layers' blobs, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl TestImage {
    /// Makes an image of uncompressed layer tars, lowest first; its layers are gzip.
    pub fn new(tars: &[Vec<u8>]) -> TestImage {
        TestImage::with_config(tars, |_| {})
    }

    /// As [`TestImage::new`], with changes to the config.
    pub fn with_config(tars: &[Vec<u8>], change: impl FnOnce(&mut ImageConfig)) -> TestImage {
        let host = Platform::host();
        let mut config = ImageConfig {
            architecture: host.architecture,
            os: host.os,
            created: Some("2001-02-03T04:05:06Z".to_owned()),
            ..ImageConfig::default()
        };
        config.config.env.push("PATH=/bin".to_owned());
        for tar in tars {
            config.rootfs.diff_ids.push(DiffId(Digest::of(tar)));
            let created_by = Some("made by a test".to_owned());
            config.history.push(History { created_by, ..History::default() });
        }
        change(&mut config);
        let layers: Vec<Vec<u8>> = tars.iter().map(|tar| gzip(tar)).collect();
        let config = config.to_json();
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::OCI_MANIFEST.to_owned(),
            artifact_type: None,
            config: descriptor(media::OCI_CONFIG, &config),
            layers: layers.iter().map(|l| descriptor(media::OCI_LAYER_GZIP, l)).collect(),
            subject: None,
            annotations: Default::default(),
        };
        TestImage { manifest: manifest.to_json(), config, layers }
    }

    /// Digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The manifest's descriptor.
    pub fn descriptor(&self) -> Descriptor {
        descriptor(media::OCI_MANIFEST, &self.manifest)
    }

    /// Puts all parts into a registry.
    pub fn push_to(&self, registry: &TestRegistry, repository: &str, tag: &str) {
        for blob in self.blobs() {
            registry.put_blob(repository, blob);
        }
        registry.put_manifest(repository, tag, media::OCI_MANIFEST, &self.manifest);
    }

    /// Writes an OCI layout directory with this image under a tag.
    pub fn write_layout(&self, dir: &Path, tag: &str) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for blob in self.blobs().chain([self.manifest.as_slice()]) {
            std::fs::write(blobs.join(Digest::of(blob).hex()), blob).unwrap();
        }
        let mut entry = self.descriptor();
        entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.to_owned());
        let index = Index {
            schema_version: 2,
            media_type: media::OCI_INDEX.to_owned(),
            manifests: vec![entry],
            annotations: Default::default(),
        };
        std::fs::write(dir.join("index.json"), index.to_json()).unwrap();
        let layout = json!({"imageLayoutVersion": "1.0.0"}).to_string();
        std::fs::write(dir.join("oci-layout"), layout).unwrap();
    }

    fn blobs(&self) -> impl Iterator<Item = &[u8]> {
        self.layers.iter().map(Vec::as_slice).chain([self.config.as_slice()])
    }
}

/// A descriptor of bytes at hand.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

/// Bytes as one gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
