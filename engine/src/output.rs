//! Hands the result out: files, registries, engines (spec section 8).
//!
//! Owns which output gets what, and under which names. What they ask for is `wanted`'s answer, what they look like the
//! exporter's business.

pub(crate) mod job;
pub(crate) mod wanted;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use exporter::{
    AttachForm, Attestation, BuiltImage, DirOptions, ExportError, ImageOptions, Job, LayerSource,
    Prepared,
};
use layer::Encoding;
use oci::{Descriptor, Platform, Reference};
use progress::EventKind;
use store::{AttachedManifest, StoredManifest};
use tree::Tree;

use self::job::job;
use self::wanted::{attests, encoding, is_index, is_written, takes};
use crate::assemble::Built;
use crate::attest::{self, Attesting, Takes};
use crate::error::BuildError;
use crate::handoff;
use crate::image::Base;
use crate::internal::{self, Internal};
use crate::push_lazily::{self, Fetcher};
use crate::request::{Output, OutputDest, OutputKind};
use crate::session::Session;
use crate::stack_tree;
use crate::stop::Stop;
use crate::value::StackValue;

/// Writes a small file beside the outputs, such as that of --iidfile, as they are written: whole or not at all, and
/// in place where it is a pipe or device.
///
/// # Errors
/// The file cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    exporter::write_bytes(path, bytes).map_err(BuildError::export)
}

/// What the outputs made besides files.
#[derive(Default)]
pub(crate) struct Reports {
    /// The manifest of each image, if an output made one.
    pub(crate) manifests: Vec<Option<StoredManifest>>,
    /// The index over them, if there is one.
    pub(crate) index: Option<StoredManifest>,
    /// What the index lists besides images.
    pub(crate) attached: Vec<AttachedManifest>,
    /// What names and digests point to, if an output made it.
    pub(crate) target: Option<Descriptor>,
    /// What registries got: names with their digests.
    pub(crate) pushed: Vec<Reference>,
    /// The members of --metadata-file.
    pub(crate) metadata: serde_json::Map<String, serde_json::Value>,
}

/// Writes all outputs. What was written before one failed stays (OUT-08); nothing is half-written.
pub(crate) fn write(
    session: &Arc<Session>,
    built: &[Built],
    attesting: &Attesting<'_>,
) -> Result<Reports, Stop> {
    let mut reports = Reports::default();
    if session.epoch().is_none() && session.request.outputs.iter().any(|o| o.rewrite_timestamp) {
        // EPO-13
        session.warn("rewrite-timestamp has no effect without SOURCE_DATE_EPOCH");
    }
    for output in session.request.outputs.iter().filter(|output| is_written(session, output)) {
        if output.kind == OutputKind::Engine {
            to_engine(session, output, built, &mut reports)?;
            continue;
        }
        check_worker(session, output, built)?;
        let name = shown(output);
        internal::step(&session.events, Internal::Export, name, || match output.kind {
            OutputKind::Local | OutputKind::Tar => files(session, output, built, attesting),
            _ => image(session, output, built, attesting, &mut reports),
        })?;
    }
    if reports.target.is_none() && is_index(session) && !session.request.tags.is_empty() {
        // A name of several images is one of their index.
        let output = Output::of_store();
        check_worker(session, &output, built)?;
        internal::step(&session.events, Internal::Export, "exporting layers", || {
            image(session, &output, built, attesting, &mut reports)
        })?;
    }
    Ok(reports)
}

/// Fails in the process that only looks up when an output has to open layers. Documents alone it can make itself: a
/// cached build of several platforms opens none.
fn check_worker(session: &Arc<Session>, output: &Output, built: &[Built]) -> Result<(), Stop> {
    if session.worker.is_some() {
        return Ok(());
    }
    if session.request.attest.sbom.is_some() && attests(session, output) {
        return session.worker().map(drop);
    }
    let bases = built.iter().filter_map(|built| built.base.as_ref());
    let are_there: Result<Vec<bool>, _> = bases.map(|base| base.are_blobs_there(session)).collect();
    if output.kind == OutputKind::Image && !are_there?.contains(&false) {
        let images = exported_all(session, output, built)?;
        let encoded = exporter::is_encoded(&images, &options(session, output), &session.lease);
        if encoded.map_err(BuildError::export)? {
            return Ok(());
        }
    }
    session.worker().map(drop)
}

fn shown(output: &Output) -> &'static str {
    match output.kind {
        OutputKind::Local => "exporting to client directory",
        OutputKind::Tar => "exporting to client tarball",
        OutputKind::Oci => "exporting to oci image format",
        OutputKind::Docker => "exporting to docker image format",
        OutputKind::Registry => "exporting to registry",
        OutputKind::Engine => "exporting to engine",
        // That it is named is told when it is.
        OutputKind::Image | OutputKind::CacheOnly => "exporting layers",
    }
}

fn image(
    session: &Arc<Session>,
    output: &Output,
    built: &[Built],
    attesting: &Attesting<'_>,
    reports: &mut Reports,
) -> Result<(), Stop> {
    let fetcher = Fetcher::new(session, built);
    fetcher.check_there()?;
    let fetch = |blob: &Descriptor| fetcher.fetch(blob);
    let job = Job { fetch: Some(&fetch), ..job(session) };
    let images = exported_all(session, output, built)?;
    let options = options(session, output);
    let prepared = exporter::prepare(&images, &options, job);
    let prepared = prepared.map_err(BuildError::export)?;
    let names = match output.names.is_empty() {
        true => &session.request.tags,
        false => &output.names,
    };
    let prepared = match attests(session, output) {
        true => {
            let list = attestations(attesting, &prepared, takes(output))?;
            let attached = exporter::attach(prepared, &list, output.attach, names, &options);
            attached.map_err(BuildError::export)?
        }
        false => prepared,
    };
    let sent = send(session, output, &prepared, names, job);
    fetcher.end(sent.map_err(BuildError::export))?;
    if output.kind == OutputKind::Registry {
        let digest = prepared.target.digest;
        reports.pushed.extend(names.iter().map(|name| name.with_digest(digest)));
    }
    if reports.target.is_none() {
        reports.manifests = prepared.images.iter().map(|image| Some(kept(image))).collect();
        reports.index = prepared.index.as_ref().map(|bytes| StoredManifest {
            media_type: prepared.target.media_type.clone(),
            bytes: bytes.clone(),
            digest: prepared.target.digest,
        });
        reports.attached = prepared.attached.iter().filter_map(kept_beside).collect();
        reports.target = Some(prepared.target.clone());
        reports.metadata = exporter::metadata(&prepared, names);
    }
    Ok(())
}

/// Into a running engine, which gets no layer that it has, and nothing but names when it has the image.
fn to_engine(
    session: &Arc<Session>,
    output: &Output,
    built: &[Built],
    reports: &mut Reports,
) -> Result<(), Stop> {
    let [built] = built else { return Err(handoff::one_image_only().into()) };
    let id = built.form(&encoding(session, output)).id;
    let engine = handoff::output_engine(session, &id)?;
    let names = match output.names.is_empty() {
        true => &session.request.tags,
        false => &output.names,
    };
    internal::step(&session.events, Internal::Export, shown(output), || {
        let there = engine.tag_if_there(&id, names, &session.cancel);
        if !there.map_err(BuildError::export)? {
            let built = std::slice::from_ref(built);
            let fetcher = Fetcher::new(session, built);
            let fetch = |blob: &Descriptor| fetcher.fetch(blob);
            let job = Job { fetch: Some(&fetch), ..job(session) };
            let images = exported_all(session, output, built)?;
            let options = ImageOptions { force_index: false, ..options(session, output) };
            let prepare = || exporter::prepare(&images, &options, job);
            let taken = engine.take(&images[0], names, &prepare, job);
            fetcher.end(taken.map(drop).map_err(BuildError::export))?;
        }
        if names.is_empty() {
            // Nothing else says how to reach it.
            let (vertex, item) = (Internal::Export.vertex(), format!("writing image {id}"));
            let (done_bytes, total_bytes) = (0, Some(0));
            session.events.emit(EventKind::Transfer { vertex, item, done_bytes, total_bytes });
        }
        Ok::<_, Stop>(())
    })?;
    if reports.metadata.is_empty() {
        reports.metadata = exporter::engine_metadata(&id, names);
    }
    Ok(())
}

/// What is said of each image.
fn attestations(
    attesting: &Attesting<'_>,
    prepared: &Prepared,
    takes: Takes,
) -> Result<Vec<Vec<Attestation>>, Stop> {
    let images = prepared.images.iter().enumerate();
    images.map(|(at, image)| attesting.of(at, &image.layers, takes)).collect()
}

fn send(
    session: &Session,
    output: &Output,
    prepared: &Prepared,
    names: &[Reference],
    job: Job<'_>,
) -> Result<(), ExportError> {
    let to_file = |write: &dyn Fn(&mut dyn Write) -> Result<(), ExportError>| match &output.dest {
        Some(OutputDest::Path(path)) => exporter::write_file(path, &mut |out| write(out)),
        _ => write(&mut std::io::stdout().lock()),
    };
    match output.kind {
        OutputKind::Oci if output.as_directory => {
            exporter::write_oci_directory(prepared, names, directory(output), job)
        }
        OutputKind::Oci => to_file(&|out| exporter::write_oci_archive(prepared, names, out, job)),
        OutputKind::Docker => {
            to_file(&|out| exporter::write_docker_archive(prepared, names, out, job))
        }
        OutputKind::Registry => {
            let mut client = (*session.registry).clone();
            for name in names.iter().filter(|_| output.is_insecure) {
                client = client.trusting(name.registry());
            }
            exporter::push(prepared, names, output.push_by_digest, &client, job)
        }
        OutputKind::Image
        | OutputKind::Engine
        | OutputKind::Local
        | OutputKind::Tar
        | OutputKind::CacheOnly => Ok(()),
    }
}

fn directory(output: &Output) -> &Path {
    match &output.dest {
        Some(OutputDest::Path(path)) => path,
        _ => Path::new("."),
    }
}

/// The file systems themselves.
fn files(
    session: &Arc<Session>,
    output: &Output,
    built: &[Built],
    attesting: &Attesting<'_>,
) -> Result<(), Stop> {
    let split = output.platform_split.or(is_index(session).then_some(true));
    let is_shared = built.len() > 1 && split == Some(false);
    let mut trees: Vec<(Platform, Arc<dyn Tree>)> = Vec::new();
    for (at, one) in built.iter().enumerate() {
        let stack = StackValue::Present(one.stack.clone());
        let mut tree = stack_tree::open(session, &stack, Internal::Export.vertex())?;
        if attests(session, output) {
            let list = attesting.of(at, &[], takes(output))?;
            let platform = one.platform.to_string().replace('/', "_");
            let named = (&*output.attestation_prefix, is_shared.then_some(&*platform));
            tree = attest::with_files(tree, &list, named, attesting.mtime())?;
        }
        trees.push((one.platform.clone(), tree));
    }
    let trees: Vec<(Platform, &dyn Tree)> =
        trees.iter().map(|(platform, tree)| (platform.clone(), &**tree)).collect();
    let epoch = session.epoch();
    let job = job(session);
    let written = match (output.kind, &output.dest) {
        (OutputKind::Local, _) => {
            let options = DirOptions { split, delete: output.delete, epoch };
            exporter::write_directory(&trees, directory(output), &options, job)
        }
        (_, Some(OutputDest::Path(path))) => exporter::write_file(path, &mut |out| {
            exporter::write_tree_tar(&trees, split, epoch, out, job)
        }),
        (_, _) => {
            exporter::write_tree_tar(&trees, split, epoch, &mut std::io::stdout().lock(), job)
        }
    };
    written.map_err(BuildError::export)?;
    Ok(())
}

fn options(session: &Session, output: &Output) -> ImageOptions {
    ImageOptions {
        compression: output.compression.into(),
        force_compression: output.force_compression,
        oci_types: output.oci_media_types,
        annotations: output.annotations.clone(),
        epoch: session.epoch(),
        force_index: is_index(session)
            || (attests(session, output) && output.attach != AttachForm::Referrers),
        ..ImageOptions::default()
    }
}

fn exported_all(
    session: &Arc<Session>,
    output: &Output,
    built: &[Built],
) -> Result<Vec<BuiltImage>, Stop> {
    let encoding = encoding(session, output);
    built.iter().map(|built| exported(session, built, &encoding)).collect()
}

fn exported(
    session: &Arc<Session>,
    built: &Built,
    encoding: &Encoding,
) -> Result<BuiltImage, Stop> {
    let form = built.form(encoding);
    if let Some(lazy) = &built.lazy {
        return Ok(BuiltImage {
            id: form.id,
            config: form.config.to_json(),
            platform: built.platform.clone(),
            layers: push_lazily::layers(session, built, lazy),
            manifest: None,
        });
    }
    let base = built.base.as_ref();
    let blobs = base.map(|base| base.blobs(session, Internal::Export.vertex())).transpose()?;
    let mut blobs = blobs.unwrap_or_default().into_iter();
    let repository = base.and_then(Base::repository);
    let diff_ids = &form.config.rootfs.diff_ids;
    let layers = diff_ids.iter().enumerate().map(|(at, diff_id)| {
        let is_base = at < built.base_layers;
        let own = blobs.next().flatten();
        LayerSource {
            diff_id: *diff_id,
            layer: built.stack.layers.get(at).copied(),
            encoding: if is_base { Encoding::default() } else { form.encoding },
            is_base,
            pulled_from: repository.filter(|_| own.is_some()).cloned(),
            own,
        }
    });
    Ok(BuiltImage {
        id: form.id,
        config: form.config.to_json(),
        platform: built.platform.clone(),
        layers: layers.collect(),
        manifest: None,
    })
}

/// A manifest of an index that is no image's. What only refers to an image is not kept.
fn kept_beside(attached: &exporter::Attached) -> Option<AttachedManifest> {
    let document = |descriptor: &Descriptor, bytes: &[u8]| StoredManifest {
        media_type: descriptor.media_type.clone(),
        bytes: bytes.to_vec(),
        digest: descriptor.digest,
    };
    attached.refers_to.is_none().then(|| AttachedManifest {
        manifest: document(&attached.descriptor, &attached.manifest),
        blobs: attached.blobs.iter().map(|(d, bytes)| document(d, bytes)).collect(),
    })
}

fn kept(image: &exporter::PreparedImage) -> StoredManifest {
    StoredManifest {
        media_type: image.descriptor.media_type.clone(),
        bytes: image.manifest.clone(),
        digest: image.descriptor.digest,
    }
}
