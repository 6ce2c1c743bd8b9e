//! The build itself: the only crate that knows all others. Request in, image and outputs out.
//!
//! Owns scheduling, look-ups and the making of configs. Refuses to know terminals, arguments and the environment.
//! The subtle thing: the same code runs twice for a build that has work to do. First in a process that may only look
//! up, then, when that ends with "needs a worker", in one that lives in namespaces of its own (design D1).

#![forbid(unsafe_code)]

mod address;
mod agents;
mod archives;
mod assemble;
mod attest;
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
mod handoff;
mod image;
mod images;
mod internal;
mod keep;
mod keys;
mod lists;
mod load;
mod lookup;
mod mount_identity;
mod mounts;
mod output;
mod place;
mod plan;
mod present;
mod push_lazily;
mod remote;
pub mod request;
mod room;
mod run_image;
mod secrets;
mod session;
mod sizes;
mod slots;
mod solve;
mod source;
mod stack_tree;
mod stop;
mod stopper;
mod told;
mod transfer;
mod value;
mod vertex;
mod why;
mod work;

pub use ::attest::{Mode as ProvenanceMode, SlsaVersion};
pub use address::{Address, AddressError, StepPlace, shown as shown_address};
pub use archives::{
    ArchiveInput, ExportRequest, ImportFrom, ImportRequest, Loaded, SaveFormat, SaveRequest,
    SaveTo, export, import, is_encoded, load, save,
};
pub use build::{BuildOutcome, BuildResult, ResultImage, build};
pub use cache_mounts::{MountArchive, export_cache_mount, import_cache_mount};
pub use cap::CacheMax;
pub use check::{Answer, CheckReport, check, parameters, targets};
pub use environment::Environment;
pub use error::{BuildError, BuildErrorKind};
pub use exporter::{
    Annotations, AttachForm, Engine, EngineAddress, EngineKind, EnginePlaces, EngineTls, HandedOff,
};
pub use facts::Facts;
pub use handoff::{HandOff, InEngine, find_engine, hand_off, make_ready};
pub use images::{find_image, find_tagged};
pub use lists::{
    JoinRequest, Joined, ListEntry, ListedPlatform, Origin as ListOrigin, Part, PlatformChange,
    PushedList, Shown as ShownManifest, Wanted, annotate_list, create_list, inspect_manifest, join,
    lists, parts_in, push_list, remove_list,
};
pub use output::write_file;
pub use request::{
    Attestations, BuildRequest, CacheRules, Compression, ContextInput, DigestNames,
    DockerfileInput, MaxAge, Output, OutputDest, OutputKind, ProvenanceRequest, PullPolicy,
    SbomRequest, SecretInput,
};
pub use run_image::{RunImageRequest, run_image};
pub use sizes::count_layers;
pub use transfer::{Pulled, PushOptions, Pushed, local_tags, pull, push, remote_tags};
pub use why::{
    BuildLog, Comparison, Different, FileDifference, FileList, InputKind, LoggedStep, Same,
    StepOutcome, last_build,
};
