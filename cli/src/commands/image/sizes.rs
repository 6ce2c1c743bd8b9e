//! How large layers are: the bytes in their files, as docker counts.

use std::cell::RefCell;
use std::collections::HashMap;

use oci::{DiffId, Document};
use store::{Lease, Store, StoredImage};

use super::{Shelf, store_error};
use crate::commands::{Failure, Process};

/// Has those layers counted that nobody has read through yet: of images that were pulled.
pub(super) fn count(
    process: &Process,
    shelf: &Shelf,
    images: &[&StoredImage],
) -> Result<(), Failure> {
    Ok(engine::count_layers(images, &shelf.environment, &process.cancel)?)
}

/// Looks sizes up, each once.
pub(super) struct Sizes<'s> {
    store: &'s Store,
    lease: &'s Lease,
    known: RefCell<HashMap<DiffId, u64>>,
}

impl Sizes<'_> {
    pub(super) fn new(lease: &Lease) -> Sizes<'_> {
        Sizes { store: lease.store(), lease, known: RefCell::default() }
    }

    /// All layers of an image together.
    pub(super) fn image(&self, image: &StoredImage) -> Result<u64, Failure> {
        // Manifests may say anything.
        Ok(self.layers(image)?.into_iter().fold(0, u64::saturating_add))
    }

    /// Each layer of an image, lowest first. Of a layer that is neither unpacked nor read through, its blob counts,
    /// which may be at a registry only.
    pub(super) fn layers(&self, image: &StoredImage) -> Result<Vec<u64>, Failure> {
        let mut listed = None;
        let mut sizes = Vec::new();
        for (at, diff_id) in image.diff_ids.iter().enumerate() {
            let known = self.known.borrow().get(diff_id).copied();
            let size = match known {
                Some(size) => Some(size),
                None => self.look(image, at, *diff_id)?,
            };
            let size = size.unwrap_or_else(|| {
                let listed = listed.get_or_insert_with(|| blob_sizes(image));
                listed.get(at).copied().unwrap_or(0)
            });
            self.known.borrow_mut().insert(*diff_id, size);
            sizes.push(size);
        }
        Ok(sizes)
    }

    fn look(
        &self,
        image: &StoredImage,
        at: usize,
        diff_id: DiffId,
    ) -> Result<Option<u64>, Failure> {
        let failed = store_error("cannot look at a layer");
        // First what does not change when the unpacked layer goes.
        if let Some(bytes) = self.store.tar_sizes(diff_id).map_err(&failed)?.files_bytes {
            return Ok(Some(bytes));
        }
        if let Some(layer) = image.stack.layers.get(at)
            && let Some(info) = self.store.layer_info(*layer).map_err(&failed)?
            && info.size_bytes.is_some()
        {
            return Ok(info.size_bytes);
        }
        let blobs = self.lease.layer_blobs(diff_id).map_err(&failed)?;
        Ok(blobs.first().map(|blob| blob.size_bytes))
    }
}

/// Sizes of an image's blobs as its manifest has them.
fn blob_sizes(image: &StoredImage) -> Vec<u64> {
    let manifest = image.manifest.as_ref().map(|m| Document::from_json(&m.bytes, &m.media_type));
    match manifest {
        Some(Ok(Document::Manifest(manifest))) => {
            manifest.layers.iter().map(|layer| layer.size_bytes).collect()
        }
        _ => Vec::new(),
    }
}
