//! What must not be taken: what a running process has named, what tags reach, and what the images need that either of
//! them leads to.

use std::collections::HashSet;

use oci::ImageId;

use super::item::Holder;
use crate::error::{StoreError, at};
use crate::images::{self, StoredImage};
use crate::layout::Store;
use crate::refs::{Tagged, TaggedIndex};
use crate::{blobs, layers, lease, manifests};

/// Paths that somebody needs. Only lasting while the store is locked exclusively.
#[derive(Default)]
pub(super) struct Protected {
    tagged: HashSet<String>,
    running: HashSet<String>,
    /// What images without a name need.
    images: HashSet<String>,
}

impl Protected {
    pub(super) fn holder(&self, path: &str) -> Holder {
        match path {
            _ if self.tagged.contains(path) => Holder::Tag,
            _ if self.running.contains(path) => Holder::Process,
            _ if self.images.contains(path) => Holder::Image,
            _ => Holder::Nobody,
        }
    }
}

/// Reads all leases and tags; `images` are those that there are. A name of nothing but what is `as_if_gone` is none.
pub(super) fn protected(
    store: &Store,
    images: &[StoredImage],
    as_if_gone: &HashSet<ImageId>,
) -> Result<Protected, StoreError> {
    let running = lease::live_names(store.disk()).map_err(at("read", "leases"))?;
    let mut protected = Protected { running, ..Protected::default() };
    let mut tagged: HashSet<ImageId> = HashSet::new();
    for (_, tag) in store.tags()? {
        let meant = tag.images();
        if !meant.is_empty() && meant.iter().all(|id| as_if_gone.contains(id)) {
            continue;
        }
        tagged.extend(meant);
        if let Tagged::Index(TaggedIndex { images, .. }) = &tag {
            let listed =
                images.iter().flat_map(|(_, m)| manifests::listed_blobs(&m.bytes, &m.media_type));
            protected.tagged.extend(listed);
        }
    }
    for list in store.manifest_lists()? {
        tagged.extend(list.images);
        protected.tagged.extend(list.blobs.iter().map(blobs::path));
    }
    for image in images {
        let path = images::path(&image.id);
        let needs = needs(store, image)?;
        if tagged.contains(&image.id) {
            protected.tagged.extend(needs.into_iter().chain([path]));
        } else if protected.running.contains(&path) {
            protected.running.extend(needs);
        } else {
            protected.images.extend(needs.into_iter().chain([path]));
        }
    }
    Ok(protected)
}

/// What those of the images need that came after a list of their names was made.
pub(super) fn of_new_images(
    store: &Store,
    images: &[StoredImage],
    known: &HashSet<String>,
) -> Result<HashSet<String>, StoreError> {
    let mut needed = HashSet::new();
    for image in images.iter().filter(|image| !known.contains(&image.id.0.hex())) {
        needed.extend(needs(store, image)?);
    }
    Ok(needed)
}

/// Paths without which an image is of no use: its layers, the blobs of those that are not unpacked, and, where it has a
/// manifest, what that names, since it is written again as it is.
pub(super) fn needs(store: &Store, image: &StoredImage) -> Result<Vec<String>, StoreError> {
    let mut paths: Vec<String> = image.stack.layers.iter().map(layers::path).collect();
    for diff_id in image.diff_ids.iter().skip(image.stack.layers.len()) {
        let notes = store.layer_blobs(*diff_id)?;
        paths.extend(notes.iter().map(|blob| blobs::path(&blob.digest)));
    }
    if let Some(manifest) = &image.manifest {
        paths.extend(manifests::listed_blobs(&manifest.bytes, &manifest.media_type));
        paths.push(manifests::path(&manifest.digest));
    }
    Ok(paths)
}
