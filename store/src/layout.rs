//! The store's root: making it, opening it, its format version. Knows the names of the top-level directories and
//! nothing of what is in them.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use graph::LayerId;
use layer::Toc;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::disk::{self, Disk};
use crate::error::{Failure, StoreError, at};
use crate::{boot, trust};

/// The format that this program writes.
pub(crate) const VERSION: u32 = 1;
/// Held shared for each append to a lease and the look that follows, exclusively by whoever removes.
pub(crate) const STORE_LOCK: &str = "store.lock";

/// All directories of a store, parents first.
pub(crate) const DIRECTORIES: &[&str] = &[
    "blobs",
    "blobs/sha256",
    "cache-mounts",
    "chains",
    "failed",
    "generations",
    "images",
    "ingest",
    "layer-blobs",
    "layers",
    "leases",
    "listings",
    "locks",
    "logs",
    "logs/builds",
    "manifests",
    "records",
    "records/cache",
    "records/instruction",
    "records/near",
    "sources",
    "stat",
    "tags",
    "trash",
];

/// A store that is open. Cheap to clone; reads only, see [`Store::lease`] for everything else.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Names the present run of the machine; `None` asks the kernel. Tests simulate a power cut by another one.
    pub boot_id: Option<String>,
    /// Whether this process's overlays keep their marks in `user.overlay.*` (it is in a user namespace).
    pub userxattr: bool,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Disk,
    pub(crate) boot_id: String,
    userxattr: bool,
    pub(crate) tocs: Mutex<HashMap<LayerId, Arc<Toc>>>,
    /// Held while a file is read, changed and replaced, so that threads do not lose each other's change.
    pub(crate) updating: Mutex<()>,
}

impl Store {
    /// Opens the store at `root`, making it on first use. Reads two small files; the first open after a boot moves
    /// what no closed generation lists to trash (design D6).
    ///
    /// # Errors
    /// The path can be written by others or belongs to someone else, the format is newer, the directory holds
    /// something else, or it cannot be made.
    pub fn open(root: &Path, options: &StoreOptions) -> Result<Store, StoreError> {
        let path = trust::resolve(root)?;
        let fd = open_root(&path)?;
        let disk = Disk::new(fd, path);
        let boot_id = match &options.boot_id {
            Some(id) => id.clone(),
            None => sys::boot_id().map_err(at("read", "the kernel's boot id"))?,
        };
        let tocs = Mutex::default();
        let shared = Shared {
            disk,
            boot_id,
            userxattr: options.userxattr,
            tocs,
            updating: Mutex::default(),
        };
        let store = Store { shared: Arc::new(shared) };
        if !store.has_known_version()? {
            store.create()?;
        }
        boot::recover_after_boot(&store)?;
        Ok(store)
    }

    /// Absolute path of the root, symbolic links resolved.
    pub fn root(&self) -> &Path {
        self.shared.disk.root_path()
    }

    /// As given in [`StoreOptions`].
    pub fn userxattr(&self) -> bool {
        self.shared.userxattr
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.shared.disk
    }

    /// Opens `store.lock` anew: a lock belongs to the open file, so each user needs its own.
    pub(crate) fn open_store_lock(&self) -> Result<std::fs::File, StoreError> {
        self.disk().open_lock(STORE_LOCK).map_err(at("open", STORE_LOCK))
    }

    /// Shuts everybody's look-ups out for as long as the file is open.
    pub(crate) fn lock_exclusively(&self) -> Result<std::fs::File, StoreError> {
        let file = self.open_store_lock()?;
        disk::lock(&file, FlockOperation::LockExclusive).map_err(at("lock", STORE_LOCK))?;
        Ok(file)
    }

    /// `false` when the root holds no store yet.
    fn has_known_version(&self) -> Result<bool, StoreError> {
        let Some(bytes) = self.disk().read("version").map_err(at("read", "version"))? else {
            return Ok(false);
        };
        let found = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|text| text.strip_prefix("shale-store "))
            .and_then(|text| text.trim_end().parse::<u32>().ok());
        let path = self.root().to_owned();
        match found {
            Some(VERSION) => Ok(true),
            Some(found) if found > VERSION => {
                Err(Failure::Newer { path, found, known: VERSION }.into())
            }
            // No older format was ever released: there is nothing to migrate from.
            _ => Err(Failure::NotAStore { path }.into()),
        }
    }

    /// Makes all directories; the version file comes last, so that it says "complete".
    fn create(&self) -> Result<(), StoreError> {
        self.refuse_foreign_content()?;
        let _locked = self.lock_exclusively()?;
        for dir in DIRECTORIES {
            self.disk().make_dir(dir).map_err(at("make", *dir))?;
        }
        self.replace_at_root(boot::BOOT_FILE, format!("{}\n", self.shared.boot_id).as_bytes())?;
        self.replace_at_root("version", format!("shale-store {VERSION}\n").as_bytes())
    }

    fn refuse_foreign_content(&self) -> Result<(), StoreError> {
        let ours = |name: &str| {
            DIRECTORIES.contains(&name)
                || name == crate::lists::LISTS_DIR
                || [
                    STORE_LOCK,
                    "generations.lock",
                    "gc.lock",
                    boot::BOOT_FILE,
                    "version",
                    "usage",
                    "usage-added",
                ]
                .contains(&name.trim_end_matches(".new"))
        };
        let names = self.disk().list(".").map_err(at("list", "."))?;
        if names.iter().all(|name| ours(name)) {
            return Ok(());
        }
        Err(Failure::NotAStore { path: self.root().to_owned() }.into())
    }

    /// Replaces a file of the root itself; only while the store is locked exclusively.
    pub(crate) fn replace_at_root(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let new = format!("{name}.new");
        let write = || -> io::Result<()> {
            self.disk().unlink(&new)?;
            self.disk().write_new(&new, bytes, false)?;
            self.disk().rename(&new, name)
        };
        write().map_err(at("write", name))
    }
}

/// A lock whose protected state is whole at any moment, so that a panic elsewhere does not matter.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_root(path: &Path) -> Result<OwnedFd, StoreError> {
    let object = || path.display().to_string();
    if rustix::fs::lstat(path).is_err() {
        make_root(path).map_err(at("make", object()))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|e| at("open", object())(e.into()))?;
    let stat = rustix::fs::fstat(&fd).map_err(|e| at("look at", object())(e.into()))?;
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if ours && stat.st_mode & 0o077 != 0 && is_empty(&fd).map_err(at("list", object()))? {
        // A directory that somebody made for us; nothing is in it yet that could have been changed.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o700))
            .map_err(|e| at("chmod", object())(e.into()))?;
        return Ok(fd);
    }
    let has_version = || {
        let stat = rustix::fs::statat(&fd, "version", rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        !matches!(stat, Err(rustix::io::Errno::NOENT))
    };
    if ours && stat.st_mode & 0o077 != 0 && !has_version() {
        // Nobody should be advised to close a directory of the system.
        return Err(Failure::NotAStore { path: path.to_owned() }.into());
    }
    trust::check_root(path, &stat)?;
    Ok(fd)
}

fn make_root(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    for entry in rustix::fs::Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
