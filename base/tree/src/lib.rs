//! Trees that COPY, ADD and bind mounts read: one trait, in-root resolution, selection and its digest.
//!
//! Owns which paths a selection means (wildcards, excludes, parents) and what digest they have. Refuses to know where
//! a tree comes from and what is done with it. No path is ever resolved by the kernel here.

#![forbid(unsafe_code)]

mod accounts;
mod below;
mod digest;
mod listing;
mod listing_diff;
mod nearest;
mod resolve;
mod select;
mod stack;
mod walk;

#[cfg(test)]
mod memory;

use std::fs::File;

use layer::Entry;
use oci::Digest;

pub use accounts::{
    ACCOUNT_FILE_MAX_BYTES, AccountError, ReadFile, User, lookup_owner, lookup_user, read_small,
};
pub use digest::{digest_picked, digest_selection};
pub use listing::{Content, Kind, Listed, list_selection, parse_listing};
pub use listing_diff::{Change, Difference, What, compare_listings};
pub use resolve::{Resolved, Step, resolve, resolve_with};
pub use select::{Picked, SelectError, select};
pub use stack::{LayerDir, StackTree};
pub use walk::{Item, walk};

/// A tree of files that can be read. Paths have the form of [`Entry::path`] and are taken literally: no component is
/// followed when it is a symlink.
pub trait Tree: Send + Sync {
    /// The entry at a path; `None` when there is none (or an ignore rule hides it).
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError>;

    /// Names in a directory, sorted by bytes.
    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError>;

    /// Everything in a directory, sorted by name, each with its file's digest where the tree knows it without reading.
    /// Such a digest is good for keys; what is copied is hashed as it is stored.
    fn list(&self, dir: &[u8]) -> Result<Vec<(Entry, Option<Digest>)>, TreeError> {
        let mut list = Vec::new();
        for name in self.children(dir)? {
            // A name may vanish between listing and look; then it never was there.
            list.extend(self.entry(&join(dir, &name))?.map(|entry| (entry, None)));
        }
        Ok(list)
    }

    /// Opens a regular file for reading from its start.
    fn open(&self, path: &[u8]) -> Result<File, TreeError>;

    /// Digest of a regular file's content; may read the whole file, or know it from a cache.
    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError>;

    /// Says that everything below a directory will be asked for, so that it can be read by many threads at once. Errors
    /// come with the questions.
    fn prefetch(&self, dir: &[u8]) {
        let _ = dir;
    }

    /// Tells the tree a digest that was found while the file was copied, so that nobody reads it twice.
    /// `entry` is what [`Tree::entry`] said before the copy.
    fn learned(&self, entry: &Entry, digest: Digest) {
        let _ = (entry, digest);
    }
}

impl TreeError {
    /// An error of the given operation on a path.
    pub fn new(operation: &'static str, path: &[u8], source: std::io::Error) -> TreeError {
        TreeError { operation, path: path.to_vec(), source }
    }
}

/// Puts a name behind a directory; the root is empty.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (false, true) => dir.to_vec(),
        (false, false) => [dir, b"/", name].concat(),
    }
}

/// A tree could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{operation} `{}`", String::from_utf8_lossy(.path))]
pub struct TreeError {
    /// What was tried: `open`, `list`, `look up`.
    pub operation: &'static str,
    /// The path in the tree.
    pub path: Vec<u8>,
    /// Why it failed.
    pub source: std::io::Error,
}
