//! Completes layers behind the build's back: table of contents, content id, diff id (design D3).
//!
//! Owns what makes a committed layer whole, and the waiting for it. A step's successor does not wait here; only who
//! needs a digest does. Refuses to know what the digests are for.

use std::os::fd::AsFd as _;
use std::sync::Arc;

use graph::{ContentId, LayerId, Stack, StackIdentity};
use layer::{Encoding, Toc};
use oci::DiffId;

use crate::error::{BuildError, BuildErrorKind};
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{Above, StackValue};

/// Name of the layer encoding that keeps all times as they are.
pub(crate) const PLAIN: &str = "plain";

/// A layer to complete.
pub(crate) struct Unfinished {
    pub(crate) layer: LayerId,
    /// What it was made on, lowest first.
    pub(crate) below: Vec<LayerId>,
    /// Its listing, if the step made one as it went.
    pub(crate) raw: Option<Toc>,
    /// It is part of an image that gets a config: its tar's digest will be asked for.
    pub(crate) wants_diff_id: bool,
}

/// Completes a layer that was just committed, on a thread of its own. `explain` says of a failure whose layer it was.
pub(crate) fn start(
    session: &Arc<Session>,
    new: Unfinished,
    explain: impl FnOnce(Stop) -> Stop + Send + 'static,
) {
    let completing = session.background.completing(new.layer);
    let own = session.clone();
    session.background.spawn(move || {
        let _completing = completing;
        let listed = complete(&own, &new.layer, &new.below, new.raw);
        listed.map_err(explain)?;
        if new.wants_diff_id {
            tar_digest(&own, new.layer, &Encoding::default())?;
        }
        Ok(())
    });
}

/// Makes sure that the topmost of `layers` has its table of contents: a build that was killed may have left it
/// without. False if none can be made of it, so that the layer is of no use (ADD-23).
pub(crate) fn is_whole(session: &Arc<Session>, layers: &[LayerId]) -> Result<bool, Stop> {
    let Some((layer, below)) = layers.split_last() else { return Ok(true) };
    if is_listed(session, *layer)? {
        return Ok(true);
    }
    match toc(session, *layer, below) {
        Ok(_) => Ok(true),
        Err(Stop::Failed(error)) if error.kind() == BuildErrorKind::Files => Ok(false),
        Err(stop) => Err(stop),
    }
}

/// Whether a layer has its table of contents. Never waits.
pub(crate) fn is_listed(session: &Session, layer: LayerId) -> Result<bool, Stop> {
    let info = session.lease.layer(layer);
    let info = info.map_err(|e| BuildError::store("cannot read a layer's facts", e))?;
    Ok(info.is_some_and(|info| info.toc))
}

/// The table of contents of a layer. Makes it when an earlier build did not get round to it.
pub(crate) fn toc(
    session: &Arc<Session>,
    layer: LayerId,
    below: &[LayerId],
) -> Result<Arc<Toc>, Stop> {
    let read = || {
        session
            .lease
            .layer_toc(layer)
            .map_err(|e| BuildError::store("cannot read a layer's table of contents", e))
    };
    if let Some(toc) = read()? {
        return Ok(toc);
    }
    session.background.wait(layer);
    if let Some(toc) = read()? {
        return Ok(toc);
    }
    complete(session, &layer, below, None)?;
    let missing = || {
        BuildError::new(
            BuildErrorKind::Files,
            format!("layer {layer} has vanished from the store while it was in use"),
        )
    };
    Ok(read()?.ok_or_else(missing)?)
}

/// The tables of contents of a whole stack, lowest first.
pub(crate) fn tocs(session: &Arc<Session>, layers: &[LayerId]) -> Result<Vec<Arc<Toc>>, Stop> {
    layers.iter().enumerate().map(|(at, layer)| toc(session, *layer, &layers[..at])).collect()
}

/// What a stack is to a cache key; waits for content ids that are being made.
pub(crate) fn identity(session: &Arc<Session>, value: &StackValue) -> Result<StackIdentity, Stop> {
    let lazy = match value {
        StackValue::Present(stack) => return present_identity(session, stack),
        StackValue::Lazy(lazy) => lazy,
    };
    let mut identity = present_identity(session, &lazy.bottom.named())?;
    for layer in &lazy.above {
        identity.contents.push(match layer {
            Above::Layer(layer) => content_id(session, &[*layer])?,
            Above::Imported(layer) => layer.content_id,
        });
    }
    Ok(identity)
}

fn present_identity(session: &Arc<Session>, stack: &Stack) -> Result<StackIdentity, Stop> {
    let first = stack.layers.len() - stack.above_base().len();
    let contents = (first..stack.layers.len()).map(|at| content_id(session, &stack.layers[..=at]));
    let contents = contents.collect::<Result<_, Stop>>()?;
    Ok(StackIdentity { base: stack.base.map(|(chain, _)| chain), contents })
}

/// The content id of the topmost of `layers`. Remembered: every key of a long chain asks for all that lie below.
pub(crate) fn content_id(session: &Arc<Session>, layers: &[LayerId]) -> Result<ContentId, Stop> {
    let (layer, below) = layers.split_last().expect("called with at least one layer");
    if let Some(id) = lock(&session.content_ids).get(layer) {
        return Ok(*id);
    }
    let info = session.lease.layer(*layer);
    let info = info.map_err(|e| BuildError::store("cannot read a layer's facts", e))?;
    let id = match info.and_then(|info| info.content_id) {
        Some(id) => id,
        None => layer::content_id(&*toc(session, *layer, below)?),
    };
    lock(&session.content_ids).insert(*layer, id);
    Ok(id)
}

/// Of the topmost of `layers` the digest of its tar, made now if nobody made it before, and when the layer was made.
/// The tar is encoded as said.
pub(crate) fn made(
    session: &Arc<Session>,
    layers: &[LayerId],
    encoding: &Encoding,
) -> Result<(DiffId, String), Stop> {
    let (layer, below) = layers.split_last().expect("called with at least one layer");
    let info = session.lease.layer(*layer);
    let info = info.map_err(|e| BuildError::store("cannot read a layer's facts", e))?;
    let (known, created) = match info {
        Some(info) => (info.diff_ids.get(PLAIN).copied(), info.created),
        None => (None, String::new()),
    };
    if let Some(id) = known.filter(|_| *encoding == Encoding::default()) {
        return Ok((id, created));
    }
    session.worker()?;
    toc(session, *layer, below)?;
    Ok((tar_digest(session, *layer, encoding)?, created))
}

/// Digests the tar of a layer that has its table of contents.
fn tar_digest(session: &Session, layer: LayerId, encoding: &Encoding) -> Result<DiffId, Stop> {
    let made = exporter::layer_diff_id(&session.lease, layer, encoding);
    Ok(made.map_err(|e| BuildError::of(BuildErrorKind::Files, e))?)
}

/// Lists a layer's directory, takes out what equals the layers below, and reads what has no digest yet.
fn complete(
    session: &Arc<Session>,
    layer: &LayerId,
    below: &[LayerId],
    raw: Option<Toc>,
) -> Result<(), Stop> {
    session.worker()?;
    let store = |e| BuildError::store("cannot complete a layer", e);
    let dir = session.lease.layer_dir(*layer).map_err(store)?;
    let mut lower = tocs(session, below)?;
    lower.reverse();
    let top_first: Vec<&Toc> = lower.iter().map(|toc| &**toc).collect();
    let raw = match raw {
        Some(raw) => raw,
        None => layer::scan_upper(dir.as_fd(), sys::in_user_namespace())
            .map_err(|e| broken_layer(*layer, e))?,
    };
    let open_below = |index: usize| session.lease.layer_dir(below[below.len() - 1 - index]).ok();
    let mut toc = layer::normalize(raw, dir.as_fd(), &top_first, &open_below)
        .map_err(|e| broken_layer(*layer, e))?;
    layer::digest_files(dir.as_fd(), &mut toc, &|| session.cancel.is_cancelled())
        .map_err(|e| broken_layer(*layer, e))?;
    let content_id = layer::content_id(&toc);
    session.lease.set_toc(*layer, toc, content_id).map_err(store)?;
    Ok(())
}

fn broken_layer(layer: LayerId, error: layer::LayerError) -> BuildError {
    let text = match error.is_reserved_name() {
        true => "what the step left cannot be a layer".to_owned(),
        false => format!("cannot read layer {layer}"),
    };
    BuildError::new(BuildErrorKind::Files, text).because(error)
}
