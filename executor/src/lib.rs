//! Makes vertices real: a stack of layers and an operation in, a new layer out.
//!
//! Owns the process model (parent, engine, launcher, init, command: design D1 and D2), the sandbox of a step, its
//! mounts and its network. Refuses to know the store, the cache and Dockerfiles: layers come as directories, results
//! go into a directory that the caller names. A step is described by what is wanted ([`RunStep`]), never by how.

#![forbid(unsafe_code)]

mod cgroup;
mod copy;
mod devices;
mod error;
mod init;
mod launcher;
mod local;
mod mkdir;
mod mounts;
mod network;
mod platform;
pub mod process;
mod resolver;
mod rootfs;
mod run;
mod sandbox;
mod setup;
mod ssh;
mod step;
mod stubs;
mod transplant;
mod worker;

pub use devices::{Device, Devices};
pub use error::{ExecError, ExecErrorKind};
pub use local::{LocalWorker, WorkerOptions};
pub use platform::{CannotRun, Interpreter, interpreter};
pub use ssh::{Agent, KeyError, Keys, ServedAgent};
pub use step::*;
pub use worker::{Exit, Level, NewLayer, OutputSink, RunEnd, RunStep, StepMount, Worker};
