//! One place where a cache lies: what every back end can do, and how one is opened.

use std::io::{self, Read};
use std::sync::Arc;

use oci::{Descriptor, Reference};
use registry::RegistryClient;

use crate::azblob::AzblobPlace;
use crate::gha::GhaPlace;
use crate::hasty::Hasty;
use crate::local::LocalPlace;
use crate::manifest::Form;
use crate::registry_place::RegistryPlace;
use crate::s3::S3Place;
use crate::{CacheDocument, CacheExport, CacheImport, ExportPlace, ImportPlace, RemoteError};

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

/// Opens a place to read from. Contacts nobody yet. Servers that are slow are given up sooner than others: a build can
/// do without a cache.
///
/// # Errors
/// The options do not fit together.
pub fn open_import(
    import: &CacheImport,
    client: &RegistryClient,
) -> Result<Arc<dyn CachePlace>, RemoteError> {
    let client = &client.of_little_patience();
    Ok(match &import.place {
        ImportPlace::Registry { reference, insecure } => {
            Arc::new(Hasty(RegistryPlace::new(reference, *insecure, Form::default(), client)))
        }
        ImportPlace::Local { src, tag, digest } => Arc::new(LocalPlace::to_read(src, tag, *digest)),
        ImportPlace::S3(options) => Arc::new(Hasty(S3Place::open(options, client)?)),
        ImportPlace::Gha(options) => Arc::new(Hasty(GhaPlace::open(options, client)?)),
        ImportPlace::Azblob(options) => Arc::new(Hasty(AzblobPlace::open(options, client)?)),
    })
}

/// Opens a place to write to. Contacts nobody yet. `None` for an inline cache, which has no place but the image's
/// config.
///
/// # Errors
/// The options do not fit together.
pub fn open_export(
    export: &CacheExport,
    client: &RegistryClient,
) -> Result<Option<Arc<dyn CachePlace>>, RemoteError> {
    let form = Form { oci: export.oci_media_types, image_manifest: export.image_manifest };
    match &export.place {
        ExportPlace::Inline => Ok(None),
        ExportPlace::Registry { reference, insecure } => {
            Ok(Some(Arc::new(RegistryPlace::new(reference, *insecure, form, client))))
        }
        ExportPlace::Local { dest, tag, reset } => {
            Ok(Some(Arc::new(LocalPlace::to_write(dest, tag, form, *reset))))
        }
        ExportPlace::S3(options) => Ok(Some(Arc::new(S3Place::open(options, client)?))),
        ExportPlace::Gha(options) => Ok(Some(Arc::new(GhaPlace::open(options, client)?))),
        ExportPlace::Azblob(options) => Ok(Some(Arc::new(AzblobPlace::open(options, client)?))),
    }
}
