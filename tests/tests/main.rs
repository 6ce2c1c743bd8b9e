//! End to end: the built program on real input, each test in a world of its own. One module for each feature.
//!
//! Where `SHALE_TEST_ALL` is set (`dev/test`, CI) a test that lacks something fails; elsewhere it says so and ends.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up shall panic")]

mod archives;
mod attestations;
mod bare_root;
mod build;
mod cache;
mod cache_matrix;
mod cache_mounts;
mod cache_store;
mod cleanup;
mod cloud_cache;
mod conformance;
mod controls;
mod debian;
mod devices;
mod engines;
mod errors;
mod hand_off;
mod hostile_cache;
mod hygiene;
mod image_commands;
mod manifests;
mod messages;
mod outputs;
mod platforms;
mod proved_layers;
mod pruning;
mod real_registry;
mod registries;
mod registry;
mod registry_faults;
mod remote_cache;
mod remotes;
mod rootless;
mod round_trips;
mod ssh;
mod startup;
mod steps;
mod stress;
mod transfers;
mod why;
