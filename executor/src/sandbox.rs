//! The sandbox of a step as data: what init and the command's process do, in order (bubblewrap's idea).
//!
//! The engine lowers a step into a [`SandboxSpec`]; [`crate::init`] and [`crate::setup`] run it. Descriptors go beside
//! it, the spec names them by their place in that list. The form below is private to one process and its forks.

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

/// A descriptor, by its place in the list that goes with the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FdRef(pub(crate) usize);

/// All that makes a step's processes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SandboxSpec {
    /// `cgroup.procs` files that init writes itself into.
    pub(crate) cgroups: Vec<FdRef>,
    /// The command's network.
    pub(crate) network: NetworkSpec,
    /// Set-up of the file system, in this order.
    pub(crate) setup: Vec<SetupOp>,
    /// What is executed at the end.
    pub(crate) command: CommandSpec,
    /// Standard input, output and error.
    pub(crate) stdio: [FdRef; 3],
    /// The step shares our terminal: no session of its own, keys reach it directly.
    pub(crate) terminal: bool,
    /// The upper directory, for the inode numbers of stubs.
    pub(crate) upper: FdRef,
}

/// Which network a command is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetworkSpec {
    /// That of the machine.
    Host,
    /// A new one with a loopback interface.
    Loopback,
    /// One that a helper serves.
    Join(FdRef),
}

/// One operation of the set-up.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SetupOp {
    /// The root file system, a detached mount.
    Root(FdRef),
    /// procfs of the inner pid namespace, with masks.
    Proc {
        /// Hide and protect what containers may not see.
        masked: bool,
        /// Fail rather than show the outer one.
        strict: bool,
    },
    /// sysfs, read-only.
    Sys {
        /// Hide and protect.
        masked: bool,
    },
    /// Devices.
    Dev {
        /// Size of /dev/shm.
        shm_size_bytes: u64,
        /// The machine's devices rather than the usual ones.
        host: bool,
    },
    /// A detached mount.
    Attach {
        /// It.
        mount: FdRef,
        /// Where.
        target: String,
        /// It is a directory.
        directory: bool,
    },
    /// Memory.
    Tmpfs {
        /// Where.
        target: String,
        /// Size; the kernel's default without.
        size_bytes: Option<u64>,
        /// No writing (MNT-16).
        read_only: bool,
    },
    /// A small file on memory.
    File(FileSpec),
    /// Name of the host.
    Hostname(String),
}

/// A small read-only file that is on memory and mounted over its target.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileSpec {
    /// A memfd with its content.
    pub(crate) content: FdRef,
    /// Where.
    pub(crate) target: String,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// It may be executed.
    pub(crate) executable: bool,
}

/// The command and who runs it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CommandSpec {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment, `NAME=value` with a NUL after each: it may hold secrets, so it is a memfd.
    pub(crate) env: FdRef,
    /// Where to look for programs without a slash.
    pub(crate) path: String,
    /// Working directory.
    pub(crate) workdir: String,
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Supplementary groups; `None` where they cannot be set.
    pub(crate) groups: Option<Vec<u32>>,
    /// Bounding set.
    pub(crate) capabilities: u64,
    /// The filter of system calls.
    pub(crate) filter: FilterSpec,
    /// Limits: name, soft, hard; -1 is unlimited.
    pub(crate) limits: Vec<(String, i64, i64)>,
}

/// Which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FilterSpec {
    /// None: `--security=insecure`.
    Off,
    /// Steps' filter.
    On,
    /// The same with packet sockets.
    OnWithPackets,
}

/// What comes back on the status pipe, one JSON text a line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Mount points that were made.
    Stubs(Vec<Stub>),
    /// Something is less isolated than designed; a line for people.
    Degraded(String),
    /// The command was not executed.
    Failed(Failure),
    /// The command's raw wait status.
    Ended(i32),
}

impl Report {
    /// Writes it to the status pipe.
    pub(crate) fn write(&self, status: impl AsFd) {
        let mut line = serde_json::to_vec(self).expect("reports have no maps with odd keys");
        line.push(b'\n');
        let mut written = 0;
        while written < line.len() {
            match rustix::io::retry_on_intr(|| rustix::io::write(&status, &line[written..])) {
                Ok(bytes) => written += bytes,
                Err(_) => return, // the engine has gone, and so will we
            }
        }
    }
}

/// A mount point that was made for the run (MNT-11).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stub {
    /// Literal path in the upper directory.
    pub(crate) path: Vec<u8>,
    /// Its inode there.
    pub(crate) inode: u64,
}

/// Why a command was not executed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// A call of the set-up.
    Setup {
        /// Which part.
        what: String,
        /// The call.
        call: String,
        /// Its error.
        errno: i32,
    },
    /// A mount's target.
    Mount {
        /// The target.
        target: String,
        /// What is wrong.
        problem: String,
    },
    /// The working directory.
    Workdir {
        /// Its error.
        errno: i32,
    },
    /// A limit.
    Limit {
        /// Its name.
        name: String,
        /// Its error.
        errno: i32,
    },
    /// No such program.
    ProgramNotFound,
    /// The program is there, its interpreter is not.
    InterpreterNotFound {
        /// Path of the program.
        program: String,
    },
    /// execve refused.
    Exec {
        /// Path of the program.
        program: String,
        /// Its error.
        errno: i32,
    },
    /// The outer /proc would be shown, and that is not wanted.
    Isolation(String),
}

/// Collects the descriptors of a spec.
#[derive(Debug, Default)]
pub(crate) struct FdList {
    fds: Vec<OwnedFd>,
}

impl FdList {
    /// Takes one and gives its place.
    pub(crate) fn add(&mut self, fd: OwnedFd) -> FdRef {
        self.fds.push(fd);
        FdRef(self.fds.len() - 1)
    }

    /// All of them in order.
    pub(crate) fn into_inner(self) -> Vec<OwnedFd> {
        self.fds
    }
}

/// A network helper: a program of the machine in a pid namespace that dies with the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HelperSpec {
    /// Program and arguments. `{network}` in an argument becomes a path of the descriptor below, `{ready}` the number
    /// of the status pipe.
    pub(crate) argv: Vec<String>,
    /// The network namespace that it serves.
    pub(crate) network: FdRef,
    /// Standard input, output and error.
    pub(crate) stdio: [FdRef; 3],
}

/// The descriptors of a received spec.
#[derive(Debug)]
pub(crate) struct Fds(pub(crate) Vec<OwnedFd>);

impl Fds {
    /// One of them.
    ///
    /// # Panics
    /// When the spec does not fit its descriptors: both come from one function of this program.
    pub(crate) fn get(&self, place: FdRef) -> &OwnedFd {
        self.0.get(place.0).expect("a spec comes with its descriptors")
    }
}
