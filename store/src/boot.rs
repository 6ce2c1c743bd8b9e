//! The first open after a boot: what no closed generation lists may be torn, and goes (design D6).

use std::collections::{BTreeSet, HashSet};
use std::io;

use rustix::fs::FlockOperation;

use crate::disk::Disk;
use crate::error::{StoreError, at};
use crate::layout::Store;
use crate::{census, flight, generation, images, layers, lease, records, refs, trash, usage};

/// Holds the id of the run of the machine that the store's content is believed in.
pub(crate) const BOOT_FILE: &str = "boot";
/// Directories that other parts of the program fill without generations.
pub(crate) const FOREIGN_AREAS: &[&str] = &["failed", "sources", "stat"];

/// Compares boot ids, which is all that a normal open does.
pub(crate) fn recover_after_boot(store: &Store) -> Result<(), StoreError> {
    if is_same_boot(store)? {
        return Ok(());
    }
    match recover(store) {
        // Such a store can only be looked at: no lease, hence no build, can be made in it.
        Err(e) if e.is_not_writable() => Ok(()),
        other => other,
    }
}

fn is_same_boot(store: &Store) -> Result<bool, StoreError> {
    let bytes = store.disk().read(BOOT_FILE).map_err(at("read", BOOT_FILE))?;
    Ok(bytes.is_some_and(|bytes| bytes.trim_ascii_end() == store.shared.boot_id.as_bytes()))
}

fn recover(store: &Store) -> Result<(), StoreError> {
    let _locked = store.lock_exclusively()?;
    if is_same_boot(store)? {
        return Ok(());
    }
    let disk = store.disk();
    remove_unlisted(disk).map_err(at("clear after a boot", "."))?;
    remove_dangling(disk).map_err(at("clear after a boot", "."))?;
    remove_processes(disk).map_err(at("clear after a boot", "."))?;
    remove_orphans(disk)?;
    generation::drop_open_lists(disk).map_err(at("clear after a boot", "generations"))?;
    usage::forget(disk).map_err(at("clear after a boot", "usage"))?;
    // Last: a recovery that was cut short begins again.
    store.replace_at_root(BOOT_FILE, format!("{}\n", store.shared.boot_id).as_bytes())
}

fn remove_unlisted(disk: &Disk) -> io::Result<()> {
    let mut listed: HashSet<String> = generation::closed_names(disk)?.into_iter().collect();
    listed.extend(lease::live_names(disk)?);
    for path in census::objects(disk)? {
        let object = path.strip_suffix(census::CLOSED_SUFFIX).unwrap_or(&path);
        if !listed.contains(object) {
            trash::discard(disk, &path)?;
        }
    }
    Ok(())
}

/// Removes files that are torn or need a layer that is gone, and tags whose image is gone. Only while the store is
/// locked exclusively.
fn remove_dangling(disk: &Disk) -> io::Result<()> {
    for path in find_dangling(disk)? {
        disk.unlink(&path)?;
    }
    Ok(())
}

/// Paths of files that are torn or need something that is gone. What they need is looked for after they were read: it
/// is always made first.
pub(crate) fn find_dangling(disk: &Disk) -> io::Result<BTreeSet<String>> {
    let mut dangling = BTreeSet::new();
    for path in census::layer_users(disk)? {
        if is_dangling(disk, &path)? {
            dangling.insert(path);
        }
    }
    for path in census::in_dir(disk, "records/instruction")? {
        if is_empty_list(disk, &path, &dangling)? {
            dangling.insert(path);
        }
    }
    for path in census::in_dir(disk, "images")? {
        let image = path.strip_suffix(census::CLOSED_SUFFIX);
        if let Some(image) = image
            && (dangling.contains(image) || disk.stat(image)?.is_none())
        {
            dangling.insert(path);
        }
    }
    for path in census::in_dir(disk, "tags")? {
        let Some(bytes) = disk.read(&path)? else { continue };
        let named = refs::parse(&path, &bytes).map(|(_, tagged)| tagged.images());
        let mut whole = named.is_some();
        for image in named.unwrap_or_default().iter().map(images::path) {
            whole &= !dangling.contains(&image) && disk.stat(&image)?.is_some();
        }
        if !whole {
            dangling.insert(path);
        }
    }
    Ok(dangling)
}

/// Whether a record, image or chain is there but of no use.
fn is_dangling(disk: &Disk, path: &str) -> io::Result<bool> {
    let Some(bytes) = disk.read(path)? else { return Ok(false) };
    let Some(needed) = census::layers_needed(path, &bytes) else { return Ok(true) };
    for id in needed {
        if disk.stat(&layers::path(&id))?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a list leads to no record any more. Records are made before they are listed.
fn is_empty_list(disk: &Disk, path: &str, gone: &BTreeSet<String>) -> io::Result<bool> {
    let Some(bytes) = disk.read(path)? else { return Ok(false) };
    for record in records::parse_list(path, &bytes).unwrap_or_default() {
        if !gone.contains(&record) && disk.stat(&record)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn remove_processes(disk: &Disk) -> io::Result<()> {
    lease::remove_dead(disk, None)?;
    for area in FOREIGN_AREAS {
        for path in census::in_dir(disk, area)? {
            trash::discard(disk, &path)?;
        }
    }
    Ok(())
}

/// Removes ingest directories without a lease and lock files that nobody holds.
pub(crate) fn remove_orphans(disk: &Disk) -> Result<(), StoreError> {
    // A lease is older than its ingest directory and goes after it.
    for name in disk.list("ingest").map_err(at("list", "ingest"))? {
        let (dir, lease) = (format!("ingest/{name}"), format!("leases/{name}"));
        if disk.stat(&lease).map_err(at("look at", lease))?.is_none() {
            trash::discard(disk, &dir).map_err(at("remove", dir))?;
        }
    }
    for path in census::in_dir(disk, "locks").map_err(at("list", "locks"))? {
        let operation = FlockOperation::NonBlockingLockExclusive;
        if let Some(_locked) = flight::try_lock_named(disk, &path, operation)? {
            disk.unlink(&path).map_err(at("remove", path.as_str()))?;
        }
    }
    Ok(())
}
