//! The manifest of places that have no OCI manifests: BuildKit's cache config, with one more member that names the
//! blob of our own document. BuildKit's readers skip members that they do not know.

use std::io::Read;

use oci::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use crate::buildkit::{self, Config};
use crate::document::COMPRESSED_MAX_BYTES;
use crate::{CacheDocument, DOCUMENT_MEDIA_TYPE, RemoteError, RemoteErrorKind};

/// A config is not longer than this.
pub(crate) const CONFIG_MAX_BYTES: u64 = 64 << 20;

/// Opens a blob of the place at hand.
type OpenDescribed<'a> = &'a dyn Fn(&Descriptor) -> Result<Box<dyn Read + Send>, RemoteError>;
/// Sees to it that a blob is at the place at hand.
type PutBytes<'a> = &'a dyn Fn(&Descriptor, &[u8]) -> Result<(), RemoteError>;

/// The document that a config names.
///
/// # Errors
/// The config or the document is damaged, or the document cannot be had, or the cache is another builder's.
pub(crate) fn read(
    place: &str,
    config: &[u8],
    open: OpenDescribed<'_>,
) -> Result<CacheDocument, RemoteError> {
    #[derive(Deserialize)]
    struct ToRead {
        #[serde(rename = "shale.cache.v1", default)]
        document: Option<Descriptor>,
    }
    let failed = |kind| RemoteError::new(kind, format!("read {place}"));
    let damaged = |reason: String| failed(RemoteErrorKind::Damaged).because(reason);
    let config: ToRead = serde_json::from_slice(config)
        .map_err(|error| damaged(format!("its manifest is not a cache config: {error}")))?;
    let blob = config.document.ok_or_else(|| {
        let reason = "there is no cache of shale in it (one that BuildKit wrote cannot be used)";
        failed(RemoteErrorKind::Foreign).because(reason)
    })?;
    if blob.media_type != DOCUMENT_MEDIA_TYPE {
        let reason = format!("its document is of type {:?}", blob.media_type);
        return Err(failed(RemoteErrorKind::Newer).because(reason));
    }
    if blob.size_bytes > COMPRESSED_MAX_BYTES {
        return Err(damaged(format!("its document has {} bytes", blob.size_bytes)));
    }
    let mut bytes = Vec::new();
    open(&blob)?
        .read_to_end(&mut bytes)
        .map_err(|error| failed(RemoteErrorKind::Damaged).because(error))?;
    CacheDocument::decode(&bytes)
}

/// The config of a document; the document's blob is put first.
///
/// # Errors
/// The document is too large or cannot be put.
pub(crate) fn write(document: &CacheDocument, put: PutBytes<'_>) -> Result<Vec<u8>, RemoteError> {
    #[derive(Serialize)]
    struct ToWrite<'a> {
        #[serde(flatten)]
        config: Config,
        #[serde(rename = "shale.cache.v1")]
        document: &'a Descriptor,
    }
    let bytes = document.encode()?;
    let blob = Descriptor::new(DOCUMENT_MEDIA_TYPE, Digest::of(&bytes), bytes.len() as u64);
    put(&blob, &bytes)?;
    let config = ToWrite { config: buildkit::config(document, true), document: &blob };
    serde_json::to_vec(&config).map_err(|error| {
        RemoteError::new(RemoteErrorKind::Local, "write a cache config").because(error)
    })
}
