//! What the kernel is asked, and nothing else: paths below a root, mounts, namespaces, ids, filters, descriptors.
//!
//! Owns every line of `unsafe` of the workspace; each site says why it is sound. Refuses to know layers, steps and the
//! store: it gets descriptors and plain values and returns descriptors and plain values. A call that fails says so as
//! strace would, with the arguments as they were ([`SysError`]).

#![deny(clippy::undocumented_unsafe_blocks)]
#![allow(unsafe_code, reason = "the one crate that may; see the module docs")]

mod cancel;
pub mod caps;
mod clone;
pub mod engine;
mod env;
mod error;
pub mod idmap;
pub mod mount;
pub mod network;
mod overlay;
mod path;
pub mod pidfd;
pub mod probe;
mod remove;
pub mod seccomp;
pub mod signals;
pub mod socket;
pub mod step;
pub mod xattr;

pub use cancel::Cancel;
pub use clone::{Process, clone_process, enter_network, is_single_threaded, namespaces};
pub use env::{adopt_descriptors, fill_standard_descriptors, take_env};
pub use error::SysError;
pub use overlay::{LOWERS_MAX, fold_lowers, overlay_mount};
pub use path::{
    CreatedEntry, Made, MadePath, make_in_root, open_beneath, open_in_root, read_small,
    read_small_of_machine,
};
pub use probe::{boot_id, in_user_namespace};
pub use remove::remove_tree;
