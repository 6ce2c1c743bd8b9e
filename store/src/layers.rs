//! Layers: `layers/<LayerId>/` with `diff` (the directory), `info` (what is said at commit), `toc` (its table of
//! contents) and `facts` (what follows from its content). A layer appears by one rename; `diff` and `info` never
//! change. `toc` and `facts` are filled in later by whoever needs them, may be lost in a power cut, and are made again.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use graph::{ContentId, LayerId};
use layer::Toc;
use oci::DiffId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::disk::{self, Disk};
use crate::error::{Failure, StoreError, at};
use crate::ingest::Ingest;
use crate::layout::{Store, locked};
use crate::lease::Lease;
use crate::{seal, usage};

const DIFF: &str = "diff";
const INFO: &str = "info";
const FACTS: &str = "facts";

/// What is known of a layer without opening it.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerInfo {
    /// Digest of its content, once the table of contents was made.
    pub content_id: Option<ContentId>,
    /// Digests of its tars, by encoding: `plain`, `clamp-<epoch>`.
    pub diff_ids: BTreeMap<String, DiffId>,
    /// Lengths of its tars in bytes, by encoding.
    pub tar_sizes_bytes: BTreeMap<String, u64>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Bytes in its regular files, hard links once; known with the table of contents.
    pub size_bytes: Option<u64>,
    /// Whether a table of contents was made.
    pub toc: bool,
    /// Whether its directory is here.
    pub present: bool,
}

#[derive(Serialize, Deserialize)]
struct InfoFile {
    created: String,
}

#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
struct FactsFile {
    content_id: Option<String>,
    size_bytes: Option<u64>,
    tars: BTreeMap<String, TarFile>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct TarFile {
    diff_id: String,
    size_bytes: u64,
}

/// Path of a layer below the store's root.
pub(crate) fn path(id: &LayerId) -> String {
    format!("layers/{id}")
}

impl Lease {
    /// Makes a layer of the directory `sub` of an ingest; the rest of the ingest is removed. `created` is RFC 3339.
    ///
    /// # Errors
    /// `sub` is not there, or the store cannot be written.
    pub fn commit_layer(
        &self,
        ingest: Ingest,
        sub: &str,
        created: &str,
    ) -> Result<LayerId, StoreError> {
        let id = LayerId(disk::random_id().map_err(at("name", "a layer"))?);
        let path = path(&id);
        let diff = format!("{}/{sub}", ingest.name());
        let is_dir = self.disk().stat(&diff).map_err(at("look at", diff.as_str()))?;
        if !disk::is_plain_name(sub) || !is_dir.is_some_and(|stat| disk::is_dir(&stat)) {
            return Err(Lease::missing("directory", diff));
        }
        let info = seal_file(&id, INFO, &InfoFile { created: created.to_owned() });
        self.prepare_commit(ingest.name(), sub, &info).map_err(at("prepare", path.as_str()))?;
        self.hold_new(&path)?;
        self.disk().rename(ingest.name(), &path).map_err(at("commit", path.as_str()))?;
        ingest.became_layer();
        self.made(&path);
        Ok(id)
    }

    /// Leaves in an ingest directory what a layer's directory has.
    fn prepare_commit(&self, dir: &str, sub: &str, info: &[u8]) -> io::Result<()> {
        for name in self.disk().list(dir)?.iter().filter(|name| *name != sub) {
            self.disk().remove_tree(dir, name)?;
        }
        if sub != DIFF {
            self.disk().rename(&format!("{dir}/{sub}"), &format!("{dir}/{DIFF}"))?;
        }
        self.disk().write_new(&format!("{dir}/{INFO}"), info, false)
    }

    /// What is known of a layer, which is protected by this; `None` when it is not in the store.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn layer(&self, id: LayerId) -> Result<Option<LayerInfo>, StoreError> {
        if !self.hold_layers(&[id])? {
            return Ok(None);
        }
        self.store().layer_info(id)
    }

    /// Opens a layer's directory. Needs the namespace in which it was made if its root is not readable.
    ///
    /// # Errors
    /// The layer is not there ([`StoreError::is_missing`]) or cannot be opened.
    pub fn layer_dir(&self, id: LayerId) -> Result<OwnedFd, StoreError> {
        if !self.hold_layers(&[id])? {
            return Err(Lease::missing("layer", id));
        }
        self.open_dir(&format!("{}/{DIFF}", path(&id)))
    }

    /// A layer's table of contents, read once for each process; `None` when it has none yet (or a damaged one, which is
    /// then made again).
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn layer_toc(&self, id: LayerId) -> Result<Option<Arc<Toc>>, StoreError> {
        if !self.hold_layers(&[id])? {
            return Ok(None);
        }
        if let Some(toc) = locked(&self.store().shared.tocs).get(&id) {
            return Ok(Some(Arc::clone(toc)));
        }
        let Some(toc) = self.store().read_toc(id)? else { return Ok(None) };
        let mut tocs = locked(&self.store().shared.tocs);
        Ok(Some(Arc::clone(tocs.entry(id).or_insert_with(|| Arc::new(toc)))))
    }

    /// Adds the table of contents and what follows from it.
    ///
    /// # Errors
    /// The layer is not there, or the store cannot be written.
    pub fn set_toc(
        &self,
        id: LayerId,
        toc: impl Into<Arc<Toc>>,
        content_id: ContentId,
    ) -> Result<(), StoreError> {
        let toc = toc.into();
        let mut bytes = Vec::new();
        toc.write(&mut bytes).map_err(|source| toc_failure("write", id, source))?;
        self.publish(&format!("{}/toc", path(&id)), &bytes, false)?;
        let size_bytes = size_of(&toc);
        self.note_added(usage::estimate_of(&toc));
        locked(&self.store().shared.tocs).insert(id, toc);
        self.update_facts(id, |facts| {
            facts.content_id = Some(content_id.to_string());
            facts.size_bytes = Some(size_bytes);
        })
    }

    /// Adds the digest and length in bytes of the tar in one encoding (`plain`, `clamp-<epoch>`).
    ///
    /// # Errors
    /// The layer is not there, or the store cannot be written.
    pub fn set_diff_id(
        &self,
        id: LayerId,
        encoding: &str,
        diff_id: DiffId,
        size_bytes: u64,
    ) -> Result<(), StoreError> {
        let tar = TarFile { diff_id: diff_id.to_string(), size_bytes };
        self.update_facts(id, |facts| {
            facts.tars.insert(encoding.to_owned(), tar);
        })
    }

    /// Two processes that fill in facts of one layer at the same moment may lose one of them; it is then found again.
    fn update_facts(
        &self,
        id: LayerId,
        change: impl FnOnce(&mut FactsFile),
    ) -> Result<(), StoreError> {
        let _updating = locked(&self.store().shared.updating);
        if !self.hold_layers(&[id])? {
            return Err(Lease::missing("layer", id));
        }
        let known = read_file::<FactsFile>(self.disk(), id, FACTS)?;
        let mut facts = known.clone().unwrap_or_default();
        change(&mut facts);
        if known.is_some_and(|known| known == facts) {
            return Ok(());
        }
        let path = format!("{}/{FACTS}", path(&id));
        self.publish(&path, &seal_file(&id, FACTS, &facts), false)?;
        self.note_written();
        Ok(())
    }
}

impl Store {
    /// Whether all of these layers are here, unprotected.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_layers(&self, layers: &[LayerId]) -> Result<bool, StoreError> {
        for id in layers {
            let path = path(id);
            if self.disk().stat(&path).map_err(at("look at", path))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What is known of a layer, unprotected: for a look at what is not used.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn layer_info(&self, id: LayerId) -> Result<Option<LayerInfo>, StoreError> {
        let Some(info) = read_file::<InfoFile>(self.disk(), id, INFO)? else { return Ok(None) };
        let facts = read_file::<FactsFile>(self.disk(), id, FACTS)?.unwrap_or_default();
        let diff = format!("{}/{DIFF}", path(&id));
        let stat = self.disk().stat(&diff).map_err(at("look at", diff))?;
        Ok(Some(LayerInfo {
            toc: facts.content_id.is_some(),
            content_id: facts.content_id.and_then(|text| text.parse().ok()),
            tar_sizes_bytes: facts.tars.iter().map(|(k, v)| (k.clone(), v.size_bytes)).collect(),
            diff_ids: facts
                .tars
                .into_iter()
                .filter_map(|(encoding, tar)| Some((encoding, tar.diff_id.parse().ok()?)))
                .collect(),
            created: info.created,
            size_bytes: facts.size_bytes,
            present: stat.is_some(),
        }))
    }

    /// A table of contents from disk; `None` when there is none or it is not whole.
    pub(crate) fn read_toc(&self, id: LayerId) -> Result<Option<Toc>, StoreError> {
        let name = format!("{}/toc", path(&id));
        let Some(bytes) = self.disk().read(&name).map_err(at("read", name.as_str()))? else {
            return Ok(None);
        };
        Ok(Toc::read(&mut bytes.as_slice()).ok())
    }
}

/// Bytes in the regular files of a table of contents, hard links once.
pub(crate) fn size_of(toc: &Toc) -> u64 {
    layer::file_bytes(toc.entries(), 1)
}

/// `None` when the file is not there or not whole.
fn read_file<T: DeserializeOwned>(
    disk: &Disk,
    id: LayerId,
    kind: &str,
) -> Result<Option<T>, StoreError> {
    let name = format!("{}/{kind}", path(&id));
    let bytes = disk.read(&name).map_err(at("read", name.as_str()))?;
    Ok(bytes.and_then(|bytes| seal::unseal_json(kind, &name, &bytes)))
}

fn seal_file(id: &LayerId, kind: &str, value: &impl Serialize) -> Vec<u8> {
    seal::seal_json(kind, &format!("{}/{kind}", path(id)), value)
}

fn toc_failure(operation: &'static str, id: LayerId, source: layer::LayerError) -> StoreError {
    Failure::Toc { operation, id: id.to_string(), source }.into()
}
