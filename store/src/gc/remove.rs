//! Takes what was chosen, in batches: the store is locked, everything is judged once more, then moved to trash. What
//! needs a thing goes before the thing.

use std::collections::{BTreeSet, HashSet};

use oci::{Digest, ImageId};
use rustix::fs::Stat;

use super::inventory::{Inventory, Node, Reached, User};
use super::item::{Holder, Item, ItemKind};
use super::{GcPolicy, GcReport, protect};
use crate::error::{StoreError, at};
use crate::images::StoredImage;
use crate::layout::Store;
use crate::lease::{self, Lease};
use crate::{
    boot, cache_mounts, census, disk, images, layers, listings, partial, places, records,
    repo_digests, trash,
};

/// Objects that are removed while the store is locked once.
const BATCH: usize = 64;
/// Notes and listings are made before what leads to them, by builds that do not say so.
const REST_SECS: i64 = 24 * 3600;

/// Takes the nodes of these indices.
pub(super) fn nodes(
    lease: &Lease,
    found: &Inventory,
    chosen: &[usize],
    policy: &GcPolicy,
    report: &mut GcReport,
) -> Result<(), StoreError> {
    for batch in chosen.chunks(BATCH) {
        let store = lease.store();
        let _locked = store.lock_exclusively()?;
        let images = store.images()?;
        let protected = protect::protected(store, &images, &HashSet::new())?;
        let new = protect::of_new_images(store, &images, &found.images)?;
        let may_go = |node: &&Node| {
            !new.contains(&node.path)
                && match protected.holder(&node.path) {
                    Holder::Nobody => true,
                    Holder::Image => !policy.keep_images,
                    Holder::Process | Holder::Tag => false,
                }
        };
        let victims = batch.iter().map(|at| &found.nodes[*at]).filter(may_go);
        let victims: Vec<&Node> = victims.collect();
        // A blob that comes back under its name has to be synced anew.
        let blobs = victims.iter().map(|node| &node.path).filter(|p| p.starts_with("blobs/"));
        lease.unlist(&blobs.cloned().collect::<BTreeSet<String>>())?;
        for node in victims {
            if take(store, found, node, report)? {
                report.bytes += node.item.bytes;
                report.removed.push(node.item.clone());
            }
        }
    }
    Ok(())
}

/// Removes one thing; `false` when it is in use, was used since it was chosen, or is gone.
fn take(
    store: &Store,
    found: &Inventory,
    node: &Node,
    report: &mut GcReport,
) -> Result<bool, StoreError> {
    let (disk, path) = (store.disk(), node.path.as_str());
    let is_as_seen = |now: Option<&Stat>| now.is_some_and(|now| disk::modified(now) == node.used);
    if node.item.kind == ItemKind::Mount {
        let gone = cache_mounts::discard_unused(disk, path, is_as_seen);
        return gone.map_err(at("remove", path));
    }
    if node.item.kind == ItemKind::Partial {
        return partial::remove(disk, path, is_as_seen);
    }
    if !is_as_seen(disk.stat(path).map_err(at("look at", path))?.as_ref()) {
        return Ok(false);
    }
    for user in &node.users {
        let user = &found.users[*user];
        let is_gone = drop_user(store, user, path)?;
        report.images += usize::from(is_gone && user.path.starts_with("images/"));
    }
    trash::discard(disk, path).map_err(at("remove", path))
}

/// Removes a file that is of no use without `needed`; `false` when it is gone, or stays because it was made anew since
/// it was read.
fn drop_user(store: &Store, user: &User, needed: &str) -> Result<bool, StoreError> {
    let (disk, path) = (store.disk(), user.path.as_str());
    if path.starts_with("images/") {
        let mark = images::closed_mark(path);
        disk.unlink(&mark).map_err(at("remove", mark))?;
    } else {
        let Some(bytes) = disk.read(path).map_err(at("read", path))? else { return Ok(false) };
        let now = census::layers_needed(path, &bytes);
        if now.is_some_and(|now| !now.iter().any(|id| layers::path(id) == needed)) {
            return Ok(false);
        }
    }
    disk.unlink(path).map_err(at("remove", path))
}

/// Forgets what is known of steps whose layers stay because an image needs them: the next build runs them again.
pub(super) fn shared_records(
    lease: &Lease,
    found: &Inventory,
    policy: &GcPolicy,
    report: &mut GcReport,
) -> Result<(), StoreError> {
    let mut told = HashSet::new();
    for user in &found.users {
        let Some(own) = user.own else { continue };
        let item = &found.nodes[own].item;
        let stays = matches!(item.holder, Holder::Image | Holder::Tag);
        if !stays || !policy.filter.matches(item, lease.inner.started_secs) {
            continue;
        }
        let is_there = policy.dry_run
            || lease.disk().unlink(&user.path).map_err(at("remove", user.path.as_str()))?;
        if is_there && told.insert(own) {
            report.removed.push(Item { bytes: 0, ..item.clone() });
        }
    }
    Ok(())
}

/// How many images would go with what was chosen.
pub(super) fn images_of(found: &Inventory, chosen: &[usize]) -> usize {
    let users = chosen.iter().flat_map(|at| &found.nodes[*at].users);
    let images = users.filter(|user| found.users[**user].path.starts_with("images/"));
    images.collect::<HashSet<_>>().len()
}

/// Images without tag and user, whatever their layers are.
pub(super) fn untagged_images(store: &Store) -> Result<usize, StoreError> {
    let _locked = store.lock_exclusively()?;
    let mut removed = 0;
    for id in untagged(store)? {
        removed += usize::from(store.remove_image(&id)?);
    }
    Ok(removed)
}

/// Ids of the images without tag and user.
pub(super) fn untagged(store: &Store) -> Result<Vec<ImageId>, StoreError> {
    let images = store.images()?;
    let protected = protect::protected(store, &images, &HashSet::new())?;
    let is_untagged =
        |image: &StoredImage| protected.holder(&images::path(&image.id)) == Holder::Image;
    Ok(images.into_iter().filter(is_untagged).map(|image| image.id).collect())
}

/// Removes what needs something that is gone: a record whose maker ended between the look and the removal of a layer.
pub(super) fn dangling(store: &Store) -> Result<(), StoreError> {
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

/// Removes notes on blobs that neither an image nor a layer leads to, on digests of images that are gone, and listings
/// that no record names. Without the
/// lock: both can be made again, and what a running build needs is too fresh to be taken.
pub(super) fn notes(lease: &Lease) -> Result<(), StoreError> {
    let store = lease.store();
    let disk = store.disk();
    let reached = Reached::of(store, &store.images()?)?;
    for path in census::in_dir(disk, "layer-blobs").map_err(at("list", "layer-blobs"))? {
        if !reached.all.contains(&path) && !is_fresh(lease, &path)? {
            disk.unlink(&path).map_err(at("remove", path))?;
        }
    }
    for path in census::in_dir(disk, places::AREA).map_err(at("list", places::AREA))? {
        let blob = path.replacen(places::AREA, "blobs/sha256", 1);
        let is_there = disk.stat(&blob).map_err(at("look at", blob))?.is_some();
        if !is_there && !is_fresh(lease, &path)? {
            disk.unlink(&path).map_err(at("remove", path))?;
        }
    }
    let objects = objects(store)?;
    for path in store.repo_digest_paths()? {
        let is_there = repo_digests::object_of(&path).is_some_and(|hex| objects.contains(hex));
        if !is_there && !is_fresh(lease, &path)? {
            disk.unlink(&path).map_err(at("remove", path))?;
        }
    }
    let named = named_listings(store)?;
    for path in census::in_dir(disk, listings::AREA).map_err(at("list", listings::AREA))? {
        if !named.contains(&path) && !is_fresh(lease, &path)? {
            disk.unlink(&path).map_err(at("remove", path))?;
        }
    }
    Ok(())
}

/// Digits of all images and of all indexes with a name.
fn objects(store: &Store) -> Result<HashSet<String>, StoreError> {
    let tagged = store.tags()?.into_iter().map(|(_, tagged)| tagged.object().hex());
    let images = store.images()?.into_iter().map(|image| image.id.0.hex());
    Ok(tagged.chain(images).collect())
}

fn is_fresh(lease: &Lease, path: &str) -> Result<bool, StoreError> {
    let stat = lease.disk().stat(path).map_err(at("look at", path))?;
    let now = lease.inner.started_secs;
    Ok(stat.is_some_and(|stat| stat.st_mtime > now - REST_SECS))
}

fn named_listings(store: &Store) -> Result<HashSet<String>, StoreError> {
    let disk = store.disk();
    let mut named = HashSet::new();
    for path in census::layer_users(disk).map_err(at("list", "records"))? {
        if !path.starts_with("records/") {
            continue;
        }
        let bytes = disk.read(&path).map_err(at("read", path.as_str()))?.unwrap_or_default();
        let Some(record) = records::parse(&path, &bytes) else { continue };
        let digests = record.inputs.iter().filter_map(|(_, text)| text.parse::<Digest>().ok());
        named.extend(digests.map(|digest| listings::path(&graph::TreeDigest(digest))));
    }
    Ok(named)
}
