//! Chains: which layers of this store make the file system that a ChainId names. What a layer's tar means depends on
//! what lies below it, so unpacked layers are found by chain (design D3).

use graph::LayerId;
use oci::ChainId;

use crate::error::{StoreError, at};
use crate::lease::Lease;
use crate::seal;

const KIND: &str = "chain";

pub(crate) fn path(chain: &ChainId) -> String {
    format!("chains/{}", chain.0.hex())
}

impl Lease {
    /// The layers of a chain, lowest first, protected by this; `None` when it is not known or a layer is gone.
    ///
    /// # Errors
    /// The store cannot be read, or the lease not written.
    pub fn chain(&self, chain: &ChainId) -> Result<Option<Vec<LayerId>>, StoreError> {
        let path = path(chain);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        let Some(layers) = bytes.and_then(|bytes| parse(&path, &bytes)) else { return Ok(None) };
        if !self.hold_layers(&layers)? {
            return Ok(None);
        }
        self.note_used(&path);
        Ok(Some(layers))
    }

    /// Files the layers of a chain, lowest first. What is filed so already is not written again: a build that changes
    /// nothing has nothing to sync.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_chain(&self, chain: &ChainId, layers: &[LayerId]) -> Result<(), StoreError> {
        if self.chain(chain)?.is_some_and(|known| known == layers) {
            return Ok(());
        }
        let path = path(chain);
        let names: Vec<String> = layers.iter().map(LayerId::to_string).collect();
        self.publish_result(&path, &seal::seal_json(KIND, &path, &names))
    }
}

/// `None` when the file is not whole.
pub(crate) fn parse(path: &str, bytes: &[u8]) -> Option<Vec<LayerId>> {
    let names: Vec<String> = seal::unseal_json(KIND, path, bytes)?;
    names.iter().map(|name| name.parse().ok()).collect()
}
