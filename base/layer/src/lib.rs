//! Layers: directories with a table of contents, and their encodings as tars and compressed blobs.
//!
//! Owns the overlay and tar forms of a diff and the rules by which one becomes the other. Refuses to know the
//! store, registries and builds: it gets directories as descriptors and streams as readers and writers.

#![forbid(unsafe_code)]

mod apply;
mod compress;
mod content;
mod decompress;
mod dir_tar;
mod disk;
mod entry;
mod error;
pub mod estargz;
mod normalize;
mod ordered;
mod overlay;
mod pax;
mod sparse;
mod stack;
mod tar_read;
mod tar_write;
mod toc;
mod toc_format;
mod unpack;
mod write_layer;

pub use apply::{Applied, ApplyOptions, SIZE_MAX_BYTES, apply_tar};
pub use compress::{BlockWriter, Compression, compress};
pub use content::{content_id, digest_files};
pub use decompress::{decompress, detect_archive, is_archive, is_compressed};
pub use dir_tar::{DirScan, scan_dir, write_dir_tar};
pub use entry::{Entry, EntryKind, Mtime, file_bytes};
pub use error::LayerError;
pub use normalize::normalize;
pub use overlay::scan_upper;
pub use stack::{children, lookup};
pub use tar_read::{TarEntry, TarKind, TarReader};
pub use tar_write::TarWriter;
pub use toc::{Toc, compare_paths};
pub use unpack::{UnpackLimits, UnpackOptions, Unpacked, unpack_archive};
pub use write_layer::{Encoding, LayerSums, TarSums, write_layer, write_tar, write_tar_unchecked};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
