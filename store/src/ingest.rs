//! Private directories in which layers come to be. Whatever is in one belongs to its lease alone and goes with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{StoreError, at};
use crate::lease::Lease;
use crate::trash;

/// A private, empty directory on the store's file system, mode 0700. It is removed with its content when dropped;
/// [`Lease::commit_layer`] takes a directory inside it away first.
#[derive(Debug)]
pub struct Ingest {
    lease: Lease,
    name: String,
    path: PathBuf,
    dir: OwnedFd,
}

impl Lease {
    /// Makes a new ingest directory.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn new_ingest(&self) -> Result<Ingest, StoreError> {
        let name = self.temp_name()?;
        self.disk().make_dir(&name).map_err(at("make", name.as_str()))?;
        let dir = self.open_dir(&name)?;
        let path = self.disk().path(&name);
        Ok(Ingest { lease: self.clone(), name, path, dir })
    }
}

impl Ingest {
    /// Absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory, open for look-ups.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The path below the store's root.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// It was renamed: nothing is left to remove.
    pub(crate) fn became_layer(mut self) {
        self.name.clear();
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let Some((parent, name)) = self.name.rsplit_once('/') else { return };
        if self.lease.disk().remove_tree(parent, name).is_err() {
            let _ = trash::discard(self.lease.disk(), &self.name);
        }
    }
}
