//! Keeps results in the store: images, chains, durability, tags, in this order (design D6).

use std::sync::Arc;

use oci::{ChainId, ImageId, Reference};
use store::{Reached, StoredImage, StoredManifest, Tagged, TaggedIndex};

use crate::assemble::Built;
use crate::error::BuildError;
use crate::output::Reports;
use crate::session::Session;
use crate::stop::Stop;

/// Keeps the images of a build and names them. Tags come last: what they name is then durable.
pub(crate) fn images(
    session: &Arc<Session>,
    built: &[Built],
    reports: &Reports,
) -> Result<(), Stop> {
    let store = |e| BuildError::store("cannot keep the image", e);
    for (at, built) in built.iter().enumerate() {
        let manifest = reports.manifests.get(at).cloned().flatten();
        image(session, built, manifest)?;
    }
    let ids: Vec<ImageId> = built.iter().map(|built| built.form.id).collect();
    let durable = !session.request.tags.is_empty() || !session.request.outputs.is_empty();
    session.lease.finish(durable, &Reached { layers: &[], images: &ids }).map_err(store)?;
    if let Some(tagged) = tagged(&ids, reports) {
        let tags: Vec<(Reference, Tagged)> =
            session.request.tags.iter().map(|tag| (tag.clone(), tagged.clone())).collect();
        session.lease.set_tags(&tags).map_err(store)?;
    }
    Ok(())
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
