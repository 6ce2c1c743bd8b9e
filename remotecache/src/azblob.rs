//! A cache in a container of Azure's blob storage (CIO-09).
//!
//! Blobs lie under their digests, and the manifest of each name is BuildKit's cache config with one more member, as in
//! S3. Whoever asks is the owner of the account's key; other credentials of Azure are not known here.

mod container;
mod sign;

use std::io::Read;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Digest, Reference};
use registry::{RegistryClient, RegistryError};

use self::container::Container;
use crate::parts::{Slots, part_size, read_whole, send_parts, unreadable};
use crate::place::{OpenBlob, put_bytes};
use crate::pointer;
use crate::{AzblobOptions, CacheDocument, CachePlace, Put, RemoteError};

/// Blobs up to this size are sent in one request.
const BLOCK_BYTES: u64 = 8 << 20;
/// The service takes no more blocks of one blob.
const BLOCKS_MAX: u64 = 50_000;
/// Blocks that are sent at the same time.
const SENDING_MAX: usize = 4;

/// The cache in one container under one or more names.
pub(crate) struct AzblobPlace {
    name: String,
    container: Arc<Container>,
    names: Vec<String>,
    blobs: String,
    manifests: String,
    slots: Slots,
}

impl AzblobPlace {
    /// Prepares the way; nothing is contacted.
    pub(crate) fn open(
        options: &AzblobOptions,
        client: &RegistryClient,
    ) -> Result<AzblobPlace, RemoteError> {
        let AzblobOptions { container, names, prefix, .. } = options;
        let name = format!("azblob cache {} in container {container}", names.join(";"));
        let container = Container::new(options, client)
            .map_err(|error| RemoteError::of_registry(format!("open {name}"), error))?;
        Ok(AzblobPlace {
            name,
            container: Arc::new(container),
            names: names.clone(),
            blobs: joined(prefix, &options.blobs_prefix),
            manifests: joined(prefix, &options.manifests_prefix),
            slots: Slots::new(SENDING_MAX),
        })
    }

    fn blob_key(&self, digest: &Digest) -> String {
        joined(&self.blobs, &digest.to_string())
    }

    fn failed(&self, verb: &str, error: RegistryError) -> RemoteError {
        RemoteError::of_registry(format!("{verb} {}", self.name), error)
    }

    /// Sends blocks, then puts them together.
    fn send(
        &self,
        key: &str,
        blob: &Descriptor,
        source: Box<dyn Read + Send>,
    ) -> Result<(), RemoteError> {
        let failed = |error| self.failed("write", error);
        if blob.size_bytes <= BLOCK_BYTES {
            let _slot = self.slots.take();
            return self.container.put(key, &read_whole(blob, source)?).map_err(failed);
        }
        let block_bytes = part_size(blob.size_bytes, BLOCK_BYTES, BLOCKS_MAX);
        let ids = send_parts(blob, source, block_bytes, &self.slots, &|part| {
            // All ids of a blob have to be of one length.
            let id = STANDARD.encode(format!("{:08}", part.number));
            self.container.put_block(key, &id, &part.bytes).map_err(failed)?;
            Ok(id)
        })?;
        self.container.put_block_list(key, &ids).map_err(failed)
    }
}

/// Two parts of a key with one slash between them.
fn joined(first: &str, second: &str) -> String {
    let parts = [first.trim_matches('/'), second.trim_matches('/')];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

impl CachePlace for AzblobPlace {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
        let Some(name) = self.names.first() else { return Ok(None) };
        let found = self.container.get(&joined(&self.manifests, name), pointer::CONFIG_MAX_BYTES);
        let Some(config) = found.map_err(|error| self.failed("read", error))? else {
            return Ok(None);
        };
        pointer::read(&self.name, &config, &|blob| self.open(blob)).map(Some)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
        match self.container.blob(&self.blob_key(&blob.digest), blob) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        let found = self.container.size_of(&self.blob_key(&blob.digest));
        let found = found.map_err(|error| self.failed("look into", error))?;
        // One of another size is a rest of somebody's failure.
        Ok(found == Some(blob.size_bytes))
    }

    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        _elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError> {
        self.container.make().map_err(|error| self.failed("write", error))?;
        if self.has(blob)? {
            return Ok(Put::Existed);
        }
        let source = open().map_err(|error| unreadable(blob, error))?;
        self.send(&self.blob_key(&blob.digest), blob, source)?;
        Ok(Put::Sent)
    }

    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError> {
        let put = |blob: &Descriptor, bytes: &[u8]| put_bytes(self, blob, bytes).map(drop);
        let config = pointer::write(document, &put)?;
        for name in &self.names {
            let put = self.container.put(&joined(&self.manifests, name), &config);
            put.map_err(|error| self.failed("write", error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_single_slashes() {
        let check = |first, second, want: &str| assert_eq!(joined(first, second), want);
        check("", "blobs", "blobs");
        check("a/b/", "/blobs/", "a/b/blobs");
        check("a", "", "a");
    }
}
