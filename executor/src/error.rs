//! Why a step could not be carried out. A command that ran and failed is no error.

use std::io;

use sys::SysError;
use sys::idmap::IdMapError;

/// An operation that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The program is not in the file system (ERR-36, ERR-76).
    #[error("executable file `{program}` not found{}", if program.contains('/') { "" } else { " in $PATH" })]
    ProgramNotFound {
        /// As the command names it.
        program: String,
    },
    /// The program is there, its interpreter is not: the one in its `#!` line or its dynamic loader.
    #[error("the interpreter of `{program}` is not in the file system")]
    InterpreterNotFound {
        /// Path of the program.
        program: String,
    },
    /// The kernel does not execute the file: a foreign platform, no execute permission, no program at all.
    #[error("cannot execute `{program}`: {}", exec_problem(source))]
    NotExecutable {
        /// Path of the program.
        program: String,
        /// Why.
        source: SysError,
    },
    /// USER names nobody (ERR-37).
    #[error(transparent)]
    User(#[from] tree::AccountError),
    /// A mount that cannot be made as asked: its target, its source.
    #[error("mount at `{target}`: {problem}")]
    Mount {
        /// Where, in the step.
        target: String,
        /// What is wrong.
        problem: String,
    },
    /// The working directory cannot be made or entered.
    #[error("working directory `{path}`")]
    Workdir {
        /// The directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A part of the sandbox could not be set up.
    #[error("set up the step: {what}")]
    Setup {
        /// Which part.
        what: String,
        /// The call that failed.
        source: SysError,
    },
    /// A file or directory of ours could not be prepared.
    #[error("{operation}")]
    Prepare {
        /// What was tried, with its object.
        operation: String,
        /// Why.
        source: io::Error,
    },
    /// Less isolation than was asked for is all that there is.
    #[error("{problem}")]
    NeedsIsolation {
        /// What is missing, and why.
        problem: String,
    },
    /// A limit that was asked for cannot be set.
    #[error("set limit {name}")]
    Limit {
        /// The limit.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// No namespaces may be made here.
    #[error("this process may not make the namespaces that steps run in")]
    Namespaces {
        /// The call that failed.
        source: SysError,
    },
    /// The user namespace got no ids.
    #[error("the ids of the user namespace could not be set")]
    Ids {
        /// Why.
        source: IdMapError,
    },
    /// A process of ours died.
    #[error("{process} died")]
    Died {
        /// Which.
        process: &'static str,
    },
    /// Files could not be selected, read or written by a copy.
    #[error(transparent)]
    Files(Box<dyn std::error::Error + Send + Sync>),
    /// The user stopped the build.
    #[error("stopped")]
    Cancelled,
}

fn exec_problem(source: &SysError) -> String {
    match source.errno() {
        libc_errno::ENOEXEC => "exec format error".into(),
        libc_errno::EACCES => "permission denied".into(),
        libc_errno::E2BIG => "argument list too long".into(),
        _ => source.to_string(),
    }
}

/// The numbers that are worded here.
mod libc_errno {
    pub(super) const E2BIG: i32 = 7;
    pub(super) const ENOEXEC: i32 = 8;
    pub(super) const EACCES: i32 = 13;
}

/// Who has to do something about an [`ExecError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecErrorKind {
    /// The Dockerfile or its files: the step as written cannot work.
    Step,
    /// The machine: it does not allow what is needed.
    Environment,
    /// The disk is full.
    DiskFull,
    /// Nobody: the user stopped it.
    Cancelled,
}

impl ExecError {
    /// Whose turn it is.
    pub fn kind(&self) -> ExecErrorKind {
        match self {
            ExecError::ProgramNotFound { .. }
            | ExecError::InterpreterNotFound { .. }
            | ExecError::NotExecutable { .. }
            | ExecError::User(_)
            | ExecError::Mount { .. }
            | ExecError::Workdir { .. } => ExecErrorKind::Step,
            ExecError::Files(_) | ExecError::Setup { .. } | ExecError::Prepare { .. }
                if self.is_disk_full() =>
            {
                ExecErrorKind::DiskFull
            }
            ExecError::Files(_) => ExecErrorKind::Step,
            ExecError::Cancelled => ExecErrorKind::Cancelled,
            ExecError::Setup { .. }
            | ExecError::Prepare { .. }
            | ExecError::NeedsIsolation { .. }
            | ExecError::Limit { .. }
            | ExecError::Namespaces { .. }
            | ExecError::Ids { .. }
            | ExecError::Died { .. } => ExecErrorKind::Environment,
        }
    }

    /// Whether a cause is that no space or no quota is left.
    pub fn is_disk_full(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = match self {
            ExecError::Files(files) => Some(&**files),
            _ => Some(self),
        };
        while let Some(error) = next {
            let full = error.downcast_ref::<io::Error>().is_some_and(|io| {
                matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            });
            if full {
                return true;
            }
            next = error.source();
        }
        false
    }

    pub(crate) fn setup(what: impl Into<String>) -> impl FnOnce(SysError) -> ExecError {
        let what = what.into();
        move |source| ExecError::Setup { what, source }
    }

    pub(crate) fn prepare<E: Into<io::Error>>(
        operation: impl Into<String>,
    ) -> impl FnOnce(E) -> ExecError {
        let operation = operation.into();
        move |source| ExecError::Prepare { operation, source: source.into() }
    }
}
