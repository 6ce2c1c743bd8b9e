//! How places are opened: the one module that knows all back ends.

use std::sync::Arc;

use registry::RegistryClient;

use crate::azblob::AzblobPlace;
use crate::gha::GhaPlace;
use crate::hasty::Hasty;
use crate::local::LocalPlace;
use crate::manifest::Form;
use crate::registry_place::RegistryPlace;
use crate::s3::S3Place;
use crate::{CacheExport, CacheImport, CachePlace, ExportPlace, ImportPlace, RemoteError};

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
