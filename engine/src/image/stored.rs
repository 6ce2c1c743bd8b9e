//! Blobs that the store knows of by an image's manifest alone: the registries that have them are those of the image's
//! names. So is an image that was pulled for its config, or pushed without being fetched.

use std::io;

use oci::{Descriptor, Document, Reference};
use registry::{BlobPrefix, RegistryError};
use store::{StoreError, StoredImage};

use super::blob::{Opened, bring_rest};
use super::elsewhere;
use super::refusal::registry_error;
use crate::error::{BuildError, causes};
use crate::session::Session;

/// Opens a blob where it can be had, behind what is there of it: under the name that is asked for, else under another
/// one of an image that has it.
pub(super) fn open(
    session: &Session,
    wanted: &Reference,
    blob: &Descriptor,
    prefix: BlobPrefix,
) -> Result<Opened, BuildError> {
    let open = |name: &Reference| {
        let body = session.registry.blob_behind(name, blob, prefix.clone())?;
        Ok::<_, RegistryError>(Opened { body: Box::new(body), is_rest: true })
    };
    let error = match open(wanted) {
        Ok(opened) => return Ok(opened),
        Err(error) => registry_error(wanted, error),
    };
    let others = names_of(session, blob);
    let others = others.map_err(|e| BuildError::store("cannot look for an image's names", e))?;
    for other in others.iter().filter(|other| *other != wanted) {
        if let Ok(opened) = open(other) {
            return Ok(opened);
        }
    }
    // A descriptor that a manifest of the store has says where else it is.
    elsewhere::open(session, wanted, blob)?.ok_or(error)
}

/// Brings a blob of an image of the store into the store, if any of the image's names leads to it.
pub(super) fn fetch(session: &Session, blob: &Descriptor, vertex: u32) -> io::Result<()> {
    let names = names_of(session, blob).map_err(io::Error::other)?;
    let Some(first) = names.first() else { return Ok(()) };
    let not_kept = |error| BuildError::store("cannot keep a downloaded layer", error);
    bring_rest(session, blob, vertex, |prefix| open(session, first, blob, prefix), not_kept)
        .map_err(|error| io::Error::other(causes(&error)))
}

/// The names of images whose manifest lists a blob, and the repositories in which it was seen.
fn names_of(session: &Session, blob: &Descriptor) -> Result<Vec<Reference>, StoreError> {
    let mut names = Vec::new();
    for (name, tagged) in session.lease.store().tags()? {
        let images = tagged.images().into_iter().map(|id| session.lease.image(&id));
        let images = images.collect::<Result<Vec<_>, _>>()?;
        if images.iter().flatten().any(|image| lists(image, blob)) {
            names.push(name);
        }
    }
    let places = session.lease.store().blob_places(&blob.digest)?;
    for place in places.iter().filter_map(|place| place.parse::<Reference>().ok()) {
        if !names.iter().any(|name| name.name() == place.name()) {
            names.push(place);
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
