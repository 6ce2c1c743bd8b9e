//! Which cache mount is meant: in memory, as a directory's name, and as a note for people beside it.

use oci::Digest;
use serde::{Deserialize, Serialize};

use crate::seal;

const KIND: &str = "cache-mount";

/// The identity of a cache mount (MNT-32): equal ones share their directories.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CacheMountId {
    /// BUILDKIT_CACHE_MOUNT_NS; empty for none (CACHE-45).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// What the Dockerfile calls it (MNT-31).
    pub id: String,
    /// Owner and mode of a new directory, when the Dockerfile gives one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<CacheMountOwner>,
    /// A digest that stands for the first content (MNT-34), in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Owner and mode of a new cache directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CacheMountOwner {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mode.
    pub mode: u32,
}

impl CacheMountId {
    /// Digest of the identity: what names it where a text cannot.
    pub fn key(&self) -> Digest {
        let mut text = format!("{}/{}", self.namespace, self.id);
        if let Some(CacheMountOwner { uid, gid, mode }) = self.owner {
            text.push_str(&format!("\0uid={uid} gid={gid} mode={mode:o}"));
        }
        if let Some(origin) = &self.origin {
            text.push_str(&format!("\0from={origin}"));
        }
        Digest::of(text.as_bytes())
    }

    /// The directory of its directories, below the store's root.
    pub(super) fn home(&self) -> String {
        format!("cache-mounts/{}", self.key().hex())
    }

    /// The note for people.
    pub(super) fn seal(&self, path: &str) -> Vec<u8> {
        seal::seal_json(KIND, path, self)
    }

    /// What the note says; `None` when it is damaged.
    pub(crate) fn unseal(path: &str, file: &[u8]) -> Option<CacheMountId> {
        seal::unseal_json(KIND, path, file)
    }
}

/// Where the note is.
pub(crate) fn about_path(home: &str) -> String {
    format!("{home}/about")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_makes_another_one() {
        let plain = CacheMountId { id: "x".to_owned(), ..CacheMountId::default() };
        let owner = Some(CacheMountOwner { uid: 0, gid: 0, mode: 0o755 });
        let others = [
            CacheMountId { id: "y".to_owned(), ..plain.clone() },
            CacheMountId { namespace: "n".to_owned(), ..plain.clone() },
            CacheMountId { owner, ..plain.clone() },
            CacheMountId { origin: Some("00".to_owned()), ..plain.clone() },
            CacheMountId { id: "x#uid=0#gid=0#mode=755".to_owned(), ..plain.clone() },
            plain.clone(),
        ];
        let keys: std::collections::BTreeSet<_> = others.iter().map(CacheMountId::key).collect();
        assert_eq!(keys.len(), others.len());
        let note = plain.seal("a/about");
        assert_eq!(CacheMountId::unseal("a/about", &note), Some(plain));
        assert_eq!(CacheMountId::unseal("b/about", &note), None);
    }
}
