//! References to configs: the store first, then what the parent process learnt, then the registry.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use exporter::import::{ImageArchive, LAYERS_MAX};
use graph::{ImageOrigin, ImageSource};
use oci::{
    Descriptor, Digest, Document, ImageConfig, ImageId, Index, Manifest, Platform, Reference, media,
};
use planner::{
    EngineName, OciLayout, ResolvedImage, SourceError, SourceErrorKind, Sources, TimedSource,
};
use store::StoredImage;

use super::in_engine;
use super::refusal::{other, registry_error, source_error};
use crate::error::{BuildError, BuildErrorKind};
use crate::internal::{self, Internal};
use crate::request::PullPolicy;
use crate::session::Session;
use crate::source;
use crate::stop::lock;

/// Manifests and configs are small; anything larger is no image.
const DOCUMENT_MAX_BYTES: u64 = 8 << 20;

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
        let stored = match self.session.request.pull {
            PullPolicy::Always => None,
            PullPolicy::Missing | PullPolicy::Newer | PullPolicy::Never => {
                self.in_store(reference, platform)?
            }
        };
        match (self.session.request.pull, stored) {
            (PullPolicy::Newer, Some((id, stored))) => Ok(self.newer(id, stored, platform)),
            (_, Some((_, stored))) => Ok(stored),
            (PullPolicy::Never, None) => {
                let message = "not in the store, and --pull=never asks no registry".to_owned();
                Err(SourceError { message, kind: SourceErrorKind::NotAsked })
            }
            (_, None) => {
                let look = || self.at_registry(reference, platform);
                let found = self.shown(reference, look).map_err(|error| {
                    // A file of this machine may say nonsense of the registry.
                    *lock(&self.session.image_failed) = Some(match error.kind() {
                        BuildErrorKind::Dockerfile => BuildErrorKind::Dockerfile,
                        _ => BuildErrorKind::Registry,
                    });
                    self.passed_over(reference, platform, source_error(&error))
                });
                found.map(|(_, found)| found)
            }
        }
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
        let image = open().map_err(|e| match Path::new(&layout.path).is_dir() {
            true => other(&e),
            false => SourceError { kind: SourceErrorKind::NoDirectory, ..other(&e) },
        })?;
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

    fn resolve_in_engine(
        &self,
        name: &EngineName,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        in_engine::resolve(self.session, name, platform)
    }

    fn source_time(&self, timed: &TimedSource) -> Result<Option<i64>, SourceError> {
        let time = match timed {
            TimedSource::Http(http) => source::http::time(self.session, http),
            TimedSource::Git(git) => source::git::time(self.session, git),
        };
        time.map_err(|error| {
            *lock(&self.session.image_failed) = Some(BuildErrorKind::Registry);
            source_error(&error)
        })
    }

    fn is_ignored(&self, path: &str) -> bool {
        let Some(ignore) = self.session.contexts.ignore("") else { return false };
        let rules = &ignore.rules;
        match path {
            _ if rules.has_exceptions() => false,
            "" => rules.hide_everything(),
            path => rules.is_ignored(path.as_bytes()),
        }
    }
}

impl ImageSources<'_> {
    /// What the registry has, when that is another image than the store's. A registry that cannot be asked is no reason
    /// to fail: there is an image.
    fn newer(&self, id: ImageId, stored: ResolvedImage, platform: &Platform) -> ResolvedImage {
        let reference = &stored.reference;
        let known = lock(&self.session.facts).unasked(reference, platform);
        let message = match known {
            Some(message) => message,
            // It is no failure of the build.
            None => match self
                .shown(reference, || Ok::<_, BuildError>(self.at_registry(reference, platform)))
            {
                Ok(Ok((image, _))) if image == id => return stored,
                Ok(Ok((_, found))) => return found,
                Ok(Err(error)) | Err(error) => format!(
                    "{}: the image in the store is used, since its registry cannot be asked: {}",
                    reference.familiar(),
                    source_error(&error).message
                ),
            },
        };
        lock(&self.session.facts).learn_unasked(reference, platform, &message);
        self.session.warn(message);
        stored
    }

    /// The same error, which says so if the store has what `--pull` had the registry asked for.
    fn passed_over(
        &self,
        reference: &Reference,
        platform: &Platform,
        error: SourceError,
    ) -> SourceError {
        let is_absent = error.kind == SourceErrorKind::NotFound;
        match self.in_store(reference, platform) {
            Ok(Some(_)) => SourceError { kind: SourceErrorKind::PassedOver { is_absent }, ..error },
            _ => error,
        }
    }

    /// Asking a registry, as a step that people see.
    fn shown<T>(
        &self,
        reference: &Reference,
        look: impl FnOnce() -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let number = self.session.images_asked.fetch_add(1, Ordering::Relaxed);
        let what = Internal::LoadMetadata(number);
        let name = format!("[internal] load metadata for {reference}");
        internal::step(&self.session.events, what, &name, || self.session.unless_cancelled(look()))
    }

    /// The image that the store means by a name.
    fn in_store(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<(ImageId, ResolvedImage)>, SourceError> {
        let lease = &self.session.lease;
        let tagged = lease.tag(reference).map_err(|e| other(&e))?;
        let mut images = Vec::new();
        for id in tagged.map(|tagged| tagged.images()).unwrap_or_default() {
            images.extend(lease.image(&id).map_err(|e| other(&e))?);
        }
        let Some(at) = fitting(&images, platform) else { return Ok(None) };
        let image = images.swap_remove(at);
        let config = ImageConfig::from_json(&image.config).map_err(|e| other(&e))?;
        let origin = ImageOrigin::Store;
        let manifest = image.manifest.map(|manifest| manifest.digest);
        let found = ResolvedImage {
            reference: reference.clone(),
            origin,
            manifest,
            config: Arc::new(config),
        };
        Ok(Some((image.id, found)))
    }

    fn at_registry(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<(ImageId, ResolvedImage), BuildError> {
        let known = lock(&self.session.facts).image(reference, platform);
        let digest = match known {
            Some(digest) => digest,
            None => resolve(self.session, reference, platform)?.of_platform,
        };
        lock(&self.session.facts).learn_image(reference, platform, digest);
        let manifest = manifest(self.session, reference, digest)?;
        let id = ImageId(manifest.config.digest);
        let found = ResolvedImage {
            reference: reference.clone(),
            origin: ImageOrigin::Registry,
            manifest: Some(digest),
            config: Arc::new(config(self.session, reference, &manifest)?),
        };
        Ok((id, found))
    }
}

/// What the registry has under a name, whatever the store has.
pub(crate) fn at_registry(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<ResolvedImage, BuildError> {
    let found = ImageSources { session }.at_registry(reference, platform);
    found.map(|(_, found)| found).map_err(|error| {
        // What the store refused to keep was not what the registry had said.
        let kind = match error.kind() {
            BuildErrorKind::Files => BuildErrorKind::Registry,
            kind => kind,
        };
        BuildError::new(kind, source_error(&error).message)
    })
}

/// What a registry means by a name.
pub(crate) struct Named {
    /// Digest of the manifest or index that has the name.
    pub(crate) digest: Digest,
    /// Digest of the manifest for the platform.
    of_platform: Digest,
}

/// Asks the registry what a reference means, and remembers it for [`ImageSources`].
pub(crate) fn named(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<Named, BuildError> {
    let named = resolve(session, reference, platform)?;
    lock(&session.facts).learn_image(reference, platform, named.of_platform);
    Ok(named)
}

/// Asks the registry which manifest a reference means for a platform.
fn resolve(
    session: &Session,
    reference: &Reference,
    platform: &Platform,
) -> Result<Named, BuildError> {
    let resolved = session.registry.resolve(reference).map_err(|e| registry_error(reference, e))?;
    let document = Document::from_json(&resolved.bytes, &resolved.media_type);
    let document =
        document.map_err(|e| unusable(reference, "its manifest cannot be read").because(e))?;
    let digest = match &document {
        Document::Manifest(_) => resolved.digest,
        Document::Index(index) => {
            let entry = index.select(platform).ok_or_else(|| {
                let text = format!(
                    "no match for platform in manifest: not found, it has none for \
                     {platform}, only for {}",
                    shown_platforms(index)
                ); // PLAT-13
                BuildError::new(BuildErrorKind::Registry, text)
            })?;
            entry.digest
        }
    };
    if matches!(document, Document::Manifest(_)) {
        keep_manifest(session, digest, &resolved.media_type, &resolved.bytes)?;
    }
    Ok(Named { digest: resolved.digest, of_platform: digest })
}

/// How many platforms an error names.
const PLATFORMS_SHOWN_MAX: usize = 20;

/// What an index has images for.
fn shown_platforms(index: &Index) -> String {
    let of_images = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
    let mut shown: Vec<String> = Vec::new();
    for platform in of_images.filter(|platform| platform.os != "unknown") {
        let text = platform.to_string();
        if shown.len() == PLATFORMS_SHOWN_MAX {
            shown.push("others".to_owned());
            break;
        }
        if !shown.contains(&text) {
            shown.push(text);
        }
    }
    match shown.is_empty() {
        true => "platforms that it does not name".to_owned(),
        false => shown.join(", "),
    }
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

/// The config document of an image of a registry, byte for byte.
pub(crate) fn config_bytes(session: &Session, image: &ImageSource) -> Result<Vec<u8>, BuildError> {
    let digest = image.manifest.expect("an image of a registry has a manifest");
    let manifest = manifest(session, &image.reference, digest)?;
    small_blob(session, &image.reference, &manifest.config)
}

fn config(
    session: &Session,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<ImageConfig, BuildError> {
    if manifest.layers.len() > LAYERS_MAX {
        return Err(unusable(reference, &format!("it has more than {LAYERS_MAX} layers")));
    }
    let bytes = small_blob(session, reference, &manifest.config)?;
    if !is_image_config(&manifest.config.media_type, &bytes) {
        let kind = &manifest.config.media_type;
        return Err(unusable(reference, &format!("it is an artifact with a {kind}, no image")));
    }
    let config = ImageConfig::from_json(&bytes)
        .map_err(|e| unusable(reference, "its config cannot be read").because(e))?;
    // Else there would be layers that nobody sees.
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        let why = "its manifest and its config name different numbers of layers";
        return Err(unusable(reference, why));
    }
    Ok(config)
}

/// Whether a config is one of an image: it is called so, or it has what every one has.
fn is_image_config(media_type: &str, bytes: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Probe {
        rootfs: Option<serde::de::IgnoredAny>,
    }
    matches!(media_type, media::OCI_CONFIG | media::DOCKER_CONFIG)
        || serde_json::from_slice::<Probe>(bytes).is_ok_and(|probe| probe.rootfs.is_some())
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
    // Something large that is here must not be read for a config because a manifest calls it one of a few bytes.
    if !session.lease.has_blob_of(&blob.digest, blob.size_bytes).map_err(store)? {
        let body = session.registry.blob(reference, blob);
        let mut body = body.map_err(|e| registry_error(reference, e))?;
        session.lease.put_blob(Some((blob.digest, blob.size_bytes)), &mut body).map_err(store)?;
    }
    let file = session.lease.open_blob(&blob.digest).map_err(store)?;
    let file = file.ok_or_else(|| unusable(reference, "its config vanished from the store"))?;
    let mut bytes = Vec::new();
    let read = file.take(DOCUMENT_MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|e| BuildError::io("cannot read an image's config", e))?;
    Ok(bytes)
}

/// A name for an image that has none: only shown, never asked for.
fn layout_reference(digest: Digest) -> Reference {
    "oci-layout".parse::<Reference>().expect("a valid name").with_digest(digest)
}

fn unusable(reference: &Reference, why: &str) -> BuildError {
    let text = format!("image {} cannot be used: {why}", reference.familiar());
    BuildError::new(BuildErrorKind::Registry, text)
}

/// The place of the image that fits a platform: of several as a manifest is taken from an index; one alone whatever
/// its variant.
pub(crate) fn fitting(images: &[StoredImage], wanted: &Platform) -> Option<usize> {
    let platform = |image: &StoredImage| {
        ImageConfig::from_json(&image.config).ok().map(|config| config.platform())
    };
    let platforms: Vec<Option<Platform>> = images.iter().map(platform).collect();
    if let [Some(only)] = &platforms[..] {
        let fits = only.os == wanted.os && only.architecture == wanted.architecture;
        return fits.then_some(0);
    }
    let of = |wanted: &Platform| platforms.iter().position(|have| have.as_ref() == Some(wanted));
    wanted.best_first().iter().find_map(of)
}
