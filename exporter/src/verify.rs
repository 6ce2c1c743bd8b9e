//! Readers that check what passes: nothing leaves the store, or comes out of an archive, unverified.

use std::io::{self, Read, Seek as _};

use oci::{Descriptor, Digest, Hasher};

use crate::ExportError;
use crate::error::{Failure, store};
use crate::job::{Job, Ticker};

/// Passes bytes on; its end is only reached when size and digest are right. Errors carry an [`ExportError`].
pub(crate) struct Verified<R> {
    inner: R,
    what: String,
    digest: Digest,
    left_bytes: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, what: &str, digest: Digest, size_bytes: u64) -> Verified<R> {
        let hasher = Some(Hasher::new());
        Verified { inner, what: what.to_owned(), digest, left_bytes: size_bytes, hasher }
    }

    fn bad(&self, reason: &str) -> io::Error {
        let (what, reason) = (self.what.clone(), reason.to_owned());
        io::Error::other(ExportError::from(Failure::Malformed { what, reason }))
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let Some(hasher) = &mut self.hasher else { return Ok(count) };
        if count == 0 && !buffer.is_empty() {
            let found = self.hasher.take().map(Hasher::finish).unwrap_or_else(|| Digest::of(b""));
            if self.left_bytes > 0 {
                return Err(self.bad("it is too short"));
            }
            if found != self.digest {
                let failure =
                    Failure::Digest { what: self.what.clone(), expected: self.digest, found };
                return Err(io::Error::other(ExportError::from(failure)));
            }
            return Ok(0);
        }
        hasher.update(&buffer[..count]);
        self.left_bytes = match self.left_bytes.checked_sub(count as u64) {
            Some(left) => left,
            None => return Err(self.bad("it is too long")),
        };
        Ok(count)
    }
}

/// Passes bytes on and hashes them.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Hashing<R> {
        Hashing { inner, hasher: Hasher::new() }
    }

    /// Digest of what was read.
    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// A blob of the store on its way out: verified, counted, stoppable.
pub(crate) struct Outgoing<'a> {
    inner: Verified<std::fs::File>,
    ticker: Ticker<'a>,
}

impl Read for Outgoing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.ticker.add(count).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// A blob of the store from a byte on, counted, stoppable. Whoever gets it has the beginning and checks the whole.
struct Rest<'a> {
    inner: std::fs::File,
    ticker: Ticker<'a>,
}

impl Read for Rest<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.ticker.add(count).map_err(io::Error::other)?;
        Ok(count)
    }
}

/// Opens a blob of the store from a byte on. Only one that is read from its start is verified.
pub(crate) fn open_blob_at<'a>(
    job: Job<'a>,
    descriptor: &Descriptor,
    from_byte: u64,
) -> Result<Box<dyn Read + 'a>, ExportError> {
    if from_byte == 0 {
        return Ok(Box::new(open_blob(job, descriptor)?));
    }
    let mut inner = open_file(job, descriptor)?;
    let fail = |source| Failure::Fetch { digest: descriptor.digest, source };
    inner.seek(io::SeekFrom::Start(from_byte)).map_err(fail)?;
    let ticker = Ticker::new(job, short(&descriptor.digest), descriptor.size_bytes);
    Ok(Box::new(Rest { inner, ticker: ticker.behind(from_byte) }))
}

/// Opens a blob of the store.
pub(crate) fn open_blob<'a>(
    job: Job<'a>,
    descriptor: &Descriptor,
) -> Result<Outgoing<'a>, ExportError> {
    let (digest, size_bytes) = (descriptor.digest, descriptor.size_bytes);
    let file = open_file(job, descriptor)?;
    let what = format!("blob {digest} in the store");
    let inner = Verified::new(file, &what, digest, size_bytes);
    let ticker = Ticker::new(job, short(&digest), size_bytes);
    Ok(Outgoing { inner, ticker })
}

/// Opens a blob of the store whose bytes somebody else checks.
pub(crate) fn open_file(job: Job, descriptor: &Descriptor) -> Result<std::fs::File, ExportError> {
    let digest = descriptor.digest;
    let open = || job.lease.open_blob(&digest).map_err(store("open a blob of the store"));
    let mut file = open()?;
    if let (None, Some(fetch)) = (&file, job.fetch) {
        fetch(descriptor).map_err(|source| Failure::Fetch { digest, source })?;
        file = open()?;
    }
    Ok(file.ok_or(Failure::NoBlob(digest))?)
}

/// What a digest is called in progress lines.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bytes_reach_the_end() {
        let check = |bytes: &[u8], size: u64, expect: Option<&str>| {
            let mut reader = Verified::new(bytes, "blob", Digest::of(b"right"), size);
            let mut out = Vec::new();
            let error = reader.read_to_end(&mut out).err().map(|e| e.to_string());
            assert_eq!(error.is_some(), expect.is_some(), "{error:?}");
            assert!(error.unwrap_or_default().contains(expect.unwrap_or_default()));
        };
        check(b"right", 5, None);
        check(b"wrong", 5, Some("has digest"));
        check(b"righ", 5, Some("too short"));
        check(b"right!", 5, Some("too long"));
        check(b"right", 4, Some("too long"));
    }
}
