//! A reader that gives out nothing unchecked: length while it goes, digest at the end.

use std::io::{self, Read};

use oci::{Descriptor, Digest, Hasher};

/// Reads a blob and compares it with its descriptor. The last read fails when the content is shorter, longer or
/// another one.
pub(crate) struct Verified<R> {
    inner: R,
    digest: Digest,
    left_bytes: u64,
    hasher: Option<Hasher>,
}

impl<R: Read> Verified<R> {
    /// Checks what `inner` gives against `blob`.
    pub(crate) fn new(inner: R, blob: &Descriptor) -> Verified<R> {
        Verified {
            inner,
            digest: blob.digest,
            left_bytes: blob.size_bytes,
            hasher: Some(Hasher::new()),
        }
    }

    fn at_end(&mut self) -> io::Result<usize> {
        let Some(hasher) = self.hasher.take() else { return Ok(0) };
        let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        if self.left_bytes > 0 {
            let reason = format!("blob {} ends {} bytes early", self.digest, self.left_bytes);
            return Err(wrong(reason));
        }
        match hasher.finish() {
            found if found == self.digest => Ok(0),
            found => Err(wrong(format!("blob has digest {found}, not {}", self.digest))),
        }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        if count == 0 {
            return self.at_end();
        }
        self.left_bytes = self.left_bytes.checked_sub(count as u64).ok_or_else(|| {
            let reason = format!("blob {} is longer than it should be", self.digest);
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], said: &[u8]) -> Result<Vec<u8>, String> {
        let blob = Descriptor::new("x", Digest::of(said), said.len() as u64);
        let mut bytes = Vec::new();
        let read = Verified::new(content, &blob).read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn only_the_right_content_reaches_its_end() {
        assert_eq!(read(b"abc", b"abc").as_deref(), Ok(&b"abc"[..]));
        assert_eq!(read(b"", b"").as_deref(), Ok(&b""[..]));
        for (content, reason) in
            [(&b"ab"[..], "1 bytes early"), (b"abcd", "longer"), (b"abd", "has digest")]
        {
            let error = read(content, b"abc").expect_err("wrong content");
            assert!(error.contains(reason), "{error}");
        }
    }
}
