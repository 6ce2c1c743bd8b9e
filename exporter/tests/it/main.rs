//! Outputs are read back: by this crate's own reader, by the in-process registry, and by skopeo.

mod archives;
mod engines;
mod fixture;
mod registries;
mod trees;
