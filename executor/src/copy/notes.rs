//! What is known of a new layer beyond what its directory shows: digests, and what a user namespace cannot express.

use std::collections::HashMap;

use layer::{Entry, EntryKind, Toc};
use oci::Digest;

/// Facts by path in the image. What is put at a path later replaces what was noted before.
#[derive(Default)]
pub(crate) struct Notes {
    pub(super) digests: HashMap<Vec<u8>, Digest>,
    /// Owners that the kernel cannot give here, as only one id is mapped.
    pub(super) owners: HashMap<Vec<u8>, (u32, u32)>,
    /// Device nodes that may not be made here: they are in the table of contents alone.
    pub(super) devices: HashMap<Vec<u8>, Entry>,
}

impl Notes {
    /// Paths that all belong to one owner.
    pub(crate) fn of_owners(paths: Vec<Vec<u8>>, owner: (u32, u32)) -> Notes {
        let owners = paths.into_iter().map(|path| (path, owner)).collect();
        Notes { owners, ..Notes::default() }
    }

    /// Nothing of a path is known any more.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.digests.remove(path);
        self.owners.remove(path);
        self.devices.remove(path);
    }

    /// Adds what is known to a listing of the layer's directory.
    pub(crate) fn complete(&self, raw: Toc) -> Toc {
        let mut entries = raw.into_entries();
        // In the place of a device there may be the mark that hides what lies below; the device does that too.
        let is_device = |entry: &Entry| {
            entry.kind == EntryKind::Whiteout && self.devices.contains_key(&entry.path)
        };
        entries.retain(|entry| !is_device(entry));
        entries.extend(self.devices.values().cloned());
        for entry in &mut entries {
            if let Some((uid, gid)) = self.owners.get(&entry.path) {
                (entry.uid, entry.gid) = (*uid, *gid);
            }
            if let EntryKind::File { digest, .. } = &mut entry.kind {
                *digest = digest.or_else(|| self.digests.get(&entry.path).copied());
            }
        }
        Toc::from_entries(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry::plain(path.as_bytes(), kind)
    }

    #[test]
    fn listings_are_completed() {
        let mut notes = Notes::default();
        let device = EntryKind::CharDevice { major: 1, minor: 3 };
        for path in ["null", "gone"] {
            notes.devices.insert(path.into(), entry(path, device.clone()));
            notes.owners.insert(path.into(), (5, 6));
        }
        notes.forget(b"gone");
        notes.digests.insert(b"f".to_vec(), Digest::of(b"f"));
        notes.owners.insert(b"f".to_vec(), (7, 8));
        let file = EntryKind::File { size_bytes: 1, digest: None };
        let raw = vec![entry("f", file), entry("null", EntryKind::Whiteout)];
        let toc = notes.complete(Toc::from_entries(raw));
        let owner = |path: &[u8]| toc.get(path).map(|entry| (entry.uid, entry.gid));
        assert_eq!(
            (owner(b"f"), owner(b"null"), owner(b"gone")),
            (Some((7, 8)), Some((5, 6)), None)
        );
        assert_eq!(toc.get(b"null").map(|entry| &entry.kind), Some(&device));
        assert!(toc.has_all_digests());
    }
}
