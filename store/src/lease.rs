//! Leases: the names that a process uses, written down before it looks, so that nobody removes them (design D6).
//!
//! One file for each lease below `leases/`, locked from before it has its name until its process ends, however that
//! happens. Whoever finds the lock free knows that the owner is dead; no pid and no clock is involved.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use graph::LayerId;
use rustix::fs::FlockOperation;

use crate::added::Added;
use crate::disk::{self, Disk};
use crate::error::{Failure, StoreError, at};
use crate::layout::{STORE_LOCK, Store, locked};
use crate::{layers, trash};

/// What a process does in a store. While it (or a clone) lives, nothing that it has found or made is collected. Drop it
/// after records and tags are written. [`Lease::finish`] says what must survive a power cut.
#[derive(Clone, Debug)]
pub struct Lease {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    /// 32 random hexadecimal digits: names the lease file and the directory below `ingest/`.
    pub(crate) id: String,
    holds: Mutex<Holds>,
    /// Layers that are held and there, so that a stack which only grew is not named and looked at again.
    known_layers: Mutex<HashSet<LayerId>>,
    ingest_made: Mutex<bool>,
    next_temp: AtomicU64,
    /// Names of records and other files, kept by no lease line, that were found or made.
    used: Mutex<BTreeSet<String>>,
    /// Whether anything was made since the last finish.
    wrote: AtomicBool,
    /// The lease file's own time: "now" without a clock.
    pub(crate) started_secs: i64,
    pub(crate) added: Added,
    /// Directories of cache mounts that were opened and not measured since.
    pub(crate) used_mounts: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Holds {
    file: File,
    store_lock: File,
    /// Written to the lease file.
    named: HashSet<String>,
    /// Named and then seen: they stay as long as the lease does.
    present: HashSet<String>,
    /// A write came through in part: the file's end is not known any more.
    broken: bool,
}

/// A use is noted in a file's time at most once a minute.
const TOUCH_INTERVAL_SECS: i64 = 60;

impl Store {
    /// Starts a lease. Removes what dead processes have left in `ingest/`.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn lease(&self) -> Result<Lease, StoreError> {
        let (id, file) = self.make_lease_file()?;
        let started_secs = rustix::fs::fstat(&file)
            .map_err(|e| at("look at", format!("leases/{id}"))(e.into()))?
            .st_mtime;
        let holds = Holds {
            file,
            store_lock: self.open_store_lock()?,
            named: HashSet::new(),
            present: HashSet::new(),
            broken: false,
        };
        let inner = Inner {
            store: self.clone(),
            id,
            holds: Mutex::new(holds),
            known_layers: Mutex::default(),
            ingest_made: Mutex::new(false),
            next_temp: AtomicU64::new(0),
            used: Mutex::default(),
            wrote: AtomicBool::new(false),
            started_secs,
            added: Added::default(),
            used_mounts: Mutex::default(),
        };
        // Housekeeping: what cannot be removed now is removed by the next one.
        let _ = remove_dead(self.disk(), Some(&inner.id));
        Ok(Lease { inner: Arc::new(inner) })
    }

    fn make_lease_file(&self) -> Result<(String, File), StoreError> {
        let disk = self.disk();
        for _ in 0..10 {
            let id = disk::random_name().map_err(at("name", "a lease"))?;
            let (new, name) = (format!("leases/{id}.new"), format!("leases/{id}"));
            let file = disk.create(&new).map_err(at("make", name.as_str()))?;
            disk::lock(&file, FlockOperation::LockExclusive).map_err(at("lock", name.as_str()))?;
            match disk.rename(&new, &name) {
                Ok(()) => return Ok((id, file)),
                // Somebody looked between creation and lock, and took it for a dead one's.
                Err(e) if disk::is_absent(&e) => {}
                Err(e) => {
                    let _ = disk.unlink(&new);
                    return Err(at("make", name)(e));
                }
            }
        }
        Err(at("make", "leases")(io::Error::other("new leases keep being removed")))
    }
}

impl Lease {
    /// The store that this is a lease of.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Protects layers and tells whether all of them are there. One write for all.
    ///
    /// # Errors
    /// The lease file cannot be written.
    pub fn hold_layers(&self, layers: &[LayerId]) -> Result<bool, StoreError> {
        let unknown = |id: &&LayerId| !locked(&self.inner.known_layers).contains(*id);
        let new: Vec<LayerId> = layers.iter().filter(unknown).copied().collect();
        let paths: Vec<String> = new.iter().map(layers::path).collect();
        if !self.hold(&paths)?.into_iter().all(|there| there) {
            return Ok(false);
        }
        locked(&self.inner.known_layers).extend(new);
        Ok(true)
    }

    /// Names paths in the lease file, then looks which of them exist.
    pub(crate) fn hold(&self, paths: &[String]) -> Result<Vec<bool>, StoreError> {
        let mut holds = locked(&self.inner.holds);
        if paths.iter().any(|path| !holds.present.contains(path)) {
            self.with_store_lock(&mut holds, |holds| {
                self.name(holds, paths)?;
                self.look(holds, paths)
            })?;
        }
        Ok(paths.iter().map(|path| holds.present.contains(path)).collect())
    }

    /// Names a path that is about to be made.
    pub(crate) fn hold_new(&self, path: &str) -> Result<(), StoreError> {
        let mut holds = locked(&self.inner.holds);
        self.with_store_lock(&mut holds, |holds| self.name(holds, &[path.to_owned()]))
    }

    /// Notes that a path which was named before exists now.
    pub(crate) fn made(&self, path: &str) {
        locked(&self.inner.holds).present.insert(path.to_owned());
        self.inner.wrote.store(true, Ordering::Relaxed);
    }

    fn with_store_lock(
        &self,
        holds: &mut Holds,
        work: impl FnOnce(&mut Holds) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        disk::lock(&holds.store_lock, FlockOperation::LockShared)
            .map_err(at("lock", STORE_LOCK))?;
        let result = work(holds);
        let _ = disk::lock(&holds.store_lock, FlockOperation::Unlock);
        result
    }

    fn name(&self, holds: &mut Holds, paths: &[String]) -> Result<(), StoreError> {
        let object = || format!("leases/{}", self.inner.id);
        if holds.broken {
            let earlier = io::Error::other("an earlier write to it has failed");
            return Err(at("write", object())(earlier));
        }
        let mut lines = String::new();
        for path in paths.iter().filter(|path| !holds.named.contains(*path)) {
            lines.push_str(path);
            lines.push('\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        if let Err(e) = disk::write(&mut holds.file, lines.as_bytes()) {
            holds.broken = true;
            return Err(at("write", object())(e));
        }
        holds.named.extend(paths.iter().cloned());
        Ok(())
    }

    fn look(&self, holds: &mut Holds, paths: &[String]) -> Result<(), StoreError> {
        for path in paths {
            if holds.present.contains(path) {
                continue;
            }
            let disk = self.inner.store.disk();
            if let Some(stat) = disk.stat(path).map_err(at("look at", path.as_str()))? {
                if stat.st_mtime + TOUCH_INTERVAL_SECS < self.inner.started_secs {
                    let _ = disk.touch(path);
                }
                holds.present.insert(path.clone());
            }
        }
        Ok(())
    }

    /// Writes a file below the lease's own directory and renames it into place.
    pub(crate) fn publish(
        &self,
        path: &str,
        bytes: &[u8],
        durable: bool,
    ) -> Result<(), StoreError> {
        let temp = self.temp_name()?;
        let disk = self.disk();
        let put = || disk.write_new(&temp, bytes, durable).and_then(|()| disk.rename(&temp, path));
        self.note_added_file(bytes.len() as u64);
        put().map_err(|e| {
            let _ = disk.unlink(&temp);
            at("write", path)(e)
        })
    }

    /// One new file under several names; the content says which they are.
    pub(crate) fn publish_linked(&self, paths: &[String], bytes: &[u8]) -> Result<(), StoreError> {
        let Some((last, others)) = paths.split_last() else { return Ok(()) };
        let (temp, second) = (self.temp_name()?, self.temp_name()?);
        let disk = self.disk();
        self.note_added_file(bytes.len() as u64);
        let put = || {
            disk.write_new(&temp, bytes, false)?;
            for path in others {
                disk.link(&temp, &second)?;
                disk.rename(&second, path)?;
            }
            disk.rename(&temp, last)
        };
        put().map_err(|e| {
            let _ = disk.unlink(&temp);
            let _ = disk.unlink(&second);
            at("write", last.as_str())(e)
        })?;
        locked(&self.inner.used).extend(paths.iter().cloned());
        self.inner.wrote.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// [`Lease::publish`] of something that the build has made: it is listed by the next generation.
    pub(crate) fn publish_result(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.publish(path, bytes, false)?;
        self.note_used(path);
        self.inner.wrote.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn note_used(&self, path: &str) {
        locked(&self.inner.used).insert(path.to_owned());
    }

    pub(crate) fn note_written(&self) {
        self.inner.wrote.store(true, Ordering::Relaxed);
    }

    /// Whether anything was made since the last call with `true`.
    pub(crate) fn has_written(&self) -> bool {
        self.inner.wrote.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_written(&self) {
        self.inner.wrote.store(false, Ordering::Relaxed);
    }

    /// Everything that the lease has found or made.
    pub(crate) fn everything_used(&self) -> BTreeSet<String> {
        let mut names = locked(&self.inner.used).clone();
        names.extend(locked(&self.inner.holds).present.iter().cloned());
        names
    }

    /// A new name in the lease's directory below `ingest/`, which is made when it is first needed.
    pub(crate) fn temp_name(&self) -> Result<String, StoreError> {
        let dir = format!("ingest/{}", self.inner.id);
        let mut made = locked(&self.inner.ingest_made);
        if !*made {
            self.disk().make_dir(&dir).map_err(at("make", dir.as_str()))?;
            *made = true;
        }
        Ok(format!("{dir}/{}", self.inner.next_temp.fetch_add(1, Ordering::Relaxed)))
    }

    pub(crate) fn disk(&self) -> &Disk {
        self.inner.store.disk()
    }

    /// Whether another lease that lives has named a path. Only meaningful while the store is locked exclusively.
    pub(crate) fn is_held_by_others(&self, path: &str) -> Result<bool, StoreError> {
        let names = names_but(self.disk(), Some(&self.inner.id)).map_err(at("read", "leases"))?;
        Ok(names.contains(path))
    }

    pub(crate) fn missing(what: &'static str, id: impl ToString) -> StoreError {
        Failure::Missing { what, id: id.to_string() }.into()
    }

    pub(crate) fn open_dir(&self, path: &str) -> Result<OwnedFd, StoreError> {
        self.disk().open_dir(path).map_err(at("open", path))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let disk = self.store.disk();
        let dir = format!("ingest/{}", self.id);
        if *locked(&self.ingest_made) && disk.remove_dir(&dir).is_err() {
            let _ = trash::discard(disk, &dir);
        }
        let _ = disk.unlink(&format!("leases/{}", self.id));
    }
}

/// Removes the leases of dead processes; what they had in `ingest/` goes to trash. Tells how many there were.
pub(crate) fn remove_dead(disk: &Disk, own: Option<&str>) -> io::Result<usize> {
    let mut removed = 0;
    for name in disk.list("leases")? {
        let path = format!("leases/{name}");
        if own == Some(name.as_str()) {
            continue;
        }
        // The lock is kept to the end: one that is just being made would come to life in between, and lose its files.
        let Some(_lock) = lock_of_dead(disk, &path)? else { continue };
        let ingest = format!("ingest/{}", name.trim_end_matches(".new"));
        if disk.stat(&ingest)?.is_some() {
            trash::discard(disk, &ingest)?;
        }
        removed += usize::from(disk.unlink(&path)?);
    }
    Ok(removed)
}

/// The lock of a lease file, if nobody holds it. Other lookers take that for life, which is the safe side.
fn lock_of_dead(disk: &Disk, path: &str) -> io::Result<Option<File>> {
    let Some(file) = disk.open(path)? else { return Ok(None) };
    let is_dead = disk::try_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(is_dead.then_some(file))
}

/// Every path that a living process has named. Only meaningful while the store is locked exclusively.
pub(crate) fn live_names(disk: &Disk) -> io::Result<HashSet<String>> {
    names_but(disk, None)
}

fn names_but(disk: &Disk, own: Option<&str>) -> io::Result<HashSet<String>> {
    let mut names = HashSet::new();
    for name in disk.list("leases")? {
        let path = format!("leases/{name}");
        if own == Some(name.as_str()) {
            continue;
        }
        if lock_of_dead(disk, &path)?.is_some() {
            continue;
        }
        if let Some(bytes) = disk.read(&path)? {
            names.extend(String::from_utf8_lossy(&bytes).lines().map(str::to_owned));
        }
    }
    Ok(names)
}
