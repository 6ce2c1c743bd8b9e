//! Lists of manifests that somebody puts together here before pushing them as an index. What stands in one is the
//! caller's; the store knows which images of its own must stay for it.

use oci::{Digest, ImageId, Reference};
use serde::{Deserialize, Serialize};

use crate::error::{StoreError, at};
use crate::generation::Reached;
use crate::layout::Store;
use crate::lease::Lease;
use crate::seal;

const KIND: &str = "manifest-list";
/// Made with the first list: most stores have none.
pub(crate) const LISTS_DIR: &str = "manifest-lists";

/// A list under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestList {
    /// Its name.
    pub name: Reference,
    /// Images of this store that it lists: they stay as if it were a tag of theirs.
    pub images: Vec<ImageId>,
    /// What the manifests of these images name: they are pushed as they are.
    pub blobs: Vec<Digest>,
    /// What the caller says of its entries: a JSON document.
    pub document: String,
}

#[derive(Serialize, Deserialize)]
struct ListFile {
    name: String,
    images: Vec<String>,
    #[serde(default)]
    blobs: Vec<String>,
    document: String,
}

/// The name is a digest: a reference may have any length and has slashes.
pub(crate) fn path(name: &Reference) -> String {
    format!("{LISTS_DIR}/{}", Digest::of(name.to_string().as_bytes()).hex())
}

impl Lease {
    /// Keeps a list, in the place of an older one of its name, durably with the images that it lists.
    ///
    /// # Errors
    /// An image or a layer of it is not in the store, or the store cannot be written.
    pub fn set_manifest_list(&self, list: &ManifestList) -> Result<(), StoreError> {
        self.finish(true, &Reached { layers: &[], images: &list.images })?;
        let path = path(&list.name);
        let file = ListFile {
            name: list.name.to_string(),
            images: list.images.iter().map(ImageId::to_string).collect(),
            blobs: list.blobs.iter().map(Digest::to_string).collect(),
            document: list.document.clone(),
        };
        self.disk().make_dir(LISTS_DIR).map_err(at("make", LISTS_DIR))?;
        self.publish(&path, &seal::seal_json(KIND, &path, &file), true)?;
        self.disk().sync_dir(LISTS_DIR).map_err(at("sync", LISTS_DIR))
    }
}

impl Store {
    /// The list of a name.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn manifest_list(&self, name: &Reference) -> Result<Option<ManifestList>, StoreError> {
        let path = path(name);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| parse(&path, &bytes)))
    }

    /// All lists, sorted by their names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn manifest_lists(&self) -> Result<Vec<ManifestList>, StoreError> {
        let mut lists = Vec::new();
        if self.disk().stat(LISTS_DIR).map_err(at("look at", LISTS_DIR))?.is_none() {
            return Ok(lists);
        }
        for name in self.disk().list(LISTS_DIR).map_err(at("list", LISTS_DIR))? {
            let path = format!("{LISTS_DIR}/{name}");
            let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
            lists.extend(bytes.and_then(|bytes| parse(&path, &bytes)));
        }
        lists.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(lists)
    }

    /// Forgets a list; `false` when there was none.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn remove_manifest_list(&self, name: &Reference) -> Result<bool, StoreError> {
        let path = path(name);
        self.disk().unlink(&path).map_err(at("remove", path))
    }
}

/// `None` when the file is not whole.
fn parse(path: &str, bytes: &[u8]) -> Option<ManifestList> {
    let file: ListFile = seal::unseal_json(KIND, path, bytes)?;
    let images = file.images.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
    let blobs = file.blobs.iter().map(|digest| digest.parse().ok()).collect::<Option<_>>()?;
    Some(ManifestList { name: file.name.parse().ok()?, images, blobs, document: file.document })
}
