//! One place where a cache lies: what every back end can do. Knows none of them.

use std::io::{self, Cursor, Read};

use oci::{Descriptor, Reference};

use crate::{CacheDocument, RemoteError};

/// Gives a blob's content from its start; may be called again after a failed try.
pub type OpenBlob<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync);

/// What became of a blob that had to be somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was there; `open` was not called.
    Existed,
    /// The other side took it from another place of its own.
    Mounted,
    /// It was sent.
    Sent,
}

/// One place. All methods may be called by several threads at once, take bounded time, and answer with errors instead
/// of wrong content.
pub trait CachePlace: Send + Sync {
    /// What messages call it: `registry cache 127.0.0.1:5000/app:cache`.
    fn name(&self) -> &str;

    /// Reads the document. `None` when nothing is there: worth a warning, no more.
    ///
    /// # Errors
    /// The place cannot be read, or holds something damaged or too new.
    fn read(&self) -> Result<Option<CacheDocument>, RemoteError>;

    /// Opens a blob. The reader checks length and digest: an error at its end says that the content is wrong.
    ///
    /// # Errors
    /// The blob is not there or cannot be reached.
    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError>;

    /// Whether the blob is there and may be named in a document that is published here.
    ///
    /// # Errors
    /// The place cannot be asked.
    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError>;

    /// Makes sure that the blob is there: asks first, then tries to take it from the repository `elsewhere` when
    /// that is one of the same registry, then sends it.
    ///
    /// # Errors
    /// The content cannot be read or sent.
    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError>;

    /// Puts the document, BuildKit's config and the manifest there, and names them: the last act, after all blobs.
    ///
    /// # Errors
    /// Something cannot be written; what the name meant before is still there.
    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError>;
}

/// [`CachePlace::put`] of what is in memory.
pub(crate) fn put_bytes(
    place: &impl CachePlace,
    blob: &Descriptor,
    bytes: &[u8],
) -> Result<Put, RemoteError> {
    let open = || Ok(Box::new(Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>);
    place.put(blob, &open, None)
}
