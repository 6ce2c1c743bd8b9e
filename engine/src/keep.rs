//! Keeps results in the store: images, chains, durability, tags, in this order (design D6).

use std::collections::BTreeMap;
use std::sync::Arc;

use oci::{ChainId, Descriptor, Digest, ImageId, Manifest, Reference, media};
use progress::EventKind;
use store::{Reached, StoredImage, StoredManifest, Tagged, TaggedIndex};

use crate::assemble::Built;
use crate::error::BuildError;
use crate::internal::{self, Internal};
use crate::output::Reports;
use crate::request::{DigestNames, OutputKind};
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
    if (!only_kept && request.tags.is_empty()) || !makes_image(session) {
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
        let names = names(session, reports).into_iter();
        let tags: Vec<(Reference, Tagged)> = names.map(|tag| (tag, tagged.clone())).collect();
        session.lease.set_tags(&tags).map_err(store)?;
        for name in &reports.pushed {
            session.lease.note_repo_digest(&tagged.object(), name).map_err(store)?;
        }
    }
    Ok(())
}

/// Whether anybody wants an image: who only wants files, or only the cache, would find one without a name that holds
/// the disk.
fn makes_image(session: &Session) -> bool {
    let is_image =
        |kind| !matches!(kind, OutputKind::Local | OutputKind::Tar | OutputKind::CacheOnly);
    let outputs = &session.request.outputs;
    // `store=false` says that it is not to be here, whatever its name.
    let is_elsewhere = outputs.iter().any(|output| !output.is_kept);
    (!session.request.tags.is_empty() && !is_elsewhere)
        || outputs.is_empty()
        || outputs.iter().any(|output| output.is_kept && is_image(output.kind))
}

/// The names of the result in the store: those that were given, and with its digest those that outputs ask for.
fn names(session: &Session, reports: &Reports) -> Vec<Reference> {
    let request = &session.request;
    let mut names = request.tags.clone();
    let Some(target) = &reports.target else { return names };
    for output in &request.outputs {
        let own = if output.names.is_empty() { &request.tags } else { &output.names };
        let DigestNames { prefix, only_nameless, canonical } = &output.digest_names;
        let prefix = prefix.iter().filter(|_| own.is_empty() || !only_nameless);
        let canonical = own.iter().filter(|_| *canonical);
        names.extend(prefix.chain(canonical).map(|name| name.with_digest(target.digest)));
    }
    names
}

/// What the names of a result mean: the index where one was made, else the only image.
fn tagged(ids: &[ImageId], reports: &Reports) -> Option<Tagged> {
    let first = Tagged::Image(*ids.first()?);
    let Some(index) = &reports.index else { return Some(first) };
    let listed = ids.iter().zip(&reports.manifests);
    let images = listed.map(|(id, manifest)| Some((*id, manifest.clone()?)));
    let images: Option<Vec<_>> = images.collect();
    let (index, attached) = (index.clone(), reports.attached.clone());
    Some(images.map_or(first, |images| Tagged::Index(TaggedIndex { index, images, attached })))
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
    let own = if manifest.is_none() { unfetched(session, built)? } else { None };
    let is_unfetched = built.lazy.is_some() || own.is_some();
    let manifest = manifest.or(own);
    if let (true, Some(manifest)) = (is_unfetched, &manifest) {
        // Who wants a layer gets it from where it lies: the manifest says which blob it is.
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

/// A manifest for an image of which no layer is here, since it only changes the metadata of its base: it says which
/// blobs the layers are, and the store knows where those lie. `None` for every other image.
fn unfetched(session: &Session, built: &Built) -> Result<Option<StoredManifest>, BuildError> {
    let layers = built.form.config.rootfs.diff_ids.len();
    let is_here = built.stack.layers.len() == layers || built.lazy.is_some();
    let Some(base) = built.base.as_ref().filter(|_| !is_here && layers == built.base_layers) else {
        return Ok(None);
    };
    let (Some(name), Some(blobs)) = (base.repository(), base.named_blobs(session)) else {
        return Ok(None);
    };
    for blob in &blobs {
        let noted = session.lease.note_blob_place(&blob.digest, &name.name());
        noted.map_err(|e| BuildError::store("cannot note where a layer lies", e))?;
    }
    let config = built.form.config.to_json();
    let config = Descriptor::new(media::OCI_CONFIG, Digest::of(&config), config.len() as u64);
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        artifact_type: None,
        config,
        layers: blobs.iter().map(|blob| exporter::blob_descriptor(blob, true)).collect(),
        subject: None,
        annotations: BTreeMap::default(),
    };
    let bytes = manifest.to_json();
    let media_type = media::OCI_MANIFEST.to_owned();
    Ok(Some(StoredManifest { media_type, digest: Digest::of(&bytes), bytes }))
}
