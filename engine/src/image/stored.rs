//! Blobs that the store knows of by an image's manifest alone: the registries that have them are those of the image's
//! names. So is an image that was pulled for its config, or pushed without being fetched.

use std::io::{self, Read};

use oci::{Descriptor, Document, Reference};
use store::{StoreError, StoredImage};

use super::fetch::counted;
use super::resolve::registry_error;
use crate::error::{BuildError, sources};
use crate::session::Session;

/// Opens a blob where it can be had: under the name that is asked for, else under another one of an image that has it.
pub(super) fn open(
    session: &Session,
    wanted: &Reference,
    blob: &Descriptor,
) -> Result<Box<dyn Read + Send>, BuildError> {
    let opened = session.registry.blob(wanted, blob);
    let error = match opened {
        Ok(body) => return Ok(Box::new(body)),
        Err(error) => registry_error(wanted, error),
    };
    let others = names_of(session, blob);
    let others = others.map_err(|e| BuildError::store("cannot look for an image's names", e))?;
    for other in others.iter().filter(|other| *other != wanted) {
        if let Ok(body) = session.registry.blob(other, blob) {
            return Ok(Box::new(body));
        }
    }
    Err(error)
}

/// Brings a blob of an image of the store into the store, if any of the image's names leads to it.
pub(crate) fn fetch(session: &Session, blob: &Descriptor, vertex: u32) -> io::Result<()> {
    let names = names_of(session, blob).map_err(io::Error::other)?;
    let Some(first) = names.first() else { return Ok(()) };
    let told = |error: BuildError| {
        let words: Vec<String> = sources(&error).map(ToString::to_string).collect();
        io::Error::other(words.join(": "))
    };
    let body = open(session, first, blob).map_err(told)?;
    let mut body = counted(session, vertex, blob, body);
    let kept = session.lease.put_blob(Some((blob.digest, blob.size_bytes)), &mut body);
    kept.map(drop).map_err(io::Error::other)
}

/// The names of images whose manifest lists a blob.
fn names_of(session: &Session, blob: &Descriptor) -> Result<Vec<Reference>, StoreError> {
    let mut names = Vec::new();
    for (name, tagged) in session.lease.store().tags()? {
        let images = tagged.images().into_iter().map(|id| session.lease.image(&id));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        if images.iter().flatten().any(|image| lists(image, blob)) {
            names.push(name);
        }
    }
    Ok(names)
}

fn lists(image: &StoredImage, blob: &Descriptor) -> bool {
    let Some(manifest) = &image.manifest else { return false };
    match Document::from_json(&manifest.bytes, &manifest.media_type) {
        Ok(Document::Manifest(manifest)) => {
            manifest.layers.iter().any(|layer| layer.digest == blob.digest)
        }
        Ok(Document::Index(_)) | Err(_) => false,
    }
}
