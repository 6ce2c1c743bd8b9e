//! Layers of images into the store: downloaded side by side, verified, unpacked in order.

use std::error::Error;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use exporter::import::ImageArchive;
use graph::{ImageOrigin, ImageSource, LayerId, Stack};
use oci::{ChainId, Descriptor, DiffId, Document};
use registry::{BlobPrefix, RegistryError};
use store::StoreError;

use super::blob::{self, Opened};
use super::elsewhere;
use super::noted;
use super::refusal::registry_error;
use super::stored;
use super::unpack::{Packed, unpack};
use super::{known_stack_layers, malformed};
use crate::error::{BuildError, BuildErrorKind, sources};
use crate::session::Session;
use crate::slots::Slots;
use crate::stop::Stop;
use crate::value::LazyImage;

/// Downloads layers side by side and unpacks them in order: what a tar means depends on what lies below it.
pub(crate) fn fetch(session: &Arc<Session>, lazy: &LazyImage, vertex: u32) -> Result<Stack, Stop> {
    let image = &lazy.image;
    let diff_ids = &image.config.rootfs.diff_ids;
    let blobs = layer_descriptors(session, image)?;
    let downloads = Downloads::new();
    let mut layers: Vec<LayerId> = Vec::new();
    std::thread::scope(|scope| {
        let mut chain = None;
        let mut jobs = Vec::new();
        for (descriptor, diff_id) in blobs.iter().zip(diff_ids) {
            let next = chain.map_or(ChainId(diff_id.0), |chain: ChainId| chain.then(*diff_id));
            chain = Some(next);
            let downloads = &downloads;
            let download = scope.spawn(move || {
                if known_stack_layers(session, next)?.is_some() {
                    return Ok(true);
                }
                downloads.run(|| download(session, image, descriptor, vertex))
            });
            jobs.push((next, descriptor, *diff_id, download));
        }
        let mut jobs = jobs.into_iter();
        while let Some((chain, descriptor, diff_id, download)) = jobs.next() {
            if !joined(download.join())? {
                // One behind it has failed.
                jobs.try_for_each(|(.., other)| joined(other.join()).map(drop))?;
                return Err(ended_by_bug().into());
            }
            let created = image.config.created.as_deref().unwrap_or_default();
            let malformed = |why: &str| malformed(image, why);
            let packed = Packed { descriptor, diff_id, created, malformed: &malformed };
            let id = unpack(session, &packed, &layers, chain);
            let id = id.inspect_err(|_| downloads.begin_no_more())?;
            layers.push(id);
        }
        Ok::<_, Stop>(())
    })?;
    let count = layers.len();
    Ok(Stack { base: Some((lazy.chain, count)), layers })
}

/// Layers that are downloaded at the same time.
const DOWNLOADS_MAX: usize = 4;

/// Brings all layers of an image into the store as blobs, and sees that each is the tar that the config says: before
/// that the image gets no name (spec/security.md R3). That is seen while the bytes come, and not again of a blob of
/// which it is known.
pub(crate) fn download_all(
    session: &Arc<Session>,
    image: &ImageSource,
    vertex: u32,
) -> Result<(), Stop> {
    let descriptors = layer_descriptors(session, image)?;
    // A blob may be there several times: the same empty layer.
    let mut blobs: Vec<(&Descriptor, Vec<DiffId>)> = Vec::new();
    for (blob, diff_id) in descriptors.iter().zip(&image.config.rootfs.diff_ids) {
        match blobs.iter_mut().find(|(known, _)| known.digest == blob.digest) {
            Some((_, diff_ids)) if diff_ids.contains(diff_id) => {}
            Some((_, diff_ids)) => diff_ids.push(*diff_id),
            None => blobs.push((blob, vec![*diff_id])),
        }
    }
    let downloads = Downloads::new();
    std::thread::scope(|scope| {
        let jobs = blobs.iter().map(|(blob, diff_ids)| {
            let downloads = &downloads;
            scope.spawn(move || {
                downloads.run(|| download_proved(session, image, (blob, diff_ids), vertex))
            })
        });
        let jobs: Vec<_> = jobs.collect();
        Ok(jobs.into_iter().try_for_each(|job| joined(job.join()).map(drop))?)
    })
}

fn download_proved(
    session: &Session,
    image: &ImageSource,
    (blob, diff_ids): (&Descriptor, &[DiffId]),
    vertex: u32,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot look at a layer's blob", e);
    let mut is_read = false;
    for diff_id in diff_ids {
        // A plain tar needs no second look: its digest is both.
        is_read |= blob.digest != diff_id.0
            && !session.lease.is_layer_blob(*diff_id, &blob.digest).map_err(store)?;
    }
    let read = match is_read {
        true => {
            let open = |prefix| open(session, image, blob, prefix);
            blob::bring_and_read(session, blob, vertex, open, |error| not_kept(image, error))?
        }
        false => None,
    };
    // Brings what was not read, and notes where it came from.
    download(session, image, blob, vertex)?;
    for diff_id in diff_ids {
        if let Some(why) = noted::prove(session, *diff_id, blob, read.as_ref())? {
            return Err(malformed(image, &format!("its layer {why}")));
        }
    }
    Ok(())
}

/// The downloads of one image: a few at a time, and no further one once one has failed.
struct Downloads {
    permits: Slots,
    has_failed: AtomicBool,
}

impl Downloads {
    fn new() -> Downloads {
        Downloads { permits: Slots::new(DOWNLOADS_MAX), has_failed: AtomicBool::new(false) }
    }

    /// Runs one when its turn comes. False when it was not begun because another one had failed.
    fn run(&self, download: impl FnOnce() -> Result<(), BuildError>) -> Result<bool, BuildError> {
        let _permit = self.permits.take();
        if self.has_failed.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let result = download();
        if result.is_err() {
            self.begin_no_more();
        }
        result.map(|()| true)
    }

    fn begin_no_more(&self) {
        self.has_failed.store(true, Ordering::Relaxed);
    }
}

/// The result of a thread; one that panicked met a bug.
fn joined<T>(result: std::thread::Result<Result<T, BuildError>>) -> Result<T, BuildError> {
    result.unwrap_or_else(|_| Err(ended_by_bug()))
}

fn ended_by_bug() -> BuildError {
    BuildError::new(BuildErrorKind::Files, "a download ended by a bug in shale")
}

/// The blobs of an image's layers: from its manifest, else those that the store has.
pub(super) fn layer_descriptors(
    session: &Session,
    image: &ImageSource,
) -> Result<Vec<Descriptor>, BuildError> {
    let store = |e| BuildError::store("cannot read an image's documents", e);
    let Some(digest) = image.manifest else { return kept_blobs(session, image) };
    let kept = session.lease.manifest(&digest).map_err(store)?;
    let (media_type, bytes) =
        kept.ok_or_else(|| malformed(image, "its manifest is not in the store"))?;
    match Document::from_json(&bytes, &media_type) {
        Ok(Document::Manifest(manifest))
            if manifest.layers.len() != image.config.rootfs.diff_ids.len() =>
        {
            Err(malformed(image, "its manifest and its config name different numbers of layers"))
        }
        Ok(Document::Manifest(manifest)) => Ok(manifest.layers),
        Ok(Document::Index(_)) => Err(malformed(image, "its manifest is an index")),
        Err(error) => Err(malformed(image, "its manifest cannot be read").because(error)),
    }
}

fn kept_blobs(session: &Session, image: &ImageSource) -> Result<Vec<Descriptor>, BuildError> {
    let gone = || {
        let name = image.reference.familiar();
        let text = format!("the layers of {name} are not in the store any more");
        BuildError::new(BuildErrorKind::Files, text)
            .with_hint("build, load or pull the image again")
    };
    let blob = |diff_id: &DiffId| {
        let blobs = session.lease.layer_blobs(*diff_id);
        let blobs = blobs.map_err(|e| BuildError::store("cannot look for a layer's blobs", e))?;
        let blob = blobs.into_iter().next().ok_or_else(gone)?;
        Ok(Descriptor::new(&blob.media_type, blob.digest, blob.size_bytes))
    };
    image.config.rootfs.diff_ids.iter().map(blob).collect()
}

/// Brings one blob into the store, verified.
pub(super) fn download(
    session: &Session,
    image: &ImageSource,
    descriptor: &Descriptor,
    vertex: u32,
) -> Result<(), BuildError> {
    let open = |prefix| open(session, image, descriptor, prefix);
    blob::bring_rest(session, descriptor, vertex, open, |error| not_kept(image, error))?;
    if image.origin == ImageOrigin::Registry {
        // A hint for pushes; that it cannot be kept is no reason to fail.
        let _ = session.lease.note_blob_place(&descriptor.digest, &image.reference.name());
    }
    Ok(())
}

/// Opens a blob where its image lies, behind what is there of it.
fn open(
    session: &Session,
    image: &ImageSource,
    blob: &Descriptor,
    prefix: BlobPrefix,
) -> Result<Opened, BuildError> {
    let whole = |body| Opened { body, is_rest: false };
    match &image.origin {
        ImageOrigin::OciLayout { path } => layout_layer(path, image, blob).map(whole),
        ImageOrigin::Engine { name } => {
            let text = format!("a layer of {name} has vanished from the store");
            Err(BuildError::new(BuildErrorKind::Files, text).with_hint("build again"))
        }
        ImageOrigin::Store => stored::open(session, &image.reference, blob, prefix),
        ImageOrigin::Registry => {
            match session.registry.blob_behind(&image.reference, blob, prefix) {
                Ok(body) => Ok(Opened { body: Box::new(body), is_rest: true }),
                Err(error) if error.is_not_found() => {
                    let found = elsewhere::open(session, &image.reference, blob)?;
                    found.ok_or_else(|| registry_error(&image.reference, error))
                }
                Err(error) => Err(registry_error(&image.reference, error)),
            }
        }
    }
}

/// Bytes that are not what their digest says, or do not come, are the registry's doing; the rest is the store's.
fn not_kept(image: &ImageSource, error: StoreError) -> BuildError {
    let from_registry = sources(&error).any(|cause| {
        let cause = match cause.downcast_ref::<std::io::Error>() {
            Some(carrier) => carrier.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => Some(cause),
        };
        cause.is_some_and(|cause| cause.is::<RegistryError>())
    });
    if from_registry || error.is_wrong_content() {
        let text = format!("cannot get a layer of {}", image.reference.familiar());
        return BuildError::new(BuildErrorKind::Registry, text).because(error);
    }
    BuildError::store("cannot keep a downloaded layer", error)
}

fn layout_layer(
    path: &str,
    image: &ImageSource,
    descriptor: &Descriptor,
) -> Result<Box<dyn Read + Send>, BuildError> {
    let open = || {
        let archive = ImageArchive::open_directory(Path::new(path))?;
        let digest = image.manifest.map(|digest| digest.to_string());
        let listed = archive.find(digest.as_deref())?;
        let found = archive.image(&listed, &image.config.platform())?;
        let is_it = |d: &Descriptor| d.digest == descriptor.digest;
        match found.layers.iter().find(|layer| layer.descriptor.as_ref().is_some_and(is_it)) {
            Some(layer) => archive.open_layer(layer).map(Some),
            None => Ok(None),
        }
    };
    let layer = open().map_err(BuildError::export)?;
    layer.ok_or_else(|| malformed(image, "the OCI layout has changed since it was read"))
}
