//! What people do with images besides building them: pull, push, save, load, import.
//!
//! Owns the way between the store and the world for whole images. First forms: their flags come from the cli.

use std::io::{Read, Write};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use exporter::import::{ImageArchive, ImportedImage};
use exporter::{
    BuiltImage, ExportError, ExportErrorKind, ImageOptions, Job, LayerSource, Prepared,
};
use graph::{ImageSource, Stack};
use layer::ApplyOptions;
use oci::{
    ChainId, ContainerConfig, Descriptor, Digest, History, ImageConfig, ImageId, Platform,
    Reference,
};
use planner::Sources as _;
use progress::Emitter;
use store::{Lease, Reached, StoredImage, StoredManifest, Tagged};
use sys::Cancel;

use crate::cap;
use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image::{self, ImageSources};
use crate::internal::{self, Internal};
use crate::output;
use crate::request::PullPolicy;
use crate::session::Session;
use crate::stop::Stop;

/// What a name, an id or the beginning of an id means.
///
/// # Errors
/// There is none, or several.
pub fn find_tagged(lease: &Lease, text: &str) -> Result<Tagged, BuildError> {
    let store = |e| BuildError::store("cannot look for the image", e);
    let named = match text.parse::<Reference>() {
        Ok(reference) => lease.tag(&reference).map_err(store)?,
        Err(_) => None,
    };
    if let Some(tagged) = named {
        return Ok(tagged);
    }
    let ids = lease.store().images_by_prefix(text).map_err(store)?;
    let mut found: Vec<Tagged> = ids.into_iter().map(Tagged::Image).collect();
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    for (_, tagged) in lease.store().tags().map_err(store)? {
        let begins =
            matches!(&tagged, Tagged::Index(index) if index.index.digest.hex().starts_with(digits));
        if begins && !digits.is_empty() && !found.contains(&tagged) {
            found.push(tagged);
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => {
            let text = format!("no such image: {text}");
            Err(BuildError::new(BuildErrorKind::Dockerfile, text)
                .with_hint("see what there is with `shale images`"))
        }
        (Some(_), false) => {
            let text = format!("several images have an id that begins with {text}");
            Err(BuildError::new(BuildErrorKind::Dockerfile, text))
        }
    }
}

/// The image of a name, an id or the beginning of an id; of several platforms this machine's.
pub(crate) fn find(lease: &Lease, text: &str) -> Result<StoredImage, BuildError> {
    let ids = find_tagged(lease, text)?.images();
    let mut images = Vec::new();
    for id in ids {
        images.push(by_id(lease, &id)?);
    }
    let host = Platform::host();
    let at = image::fitting(&images, &host).unwrap_or(0);
    Ok(images.swap_remove(at))
}

fn by_id(lease: &Lease, id: &ImageId) -> Result<StoredImage, BuildError> {
    let image = lease.image(id).map_err(|e| BuildError::store("cannot look for the image", e))?;
    image.ok_or_else(|| {
        BuildError::new(BuildErrorKind::Files, format!("image {id} has vanished from the store"))
    })
}

/// The image of a name, an id or the beginning of an id; of several platforms this machine's.
///
/// # Errors
/// There is none, or several.
pub fn find_image(text: &str, environment: &Environment) -> Result<StoredImage, BuildError> {
    let lease = environment.store.lease();
    find(&lease.map_err(|e| BuildError::store("cannot open a lease on the store", e))?, text)
}

/// Brings an image into the store and names it. Its layers are unpacked when a step needs them.
///
/// # Errors
/// The registry has no such image, cannot be reached or refuses, or gives something else than its digest says.
pub fn pull(
    reference: &Reference,
    platform: &Platform,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<ImageId, BuildError> {
    let mut session = environment::session_for(environment, events, cancel)?;
    let inner = Arc::get_mut(&mut session).expect("nobody else has the session yet");
    let mut request = (*inner.request).clone();
    request.pull = PullPolicy::Always;
    inner.request = Arc::new(request);
    let name = format!("pulling {}", reference.familiar());
    let pulled = internal::step(events, Internal::ResolveImages, &name, || {
        let resolved = ImageSources { session: &session }.resolve_image(reference, platform);
        let resolved = resolved.map_err(|error| {
            let text = format!("cannot pull {}: {error}", reference.familiar());
            BuildError::new(BuildErrorKind::Registry, text)
        })?;
        let source = ImageSource {
            reference: resolved.reference,
            origin: resolved.origin,
            manifest: resolved.manifest,
            config: resolved.config,
        };
        image::download_all(&session, &source, Internal::ResolveImages.vertex())?;
        Ok(keep_pulled(&session, &source, reference)?)
    });
    cap::settle(&session);
    whole(pulled)
}

fn keep_pulled(
    session: &Session,
    source: &ImageSource,
    name: &Reference,
) -> Result<ImageId, BuildError> {
    let store = |e| BuildError::store("cannot keep the image", e);
    let digest = source.manifest.expect("an image of a registry has a manifest");
    let manifest = session.lease.manifest(&digest).map_err(store)?;
    let manifest = manifest.map(|(media_type, bytes)| StoredManifest { media_type, bytes, digest });
    let config = image::config_bytes(session, source)?;
    keep(session, config, manifest, std::slice::from_ref(name))
}

/// Keeps an image whose layers are blobs so far, and names it.
fn keep(
    session: &Session,
    config: Vec<u8>,
    manifest: Option<StoredManifest>,
    names: &[Reference],
) -> Result<ImageId, BuildError> {
    let store = |e| BuildError::store("cannot keep the image", e);
    let parsed = ImageConfig::from_json(&config).map_err(|e| {
        BuildError::new(BuildErrorKind::Files, "the image's config cannot be read").because(e)
    })?;
    let diff_ids = parsed.rootfs.diff_ids;
    let chain = ChainId::of(&diff_ids);
    let known = match &chain {
        Some(chain) => session.lease.chain(chain).map_err(store)?,
        None => None,
    };
    let stack = match (chain, known) {
        (Some(chain), Some(layers)) => Stack { base: Some((chain, layers.len())), layers },
        (Some(chain), None) => Stack { base: Some((chain, 0)), layers: Vec::new() },
        (None, _) => Stack::default(),
    };
    let id = ImageId(Digest::of(&config));
    let built_at = crate::request::now();
    let image = StoredImage { id, config, stack, diff_ids, manifest, built_at };
    session.lease.put_image(&image).map_err(store)?;
    session.lease.finish(true, &Reached { layers: &[], images: &[id] }).map_err(store)?;
    let tags: Vec<_> = names.iter().map(|name| (name.clone(), Tagged::Image(id))).collect();
    session.lease.set_tags(&tags).map_err(store)?;
    Ok(id)
}

/// An image of the store as the exporter wants it.
fn stored(image: StoredImage) -> Result<BuiltImage, BuildError> {
    let config = ImageConfig::from_json(&image.config).map_err(|e| {
        BuildError::new(BuildErrorKind::Files, "the image's config cannot be read").because(e)
    })?;
    let layers = image.diff_ids.iter().enumerate().map(|(at, diff_id)| LayerSource {
        diff_id: *diff_id,
        layer: image.stack.layers.get(at).copied(),
        encoding: layer::Encoding { clamp_to: None },
        is_base: true,
        own: None,
        pulled_from: None,
    });
    Ok(BuiltImage {
        id: image.id,
        platform: config.platform(),
        layers: layers.collect(),
        manifest: image.manifest,
        config: image.config,
    })
}

/// What a name means, ready for outputs: an index as it was made, byte for byte.
fn prepared(session: &Session, tagged: &Tagged) -> Result<Prepared, BuildError> {
    let mut images = Vec::new();
    for id in tagged.images() {
        let image = by_id(&session.lease, &id)?;
        let held = session.lease.hold_layers(&image.stack.layers);
        held.map_err(|e| BuildError::store("cannot lease the image's layers", e))?;
        images.push(stored(image)?);
    }
    let mut options = ImageOptions::default();
    if let Tagged::Index(listed) = tagged {
        for (image, (_, manifest)) in images.iter_mut().zip(&listed.images) {
            image.manifest = Some(manifest.clone());
        }
        options.index = Some(listed.index.clone());
    }
    exporter::prepare(&images, &options, output::job(session)).map_err(BuildError::export)
}

/// Pushes an image, or an index with all that it lists, under its name; gives the digest.
///
/// # Errors
/// There is no such image, or the registry refuses it.
pub fn push(
    reference: &Reference,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Digest, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let tagged = find_tagged(&session.lease, &reference.to_string())?;
    let name = format!("pushing {}", reference.familiar());
    let pushed = internal::step(events, Internal::Export, &name, || {
        let prepared = prepared(&session, &tagged)?;
        let names = std::slice::from_ref(reference);
        let fetch = fetch_of(&session);
        let job = Job { fetch: Some(&fetch), ..output::job(&session) };
        exporter::push(&prepared, names, false, &session.registry, job)
            .map_err(BuildError::export)?;
        Ok(prepared.target.digest)
    });
    // Layers were compressed for it.
    cap::settle(&session);
    whole(pushed)
}

/// Brings blobs that the store only knows of.
fn fetch_of(session: &Session) -> impl Fn(&Descriptor) -> std::io::Result<()> + Sync + '_ {
    |blob| image::fetch_stored(session, blob, Internal::Export.vertex())
}

/// Forms of [`save`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveFormat {
    /// What `docker load` reads.
    Docker,
    /// An OCI layout as a tar.
    Oci,
}

/// Writes an image with its names to an archive.
///
/// # Errors
/// There is no such image, the names mean different images, or the archive cannot be written.
pub fn save(
    names: &[String],
    format: SaveFormat,
    out: &mut dyn Write,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let mut image: Option<Tagged> = None;
    let mut references = Vec::new();
    for name in names {
        let found = find_tagged(&session.lease, name)?;
        if image.as_ref().is_some_and(|image| *image != found) {
            let text = "one archive holds one image here, the names mean several";
            return Err(
                BuildError::new(BuildErrorKind::Dockerfile, text).with_hint("save them one by one")
            );
        }
        let is_name =
            |r: &Reference| session.lease.tag(r).is_ok_and(|t| t.as_ref() == Some(&found));
        references.extend(name.parse().ok().filter(is_name));
        image = Some(found);
    }
    let Some(tagged) = image else {
        return Err(BuildError::new(BuildErrorKind::Dockerfile, "no image was named"));
    };
    let prepared = prepared(&session, &tagged)?;
    let fetch = fetch_of(&session);
    let job = Job { fetch: Some(&fetch), ..output::job(&session) };
    let written = match format {
        SaveFormat::Docker => exporter::write_saved_archive(&prepared, &references, out, job),
        SaveFormat::Oci => exporter::write_oci_archive(&prepared, &references, out, job),
    };
    written.map_err(BuildError::export)
}

/// An image that [`load`] brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: ImageId,
    /// Its names in the archive.
    pub names: Vec<Reference>,
}

/// Reads an archive of `docker save`, `podman save` or an OCI layout and keeps its images for this machine's platform.
///
/// # Errors
/// The archive is damaged or holds no image.
pub fn load(
    archive: &mut (dyn Read + Send),
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Vec<Loaded>, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let ingest = crate::source::new_ingest(&session)?;
    let archive = ImageArchive::unpack(archive, ingest.path()).map_err(no_archive)?;
    let mut loaded = Vec::new();
    for listed in archive.listed() {
        session.check_cancelled()?;
        let image = archive.image(listed, &Platform::host()).map_err(BuildError::export)?;
        keep_layers(&session, &archive, &image)?;
        let id = keep(&session, image.config, image.manifest, &listed.names)?;
        loaded.push(Loaded { id, names: listed.names.clone() });
    }
    cap::settle(&session);
    Ok(loaded)
}

/// What cannot be read as an archive, with what can.
fn no_archive(error: ExportError) -> BuildError {
    let is_foreign = matches!(error.kind(), ExportErrorKind::Malformed | ExportErrorKind::NotFound);
    let failed = BuildError::export(error);
    match is_foreign {
        true => failed.with_hint(
            "archives of `docker save`, `podman save` and `shale save` and OCI layouts as a tar are read, \
             plain or compressed; for a tar of files there is `shale import`",
        ),
        false => failed,
    }
}

fn keep_layers(
    session: &Session,
    archive: &ImageArchive,
    image: &ImportedImage,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot keep a layer", e);
    for layer in &image.layers {
        let mut body = archive.open_layer(layer).map_err(BuildError::export)?;
        let expect = layer.descriptor.as_ref().map(|d| (d.digest, d.size_bytes));
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
    }
    if let Some(manifest) = &image.manifest {
        session
            .lease
            .put_manifest(&manifest.digest, &manifest.media_type, &manifest.bytes)
            .map_err(store)?;
    }
    Ok(())
}

/// What [`import`] makes.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// Its name, if it gets one.
    pub name: Option<Reference>,
    /// Where the tar came from, for the history.
    pub from: String,
    /// Text of the history entry.
    pub message: Option<String>,
    /// The platform of its programs.
    pub platform: Platform,
    /// The container's settings.
    pub config: ContainerConfig,
}

/// Makes an image with one layer of a tar of a file system, compressed or not. Needs a worker.
///
/// # Errors
/// The tar is damaged or hostile, or the store cannot take it.
pub fn import(
    tar: &mut (dyn Read + Send),
    request: &ImportRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<ImageId, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let store = |e| BuildError::store("cannot import the image", e);
    let ingest = crate::source::new_ingest(&session)?;
    let dir = image::new_dir(&ingest, "diff")?;
    let options = ApplyOptions {
        userxattr: session.lease.store().userxattr(),
        owners_in_toc_only: session.maps_one_id(),
        lower_dir: &|_| None,
    };
    let applied = layer::apply_tar(&mut layer::decompress(tar), dir.as_fd(), &[], &options)
        .map_err(|e| BuildError::new(BuildErrorKind::Files, "cannot import the tar").because(e))?;
    if applied.has_trailing_data {
        // Other readers may take it for more entries (security.md B4).
        let message = "cannot import the tar: something follows its end";
        return Err(BuildError::new(BuildErrorKind::Files, message));
    }
    let created = crate::request::now();
    let layer = session.lease.commit_layer(ingest, "diff", &created).map_err(store)?;
    let content_id = layer::content_id(&applied.toc);
    session.lease.set_toc(layer, applied.toc, content_id).map_err(store)?;
    // The tar that came may be written in many ways: the image has it as we would write it again.
    let diff_id = whole(finish::diff_id(&session, &[layer], None))?;
    let chain = ChainId(diff_id.0);
    session.lease.put_chain(&chain, &[layer]).map_err(store)?;
    let mut config = ImageConfig {
        architecture: request.platform.architecture.clone(),
        os: request.platform.os.clone(),
        variant: Some(request.platform.variant.clone()).filter(|variant| !variant.is_empty()),
        created: Some(created.clone()),
        config: request.config.clone(),
        ..ImageConfig::default()
    };
    config.rootfs.diff_ids.push(diff_id);
    let message = request.message.clone();
    config.history.push(History {
        created: Some(created),
        comment: Some(message.unwrap_or_else(|| format!("Imported from {}", request.from))),
        ..History::default()
    });
    let id = keep(&session, config.to_json(), None, request.name.as_slice())?;
    cap::settle(&session);
    Ok(id)
}

fn whole<T>(result: Result<T, Stop>) -> Result<T, BuildError> {
    result.map_err(|stop| match stop {
        Stop::Failed(error) | Stop::CacheLost(error) => error,
        Stop::NeedsWorker => {
            BuildError::new(BuildErrorKind::Environment, "this needs a process with a worker")
        }
    })
}
