//! Bounded reading of files that others have made.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};

use layer::EntryKind;
use tree::{Tree, TreeError};

/// Of a database no more than this is read.
const FILE_MAX_BYTES: u64 = 256 << 20;
/// A line is cut there.
const LINE_MAX_BYTES: u64 = 64 << 10;

/// The lines of a file.
pub(crate) struct Lines {
    path: Vec<u8>,
    reader: BufReader<Take<File>>,
}

/// The lines of a regular file; links are followed inside the tree. `None` when there is none.
pub(crate) fn lines(tree: &dyn Tree, path: &[u8]) -> Result<Option<Lines>, TreeError> {
    let Some(path) = regular(tree, path)? else { return Ok(None) };
    let reader = BufReader::new(tree.open(&path)?.take(FILE_MAX_BYTES));
    Ok(Some(Lines { path, reader }))
}

/// A whole small file; `None` when there is none, or a larger one.
pub(crate) fn small(
    tree: &dyn Tree,
    path: &[u8],
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, TreeError> {
    let Some(path) = regular(tree, path)? else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = tree.open(&path)?.take(max_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| TreeError::new("read", &path, error))?;
    Ok((bytes.len() as u64 <= max_bytes).then_some(bytes))
}

fn regular(tree: &dyn Tree, path: &[u8]) -> Result<Option<Vec<u8>>, TreeError> {
    let resolved = match tree::resolve(tree, path, true) {
        Ok(resolved) => resolved,
        // Links that lead nowhere or in circles.
        Err(error) if error.source.raw_os_error().is_some() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(path) = resolved else { return Ok(None) };
    let entry = tree.entry(&path)?;
    let is_file = entry.is_some_and(|entry| matches!(entry.kind, EntryKind::File { .. }));
    Ok(is_file.then_some(path))
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
