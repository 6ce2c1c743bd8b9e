//! Images that a build stands on: resolved once, fetched and unpacked when a byte of them is needed (design D5).
//!
//! Owns the way from a reference to layers in the store. Refuses to know what is built on them.

mod fetch;
mod noted;
mod own;
mod resolve;
mod stored;
mod unpack;

use std::sync::Arc;

use graph::{ImageSource, LayerId, Stack};
use oci::ChainId;

use crate::error::{BuildError, BuildErrorKind};
use crate::remote;
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{Bottom, LazyImage, LazyStack, StackValue};

pub(crate) use fetch::{counted, download_all};
pub(crate) use noted::{described, layer_blob, note};
pub(crate) use own::Base;
pub(crate) use resolve::{ImageSources, config_bytes, fitting};
pub(crate) use stored::fetch as fetch_stored;
pub(crate) use unpack::{Packed, new_dir, unpack};

/// The value of an image vertex: present if the store has its layers unpacked, else lazy.
pub(crate) fn value(session: &Session, image: &ImageSource) -> Result<StackValue, Stop> {
    let diff_ids = &image.config.rootfs.diff_ids;
    let Some(chain) = ChainId::of(diff_ids) else {
        return Ok(StackValue::Present(Stack::default())); // FROM-14
    };
    match known_stack(session, chain, diff_ids.len())? {
        Some(stack) => Ok(StackValue::Present(stack)),
        None => {
            let lazy = LazyImage { chain, image: image.clone(), present: None.into() };
            let bottom = Bottom::Image(Arc::new(lazy));
            Ok(StackValue::Lazy(LazyStack { bottom, above: Vec::new() }))
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
        StackValue::Lazy(lazy) => {
            session.worker()?;
            let bottom = || match &lazy.bottom {
                Bottom::Here(stack) => Ok(stack.clone()),
                Bottom::Image(image) => ensure_image(session, image, vertex),
            };
            remote::bring(session, &lazy.above, bottom, vertex)
        }
    }
}

fn ensure_image(session: &Arc<Session>, image: &LazyImage, vertex: u32) -> Result<Stack, Stop> {
    // Holding the lock makes other steps on the same image wait for this one's pull.
    let mut present = lock(&image.present);
    if let Some(stack) = &*present {
        return Ok(stack.clone());
    }
    let stack = fetch::fetch(session, image, vertex)?;
    *present = Some(stack.clone());
    Ok(stack)
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

/// The topmost layer of a chain that is in the store, all below it included.
pub(crate) fn known_stack_layers(
    session: &Session,
    chain: ChainId,
) -> Result<Option<Vec<LayerId>>, BuildError> {
    let store = |e| BuildError::store("cannot look up an image's layers", e);
    let Some(layers) = session.lease.chain(&chain).map_err(store)? else { return Ok(None) };
    Ok(session.lease.hold_layers(&layers).map_err(store)?.then_some(layers))
}

fn malformed(image: &ImageSource, why: &str) -> BuildError {
    let text = format!("image {} cannot be used: {why}", image.reference.familiar());
    BuildError::new(BuildErrorKind::Registry, text)
}
