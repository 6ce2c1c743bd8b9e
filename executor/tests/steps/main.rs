//! Steps as they are: what one sees, what it may, what it leaves, and that nothing of it survives.
//!
//! Each test runs the example `steps`: as root and as an ordinary user when the tests run as root, else as the one who
//! runs them. What they need (namespaces, overlay, busybox) is needed: nothing is skipped.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod end;
mod errors;
mod harness;
mod machines;
mod mounts;
mod network;
mod surroundings;
