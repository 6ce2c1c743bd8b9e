//! Manifests and indexes as a registry or a layout gave them, byte for byte, by their digest (design D9).

use oci::{Digest, Document};

use crate::error::{Failure, StoreError, at};
use crate::lease::Lease;
use crate::{blobs, seal};

const KIND: &str = "manifest";

pub(crate) fn path(digest: &Digest) -> String {
    format!("manifests/{}", digest.hex())
}

impl Lease {
    /// Keeps a manifest or index.
    ///
    /// # Errors
    /// The bytes have another digest, or the store cannot be written.
    pub fn put_manifest(
        &self,
        digest: &Digest,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(Failure::WrongDigest { expected: *digest, found }.into());
        }
        if self.manifest(digest)?.is_some() {
            return Ok(());
        }
        let path = path(digest);
        let body = [media_type.as_bytes(), b"\n", bytes].concat();
        self.hold_new(&path)?;
        self.publish_result(&path, &seal::seal(KIND, &path, &body))
    }

    /// A manifest or index with its media type; `None` when it is not in the store.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn manifest(&self, digest: &Digest) -> Result<Option<(String, Vec<u8>)>, StoreError> {
        let path = path(digest);
        if !self.hold(std::slice::from_ref(&path))?[0] {
            return Ok(None);
        }
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| parse(&path, &bytes)))
    }
}

/// `None` when the file is not whole.
pub(crate) fn parse(path: &str, file: &[u8]) -> Option<(String, Vec<u8>)> {
    let body = seal::unseal(KIND, path, file)?;
    let end = body.iter().position(|b| *b == b'\n')?;
    let media_type = std::str::from_utf8(&body[..end]).ok()?;
    Some((media_type.to_owned(), body[end + 1..].to_vec()))
}

/// Paths of the config and the layers that a manifest names.
pub(crate) fn listed_blobs(bytes: &[u8], media_type: &str) -> Vec<String> {
    match Document::from_json(bytes, media_type) {
        Ok(Document::Manifest(manifest)) => {
            let layers = manifest.layers.iter().map(|layer| blobs::path(&layer.digest));
            layers.chain([blobs::path(&manifest.config.digest)]).collect()
        }
        _ => Vec::new(),
    }
}
