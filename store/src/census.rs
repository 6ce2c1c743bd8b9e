//! What is in a store and what needs what: shared by collection, verification and the first open after a boot.

use std::io;

use graph::LayerId;

use crate::disk::Disk;
use crate::{chains, images, records};

/// Directories whose entries are single sealed files or blobs.
const FILE_AREAS: &[&str] = &[
    "blobs/sha256",
    "chains",
    "images",
    "layer-blobs",
    "manifests",
    "records/cache",
    "records/instruction",
    "records/near",
];
/// Suffix of the marks beside images.
pub(crate) const CLOSED_SUFFIX: &str = ".closed";

/// Paths of everything that a generation may list.
pub(crate) fn objects(disk: &Disk) -> io::Result<Vec<String>> {
    let mut paths = in_dir(disk, "layers")?;
    for area in FILE_AREAS {
        paths.extend(in_dir(disk, area)?);
    }
    Ok(paths)
}

/// Paths of all files that name layers: records, images, chains.
pub(crate) fn layer_users(disk: &Disk) -> io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for area in ["chains", "images", "records/cache", "records/near"] {
        paths.extend(in_dir(disk, area)?);
    }
    paths.retain(|path| !path.ends_with(CLOSED_SUFFIX));
    Ok(paths)
}

/// The layers that a file of [`layer_users`] needs; `None` when it is not whole.
pub(crate) fn layers_needed(path: &str, bytes: &[u8]) -> Option<Vec<LayerId>> {
    match path.split('/').next() {
        Some("chains") => chains::parse(path, bytes),
        Some("images") => images::parse(path, bytes).map(|image| image.stack.layers),
        Some("records") => records::parse(path, bytes).map(|record| record.all_layers().collect()),
        _ => None,
    }
}

/// Paths of the entries of a directory.
pub(crate) fn in_dir(disk: &Disk, dir: &str) -> io::Result<Vec<String>> {
    Ok(disk.list(dir)?.into_iter().map(|name| format!("{dir}/{name}")).collect())
}
