//! Steps that change files without running anything: what is wanted of them.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use tree::Tree;

/// COPY or ADD with its sources.
#[derive(Debug)]
pub struct CopyStep<'a> {
    /// Directories of the layers below, lowest first. Not looked at for `--link`.
    pub layers: &'a [OwnedFd],
    /// An empty directory of the caller's, on the file system where layers live. The new layer is its `diff`; the
    /// rest of it is to be removed afterwards.
    pub ingest: &'a Path,
    /// The operation.
    pub copy: &'a graph::Copy,
    /// What the sources of the operation read, in the same order.
    pub sources: &'a [StepSource],
}

/// What one source of a copy reads.
#[derive(Clone)]
pub enum StepSource {
    /// A tree, for a source of paths.
    Tree(Arc<dyn Tree>),
    /// A file from a URL.
    Http {
        /// A tree that has the file.
        tree: Arc<dyn Tree>,
        /// Its name in that tree, and in a destination that is a directory (ADD-31).
        name: Vec<u8>,
        /// What the server says, in seconds; 1970 if it says nothing (ADD-34).
        last_modified: Option<i64>,
    },
    /// Nothing, for a heredoc.
    Inline,
}

impl fmt::Debug for StepSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepSource::Tree(_) => f.write_str("Tree"),
            StepSource::Http { name, .. } => {
                write!(f, "Http({})", String::from_utf8_lossy(name))
            }
            StepSource::Inline => f.write_str("Inline"),
        }
    }
}

/// WORKDIR: a directory that must be there.
#[derive(Debug)]
pub struct MkdirStep<'a> {
    /// Directories of the layers below, lowest first.
    pub layers: &'a [OwnedFd],
    /// As [`CopyStep::ingest`].
    pub ingest: &'a Path,
    /// The operation.
    pub mkdir: &'a graph::Mkdir,
}
