//! The world of an end-to-end test: the built program, a home and a store of its own, and a check at the end that
//! nothing is left over.
//!
//! Owns running programs and judging what they left behind. Knows nothing of shale but its command line.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up shall panic")]

mod binary;
pub mod cases;
mod dockerd;
mod leftovers;
mod registry;
mod run;
mod users;
mod world;

pub use dockerd::Dockerd;
pub use registry::Registry;
pub use run::Run;
pub use users::{TestUser, user};
pub use world::World;
