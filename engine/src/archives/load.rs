//! `load`: archives and layouts into the store.

use std::io::Read;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use exporter::import::{ImageArchive, ImportedImage, ImportedIndex, ImportedLayer, Listed, Whole};
use exporter::{ExportError, ExportErrorKind};
use oci::{Digest, ImageId, Platform, Reference};
use progress::Emitter;
use store::{Tagged, TaggedIndex};
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::image;
use crate::images::keep;
use crate::internal::{self, Internal};
use crate::room;
use crate::session::Session;
use crate::stop::Stoppable;
use crate::told::{Teller, Told};

/// What [`load`] reads.
pub enum ArchiveInput {
    /// A tar, compressed or not.
    Stream(Box<dyn Read + Send>),
    /// An OCI layout.
    Directory(PathBuf),
}

/// An image, or an index over several, that [`load`] brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id: the digest of the config, or of the index.
    pub id: Digest,
    /// Its names in the archive.
    pub names: Vec<Reference>,
}

/// Reads an archive of `docker save`, `podman save` or an OCI layout and keeps its images with their names. An index
/// of which the archive has all stays one; else the image for `platform`, or for this machine's, is kept.
///
/// # Errors
/// The archive is damaged, or holds no image, or none for the platform.
pub fn load(
    archive: ArchiveInput,
    platform: Option<&Platform>,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<Vec<Loaded>, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    internal::step(events, Internal::Keep, "loading images", || loaded(&session, archive, platform))
}

fn loaded(
    session: &Arc<Session>,
    archive: ArchiveInput,
    platform: Option<&Platform>,
) -> Result<Vec<Loaded>, BuildError> {
    let (events, vertex) = (&session.events, Internal::Keep.vertex());
    let archive = match archive {
        ArchiveInput::Stream(mut stream) => {
            let teller = Teller::new(events, vertex, "archive".to_owned());
            let mut stream =
                Stoppable { inner: &mut Told::new(&mut *stream, teller), cancel: &session.cancel };
            ImageArchive::unpack(&mut stream, &session.lease)
        }
        ArchiveInput::Directory(dir) => ImageArchive::open_directory(&dir),
    };
    session.check_cancelled()?;
    let archive = archive.map_err(no_archive)?;
    let mut loaded = Vec::new();
    for listed in archive.listed() {
        session.check_cancelled()?;
        loaded.push(load_one(session, &archive, listed, platform)?);
    }
    room::settle(session);
    Ok(loaded)
}

fn load_one(
    session: &Session,
    archive: &ImageArchive,
    listed: &Listed,
    platform: Option<&Platform>,
) -> Result<Loaded, BuildError> {
    let found = match platform {
        Some(platform) => {
            let image = archive.image(listed, platform).map_err(BuildError::export)?;
            if !platform.best_first().contains(&image.platform) {
                let text =
                    format!("the archive has an image for {}, not for {platform}", image.platform);
                return Err(BuildError::new(BuildErrorKind::Files, text));
            }
            Whole::Image(image)
        }
        None => archive.whole(listed, &Platform::host()).map_err(BuildError::export)?,
    };
    let names = listed.names.clone();
    match found {
        // Nothing but a name holds an index.
        Whole::Index(_) if names.is_empty() => {
            let image = archive.image(listed, &Platform::host()).map_err(BuildError::export)?;
            let id = keep_image(session, archive, image, &[])?.0;
            Ok(Loaded { id, names })
        }
        Whole::Index(index) => {
            let id = keep_index(session, archive, index, &names)?;
            Ok(Loaded { id, names })
        }
        Whole::Image(image) => {
            let id = keep_image(session, archive, image, &names)?.0;
            Ok(Loaded { id, names })
        }
    }
}

fn keep_image(
    session: &Session,
    archive: &ImageArchive,
    image: ImportedImage,
    names: &[Reference],
) -> Result<ImageId, BuildError> {
    keep_layers(session, archive, &image)?;
    keep(session, image.config, image.manifest, names)
}

fn keep_index(
    session: &Session,
    archive: &ImageArchive,
    index: ImportedIndex,
    names: &[Reference],
) -> Result<Digest, BuildError> {
    let digest = index.index.digest;
    let mut images = Vec::new();
    for image in index.images {
        let manifest = image.manifest.clone().expect("an index lists manifests");
        images.push((keep_image(session, archive, image, &[])?, manifest));
    }
    let tagged =
        Tagged::Index(TaggedIndex { index: index.index, images, attached: index.attached });
    let tags: Vec<_> = names.iter().map(|name| (name.clone(), tagged.clone())).collect();
    session.lease.set_tags(&tags).map_err(|e| BuildError::store("cannot keep the image", e))?;
    Ok(digest)
}

/// What cannot be read as an archive, with what can.
fn no_archive(error: ExportError) -> BuildError {
    let is_foreign = matches!(error.kind(), ExportErrorKind::Malformed | ExportErrorKind::NotFound);
    let failed = BuildError::export(error);
    match is_foreign {
        true => failed.with_hint(
            "archives of `docker save`, `podman save` and `shale save` and OCI layouts are read, \
             plain or compressed; for a tar of files there is `shale import`",
        ),
        false => failed,
    }
}

/// Brings an image's layers into the store, and sees that each is what the config says. Several at once: seeing that
/// means to decompress them.
pub(crate) fn keep_layers(
    session: &Session,
    archive: &ImageArchive,
    image: &ImportedImage,
) -> Result<(), BuildError> {
    let threads = thread::available_parallelism().map_or(2, NonZero::get).min(4);
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<BuildError>> = Mutex::new(None);
    let lock = || failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(layer) = image.layers.get(next.fetch_add(1, Ordering::Relaxed)) {
            if lock().is_some() {
                return;
            }
            if let Err(error) = keep_layer(session, archive, layer) {
                lock().get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(image.layers.len()) {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = lock().take() {
        return Err(error);
    }
    let store = |e| BuildError::store("cannot keep a manifest", e);
    match &image.manifest {
        Some(manifest) => session
            .lease
            .put_manifest(&manifest.digest, &manifest.media_type, &manifest.bytes)
            .map_err(store),
        None => Ok(()),
    }
}

fn keep_layer(
    session: &Session,
    archive: &ImageArchive,
    layer: &ImportedLayer,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot keep a layer", e);
    let body = archive.open_layer(layer).map_err(BuildError::export)?;
    let item = layer.diff_id.0.hex()[..12].to_owned();
    let teller = Teller::new(&session.events, Internal::Keep.vertex(), item);
    let mut body = Told::new(body, teller);
    let known = layer.descriptor.as_ref().map(|d| (d.digest, d.size_bytes));
    // Reading a tar has put it there already.
    let expect = known.or_else(|| archive.stored_layer(layer));
    let (digest, size_bytes) = session.lease.put_blob(expect, &mut body).map_err(store)?;
    let blob = match &layer.descriptor {
        Some(descriptor) => descriptor.clone(),
        None => image::described(session, digest, size_bytes)?,
    };
    if !image::note(session, layer.diff_id, &blob)? {
        let text =
            format!("the archive's layer {digest} is not the {} of its config", layer.diff_id);
        return Err(BuildError::new(BuildErrorKind::Files, text));
    }
    Ok(())
}
