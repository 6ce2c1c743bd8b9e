//! One entry of a layer or of any other tree.

use std::collections::{BTreeMap, HashSet};

use oci::Digest;

/// A name in a tree with everything that is known of it, as the image has it (in-image ids).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path from the root, without leading, trailing and doubled slashes, without `.` and `..`; empty for the root.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission, setuid, setgid and sticky bits: 0 to 07777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Extended attributes that a layer keeps: `security.capability` alone (INS-08).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Names with the same number in one layer are one file (hard links). Never set for directories.
    pub link_group: Option<u32>,
}

/// Bytes in the regular files of a tree, each rounded up to whole blocks; a file with several names once.
pub fn file_bytes(entries: &[Entry], block_bytes: u64) -> u64 {
    let mut groups = HashSet::new();
    let once = entries.iter().filter(|e| e.link_group.is_none_or(|group| groups.insert(group)));
    let sizes = once.map(|entry| match entry.kind {
        EntryKind::File { size_bytes, .. } => {
            size_bytes.checked_next_multiple_of(block_bytes).unwrap_or(u64::MAX)
        }
        _ => 0,
    });
    // Sparse files can be of any length.
    sizes.fold(0, u64::saturating_add)
}

/// Kinds of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory {
        /// Nothing of the layers below shows through. Only in a raw overlay listing; a stored table of contents has
        /// whiteouts by name instead.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Length in bytes.
        size_bytes: u64,
        /// Digest of the content, when it has been read. The digest of an empty file is always known.
        digest: Option<Digest>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket. Never in a layer; a context may have one (COPY-47).
    Socket,
    /// The name below is gone. Only in layers.
    Whiteout,
}

/// A modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970; may be negative.
    pub secs: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

impl Entry {
    /// Root's entry without a time: mode 0755 for a directory, 0644 for anything else.
    pub fn plain(path: &[u8], kind: EntryKind) -> Entry {
        Entry {
            path: path.to_vec(),
            mode: if matches!(kind, EntryKind::Directory { .. }) { 0o755 } else { 0o644 },
            kind,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: BTreeMap::new(),
            link_group: None,
        }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Directory { .. })
    }

    /// The last component of the path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The path without its last component; empty for an entry in the root.
    pub fn parent(&self) -> &[u8] {
        self.path.iter().rposition(|b| *b == b'/').map_or(&[], |at| &self.path[..at])
    }
}
