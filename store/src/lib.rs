//! The store: layers, blobs, cache records, images, tags and cache mounts as plain files, shared by any number of
//! processes.
//!
//! Owns every file below the store's root, who may delete it and what of it survives a power cut
//! (`docs/store-format.md` is the normative description). Refuses to know builds, Dockerfiles and registries: it keeps
//! what it is given under the name it is given.
//!
//! A [`Store`] only reads. Whatever is used or made goes through a [`Lease`], which names it before looking at it, so
//! that no collection running beside takes it away.
//!
//! No descriptor of this crate may be open in a forked child that goes on living: a copy of a locked descriptor keeps
//! its lock alive after its owner has died. All of them are close-on-exec, and **the launcher must be forked before
//! the store is opened** in its process (design D1, D6).

#![forbid(unsafe_code)]

mod added;
mod blobs;
mod boot;
mod builds;
mod cache_mounts;
mod census;
mod chains;
mod disk;
mod error;
mod fault;
mod flight;
mod gc;
mod generation;
mod images;
mod ingest;
mod layers;
mod layout;
mod lease;
mod listings;
mod lists;
mod manifests;
mod partial;
mod places;
mod records;
mod refs;
mod repo_digests;
mod seal;
mod trash;
mod trust;
mod usage;
mod verify;

#[cfg(test)]
mod tests;

pub use blobs::{BlobWriter, LayerBlob, TarSizes};
pub use builds::{BuildLogName, Project};
pub use cache_mounts::{
    CacheMount, CacheMountBlob, CacheMountDir, CacheMountId, CacheMountInfo, CacheMountOwner,
    CacheMountRequest, Cleared, InUse, PreparedCacheMount,
};
pub use error::StoreError;
pub use flight::FlightGuard;
pub use gc::{GcFilter, GcPolicy, GcReport, Holder, Item, ItemKind, Usage};
pub use generation::Reached;
pub use images::{StoredImage, StoredManifest};
pub use ingest::Ingest;
pub use layers::LayerInfo;
pub use layout::{Store, StoreOptions};
pub use lease::Lease;
pub use lists::ManifestList;
pub use records::{CacheRecord, RecordKeys};
pub use refs::{AttachedManifest, Tagged, TaggedIndex};
pub use trash::TrashReport;
pub use verify::{Problem, VerifyDepth};
