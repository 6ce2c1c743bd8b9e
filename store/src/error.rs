//! What can go wrong in a store, and the few questions that callers ask of it.

use std::io;
use std::path::PathBuf;

use oci::Digest;

/// A store operation failed. `Display` names the operation and its object; the cause is the source.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<Failure>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{operation} `{object}` in the store")]
    System { operation: &'static str, object: String, source: io::Error },
    #[error("read the content of {object}")]
    Input { object: String, source: io::Error },
    #[error(
        "open store `{}`: it has format {found}, this program knows formats up to {known}",
        .path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("open store `{}`: the directory is neither empty nor a store", .path.display())]
    NotAStore { path: PathBuf },
    #[error("open store: `{}` {reason}", .path.display())]
    Untrusted { path: PathBuf, reason: String },
    #[error("store blob {expected}: the content has digest {found}")]
    WrongDigest { expected: Digest, found: Digest },
    #[error("store blob {digest}: it should have {expected} bytes, the content has {found}")]
    WrongSize { digest: Digest, expected: u64, found: String },
    #[error("use {what} {id}: it is not in the store")]
    Missing { what: &'static str, id: String },
    #[error("{operation} `{object}`: cancelled while waiting for another user")]
    Cancelled { operation: &'static str, object: String },
    #[error("{operation} the table of contents of layer {id}")]
    Toc { operation: &'static str, id: String, source: layer::LayerError },
}

impl StoreError {
    /// Whether the file system or a quota is full (exit code 5).
    pub fn is_disk_full(&self) -> bool {
        use rustix::io::Errno;
        matches!(self.errno(), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
    }

    /// Whether the store could not be written, or may not be used, by this user (exit code 3).
    pub fn is_not_writable(&self) -> bool {
        use rustix::io::Errno;
        matches!(*self.0, Failure::Untrusted { .. } | Failure::NotAStore { .. })
            || matches!(self.errno(), Some(Errno::ROFS | Errno::ACCESS | Errno::PERM))
    }

    /// Whether a newer program wrote the store (exit code 6).
    pub fn is_newer_version(&self) -> bool {
        matches!(*self.0, Failure::Newer { .. })
    }

    /// Whether a wait was given up because the caller cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(*self.0, Failure::Cancelled { .. })
    }

    /// Whether something that was asked for is not there.
    pub fn is_missing(&self) -> bool {
        matches!(*self.0, Failure::Missing { .. })
    }

    /// Whether content had another digest or size than promised.
    pub fn is_wrong_content(&self) -> bool {
        matches!(*self.0, Failure::WrongDigest { .. } | Failure::WrongSize { .. })
    }

    fn errno(&self) -> Option<rustix::io::Errno> {
        match &*self.0 {
            Failure::System { source, .. } => rustix::io::Errno::from_io_error(source),
            _ => None,
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> StoreError {
        StoreError(Box::new(failure))
    }
}

/// For `map_err`: the operation and the path below the store's root that failed.
pub(crate) fn at(
    operation: &'static str,
    object: impl Into<String>,
) -> impl FnOnce(io::Error) -> StoreError {
    let object = object.into();
    move |source| Failure::System { operation, object, source }.into()
}
