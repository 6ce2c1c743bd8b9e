//! Tags: references that name images, or an index over images of several platforms. A tag is set only for images that
//! survive a power cut, and survives one itself.

use std::path::PathBuf;

use oci::{Digest, ImageId, Reference};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};
use crate::generation::Reached;
use crate::images::{StoredManifest, check_digest};
use crate::layout::Store;
use crate::lease::Lease;
use crate::seal;

const KIND: &str = "tag";

/// A name's image, or its images of several platforms with the index over them (PLAT-07).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// One image.
    Image(ImageId),
    /// Several.
    Index(TaggedIndex),
}

/// An index that a name points to. Its documents stay with the name, so that it is pushed byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedIndex {
    /// The index.
    pub index: StoredManifest,
    /// The images that it lists, in its order, each with the manifest that is listed; at least one.
    pub images: Vec<(ImageId, StoredManifest)>,
    /// What it lists besides images, such as attestations.
    pub attached: Vec<AttachedManifest>,
}

/// A manifest of small JSON documents, which stay with the name too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachedManifest {
    /// The manifest.
    pub manifest: StoredManifest,
    /// Its config and what it lists, each with its media type.
    pub blobs: Vec<StoredManifest>,
}

impl Tagged {
    /// All images, in their order.
    pub fn images(&self) -> Vec<ImageId> {
        match self {
            Tagged::Image(image) => vec![*image],
            Tagged::Index(index) => index.images.iter().map(|(image, _)| *image).collect(),
        }
    }

    /// The digest by which the store tells it from others: that of the config, or of the index.
    pub fn object(&self) -> Digest {
        match self {
            Tagged::Image(image) => image.0,
            Tagged::Index(index) => index.index.digest,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct TagFile {
    reference: String,
    /// The image, or the first of them.
    image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    index: Option<IndexFile>,
}

#[derive(Serialize, Deserialize)]
struct IndexFile {
    document: DocumentFile,
    /// Ids of the images with their manifests.
    images: Vec<(String, DocumentFile)>,
    /// Manifests besides, each with its blobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attached: Vec<(DocumentFile, Vec<DocumentFile>)>,
}

/// A JSON document, byte for byte.
#[derive(Serialize, Deserialize)]
struct DocumentFile {
    media_type: String,
    text: String,
}

/// The name is a digest: a reference may have any length and has slashes.
pub(crate) fn path(reference: &Reference) -> String {
    format!("tags/{}", Digest::of(reference.to_string().as_bytes()).hex())
}

impl Lease {
    /// Lets references name images and indexes, durably: each is the old one or the new one at any moment. Makes the
    /// images durable first where [`Lease::finish`] has not done so.
    ///
    /// # Errors
    /// An image or a layer of it is not in the store, documents are not what their digests say, or the store cannot be
    /// written. Earlier tags of the list may be set then.
    pub fn set_tags(&self, tags: &[(Reference, Tagged)]) -> Result<(), StoreError> {
        let images: Vec<ImageId> = tags.iter().flat_map(|(_, tagged)| tagged.images()).collect();
        self.finish(true, &Reached { layers: &[], images: &images })?;
        let mut changed = false;
        for (reference, tagged) in tags {
            if self.store().tag(reference)?.as_ref() == Some(tagged) {
                continue;
            }
            let path = path(reference);
            let file = to_file(reference, tagged)?;
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
    pub fn tag(&self, reference: &Reference) -> Result<Option<Tagged>, StoreError> {
        self.store().tag(reference)
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
    /// What a reference names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tag(&self, reference: &Reference) -> Result<Option<Tagged>, StoreError> {
        let path = path(reference);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| parse(&path, &bytes)).map(|(_, tagged)| tagged))
    }

    /// All tags, sorted by reference.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tags(&self) -> Result<Vec<(Reference, Tagged)>, StoreError> {
        let mut tags = Vec::new();
        for name in self.disk().list("tags").map_err(at("list", "tags"))? {
            let path = format!("tags/{name}");
            let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
            tags.extend(bytes.and_then(|bytes| parse(&path, &bytes)));
        }
        tags.sort_by(|(a, _), (b, _)| a.cmp(b));
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

fn to_file(reference: &Reference, tagged: &Tagged) -> Result<TagFile, StoreError> {
    let (image, index) = match tagged {
        Tagged::Image(image) => (image.to_string(), None),
        Tagged::Index(TaggedIndex { index, images, attached }) => {
            let one = |(image, manifest): &(ImageId, StoredManifest)| {
                Ok::<_, StoreError>((image.to_string(), document(manifest)?))
            };
            let images: Vec<_> = images.iter().map(one).collect::<Result<_, _>>()?;
            let first = images.first().map_or_else(String::new, |(image, _)| image.clone());
            let attached = attached.iter().map(attached_file).collect::<Result<_, _>>()?;
            (first, Some(IndexFile { document: document(index)?, images, attached }))
        }
    };
    Ok(TagFile { reference: reference.to_string(), image, index })
}

fn attached_file(
    attached: &AttachedManifest,
) -> Result<(DocumentFile, Vec<DocumentFile>), StoreError> {
    let blobs = attached.blobs.iter().map(document).collect::<Result<_, _>>()?;
    Ok((document(&attached.manifest)?, blobs))
}

fn document(manifest: &StoredManifest) -> Result<DocumentFile, StoreError> {
    // JSON is text; what is none fails here by its digest.
    let text = String::from_utf8_lossy(&manifest.bytes).into_owned();
    check_digest(&manifest.digest, text.as_bytes())?;
    Ok(DocumentFile { media_type: manifest.media_type.clone(), text })
}

fn from_document(file: DocumentFile) -> StoredManifest {
    let bytes = file.text.into_bytes();
    StoredManifest { media_type: file.media_type, digest: Digest::of(&bytes), bytes }
}

/// `None` when the file is not whole.
pub(crate) fn parse(path: &str, bytes: &[u8]) -> Option<(Reference, Tagged)> {
    let file: TagFile = seal::unseal_json(KIND, path, bytes)?;
    let tagged = match file.index {
        None => Tagged::Image(file.image.parse().ok()?),
        Some(IndexFile { document, images, attached }) => {
            let one = |(image, manifest): (String, DocumentFile)| {
                Some((image.parse().ok()?, from_document(manifest)))
            };
            let images: Vec<_> = images.into_iter().map(one).collect::<Option<_>>()?;
            images.first()?;
            let attached = attached.into_iter().map(|(manifest, blobs)| AttachedManifest {
                manifest: from_document(manifest),
                blobs: blobs.into_iter().map(from_document).collect(),
            });
            let attached = attached.collect();
            Tagged::Index(TaggedIndex { index: from_document(document), images, attached })
        }
    };
    Some((file.reference.parse().ok()?, tagged))
}
