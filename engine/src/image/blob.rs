//! One blob into the store: verified, with its progress told, and fetched once when several want it.
//!
//! Owns that what a cut transfer has brought is not fetched again. Refuses to know where a blob lies.

use std::error::Error;
use std::io::{self, Read};

use oci::Descriptor;
use progress::EventKind;
use registry::{BlobPrefix, RegistryError, RegistryErrorKind};
use store::{BlobWriter, StoreError};

use super::growing::Growing;
use super::noted::{Tar, read_tar};
use crate::error::{BuildError, sources};
use crate::session::Session;

/// A blob's bytes on their way.
pub(crate) struct Opened {
    pub(crate) body: Box<dyn Read + Send>,
    /// It begins behind what was there already.
    pub(crate) is_rest: bool,
}

/// Brings a blob into the store unless it is there. `open` gives its bytes, `not_kept` says whose fault it is when they
/// do not get there; `vertex` gets the progress.
pub(crate) fn bring<E: From<BuildError>>(
    session: &Session,
    blob: &Descriptor,
    vertex: u32,
    open: impl FnOnce() -> Result<Box<dyn Read + Send>, E>,
    not_kept: impl FnOnce(StoreError) -> E,
) -> Result<(), E> {
    let store = |e| BuildError::store("cannot keep a downloaded layer", e);
    once(session, blob, || {
        let mut body = counted(session, vertex, blob, open()?);
        let writer = session.lease.blob_writer().map_err(store)?;
        fill(session, writer, blob, &mut body).map_err(not_kept)
    })
}

/// As [`bring`], from where an earlier transfer has left off: `open` gets the beginning that is there, and may give the
/// whole all the same.
pub(crate) fn bring_rest(
    session: &Session,
    blob: &Descriptor,
    vertex: u32,
    open: impl Fn(BlobPrefix) -> Result<Opened, BuildError>,
    not_kept: impl Fn(StoreError) -> BuildError,
) -> Result<(), BuildError> {
    bring_rest_and(session, (blob, vertex), open, not_kept, fill)
}

/// As [`bring_rest`]; while it comes, another thread sees which tar it is. `None` when it was there already.
pub(super) fn bring_and_read(
    session: &Session,
    blob: &Descriptor,
    vertex: u32,
    open: impl Fn(BlobPrefix) -> Result<Opened, BuildError>,
    not_kept: impl Fn(StoreError) -> BuildError,
) -> Result<Option<io::Result<Tar>>, BuildError> {
    bring_rest_and(session, (blob, vertex), open, not_kept, fill_and_read)
}

fn bring_rest_and<T: Default>(
    session: &Session,
    (blob, vertex): (&Descriptor, u32),
    open: impl Fn(BlobPrefix) -> Result<Opened, BuildError>,
    not_kept: impl Fn(StoreError) -> BuildError,
    fill: impl Fn(&Session, BlobWriter, &Descriptor, &mut dyn Read) -> Result<T, StoreError>,
) -> Result<T, BuildError> {
    let store = |e| BuildError::store("cannot keep a downloaded layer", e);
    once(session, blob, || {
        let mut is_second = false;
        let mut wrong_mirrors = session.registry.wrong_mirrors(&blob.digest);
        loop {
            let mut writer =
                session.lease.resumed_blob_writer(&blob.digest, blob.size_bytes).map_err(store)?;
            let had_bytes = writer.size_bytes();
            let prefix = BlobPrefix { size_bytes: had_bytes, hasher: writer.hasher() };
            let brought = open(prefix).and_then(|opened| {
                if !opened.is_rest && had_bytes > 0 {
                    writer.restart().map_err(store)?;
                }
                let done_bytes = writer.size_bytes();
                let mut body =
                    Counted { done_bytes, ..counted(session, vertex, blob, opened.body) };
                fill(session, writer, blob, &mut body).map_err(&not_kept)
            });
            match brought {
                // A power cut may have spoilt the beginning, or its registry has lied before.
                Err(error) if is_wrong_content(&error) => {
                    session.lease.forget_partial_blob(&blob.digest).map_err(store)?;
                    let wrong = session.registry.wrong_mirrors(&blob.digest);
                    if wrong > wrong_mirrors {
                        // Another place is asked next, and there are not many.
                        wrong_mirrors = wrong;
                        continue;
                    }
                    if is_second || had_bytes == 0 {
                        return Err(error);
                    }
                    is_second = true;
                }
                brought => return brought,
            }
        }
    })
}

/// Does it unless the blob is there, and while nobody else does.
fn once<T: Default, E: From<BuildError>>(
    session: &Session,
    blob: &Descriptor,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let store = |e| BuildError::store("cannot keep a downloaded layer", e);
    let is_there = || session.lease.has_blob_of(&blob.digest, blob.size_bytes).map_err(store);
    if is_there()? {
        return Ok(T::default());
    }
    let name = format!("blob {}", blob.digest);
    let cancelled = || session.cancel.is_cancelled();
    let _flight = session.lease.single_flight(&name, &cancelled).map_err(store)?;
    if is_there()? {
        return Ok(T::default());
    }
    session.unless_cancelled(work())
}

fn fill(
    session: &Session,
    writer: BlobWriter,
    blob: &Descriptor,
    body: &mut dyn Read,
) -> Result<(), StoreError> {
    let expect = Some((blob.digest, blob.size_bytes));
    session.lease.fill_blob(writer, expect, body).map(drop)
}

/// As [`fill`], with a thread that reads what is there already.
fn fill_and_read(
    session: &Session,
    writer: BlobWriter,
    blob: &Descriptor,
    body: &mut dyn Read,
) -> Result<Option<io::Result<Tar>>, StoreError> {
    let (growing, file) = (Growing::new(writer.size_bytes()), writer.reader()?);
    std::thread::scope(|scope| {
        let growing = &growing;
        let reading =
            scope.spawn(|| read_tar(session, growing.follow(file), layer::SIZE_MAX_BYTES));
        let mut watched = growing.watched(body);
        let filled = fill(session, writer, blob, &mut watched);
        watched.ended(filled.is_ok());
        let read = reading.join();
        // Nobody believes what is said of bytes that are not the digest's.
        filled.map(|()| read.ok())
    })
}

/// Whether bytes came that are not those of the digest.
fn is_wrong_content(error: &BuildError) -> bool {
    let is_wrong = |cause: &(dyn Error + 'static)| {
        let registry = cause.downcast_ref::<RegistryError>();
        registry.is_some_and(|error| error.kind() == RegistryErrorKind::Digest)
            || cause.downcast_ref::<StoreError>().is_some_and(StoreError::is_wrong_content)
    };
    sources(error).any(|cause| match cause.downcast_ref::<std::io::Error>() {
        Some(carrier) => carrier.get_ref().is_some_and(|inner| is_wrong(inner)),
        None => is_wrong(cause),
    })
}

/// A download that tells its progress, and ends when the build is stopped.
pub(super) fn counted<'a>(
    session: &'a Session,
    vertex: u32,
    descriptor: &'a Descriptor,
    body: Box<dyn Read + Send>,
) -> Counted<'a> {
    Counted { session, vertex, descriptor, body, done_bytes: 0, told_bytes: 0 }
}

/// Tells the progress of a download, and ends it when the build is stopped.
pub(super) struct Counted<'a> {
    session: &'a Session,
    vertex: u32,
    descriptor: &'a Descriptor,
    body: Box<dyn Read + Send>,
    done_bytes: u64,
    told_bytes: u64,
}

/// Bytes between two progress events of one download.
const TELL_EVERY_BYTES: u64 = 1 << 20;

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.session.cancel.is_cancelled() {
            return Err(std::io::Error::other("the build was cancelled"));
        }
        let count = self.body.read(buffer)?;
        self.done_bytes += count as u64;
        if count == 0 || self.done_bytes - self.told_bytes >= TELL_EVERY_BYTES {
            self.told_bytes = self.done_bytes;
            self.session.events.emit(EventKind::Transfer {
                vertex: self.vertex,
                item: self.descriptor.digest.to_string()[..19].to_owned(),
                done_bytes: self.done_bytes,
                total_bytes: Some(self.descriptor.size_bytes),
            });
        }
        Ok(count)
    }
}
