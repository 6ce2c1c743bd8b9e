//! Builders for tests: entries, directories and tars of any shape.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci::Digest;

use crate::{Entry, EntryKind, Mtime};

pub(crate) fn of_kind(path: &str, kind: EntryKind) -> Entry {
    let mode = match kind {
        EntryKind::Directory { .. } => 0o755,
        EntryKind::Symlink { .. } => 0o777,
        EntryKind::Whiteout => 0,
        _ => 0o644,
    };
    Entry {
        path: path.as_bytes().to_vec(),
        mtime: match kind {
            EntryKind::Whiteout => Mtime::default(),
            _ => Mtime { secs: 1_700_000_000, nanos: 0 },
        },
        kind,
        mode,
        uid: 0,
        gid: 0,
        xattrs: BTreeMap::new(),
        link_group: None,
    }
}

pub(crate) fn dir(path: &str) -> Entry {
    of_kind(path, EntryKind::Directory { opaque: false })
}

pub(crate) fn file(path: &str, content: &[u8]) -> Entry {
    let digest = Some(Digest::of(content));
    of_kind(path, EntryKind::File { size_bytes: content.len() as u64, digest })
}

pub(crate) fn link(path: &str, target: &str) -> Entry {
    of_kind(path, EntryKind::Symlink { target: target.as_bytes().to_vec() })
}

pub(crate) fn whiteout(path: &str) -> Entry {
    of_kind(path, EntryKind::Whiteout)
}

pub(crate) fn open(dir: &Path) -> OwnedFd {
    std::fs::File::open(dir).unwrap().into()
}

/// A tar in the making, as wrong as a test wants it.
#[derive(Default, Clone)]
pub(crate) struct Tar {
    pub(crate) bytes: Vec<u8>,
}

/// Fields of a header that tests change.
#[derive(Clone)]
pub(crate) struct Head<'a> {
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: u64,
    pub(crate) device: (u32, u32),
    pub(crate) magic: &'a [u8; 8],
    /// What the size field says when it is not the length of the content.
    pub(crate) size: Option<Vec<u8>>,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Head {
            link: b"",
            mode: 0o644,
            owner: (0, 0),
            mtime: 1_700_000_000,
            device: (0, 0),
            magic: b"ustar\x0000",
            size: None,
        }
    }
}

impl Tar {
    pub(crate) fn raw(mut self, kind: u8, name: &[u8], head: Head<'_>, content: &[u8]) -> Tar {
        let mut block = [0u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name);
        put(100, format!("{:07o}", head.mode).as_bytes());
        put(108, format!("{:07o}", head.owner.0).as_bytes());
        put(116, format!("{:07o}", head.owner.1).as_bytes());
        put(124, &head.size.unwrap_or(format!("{:011o}", content.len()).into_bytes()));
        put(136, format!("{:011o}", head.mtime).as_bytes());
        put(156, &[kind]);
        put(157, head.link);
        put(257, head.magic);
        put(329, format!("{:07o}", head.device.0).as_bytes());
        put(337, format!("{:07o}", head.device.1).as_bytes());
        self.bytes.extend(sealed(block));
        self.content(content)
    }

    fn content(mut self, content: &[u8]) -> Tar {
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Tar {
        self.raw(b'0', name.as_bytes(), Head::default(), content)
    }

    pub(crate) fn dir(self, name: &str) -> Tar {
        self.raw(b'5', name.as_bytes(), Head { mode: 0o755, ..Head::default() }, b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Tar {
        let head = Head { link: target.as_bytes(), mode: 0o777, ..Head::default() };
        self.raw(b'2', name.as_bytes(), head, b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Tar {
        self.raw(b'1', name.as_bytes(), Head { link: target.as_bytes(), ..Head::default() }, b"")
    }

    /// An extended header before the next entry.
    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut content = Vec::new();
        for (key, value) in records {
            crate::pax::put_record(&mut content, key.as_bytes(), value);
        }
        self.raw(b'x', b"PaxHeaders.0/x", Head::default(), &content)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }
}

/// A header block with its checksum.
pub(crate) fn sealed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Whether this process may make devices and change owners; says so when not.
pub(crate) fn need_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped("needs root");
    }
    root
}

/// Says why a test, or a part of it, was not run.
#[expect(clippy::print_stdout, reason = "a silent skip looks like a success")]
pub(crate) fn skipped(reason: &str) {
    println!("skipped: {reason}");
}
