//! The error of this crate.

use std::io;
use std::path::PathBuf;

use graph::LayerId;
use layer::LayerError;
use oci::{DiffId, Digest};
use registry::RegistryError;
use store::StoreError;
use tree::TreeError;

/// An output could not be made, or an archive not be read.
#[derive(Debug)]
pub struct ExportError(Box<Failure>);

/// Kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportErrorKind {
    /// What was asked for cannot be made: options that contradict each other, or a result that does not fit.
    Unsupported,
    /// The destination cannot be written.
    Destination,
    /// There is no room left.
    DiskFull,
    /// The store cannot be used, or lacks something.
    Store,
    /// The registry refused or did not answer.
    Registry,
    /// The engine refused or did not answer.
    Engine,
    /// An archive or layout is not what it should be.
    Malformed,
    /// An archive or layout does not have what was asked for.
    NotFound,
    /// The user stopped it.
    Cancelled,
}

/// All that can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Unsupported(&'static str),
    #[error("invalid annotation: no platform {0} found in source")]
    NoPlatform(oci::Platform),
    #[error("cannot overwrite {path} from {second} with {first} when split option is disabled")]
    Overwrite { path: String, first: String, second: String },
    #[error("can't push tagged ref {0} by digest")]
    TaggedByDigest(String),
    #[error("write {what}")]
    Write { what: String, source: io::Error },
    #[error("{operation} `{}`", show(.path))]
    TreeFile { operation: &'static str, path: Vec<u8>, source: io::Error },
    #[error("read the image's files")]
    Tree { source: TreeError },
    #[error("encode layer {layer}")]
    Encode { layer: LayerId, source: LayerError },
    #[error("compress layer {diff_id} anew")]
    Compress { diff_id: DiffId, source: LayerError },
    #[error("layer {layer} has tar {found} now, the image says {expected}")]
    OtherTar { layer: LayerId, expected: DiffId, found: DiffId },
    #[error("layer {0} has another length than its blob says")]
    OtherLength(DiffId),
    #[error("the store has neither the files nor a blob of layer {0}")]
    NoContent(DiffId),
    #[error("the store does not have blob {0}")]
    NoBlob(Digest),
    #[error("get blob {digest}")]
    Fetch { digest: Digest, source: std::io::Error },
    #[error("{operation}")]
    Store { operation: &'static str, source: StoreError },
    #[error("push {name}")]
    Push { name: String, source: RegistryError },
    #[error("there is no {what}{}", shown_tries(.tried, .elsewhere.as_deref()))]
    NoEngine { what: &'static str, tried: Vec<String>, elsewhere: Option<String> },
    #[error("{operation} the engine at {socket}")]
    EngineIo { operation: &'static str, socket: String, source: io::Error },
    #[error("the engine at {socket} refused the image: {reason}")]
    EngineRefused { socket: String, reason: String },
    #[error("open {}", .path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read the image archive")]
    ReadArchive { source: io::Error },
    #[error("read the image archive")]
    ReadTar { source: LayerError },
    #[error("the image archive is empty")]
    Empty,
    #[error("the input is no image archive: it does not begin as a tar does")]
    NotAnArchive { source: Option<LayerError> },
    #[error("{what} is not valid: {reason}")]
    Malformed { what: String, reason: String },
    #[error("{what} is missing")]
    Missing { what: String },
    #[error("{what} has digest {found}, not {expected}")]
    Digest { what: String, expected: Digest, found: Digest },
    #[error("stopped")]
    Cancelled,
}

impl ExportError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ExportErrorKind {
        use ExportErrorKind as Kind;
        if self.is_disk_full() {
            return Kind::DiskFull;
        }
        match &*self.0 {
            Failure::Unsupported(_)
            | Failure::NoPlatform(_)
            | Failure::Overwrite { .. }
            | Failure::TaggedByDigest(_) => Kind::Unsupported,
            Failure::Write { source, .. } if is_cancel(source) => Kind::Cancelled,
            Failure::Write { .. } | Failure::TreeFile { .. } => Kind::Destination,
            Failure::Tree { .. }
            | Failure::Encode { .. }
            | Failure::Compress { .. }
            | Failure::OtherTar { .. }
            | Failure::OtherLength(_)
            | Failure::NoContent(_)
            | Failure::NoBlob(_)
            | Failure::Store { .. } => Kind::Store,
            Failure::Push { .. } | Failure::Fetch { .. } => Kind::Registry,
            Failure::NoEngine { .. } | Failure::EngineIo { .. } | Failure::EngineRefused { .. } => {
                Kind::Engine
            }
            Failure::Malformed { .. }
            | Failure::Digest { .. }
            | Failure::Empty
            | Failure::NotAnArchive { .. }
            | Failure::ReadTar { .. } => Kind::Malformed,
            Failure::Open { .. } | Failure::ReadArchive { .. } | Failure::Missing { .. } => {
                Kind::NotFound
            }
            Failure::Cancelled => Kind::Cancelled,
        }
    }

    /// The registry's error, when it was a registry that failed.
    pub fn registry(&self) -> Option<&RegistryError> {
        match &*self.0 {
            Failure::Push { source, .. } => Some(source),
            _ => None,
        }
    }

    /// Whether a blob has said a wrong length.
    pub(crate) fn is_other_length(&self) -> bool {
        matches!(&*self.0, Failure::OtherLength(_))
    }

    /// Whether whoever was written to went away.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        let gone = |e: &io::Error| {
            matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
        };
        matches!(&*self.0, Failure::Write { source, .. } if gone(source))
    }

    fn is_disk_full(&self) -> bool {
        let full = |e: &io::Error| {
            matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        };
        match &*self.0 {
            Failure::Write { source, .. } | Failure::TreeFile { source, .. } => full(source),
            Failure::Store { source, .. } => source.is_disk_full(),
            _ => false,
        }
    }
}

impl std::fmt::Display for ExportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl From<Failure> for ExportError {
    fn from(failure: Failure) -> ExportError {
        ExportError(Box::new(failure))
    }
}

impl From<TreeError> for ExportError {
    fn from(source: TreeError) -> ExportError {
        Failure::Tree { source }.into()
    }
}

/// For `map_err` on store operations.
pub(crate) fn store(operation: &'static str) -> impl FnOnce(StoreError) -> ExportError {
    move |source| Failure::Store { operation, source }.into()
}

/// For `map_err` on writes to an output.
pub(crate) fn write(what: &str) -> impl FnOnce(io::Error) -> ExportError + '_ {
    move |source| match as_export_error(source) {
        Ok(error) => error,
        Err(source) => Failure::Write { what: what.to_owned(), source }.into(),
    }
}

/// For `map_err` on tars that are written to an output.
pub(crate) fn write_tar(what: &str) -> impl FnOnce(LayerError) -> ExportError + '_ {
    move |error| match error {
        LayerError::WriteTar { source } => write(what)(source),
        LayerError::File { path, source, operation } => match as_export_error(source) {
            Ok(error) => error,
            Err(source) => Failure::TreeFile { operation, path, source }.into(),
        },
        other => write(what)(io::Error::other(other)),
    }
}

/// An error of ours that travelled through an `io::Error`.
fn as_export_error(error: io::Error) -> Result<ExportError, io::Error> {
    error.downcast::<ExportError>()
}

fn is_cancel(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<ExportError>())
        .is_some_and(|e| matches!(*e.0, Failure::Cancelled))
}

/// Where an engine was looked for.
fn shown_tries(tried: &[String], elsewhere: Option<&str>) -> String {
    let elsewhere = elsewhere.map(|why| show(why.as_bytes()));
    let tried = (!tried.is_empty()).then(|| format!("tried {}", tried.join(", ")));
    let all: Vec<String> = elsewhere.into_iter().chain(tried).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join("; ")) }
}

/// A name that is safe on a terminal and in one line.
pub(crate) fn show(name: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(name).chars().take(1000) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
