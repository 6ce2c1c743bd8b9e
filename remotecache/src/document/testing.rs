//! Layers and records of tests, made of nothing but a name.

use oci::media;

use super::*;

/// The digest of a text.
pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// A layer.
pub(crate) fn layer(name: &str) -> CacheLayer {
    CacheLayer {
        diff_id: DiffId(digest(&format!("diff {name}"))),
        content_id: ContentId(digest(&format!("content {name}"))),
        descriptor: Descriptor::new(media::OCI_LAYER_GZIP, digest(name), 100),
        created: "2026-01-02T03:04:05.678Z".to_owned(),
    }
}

/// A record with two keys on some of the layers.
pub(crate) fn entry(name: &str, layers: &[u32]) -> CacheEntry {
    CacheEntry {
        instruction: InstructionDigest(digest(&format!("instruction {name}"))),
        operation: Some(OperationDigest(digest(&format!("operation {name}")))),
        keys: ["weak", "strong"].map(|kind| CacheKey(digest(&format!("{kind} {name}")))).to_vec(),
        base: Some(ChainId(digest("base"))),
        layers: layers.to_vec(),
        layer: layers.last().copied(),
        created: "2026-01-02T03:04:05Z".to_owned(),
        took_ms: 1234,
        step: format!("RUN make {name}"),
        inputs: vec![("file:src".to_owned(), digest("src").to_string())],
    }
}
