//! Bounded reading of files that others have made.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};

use layer::EntryKind;
use tree::{Tree, TreeError};

use super::Inventory;

/// Of a database no more than this is read.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// A line is cut there.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// The lines of a file.
pub(crate) struct Lines {
    path: Vec<u8>,
    reader: BufReader<Take<File>>,
}

/// The lines of a regular file; links are followed inside the tree. `None` when there is none, or enough was read.
pub(crate) fn lines(
    tree: &dyn Tree,
    path: &[u8],
    into: &mut Inventory,
) -> Result<Option<Lines>, TreeError> {
    let Some((path, size_bytes)) = regular(tree, path)? else { return Ok(None) };
    if !into.may_read(size_bytes.min(FILE_MAX_BYTES)) {
        return Ok(None);
    }
    let reader = BufReader::new(tree.open(&path)?.take(FILE_MAX_BYTES));
    Ok(Some(Lines { path, reader }))
}

/// A whole small file; `None` when there is none, or a larger one.
pub(crate) fn small(
    tree: &dyn Tree,
    path: &[u8],
    max_bytes: u64,
    into: &mut Inventory,
) -> Result<Option<Vec<u8>>, TreeError> {
    let Some((path, size_bytes)) = regular(tree, path)? else { return Ok(None) };
    if size_bytes > max_bytes || !into.may_read(size_bytes) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = tree.open(&path)?.take(max_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| TreeError::new("read", &path, error))?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}

/// Where a path leads inside the tree; `None` when that is nowhere.
pub(crate) fn found(tree: &dyn Tree, path: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
    match tree::resolve(tree, path, true) {
        // Links that lead nowhere or in circles.
        Err(error) if error.source.raw_os_error().is_some() => Ok(None),
        resolved => resolved,
    }
}

/// Where a regular file is, and its length.
fn regular(tree: &dyn Tree, path: &[u8]) -> Result<Option<(Vec<u8>, u64)>, TreeError> {
    let Some(path) = found(tree, path)? else { return Ok(None) };
    let entry = tree.entry(&path)?;
    Ok(entry.and_then(|entry| match entry.kind {
        EntryKind::File { size_bytes, .. } => Some((path, size_bytes)),
        _ => None,
    }))
}

impl Lines {
    /// The next line without its end; what is no text is replaced. `None` at the end of the file.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>, TreeError> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut line);
        let read = read.and_then(|len| {
            if len as u64 == LINE_MAX_BYTES && line.last() != Some(&b'\n') {
                skip_line(&mut self.reader)?;
            }
            Ok(len)
        });
        match read {
            Ok(0) => Ok(None),
            Ok(_) => {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                Ok(Some(String::from_utf8_lossy(&line).into_owned()))
            }
            Err(error) => Err(TreeError::new("read", &self.path, error)),
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (len, is_end) = match buffer.iter().position(|b| *b == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(len);
        if is_end {
            return Ok(());
        }
    }
}
