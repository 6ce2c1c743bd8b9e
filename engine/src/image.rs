//! Images that a build stands on: resolved once, fetched and unpacked when a byte of them is needed (design D5).
//!
//! Owns the way from a reference to layers in the store. Refuses to know what is built on them.

mod ahead;
mod blob;
mod claims;
mod elsewhere;
mod fetch;
mod growing;
mod in_engine;
mod noted;
mod own;
mod refusal;
mod resolve;
mod stored;
mod unpack;

use std::sync::Arc;

use graph::{ImageSource, LayerId, Stack};
use oci::ChainId;

use crate::error::{BuildError, BuildErrorKind};
use crate::session::Session;
use crate::stop::Stop;
use crate::value::{Bottom, LazyImage, LazyStack, StackValue};

pub(crate) use blob::bring as bring_blob;
pub(crate) use claims::Claims;
pub(crate) use fetch::{download_all, fetch};
pub(crate) use noted::{count, described, layer_blob, note, prove};
pub(crate) use own::Base;
pub(crate) use resolve::{ImageSources, at_registry, config_bytes, fitting, named};
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

fn known_stack(
    session: &Session,
    chain: ChainId,
    count: usize,
) -> Result<Option<Stack>, BuildError> {
    let layers = known_stack_layers(session, chain)?.filter(|layers| layers.len() == count);
    Ok(layers.map(|layers| Stack { base: Some((chain, count)), layers }))
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
