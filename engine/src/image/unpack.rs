//! One layer's blob to a directory of the store. What a tar means depends on what lies below it (design D3).

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use graph::LayerId;
use layer::{ApplyOptions, Toc};
use oci::{ChainId, Descriptor, DiffId};
use rustix::fs::{Mode, OFlags};
use store::TarSizes;

use super::ahead::ahead;
use super::known_stack_layers;
use super::noted::note_verified;
use crate::error::BuildError;
use crate::finish;
use crate::session::Session;
use crate::stop::Stop;

/// A layer's blob, which is in the store.
pub(crate) struct Packed<'a> {
    pub(crate) descriptor: &'a Descriptor,
    /// What its tar has to be.
    pub(crate) diff_id: DiffId,
    /// When the layer was made, RFC 3339.
    pub(crate) created: &'a str,
    /// The error that says of whose it is that it cannot be used, and why.
    pub(crate) malformed: &'a dyn Fn(&str) -> BuildError,
}

/// Unpacks one blob on the layers below it; the result is found by its chain from then on.
pub(crate) fn unpack(
    session: &Arc<Session>,
    packed: &Packed<'_>,
    below: &[LayerId],
    chain: ChainId,
) -> Result<LayerId, Stop> {
    let store = |e| BuildError::store("cannot unpack a layer", e);
    let name = format!("unpack {chain}");
    let _flight =
        session.lease.single_flight(&name, &|| session.cancel.is_cancelled()).map_err(store)?;
    // Another process may have unpacked it meanwhile, but only on the same layers is it ours to use.
    if let Some(layers) = known_stack_layers(session, chain)?
        && layers[..layers.len() - 1] == *below
    {
        return Ok(layers[layers.len() - 1]);
    }
    let layer = unpack_blob(session, packed, below)?;
    let mut layers = below.to_vec();
    layers.push(layer);
    session.lease.put_chain(&chain, &layers).map_err(store)?;
    Ok(layer)
}

fn unpack_blob(
    session: &Arc<Session>,
    packed: &Packed<'_>,
    below: &[LayerId],
) -> Result<LayerId, Stop> {
    let Packed { descriptor, diff_id, created, malformed } = *packed;
    let store = |e| BuildError::store("cannot unpack a layer", e);
    let bad = |e| malformed("one of its layers cannot be unpacked").because(e);
    let blob = session.lease.open_blob(&descriptor.digest).map_err(store)?;
    let blob = blob.ok_or_else(|| malformed("one of its layers vanished from the store"))?;
    let mut tocs = finish::tocs(session, below)?;
    tocs.reverse();
    let top_first: Vec<&Toc> = tocs.iter().map(|toc| &**toc).collect();
    let open_below = |index: usize| session.lease.layer_dir(below[below.len() - 1 - index]).ok();
    let ingest = session.lease.new_ingest().map_err(store)?;
    let dir = new_dir(&ingest, "diff")?;
    let options = ApplyOptions {
        userxattr: session.lease.store().userxattr(),
        owners_in_toc_only: session.maps_one_id(),
        lower_dir: &open_below,
    };
    let applied = std::thread::scope(|scope| {
        let mut tar = ahead(scope, layer::decompress(blob));
        layer::apply_tar(&mut tar, dir.as_fd(), &top_first, &options)
    });
    let applied = applied.map_err(bad)?;
    if applied.diff_id != diff_id {
        let (digest, found) = (descriptor.digest, applied.diff_id);
        let text = format!("its layer {digest} unpacks to {found}, not to {diff_id}");
        return Err(malformed(&text).into());
    }
    let layer = session.lease.commit_layer(ingest, "diff", created).map_err(store)?;
    let content_id = layer::content_id(&applied.toc);
    session.lease.set_toc(layer, applied.toc, content_id).map_err(store)?;
    session.lease.set_diff_id(layer, finish::PLAIN, diff_id, applied.size_bytes).map_err(store)?;
    let sizes =
        TarSizes { tar_bytes: Some(applied.size_bytes), files_bytes: Some(applied.files_bytes) };
    note_verified(session, diff_id, descriptor, sizes)?;
    Ok(layer)
}

/// A new directory in an ingest directory, open.
pub(crate) fn new_dir(ingest: &store::Ingest, name: &str) -> Result<OwnedFd, BuildError> {
    let fail = |e: rustix::io::Errno| BuildError::io("cannot make a layer's directory", e.into());
    rustix::fs::mkdirat(ingest.dir(), name, Mode::from_raw_mode(0o755)).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(ingest.dir(), name, flags, Mode::empty()).map_err(fail)
}
