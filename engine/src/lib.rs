//! The build itself: the only crate that knows all others. Request in, image and outputs out.
//!
//! Owns scheduling, look-ups and the making of configs. Refuses to know terminals, arguments and the environment.
//! The subtle thing: the same code runs twice for a build that has work to do. First in a process that may only look
//! up, then, when that ends with "needs a worker", in one that lives in namespaces of its own (design D1).

#![forbid(unsafe_code)]

mod address;
mod agents;
mod assemble;
mod background;
mod build;
mod cache_mounts;
mod cap;
mod check;
mod contexts;
mod controls;
mod copied;
mod devices;
mod environment;
mod error;
mod execute;
mod facts;
mod finish;
mod flight;
mod foreign;
mod image;
mod images;
mod internal;
mod keep;
mod load;
mod lookup;
mod mounts;
mod output;
mod place;
mod plan;
mod push_lazily;
mod remote;
pub mod request;
mod run_image;
mod secrets;
mod session;
mod slots;
mod solve;
mod source;
mod stack_tree;
mod stop;
mod stopper;
mod value;
mod vertex;
mod why;
mod work;

pub use address::{Address, AddressError, StepPlace, shown as shown_address};
pub use build::{BuildOutcome, BuildResult, ResultImage, build};
pub use cache_mounts::{MountArchive, export_cache_mount, import_cache_mount};
pub use cap::CacheMax;
pub use check::{Answer, CheckReport, check, parameters, targets};
pub use environment::Environment;
pub use error::{BuildError, BuildErrorKind};
pub use exporter::Annotations;
pub use facts::Facts;
pub use images::{
    ImportRequest, Loaded, SaveFormat, find_image, find_tagged, import, load, pull, push, save,
};
pub use output::write_file;
pub use request::{
    BuildRequest, CacheRules, Compression, ContextInput, DockerfileInput, MaxAge, Output,
    OutputDest, OutputKind, PullPolicy, SecretInput,
};
pub use run_image::{RunImageRequest, run_image};
pub use why::{
    BuildLog, Comparison, Different, FileDifference, FileList, InputKind, LoggedStep, Same,
    StepOutcome, last_build,
};
