//! Digests of contents: of each file, and of a whole layer.
//!
//! Owns the encoding behind a [`ContentId`]. Refuses to know why a digest is wanted.
//!
//! # Encoding of a content id, version 1
//!
//! The sha256 of `shale content 1` and a zero byte, then for each entry of the normalized table, in its order:
//! the path; a byte for the kind (`d` directory, `f` file, `l` symlink, `c` and `b` devices, `p` pipe, `w` whiteout);
//! mode, uid and gid; for a file its size and the 32 bytes of its content's digest; for a symlink its target; for a
//! device major and minor; the number of extended attributes and each one's name and value; the hard-link group as
//! one plus the rank of the group by its first name, zero for none. Numbers are 64 bits, little endian; byte strings
//! have their length as such a number before them. No times, no opaque marks (design D4).

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use graph::ContentId;
use oci::{Digest, Hasher};
use rayon::prelude::*;

use crate::{Entry, EntryKind, LayerError, Toc, disk};

const BUFFER_BYTES: usize = 256 * 1024;

/// Computes the content id of a normalized table (encoding: docs of the module `content`).
///
/// # Panics
/// When a regular file's digest is missing; see [`digest_files`].
pub fn content_id(toc: &Toc) -> ContentId {
    let mut bytes = Vec::with_capacity(64 * 1024);
    bytes.extend_from_slice(b"shale content 1\0");
    let mut hasher = Hasher::new();
    let mut groups = HashMap::new();
    for entry in toc.entries() {
        let group = entry.link_group.map_or(0, |group| {
            let next = groups.len() as u64 + 1;
            *groups.entry(group).or_insert(next)
        });
        put_entry(&mut bytes, entry, group);
        if bytes.len() > 60 * 1024 {
            hasher.update(&bytes);
            bytes.clear();
        }
    }
    hasher.update(&bytes);
    ContentId(hasher.finish())
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry, group: u64) {
    let Entry { path, kind, mode, uid, gid, mtime: _, xattrs, link_group: _ } = entry;
    put_bytes(out, path);
    out.push(match kind {
        EntryKind::Directory { .. } => b'd',
        EntryKind::File { .. } => b'f',
        EntryKind::Symlink { .. } => b'l',
        EntryKind::CharDevice { .. } => b'c',
        EntryKind::BlockDevice { .. } => b'b',
        EntryKind::Fifo => b'p',
        EntryKind::Socket => b's',
        EntryKind::Whiteout => b'w',
    });
    for number in [*mode, *uid, *gid] {
        put_number(out, number.into());
    }
    match kind {
        EntryKind::File { size_bytes, digest } => {
            put_number(out, *size_bytes);
            let digest = digest.expect("content ids are made when all digests are known");
            out.extend_from_slice(digest.as_bytes());
        }
        EntryKind::Symlink { target } => put_bytes(out, target),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put_number(out, (*major).into());
            put_number(out, (*minor).into());
        }
        EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Socket | EntryKind::Whiteout => {
        }
    }
    put_number(out, xattrs.len() as u64);
    for (name, value) in xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    put_number(out, group);
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Fills in the digests that a table does not know yet, reading on all of rayon's threads. A file of several names is
/// read once. `cancelled` is asked before each file and each few megabytes.
pub fn digest_files(
    dir: BorrowedFd<'_>,
    toc: &mut Toc,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<(), LayerError> {
    let mut first_of: HashMap<u32, usize> = HashMap::new();
    let mut same: Vec<(usize, usize)> = Vec::new();
    let mut unread: Vec<(usize, &Entry)> = Vec::new();
    for (at, entry) in toc.entries().iter().enumerate() {
        let EntryKind::File { digest: None, .. } = entry.kind else { continue };
        let first = entry.link_group.map_or(at, |group| *first_of.entry(group).or_insert(at));
        match first == at {
            true => unread.push((at, entry)),
            false => same.push((at, first)),
        }
    }
    let mut learned: Vec<(usize, Digest)> = unread
        .par_iter()
        .map_init(
            || vec![0; BUFFER_BYTES],
            |buffer, (at, entry)| Ok((*at, digest_file(dir, entry, buffer, cancelled)?)),
        )
        .collect::<Result<_, LayerError>>()?;
    let of_first: HashMap<usize, Digest> = learned.iter().copied().collect();
    learned.extend(same.iter().map(|(at, first)| (*at, of_first[first])));
    toc.learn(&learned);
    Ok(())
}

fn digest_file(
    dir: BorrowedFd<'_>,
    entry: &Entry,
    buffer: &mut [u8],
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Digest, LayerError> {
    let path = &entry.path;
    let mut file = open_file(dir, path)?;
    let mut hasher = Hasher::new();
    let mut total = 0;
    loop {
        if total % (8 << 20) == 0 && cancelled() {
            return Err(LayerError::Cancelled);
        }
        match file.read(buffer).map_err(|source| LayerError::file("read", path, source))? {
            0 => break,
            len => {
                hasher.update(&buffer[..len]);
                total += len as u64;
            }
        }
    }
    match entry.kind {
        EntryKind::File { size_bytes, .. } if size_bytes == total => Ok(hasher.finish()),
        _ => Err(LayerError::Changed { path: path.clone() }),
    }
}

/// Opens a regular file of a layer by its literal path.
pub(crate) fn open_file(dir: BorrowedFd<'_>, path: &[u8]) -> Result<File, LayerError> {
    let fd = disk::open_beneath(dir, path, disk::read_flags())
        .map_err(|errno| LayerError::file("open", path, errno))?;
    Ok(File::from(fd))
}
