//! Stacks whose layers may lie elsewhere, brought here when a byte of them is needed (design D5).
//!
//! Owns that what two steps want is fetched once. How a layer comes is `image`'s and `remote`'s business.

use std::sync::Arc;

use graph::Stack;

use crate::image;
use crate::remote;
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{Bottom, LazyImage, StackValue};

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
    let stack = image::fetch(session, image, vertex)?;
    *present = Some(stack.clone());
    Ok(stack)
}
