//! Images of the store by their names, and between the store and what brings or takes them.
//!
//! Refuses to know how they come and go: that is `transfer` and `archives`.

use exporter::{Attached, BuiltImage, ImageOptions, LayerSource, Prepared};
use graph::{ImageSource, Stack};
use oci::{ChainId, Descriptor, Digest, ImageConfig, ImageId, Platform, Reference};
use store::{AttachedManifest, Lease, Reached, StoreError, StoredImage, StoredManifest, Tagged};

use crate::environment::Environment;
use crate::error::{BuildError, BuildErrorKind};
use crate::image::{self, Claims};
use crate::internal::Internal;
use crate::output::job::job;
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
    if let Some(tagged) = by_digest(lease, text).map_err(store)? {
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
            Err(BuildError::new(BuildErrorKind::Files, text)
                .with_hint("see what there is with `shale images`"))
        }
        (Some(_), false) => {
            let text = format!("several images have an id that begins with {text}");
            Err(BuildError::new(BuildErrorKind::Files, text))
        }
    }
}

/// What `name@digest` means: what was pulled from there or pushed there under the digest, or else what a tag of the
/// name means, if its manifest has the digest.
pub(crate) fn by_digest(lease: &Lease, text: &str) -> Result<Option<Tagged>, StoreError> {
    let Ok(reference) = text.parse::<Reference>() else { return Ok(None) };
    let Some(digest) = reference.digest() else { return Ok(None) };
    let tags = lease.store().tags()?;
    let asked = reference.with_digest(digest);
    for (object, _) in lease.store().repo_digests()?.iter().filter(|(_, name)| *name == asked) {
        if let Some((_, tagged)) = tags.iter().find(|(_, tagged)| tagged.object() == *object) {
            return Ok(Some(tagged.clone()));
        }
        // Its name may mean another one by now.
        if let Some(image) = lease.image(&ImageId(*object))? {
            return Ok(Some(Tagged::Image(image.id)));
        }
    }
    for (name, tagged) in tags {
        if name.name() != reference.name() {
            continue;
        }
        let found = match &tagged {
            Tagged::Index(index) => Some(index.index.digest),
            Tagged::Image(id) => lease.image(id)?.and_then(|image| Some(image.manifest?.digest)),
        };
        if found == Some(digest) {
            return Ok(Some(tagged));
        }
    }
    Ok(None)
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

pub(crate) fn by_id(lease: &Lease, id: &ImageId) -> Result<StoredImage, BuildError> {
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

pub(crate) fn keep_pulled(
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
pub(crate) fn keep(
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
pub(crate) fn stored(image: StoredImage) -> Result<BuiltImage, BuildError> {
    let config = ImageConfig::from_json(&image.config).map_err(|e| {
        BuildError::new(BuildErrorKind::Files, "the image's config cannot be read").because(e)
    })?;
    let layers = image.diff_ids.iter().enumerate().map(|(at, diff_id)| LayerSource {
        diff_id: *diff_id,
        layer: image.stack.layers.get(at).copied(),
        encoding: layer::Encoding::default(),
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

/// What an index lists besides images, as the exporter wants it.
fn attached(kept: &AttachedManifest) -> Attached {
    let descriptor = |document: &StoredManifest| {
        let size_bytes = document.bytes.len() as u64;
        Descriptor::new(&document.media_type, document.digest, size_bytes)
    };
    let blobs = kept.blobs.iter().map(|blob| (descriptor(blob), blob.bytes.clone()));
    Attached {
        descriptor: descriptor(&kept.manifest),
        manifest: kept.manifest.bytes.clone(),
        blobs: blobs.collect(),
        refers_to: None,
    }
}

/// What a name means, ready for outputs: an index as it was made, byte for byte.
pub(crate) fn prepared(session: &Session, tagged: &Tagged) -> Result<Prepared, BuildError> {
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
    let mut prepared =
        exporter::prepare(&images, &options, job(session)).map_err(BuildError::export)?;
    // Those that the store only knows of are seen to be true when they are fetched.
    Claims::of([&prepared]).check(session)?;
    if let Tagged::Index(listed) = tagged {
        prepared.attached = listed.attached.iter().map(attached).collect();
    }
    Ok(prepared)
}

/// Whether [`prepared`] opens no layer: each has its blob.
pub(crate) fn is_encoded(session: &Session, tagged: &Tagged) -> Result<bool, BuildError> {
    let images = tagged.images().into_iter().map(|id| by_id(&session.lease, &id).and_then(stored));
    let images = images.collect::<Result<Vec<_>, _>>()?;
    exporter::is_encoded(&images, &ImageOptions::default(), &session.lease)
        .map_err(BuildError::export)
}

/// Brings blobs that the store only knows of; they have to be what is claimed of them.
pub(crate) fn fetch_of(
    session: &Session,
    claims: Claims,
) -> impl Fn(&Descriptor) -> std::io::Result<()> + Sync + '_ {
    move |blob| claims.fetch(session, blob, Internal::Export.vertex())
}

pub(crate) fn whole<T>(result: Result<T, Stop>) -> Result<T, BuildError> {
    result.map_err(|stop| stop.into_error("this needs a process with a worker"))
}
