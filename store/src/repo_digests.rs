//! Digests under which repositories are known to have images: what was pulled from them or pushed to them.
//!
//! A note is no name: it keeps nothing from being removed, and goes with what it is about. Each is a file of its own,
//! so that processes at work at the same time do not take away each other's.

use oci::{Digest, Reference};

use crate::census;
use crate::error::{StoreError, at};
use crate::layout::Store;
use crate::lease::Lease;
use crate::seal;

pub(crate) const AREA: &str = "repo-digests";
const KIND: &str = "repo-digest";

fn path(object: &Digest, name: &Reference) -> String {
    format!("{AREA}/{}.{}", object.hex(), Digest::of(name.to_string().as_bytes()).hex())
}

/// Digits of what a note is about.
pub(crate) fn object_of(path: &str) -> Option<&str> {
    path.strip_prefix(AREA)?.strip_prefix('/')?.split_once('.').map(|(object, _)| object)
}

impl Lease {
    /// Notes that a repository has an image, or an index, under a digest. `object` is [`crate::Tagged::object`], the
    /// digest is that of `name`; one without a digest is not noted.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_repo_digest(&self, object: &Digest, name: &Reference) -> Result<(), StoreError> {
        let Some(digest) = name.digest() else { return Ok(()) };
        // A tag beside it may mean something else tomorrow.
        let name = name.with_digest(digest);
        let path = path(object, &name);
        let known = self.disk().read(&path).map_err(at("read", path.as_str()))?;
        if known.is_some_and(|bytes| parse(&path, &bytes).is_some()) {
            return Ok(());
        }
        self.disk().make_dir(AREA).map_err(at("make", AREA))?;
        self.publish(&path, &seal::seal_json(KIND, &path, &name.to_string()), true)
    }
}

impl Store {
    /// All notes: what each is about, and the repository with the digest, sorted by this.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn repo_digests(&self) -> Result<Vec<(Digest, Reference)>, StoreError> {
        let mut found = Vec::new();
        for path in self.repo_digest_paths()? {
            let bytes = self.disk().read(&path).map_err(at("read", path.as_str()))?;
            found.extend(bytes.and_then(|bytes| parse(&path, &bytes)));
        }
        found.sort_by(|(_, a): &(Digest, Reference), (_, b)| a.cmp(b));
        Ok(found)
    }

    /// Forgets what was noted of an image or index in a repository.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn forget_repo_digests(
        &self,
        object: &Digest,
        repository: &Reference,
    ) -> Result<(), StoreError> {
        for (about, name) in self.repo_digests()? {
            if about == *object && name.name() == repository.name() {
                let path = path(object, &name);
                self.disk().unlink(&path).map_err(at("remove", path.as_str()))?;
            }
        }
        Ok(())
    }

    pub(crate) fn repo_digest_paths(&self) -> Result<Vec<String>, StoreError> {
        census::in_dir(self.disk(), AREA).map_err(at("list", AREA))
    }
}

/// `None` when the file is not whole.
fn parse(path: &str, bytes: &[u8]) -> Option<(Digest, Reference)> {
    let object = Digest::from_hex(object_of(path)?).ok()?;
    let name: String = seal::unseal_json(KIND, path, bytes)?;
    Some((object, name.parse().ok()?))
}
