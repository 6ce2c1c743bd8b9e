//! What images of the store say of their layers' blobs, and whether it is true: an image that lies about one is not
//! given on (spec/security.md R3).
//!
//! Images that were pulled or loaded were seen to be true then; those of older stores, and those whose layers are
//! fetched only now, are seen to be before anybody gets them.

use std::io;

use exporter::{BuiltImage, Prepared};
use oci::{Descriptor, DiffId, Document, ImageConfig, Manifest};

use super::noted::prove;
use super::stored;
use crate::error::{BuildError, BuildErrorKind};
use crate::session::Session;

/// Blobs with the tars that they are said to be.
pub(crate) struct Claims(Vec<(Descriptor, DiffId)>);

impl Claims {
    /// Those of images that are ready for outputs.
    pub(crate) fn of<'a>(prepared: impl IntoIterator<Item = &'a Prepared>) -> Claims {
        let mut claims = Vec::new();
        for image in prepared.into_iter().flat_map(|prepared| &prepared.images) {
            let Ok(config) = ImageConfig::from_json(&image.config) else { continue };
            claims.extend(image.layers.iter().cloned().zip(config.rootfs.diff_ids));
        }
        Claims(claims)
    }

    /// Those of an image of the store, if it has a manifest.
    pub(crate) fn of_image(image: &BuiltImage) -> Claims {
        let manifest =
            image.manifest.as_ref().map(|m| Document::from_json(&m.bytes, &m.media_type));
        let Some(Ok(Document::Manifest(Manifest { layers, .. }))) = manifest else {
            return Claims(Vec::new());
        };
        let diff_ids = image.layers.iter().map(|layer| layer.diff_id);
        Claims(layers.into_iter().zip(diff_ids).collect())
    }

    /// Fails if a blob that is here is another tar.
    pub(crate) fn check(&self, session: &Session) -> Result<(), BuildError> {
        let store = |e| BuildError::store("cannot look at a layer's blob", e);
        for (blob, diff_id) in &self.0 {
            if session.lease.has_blob(&blob.digest).map_err(store)? {
                check(session, blob, *diff_id)?;
            }
        }
        Ok(())
    }

    /// Brings a blob that the store only knows of, and sees that it is what is said of it. `vertex` gets the progress.
    pub(crate) fn fetch(
        &self,
        session: &Session,
        blob: &Descriptor,
        vertex: u32,
    ) -> io::Result<()> {
        stored::fetch(session, blob, vertex)?;
        for (_, diff_id) in self.0.iter().filter(|(said, _)| said.digest == blob.digest) {
            let checked = check(session, blob, *diff_id);
            checked.map_err(|error| io::Error::other(crate::error::causes(&error)))?;
        }
        Ok(())
    }
}

fn check(session: &Session, blob: &Descriptor, diff_id: DiffId) -> Result<(), BuildError> {
    match prove(session, diff_id, blob, None)? {
        None => Ok(()),
        Some(why) => {
            let text = format!("the image is not what it says: its layer {why}");
            Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint("pull or load a whole one, and remove this one with `shale rmi`"))
        }
    }
}
