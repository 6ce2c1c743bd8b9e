//! A stack of the store's layers as a tree that can be read.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use graph::LayerId;
use tree::{LayerDir, StackTree, Tree};

use crate::finish;
use crate::present;
use crate::session::Session;
use crate::stop::Stop;
use crate::value::StackValue;

/// Opens a stack for reading, fetching what is missing. `vertex` gets the progress of that.
pub(crate) fn open(
    session: &Arc<Session>,
    value: &StackValue,
    vertex: u32,
) -> Result<Arc<dyn Tree>, Stop> {
    let stack = present::ensure(session, value, vertex)?;
    let tocs = finish::tocs(session, &stack.layers)?;
    let layers = tocs.into_iter().zip(&stack.layers).map(|(toc, layer)| {
        let dir: Arc<dyn LayerDir> =
            Arc::new(StoreDir { lease: session.lease.clone(), layer: *layer });
        (toc, dir)
    });
    Ok(Arc::new(StackTree::new(layers.collect())))
}

/// A layer's directory, opened when a file of it is read.
struct StoreDir {
    lease: Arc<store::Lease>,
    layer: LayerId,
}

impl LayerDir for StoreDir {
    fn open(&self) -> std::io::Result<OwnedFd> {
        self.lease.layer_dir(self.layer).map_err(std::io::Error::other)
    }
}
