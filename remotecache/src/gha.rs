//! A cache in the cache service of GitHub Actions (CIO-07).
//!
//! Entries never change there, so the index (BuildKit's cache config, with a member of ours that names our document) is
//! written under a key with a counter, and the newest is read. Each branch has an index of its own; a job reads those
//! of all scopes that its token names.

mod api;
mod token;

use std::io::Read;
use std::sync::Arc;

use oci::{Descriptor, Digest, Reference};
use registry::{RegistryClient, RegistryError};

use self::api::Api;
use crate::parts::{Slots, unreadable};
use crate::place::{OpenBlob, put_bytes};
use crate::pointer;
use crate::{CacheDocument, CachePlace, GhaOptions, Put, RemoteError, RemoteErrorKind};

/// Parts of uploads that are on their way at the same time.
const UPLOADS: usize = 4;
/// How often an index that somebody else is writing is waited for, before the next number is taken.
const WAITS_MAX: u32 = 8;
/// How many numbers are tried.
const NUMBERS_MAX: u64 = 100;

/// The cache under one name.
pub(crate) struct GhaPlace {
    name: String,
    api: Arc<Api>,
    scope: String,
    readable: Vec<String>,
    writable: String,
    slots: Slots,
}

impl GhaPlace {
    /// Prepares the way; nothing is contacted.
    pub(crate) fn open(
        options: &GhaOptions,
        client: &RegistryClient,
    ) -> Result<GhaPlace, RemoteError> {
        let name = format!("gha cache {}", options.scope);
        if options.token.reveal().is_empty() {
            return Err(RemoteError::new(RemoteErrorKind::Configuration, format!("open {name}"))
                .because("its token is not set; a job has it in ACTIONS_RUNTIME_TOKEN"));
        }
        let scopes = token::scopes(options.token.reveal());
        Ok(GhaPlace {
            name,
            api: Arc::new(Api::new(options, client)?),
            scope: options.scope.clone(),
            readable: token::readable(&scopes),
            writable: token::writable(&scopes),
            slots: Slots::new(UPLOADS),
        })
    }

    /// Key of the index of a branch, without its counter.
    fn index_key(&self, branch: &str) -> String {
        let digest = Digest::of(branch.as_bytes()).hex();
        format!("index-{}-1-{}", self.scope, &digest[..8])
    }

    fn not_read(&self, error: RegistryError) -> RemoteError {
        RemoteError::of_registry(format!("read from {}", self.name), error)
    }

    fn read_index(&self, branch: &str) -> Result<Option<CacheDocument>, RemoteError> {
        let key = format!("{}#", self.index_key(branch));
        let found = self.api.find(&key).map_err(|error| self.not_read(error))?;
        let Some(entry) = found.filter(|entry| entry.key.starts_with(&key)) else {
            return Ok(None);
        };
        let config = self.api.get(&entry, pointer::CONFIG_MAX_BYTES);
        let config = config.map_err(|error| self.not_read(error))?;
        pointer::read(&self.name, &config, &|blob| self.open(blob)).map(Some)
    }

    /// Waits until an entry that somebody else has begun is there. An index must not name a document that never comes.
    fn wait_for(&self, blob: &Descriptor) -> Result<(), RemoteError> {
        for _ in 0..WAITS_MAX {
            if self.has(blob)? {
                return Ok(());
            }
            self.api.wait().map_err(not_written)?;
        }
        let action = format!("put blob {} to {}", blob.digest, self.name);
        Err(RemoteError::new(RemoteErrorKind::Refused, action)
            .because("another job has begun its entry and not ended it"))
    }

    /// Writes the index under the number after the newest one. A number that another job has taken and not filled is
    /// waited for a while: it may be about to end, and then its successor is ours.
    fn write_index(&self, config: &[u8]) -> Result<(), RemoteError> {
        let key = format!("{}#", self.index_key(&self.writable));
        let mut waits = 0;
        let mut skipped = 0;
        while skipped < NUMBERS_MAX {
            let newest = self.api.find(&key).map_err(not_written)?;
            let number = newest.and_then(|entry| entry.key.strip_prefix(&key)?.parse::<u64>().ok());
            let next = number.unwrap_or(0).saturating_add(1 + skipped);
            let full_key = format!("{key}{next}");
            if let Some(entry) = self.api.reserve(&full_key).map_err(not_written)? {
                let blob = Descriptor::new("", Digest::of(config), config.len() as u64);
                let source = Box::new(std::io::Cursor::new(config.to_vec()));
                return self.api.fill(&entry, &blob, source, &self.slots);
            }
            if waits < WAITS_MAX {
                waits += 1;
                self.api.wait().map_err(not_written)?;
            } else {
                skipped += 1;
            }
        }
        Err(RemoteError::new(RemoteErrorKind::Refused, format!("write the index of {}", self.name))
            .because("all numbers are taken by entries that nobody has filled"))
    }
}

impl CachePlace for GhaPlace {
    fn name(&self) -> &str {
        &self.name
    }

    /// A branch whose index cannot be used does not keep those of the others from use.
    fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
        let mut all: Option<CacheDocument> = None;
        let mut failure = None;
        for branch in &self.readable {
            match (self.read_index(branch), &mut all) {
                (Ok(Some(document)), Some(all)) => all.merge(document),
                (Ok(Some(document)), None) => all = Some(document),
                (Ok(None), _) => {}
                (Err(error), _) => failure = failure.or(Some(error)),
            }
        }
        match (all, failure) {
            (None, Some(error)) => Err(error),
            (all, _) => Ok(all),
        }
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
        match self.api.blob(&blob_key(&blob.digest), blob) {
            Ok(Some(reader)) => Ok(Box::new(reader)),
            Ok(None) => {
                let action = format!("get blob {} of {}", blob.digest, self.name);
                Err(RemoteError::new(RemoteErrorKind::NotFound, action)
                    .because("the service has no entry for it: it may have been evicted"))
            }
            Err(error) => Err(self.not_read(error)),
        }
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        let key = blob_key(&blob.digest);
        let found = self.api.find(&key).map_err(|error| self.not_read(error))?;
        Ok(found.is_some_and(|entry| entry.key == key))
    }

    /// Asks and begins in one request: the service takes few of them.
    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        _elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError> {
        let reserved = self.api.reserve(&blob_key(&blob.digest)).map_err(not_written)?;
        let Some(entry) = reserved else { return Ok(Put::Existed) };
        let source = open().map_err(|error| unreadable(blob, error))?;
        self.api.fill(&entry, blob, source, &self.slots)?;
        Ok(Put::Sent)
    }

    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError> {
        let config =
            pointer::write(document, &|blob, bytes| match put_bytes(self, blob, bytes)? {
                Put::Existed => self.wait_for(blob),
                Put::Mounted | Put::Sent => Ok(()),
            })?;
        self.write_index(&config)
    }
}

/// BuildKit's key of a blob, so that both find each other's.
fn blob_key(digest: &Digest) -> String {
    format!("buildkit-blob-1-{digest}")
}

fn not_written(error: RegistryError) -> RemoteError {
    RemoteError::of_registry("write to the GitHub Actions cache", error)
}
