//! Listings: what the digest of selected files was made of, under that digest, so that two of them can be compared.
//!
//! A listing is checked by its name each time it is read and promised to nobody: one that is torn, or was removed,
//! only makes an answer less exact. So no lease names it and no generation lists it. Refuses to know its form.

use std::io::Read as _;

use graph::TreeDigest;
use oci::Digest;

use crate::error::{StoreError, at};
use crate::lease::Lease;

/// Where they lie.
pub(crate) const AREA: &str = "listings";
/// A longer one is not kept: it would be of millions of files.
const LENGTH_MAX_BYTES: u64 = 512 << 20;
/// Digests do not compress, and names do at any level.
const LEVEL: i32 = 1;

pub(crate) fn path(digest: &TreeDigest) -> String {
    format!("{AREA}/{}", digest.0.hex())
}

impl Lease {
    /// Keeps a listing. What does not have the digest that names it is not kept.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn put_listing(&self, digest: &TreeDigest, listing: &[u8]) -> Result<(), StoreError> {
        let path = path(digest);
        if self.has_listing(digest)?
            || listing.len() as u64 > LENGTH_MAX_BYTES
            || Digest::of(listing) != digest.0
        {
            return Ok(());
        }
        let packed = zstd::bulk::compress(listing, LEVEL).map_err(at("compress", path.as_str()))?;
        // A store that an earlier version made has no such directory.
        self.disk().make_dir(AREA).map_err(at("make", AREA))?;
        self.publish(&path, &packed, false)
    }

    /// Whether a listing is kept, whole or not.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn has_listing(&self, digest: &TreeDigest) -> Result<bool, StoreError> {
        let path = path(digest);
        Ok(self.disk().stat(&path).map_err(at("look at", path.as_str()))?.is_some())
    }

    /// A listing; `None` when it is not kept, or not whole any more.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn listing(&self, digest: &TreeDigest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = path(digest);
        let Some(packed) = self.disk().read(&path).map_err(at("read", path.as_str()))? else {
            return Ok(None);
        };
        let listing = unpack(&packed).filter(|listing| Digest::of(listing) == digest.0);
        if listing.is_none() {
            // Else it would stand in the way of a whole one.
            self.disk().unlink(&path).map_err(at("remove", path.as_str()))?;
        }
        Ok(listing)
    }
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut listing = Vec::new();
    let reader = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    reader.take(LENGTH_MAX_BYTES + 1).read_to_end(&mut listing).ok()?;
    Some(listing)
}
