//! What the store notes of blobs: which layer's tar is in which blob, so that it need not be made again.
//!
//! Such a note is for every image with the layer, so none is made of what an image merely says of itself: whoever made
//! that image could give its own bytes to others.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use layer::TarReader;
use oci::{Descriptor, DiffId, Digest, Hasher, media};
use store::LayerBlob;

use crate::error::BuildError;
use crate::session::Session;

/// Notes that a blob of the store is a layer's tar. It is read through to see whether that is so, unless it is noted
/// already. False, and no note, for the blob of another tar.
pub(crate) fn note(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
) -> Result<bool, BuildError> {
    note_within(session, diff_id, descriptor, layer::SIZE_MAX_BYTES)
}

/// As [`note`]; a tar longer than `limit_bytes` is taken for another one. None is unpacked that is longer than
/// [`layer::SIZE_MAX_BYTES`] (security.md B9).
pub(crate) fn note_within(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
    limit_bytes: u64,
) -> Result<bool, BuildError> {
    let store = |e| BuildError::store("cannot look at a layer's blob", e);
    let known = session.lease.layer_blobs(diff_id).map_err(store)?;
    if known.iter().any(|blob| blob.digest == descriptor.digest) {
        return Ok(true);
    }
    if descriptor.digest == diff_id.0 {
        // The tar itself: its digest was checked when it came.
        note_verified(session, diff_id, descriptor)?;
        let Some(tar) = session.lease.open_blob(&descriptor.digest).map_err(store)? else {
            return Ok(false);
        };
        note_size(session, diff_id, TarReader::seeking(tar).file_bytes().ok())?;
        return Ok(true);
    }
    let Some(blob) = session.lease.open_blob(&descriptor.digest).map_err(store)? else {
        return Ok(false);
    };
    let body = layer::decompress(blob);
    let hashing = Hashing { body, hasher: Hasher::new(), session, left_bytes: limit_bytes };
    let mut tar = BufReader::with_capacity(BUFFER_BYTES, hashing);
    // What other readers refuse counts by its blob.
    let files_bytes = TarReader::new(&mut tar).file_bytes().ok();
    // One that cannot be read to its end is no tar at all.
    let read = io::copy(&mut tar, &mut io::sink());
    session.check_cancelled()?;
    if read.is_err() || tar.into_inner().hasher.finish() != diff_id.0 {
        return Ok(false);
    }
    note_verified(session, diff_id, descriptor)?;
    note_size(session, diff_id, files_bytes)?;
    Ok(true)
}

/// Notes how many bytes the files of a tar have: what lists of images show.
fn note_size(
    session: &Session,
    diff_id: DiffId,
    files_bytes: Option<u64>,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot note a layer's size", e);
    let Some(bytes) = files_bytes else { return Ok(()) };
    session.lease.set_tar_files_bytes(diff_id, bytes).map_err(store)
}

/// Notes a blob of which is known that it is the layer's tar.
pub(crate) fn note_verified(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot note a layer's blob", e);
    let Some(blob) = session.lease.open_blob(&descriptor.digest).map_err(store)? else {
        return Ok(());
    };
    let noted = layer_blob(descriptor);
    // Manifests that are written by the note would call it what it is not.
    if compression_within(&blob) != Some(&*noted.compression) {
        return Ok(());
    }
    session.lease.set_layer_blob(diff_id, &noted).map_err(store)
}

/// The descriptor of a layer's blob that came without one.
pub(crate) fn described(
    session: &Session,
    digest: Digest,
    size_bytes: u64,
) -> Result<Descriptor, BuildError> {
    let blob = session.lease.open_blob(&digest);
    let blob = blob.map_err(|e| BuildError::store("cannot look at a layer's blob", e))?;
    let media_type = match blob.as_ref().and_then(compression_within) {
        Some("gzip") => media::OCI_LAYER_GZIP,
        Some("zstd") => media::OCI_LAYER_ZSTD,
        _ => media::OCI_LAYER,
    };
    Ok(Descriptor::new(media_type, digest, size_bytes))
}

/// What the store notes of a blob that came with an image.
pub(crate) fn layer_blob(descriptor: &Descriptor) -> LayerBlob {
    LayerBlob {
        compression: compression_of(&descriptor.media_type).to_owned(),
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest,
        size_bytes: descriptor.size_bytes,
    }
}

fn compression_of(media_type: &str) -> &'static str {
    if media_type.ends_with("gzip") {
        "gzip"
    } else if media_type.ends_with("zstd") {
        "zstd"
    } else {
        "none"
    }
}

/// What a blob is compressed with by its first bytes; `None` when they cannot be read.
fn compression_within(blob: &File) -> Option<&'static str> {
    let mut head = [0; 4];
    let count = blob.read_at(&mut head, 0).ok()?;
    Some(match head[..count] {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => "zstd",
        _ => "none",
    })
}

/// Read from a decompressor at a time.
const BUFFER_BYTES: usize = 128 * 1024;

/// Hashes what is read, until the build is stopped.
struct Hashing<'a, R> {
    body: R,
    hasher: Hasher,
    session: &'a Session,
    /// How long the tar may still be.
    left_bytes: u64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.session.cancel.is_cancelled() {
            return Err(io::Error::other("the build was cancelled"));
        }
        let count = self.body.read(buffer)?;
        self.left_bytes = match self.left_bytes.checked_sub(count as u64) {
            Some(left) => left,
            None => return Err(io::Error::other("the layer unpacks to too much")),
        };
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
