//! How large the layers of pulled images are: their blobs are read through once, and the store notes what they hold.

use std::sync::Mutex;

use oci::{Descriptor, DiffId, Document};
use progress::Emitter;
use store::StoredImage;
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::BuildError;
use crate::image;
use crate::session::Session;

/// Layers that are read at the same time.
const READERS_MAX: usize = 4;

/// Counts the bytes in the files of those layers whose size nobody knows and whose blobs are in the store. A blob that
/// is not what the image says is left uncounted.
///
/// # Errors
/// The store cannot be read or written, or somebody wants it to stop.
pub fn count_layers(
    images: &[&StoredImage],
    environment: &Environment,
    cancel: &Cancel,
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, &Emitter::silent(), cancel)?;
    let mut jobs: Vec<(DiffId, Descriptor)> = Vec::new();
    for image in images {
        for job in unknown(&session, image)? {
            if !jobs.contains(&job) {
                jobs.push(job);
            }
        }
    }
    let readers = READERS_MAX.min(jobs.len());
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..readers)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((diff_id, blob)) = next() {
                        image::count(&session, diff_id, &blob, limit(&blob))?;
                    }
                    Ok(())
                })
            })
            .collect();
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or(Ok(())))
    })
}

/// How far a blob is read for its size. One that unpacks to far more than it is may be a bomb, which would be read
/// through for every list: it counts as it is.
fn limit(blob: &Descriptor) -> u64 {
    blob.size_bytes.saturating_mul(100).saturating_add(1 << 30).min(layer::SIZE_MAX_BYTES)
}

/// The layers of an image that are neither unpacked nor counted, where their blobs are here.
fn unknown(
    session: &Session,
    image: &StoredImage,
) -> Result<Vec<(DiffId, Descriptor)>, BuildError> {
    let failed = |e| BuildError::store("cannot look at a layer", e);
    let store = session.lease.store();
    let mut unknown = Vec::new();
    let Some(manifest) = &image.manifest else { return Ok(unknown) };
    let Ok(Document::Manifest(manifest)) =
        Document::from_json(&manifest.bytes, &manifest.media_type)
    else {
        return Ok(unknown);
    };
    let layers = image.diff_ids.iter().zip(manifest.layers).skip(image.stack.layers.len());
    for (diff_id, blob) in layers {
        if store.tar_sizes(*diff_id).map_err(failed)?.files_bytes.is_none()
            && session.lease.has_blob(&blob.digest).map_err(failed)?
        {
            unknown.push((*diff_id, blob));
        }
    }
    Ok(unknown)
}
