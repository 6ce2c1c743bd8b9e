//! The content of cache mounts as archives: out of the store and into it.
//!
//! Owns what may be in such an archive. Refuses to know where it lies. Content of mounts is never trusted: it goes into
//! a directory of its own under the rules of archives, and is put in place when it is whole.

use std::io::{Read, Write};

use layer::{
    BlockWriter, Compression, DirScan, LayerError, UnpackLimits, UnpackOptions, scan_dir,
    unpack_archive, write_dir_tar,
};
use oci::Digest;
use store::{CacheMount, CacheMountId, Lease, PreparedCacheMount};
use sys::Cancel;

use crate::environment::Environment;
use crate::error::{BuildError, BuildErrorKind};
use crate::stop::Stoppable;

/// Entries of an archive, at most.
const ENTRIES_MAX: u64 = 5_000_000;

/// What an archive of a cache mount has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountArchive {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes in its files.
    pub size_bytes: u64,
    /// Devices and sockets that it leaves out.
    pub left_out: u64,
}

/// Writes the content of a cache mount as a tar, owners as a step sees them. `None` when there is no such mount.
///
/// # Errors
/// A step uses the mount or changes it meanwhile; it cannot be read, or `out` not be written.
pub fn export_cache_mount(
    id: &CacheMountId,
    compression: Compression,
    out: &mut dyn Write,
    environment: &Environment,
) -> Result<Option<MountArchive>, BuildError> {
    let store = |e| BuildError::store("cannot open the cache mount", e);
    let lease = environment.store.lease().map_err(store)?;
    let mount = match lease.read_cache_mount(id).map_err(store)? {
        Ok(Some(mount)) => mount,
        Ok(None) => return Ok(None),
        Err(store::InUse) => return Err(in_use(id)),
    };
    let scan = scan(&mount)?;
    pack(&mount, &scan, compression, out)?;
    let DirScan { size_bytes, left_out, .. } = scan;
    Ok(Some(MountArchive { entries: scan.count(), size_bytes, left_out }))
}

/// Replaces the content of a cache mount by that of an archive, compressed or not; makes the mount if there is none.
///
/// # Errors
/// A step uses the mount; the archive is damaged, has more than `max_bytes`, or holds what has no place in a mount.
pub fn import_cache_mount(
    id: &CacheMountId,
    tar: &mut (dyn Read + Send),
    max_bytes: u64,
    environment: &Environment,
    cancel: &Cancel,
) -> Result<MountArchive, BuildError> {
    let store = |e| BuildError::store("cannot make the cache mount", e);
    let lease = environment.store.lease().map_err(store)?;
    let one_id = environment
        .worker
        .as_ref()
        .is_some_and(|worker| worker.level() == executor::Level::UserNsSingle);
    let (prepared, told) = unpack(&lease, &mut Stoppable { inner: tar, cancel }, max_bytes, one_id)
        .map_err(|error| if cancel.is_cancelled() { BuildError::cancelled() } else { error })?;
    let is_installed = prepared.install(id, None).map_err(store)?;
    // The next build looks whether the store has room for it. Without this hint the next count does.
    let _ = lease.count_mounts().and_then(|()| lease.tell_added());
    match is_installed {
        true => Ok(told),
        false => Err(in_use(id)),
    }
}

fn in_use(id: &CacheMountId) -> BuildError {
    let text = format!("the cache mount {} is in use", id.id);
    BuildError::new(BuildErrorKind::Files, text)
        .with_hint("try again when the build that uses it has ended")
}

/// What is in a cache mount.
pub(crate) fn scan(mount: &CacheMount) -> Result<DirScan, BuildError> {
    scan_dir(mount.dir()).map_err(not_read)
}

/// Writes a mount's archive; digest and length of what was written.
pub(crate) fn pack(
    mount: &CacheMount,
    scan: &DirScan,
    compression: Compression,
    out: &mut dyn Write,
) -> Result<(Digest, u64), BuildError> {
    let mut blocks = BlockWriter::new(compression, out);
    write_dir_tar(mount.dir(), scan, &mut blocks).map_err(not_read)?;
    blocks.finish().map_err(not_read)
}

fn not_read(error: LayerError) -> BuildError {
    let hint = match error {
        LayerError::Changed { .. } => Some("something changed it meanwhile: try again"),
        _ => None,
    };
    let failed = BuildError::new(BuildErrorKind::Files, "cannot archive a cache mount");
    failed.because(error).with_hint_if(hint)
}

/// Unpacks a mount's archive, compressed or not, into a directory of its own. With `one_id` owners are left as they
/// are.
pub(crate) fn unpack(
    lease: &Lease,
    tar: &mut (dyn Read + Send),
    max_bytes: u64,
    one_id: bool,
) -> Result<(PreparedCacheMount, MountArchive), BuildError> {
    let prepared = lease.prepare_cache_mount();
    let prepared = prepared.map_err(|e| BuildError::store("cannot make a cache mount", e))?;
    let options = UnpackOptions {
        owner: None,
        whole_directory: true,
        keep_own_ids: one_id,
        limits: Some(UnpackLimits { size_bytes: max_bytes, entries: ENTRIES_MAX }),
    };
    let told = unpack_archive(&mut layer::decompress(tar), prepared.dir(), &options);
    let told = told.map_err(|error| {
        BuildError::new(BuildErrorKind::Files, "cannot unpack the archive of a cache mount")
            .because(error)
    })?;
    let (entries, size_bytes) = (told.entries, told.size_bytes);
    Ok((prepared, MountArchive { entries, size_bytes, left_out: 0 }))
}
