//! Why a build ended without a result.

use std::error::Error;
use std::fmt;

use exporter::{ExportError, ExportErrorKind};
use parser::Diagnostic;

/// A build failed. `Display` is one sentence; causes are behind `source()`.
pub struct BuildError {
    kind: BuildErrorKind,
    message: String,
    diagnostics: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    hint: Option<String>,
    cause: Option<Box<dyn Error + Send + Sync>>,
    /// `message` is the cause's own: the chain goes on behind it.
    is_transparent: bool,
}

/// What kind of failure it was; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildErrorKind {
    /// The Dockerfile, the ignore file or a flag says something that cannot be built.
    Dockerfile,
    /// A step said no.
    Step,
    /// This machine cannot do what is needed.
    Environment,
    /// A registry or another remote source.
    Registry,
    /// No space left.
    DiskFull,
    /// The store was written by a newer version.
    NewerStore,
    /// The user stopped the build.
    Cancelled,
    /// Reading the context, writing an output, or the store failed.
    Files,
    /// A step that is expected to be cached would run.
    NotCached,
    /// `shale run`: the program is not in the image.
    NoProgram,
    /// `shale run`: the program is there and cannot be executed.
    NotExecutable,
}

impl BuildError {
    /// An error with its one sentence.
    pub fn new(kind: BuildErrorKind, message: impl Into<String>) -> BuildError {
        BuildError {
            kind,
            message: message.into(),
            diagnostics: Vec::new(),
            warnings: Vec::new(),
            hint: None,
            cause: None,
            is_transparent: false,
        }
    }

    /// An error that needs no sentence of ours before its own.
    pub fn of(kind: BuildErrorKind, error: impl Error + Send + Sync + 'static) -> BuildError {
        let message = error.to_string();
        BuildError { is_transparent: true, ..BuildError::new(kind, message).because(error) }
    }

    /// An error that a user's file is the reason of. The first diagnostic's message is the sentence.
    pub fn dockerfile(diagnostics: Vec<Diagnostic>) -> BuildError {
        let message = diagnostics.first().map_or_else(String::new, |d| d.message.clone());
        BuildError { diagnostics, ..BuildError::new(BuildErrorKind::Dockerfile, message) }
    }

    /// The same error with what caused it. A full disk is the kind of a failure of files wherever it was noticed, and
    /// a file of this machine that says nonsense of a registry is no failure of the registry.
    pub fn because(mut self, cause: impl Error + Send + Sync + 'static) -> BuildError {
        if self.kind == BuildErrorKind::Files && is_disk_full(&cause) {
            self.kind = BuildErrorKind::DiskFull;
        }
        if self.kind == BuildErrorKind::Registry && is_configuration(&cause) {
            self.kind = BuildErrorKind::Dockerfile;
        }
        self.cause = Some(Box::new(cause));
        self
    }

    /// The same error with what to do next.
    pub fn with_hint(mut self, hint: impl Into<String>) -> BuildError {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with what to do next, if anything is known to help.
    pub(crate) fn with_hint_if<H: Into<String>>(self, hint: Option<H>) -> BuildError {
        match hint {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }

    /// The same error with what checks found before it (LINT-09).
    pub fn with_warnings(mut self, warnings: &[Diagnostic]) -> BuildError {
        self.warnings = warnings.to_vec();
        self
    }

    /// The same error with the place in the user's file that it is about.
    pub fn at(mut self, diagnostic: Diagnostic) -> BuildError {
        self.diagnostics.push(diagnostic);
        self
    }

    /// The same error with another sentence in the place of its own; the causes stay.
    pub fn saying(self, message: impl Into<String>) -> BuildError {
        BuildError { message: message.into(), ..self }
    }

    /// The same error as another kind.
    pub fn of_kind(self, kind: BuildErrorKind) -> BuildError {
        BuildError { kind, ..self }
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> BuildErrorKind {
        self.kind
    }

    /// Places in the user's files that the error is about, for rendering with source lines.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// What checks found before the build failed.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// What caused it, also where the sentence is the cause's own: `source()` leaves such a one out.
    pub fn own_cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }

    /// The user stopped the build, or whatever else was done.
    pub fn cancelled() -> BuildError {
        BuildError::new(BuildErrorKind::Cancelled, "cancelled")
    }

    /// A store operation failed: the kind follows from the store's own words.
    pub fn store(what: &str, error: store::StoreError) -> BuildError {
        if error.is_cancelled() {
            return BuildError::cancelled();
        }
        let kind = if error.is_disk_full() {
            BuildErrorKind::DiskFull
        } else if error.is_newer_version() {
            BuildErrorKind::NewerStore
        } else if error.is_not_writable() {
            BuildErrorKind::Environment
        } else {
            BuildErrorKind::Files
        };
        BuildError::new(kind, what).because(error)
    }

    /// The exporter's own sentence, as the kind that decides the exit code.
    pub(crate) fn export(error: ExportError) -> BuildError {
        let kind = match error.kind() {
            ExportErrorKind::Registry => BuildErrorKind::Registry,
            ExportErrorKind::DiskFull => BuildErrorKind::DiskFull,
            ExportErrorKind::Cancelled => BuildErrorKind::Cancelled,
            ExportErrorKind::Engine => BuildErrorKind::Environment,
            _ => BuildErrorKind::Files,
        };
        BuildError::of(kind, error)
    }

    /// An operation on files failed.
    pub fn io(what: impl Into<String>, error: std::io::Error) -> BuildError {
        BuildError::new(BuildErrorKind::Files, what).because(error)
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildError({:?}: {}", self.kind, self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause:?}")?;
        }
        f.write_str(")")
    }
}

impl Error for BuildError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let cause = self.cause.as_ref()?;
        if self.is_transparent { cause.source() } else { Some(&**cause) }
    }
}

fn is_configuration(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| {
        let registry = error.downcast_ref::<registry::RegistryError>();
        registry.is_some_and(|error| error.kind() == registry::RegistryErrorKind::Configuration)
    })
}

fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let errno = error.downcast_ref::<rustix::io::Errno>().map(|errno| errno.kind());
        matches!(kind.or(errno), Some(FileTooLarge | QuotaExceeded | StorageFull))
    })
}

/// An error with all its causes, in one line.
pub(crate) fn told(error: &dyn Error) -> String {
    std::iter::once(error.to_string())
        .chain(sources(error).map(ToString::to_string))
        .collect::<Vec<_>>()
        .join(": ")
}

/// The causes of an error on one line, for who has said already what failed; the error itself where it names none.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), told)
}

/// The causes of an error, nearest first.
pub(crate) fn sources<'a>(error: &'a dyn Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer<E: Error + 'static>(#[source] E);

    #[test]
    fn a_full_disk_is_known_wherever_it_was_noticed() {
        let full = || std::io::Error::from_raw_os_error(28);
        let kind = |error: BuildError| error.kind();
        let files = || BuildError::new(BuildErrorKind::Files, "cannot import the tar");
        assert_eq!(kind(files().because(Outer(Outer(full())))), BuildErrorKind::DiskFull);
        assert_eq!(
            kind(files().because(Outer(rustix::io::Errno::DQUOT))),
            BuildErrorKind::DiskFull
        );
        assert_eq!(kind(BuildError::io("write", full())), BuildErrorKind::DiskFull);
        assert_eq!(kind(BuildError::of(BuildErrorKind::Files, full())), BuildErrorKind::DiskFull);
        let other = std::io::Error::from_raw_os_error(5);
        assert_eq!(kind(files().because(Outer(other))), BuildErrorKind::Files);
        // Too many namespaces are no full disk.
        let machine = BuildError::new(BuildErrorKind::Environment, "no namespaces").because(full());
        assert_eq!(kind(machine), BuildErrorKind::Environment);
    }
}
