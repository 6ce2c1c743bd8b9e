//! What is in the store: everything that a collection may take, what needs it, who holds it, and what it takes on the
//! disk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use graph::LayerId;
use oci::ImageId;

use super::item::{Holder, Item, ItemKind, Usage};
use super::protect::{self, Protected};
use crate::census;
use crate::disk::{self, Disk};
use crate::error::{StoreError, at};
use crate::images::{self, StoredImage};
use crate::layout::Store;
use crate::usage::{self, Counted};
use crate::{CacheMountId, blobs, cache_mounts, chains, layers, manifests, partial, records};

/// An item and what a collection has to know of it.
pub(super) struct Node {
    pub(super) item: Item,
    /// Below the store's root.
    pub(super) path: String,
    /// Time of its last use as the file system has it.
    pub(super) used: (i64, i64),
    /// Indices of the files that need it.
    pub(super) users: Vec<usize>,
    /// Nothing leads to it: what a killed process has left, or what lost its last user.
    pub(super) is_garbage: bool,
    /// A blob that can be made again from a layer which is here, byte for byte.
    pub(super) is_encodable: bool,
}

/// A file that is of no use without all that it needs.
pub(super) struct User {
    pub(super) path: String,
    /// Indices of nodes.
    pub(super) needs: Vec<usize>,
    /// The node that it stands for: a record's own layer.
    pub(super) own: Option<usize>,
}

/// What was there when the collection began.
#[derive(Default)]
pub(super) struct Inventory {
    pub(super) nodes: Vec<Node>,
    pub(super) users: Vec<User>,
    /// Nodes by path.
    pub(super) at: HashMap<String, usize>,
    /// File names of the images.
    pub(super) images: HashSet<String>,
    /// Layers that could not be read as a whole from here: their size is not to be remembered.
    unmeasured: HashSet<LayerId>,
    pub(super) others: BTreeMap<String, u64>,
    pub(super) total_bytes: u64,
}

/// Directories whose size belongs to items.
const ITEM_AREAS: &[&str] =
    &["blobs", "cache-mounts", "layers", "manifests", "partial", "sources", "stat"];

/// Looks at everything. Layers before what needs them: a layer that is newer than the list is not judged. What
/// is `as_if_gone` is passed over.
pub(super) fn take(store: &Store, as_if_gone: &HashSet<ImageId>) -> Result<Inventory, StoreError> {
    let names = image_names(store.disk()).map_err(at("list", "images"))?;
    let mut found = Inventory { images: names, ..Inventory::default() };
    let known = store.counted()?.unwrap_or_default();
    add_layers(store, &mut found, &known)?;
    add_blobs(store, &mut found)?;
    add_mounts(store.disk(), &mut found).map_err(at("list", "cache-mounts"))?;
    for area in ["sources", "stat"] {
        add_files(store.disk(), &mut found, area, ItemKind::Source).map_err(at("list", area))?;
    }
    add_files(store.disk(), &mut found, partial::AREA, ItemKind::Partial)
        .map_err(at("list", partial::AREA))?;
    let mut images = store.images()?;
    images.retain(|image| !as_if_gone.contains(&image.id));
    add_users(store, &mut found, &images)?;
    mark_unreached(store, &mut found, &images)?;
    mark_holders(&mut found, &protect::protected(store, &images, as_if_gone)?);
    mark_transfers(store.disk(), &mut found)?;
    add_others(store.disk(), &mut found).map_err(at("list", "."))?;
    found.total_bytes = found.nodes.iter().map(|node| node.item.bytes).sum::<u64>()
        + found.others.values().sum::<u64>();
    Ok(found)
}

impl Inventory {
    /// What the store will take when its trash is deleted: taking more for its sake would free nothing sooner.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.total_bytes - self.others.get("trash").copied().unwrap_or(0)
    }

    /// For the next look, and for whoever wants to know the size without looking.
    pub(super) fn counted(&self) -> Counted {
        let mut counted = Counted { total_bytes: self.kept_bytes(), ..Counted::default() };
        for node in &self.nodes {
            match (node.item.kind, node.item.id.parse()) {
                (ItemKind::Step | ItemKind::Base, Ok(id)) if !self.unmeasured.contains(&id) => {
                    counted.layers.insert(id, node.item.bytes);
                }
                (ItemKind::Mount, _) => {
                    counted.mounts.insert(node.path.clone(), node.item.bytes);
                }
                _ => {}
            }
        }
        counted
    }

    pub(super) fn into_usage(self) -> Usage {
        Usage {
            total_bytes: self.total_bytes,
            items: self.nodes.into_iter().map(|node| node.item).collect(),
            others: self.others,
            images: self.images.len(),
        }
    }

    fn add(&mut self, disk: &Disk, path: String, kind: ItemKind, bytes: u64) -> io::Result<()> {
        let Some(stat) = disk.stat(&path)? else { return Ok(()) };
        let id = path.rsplit_once('/').map_or("", |(_, name)| name).to_owned();
        let item = Item {
            kind,
            id,
            text: String::new(),
            bytes,
            created: String::new(),
            used_secs: stat.st_mtime,
            took_ms: 0,
            holder: Holder::Nobody,
        };
        let used = disk::modified(&stat);
        self.at.insert(path.clone(), self.nodes.len());
        self.nodes.push(Node {
            item,
            path,
            used,
            users: Vec::new(),
            is_garbage: false,
            is_encodable: false,
        });
        Ok(())
    }

    /// Indices of those of `paths` that are here.
    fn known(&self, paths: impl IntoIterator<Item = String>) -> Vec<usize> {
        let mut known: Vec<usize> =
            paths.into_iter().filter_map(|path| self.at.get(&path).copied()).collect();
        known.sort_unstable();
        known.dedup();
        known
    }
}

fn add_layers(store: &Store, found: &mut Inventory, known: &Counted) -> Result<(), StoreError> {
    let disk = store.disk();
    for name in disk.list("layers").map_err(at("list", "layers"))? {
        let Ok(id) = name.parse::<LayerId>() else { continue };
        let path = layers::path(&id);
        let known = known.layers.get(&id).map(|bytes| (*bytes, true));
        let measure = || usage::measure(&disk.path(&path), &mut HashSet::new());
        let (bytes, is_whole) = known.unwrap_or_else(measure);
        if !is_whole {
            found.unmeasured.insert(id);
        }
        // Base until a record says that a step has made it.
        found.add(disk, path.clone(), ItemKind::Base, bytes).map_err(at("look at", path))?;
    }
    Ok(())
}

fn add_blobs(store: &Store, found: &mut Inventory) -> Result<(), StoreError> {
    for area in ["blobs/sha256", "manifests"] {
        add_files(store.disk(), found, area, ItemKind::Blob).map_err(at("list", area))?;
    }
    Ok(())
}

fn add_files(disk: &Disk, found: &mut Inventory, area: &str, kind: ItemKind) -> io::Result<()> {
    for path in census::in_dir(disk, area)? {
        let bytes = usage::blocks_of(disk, &path)?;
        found.add(disk, path, kind, bytes)?;
    }
    Ok(())
}

fn add_mounts(disk: &Disk, found: &mut Inventory) -> io::Result<()> {
    for path in cache_mounts::slots(disk)? {
        let bytes = usage::blocks_below(&disk.path(&path), &mut HashSet::new());
        let (home, number) = path.rsplit_once('/').unwrap_or((&path, ""));
        let digits = home.rsplit('/').next().unwrap_or_default();
        let (id, text) = (format!("{digits}/{number}"), mount_name(disk, home)?);
        found.add(disk, path, ItemKind::Mount, bytes)?;
        if let Some(node) = found.nodes.last_mut().filter(|n| n.item.kind == ItemKind::Mount) {
            (node.item.id, node.item.text) = (id, text);
        }
    }
    Ok(())
}

/// What people call a cache mount; empty when the note on it is damaged.
fn mount_name(disk: &Disk, home: &str) -> io::Result<String> {
    let about = cache_mounts::about_path(home);
    let note = disk.read(&about)?;
    let id = note.and_then(|note| CacheMountId::unseal(&about, &note));
    Ok(id.map(|id| id.id).unwrap_or_default())
}

/// Records, chains and images, with what they need.
fn add_users(
    store: &Store,
    found: &mut Inventory,
    images: &[StoredImage],
) -> Result<(), StoreError> {
    let disk = store.disk();
    for path in census::layer_users(disk).map_err(at("list", "records"))? {
        if path.starts_with("images/") {
            continue;
        }
        let Some(bytes) = disk.read(&path).map_err(at("read", path.as_str()))? else { continue };
        let is_chain = path.starts_with("chains/");
        if let Some(layers) = is_chain.then(|| chains::parse(&path, &bytes)).flatten() {
            add_user(found, path, layers.iter().map(layers::path), None);
        } else if let Some(record) = records::parse(&path, &bytes) {
            let own = record.layer.and_then(|id| found.at.get(&layers::path(&id)).copied());
            if let Some(node) = own.map(|own| &mut found.nodes[own].item) {
                node.kind = ItemKind::Step;
                node.text.clone_from(&record.step);
                node.created.clone_from(&record.created);
                node.took_ms = node.took_ms.max(record.took_ms);
            }
            add_user(found, path, record.all_layers().map(|id| layers::path(&id)), own);
        }
    }
    for image in images {
        let needs = protect::needs(store, image)?;
        add_user(found, images::path(&image.id), needs, None);
    }
    Ok(())
}

fn add_user(
    found: &mut Inventory,
    path: String,
    needs: impl IntoIterator<Item = String>,
    own: Option<usize>,
) {
    let needs = found.known(needs);
    for need in &needs {
        found.nodes[*need].users.push(found.users.len());
    }
    found.users.push(User { path, needs, own });
}

/// Layers that nothing needs, and blobs to which nothing leads. Marks those that can be encoded again as well.
fn mark_unreached(
    store: &Store,
    found: &mut Inventory,
    images: &[StoredImage],
) -> Result<(), StoreError> {
    let reached = Reached::of(store, images)?;
    for node in &mut found.nodes {
        match node.item.kind {
            ItemKind::Step | ItemKind::Base => node.is_garbage = node.users.is_empty(),
            ItemKind::Blob if node.path.starts_with("blobs/") => {
                node.is_garbage = !reached.all.contains(&node.path);
                node.is_encodable =
                    reached.of_layers.contains(&node.path) && !reached.listed.contains(&node.path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// What leads to blobs, and to notes on blobs.
pub(super) struct Reached {
    /// Everything.
    pub(super) all: HashSet<String>,
    /// Blobs of layers that are here.
    of_layers: HashSet<String>,
    /// Blobs that a manifest names.
    listed: HashSet<String>,
}

impl Reached {
    pub(super) fn of(store: &Store, images: &[StoredImage]) -> Result<Reached, StoreError> {
        let disk = store.disk();
        let (mut all, mut of_layers) = (HashSet::new(), HashSet::new());
        let mut listed = HashSet::new();
        for image in images {
            all.extend(images::optional_paths(store, image)?);
            if let Some(manifest) = &image.manifest {
                listed.extend(manifests::listed_blobs(&manifest.bytes, &manifest.media_type));
            }
        }
        for path in census::in_dir(disk, "manifests").map_err(at("list", "manifests"))? {
            let bytes = disk.read(&path).map_err(at("read", path.as_str()))?.unwrap_or_default();
            if let Some((media_type, bytes)) = manifests::parse(&path, &bytes) {
                listed.extend(manifests::listed_blobs(&bytes, &media_type));
            }
        }
        for name in disk.list("layers").map_err(at("list", "layers"))? {
            let Ok(id) = name.parse::<LayerId>() else { continue };
            let Some(info) = store.layer_info(id)? else { continue };
            for diff_id in info.diff_ids.values() {
                all.insert(blobs::layer_blobs_path(diff_id));
                let notes = store.layer_blobs(*diff_id)?;
                of_layers.extend(notes.iter().map(|blob| blobs::path(&blob.digest)));
            }
        }
        all.extend(of_layers.iter().chain(&listed).cloned());
        Ok(Reached { all, of_layers, listed })
    }
}

fn mark_holders(found: &mut Inventory, protected: &Protected) {
    for node in &mut found.nodes {
        node.item.holder = protected.holder(&node.path);
    }
}

/// What a running transfer goes on with.
fn mark_transfers(disk: &Disk, found: &mut Inventory) -> Result<(), StoreError> {
    for node in found.nodes.iter_mut().filter(|node| node.item.kind == ItemKind::Partial) {
        let path = node.path.as_str();
        if partial::is_in_use(disk, path).map_err(at("look at", path))? {
            node.item.holder = Holder::Process;
        }
    }
    Ok(())
}

/// The size of everything that is no item.
fn add_others(disk: &Disk, found: &mut Inventory) -> io::Result<()> {
    let mut seen = HashSet::new();
    for name in disk.list(".")? {
        let bytes = match ITEM_AREAS.contains(&name.as_str()) {
            true => usage::blocks_of(disk, &name)?,
            false => usage::blocks_below(&disk.path(&name), &mut seen),
        };
        if bytes > 0 {
            found.others.insert(name, bytes);
        }
    }
    Ok(())
}

fn image_names(disk: &Disk) -> io::Result<HashSet<String>> {
    let names = disk.list("images")?.into_iter();
    Ok(names.filter(|name| !name.ends_with(census::CLOSED_SUFFIX)).collect())
}
