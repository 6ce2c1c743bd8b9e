//! Collection: removes what nobody needs, and on request what is needed least. Nothing that a live lease names or a tag
//! reaches is removed, and nobody waits longer than one batch.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io;

use graph::LayerId;
use oci::{Digest, ImageId};
use rustix::fs::FlockOperation;

use crate::disk::{self, Disk};
use crate::error::{StoreError, at};
use crate::layout::Store;
use crate::lease::{self, Lease};
use crate::{blobs, boot, census, images, layers, trash};

const GC_LOCK: &str = "gc.lock";
/// Objects that are removed while the store is locked once.
const BATCH: usize = 64;

/// What a collection may take. What nothing refers to is always taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct GcPolicy {
    /// Also take what was not used for the longest time, until layers and blobs have at most this many bytes.
    pub keep_bytes: Option<u64>,
    /// Also take everything that no tag reaches: untagged images, cached steps, cache mounts.
    pub all: bool,
}

/// What a collection has moved to trash; [`Store::empty_trash`] gives the space back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Layers.
    pub layers: usize,
    /// Blobs and manifests.
    pub blobs: usize,
    /// Cache mount directories.
    pub cache_mounts: usize,
    /// Bytes of these layers and blobs.
    pub bytes: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images, tagged or not.
    pub images: usize,
    /// Layers.
    pub layers: usize,
    /// Bytes in the layers' files.
    pub layers_bytes: u64,
    /// Blobs.
    pub blobs: usize,
    /// Bytes in the blobs.
    pub blobs_bytes: u64,
    /// Bytes of layers that no tag reaches.
    pub untagged_bytes: u64,
    /// Cache mount directories.
    pub cache_mounts: usize,
    /// Bytes in them, as far as they can be read.
    pub cache_mounts_bytes: u64,
}

struct LayerFacts {
    size_bytes: u64,
    /// Time of the last use.
    used: (i64, i64),
    /// Indices of the files that need it.
    users: Vec<usize>,
}

/// What was there when the collection began.
struct Census {
    layers: BTreeMap<LayerId, LayerFacts>,
    /// Files that need layers, and which.
    users: Vec<(String, Vec<LayerId>)>,
    images: HashSet<String>,
    tagged: HashSet<LayerId>,
    blobs_bytes: u64,
}

impl Store {
    /// Moves to trash what `policy` allows. Waits for another collection, never for a build.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        let _alone = self.lock_out_gc()?;
        let lease = self.lease()?;
        let mut report = GcReport::default();
        let found = take_census(self)?;
        for batch in choose_layers(&found, policy).chunks(BATCH) {
            remove_layers(self, &found, batch, &mut report)?;
        }
        if policy.all {
            remove_untagged_images(self)?;
        }
        remove_dangling(self)?;
        boot::remove_orphans(self.disk())?;
        let blobs: Vec<String> = unreached_blobs(self)?.into_iter().collect();
        for batch in blobs.chunks(BATCH) {
            remove_blobs(&lease, batch, &mut report)?;
        }
        if policy.all {
            report.cache_mounts =
                remove_cache_mounts(self.disk()).map_err(at("collect", "cache-mounts"))?;
        }
        Ok(report)
    }

    /// Counts what is in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let found = take_census(self)?;
        let untagged = found.layers.iter().filter(|(id, _)| !found.tagged.contains(id));
        let slots = cache_slots(self.disk()).map_err(at("list", "cache-mounts"))?;
        Ok(Usage {
            images: found.images.len(),
            layers: found.layers.len(),
            layers_bytes: found.layers.values().map(|facts| facts.size_bytes).sum(),
            blobs: self.disk().list("blobs/sha256").map_err(at("list", "blobs"))?.len(),
            blobs_bytes: found.blobs_bytes,
            untagged_bytes: untagged.map(|(_, facts)| facts.size_bytes).sum(),
            cache_mounts: slots.len(),
            cache_mounts_bytes: slots.iter().map(|slot| size_on_disk(self.disk(), slot)).sum(),
        })
    }

    /// One collection or verification at a time.
    pub(crate) fn lock_out_gc(&self) -> Result<File, StoreError> {
        let file = self.disk().open_lock(GC_LOCK).map_err(at("open", GC_LOCK))?;
        disk::lock(&file, FlockOperation::LockExclusive).map_err(at("lock", GC_LOCK))?;
        Ok(file)
    }
}

fn take_census(store: &Store) -> Result<Census, StoreError> {
    let disk = store.disk();
    let mut found = Census {
        layers: BTreeMap::new(),
        users: Vec::new(),
        images: image_names(disk).map_err(at("list", "images"))?,
        tagged: tagged_layers(store)?,
        blobs_bytes: 0,
    };
    // Layers before what needs them: a layer that is newer than the list is not judged.
    for name in disk.list("layers").map_err(at("list", "layers"))? {
        let Ok(id) = name.parse::<LayerId>() else { continue };
        let path = layers::path(&id);
        let Some(stat) = disk.stat(&path).map_err(at("look at", path.as_str()))? else { continue };
        let known = store.layer_info(id)?.and_then(|info| info.size_bytes);
        let size_bytes = known.unwrap_or_else(|| size_on_disk(disk, &format!("{path}/diff")));
        let used = (stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0));
        found.layers.insert(id, LayerFacts { size_bytes, used, users: Vec::new() });
    }
    for path in census::layer_users(disk).map_err(at("list", "records"))? {
        let Some(bytes) = disk.read(&path).map_err(at("read", path.as_str()))? else { continue };
        let Some(needed) = census::layers_needed(&path, &bytes) else { continue };
        for id in &needed {
            if let Some(facts) = found.layers.get_mut(id) {
                facts.users.push(found.users.len());
            }
        }
        found.users.push((path, needed));
    }
    for path in census::in_dir(disk, "blobs/sha256").map_err(at("list", "blobs"))? {
        let stat = disk.stat(&path).map_err(at("look at", path.as_str()))?;
        found.blobs_bytes += stat.map_or(0, |stat| stat.st_size.try_into().unwrap_or(0));
    }
    Ok(found)
}

/// The layers to take, those used longest ago first.
fn choose_layers(found: &Census, policy: &GcPolicy) -> Vec<LayerId> {
    let mut choice =
        Choice { found, chosen: Vec::new(), taken: HashSet::new(), gone: HashSet::new() };
    for (id, facts) in &found.layers {
        if facts.users.is_empty() || policy.all {
            choice.take(*id);
        }
    }
    let Some(keep_bytes) = policy.keep_bytes else { return choice.chosen };
    let mut total = found.blobs_bytes + found.layers.values().map(|f| f.size_bytes).sum::<u64>();
    total = total.saturating_sub(choice.bytes());
    let mut by_age: Vec<(&LayerId, &LayerFacts)> = found.layers.iter().collect();
    // What lies below others has more users, and is of no less use than they are.
    by_age.sort_by_key(|(_, facts)| (facts.used, facts.users.len()));
    for (id, _) in by_age {
        if total <= keep_bytes {
            break;
        }
        let before = choice.bytes();
        choice.take(*id);
        total = total.saturating_sub(choice.bytes() - before);
    }
    choice.chosen
}

struct Choice<'a> {
    found: &'a Census,
    chosen: Vec<LayerId>,
    taken: HashSet<LayerId>,
    /// Indices of files that go with the layers.
    gone: HashSet<usize>,
}

impl Choice<'_> {
    /// Takes a layer, the files that need it, and the layers which then nothing needs.
    fn take(&mut self, id: LayerId) {
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            let Some(facts) = self.found.layers.get(&id) else { continue };
            if self.found.tagged.contains(&id) || !self.taken.insert(id) {
                continue;
            }
            self.chosen.push(id);
            for user in &facts.users {
                if self.gone.insert(*user) {
                    let needed = &self.found.users[*user].1;
                    pending.extend(needed.iter().filter(|id| !self.is_needed(id)));
                }
            }
        }
    }

    fn is_needed(&self, id: &LayerId) -> bool {
        let users = self.found.layers.get(id).map_or(&[][..], |facts| &facts.users);
        users.iter().any(|user| !self.gone.contains(user))
    }

    fn bytes(&self) -> u64 {
        self.chosen.iter().map(|id| self.found.layers[id].size_bytes).sum()
    }
}

/// Removes one batch: first what refers to a layer, then the layer.
fn remove_layers(
    store: &Store,
    found: &Census,
    batch: &[LayerId],
    report: &mut GcReport,
) -> Result<(), StoreError> {
    let _locked = store.lock_exclusively()?;
    let disk = store.disk();
    let live = lease::live_names(disk).map_err(at("read", "leases"))?;
    let mut protected = tagged_layers(store)?;
    for image in new_images(store, &found.images)? {
        protected.extend(image.stack.layers);
    }
    for id in batch {
        let path = layers::path(id);
        let facts = &found.layers[id];
        if live.contains(&path) || protected.contains(id) || was_used(disk, &path, facts.used)? {
            continue;
        }
        for user in &facts.users {
            let user = &found.users[*user].0;
            if user.starts_with("images/") {
                let mark = images::closed_mark(user);
                disk.unlink(&mark).map_err(at("remove", mark))?;
            }
            disk.unlink(user).map_err(at("remove", user.as_str()))?;
        }
        if trash::discard(disk, &path).map_err(at("remove", path))? {
            report.layers += 1;
            report.bytes += facts.size_bytes;
        }
    }
    Ok(())
}

/// Images without tag and user, whatever their layers are.
fn remove_untagged_images(store: &Store) -> Result<(), StoreError> {
    let _locked = store.lock_exclusively()?;
    let live = lease::live_names(store.disk()).map_err(at("read", "leases"))?;
    let tagged: HashSet<ImageId> =
        store.tags()?.iter().flat_map(|(_, tagged)| tagged.images()).collect();
    for image in store.images()? {
        if !tagged.contains(&image.id) && !live.contains(&images::path(&image.id)) {
            store.remove_image(&image.id)?;
        }
    }
    Ok(())
}

/// Removes what needs something that is gone: a record whose maker ended between the census and the removal of a layer.
fn remove_dangling(store: &Store) -> Result<(), StoreError> {
    let disk = store.disk();
    if boot::find_dangling(disk).map_err(at("collect", "records"))?.is_empty() {
        return Ok(());
    }
    let _locked = store.lock_exclusively()?;
    let live = lease::live_names(disk).map_err(at("read", "leases"))?;
    // Looked for again: somebody may have put a whole one in its place.
    for path in boot::find_dangling(disk).map_err(at("collect", "records"))? {
        if !live.contains(&path) {
            disk.unlink(&path).map_err(at("remove", path.as_str()))?;
        }
    }
    Ok(())
}

fn was_used(disk: &Disk, path: &str, before: (i64, i64)) -> Result<bool, StoreError> {
    let stat = disk.stat(path).map_err(at("look at", path))?;
    Ok(stat
        .is_some_and(|stat| (stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0)) != before))
}

/// Blobs, manifests and notes on blobs that no image and no layer leads to.
fn unreached_blobs(store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let disk = store.disk();
    let mut paths = BTreeSet::new();
    for area in ["blobs/sha256", "layer-blobs", "manifests"] {
        paths.extend(census::in_dir(disk, area).map_err(at("list", area))?);
    }
    for image in store.images()? {
        for reached in images::optional_paths(store, &image)? {
            paths.remove(&reached);
        }
    }
    for name in disk.list("layers").map_err(at("list", "layers"))? {
        let Ok(id) = name.parse::<LayerId>() else { continue };
        let Some(info) = store.layer_info(id)? else { continue };
        for diff_id in info.diff_ids.values() {
            paths.remove(&blobs::layer_blobs_path(diff_id));
            for blob in store.layer_blobs(*diff_id)? {
                paths.remove(&blobs::path(&blob.digest));
            }
        }
    }
    Ok(paths)
}

fn remove_blobs(lease: &Lease, batch: &[String], report: &mut GcReport) -> Result<(), StoreError> {
    let store = lease.store();
    let _locked = store.lock_exclusively()?;
    let disk = store.disk();
    let live = lease::live_names(disk).map_err(at("read", "leases"))?;
    // Looked at again: images and layers may have come since, and their makers gone.
    let unreached = unreached_blobs(store)?;
    let victims: BTreeSet<String> = batch
        .iter()
        .filter(|path| !live.contains(*path) && unreached.contains(*path))
        .cloned()
        .collect();
    let blobs = victims.iter().filter(|path| path.starts_with("blobs/")).cloned().collect();
    lease.unlist(&blobs)?;
    for path in &victims {
        let stat = disk.stat(path).map_err(at("look at", path.as_str()))?;
        if trash::discard(disk, path).map_err(at("remove", path.as_str()))? {
            report.blobs += usize::from(!path.starts_with("layer-blobs/"));
            report.bytes += stat.map_or(0, |stat| stat.st_size.try_into().unwrap_or(0));
        }
    }
    Ok(())
}

/// Moves every cache mount directory that is not in use to trash.
fn remove_cache_mounts(disk: &Disk) -> io::Result<usize> {
    let mut removed = 0;
    for slot in cache_slots(disk)? {
        let lock = disk.open_lock(&format!("{slot}.lock"))?;
        if disk::try_lock(&lock, FlockOperation::NonBlockingLockExclusive)? {
            removed += usize::from(trash::discard(disk, &slot)?);
        }
    }
    Ok(removed)
}

fn cache_slots(disk: &Disk) -> io::Result<Vec<String>> {
    let mut slots = Vec::new();
    for home in census::in_dir(disk, "cache-mounts")? {
        let names = census::in_dir(disk, &home)?;
        slots.extend(names.into_iter().filter(|path| {
            path.rsplit('/').next().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
        }));
    }
    Ok(slots)
}

fn tagged_layers(store: &Store) -> Result<HashSet<LayerId>, StoreError> {
    let mut layers = HashSet::new();
    let ids: HashSet<ImageId> =
        store.tags()?.iter().flat_map(|(_, tagged)| tagged.images()).collect();
    for id in ids {
        layers.extend(store.image(&id)?.into_iter().flat_map(|image| image.stack.layers));
    }
    Ok(layers)
}

fn new_images(
    store: &Store,
    known: &HashSet<String>,
) -> Result<Vec<images::StoredImage>, StoreError> {
    let mut new = Vec::new();
    for name in image_names(store.disk()).map_err(at("list", "images"))?.difference(known) {
        if let Ok(digest) = Digest::from_hex(name) {
            new.extend(store.image(&ImageId(digest))?);
        }
    }
    Ok(new)
}

fn image_names(disk: &Disk) -> io::Result<HashSet<String>> {
    let names = disk.list("images")?.into_iter();
    Ok(names.filter(|name| !name.ends_with(census::CLOSED_SUFFIX)).collect())
}

/// Bytes in the regular files below a directory; what cannot be read counts nothing. Does not leave the file system.
fn size_on_disk(disk: &Disk, path: &str) -> u64 {
    let walk = walkdir::WalkDir::new(disk.path(path)).follow_links(false).same_file_system(true);
    let files = walk.into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
    files.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `layers`: size and age; `users`: layers of each record. Yields what is chosen, sorted.
    fn check(
        layers: &[(u64, i64)],
        users: &[&[u128]],
        tagged: &[u128],
        policy: GcPolicy,
        expect: &[u128],
    ) {
        let mut found = Census {
            layers: BTreeMap::new(),
            users: Vec::new(),
            images: HashSet::new(),
            tagged: tagged.iter().copied().map(LayerId).collect(),
            blobs_bytes: 0,
        };
        for (at, (size_bytes, used)) in layers.iter().enumerate() {
            let facts = LayerFacts { size_bytes: *size_bytes, used: (*used, 0), users: Vec::new() };
            found.layers.insert(LayerId(at as u128), facts);
        }
        for (at, needed) in users.iter().enumerate() {
            for id in *needed {
                found.layers.get_mut(&LayerId(*id)).expect("a known layer").users.push(at);
            }
            let needed = needed.iter().copied().map(LayerId).collect();
            found.users.push((format!("records/near/{at}"), needed));
        }
        let mut chosen = choose_layers(&found, &policy);
        chosen.sort();
        assert_eq!(chosen, expect.iter().copied().map(LayerId).collect::<Vec<_>>());
    }

    #[test]
    fn only_what_the_policy_allows_is_chosen() {
        let layers = [(10, 1), (10, 1), (10, 5), (10, 9)];
        let users: &[&[u128]] = &[&[0], &[0, 1], &[2]];
        let plain = GcPolicy::default();
        check(&layers, users, &[], plain, &[3]);
        check(&layers, users, &[0], GcPolicy { all: true, ..plain }, &[1, 2, 3]);
        let keep = |keep_bytes| GcPolicy { keep_bytes: Some(keep_bytes), ..plain };
        check(&layers, users, &[], keep(30), &[3]);
        check(&layers, users, &[], keep(20), &[1, 3]); // the child before its parent
        check(&layers, users, &[], keep(10), &[0, 1, 3]);
        check(&layers, users, &[0, 1], keep(0), &[2, 3]);
    }
}
