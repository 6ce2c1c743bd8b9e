//! Images to the container engines of this machine: the output of a build, and an image of the store.
//!
//! Owns what is looked at before any layer is opened: an engine that has the image only gets its names. How engines
//! take images is the exporter's business.

use std::sync::Arc;

use exporter::{BuiltImage, Engine, EngineKind, EnginePlaces, HandedOff, ImageOptions, Job};
use oci::{ImageId, Reference};
use progress::Emitter;
use store::Lease;
use sys::Cancel;

use crate::environment::{self, Environment};
use crate::error::{BuildError, BuildErrorKind};
use crate::image::Claims;
use crate::image::fitting;
use crate::images::{by_id, fetch_of, find_tagged, stored};
use crate::internal::{self, Internal};
use crate::output::job::job;
use crate::session::Session;
use crate::stop::Stop;

/// Where an image of the store goes.
#[derive(Clone, Debug, Default)]
pub struct HandOff {
    /// The engine.
    pub kind: EngineKind,
    /// Where engines may be.
    pub places: EnginePlaces,
    /// The image: a name, an id or the beginning of one.
    pub image: String,
}

/// An image that an engine has now.
#[derive(Clone, Debug)]
pub struct InEngine {
    /// Its id, as the store calls it.
    pub id: ImageId,
    /// The names that it has there now.
    pub names: Vec<Reference>,
    /// The engine, for people.
    pub engine: String,
    /// What was sent.
    pub sent: HandedOff,
}

/// Looks for an engine.
///
/// # Errors
/// There is none.
pub fn find_engine(
    kind: &EngineKind,
    places: &EnginePlaces,
    cancel: &Cancel,
) -> Result<Engine, BuildError> {
    Engine::find(kind, places, cancel).map_err(|error| {
        let hint = match (&places.elsewhere, kind) {
            (Some(why), _) if why.contains("ssh://") => {
                "forward the engine's socket (`ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock \
                 HOST`) and name it in DOCKER_HOST as unix:///tmp/engine.sock, or pipe \
                 `shale save IMAGE | docker load`"
            }
            (Some(_), _) => {
                "name the engine in DOCKER_HOST or CONTAINER_HOST, as unix:///PATH or \
                 tcp://HOST:PORT, which comes before docker's contexts"
            }
            (None, EngineKind::Podman) => {
                "start its socket (`systemctl --user start podman.socket`), name one in \
                 CONTAINER_HOST, or install podman"
            }
            (None, EngineKind::Containerd { .. }) => {
                "start containerd, name its socket (`--to containerd=/PATH.sock`, or \
                 CONTAINERD_ADDRESS), and have its program ctr in PATH"
            }
            (None, EngineKind::Any | EngineKind::Docker) => {
                "start the engine, or name it in DOCKER_HOST (unix:///path, tcp://host:port); \
                 `shale save IMAGE -o FILE` writes an archive that every engine reads"
            }
        };
        BuildError::export(error).with_hint(hint)
    })
}

/// Hands an image of the store to an engine; `None` when that needs a worker, which this process has not.
///
/// # Errors
/// There is no such image, or the engine does not take it.
pub fn hand_off(
    request: &HandOff,
    engine: &Engine,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<Option<InEngine>, BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let (image, names) = chosen(&session, &request.image)?;
    let image_id = image.id;
    let there = engine.tag_if_there(&image.id, &names, cancel).map_err(BuildError::export)?;
    if !there && !can_read(&session, std::slice::from_ref(&image))? {
        return Ok(None);
    }
    let step = format!("sending {} to {}", request.image, engine.shown());
    let layers = image.layers.len();
    let sent = match there {
        true => HandedOff { layers_sent: 0, layers },
        false => internal::step(events, Internal::Export, &step, || {
            Claims::of_image(&image).check(&session)?;
            let fetch = fetch_of(&session, Claims::of_image(&image));
            let job = Job { fetch: Some(&fetch), ..job(&session) };
            let options = ImageOptions::default();
            let prepare = || exporter::prepare(std::slice::from_ref(&image), &options, job);
            engine.take(&image, &names, &prepare, job).map_err(BuildError::export)
        })?,
    };
    Ok(Some(InEngine { id: image_id, names, engine: engine.shown(), sent }))
}

/// Makes blobs of all layers of an image, so that a process without a worker can hand it off.
///
/// # Errors
/// There is no such image, or a layer cannot be read.
pub fn make_ready(
    request: &HandOff,
    environment: &Environment,
    (events, cancel): (&Emitter, &Cancel),
) -> Result<(), BuildError> {
    let session = environment::session_for(environment, events, cancel)?;
    let (image, _) = chosen(&session, &request.image)?;
    let fetch = fetch_of(&session, Claims::of_image(&image));
    let job = Job { fetch: Some(&fetch), ..job(&session) };
    let options = ImageOptions::default();
    exporter::prepare(&[image], &options, job).map(drop).map_err(BuildError::export)
}

/// The image that is meant, of several platforms this machine's, and its name if it was named by one.
fn chosen(session: &Session, text: &str) -> Result<(BuiltImage, Vec<Reference>), BuildError> {
    let lease: &Lease = &session.lease;
    let tagged = find_tagged(lease, text)?;
    let images =
        tagged.images().iter().map(|id| by_id(lease, id)).collect::<Result<Vec<_>, _>>()?;
    let at = fitting(&images, &oci::Platform::host()).unwrap_or(0);
    let image = images
        .into_iter()
        .nth(at)
        .ok_or_else(|| BuildError::new(BuildErrorKind::Files, format!("{text} names no image")))?;
    let held = lease.hold_layers(&image.stack.layers);
    held.map_err(|e| BuildError::store("cannot lease the image's layers", e))?;
    let is_name = |r: &Reference| lease.tag(r).is_ok_and(|found| found.as_ref() == Some(&tagged));
    let names: Vec<Reference> = text.parse().ok().filter(is_name).into_iter().collect();
    Ok((stored(image)?, names))
}

/// Whether the bytes of all layers can be read here: from blobs, or from directories by whoever may read all files.
fn can_read(session: &Session, images: &[BuiltImage]) -> Result<bool, BuildError> {
    let may_read_all = !sys::in_user_namespace() && rustix::process::geteuid().is_root();
    if session.worker.is_some() || may_read_all {
        return Ok(true);
    }
    for layer in images.iter().flat_map(|image| &image.layers) {
        let blobs = session.lease.layer_blobs(layer.diff_id);
        let blobs = blobs.map_err(|e| BuildError::store("cannot look for a layer's blobs", e))?;
        if layer.own.is_none() && blobs.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The engine that a build's result goes to; a process that only looks up has a use for it when it has the image.
pub(crate) fn output_engine(session: &Arc<Session>, id: &ImageId) -> Result<Engine, Stop> {
    let engine = find_engine(&EngineKind::Any, &session.request.engines, &session.cancel)?;
    let there = engine.tag_if_there(id, &[], &session.cancel).map_err(BuildError::export)?;
    if !there && session.worker.is_none() {
        return Err(Stop::NeedsWorker);
    }
    Ok(engine)
}

/// Engines take one image at a time.
pub(crate) fn one_image_only() -> BuildError {
    // ERR-73
    let text = "docker exporter does not currently support exporting manifest lists";
    BuildError::new(BuildErrorKind::Files, text)
}
