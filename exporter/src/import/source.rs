//! The files of an archive by their names: those of a directory, opened inside it, or those of a tar, kept under
//! numbers in a scratch directory.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use layer::{LayerError, TarKind, TarReader};
use rustix::fs::{Mode, OFlags};

use super::DOCUMENT_MAX_BYTES;
use crate::ExportError;
use crate::error::{Failure, show};

/// Entries of an archive.
const ENTRIES_MAX: usize = 100_000;
/// Links from one name to the next.
const LINKS_MAX: usize = 8;

/// Where an archive's files are.
pub(super) enum Source {
    Directory(OwnedFd),
    Unpacked { scratch: PathBuf, files: HashMap<Vec<u8>, Place> },
}

/// What a name in a tar stands for.
pub(super) enum Place {
    Number(usize),
    Link(Vec<u8>),
}

impl Source {
    pub(super) fn directory(dir: &Path) -> Result<Source, ExportError> {
        let fail = |source| Failure::Open { path: dir.to_owned(), source };
        let file = File::open(dir).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(io::Error::from(io::ErrorKind::NotADirectory)).into());
        }
        Ok(Source::Directory(OwnedFd::from(file)))
    }

    pub(super) fn unpack(
        archive: &mut (dyn Read + Send),
        scratch: &Path,
    ) -> Result<Source, ExportError> {
        let read_failed = |source| Failure::ReadTar { source };
        let mut tar =
            TarReader::new(BufReader::with_capacity(256 << 10, layer::decompress(archive)));
        let mut files = HashMap::new();
        let mut count = 0;
        while let Some(entry) = tar.next_entry().map_err(|error| match count {
            0 => not_begun(error),
            _ => read_failed(error),
        })? {
            count += 1;
            if count > ENTRIES_MAX {
                let reason = format!("it has more than {ENTRIES_MAX} entries");
                let what = "the image archive".to_owned();
                return Err(Failure::Malformed { what, reason }.into());
            }
            let Some(name) = normal(&entry.name) else { continue };
            let place = match entry.kind {
                TarKind::File => {
                    copy_out(&mut tar, &scratch.join(count.to_string()))?;
                    Some(Place::Number(count))
                }
                TarKind::HardLink { target } => normal(&target).map(Place::Link),
                TarKind::Symlink { target } => beside(&name, &target).map(Place::Link),
                _ => None,
            };
            files.extend(place.map(|place| (name, place)));
        }
        // A pipe's writer must not be cut off behind the end of the tar.
        tar.finish().map_err(read_failed)?;
        Ok(Source::Unpacked { scratch: scratch.to_owned(), files })
    }

    /// Opens a file.
    pub(super) fn open(&self, name: &[u8]) -> Result<File, ExportError> {
        let missing = || Failure::Missing { what: format!("`{}` in the archive", show(name)) };
        self.try_open(name)?.ok_or_else(|| missing().into())
    }

    /// Opens a file, if there is one.
    pub(super) fn try_open(&self, name: &[u8]) -> Result<Option<File>, ExportError> {
        let shown = || PathBuf::from(show(name));
        let fail = |source| ExportError::from(Failure::Open { path: shown(), source });
        let opened = match self {
            Source::Directory(root) => {
                // Never blocks on a FIFO.
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
                sys::open_in_root(root.as_fd(), name, flags, Mode::empty()).map(File::from)
            }
            Source::Unpacked { scratch, files } => match number(files, name) {
                Some(number) => File::open(scratch.join(number.to_string())),
                None => return Ok(None),
            },
        };
        match opened {
            Ok(file) if file.metadata().map_err(fail)?.is_file() => Ok(Some(file)),
            Ok(_) => Err(fail(io::Error::other("not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// Reads a whole document.
    pub(super) fn read(&self, name: &[u8]) -> Result<Vec<u8>, ExportError> {
        let missing = || Failure::Missing { what: format!("`{}` in the archive", show(name)) };
        self.try_read(name)?.ok_or_else(|| missing().into())
    }

    /// Reads a whole document, if there is one.
    pub(super) fn try_read(&self, name: &[u8]) -> Result<Option<Vec<u8>>, ExportError> {
        let Some(file) = self.try_open(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(DOCUMENT_MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| Failure::ReadArchive { source })?;
        if bytes.len() as u64 > DOCUMENT_MAX_BYTES {
            let reason = format!("it is longer than {DOCUMENT_MAX_BYTES} bytes");
            return Err(Failure::Malformed { what: show(name), reason }.into());
        }
        Ok(Some(bytes))
    }
}

/// Why not even the first entry could be read: what is no tar at all is told from one that cannot be read.
fn not_begun(source: LayerError) -> Failure {
    match &source {
        LayerError::BadHeader { .. } => Failure::NotAnArchive { source: Some(source) },
        // An error with one inside is a decompressor's: a compressed archive that was cut short or damaged.
        LayerError::ReadTar { source: end }
            if end.kind() == io::ErrorKind::UnexpectedEof && end.get_ref().is_none() =>
        {
            Failure::NotAnArchive { source: None }
        }
        _ => Failure::ReadTar { source },
    }
}

fn copy_out(content: &mut dyn Read, path: &Path) -> Result<(), ExportError> {
    let fail = |source| ExportError::from(Failure::Unpack { path: path.to_owned(), source });
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(path).map_err(fail)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        // Read and write errors have different causes: a bad archive, a full disk.
        let length = match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(Failure::ReadArchive { source }.into()),
        };
        io::Write::write_all(&mut file, &buffer[..length]).map_err(fail)?;
    }
}

fn number(files: &HashMap<Vec<u8>, Place>, name: &[u8]) -> Option<usize> {
    let mut name = normal(name)?;
    for _ in 0..LINKS_MAX {
        match files.get(&name)? {
            Place::Number(number) => return Some(*number),
            Place::Link(target) => name.clone_from(target),
        }
    }
    None
}

/// A name without `.` and empty components; `None` for one that leaves the archive or is its root.
fn normal(name: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

/// Where a symbolic link in an archive leads.
fn beside(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let dir = name.iter().rposition(|b| *b == b'/').map_or(&[][..], |at| &name[..at]);
    normal(&[dir, b"/", target].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tar_is_told_from_a_damaged_one() {
        let said = |mut bytes: &[u8]| {
            let scratch = tempfile::tempdir().expect("a temporary directory");
            let error = Source::unpack(&mut bytes, scratch.path()).err().expect("no archive");
            error.to_string()
        };
        let no_archive = "the input is no image archive: it does not begin as a tar does";
        assert_eq!(said(b"FROM debian:12\n"), no_archive);
        assert_eq!(said(&[b'x'; 4096]), no_archive);
        assert_eq!(said(b"\x1f\x8b\x08\0\0\0\0\0\0\0damaged"), "read the image archive");
    }

    #[test]
    fn names_are_keys_that_stay_inside() {
        let check = |name: &str, expect: Option<&str>| {
            assert_eq!(normal(name.as_bytes()).as_deref(), expect.map(str::as_bytes), "{name}");
        };
        check("./a//b/", Some("a/b"));
        check("/a/../b", Some("b"));
        check("../a", None);
        check("a/../..", None);
        check(".", None);
        assert_eq!(beside(b"x/layer.tar", b"../y/layer.tar").as_deref(), Some(&b"y/layer.tar"[..]));
        assert_eq!(beside(b"x", b"../../etc/passwd"), None);
    }
}
