//! The stored form of a table of contents.
//!
//! Owns the bytes: `SHALETOC`, a version byte, the number of entries, the entries, and the sha256 of all before it.
//! Numbers are LEB128 varints (signed ones zigzag first); byte strings have their length before them. An entry is:
//! bytes shared with the path before, rest of the path, kind, mode, uid, gid, seconds, nanoseconds, what the kind
//! needs, number of xattrs with name and value each, hard-link group plus one or zero. Refuses to guess: whatever is
//! not exactly in that form is an error.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use oci::{Digest, Hasher};

use crate::{Entry, EntryKind, LayerError, Mtime, Toc, compare_paths};

const MAGIC: &[u8; 8] = b"SHALETOC";
const VERSION: u8 = 1;

mod kind {
    pub(super) const DIRECTORY: u8 = 1;
    pub(super) const OPAQUE: u8 = 2;
    pub(super) const FILE: u8 = 3;
    pub(super) const FILE_WITH_DIGEST: u8 = 4;
    pub(super) const SYMLINK: u8 = 5;
    pub(super) const CHAR_DEVICE: u8 = 6;
    pub(super) const BLOCK_DEVICE: u8 = 7;
    pub(super) const FIFO: u8 = 8;
    pub(super) const SOCKET: u8 = 9;
    pub(super) const WHITEOUT: u8 = 10;
}

impl Toc {
    /// Writes the stored form (docs of the module `toc_format`).
    pub fn write(&self, out: &mut dyn Write) -> Result<(), LayerError> {
        let mut bytes = Vec::with_capacity(64 + self.entries().len() * 80);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        put_number(&mut bytes, self.entries().len() as u64);
        let mut before: &[u8] = &[];
        for entry in self.entries() {
            put_entry(&mut bytes, before, entry);
            before = &entry.path;
        }
        let sum = Digest::of(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        out.write_all(&bytes).map_err(|source| LayerError::WriteToc { source })
    }

    /// Reads the stored form. Anything damaged, unsorted or of another version is an error.
    pub fn read(src: &mut dyn Read) -> Result<Toc, LayerError> {
        let mut bytes = Vec::new();
        src.read_to_end(&mut bytes).map_err(|source| LayerError::ReadToc { source })?;
        parse(&bytes).map_err(|reason| LayerError::BadToc { reason })
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_entry(out: &mut Vec<u8>, before: &[u8], entry: &Entry) {
    let Entry { path, kind: _, mode, uid, gid, mtime, xattrs, link_group } = entry;
    let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
    put_number(out, shared as u64);
    put_bytes(out, &path[shared..]);
    put_kind(out, &entry.kind);
    for number in [*mode, *uid, *gid] {
        put_number(out, number.into());
    }
    put_number(out, ((mtime.secs << 1) ^ (mtime.secs >> 63)) as u64);
    put_number(out, mtime.nanos.into());
    put_number(out, xattrs.len() as u64);
    for (name, value) in xattrs {
        put_bytes(out, name);
        put_bytes(out, value);
    }
    put_number(out, link_group.map_or(0, |group| u64::from(group) + 1));
}

fn put_kind(out: &mut Vec<u8>, kind: &EntryKind) {
    match kind {
        EntryKind::Directory { opaque: false } => out.push(kind::DIRECTORY),
        EntryKind::Directory { opaque: true } => out.push(kind::OPAQUE),
        EntryKind::File { size_bytes, digest: None } => {
            out.push(kind::FILE);
            put_number(out, *size_bytes);
        }
        EntryKind::File { size_bytes, digest: Some(digest) } => {
            out.push(kind::FILE_WITH_DIGEST);
            put_number(out, *size_bytes);
            out.extend_from_slice(digest.as_bytes());
        }
        EntryKind::Symlink { target } => {
            out.push(kind::SYMLINK);
            put_bytes(out, target);
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            let char_device = matches!(kind, EntryKind::CharDevice { .. });
            out.push(if char_device { kind::CHAR_DEVICE } else { kind::BLOCK_DEVICE });
            put_number(out, (*major).into());
            put_number(out, (*minor).into());
        }
        EntryKind::Fifo => out.push(kind::FIFO),
        EntryKind::Socket => out.push(kind::SOCKET),
        EntryKind::Whiteout => out.push(kind::WHITEOUT),
    }
}

const CUT: &str = "it ends early or holds a number out of range";

fn parse(bytes: &[u8]) -> Result<Toc, &'static str> {
    if !bytes.starts_with(MAGIC) {
        return Err("it does not begin as one");
    }
    if bytes.get(MAGIC.len()) != Some(&VERSION) {
        return Err("it has another format version");
    }
    let (body, sum) = bytes.split_last_chunk::<{ Digest::SIZE_BYTES }>().ok_or(CUT)?;
    let mut hasher = Hasher::new();
    hasher.update(body);
    if hasher.finish().as_bytes() != sum {
        return Err("its checksum is wrong");
    }
    let mut cursor = Cursor { rest: body.get(MAGIC.len() + 1..).ok_or(CUT)? };
    let count = cursor.number()?;
    // An entry takes more than eight bytes, so a false count cannot ask for much memory.
    let mut entries: Vec<Entry> = Vec::with_capacity((count as usize).min(body.len() / 8));
    for _ in 0..count {
        let before = entries.last().map_or(&[][..], |entry| &entry.path);
        let entry = cursor.entry(before)?;
        if !before.is_empty() && compare_paths(before, &entry.path).is_ge() {
            return Err("its entries are not in order");
        }
        entries.push(entry);
    }
    match cursor.rest {
        [] => Ok(Toc::from_entries(entries)),
        _ => Err("it goes on after its last entry"),
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], &'static str> {
        let len = usize::try_from(len).map_err(|_| CUT)?;
        let (head, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(CUT);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CUT)
    }

    fn small(&mut self) -> Result<u32, &'static str> {
        u32::try_from(self.number()?).map_err(|_| CUT)
    }

    fn bytes(&mut self) -> Result<&'a [u8], &'static str> {
        let len = self.number()?;
        self.take(len)
    }

    fn entry(&mut self, before: &[u8]) -> Result<Entry, &'static str> {
        let shared = usize::try_from(self.number()?).map_err(|_| CUT)?;
        let rest = self.bytes()?;
        let mut path = Vec::with_capacity(shared.min(before.len()) + rest.len());
        path.extend_from_slice(before.get(..shared).ok_or(CUT)?);
        path.extend_from_slice(rest);
        if !is_plain_path(&path) {
            return Err("it holds a path that is none");
        }
        let kind = self.kind()?;
        let [mode, uid, gid] = [self.small()?, self.small()?, self.small()?];
        let secs = self.number()?;
        let secs = (secs >> 1) as i64 ^ -((secs & 1) as i64);
        let nanos = self.small()?;
        if mode > 0o7777 || nanos > 999_999_999 {
            return Err(CUT);
        }
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            xattrs.insert(self.bytes()?.to_vec(), self.bytes()?.to_vec());
        }
        let group = self.number()?;
        let link_group = match group {
            0 => None,
            group => Some(u32::try_from(group - 1).map_err(|_| CUT)?),
        };
        Ok(Entry { path, kind, mode, uid, gid, mtime: Mtime { secs, nanos }, xattrs, link_group })
    }

    fn kind(&mut self) -> Result<EntryKind, &'static str> {
        Ok(match self.byte()? {
            kind::DIRECTORY => EntryKind::Directory { opaque: false },
            kind::OPAQUE => EntryKind::Directory { opaque: true },
            kind::FILE => EntryKind::File { size_bytes: self.number()?, digest: None },
            kind::FILE_WITH_DIGEST => {
                let size_bytes = self.number()?;
                let digest = self.take(Digest::SIZE_BYTES as u64)?;
                let digest = digest.try_into().map_err(|_| CUT)?;
                EntryKind::File { size_bytes, digest: Some(Digest::from_bytes(digest)) }
            }
            kind::SYMLINK => EntryKind::Symlink { target: self.bytes()?.to_vec() },
            kind::CHAR_DEVICE => {
                EntryKind::CharDevice { major: self.small()?, minor: self.small()? }
            }
            kind::BLOCK_DEVICE => {
                EntryKind::BlockDevice { major: self.small()?, minor: self.small()? }
            }
            kind::FIFO => EntryKind::Fifo,
            kind::SOCKET => EntryKind::Socket,
            kind::WHITEOUT => EntryKind::Whiteout,
            _ => return Err("it holds an entry of an unknown kind"),
        })
    }
}

fn is_plain_path(path: &[u8]) -> bool {
    !path.contains(&0) && path.split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dir, file, of_kind};

    fn sample() -> Toc {
        let mut capable = file("a/f", b"x");
        capable.xattrs.insert(b"security.capability".to_vec(), b"\x01\n\x00".to_vec());
        capable.link_group = Some(0);
        capable.mtime = Mtime { secs: -5, nanos: 999_999_999 };
        let unknown = of_kind("a/u", EntryKind::File { size_bytes: u64::MAX, digest: None });
        Toc::from_entries(vec![
            dir("a"),
            capable,
            unknown,
            of_kind("a/\u{e9}", EntryKind::Symlink { target: b"\xff/..".to_vec() }),
            of_kind("b", EntryKind::CharDevice { major: 4095, minor: 1 << 20 }),
            of_kind("c", EntryKind::BlockDevice { major: 8, minor: 1 }),
            of_kind("d", EntryKind::Fifo),
            of_kind("e", EntryKind::Whiteout),
            of_kind("f", EntryKind::Directory { opaque: true }),
        ])
    }

    fn written(toc: &Toc) -> Vec<u8> {
        let mut bytes = Vec::new();
        toc.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_was_written_is_read() {
        for toc in [Toc::default(), sample()] {
            assert_eq!(Toc::read(&mut &written(&toc)[..]).unwrap(), toc);
        }
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let good = written(&sample());
        for at in 0..good.len() {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(Toc::read(&mut &flipped[..]).is_err(), "byte {at} flipped");
            assert!(Toc::read(&mut &good[..at]).is_err(), "cut at {at}");
            // The same with a right checksum reaches the parser itself.
            let body = flipped.len() - Digest::SIZE_BYTES;
            let sum = Digest::of(&flipped[..body]);
            flipped[body..].copy_from_slice(sum.as_bytes());
            let _ = Toc::read(&mut &flipped[..]);
        }
    }

    #[test]
    fn hundred_thousand_entries_are_read_quickly() {
        let entries = (0..100_000).map(|n| file(&format!("{n:06}-some-file-name"), b"")).collect();
        let bytes = written(&Toc::from_entries(entries));
        let start = std::time::Instant::now();
        let toc = Toc::read(&mut &bytes[..]).unwrap();
        assert_eq!(toc.entries().len(), 100_000);
        // Unoptimised and beside other work; optimised it takes some 20 ms.
        assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
    }
}
