//! The files of an archive by their names: those of a directory, opened inside it, or those of a tar, which go into
//! the store as blobs while the tar is read: what is large is written and hashed once.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use layer::{LayerError, TarEntry, TarKind, TarReader};
use oci::Digest;
use rustix::fs::{Mode, OFlags};
use store::Lease;

use super::DOCUMENT_MAX_BYTES;
use crate::ExportError;
use crate::error::{Failure, show, store, write};

/// Entries of an archive.
const ENTRIES_MAX: usize = 100_000;
/// Links from one name to the next.
const LINKS_MAX: usize = 8;
/// Files up to this length are kept in memory ...
const SMALL_MAX_BYTES: u64 = 64 << 10;
/// ... until there are so many.
const ALL_SMALL_MAX_BYTES: u64 = 32 << 20;

/// Where an archive's files are.
pub(super) enum Source {
    Directory(OwnedFd),
    Unpacked { lease: Lease, files: HashMap<Vec<u8>, Place> },
}

/// What a name in a tar stands for.
pub(super) enum Place {
    Small(Vec<u8>),
    Blob(Digest, u64),
    Link(Vec<u8>),
}

/// A file of an archive, open.
pub(super) enum Opened {
    File(File),
    Small(Cursor<Vec<u8>>),
}

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Opened::File(file) => file.read(buffer),
            Opened::Small(bytes) => bytes.read(buffer),
        }
    }
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

    /// Reads a tar, compressed or not, to its end.
    pub(super) fn unpack(
        archive: &mut (dyn Read + Send),
        lease: &Lease,
    ) -> Result<Source, ExportError> {
        let read_failed = |source| Failure::ReadTar { source };
        let mut tar =
            TarReader::new(BufReader::with_capacity(256 << 10, layer::decompress(archive)));
        let mut files = HashMap::new();
        let (mut count, mut small_bytes) = (0, 0);
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
            let place = match &entry.kind {
                TarKind::File => Some(take_in(&mut tar, &entry, &name, lease, &mut small_bytes)?),
                TarKind::HardLink { target } => normal(target).map(Place::Link),
                TarKind::Symlink { target } => beside(&name, target).map(Place::Link),
                _ => None,
            };
            files.extend(place.map(|place| (name, place)));
        }
        // A pipe's writer must not be cut off behind the end of the tar.
        tar.finish().map_err(read_failed)?;
        if count == 0 {
            // Often what came out of a pipe whose writer had failed.
            return Err(Failure::Empty.into());
        }
        Ok(Source::Unpacked { lease: lease.clone(), files })
    }

    /// Opens a file.
    pub(super) fn open(&self, name: &[u8]) -> Result<Opened, ExportError> {
        let missing = || Failure::Missing { what: format!("`{}` in the archive", show(name)) };
        self.try_open(name)?.ok_or_else(|| missing().into())
    }

    /// Opens a file, if there is one.
    pub(super) fn try_open(&self, name: &[u8]) -> Result<Option<Opened>, ExportError> {
        match self {
            Source::Directory(root) => open_below(root, name),
            Source::Unpacked { lease, files } => match place(files, name) {
                Some(Place::Small(bytes)) => Ok(Some(Opened::Small(Cursor::new(bytes.clone())))),
                Some(Place::Blob(digest, _)) => {
                    let file =
                        lease.open_blob(digest).map_err(store("open a file of the archive"))?;
                    Ok(file.map(Opened::File))
                }
                Some(Place::Link(_)) | None => Ok(None),
            },
        }
    }

    /// Whether there is such a file; its content is not looked at.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        match self {
            Source::Directory(_) => self.try_open(name).is_ok_and(|found| found.is_some()),
            Source::Unpacked { files, .. } => place(files, name).is_some(),
        }
    }

    /// Digest and length of a file that is a blob of the store already.
    pub(super) fn blob(&self, name: &[u8]) -> Option<(Digest, u64)> {
        match self {
            Source::Directory(_) => None,
            Source::Unpacked { files, .. } => match place(files, name)? {
                Place::Blob(digest, size_bytes) => Some((*digest, *size_bytes)),
                Place::Small(_) | Place::Link(_) => None,
            },
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

fn open_below(root: &OwnedFd, name: &[u8]) -> Result<Option<Opened>, ExportError> {
    let fail =
        |source| ExportError::from(Failure::Open { path: PathBuf::from(show(name)), source });
    // Never blocks on a FIFO.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match sys::open_in_root(root.as_fd(), name, flags, Mode::empty()).map(File::from) {
        Ok(file) if file.metadata().map_err(fail)?.is_file() => Ok(Some(Opened::File(file))),
        Ok(_) => Err(fail(io::Error::other("not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

/// A file of a tar: its bytes where they are few, else a blob of the store.
fn take_in(
    content: &mut dyn Read,
    entry: &TarEntry,
    name: &[u8],
    lease: &Lease,
    small_bytes: &mut u64,
) -> Result<Place, ExportError> {
    let size_bytes = entry.size_bytes;
    if size_bytes > layer::SIZE_MAX_BYTES {
        let reason = "it has more than 64 GiB".to_owned();
        return Err(Failure::Malformed { what: format!("`{}`", show(name)), reason }.into());
    }
    if size_bytes <= SMALL_MAX_BYTES && *small_bytes + size_bytes <= ALL_SMALL_MAX_BYTES {
        *small_bytes += size_bytes;
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|source| Failure::ReadArchive { source })?;
        return Ok(Place::Small(bytes));
    }
    if let Some(digest) = named_digest(name)
        && is_there(lease, &digest, size_bytes)?
    {
        // What it is asked for by its digest the store has: those bytes were checked.
        return Ok(Place::Blob(digest, size_bytes));
    }
    into_blob(content, lease)
}

fn into_blob(content: &mut dyn Read, lease: &Lease) -> Result<Place, ExportError> {
    const INTO_STORE: &str = "unpack the image archive into the store";
    let mut out = lease.blob_writer().map_err(store(INTO_STORE))?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        // Read and write errors have different causes: a bad archive, a full disk.
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => out
                .write_all(&buffer[..length])
                .map_err(write("a file of the image archive into the store"))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(Failure::ReadArchive { source }.into()),
        }
    }
    let (digest, size_bytes) = out.finish(None).map_err(store(INTO_STORE))?;
    Ok(Place::Blob(digest, size_bytes))
}

/// The digest that a blob's name in a layout promises.
fn named_digest(name: &[u8]) -> Option<Digest> {
    let hex = name.strip_prefix(b"blobs/sha256/")?;
    Digest::from_hex(std::str::from_utf8(hex).ok()?).ok()
}

fn is_there(lease: &Lease, digest: &Digest, size_bytes: u64) -> Result<bool, ExportError> {
    let file = lease.open_blob(digest).map_err(store("look for a blob"))?;
    Ok(file.is_some_and(|file| file.metadata().is_ok_and(|meta| meta.len() == size_bytes)))
}

/// What a name stands for behind its links.
fn place<'a>(files: &'a HashMap<Vec<u8>, Place>, name: &[u8]) -> Option<&'a Place> {
    let mut name = normal(name)?;
    for _ in 0..LINKS_MAX {
        match files.get(&name)? {
            Place::Link(target) => name.clone_from(target),
            place => return Some(place),
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
            let dir = tempfile::tempdir().expect("a temporary directory");
            let options = store::StoreOptions { boot_id: None, userxattr: true };
            let store = store::Store::open(dir.path(), &options).expect("a store");
            let lease = store.lease().expect("a lease");
            let error = Source::unpack(&mut bytes, &lease).err().expect("no archive");
            error.to_string()
        };
        let no_archive = "the input is no image archive: it does not begin as a tar does";
        assert_eq!(said(b"FROM debian:12\n"), no_archive);
        assert_eq!(said(&[b'x'; 4096]), no_archive);
        assert_eq!(said(b""), "the image archive is empty");
        assert_eq!(said(&[0; 1024]), "the image archive is empty");
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
