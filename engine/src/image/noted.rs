//! What the store notes of blobs: which layer's tar is in which blob, so that it need not be made again.
//!
//! Such a note is for every image with the layer, so none is made of what an image merely says of itself: whoever made
//! that image could give its own bytes to others.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use layer::TarReader;
use oci::{Descriptor, DiffId, Digest, Hasher, media};
use store::{LayerBlob, TarSizes};

use super::ahead::ahead;
use crate::error::BuildError;
use crate::session::Session;

/// Notes that a blob of the store is a layer's tar. It is read through to see whether that is so, unless it is noted
/// already. False, and no note, for the blob of another tar.
pub(crate) fn note(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
) -> Result<bool, BuildError> {
    Ok(prove(session, diff_id, descriptor, None)?.is_none())
}

/// As [`note`], and says what is wrong with the blob of another tar, in words that go on after "a layer". `read` is what
/// it was found to be when it came; else it is read now (spec/security.md R3, B11).
pub(crate) fn prove(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
    read: Option<&io::Result<Tar>>,
) -> Result<Option<String>, BuildError> {
    let store = |e| BuildError::store("cannot look at a layer's blob", e);
    let digest = &descriptor.digest;
    if session.lease.is_layer_blob(diff_id, digest).map_err(store)? {
        return Ok(None);
    }
    if is_tar_itself(session, diff_id, descriptor)? {
        // Its digest was checked when it came.
        count(session, diff_id, descriptor, layer::SIZE_MAX_BYTES)?;
        return Ok(None);
    }
    let found = match read {
        Some(Ok(tar)) => Ok(*tar),
        // What is wrong with it may have been the transfer's doing.
        Some(Err(_)) | None => read_blob(session, descriptor, layer::SIZE_MAX_BYTES)?,
    };
    match found {
        Ok(tar) if tar.digest == diff_id.0 => {
            note_verified(session, diff_id, descriptor, tar.sizes)?;
            Ok(None)
        }
        Ok(tar) => {
            let found = tar.digest;
            Ok(Some(format!("{digest} unpacks to {found}, not to {diff_id}")))
        }
        Err(error) => Ok(Some(format!("{digest} cannot be unpacked: {error}"))),
    }
}

/// Counts what the files of a layer's tar have, and notes it. A blob that is another tar, or one longer than
/// `limit_bytes`, is left uncounted.
pub(crate) fn count(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
    limit_bytes: u64,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot look at a layer's blob", e);
    if is_tar_itself(session, diff_id, descriptor)? {
        let blob = session.lease.open_blob(&descriptor.digest).map_err(store)?;
        let Some(blob) = blob else { return Ok(()) };
        let files_bytes = TarReader::seeking(blob).file_bytes().ok();
        let sizes = TarSizes { tar_bytes: Some(descriptor.size_bytes), files_bytes };
        return note_verified(session, diff_id, descriptor, sizes);
    }
    match read_blob(session, descriptor, limit_bytes)? {
        Ok(tar) if tar.digest == diff_id.0 => {
            note_verified(session, diff_id, descriptor, tar.sizes)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Whether a blob has the tar's digest and is no packed one, which whoever reads it would unpack to something else.
fn is_tar_itself(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
) -> Result<bool, BuildError> {
    if descriptor.digest != diff_id.0 {
        return Ok(false);
    }
    let blob = session.lease.open_blob(&descriptor.digest);
    let blob = blob.map_err(|e| BuildError::store("cannot look at a layer's blob", e))?;
    let mut head = Vec::new();
    let read = blob.map(|blob| blob.take(6).read_to_end(&mut head));
    Ok(matches!(read, Some(Ok(_))) && !layer::is_compressed(&head))
}

/// A tar that was read through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tar {
    digest: Digest,
    sizes: TarSizes,
}

/// Reads a blob of the store through; the inner error is the blob's.
fn read_blob(
    session: &Session,
    descriptor: &Descriptor,
    limit_bytes: u64,
) -> Result<io::Result<Tar>, BuildError> {
    let blob = session.lease.open_blob(&descriptor.digest);
    let blob = blob.map_err(|e| BuildError::store("cannot look at a layer's blob", e))?;
    let Some(blob) = blob else { return Ok(Err(io::Error::other("it is not in the store"))) };
    let read = read_tar(session, blob, limit_bytes);
    session.check_cancelled()?;
    Ok(read)
}

/// Reads a blob through to see which tar it is, decompressing on a thread of its own. None is unpacked that is longer
/// than [`layer::SIZE_MAX_BYTES`] (security.md B9).
pub(super) fn read_tar(
    session: &Session,
    blob: impl Read + Send,
    limit_bytes: u64,
) -> io::Result<Tar> {
    std::thread::scope(|scope| {
        let body = ahead(scope, layer::decompress(blob));
        let hasher = Hasher::new();
        let hashing = Hashing { body, hasher, session, limit_bytes, done_bytes: 0 };
        let mut tar = BufReader::with_capacity(BUFFER_BYTES, hashing);
        // What other readers refuse counts by its blob.
        let files_bytes = TarReader::new(&mut tar).file_bytes().ok();
        io::copy(&mut tar, &mut io::sink())?;
        let Hashing { hasher, done_bytes, .. } = tar.into_inner();
        let sizes = TarSizes { tar_bytes: Some(done_bytes), files_bytes };
        Ok(Tar { digest: hasher.finish(), sizes })
    })
}

/// Notes a blob of which is known that it is the layer's tar, and how large that is.
pub(crate) fn note_verified(
    session: &Session,
    diff_id: DiffId,
    descriptor: &Descriptor,
    sizes: TarSizes,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot note a layer's blob", e);
    let Some(blob) = session.lease.open_blob(&descriptor.digest).map_err(store)? else {
        return Ok(());
    };
    let noted = layer_blob(descriptor);
    let taken = session.lease.layer_blobs(diff_id).map_err(store)?;
    let is_taken =
        |other: &LayerBlob| other.compression == noted.compression && other.digest != noted.digest;
    // Manifests that are written by the note would call it what it is not. One that is taken stays: what is written by
    // it must not change with what came last.
    match compression_within(&blob) == Some(&*noted.compression) && !taken.iter().any(is_taken) {
        true => session.lease.set_layer_blob(diff_id, &noted).map_err(store)?,
        false => session.lease.note_other_layer_blob(diff_id, &noted).map_err(store)?,
    }
    session.lease.set_tar_sizes(diff_id, sizes).map_err(store)
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
    /// How long the tar may be.
    limit_bytes: u64,
    done_bytes: u64,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.session.cancel.is_cancelled() {
            return Err(io::Error::other("the build was cancelled"));
        }
        let count = self.body.read(buffer)?;
        self.done_bytes += count as u64;
        if self.done_bytes > self.limit_bytes {
            return Err(io::Error::other("it unpacks to too much"));
        }
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
