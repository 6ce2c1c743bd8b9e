//! What can go wrong with a cache outside the store. Never a reason for a wrong build: callers warn and go on.

use std::error::Error;
use std::fmt;

use registry::{RegistryError, RegistryErrorKind};

/// An operation on a place failed. Display names the operation and its object; `source` says why.
#[derive(Debug)]
pub struct RemoteError {
    action: String,
    kind: RemoteErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// Credentials are missing, not accepted, or do not allow it.
    Unauthorized,
    /// No answer in time, or a fault of the other side.
    Unreachable,
    /// The content is not what its digest, size or format says.
    Damaged,
    /// Written by a newer version in a way that this one does not know.
    Newer,
    /// A cache that another program wrote in a form of its own.
    Foreign,
    /// More than what is allowed of it.
    TooLarge,
    /// Options that do not fit together, or a place that cannot do this.
    Configuration,
    /// The content to be sent, or this machine's own file, could not be read or written.
    Local,
    /// The caller stopped it.
    Cancelled,
    /// Any other refusal.
    Refused,
}

impl RemoteError {
    /// An error of `action`, which names operation and object: `read cache of s3 bucket b`.
    pub fn new(kind: RemoteErrorKind, action: impl Into<String>) -> RemoteError {
        RemoteError { action: action.into(), kind, source: None }
    }

    /// With its cause: an error or a text.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> RemoteError {
        self.source = Some(source.into());
        self
    }

    /// A registry's refusal, its own words as the cause.
    pub(crate) fn of_registry(action: impl Into<String>, source: RegistryError) -> RemoteError {
        use RegistryErrorKind as Kind;
        let kind = match source.kind() {
            Kind::NotFound => RemoteErrorKind::NotFound,
            Kind::Unauthorized | Kind::Denied | Kind::Credentials => RemoteErrorKind::Unauthorized,
            Kind::Unreachable | Kind::Tls | Kind::TooManyRequests | Kind::Server => {
                RemoteErrorKind::Unreachable
            }
            Kind::Digest | Kind::Malformed => RemoteErrorKind::Damaged,
            Kind::Configuration => RemoteErrorKind::Configuration,
            Kind::Local => RemoteErrorKind::Local,
            Kind::Cancelled => RemoteErrorKind::Cancelled,
            _ => RemoteErrorKind::Refused,
        };
        RemoteError::new(kind, action).because(source)
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> RemoteErrorKind {
        self.kind
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)
    }
}

impl Error for RemoteError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
