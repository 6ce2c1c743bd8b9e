//! Images of the container engines of this machine as bases: asked for by name each time, brought when the store does
//! not have the image of that id.
//!
//! Owns that what comes from an engine is checked as an archive of anybody's is, and is the image that was asked for.

use std::io::Read as _;
use std::sync::Arc;

use exporter::import::{ImageArchive, ImportedImage};
use exporter::{EngineImage, EngineKind};
use graph::ImageOrigin;
use oci::{ChainId, Digest, Document, ImageConfig, Platform, Reference};
use planner::{EngineName, LocalEngine, ResolvedImage, SourceError, SourceErrorKind};

use super::known_stack_layers;
use super::refusal::other;
use crate::archives;
use crate::error::{BuildError, BuildErrorKind};
use crate::handoff::find_engine;
use crate::internal::{self, Internal};
use crate::session::Session;
use crate::stop::lock;
use crate::told::{Teller, Told};

/// Configs are small.
const DOCUMENT_MAX_BYTES: u64 = 8 << 20;

/// The image that an engine means by a name; its layers are in the store afterwards.
pub(super) fn resolve(
    session: &Session,
    name: &EngineName,
    platform: &Platform,
) -> Result<ResolvedImage, SourceError> {
    let shown = name.to_string();
    let known = lock(&session.facts).engine_image(&shown, platform);
    let config =
        match known.map(|id| kept(session, id)).transpose().map_err(|e| other(&e))?.flatten() {
            Some(config) => config,
            None => asked(session, name, platform)?,
        };
    lock(&session.facts).learn_engine_image(&shown, platform, Digest::of(&config));
    let id = Digest::of(&config);
    let config = ImageConfig::from_json(&config).map_err(|e| other(&e))?;
    fits(&config, platform)?;
    let reference = name.reference().unwrap_or_else(|| nameless(id));
    let origin = ImageOrigin::Engine { name: shown };
    Ok(ResolvedImage { reference, origin, manifest: None, config: Arc::new(config) })
}

/// The config of the image as the engine has it now.
fn asked(
    session: &Session,
    name: &EngineName,
    platform: &Platform,
) -> Result<Vec<u8>, SourceError> {
    let kind = match name.engine {
        LocalEngine::Docker => EngineKind::Docker,
        LocalEngine::Podman => EngineKind::Podman,
    };
    let absent = |message: String| SourceError { message, kind: SourceErrorKind::Unreachable };
    *lock(&session.image_failed) = Some(BuildErrorKind::Environment);
    let engine = find_engine(&kind, &session.request.engines, &session.cancel);
    let engine = engine.map_err(|error| absent(error.to_string()))?;
    let found = engine.image(&name.name, &session.cancel).map_err(|e| other(&e))?;
    *lock(&session.image_failed) = Some(BuildErrorKind::Files);
    let found = found.ok_or_else(|| SourceError {
        message: format!("{} has no such image", engine.shown()),
        kind: SourceErrorKind::NotFound,
    })?;
    if let Some(config) = kept(session, found.id).map_err(|e| other(&e))? {
        *lock(&session.image_failed) = None;
        return Ok(config);
    }
    if let (None, false, Some(left)) =
        (&session.worker, engine.is_program(), &mut *lock(&session.left_to_worker))
    {
        *left = true;
        return Err(absent("it is brought by the process with a worker".to_owned()));
    }
    let number = session.images_asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let what = Internal::LoadMetadata(number);
    let step = format!("[internal] load {name} from {}", engine.shown());
    let brought = internal::step(&session.events, what, &step, || {
        bring(session, &engine, &found, platform, what.vertex())
    });
    let brought = brought.map_err(|error| other(&error))?;
    *lock(&session.image_failed) = None;
    Ok(brought)
}

/// A config of the store whose layers are all here; `id` is its digest or that of a manifest that names it.
fn kept(session: &Session, id: Digest) -> Result<Option<Vec<u8>>, BuildError> {
    let store = |e| BuildError::store("cannot look for an image", e);
    let named = match session.lease.manifest(&id).map_err(store)? {
        Some((media_type, bytes)) => match Document::from_json(&bytes, &media_type) {
            Ok(Document::Manifest(manifest)) => manifest.config.digest,
            Ok(Document::Index(_)) | Err(_) => return Ok(None),
        },
        None => id,
    };
    let Some(config) = session.lease.open_blob(&named).map_err(store)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = config.take(DOCUMENT_MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|e| BuildError::io("cannot read an image's config", e))?;
    let Ok(config) = ImageConfig::from_json(&bytes) else { return Ok(None) };
    let diff_ids = &config.rootfs.diff_ids;
    if let Some(chain) = ChainId::of(diff_ids)
        && known_stack_layers(session, chain)?.is_some_and(|layers| layers.len() == diff_ids.len())
    {
        return Ok(Some(bytes));
    }
    for diff_id in diff_ids {
        let blobs = session.lease.layer_blobs(*diff_id).map_err(store)?;
        let there = blobs.iter().map(|blob| session.lease.has_blob(&blob.digest));
        if !there.collect::<Result<Vec<bool>, _>>().map_err(store)?.contains(&true) {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Brings an image into the store, its layers as blobs; gives its config.
fn bring(
    session: &Session,
    engine: &exporter::Engine,
    found: &EngineImage,
    platform: &Platform,
    vertex: u32,
) -> Result<Vec<u8>, BuildError> {
    let store = |e| BuildError::store("cannot keep an engine's image", e);
    let flight = format!("engine image {}", found.id);
    let cancelled = || session.cancel.is_cancelled();
    let _flight = session.lease.single_flight(&flight, &cancelled).map_err(store)?;
    if let Some(config) = kept(session, found.id)? {
        return Ok(config);
    }
    let archive = engine.archive(found, &session.cancel).map_err(BuildError::export)?;
    let item = found.id.to_string()[..19].to_owned();
    let mut archive = Told::new(archive, Teller::new(&session.events, vertex, item));
    let archive = ImageArchive::unpack(&mut archive, &session.lease);
    session.check_cancelled()?;
    let archive = archive.map_err(BuildError::export)?;
    let image = meant(&archive, found, platform)?;
    archives::keep_layers(session, &archive, &image)?;
    let expect = (image.id.0, image.config.len() as u64);
    session.lease.put_blob(Some(expect), &mut image.config.as_slice()).map_err(store)?;
    Ok(image.config)
}

/// The image of an archive that the engine said it would give.
fn meant(
    archive: &ImageArchive,
    found: &EngineImage,
    platform: &Platform,
) -> Result<ImportedImage, BuildError> {
    for listed in archive.listed() {
        let image = archive.image(listed, platform).map_err(BuildError::export)?;
        let is_its = image.id.0 == found.id
            || image.manifest.as_ref().is_some_and(|manifest| manifest.digest == found.id);
        // Engines that write another config or manifest than they have leave the layers alone.
        let layers = image.layers.iter().map(|layer| layer.diff_id);
        if is_its || layers.eq(found.layers.iter().copied()) {
            return Ok(image);
        }
    }
    Err(unusable(&format!("it gave another image than {}", found.id)))
}

fn unusable(why: &str) -> BuildError {
    BuildError::new(BuildErrorKind::Files, format!("what the engine gave cannot be used: {why}"))
}

/// An engine's image is one alone: it fits whatever its variant.
fn fits(config: &ImageConfig, wanted: &Platform) -> Result<(), SourceError> {
    let has = config.platform();
    if has.os == wanted.os && has.architecture == wanted.architecture {
        return Ok(());
    }
    let message =
        format!("no match for platform: the engine's image is for {has}, not for {wanted}");
    Err(SourceError { message, kind: SourceErrorKind::Other })
}

/// For an image that was named by its id: only shown, never asked for.
fn nameless(id: Digest) -> Reference {
    "engine-image".parse::<Reference>().expect("a valid name").with_digest(id)
}
