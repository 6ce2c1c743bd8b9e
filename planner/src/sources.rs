//! What lowering asks of the world: what is this image's config, and is this file hidden from the context?

use std::sync::Arc;

use graph::{GitSource, HttpSource, ImageOrigin, ImageSource};
use oci::{Digest, ImageConfig, Platform, Reference};

use crate::{EngineName, OciLayout};

/// Answers what base images are and what the ignore file says. Implemented by the engine, and by tests.
pub trait Sources {
    /// Finds the image that a reference means for a platform. Asked once for each pair in a build (FROM-17).
    fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError>;

    /// Finds an image in an OCI layout directory (NCTX-06).
    fn resolve_layout(
        &self,
        layout: &OciLayout,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError>;

    /// Finds an image in a container engine of this machine.
    fn resolve_in_engine(
        &self,
        name: &EngineName,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError>;

    /// The time that a source stands for, in seconds since 1970: a commit's, a download's, the newest of a file in an
    /// archive; `None` when it has none (EPO-04).
    fn source_time(&self, source: &TimedSource) -> Result<Option<i64>, SourceError>;

    /// Whether the ignore file of the main context hides a path for certain: false when it has exceptions. The path is
    /// clean and relative; the empty one is the context itself, hidden only by a pattern that names everything
    /// (LINT-38).
    fn is_ignored(&self, path: &str) -> bool;
}

/// A source whose time may be an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the payloads are documented")]
pub enum TimedSource {
    Http(HttpSource),
    Git(GitSource),
}

/// An image that was found.
#[derive(Clone, Debug)]
pub struct ResolvedImage {
    /// Its name, the digest included when it is known.
    pub reference: Reference,
    /// Where its layers are to be had.
    pub origin: ImageOrigin,
    /// Digest of the manifest for the platform.
    pub manifest: Option<Digest>,
    /// Its config.
    pub config: Arc<ImageConfig>,
}

impl ResolvedImage {
    pub(crate) fn into_source(self) -> ImageSource {
        let ResolvedImage { reference, origin, manifest, config } = self;
        ImageSource { reference, origin, manifest, config }
    }
}

/// An image could not be found. The message is what a person gets to see behind the image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// Why, with all causes.
    pub message: String,
    /// What kind of failure it is.
    pub kind: SourceErrorKind,
}

/// Kinds of [`SourceError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceErrorKind {
    /// There is no such image, or none for the platform.
    NotFound,
    /// It is not on this machine, and registries are not to be asked.
    NotAsked,
    /// Its registry does not give it, for whatever reason. This machine has an image of the name, which was not to be
    /// used.
    PassedOver {
        /// The registry has no such image.
        is_absent: bool,
    },
    /// The registry gives no answer: no such host, no connection.
    Unreachable,
    /// The registry's certificate is not accepted.
    Untrusted,
    /// The registry wants to know who asks, or does not give it to whom it knows.
    NotAllowed,
    /// This machine's configuration forbids to ask for it.
    Blocked,
    /// The directory that a named context names is not there.
    NoDirectory,
    /// Anything else: no permission, malformed documents.
    Other,
}
