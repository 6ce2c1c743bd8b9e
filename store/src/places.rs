//! Repositories in which a blob was seen: a registry that has it in one need not be sent it for another.
//!
//! A note is only a hope, for whoever pushes looks there. Nothing needs it, and it needs nothing.

use oci::Digest;

use crate::error::{StoreError, at};
use crate::layout::{Store, locked};
use crate::lease::Lease;
use crate::seal;

pub(crate) const AREA: &str = "places";
const KIND: &str = "places";
/// The latest ones are kept.
const PLACES_MAX: usize = 8;

fn path(digest: &Digest) -> String {
    format!("{AREA}/{}", digest.hex())
}

impl Store {
    /// Where a blob was seen, `registry/repository`, the latest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn blob_places(&self, digest: &Digest) -> Result<Vec<String>, StoreError> {
        let path = path(digest);
        let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        Ok(bytes.and_then(|bytes| seal::unseal_json(KIND, &path, &bytes)).unwrap_or_default())
    }
}

impl Lease {
    /// Notes that a blob was seen in a repository, `registry/repository`.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn note_blob_place(&self, digest: &Digest, name: &str) -> Result<(), StoreError> {
        let _updating = locked(&self.store().shared.updating);
        let mut places = self.store().blob_places(digest)?;
        if places.first().is_some_and(|first| first == name) {
            return Ok(());
        }
        places.retain(|place| place != name);
        places.insert(0, name.to_owned());
        places.truncate(PLACES_MAX);
        self.disk().make_dir(AREA).map_err(at("make", AREA))?;
        let path = path(digest);
        self.publish(&path, &seal::seal_json(KIND, &path, &places), false)
    }
}
