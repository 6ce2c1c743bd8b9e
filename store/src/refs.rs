//! Tags: references that name images. A tag is set only for an image that survives a power cut, and survives one
//! itself.

use std::path::PathBuf;

use oci::{Digest, ImageId, Reference};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};
use crate::generation::Reached;
use crate::layout::Store;
use crate::lease::Lease;
use crate::seal;

const KIND: &str = "tag";

#[derive(Serialize, Deserialize)]
struct TagFile {
    reference: String,
    image: String,
}

/// The name is a digest: a reference may have any length and has slashes.
pub(crate) fn path(reference: &Reference) -> String {
    format!("tags/{}", Digest::of(reference.to_string().as_bytes()).hex())
}

impl Lease {
    /// Lets references name images, durably: each is the old one or the new one at any moment. Makes the images durable
    /// first where [`Lease::finish`] has not done so.
    ///
    /// # Errors
    /// An image or a layer of it is not in the store, or the store cannot be written. Earlier tags of the list may be
    /// set then.
    pub fn set_tags(&self, tags: &[(Reference, ImageId)]) -> Result<(), StoreError> {
        let images: Vec<ImageId> = tags.iter().map(|(_, image)| *image).collect();
        self.finish(true, &Reached { layers: &[], images: &images })?;
        let mut changed = false;
        for (reference, image) in tags {
            if self.store().tag(reference)? == Some(*image) {
                continue;
            }
            let path = path(reference);
            let file = TagFile { reference: reference.to_string(), image: image.to_string() };
            self.publish(&path, &seal::seal_json(KIND, &path, &file), true)?;
            changed = true;
        }
        if changed {
            self.disk().sync_dir("tags").map_err(at("sync", "tags"))?;
        }
        Ok(())
    }

    /// [`Store::tag`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tag(&self, reference: &Reference) -> Result<Option<ImageId>, StoreError> {
        self.store().tag(reference)
    }

    /// [`Store::tags`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tags(&self) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        self.store().tags()
    }

    /// [`Store::remove_tag`].
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_tag(&self, reference: &Reference) -> Result<bool, StoreError> {
        self.store().remove_tag(reference)
    }
}

impl Store {
    /// The image that a reference names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tag(&self, reference: &Reference) -> Result<Option<ImageId>, StoreError> {
        let path = path(reference);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| parse(&path, &bytes)).map(|(_, image)| image))
    }

    /// All tags, sorted by reference.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tags(&self) -> Result<Vec<(Reference, ImageId)>, StoreError> {
        let mut tags = Vec::new();
        for name in self.disk().list("tags").map_err(at("list", "tags"))? {
            let path = format!("tags/{name}");
            let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
            tags.extend(bytes.and_then(|bytes| parse(&path, &bytes)));
        }
        tags.sort();
        Ok(tags)
    }

    /// Takes a name away from its image; `false` when it named none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_tag(&self, reference: &Reference) -> Result<bool, StoreError> {
        let path = path(reference);
        let removed = self.disk().unlink(&path).map_err(at("remove", path))?;
        if removed {
            self.disk().sync_dir("tags").map_err(at("sync", "tags"))?;
        }
        Ok(removed)
    }

    /// Directory for what other parts of the program keep in the store: `logs`, `failed`, `stat`, `sources`. All but
    /// `logs` are emptied at the first open after a boot.
    pub fn area(&self, name: &'static str) -> PathBuf {
        debug_assert!(crate::boot::FOREIGN_AREAS.contains(&name) || name == "logs");
        self.disk().path(name)
    }
}

/// `None` when the file is not whole.
pub(crate) fn parse(path: &str, bytes: &[u8]) -> Option<(Reference, ImageId)> {
    let file: TagFile = seal::unseal_json(KIND, path, bytes)?;
    Some((file.reference.parse().ok()?, file.image.parse().ok()?))
}
