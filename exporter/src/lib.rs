//! From a built image to everything that others can take: OCI layouts, archives, directories, registries, engines;
//! and back from layouts and archives.
//!
//! Owns manifests, the forms of outputs and when a layer gets its blob. Refuses to know graphs and steps: it gets a
//! [`BuiltImage`] and a lease. The subtle thing: nothing is half-made. Files appear by rename when they are whole,
//! tags are pushed after what they name, and bytes are checked against their digests on the way out.

#![forbid(unsafe_code)]

mod atomic;
mod attach;
mod blob;
mod docker;
mod error;
mod handoff;
mod http;
mod image;
pub mod import;
mod job;
mod layout;
mod merge;
mod metadata;
mod prepare;
mod push;
mod tree_dir;
mod tree_tar;
mod verify;

pub use atomic::{write_bytes, write_file};
pub use attach::{ATTESTATIONS, AttachForm, Attached, Attestation, attach};
pub use blob::{
    MadeBlob, blob_descriptor, cache_blob, compression_name, layer_diff_id, make_layer_blob,
};
pub use docker::{write_docker_archive, write_saved_archive};
pub use error::{ExportError, ExportErrorKind};
pub use handoff::{Engine, EngineImage, EngineKind, EnginePlaces, HandedOff, Prepare};
pub use http::{EngineAddress, EngineTls};
pub use image::{Annotations, BuiltImage, ImageOptions, LayerSource};
pub use job::{Fetch, Job};
pub use layout::{Saved, write_oci_archive, write_oci_directory, write_saved_layout};
pub use metadata::{engine_metadata, image_id_text, metadata};
pub use prepare::{Prepared, PreparedImage, is_encoded, prepare};
pub use push::push;
pub use tree_dir::{DirOptions, write_directory};
pub use tree_tar::write_tree_tar;
