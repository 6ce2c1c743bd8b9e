//! Generations: lists of what is known to be on the disk for good (design D6).
//!
//! No step syncs. A build that promises something (a tag, a local output) makes one `syncfs` and then writes down every
//! name that it has found or made. What no such *closed* list names is believed only until the machine stops. A build
//! that promises nothing leaves an *open* list, which the next promise closes with its own.

use std::collections::BTreeSet;
use std::io;

use graph::LayerId;
use oci::ImageId;
use rustix::fs::FlockOperation;

use crate::disk::{self, Disk};
use crate::error::{StoreError, at};
use crate::layout::Store;
use crate::lease::Lease;
use crate::{images, layers, seal};

const KIND: &str = "generation";
const OPEN_SUFFIX: &str = ".open";
const LOCK: &str = "generations.lock";
/// More closed lists than this become one.
const CLOSED_MAX: usize = 32;

/// What the outputs of a build reach. Records and layers that went through the lease need not be named.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached<'a> {
    /// Layers of outputs that are not images of the store.
    pub layers: &'a [LayerId],
    /// Images with all that they need.
    pub images: &'a [ImageId],
}

impl Lease {
    /// Ends a build. With `durable` everything that the lease has found or made, and everything that `reached` needs,
    /// survives a power cut when this returns; without, it is remembered for the next durable end. Costs nothing when
    /// nothing was made and the images are durable already. Tags come after it.
    ///
    /// # Errors
    /// A reached image or layer is not in the store, or the disk could not take what was written.
    pub fn finish(&self, durable: bool, reached: &Reached<'_>) -> Result<(), StoreError> {
        if !self.has_written() && (!durable || self.is_closed(reached)?) {
            return Ok(());
        }
        if !durable {
            self.write_list(OPEN_SUFFIX, &self.everything_used(), false)?;
            self.forget_written();
            return Ok(());
        }
        let names = self.reached_names(reached)?;
        self.close(&names)?;
        self.mark_closed(reached.images)?;
        self.forget_written();
        Ok(())
    }

    fn reached_names(&self, reached: &Reached<'_>) -> Result<BTreeSet<String>, StoreError> {
        if !self.hold_layers(reached.layers)? {
            let gone = |id: &&LayerId| !self.hold_layers(&[**id]).unwrap_or(false);
            let id = reached.layers.iter().find(gone).map_or("?".to_owned(), ToString::to_string);
            return Err(Lease::missing("layer", id));
        }
        let mut names = self.everything_used();
        names.extend(reached.layers.iter().map(layers::path));
        for image in reached.images {
            names.extend(self.hold_closure(image)?);
        }
        Ok(names)
    }

    /// One sync, then the list; open lists of ended builds go into it.
    fn close(&self, names: &BTreeSet<String>) -> Result<(), StoreError> {
        let ended = self.open_lists()?;
        self.disk().sync_everything().map_err(at("sync", "."))?;
        let _locked = lock(self.store())?;
        let mut all = names.clone();
        for name in &ended {
            all.extend(read_list(self.disk(), name).map_err(at("read", name.as_str()))?);
        }
        self.write_list("", &all, true)?;
        for name in &ended {
            self.disk().unlink(name).map_err(at("remove", name.as_str()))?;
        }
        self.merge_if_many()
    }

    fn open_lists(&self) -> Result<Vec<String>, StoreError> {
        let mut names = list(self.disk()).map_err(at("list", "generations"))?;
        names.retain(|name| name.ends_with(OPEN_SUFFIX));
        Ok(names)
    }

    fn write_list(
        &self,
        suffix: &str,
        names: &BTreeSet<String>,
        durable: bool,
    ) -> Result<(), StoreError> {
        let name = disk::random_name().map_err(at("name", "a generation"))?;
        let path = format!("generations/{name}{suffix}");
        self.publish(&path, &seal_list(&path, names), durable)?;
        if durable {
            self.disk().sync_dir("generations").map_err(at("sync", "generations"))?;
        }
        Ok(())
    }

    fn merge_if_many(&self) -> Result<(), StoreError> {
        let mut closed = list(self.disk()).map_err(at("list", "generations"))?;
        closed.retain(|name| !name.ends_with(OPEN_SUFFIX));
        if closed.len() <= CLOSED_MAX {
            return Ok(());
        }
        self.rewrite(&closed, |_| true)
    }

    /// Puts one list in the place of several, with the names that `keep` wants.
    fn rewrite(&self, lists: &[String], keep: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let mut names = BTreeSet::new();
        for path in lists {
            names.extend(read_list(self.disk(), path).map_err(at("read", path.as_str()))?);
        }
        names.retain(|name| keep(name));
        self.write_list("", &names, true)?;
        for path in lists {
            self.disk().unlink(path).map_err(at("remove", path.as_str()))?;
        }
        Ok(())
    }

    /// Takes names out of all lists, for good, before what they name is removed: a file that comes back under the same
    /// name has to be synced anew. Only needed for names of content (blobs); layer ids never come back, and sealed
    /// files carry their checksum.
    pub(crate) fn unlist(&self, gone: &BTreeSet<String>) -> Result<(), StoreError> {
        if gone.is_empty() {
            return Ok(());
        }
        let _locked = lock(self.store())?;
        let lists = list(self.disk()).map_err(at("list", "generations"))?;
        let (open, closed): (Vec<String>, Vec<String>) =
            lists.into_iter().partition(|name| name.ends_with(OPEN_SUFFIX));
        for path in open {
            let mut names = read_list(self.disk(), &path).map_err(at("read", path.as_str()))?;
            names.retain(|name| !gone.contains(name));
            self.publish(&path, &seal_list(&path, &names), false)?;
        }
        self.rewrite(&closed, |name| !gone.contains(name))?;
        self.disk().sync_dir("generations").map_err(at("sync", "generations"))
    }

    fn is_closed(&self, reached: &Reached<'_>) -> Result<bool, StoreError> {
        if !reached.layers.is_empty() {
            return Ok(false);
        }
        for image in reached.images {
            let path = images::path(image);
            let mark = images::closed_mark(&path);
            let there = self.hold(&[path])?[0];
            let marked = self.disk().stat(&mark).map_err(at("look at", mark))?.is_some();
            if !there || !marked {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn mark_closed(&self, images: &[ImageId]) -> Result<(), StoreError> {
        for image in images {
            let mark = images::closed_mark(&images::path(image));
            if self.disk().stat(&mark).map_err(at("look at", mark.as_str()))?.is_none() {
                self.publish(&mark, b"", false)?;
            }
        }
        Ok(())
    }
}

/// Every name of the closed lists. A damaged list counts as empty.
pub(crate) fn closed_names(disk: &Disk) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for path in list(disk)? {
        if !path.ends_with(OPEN_SUFFIX) {
            names.extend(read_list(disk, &path)?);
        }
    }
    Ok(names)
}

/// After a boot open lists promise nothing.
pub(crate) fn drop_open_lists(disk: &Disk) -> io::Result<()> {
    for path in list(disk)? {
        if path.ends_with(OPEN_SUFFIX) {
            disk.unlink(&path)?;
        }
    }
    Ok(())
}

/// Paths of all lists.
pub(crate) fn list(disk: &Disk) -> io::Result<Vec<String>> {
    let names = disk.list("generations")?;
    Ok(names.into_iter().map(|name| format!("generations/{name}")).collect())
}

/// `None` when the list is not whole.
pub(crate) fn parse(path: &str, bytes: &[u8]) -> Option<BTreeSet<String>> {
    let body = std::str::from_utf8(seal::unseal(KIND, path, bytes)?).ok()?;
    Some(body.lines().map(str::to_owned).collect())
}

fn read_list(disk: &Disk, path: &str) -> io::Result<BTreeSet<String>> {
    Ok(disk.read(path)?.and_then(|bytes| parse(path, &bytes)).unwrap_or_default())
}

fn seal_list(path: &str, names: &BTreeSet<String>) -> Vec<u8> {
    let mut body = String::new();
    for name in names {
        body.push_str(name);
        body.push('\n');
    }
    seal::seal(KIND, path, body.as_bytes())
}

/// Held while lists are read and replaced.
fn lock(store: &Store) -> Result<std::fs::File, StoreError> {
    let file = store.disk().open_lock(LOCK).map_err(at("open", LOCK))?;
    disk::lock(&file, FlockOperation::LockExclusive).map_err(at("lock", LOCK))?;
    Ok(file)
}
