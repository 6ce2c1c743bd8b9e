//! How it is told that an image is not to be had.

use std::error::Error;

use oci::Reference;
use planner::{SourceError, SourceErrorKind};

use crate::error::{BuildError, BuildErrorKind, sources};

/// What a registry did not give.
pub(super) fn registry_error(reference: &Reference, error: registry::RegistryError) -> BuildError {
    let text = format!("cannot get {}", reference.familiar());
    BuildError::new(BuildErrorKind::Registry, text).because(error)
}

/// Why an image is not to be had. The message goes behind the image's name, so what only names it again is left out.
pub(super) fn source_error(error: &BuildError) -> SourceError {
    let asked = error.source().and_then(|e| e.downcast_ref::<registry::RegistryError>());
    let kind = match asked.map(registry::RegistryError::kind) {
        _ if asked.is_some_and(registry::RegistryError::is_not_found) => SourceErrorKind::NotFound,
        Some(registry::RegistryErrorKind::Unreachable) => SourceErrorKind::Unreachable,
        Some(registry::RegistryErrorKind::Tls) => SourceErrorKind::Untrusted,
        Some(registry::RegistryErrorKind::Blocked) => SourceErrorKind::Blocked,
        Some(registry::RegistryErrorKind::Unauthorized | registry::RegistryErrorKind::Denied) => {
            SourceErrorKind::NotAllowed
        }
        _ => SourceErrorKind::Other,
    };
    let why = asked.and_then(|asked| asked.source()).unwrap_or(error);
    SourceError { message: chain_text(why), kind }
}

/// An error with its causes on one line; a cause that was said already is left out.
pub(super) fn chain_text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in sources(error) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// A reason of no special kind.
pub(super) fn other(error: &dyn Error) -> SourceError {
    SourceError { message: chain_text(error), kind: SourceErrorKind::Other }
}
