//! What tests of all crates share: a registry that can be told to fail, images made of nothing, a tiny root file
//! system, and a way to say what a test needs.
//!
//! Owns no product code and uses none but the image specification's data, so that it cannot share a mistake.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up shall panic")]

pub mod actions;
pub mod azblob;
pub mod cutting;
pub mod doors;
pub mod faults;
mod http;
pub mod image;
pub mod need;
pub mod registry;
pub mod rootfs;
pub mod s3;
pub mod search_index;
pub mod server;
pub mod tls;
pub mod token_server;
pub mod wire;

/// A fresh directory for a store, owned by the caller and readable by nobody else; removed on drop.
pub fn temp_store_root() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("shale-store-").permissions(private).tempdir().unwrap()
}
