//! The error of this crate.

use std::io;
use std::path::PathBuf;

use layer::LayerError;
use oci::Digest;
use pattern::PatternError;

/// A context could not be read or fetched.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ContextError(#[from] pub(crate) Failure);

/// What went wrong, coarsely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A directory, a URL's file, a repository or a reference in it is not there.
    NotFound,
    /// What came is not what was asked for by its digest or commit.
    Mismatch,
    /// Text of the user is malformed: a pattern, a URL, a reference.
    Invalid,
    /// The other side could not be reached or answered with an error; trying again may help.
    Remote,
    /// A file of this machine could not be read or written.
    File,
    /// A program that is needed is not installed.
    Missing,
    /// The remote wants ssh, and no agent was given.
    NoAgent,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{operation} `{}`", .path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("read ignore file {}:{line}", .path.display())]
    Ignore { path: PathBuf, line: usize, source: PatternError },
    #[error("unpack the archive")]
    Archive { source: LayerError },
    #[error("download {url}: {reason}")]
    BadUrl { url: String, reason: &'static str },
    #[error("download {url}: invalid response status {status}")]
    Status { url: String, status: u16 },
    #[error("download {url}: more than 10 redirects")]
    Redirects { url: String },
    #[error("download {url}: more than {size_max_bytes} bytes")]
    TooLong { url: String, size_max_bytes: u64 },
    #[error("download {url}")]
    Request { url: String, source: Box<ureq::Error> },
    #[error("download {url}")]
    Agent { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("stopped")]
    Cancelled,
    #[error("download {url}")]
    Body { url: String, source: io::Error },
    #[error("digest mismatch for {url}: {got} (expected: {want})")]
    Digest { url: String, got: Digest, want: Digest },
    #[error("git repository {remote}: {reason}")]
    BadGit { remote: String, reason: String },
    #[error("run git for {remote}: it is not installed (package `git`)")]
    NoGit { remote: String },
    #[error("run git for {remote}")]
    RunGit { remote: String, source: io::Error },
    #[error("git {operation} of {remote} failed: {output}")]
    Git { operation: &'static str, remote: String, output: String },
    #[error("no SSH key \"default\" forwarded from the client, which {remote} needs")]
    NoAgent { remote: String },
    #[error("repository does not contain ref {reference}: {remote}")]
    NoReference { remote: String, reference: String },
    #[error("git repository {remote}: expected checksum to match {want}, got {got}")]
    Commit { remote: String, want: String, got: String },
    #[error("git repository {remote} has no directory `{subdir}`")]
    NoSubdir { remote: String, subdir: String, source: io::Error },
}

impl ContextError {
    /// What went wrong, coarsely.
    pub fn kind(&self) -> ErrorKind {
        match &self.0 {
            Failure::File { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Failure::File { .. } | Failure::RunGit { .. } => ErrorKind::File,
            Failure::Ignore { .. }
            | Failure::Archive { .. }
            | Failure::BadUrl { .. }
            | Failure::BadGit { .. } => ErrorKind::Invalid,
            Failure::NoAgent { .. } => ErrorKind::NoAgent,
            Failure::Status { status: 404 | 410, .. }
            | Failure::NoReference { .. }
            | Failure::NoSubdir { .. } => ErrorKind::NotFound,
            Failure::Status { .. }
            | Failure::Redirects { .. }
            | Failure::TooLong { .. }
            | Failure::Request { .. }
            | Failure::Agent { .. }
            | Failure::Cancelled
            | Failure::Body { .. }
            | Failure::Git { .. } => ErrorKind::Remote,
            Failure::Digest { .. } | Failure::Commit { .. } => ErrorKind::Mismatch,
            Failure::NoGit { .. } => ErrorKind::Missing,
        }
    }

    /// A closure that names a failed operation on a file of this machine.
    pub(crate) fn file(
        operation: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> ContextError {
        let path = path.to_owned();
        move |source| ContextError(Failure::File { operation, path, source })
    }
}
