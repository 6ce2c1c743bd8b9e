//! Removal in two steps: a rename to `trash/`, which always works and is instant, and deletion, which needs the rights
//! of the namespace that made the files and may take long.

use std::io;

use crate::disk::{self, Disk};
use crate::error::{StoreError, at};
use crate::layout::Store;

/// What [`Store::empty_trash`] has done.
#[derive(Debug, Default)]
pub struct TrashReport {
    /// Entries of the trash that are gone.
    pub removed: usize,
    /// Entries that could not be removed, with the reason; they stay.
    pub left: Vec<(String, io::Error)>,
}

impl Store {
    /// Whether something waits for [`Store::empty_trash`].
    ///
    /// # Errors
    /// The trash cannot be listed.
    pub fn has_trash(&self) -> Result<bool, StoreError> {
        Ok(!self.disk().list("trash").map_err(at("list", "trash"))?.is_empty())
    }

    /// Whether an entry of the trash is still there: another process may have deleted it.
    pub fn is_in_trash(&self, name: &str) -> bool {
        matches!(self.disk().stat(&format!("trash/{name}")), Ok(Some(_)))
    }

    /// Deletes what was moved to trash, by descriptors and following nothing. Layers of a rootless store hold files of
    /// other ids: call it where those can be removed (inside the user namespace). Goes on after errors.
    ///
    /// # Errors
    /// The trash cannot be listed.
    pub fn empty_trash(&self) -> Result<TrashReport, StoreError> {
        let mut report = TrashReport::default();
        for name in self.disk().list("trash").map_err(at("list", "trash"))? {
            match self.disk().remove_tree("trash", &name) {
                Ok(()) => report.removed += 1,
                Err(e) => report.left.push((name, e)),
            }
        }
        Ok(report)
    }
}

/// Moves a file or directory to trash; `false` when there was none.
pub(crate) fn discard(disk: &Disk, path: &str) -> io::Result<bool> {
    let target = format!("trash/{}", disk::random_name()?);
    match disk.rename(path, &target) {
        Ok(()) => Ok(true),
        Err(e) if disk::is_absent(&e) => Ok(false),
        Err(e) => Err(e),
    }
}
