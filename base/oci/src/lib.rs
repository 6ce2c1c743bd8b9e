//! The OCI image specification's data: digests, descriptors, manifests, configs, platforms and references.
//!
//! Owns the exact bytes and the unknown fields of documents that came from elsewhere. Refuses to know files,
//! networks and stores: everything here is plain data, parsed from and written to memory.

#![forbid(unsafe_code)]

mod config;
mod digest;
mod manifest;
mod platform;
mod reference;
mod strict;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{ChainId, DiffId, Digest, Hasher, ImageId, ParseDigestError};
pub use manifest::{Descriptor, Document, Index, Manifest, ManifestError, media};
pub use platform::{ParsePlatformError, Platform};
pub use reference::{ParseReferenceError, Reference};
