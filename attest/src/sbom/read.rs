//! Bounded reading of files that others have made.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};
use std::os::unix::fs::FileExt as _;

use layer::{Entry, EntryKind, Mtime};
use tree::{Step, TreeError};

use super::look::{FILE_COSTS, LINE_COSTS, Left, Look, PARSED_BYTE_COSTS, READ_COSTS};

/// Of a database no more than this is read.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// A line is cut there: no name that is one is longer.
const LINE_MAX_BYTES: u64 = 8 << 10;

/// Nothing larger is ever held in memory.
pub(super) const AT_ONCE_MAX_BYTES: u64 = 32 << 20;

/// A regular file that was found.
pub(super) struct Regular {
    /// Where it is: no part of it is a link.
    pub(super) path: Vec<u8>,
    pub(super) size_bytes: u64,
    pub(super) mtime: Mtime,
    pub(super) link_group: Option<u32>,
}

impl Regular {
    /// `None` when an entry is something else.
    pub(super) fn of(entry: Entry) -> Option<Regular> {
        let EntryKind::File { size_bytes, .. } = entry.kind else { return None };
        let Entry { path, mtime, link_group, .. } = entry;
        Some(Regular { path, size_bytes, mtime, link_group })
    }

    /// Opens it; `None` when the work is done.
    fn open(&self, look: &Look<'_>) -> Result<Option<File>, TreeError> {
        let is_paid = look.spend(FILE_COSTS, &self.path) && look.spend_on(&self.path);
        if is_paid { look.tree.open(&self.path).map(Some) } else { Ok(None) }
    }
}

/// The regular file at a path; links are followed inside the tree. `None` when there is none, or the work is done.
pub(super) fn regular(look: &Look<'_>, path: &[u8]) -> Result<Option<Regular>, TreeError> {
    let Some(path) = found(look, path)? else { return Ok(None) };
    Ok(look.tree.entry(&path)?.and_then(Regular::of))
}

/// Where a path leads inside the tree; `None` when that is nowhere, in a circle, or the work is done.
pub(super) fn found(look: &Look<'_>, path: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
    let found = tree::resolve_with(path, true, &mut |literal| {
        if !look.spend_on(literal) {
            return Ok(Step::Missing);
        }
        Ok(match look.tree.entry(literal)?.map(|entry| entry.kind) {
            None => Step::Missing,
            Some(EntryKind::Symlink { target }) => Step::Link(target),
            Some(_) => Step::Other,
        })
    });
    Ok(found?.filter(|found| found.exists).map(|found| found.path))
}

/// The lines of a file.
pub(super) struct Lines<'a> {
    look: &'a Look<'a>,
    path: &'a [u8],
    reader: BufReader<Take<File>>,
}

/// The lines of a file. `None` when the work is done.
pub(super) fn lines<'a>(
    look: &'a Look<'a>,
    file: &'a Regular,
) -> Result<Option<Lines<'a>>, TreeError> {
    let Some(opened) = file.open(look)? else { return Ok(None) };
    if file.size_bytes > FILE_MAX_BYTES {
        look.leave_out(Left::Large, &file.path);
    }
    let reader = BufReader::new(opened.take(FILE_MAX_BYTES));
    Ok(Some(Lines { look, path: &file.path, reader }))
}

/// A whole small file that a parser is to read; `None` when it is larger, which is noted, or the work is done.
pub(super) fn small(
    look: &Look<'_>,
    file: &Regular,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, TreeError> {
    if file.size_bytes > max_bytes {
        look.leave_out(Left::Large, &file.path);
        return Ok(None);
    }
    let is_paid = look.spend(file.size_bytes * PARSED_BYTE_COSTS, &file.path);
    let region = if is_paid { region(look, file)? } else { None };
    Ok(region.and_then(|region| region.read(0, region.len())))
}

/// A file for reading here and there; `None` when the work is done.
pub(super) fn region<'a>(
    look: &'a Look<'a>,
    file: &'a Regular,
) -> Result<Option<Region<'a>>, TreeError> {
    let Some(opened) = file.open(look)? else { return Ok(None) };
    let content = Content::File { file: opened, start: 0 };
    Ok(Some(Region { look, path: &file.path, content, len: file.size_bytes }))
}

/// What comes out of a decompressor; `None` when that is no such thing, or more than allowed, which is noted.
pub(super) fn unpacked(
    look: &Look<'_>,
    path: &[u8],
    unpacker: impl Read,
    max_bytes: u64,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = unpacker.take(max_bytes + 1).read_to_end(&mut bytes);
    let is_paid = look.spend(bytes.len() as u64 * PARSED_BYTE_COSTS, path);
    if bytes.len() as u64 > max_bytes {
        look.leave_out(Left::Large, path);
        return None;
    }
    (read.is_ok() && is_paid).then_some(bytes)
}

impl Lines<'_> {
    /// The next line without its end; what is no text is replaced. `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> Result<Option<String>, TreeError> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line);
        let read = read.and_then(|len| match line.last() {
            Some(b'\n') => Ok(len as u64),
            _ => Ok(len as u64 + skip_line(&mut self.reader)?),
        });
        let len = read.map_err(|error| TreeError::new("read", self.path, error))?;
        if len == 0 || !self.look.spend(LINE_COSTS + len, self.path) {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

/// Goes on to the next line; returns the length of what was skipped.
fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let (len, is_end) = match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(len);
        skipped += len as u64;
        if is_end {
            return Ok(skipped);
        }
    }
}

/// A database says something that cannot be, or the work is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Bytes that can be read here and there: a file, a part of one, or what was taken out of an archive.
pub(super) struct Region<'a> {
    pub(super) look: &'a Look<'a>,
    /// The file, for notes.
    pub(super) path: &'a [u8],
    content: Content,
    len: u64,
}

enum Content {
    File { file: File, start: u64 },
    Bytes(Vec<u8>),
}

impl<'a> Region<'a> {
    /// What was taken out of a file.
    pub(super) fn of_bytes(look: &'a Look<'a>, path: &'a [u8], bytes: Vec<u8>) -> Region<'a> {
        let len = bytes.len() as u64;
        Region { look, path, content: Content::Bytes(bytes), len }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// A part of it; `None` when that lies outside, cannot be read, or the work is done.
    pub(super) fn read(&self, at: u64, len: u64) -> Option<Vec<u8>> {
        let end = at.checked_add(len).filter(|end| *end <= self.len)?;
        if len > AT_ONCE_MAX_BYTES || !self.look.spend(READ_COSTS + len, self.path) {
            return None;
        }
        match &self.content {
            Content::File { file, start } => {
                let mut bytes = vec![0; len as usize];
                let read = file.read_exact_at(&mut bytes, start + at);
                read.inspect_err(|_| self.look.leave_out(Left::Damaged, self.path)).ok()?;
                Some(bytes)
            }
            Content::Bytes(bytes) => bytes.get(at as usize..end as usize).map(<[u8]>::to_vec),
        }
    }

    /// A part as a region of its own.
    pub(super) fn part(&self, at: u64, len: u64) -> Option<Region<'a>> {
        at.checked_add(len).filter(|end| *end <= self.len)?;
        let content = match &self.content {
            Content::File { file, start } => {
                Content::File { file: file.try_clone().ok()?, start: start + at }
            }
            Content::Bytes(_) => Content::Bytes(self.read(at, len)?),
        };
        Some(Region { look: self.look, path: self.path, content, len })
    }
}
