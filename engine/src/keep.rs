//! Keeps results in the store: images, chains, durability, tags, in this order (design D6).

use std::sync::Arc;

use oci::{ChainId, ImageId, Reference};
use progress::EventKind;
use store::{Reached, StoredImage, StoredManifest, Tagged, TaggedIndex};

use crate::assemble::Built;
use crate::error::BuildError;
use crate::internal::{self, Internal};
use crate::output::Reports;
use crate::request::OutputKind;
use crate::session::Session;
use crate::stop::Stop;

/// Keeps the images of a build and names them, and tells so where the store is what they are made for.
pub(crate) fn images(
    session: &Arc<Session>,
    built: &[Built],
    reports: &Reports,
) -> Result<(), Stop> {
    let request = &session.request;
    let only_kept = request.outputs.iter().all(|output| output.kind == OutputKind::Image);
    if !only_kept && request.tags.is_empty() {
        return keep(session, built, reports);
    }
    internal::step(&session.events, Internal::Keep, "exporting to image", || {
        keep(session, built, reports)?;
        let done = |item: String| {
            let vertex = Internal::Keep.vertex();
            let (done_bytes, total_bytes) = (0, Some(0));
            session.events.emit(EventKind::Transfer { vertex, item, done_bytes, total_bytes });
        };
        match (&reports.index, built) {
            (Some(index), _) => done(format!("writing manifest list {}", index.digest)),
            (None, built) => {
                built.iter().for_each(|built| done(format!("writing image {}", built.form.id)));
            }
        }
        request.tags.iter().for_each(|name| done(format!("naming to {name}")));
        Ok(())
    })
}

/// Tags come last: what they name is then durable.
fn keep(session: &Arc<Session>, built: &[Built], reports: &Reports) -> Result<(), Stop> {
    let store = |e| BuildError::store("cannot keep the image", e);
    let makes_image = makes_image(session);
    for (at, built) in built.iter().enumerate() {
        let manifest = reports.manifests.get(at).cloned().flatten();
        if built.is_kept && makes_image {
            image(session, built, manifest)?;
        }
    }
    let kept = built.iter().filter(|built| built.is_kept && makes_image);
    let ids: Vec<ImageId> = kept.map(|built| built.form.id).collect();
    let durable = !session.request.tags.is_empty() || !session.request.outputs.is_empty();
    session.lease.finish(durable, &Reached { layers: &[], images: &ids }).map_err(store)?;
    if let Some(tagged) = tagged(&ids, reports) {
        let tags: Vec<(Reference, Tagged)> =
            session.request.tags.iter().map(|tag| (tag.clone(), tagged.clone())).collect();
        session.lease.set_tags(&tags).map_err(store)?;
    }
    Ok(())
}

/// Whether anybody wants an image: who only wants files, or only the cache, would find one without a name that holds
/// the disk.
fn makes_image(session: &Session) -> bool {
    let is_image =
        |kind| !matches!(kind, OutputKind::Local | OutputKind::Tar | OutputKind::CacheOnly);
    let outputs = &session.request.outputs;
    !session.request.tags.is_empty()
        || outputs.is_empty()
        || outputs.iter().any(|output| is_image(output.kind))
}

/// What the names of a result mean: the index where one was made, else the only image.
fn tagged(ids: &[ImageId], reports: &Reports) -> Option<Tagged> {
    let first = Tagged::Image(*ids.first()?);
    let Some(index) = &reports.index else { return Some(first) };
    let listed = ids.iter().zip(&reports.manifests);
    let images = listed.map(|(id, manifest)| Some((*id, manifest.clone()?)));
    let images: Option<Vec<_>> = images.collect();
    Some(images.map_or(first, |images| Tagged::Index(TaggedIndex { index: index.clone(), images })))
}

fn image(
    session: &Session,
    built: &Built,
    manifest: Option<StoredManifest>,
) -> Result<(), BuildError> {
    let store = |e| BuildError::store("cannot keep the image", e);
    let diff_ids = built.form.config.rootfs.diff_ids.clone();
    if let Some(chain) = ChainId::of(&diff_ids)
        && built.stack.layers.len() == diff_ids.len()
    {
        // FROM finds the layers of this image by their chain.
        session.lease.put_chain(&chain, &built.stack.layers).map_err(store)?;
    }
    if let (Some(_), Some(manifest)) = (&built.lazy, &manifest) {
        // Who wants a layer gets it from where it was pushed: the manifest says which blob it is.
        let StoredManifest { media_type, bytes, digest } = manifest;
        session.lease.put_manifest(digest, media_type, bytes).map_err(store)?;
    }
    let image = StoredImage {
        id: built.form.id,
        config: built.form.config.to_json(),
        stack: built.stack.clone(),
        diff_ids,
        manifest,
        built_at: crate::request::now(),
    };
    session.lease.put_image(&image).map_err(store)
}
