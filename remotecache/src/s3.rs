//! A cache in a bucket of S3 or of a server that speaks like it (CIO-08).
//!
//! Blobs lie under their digests, and the manifest of each name is BuildKit's cache config, whose layers carry their
//! descriptors. One more member, which BuildKit does not read, names the blob of our own document.

mod answer;
mod bucket;
mod credentials;
mod files;
mod issuers;
mod sign;
mod upload;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use oci::{Descriptor, Digest, Reference};
use registry::{RegistryClient, RegistryError};

use self::bucket::Bucket;
use crate::parts::{Slots, unreadable};
use crate::place::{OpenBlob, put_bytes};
use crate::pointer;
use crate::{CacheDocument, CachePlace, Put, RemoteError, S3Options};

/// More parts than these are never sent at the same time.
const PARALLEL_MAX: usize = 64;

/// The cache in one bucket under one or more names.
pub(crate) struct S3Place {
    name: String,
    bucket: Arc<Bucket>,
    names: Vec<String>,
    blobs: String,
    manifests: String,
    touch_refresh: Duration,
    slots: Slots,
}

impl S3Place {
    /// Prepares the way; nothing is contacted and no credential is looked for.
    pub(crate) fn open(
        options: &S3Options,
        client: &RegistryClient,
    ) -> Result<S3Place, RemoteError> {
        let name = format!("s3 cache {} in bucket {}", options.names.join(";"), options.bucket);
        let bucket = Bucket::new(options, client)
            .map_err(|error| RemoteError::of_registry(format!("open {name}"), error))?;
        Ok(S3Place {
            name,
            bucket: Arc::new(bucket),
            names: options.names.clone(),
            blobs: format!("{}{}", options.prefix, options.blobs_prefix),
            manifests: format!("{}{}", options.prefix, options.manifests_prefix),
            touch_refresh: Duration::from_secs(options.touch_refresh_s),
            slots: Slots::new(options.upload_parallelism.min(PARALLEL_MAX)),
        })
    }

    fn blob_key(&self, digest: &Digest) -> String {
        format!("{}{digest}", self.blobs)
    }

    fn not_read(&self, error: RegistryError) -> RemoteError {
        RemoteError::of_registry(format!("read from S3 bucket {}", self.bucket.name()), error)
    }
}

impl CachePlace for S3Place {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
        let Some(name) = self.names.first() else { return Ok(None) };
        let key = format!("{}{name}", self.manifests);
        let found = self.bucket.get(&key, pointer::CONFIG_MAX_BYTES);
        let Some(config) = found.map_err(|error| self.not_read(error))? else {
            return Ok(None);
        };
        pointer::read(&self.name, &config, &|blob| self.open(blob)).map(Some)
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
        match self.bucket.blob(&self.blob_key(&blob.digest), blob) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(error) => Err(self.not_read(error)),
        }
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        let found = self.bucket.find(&self.blob_key(&blob.digest));
        let found = found.map_err(|error| self.not_read(error))?;
        Ok(found.is_some_and(|found| found.size_bytes == blob.size_bytes))
    }

    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        _elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError> {
        let key = self.blob_key(&blob.digest);
        let found = self.bucket.find(&key);
        let found = found.map_err(|error| self.not_read(error))?;
        // One of another size is a rest of somebody's failure.
        if let Some(found) = found.filter(|found| found.size_bytes == blob.size_bytes) {
            if found.age > self.touch_refresh {
                upload::touch(&self.bucket, &key, blob.size_bytes, &self.bucket.stamp())?;
            }
            return Ok(Put::Existed);
        }
        let source = open().map_err(|error| unreadable(blob, error))?;
        upload::send(&self.bucket, &key, blob, source, &self.slots)?;
        Ok(Put::Sent)
    }

    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError> {
        let put = |blob: &Descriptor, bytes: &[u8]| put_bytes(self, blob, bytes).map(drop);
        let config = pointer::write(document, &put)?;
        for name in &self.names {
            upload::put(&self.bucket, &format!("{}{name}", self.manifests), &config)?;
        }
        Ok(())
    }
}

fn not_written(bucket: &Bucket, error: RegistryError) -> RemoteError {
    RemoteError::of_registry(format!("write to S3 bucket {}", bucket.name()), error)
}
