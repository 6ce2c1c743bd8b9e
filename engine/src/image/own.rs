//! The blobs that a base image itself names for its layers. A result names the same ones, whatever else the store has
//! of the same tars: else the digest of a build would depend on what was built before it (IMG-28).
//!
//! Owns finding them for a target. Which blob is written in the end is the exporter's choice.

use std::sync::Arc;

use graph::{Graph, ImageOrigin, ImageSource, Op, Target};
use oci::{Descriptor, DiffId, Reference};
use store::LayerBlob;

use super::fetch::{download, layer_descriptors};
use super::noted::{layer_blob, note};
use crate::error::{BuildError, BuildErrorKind, causes};
use crate::session::Session;
use crate::stop::Stop;

/// The base image of a result.
pub(crate) struct Base(ImageSource);

impl Base {
    /// What a target's layers begin with; `None` for one that is made from nothing.
    pub(crate) fn of(graph: &Graph, target: &Target) -> Option<Base> {
        let mut vertex = graph.vertex(target.top);
        while let Some(below) = vertex.below {
            vertex = graph.vertex(below);
        }
        match &vertex.op {
            Op::Image(image) if image.config.rootfs == target.config.rootfs => {
                Some(Base(image.clone()))
            }
            _ => None,
        }
    }

    /// The blobs of its layers, brought into the store if they are not there; `None` for one that cannot be had (the
    /// store has the layer all the same). `vertex` gets the progress.
    pub(crate) fn blobs(
        &self,
        session: &Arc<Session>,
        vertex: u32,
    ) -> Result<Vec<Option<LayerBlob>>, Stop> {
        let Base(image) = self;
        let store = |error| BuildError::store("cannot look for a layer's blob", error);
        if image.manifest.is_none() {
            return Ok(Vec::new());
        }
        // The manifest may have been dropped since the layers were unpacked.
        let Ok(descriptors) = layer_descriptors(session, image) else { return Ok(Vec::new()) };
        let mut failed: Option<BuildError> = None;
        let mut blobs = Vec::new();
        for (descriptor, diff_id) in descriptors.iter().zip(&image.config.rootfs.diff_ids) {
            // A registry that does not answer is waited for once, not for each layer.
            let is_there = match failed {
                Some(_) => session.lease.has_blob(&descriptor.digest).map_err(store)?,
                None => match download(session, image, descriptor, vertex) {
                    Ok(()) => true,
                    Err(error) if error.kind() == BuildErrorKind::DiskFull => {
                        return Err(error.into());
                    }
                    Err(error) => {
                        failed = Some(error);
                        false
                    }
                },
            };
            session.check_cancelled()?;
            // Noted, it is not dropped; one of another tar is as good as none.
            let is_its = is_there && note(session, *diff_id, descriptor)?;
            blobs.push(is_its.then(|| layer_blob(descriptor)));
        }
        if let Some(error) = failed {
            session.warn(format!(
                "the layers of {} are written anew, which can change the result's digest: {}",
                image.reference.familiar(),
                causes(&error)
            ));
        }
        Ok(blobs)
    }

    /// Whether its blobs are in the store, so that [`Base::blobs`] fetches none.
    pub(crate) fn are_blobs_there(&self, session: &Session) -> Result<bool, BuildError> {
        let store = |error| BuildError::store("cannot look for a layer's blob", error);
        let Base(image) = self;
        let Ok(descriptors) = layer_descriptors(session, image) else { return Ok(true) };
        for descriptor in descriptors {
            if !session.lease.has_blob(&descriptor.digest).map_err(store)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The blobs of its layers as its manifest names them, wherever they are; `None` when that is not known.
    pub(crate) fn named_blobs(&self, session: &Session) -> Option<Vec<LayerBlob>> {
        self.0.manifest?;
        let descriptors = layer_descriptors(session, &self.0).ok()?;
        Some(descriptors.iter().map(layer_blob).collect())
    }

    /// Brings one of its blobs into the store; gives the tars that it is said to be. `None` if it is none of its.
    pub(crate) fn fetch(
        &self,
        session: &Session,
        blob: &Descriptor,
        vertex: u32,
    ) -> Result<Option<Vec<DiffId>>, BuildError> {
        let Base(image) = self;
        let descriptors = layer_descriptors(session, image)?;
        let claims = descriptors.iter().zip(&image.config.rootfs.diff_ids);
        let own: Vec<_> = claims.filter(|(own, _)| own.digest == blob.digest).collect();
        let Some((first, _)) = own.first() else { return Ok(None) };
        download(session, image, first, vertex)?;
        Ok(Some(own.into_iter().map(|(_, diff_id)| *diff_id).collect()))
    }

    /// The repository that has the blobs.
    pub(crate) fn repository(&self) -> Option<&Reference> {
        (self.0.origin == ImageOrigin::Registry).then_some(&self.0.reference)
    }
}
