//! Images by id: config bytes, the layers of this store that make its file system, and the manifest it came with.

use graph::Stack;
use oci::{DiffId, Digest, ImageId};
use serde::{Deserialize, Serialize};

use crate::error::{Failure, StoreError, at};
use crate::layout::Store;
use crate::lease::Lease;
use crate::{blobs, chains, layers, manifests, records, repo_digests, seal};

const KIND: &str = "image";
/// Shortest prefix of an id that [`Store::images_by_prefix`] takes.
const PREFIX_LENGTH_MIN: usize = 1;

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// Digest of `config`.
    pub id: ImageId,
    /// The config document, byte for byte.
    pub config: Vec<u8>,
    /// Its file system.
    pub stack: Stack,
    /// Digests of the layers' tars as the config lists them, lowest first.
    pub diff_ids: Vec<DiffId>,
    /// The manifest, if it was pulled, loaded or already written for an output.
    pub manifest: Option<StoredManifest>,
    /// When it came into the store, RFC 3339.
    pub built_at: String,
}

/// The manifest of an image, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// Its media type.
    pub media_type: String,
    /// The document.
    pub bytes: Vec<u8>,
    /// Digest of `bytes`.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct ImageFile {
    base: Option<(String, usize)>,
    layers: String,
    diff_ids: Vec<String>,
    built_at: String,
    config_size_bytes: usize,
    /// Media type and digest.
    manifest: Option<(String, String)>,
}

pub(crate) fn path(id: &ImageId) -> String {
    format!("images/{}", id.0.hex())
}

/// Says that a closed generation lists the image and all it needs.
pub(crate) fn closed_mark(path: &str) -> String {
    format!("{path}.closed")
}

impl Lease {
    /// Keeps an image. If it is known and whole, it keeps its layers, which may be durable already and have the same
    /// content; only a new manifest is added.
    ///
    /// # Errors
    /// Config or manifest have another digest than said, or the store cannot be written.
    pub fn put_image(&self, image: &StoredImage) -> Result<(), StoreError> {
        check_digest(&image.id.0, &image.config)?;
        if let Some(manifest) = &image.manifest {
            check_digest(&manifest.digest, &manifest.bytes)?;
        }
        let path = path(&image.id);
        match self.image(&image.id)? {
            Some(old) if self.hold_layers(&old.stack.layers)? => {
                if image.manifest.is_some() && old.manifest != image.manifest {
                    // A tag may rest on the file: it must not be torn by a power cut.
                    let whole = StoredImage { manifest: image.manifest.clone(), ..old };
                    self.publish(&path, &to_file(&whole), true)?;
                    self.note_written();
                }
                Ok(())
            }
            _ => {
                // The mark speaks of another one.
                let mark = closed_mark(&path);
                self.disk().unlink(&mark).map_err(at("remove", mark))?;
                self.hold_new(&path)?;
                self.publish_result(&path, &to_file(image))?;
                self.made(&path);
                Ok(())
            }
        }
    }

    /// An image, which is protected by this (its layers are not yet: [`Lease::hold_layers`]); `None` when it is not in
    /// the store.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn image(&self, id: &ImageId) -> Result<Option<StoredImage>, StoreError> {
        if !self.hold(&[path(id)])?[0] {
            return Ok(None);
        }
        self.store().image(id)
    }

    /// Forgets an image that no name and no list leads to and nobody else uses, not even somebody who is about to name
    /// it. `false` when it stays, or is not there.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn forget_image(&self, id: &ImageId) -> Result<bool, StoreError> {
        let store = self.store();
        let _locked = store.lock_exclusively()?;
        let is_named = store.tags()?.iter().any(|(_, tagged)| tagged.images().contains(id))
            || store.manifest_lists()?.iter().any(|list| list.images.contains(id));
        if is_named || self.is_held_by_others(&path(id))? {
            return Ok(false);
        }
        store.remove_image(id)
    }

    /// [`Store::images`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        self.store().images()
    }

    /// Every path that an image needs, protected by this. What can be made again (blobs, chains) may be absent.
    ///
    /// # Errors
    /// The image or one of its layers is gone.
    pub(crate) fn hold_closure(&self, id: &ImageId) -> Result<Vec<String>, StoreError> {
        let image = self.image(id)?.ok_or_else(|| Lease::missing("image", id))?;
        let needed: Vec<String> = image.stack.layers.iter().map(layers::path).collect();
        let there = self.hold(&needed)?;
        if let Some(at) = there.iter().position(|there| !there) {
            return Err(Lease::missing("layer", image.stack.layers[at]));
        }
        let optional = optional_paths(self.store(), &image)?;
        let there = self.hold(&optional)?;
        let present =
            optional.into_iter().zip(there).filter_map(|(path, there)| there.then_some(path));
        Ok(needed.into_iter().chain(present).chain([path(id)]).collect())
    }
}

impl Store {
    /// An image, unprotected; `None` when it is not in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn image(&self, id: &ImageId) -> Result<Option<StoredImage>, StoreError> {
        let path = path(id);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| parse(&path, &bytes)))
    }

    /// All images, tagged or not, unprotected, sorted by id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, StoreError> {
        let mut images = Vec::new();
        for name in self.disk().list("images").map_err(at("list", "images"))? {
            let Ok(digest) = Digest::from_hex(&name) else { continue };
            images.extend(self.image(&ImageId(digest))?);
        }
        Ok(images)
    }

    /// Ids of the images whose 64 digits begin with `prefix` (`sha256:` may stand before it).
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn images_by_prefix(&self, prefix: &str) -> Result<Vec<ImageId>, StoreError> {
        let prefix = prefix.strip_prefix("sha256:").unwrap_or(prefix);
        if prefix.len() < PREFIX_LENGTH_MIN {
            return Ok(Vec::new());
        }
        let names = self.disk().list("images").map_err(at("list", "images"))?;
        let matching = names.iter().filter(|name| name.starts_with(prefix));
        Ok(matching.filter_map(|name| Digest::from_hex(name).ok().map(ImageId)).collect())
    }

    /// Digests of the blobs that an image has, or could have: its config, those of its layers, those that its manifest
    /// names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blobs_of(&self, image: &StoredImage) -> Result<Vec<Digest>, StoreError> {
        let paths = optional_paths(self, image)?;
        let names = paths.iter().filter_map(|path| path.strip_prefix("blobs/sha256/"));
        Ok(names.filter_map(|name| Digest::from_hex(name).ok()).collect())
    }

    /// Forgets an image. Its layers stay until they are collected. `false` when there was none. The caller removes its
    /// tags first ([`Store::tags`]).
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_image(&self, id: &ImageId) -> Result<bool, StoreError> {
        let path = path(id);
        let mark = closed_mark(&path);
        self.disk().unlink(&mark).map_err(at("remove", mark))?;
        let removed = self.disk().unlink(&path).map_err(at("remove", path))?;
        for note in self.repo_digest_paths()? {
            if repo_digests::object_of(&note) == Some(&*id.0.hex()) {
                self.disk().unlink(&note).map_err(at("remove", note))?;
            }
        }
        Ok(removed)
    }
}

/// What an image can be without: files that another output or pull makes again.
pub(crate) fn optional_paths(
    store: &Store,
    image: &StoredImage,
) -> Result<Vec<String>, StoreError> {
    let mut paths = Vec::new();
    let mut chain = None;
    for diff_id in &image.diff_ids {
        let next = match chain {
            None => oci::ChainId(diff_id.0),
            Some(below) => oci::ChainId::then(below, *diff_id),
        };
        chain = Some(next);
        paths.push(chains::path(&next));
        paths.push(blobs::layer_blobs_path(diff_id));
        paths.extend(store.layer_blobs(*diff_id)?.iter().map(|blob| blobs::path(&blob.digest)));
    }
    paths.push(blobs::path(&image.id.0));
    if let Some(manifest) = &image.manifest {
        paths.push(manifests::path(&manifest.digest));
        paths.push(blobs::path(&manifest.digest));
        paths.extend(manifests::listed_blobs(&manifest.bytes, &manifest.media_type));
    }
    Ok(paths)
}

pub(crate) fn check_digest(expected: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
    let found = Digest::of(bytes);
    if found == *expected {
        return Ok(());
    }
    Err(Failure::WrongDigest { expected: *expected, found }.into())
}

/// One line of JSON, then config and manifest as they are.
fn to_file(image: &StoredImage) -> Vec<u8> {
    let path = path(&image.id);
    let head = ImageFile {
        base: image.stack.base.map(|(chain, count)| (chain.to_string(), count)),
        layers: records::join_ids(&image.stack.layers),
        diff_ids: image.diff_ids.iter().map(ToString::to_string).collect(),
        built_at: image.built_at.clone(),
        config_size_bytes: image.config.len(),
        manifest: image.manifest.as_ref().map(|m| (m.media_type.clone(), m.digest.to_string())),
    };
    let mut body = serde_json::to_vec(&head).expect("the head holds only strings and numbers");
    body.push(b'\n');
    body.extend_from_slice(&image.config);
    if let Some(manifest) = &image.manifest {
        body.extend_from_slice(&manifest.bytes);
    }
    seal::seal(KIND, &path, &body)
}

/// `None` when the file is not whole.
pub(crate) fn parse(path: &str, file: &[u8]) -> Option<StoredImage> {
    let body = seal::unseal(KIND, path, file)?;
    let end = body.iter().position(|b| *b == b'\n')?;
    let head: ImageFile = serde_json::from_slice(&body[..end]).ok()?;
    let rest = &body[end + 1..];
    let (config, manifest) = rest.split_at_checked(head.config_size_bytes)?;
    let manifest = match head.manifest {
        Some((media_type, digest)) => {
            let digest = digest.parse().ok()?;
            Some(StoredManifest { media_type, bytes: manifest.to_vec(), digest })
        }
        None => None,
    };
    Some(StoredImage {
        id: ImageId(Digest::of(config)),
        config: config.to_vec(),
        stack: records::to_stack(head.base.as_ref(), &head.layers)?,
        diff_ids: head.diff_ids.iter().map(|t| t.parse().ok()).collect::<Option<Vec<_>>>()?,
        manifest,
        built_at: head.built_at,
    })
}
