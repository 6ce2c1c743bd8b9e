//! A cache in a registry (CIO-04): blobs and a manifest under a name, through the distribution client.

use std::io::Read;

use oci::{Descriptor, Reference, media};
use registry::{Pushed, RegistryClient};

use crate::manifest::{self, Form};
use crate::place::{OpenBlob, put_bytes};
use crate::{CacheDocument, CachePlace, Put, RemoteError, RemoteErrorKind};

/// One name in a registry.
pub(crate) struct RegistryPlace {
    name: String,
    reference: Reference,
    form: Form,
    client: RegistryClient,
}

impl RegistryPlace {
    /// Contacts nobody.
    pub(crate) fn new(
        reference: &Reference,
        insecure: bool,
        form: Form,
        client: &RegistryClient,
    ) -> RegistryPlace {
        let client = match insecure {
            true => client.trusting(reference.registry()),
            false => client.clone(),
        };
        let name = format!("registry cache {}", reference.familiar());
        RegistryPlace { name, reference: reference.clone(), form, client }
    }

    fn failed(&self, verb: &str, source: registry::RegistryError) -> RemoteError {
        RemoteError::of_registry(format!("{verb} {}", self.name), source)
    }

    /// A small blob, or a manifest by its digest.
    fn fetch(&self, blob: &Descriptor) -> Result<Vec<u8>, RemoteError> {
        if matches!(&*blob.media_type, media::OCI_MANIFEST | media::DOCKER_MANIFEST) {
            let resolved = self.client.resolve(&self.reference.with_digest(blob.digest));
            return Ok(resolved.map_err(|error| self.failed("read", error))?.bytes);
        }
        let mut bytes = Vec::new();
        self.open(blob)?.read_to_end(&mut bytes).map_err(|error| {
            RemoteError::new(RemoteErrorKind::Damaged, format!("read {}", self.name)).because(error)
        })?;
        Ok(bytes)
    }
}

impl CachePlace for RegistryPlace {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
        let resolved = match self.client.resolve(&self.reference) {
            Ok(resolved) => resolved,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        let fetch = |blob: &Descriptor| self.fetch(blob);
        manifest::read(&resolved.bytes, &resolved.media_type, &fetch).map(Some)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
        let reader = self.client.blob(&self.reference, blob);
        let reader = reader.map_err(|error| self.failed("read", error))?;
        Ok(Box::new(reader))
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        let found = self.client.blob_exists(&self.reference, &blob.digest);
        found.map_err(|error| self.failed("look into", error))
    }

    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError> {
        let open = || open().map(|reader| reader as Box<dyn Read>);
        let size = blob.size_bytes;
        let pushed = self.client.push_blob(&self.reference, &blob.digest, size, &open, elsewhere);
        match pushed.map_err(|error| self.failed("write", error))? {
            Pushed::Existed => Ok(Put::Existed),
            Pushed::Mounted => Ok(Put::Mounted),
            Pushed::Uploaded => Ok(Put::Sent),
        }
    }

    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError> {
        let published = manifest::write(document, self.form)?;
        for (descriptor, bytes) in &published.blobs {
            put_bytes(self, descriptor, bytes)?;
        }
        let (descriptor, bytes) = published.manifest;
        let pushed = self.client.push_manifest(&self.reference, &descriptor.media_type, &bytes);
        pushed.map(drop).map_err(|error| self.failed("write", error))
    }
}
