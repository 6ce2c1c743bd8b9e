//! What can be asked of a worker, in terms of what is wanted (design D12). Emulated and remote workers are planned.

use std::os::fd::OwnedFd;
use std::path::Path;

use layer::Toc;
use oci::Platform;
use progress::Stream;
use sys::Cancel;

use crate::{Agent, CopyStep, Device, ExecError, MkdirStep};

/// Something that makes layers. Shared by the threads of a build.
pub trait Worker: Send + Sync {
    /// What this machine allows the worker.
    fn level(&self) -> Level;

    /// Runs a command. Its output goes to `output` as it comes, complete, until the last process of the step has gone.
    ///
    /// A command that ends with any status is no error: the status is in the result, and there is a layer only when it
    /// is 0.
    ///
    /// # Errors
    /// [`ExecErrorKind`](crate::ExecErrorKind) tells the user's mistakes from the machine's.
    fn run(
        &self,
        step: &RunStep<'_>,
        output: &mut dyn OutputSink,
        cancel: &Cancel,
    ) -> Result<RunEnd, ExecError>;

    /// Runs a command in the foreground with our standard descriptors, for a person. What it writes is thrown away.
    /// `warn` gets lines about a lesser isolation.
    ///
    /// # Errors
    /// As [`Worker::run`].
    fn attach(
        &self,
        step: &RunStep<'_>,
        warn: &mut dyn FnMut(&str),
        cancel: &Cancel,
    ) -> Result<Exit, ExecError>;

    /// Copies files.
    ///
    /// # Errors
    /// Sources that do not exist or cannot be read, destinations that cannot be made.
    fn copy(&self, step: &CopyStep<'_>, cancel: &Cancel) -> Result<NewLayer, ExecError>;

    /// Makes a directory.
    ///
    /// # Errors
    /// What is there is no directory; an owner that is not found.
    fn mkdir(&self, step: &MkdirStep<'_>, cancel: &Cancel) -> Result<NewLayer, ExecError>;

    /// Gets ready for so many steps at once that need a network: starts helpers in the background, returns at once.
    fn expect_steps(&self, count: usize) {
        let _ = count;
    }
}

/// How much a worker may do here, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Root of the machine, or of a container that may make mounts.
    Root,
    /// A user namespace with all the ids that an image may use.
    UserNsRanges,
    /// A user namespace with one id: files have the owner 0:0 and no other.
    UserNsSingle,
    /// No namespaces, a changed root. Planned.
    Chroot,
    /// No namespaces at all. Planned.
    Emulated,
}

impl Level {
    /// Whether layers were written in a user namespace.
    pub fn is_user_namespace(self) -> bool {
        matches!(self, Level::UserNsRanges | Level::UserNsSingle)
    }
}

/// A command with its surroundings.
pub struct RunStep<'a> {
    /// Directories of the layers below, lowest first.
    pub layers: &'a [OwnedFd],
    /// An empty directory of the caller's, on the file system where layers live. The new layer is its `diff`; the
    /// rest of it is to be removed afterwards.
    pub ingest: &'a Path,
    /// The operation.
    pub run: &'a graph::Run,
    /// What the mounts of the operation show, in the same order.
    pub mounts: Vec<StepMount>,
    /// What `--device` gives it.
    pub devices: Vec<Device>,
    /// The platform that the command is made for.
    pub platform: &'a Platform,
}

/// What one `--mount` shows. Not to be printed: secrets are among them.
pub enum StepMount {
    /// A path in a file system made of layers.
    Bind {
        /// Directories of the layers, lowest first.
        layers: Vec<OwnedFd>,
        /// Path in it; links are resolved inside (MNT-23).
        source: Vec<u8>,
    },
    /// A directory that outlives the step.
    Cache {
        /// The directory. Its lock is the caller's business.
        dir: OwnedFd,
        /// Path in it; empty for all of it.
        source: Vec<u8>,
    },
    /// Memory.
    Tmpfs,
    /// A secret's value; `None` when it was not given and is optional (MNT-65).
    Secret(Option<Vec<u8>>),
    /// The agent; `None` when it was not given and is optional.
    Ssh(Option<Agent>),
}

/// Where a step's output goes.
pub trait OutputSink {
    /// Some bytes, in the order in which the step wrote them to this stream.
    fn write(&mut self, stream: Stream, bytes: &[u8]);

    /// One line for the person: the step runs with less isolation than it should.
    fn warn(&mut self, message: &str);
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with a status.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Exit {
    /// The status as a shell gives it: 128 and the signal's number for a signal.
    pub fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }

    /// From the raw value of wait(2).
    pub(crate) fn from_wait_status(status: i32) -> Exit {
        match status & 0x7f {
            0 => Exit::Code(status >> 8 & 0xff),
            signal => Exit::Signal(signal),
        }
    }
}

/// Result of [`Worker::run`].
#[derive(Debug)]
pub struct RunEnd {
    /// How the command ended.
    pub exit: Exit,
    /// The kernel killed something of it because the step's memory limit was reached (ERR-35).
    pub out_of_memory: bool,
    /// What it changed; only for status 0.
    pub layer: Option<NewLayer>,
}

/// A layer in the `diff` directory of a step's ingest directory, in overlay form.
#[derive(Debug, Default)]
pub struct NewLayer {
    /// Its raw table of contents with the digests found on the way, when the operation knows it.
    pub toc: Option<Toc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        assert_eq!(Exit::from_wait_status(3 << 8), Exit::Code(3));
        assert_eq!(Exit::from_wait_status(9).code(), 137);
        assert_eq!(Exit::from_wait_status(0).code(), 0);
        assert_eq!(Exit::from_wait_status(0x8b), Exit::Signal(11)); // with a core
    }
}
