//! Exit codes: the one list of them, and how a build's failure maps to one (docs/exit-codes.md).

use std::process::ExitCode;

use engine::BuildErrorKind;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// The build or command failed: a step said no, a file could not be read or written.
    Failed = 1,
    /// The command line, the Dockerfile or the ignore file is wrong.
    Usage = 2,
    /// This machine cannot do what is needed.
    Environment = 3,
    /// A registry or another remote source said no or was not there.
    Registry = 4,
    /// No space left.
    DiskFull = 5,
    /// The store was written by a newer version.
    NewerStore = 6,
    /// A step that was expected to be cached would have run.
    NotCached = 7,
    /// `shale run`: the program cannot be executed.
    NotExecutable = 126,
    /// `shale run`: the program is not in the image.
    NoProgram = 127,
    /// Interrupted, as by Ctrl-C.
    Interrupted = 130,
    /// Terminated, as by `kill`.
    Terminated = 143,
}

impl Exit {
    /// The code for a failed build.
    ///
    /// `terminated` says that the signal which cancelled it was SIGTERM.
    pub(crate) fn of(kind: BuildErrorKind, terminated: bool) -> Exit {
        match kind {
            BuildErrorKind::Dockerfile => Exit::Usage,
            BuildErrorKind::Environment => Exit::Environment,
            BuildErrorKind::Registry => Exit::Registry,
            BuildErrorKind::DiskFull => Exit::DiskFull,
            BuildErrorKind::NewerStore => Exit::NewerStore,
            BuildErrorKind::NotCached => Exit::NotCached,
            BuildErrorKind::NotExecutable => Exit::NotExecutable,
            BuildErrorKind::NoProgram => Exit::NoProgram,
            BuildErrorKind::Cancelled if terminated => Exit::Terminated,
            BuildErrorKind::Cancelled => Exit::Interrupted,
            // Steps, files, and kinds that a later engine may add.
            _ => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
