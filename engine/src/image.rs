//! Images that a build stands on: resolved once, fetched and unpacked when a byte of them is needed (design D5).
//!
//! Owns the way from a reference to layers in the store. Refuses to know what is built on them.

use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use exporter::import::ImageArchive;
use graph::{ImageOrigin, ImageSource, LayerId, Stack};
use layer::{ApplyOptions, Toc};
use oci::{
    ChainId, Descriptor, DiffId, Digest, Document, ImageConfig, Manifest, Platform, Reference,
};
use planner::{OciLayout, ResolvedImage, SourceError, SourceErrorKind, Sources};
use progress::EventKind;
use rustix::fs::{Mode, OFlags};
use store::LayerBlob;

use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::request::PullPolicy;
use crate::session::{Session, Slots, Stop, lock};
use crate::value::{LazyStack, StackValue};

/// An image as the planner resolved it.
pub(crate) type BaseImage = ImageSource;

/// Layers that are downloaded at the same time.
const DOWNLOADS_MAX: usize = 4;

/// Manifests and configs are small; anything larger is no image.
const DOCUMENT_MAX_BYTES: u64 = 8 << 20;

/// The value of an image vertex: present if the store has its layers unpacked, else lazy.
pub(crate) fn value(session: &Session, image: &ImageSource) -> Result<StackValue, Stop> {
    let diff_ids = &image.config.rootfs.diff_ids;
    let Some(chain) = ChainId::of(diff_ids) else {
        return Ok(StackValue::Present(Stack::default())); // FROM-14
    };
    match known_stack(session, chain, diff_ids.len())? {
        Some(stack) => Ok(StackValue::Present(stack)),
        None => {
            let lazy = LazyStack { chain, image: image.clone(), present: None.into() };
            Ok(StackValue::Lazy { image: Arc::new(lazy), above: Vec::new() })
        }
    }
}

/// The layers of a value, fetched and unpacked now if they were not yet. `vertex` gets the progress.
pub(crate) fn ensure(
    session: &Arc<Session>,
    value: &StackValue,
    vertex: u32,
) -> Result<Stack, Stop> {
    match value {
        StackValue::Present(stack) => Ok(stack.clone()),
        StackValue::Lazy { image, above } => {
            let bottom = ensure_image(session, image, vertex)?;
            Ok(above.iter().fold(bottom, |stack, layer| stack.with(*layer)))
        }
    }
}

fn ensure_image(session: &Arc<Session>, image: &LazyStack, vertex: u32) -> Result<Stack, Stop> {
    // Holding the lock makes other steps on the same image wait for this one's pull.
    let mut present = lock(&image.present);
    if let Some(stack) = &*present {
        return Ok(stack.clone());
    }
    session.worker()?;
    let stack = fetch(session, image, vertex)?;
    *present = Some(stack.clone());
    Ok(stack)
}

/// Brings all layers of an image into the store as blobs, without unpacking them.
pub(crate) fn download_all(
    session: &Arc<Session>,
    image: &ImageSource,
    vertex: u32,
) -> Result<(), Stop> {
    let blobs = layer_descriptors(session, image)?;
    let permits = Slots::new(DOWNLOADS_MAX);
    std::thread::scope(|scope| {
        let start = |blob| {
            let permits = &permits;
            scope.spawn(move || {
                let _permit = permits.take();
                download(session, image, blob, vertex)
            })
        };
        let downloads: Vec<_> = blobs.iter().map(start).collect();
        downloads.into_iter().try_for_each(|download| joined(download.join()))
    })?;
    for (descriptor, diff_id) in blobs.iter().zip(&image.config.rootfs.diff_ids) {
        let noted = session.lease.set_layer_blob(*diff_id, &layer_blob(descriptor));
        noted.map_err(|e| BuildError::store("cannot keep a downloaded layer", e))?;
    }
    Ok(())
}

/// The result of a thread; one that panicked met a bug.
fn joined(result: std::thread::Result<Result<(), BuildError>>) -> Result<(), BuildError> {
    let bug = || BuildError::new(BuildErrorKind::Files, "a download ended by a bug in shale");
    result.unwrap_or_else(|_| Err(bug()))
}

/// The config document of an image of a registry, byte for byte.
pub(crate) fn config_bytes(session: &Session, image: &ImageSource) -> Result<Vec<u8>, BuildError> {
    let digest = image.manifest.expect("an image of a registry has a manifest");
    let manifest = manifest(session, &image.reference, digest)?;
    small_blob(session, &image.reference, &manifest.config)
}

fn known_stack(
    session: &Session,
    chain: ChainId,
    count: usize,
) -> Result<Option<Stack>, BuildError> {
    let store = |e| BuildError::store("cannot look up an image's layers", e);
    let Some(layers) = session.lease.chain(&chain).map_err(store)? else { return Ok(None) };
    if layers.len() != count || !session.lease.hold_layers(&layers).map_err(store)? {
        return Ok(None);
    }
    Ok(Some(Stack { base: Some((chain, count)), layers }))
}

/// Downloads layers side by side and unpacks them in order: what a tar means depends on what lies below it.
fn fetch(session: &Arc<Session>, lazy: &LazyStack, vertex: u32) -> Result<Stack, Stop> {
    let image = &lazy.image;
    let diff_ids = &image.config.rootfs.diff_ids;
    let blobs = layer_descriptors(session, image)?;
    if blobs.len() != diff_ids.len() {
        return Err(malformed(
            image,
            "its manifest and its config name different numbers of layers",
        )
        .into());
    }
    let permits = Slots::new(DOWNLOADS_MAX);
    let mut layers: Vec<LayerId> = Vec::new();
    std::thread::scope(|scope| {
        let mut chain = None;
        let mut jobs = Vec::new();
        for (descriptor, diff_id) in blobs.iter().zip(diff_ids) {
            let next = chain.map_or(ChainId(diff_id.0), |chain: ChainId| chain.then(*diff_id));
            chain = Some(next);
            let permits = &permits;
            let download = scope.spawn(move || {
                if known_stack_layers(session, next)?.is_some() {
                    return Ok(());
                }
                let _permit = permits.take();
                download(session, image, descriptor, vertex)
            });
            jobs.push((next, descriptor, *diff_id, download));
        }
        for (chain, descriptor, diff_id, download) in jobs {
            joined(download.join())?;
            let id = unpack(session, image, &layers, chain, descriptor, diff_id)?;
            layers.push(id);
        }
        Ok::<_, Stop>(())
    })?;
    let count = layers.len();
    Ok(Stack { base: Some((lazy.chain, count)), layers })
}

/// The topmost layer of a chain that is in the store, all below it included.
fn known_stack_layers(
    session: &Session,
    chain: ChainId,
) -> Result<Option<Vec<LayerId>>, BuildError> {
    let store = |e| BuildError::store("cannot look up an image's layers", e);
    let Some(layers) = session.lease.chain(&chain).map_err(store)? else { return Ok(None) };
    Ok(session.lease.hold_layers(&layers).map_err(store)?.then_some(layers))
}

/// The blobs of an image's layers: from its manifest, else those that the store has.
fn layer_descriptors(
    session: &Session,
    image: &ImageSource,
) -> Result<Vec<Descriptor>, BuildError> {
    let store = |e| BuildError::store("cannot read an image's documents", e);
    let Some(digest) = image.manifest else { return kept_blobs(session, image) };
    let kept = session.lease.manifest(&digest).map_err(store)?;
    let (media_type, bytes) =
        kept.ok_or_else(|| malformed(image, "its manifest is not in the store"))?;
    match Document::from_json(&bytes, &media_type) {
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

fn malformed(image: &ImageSource, why: &str) -> BuildError {
    let text = format!("image {} cannot be used: {why}", image.reference.familiar());
    BuildError::new(BuildErrorKind::Registry, text)
}

/// Brings one blob into the store, verified.
fn download(
    session: &Session,
    image: &ImageSource,
    descriptor: &Descriptor,
    vertex: u32,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot keep a downloaded layer", e);
    if session.lease.has_blob(&descriptor.digest).map_err(store)? {
        return Ok(());
    }
    let name = format!("blob {}", descriptor.digest);
    let _flight =
        session.lease.single_flight(&name, &|| session.cancel.is_cancelled()).map_err(store)?;
    if session.lease.has_blob(&descriptor.digest).map_err(store)? {
        return Ok(());
    }
    let body: Box<dyn Read + Send> = match &image.origin {
        ImageOrigin::OciLayout { path } => layout_layer(path, image, descriptor)?,
        ImageOrigin::Registry | ImageOrigin::Store => {
            let blob = session.registry.blob(&image.reference, descriptor);
            Box::new(blob.map_err(|e| registry_error(&image.reference, e))?)
        }
    };
    let mut body = Counted { session, vertex, descriptor, body, done_bytes: 0, told_bytes: 0 };
    let expect = Some((descriptor.digest, descriptor.size_bytes));
    session.lease.put_blob(expect, &mut body).map_err(store)?;
    Ok(())
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
    let layer = open().map_err(crate::output::export_error)?;
    layer.ok_or_else(|| malformed(image, "the OCI layout has changed since it was read"))
}

/// Tells the progress of a download, and ends it when the build is stopped.
struct Counted<'a> {
    session: &'a Session,
    vertex: u32,
    descriptor: &'a Descriptor,
    body: Box<dyn Read + Send>,
    done_bytes: u64,
    told_bytes: u64,
}

/// Bytes between two progress events of one download.
const TELL_EVERY_BYTES: u64 = 1 << 20;

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.session.cancel.is_cancelled() {
            return Err(std::io::Error::other("the build was cancelled"));
        }
        let count = self.body.read(buffer)?;
        self.done_bytes += count as u64;
        if count == 0 || self.done_bytes - self.told_bytes >= TELL_EVERY_BYTES {
            self.told_bytes = self.done_bytes;
            self.session.events.emit(EventKind::Transfer {
                vertex: self.vertex,
                item: self.descriptor.digest.to_string()[..19].to_owned(),
                done_bytes: self.done_bytes,
                total_bytes: Some(self.descriptor.size_bytes),
            });
        }
        Ok(count)
    }
}

/// Unpacks one blob on the layers below it; the result is found by its chain from then on.
fn unpack(
    session: &Arc<Session>,
    image: &ImageSource,
    below: &[LayerId],
    chain: ChainId,
    descriptor: &Descriptor,
    diff_id: DiffId,
) -> Result<LayerId, Stop> {
    let store = |e| BuildError::store("cannot unpack a layer", e);
    let name = format!("unpack {chain}");
    let _flight =
        session.lease.single_flight(&name, &|| session.cancel.is_cancelled()).map_err(store)?;
    // Another process may have unpacked it meanwhile, but only on the same layers is it ours to use.
    if let Some(layers) = known_stack_layers(session, chain)?
        && layers[..layers.len() - 1] == *below
    {
        return Ok(layers[layers.len() - 1]);
    }
    let layer = unpack_blob(session, image, below, descriptor, diff_id)?;
    let mut layers = below.to_vec();
    layers.push(layer);
    session.lease.put_chain(&chain, &layers).map_err(store)?;
    Ok(layer)
}

fn unpack_blob(
    session: &Arc<Session>,
    image: &ImageSource,
    below: &[LayerId],
    descriptor: &Descriptor,
    diff_id: DiffId,
) -> Result<LayerId, Stop> {
    let store = |e| BuildError::store("cannot unpack a layer", e);
    let bad = |e| malformed(image, "one of its layers cannot be unpacked").because(e);
    let blob = session.lease.open_blob(&descriptor.digest).map_err(store)?;
    let blob = blob.ok_or_else(|| malformed(image, "one of its layers vanished from the store"))?;
    let mut tocs = finish::tocs(session, below)?;
    tocs.reverse();
    let top_first: Vec<&Toc> = tocs.iter().map(|toc| &**toc).collect();
    let open_below = |index: usize| session.lease.layer_dir(below[below.len() - 1 - index]).ok();
    let ingest = session.lease.new_ingest().map_err(store)?;
    let dir = new_dir(&ingest, "diff")?;
    let options = ApplyOptions {
        userxattr: session.lease.store().userxattr(),
        owners_in_toc_only: session.maps_one_id(),
        lower_dir: &open_below,
    };
    let applied = layer::apply_tar(&mut layer::decompress(blob), dir.as_fd(), &top_first, &options)
        .map_err(bad)?;
    if applied.diff_id != diff_id {
        let text = format!("a layer has digest {}, its config says {diff_id}", applied.diff_id);
        return Err(malformed(image, &text).into());
    }
    let created = image.config.created.clone().unwrap_or_default();
    let layer = session.lease.commit_layer(ingest, "diff", &created).map_err(store)?;
    let content_id = layer::content_id(&applied.toc);
    session.lease.set_toc(layer, applied.toc, content_id).map_err(store)?;
    session.lease.set_diff_id(layer, "plain", diff_id, applied.size_bytes).map_err(store)?;
    session.lease.set_layer_blob(diff_id, &layer_blob(descriptor)).map_err(store)?;
    Ok(layer)
}

/// A new directory in an ingest directory, open.
pub(crate) fn new_dir(ingest: &store::Ingest, name: &str) -> Result<OwnedFd, BuildError> {
    let fail = |e: rustix::io::Errno| BuildError::io("cannot make a layer's directory", e.into());
    rustix::fs::mkdirat(ingest.dir(), name, Mode::from_raw_mode(0o755)).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(ingest.dir(), name, flags, Mode::empty()).map_err(fail)
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

/// Resolves images for the planner: the store first, then what the parent process learnt, then the registry.
pub(crate) struct ImageSources<'a> {
    pub(crate) session: &'a Session,
}

impl Sources for ImageSources<'_> {
    fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        if self.session.request.pull != PullPolicy::Always
            && let Some(found) = self.in_store(reference, platform)?
        {
            return Ok(found);
        }
        if self.session.request.pull == PullPolicy::Never {
            let message = "not in the store, and --pull=never forbids to ask a registry".to_owned();
            return Err(SourceError { message, kind: SourceErrorKind::NotFound });
        }
        self.at_registry(reference, platform).map_err(|error| {
            *lock(&self.session.registry_failed) = true;
            SourceError { message: chain_text(&error), kind: SourceErrorKind::Other }
        })
    }

    fn resolve_layout(
        &self,
        layout: &OciLayout,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        let open = || {
            let archive = ImageArchive::open_directory(Path::new(&layout.path))?;
            let digest = layout.digest.map(|digest| digest.to_string());
            let listed = archive.find(digest.as_deref().or(layout.tag.as_deref()))?;
            archive.image(&listed, platform)
        };
        let image = open().map_err(|e| other(&e))?;
        let manifest = image.manifest.ok_or_else(|| SourceError {
            message: "an image of the layout has no manifest".to_owned(),
            kind: SourceErrorKind::NotFound,
        })?;
        let lease = &self.session.lease;
        lease
            .put_manifest(&manifest.digest, &manifest.media_type, &manifest.bytes)
            .map_err(|e| other(&e))?;
        let config = ImageConfig::from_json(&image.config).map_err(|e| other(&e))?;
        let origin = ImageOrigin::OciLayout { path: layout.path.clone() };
        let reference = layout_reference(manifest.digest);
        let manifest = Some(manifest.digest);
        Ok(ResolvedImage { reference, origin, manifest, config: Arc::new(config) })
    }
}

/// A name for an image that has none: only shown, never asked for.
fn layout_reference(digest: Digest) -> Reference {
    "oci-layout".parse::<Reference>().expect("a valid name").with_digest(digest)
}

/// An error with its causes on one line, for a message that goes behind an image's name.
fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn other(error: &dyn std::error::Error) -> SourceError {
    SourceError { message: chain_text(error), kind: SourceErrorKind::Other }
}

impl ImageSources<'_> {
    fn in_store(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<ResolvedImage>, SourceError> {
        let lease = &self.session.lease;
        let look = || {
            let Some(id) = lease.tag(reference)? else { return Ok(None) };
            lease.image(&id)
        };
        let image = look().map_err(|e| other(&e))?;
        let Some(image) = image else { return Ok(None) };
        let config = ImageConfig::from_json(&image.config).map_err(|e| other(&e))?;
        let have = config.platform();
        let fits = have.os == platform.os && have.architecture == platform.architecture;
        if !fits {
            return Ok(None);
        }
        let origin = ImageOrigin::Store;
        let manifest = image.manifest.map(|manifest| manifest.digest);
        Ok(Some(ResolvedImage {
            reference: reference.clone(),
            origin,
            manifest,
            config: Arc::new(config),
        }))
    }

    fn at_registry(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, BuildError> {
        let known = lock(&self.session.facts).image(reference, platform);
        let digest = match known {
            Some(digest) => digest,
            None => resolve(self.session, reference, platform)?,
        };
        lock(&self.session.facts).learn_image(reference, platform, digest);
        let manifest = manifest(self.session, reference, digest)?;
        let config = config(self.session, reference, &manifest)?;
        let origin = ImageOrigin::Registry;
        Ok(ResolvedImage {
            reference: reference.clone(),
            origin,
            manifest: Some(digest),
            config: Arc::new(config),
        })
    }
}

/// Asks the registry which manifest a reference means for a platform.
pub(crate) fn resolve(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<Digest, BuildError> {
    let resolved = session.registry.resolve(reference).map_err(|e| registry_error(reference, e))?;
    let document = Document::from_json(&resolved.bytes, &resolved.media_type);
    let document =
        document.map_err(|e| unusable(reference, "its manifest cannot be read").because(e))?;
    let digest = match &document {
        Document::Manifest(_) => resolved.digest,
        Document::Index(index) => {
            let entry = index.select(platform).ok_or_else(|| {
                let text = format!(
                    "{}: no match for platform {platform} in manifest: not found",
                    reference.familiar()
                ); // PLAT-13
                BuildError::new(BuildErrorKind::Registry, text)
            })?;
            entry.digest
        }
    };
    if matches!(document, Document::Manifest(_)) {
        keep_manifest(session, digest, &resolved.media_type, &resolved.bytes)?;
    }
    Ok(digest)
}

fn manifest(
    session: &Session,
    reference: &Reference,
    digest: Digest,
) -> Result<Manifest, BuildError> {
    let store = |e| BuildError::store("cannot read a manifest", e);
    let (media_type, bytes) = match session.lease.manifest(&digest).map_err(store)? {
        Some(kept) => kept,
        None => {
            let pinned = reference.with_digest(digest);
            let got =
                session.registry.resolve(&pinned).map_err(|e| registry_error(reference, e))?;
            keep_manifest(session, digest, &got.media_type, &got.bytes)?;
            (got.media_type, got.bytes)
        }
    };
    match Document::from_json(&bytes, &media_type) {
        Ok(Document::Manifest(manifest)) => Ok(manifest),
        Ok(Document::Index(_)) => Err(unusable(reference, "an index lists another index")),
        Err(error) => Err(unusable(reference, "its manifest cannot be read").because(error)),
    }
}

fn keep_manifest(
    session: &Session,
    digest: Digest,
    media_type: &str,
    bytes: &[u8],
) -> Result<(), BuildError> {
    session
        .lease
        .put_manifest(&digest, media_type, bytes)
        .map_err(|e| BuildError::store("cannot keep a manifest", e))
}

fn config(
    session: &Session,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<ImageConfig, BuildError> {
    let bytes = small_blob(session, reference, &manifest.config)?;
    ImageConfig::from_json(&bytes)
        .map_err(|e| unusable(reference, "its config cannot be read").because(e))
}

fn small_blob(
    session: &Session,
    reference: &Reference,
    blob: &Descriptor,
) -> Result<Vec<u8>, BuildError> {
    let store = |e| BuildError::store("cannot keep an image's config", e);
    if blob.size_bytes > DOCUMENT_MAX_BYTES {
        return Err(unusable(reference, "its config is larger than 8 MiB"));
    }
    if !session.lease.has_blob(&blob.digest).map_err(store)? {
        let body = session.registry.blob(reference, blob);
        let mut body = body.map_err(|e| registry_error(reference, e))?;
        session.lease.put_blob(Some((blob.digest, blob.size_bytes)), &mut body).map_err(store)?;
    }
    let file = session.lease.open_blob(&blob.digest).map_err(store)?;
    let mut file = file.ok_or_else(|| unusable(reference, "its config vanished from the store"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| BuildError::io("cannot read an image's config", e))?;
    Ok(bytes)
}

fn unusable(reference: &Reference, why: &str) -> BuildError {
    let text = format!("image {} cannot be used: {why}", reference.familiar());
    BuildError::new(BuildErrorKind::Registry, text)
}

fn registry_error(reference: &Reference, error: registry::RegistryError) -> BuildError {
    let text = format!("cannot get {}", reference.familiar());
    BuildError::new(BuildErrorKind::Registry, text).because(error)
}
