//! A blob on its way in: goes on after a cut connection, checks size and digest at its end (spec/security.md C8).
//!
//! Knows nothing of where the blob lies: a [`BlobSource`] asks for it, from any byte on.

use std::io::{self, Read};

use oci::{Digest, Hasher};

use crate::RegistryError;
use crate::error::{Action, Cause};
use crate::transport::Answer;

/// A transfer that has come this much further counts as a new one for the retry policy.
const PROGRESS_BYTES: u64 = 256 << 10;

/// Where a blob comes from.
pub(crate) trait BlobSource: Send {
    /// Asks for the content from a byte on, again after temporary failures.
    fn ask(&self, from_byte: u64) -> Result<Answer, Cause>;

    /// Waits after a transfer was cut that had been tried so often, or gives its cause back when that was enough.
    fn wait_after(&self, tried: u32, cause: Cause) -> Result<(), Cause>;

    /// What an error says was tried.
    fn action(&self) -> Action;
}

/// The header that asks for the content from a byte on; none for the whole.
pub(crate) fn range_header(from_byte: u64) -> Option<(&'static str, String)> {
    (from_byte > 0).then(|| ("range", format!("bytes={from_byte}-")))
}

/// A blob on its way. Its end is only reached when size and digest are right; errors carry a [`RegistryError`].
pub struct BlobReader {
    source: Box<dyn BlobSource>,
    digest: Digest,
    size_bytes: u64,
    done_bytes: u64,
    hasher: Hasher,
    body: Option<ureq::BodyReader<'static>>,
    tries: u32,
    resumed_at: u64,
    finished: bool,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobReader({}, {}/{})", self.digest, self.done_bytes, self.size_bytes)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.finished {
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else {
                self.resume().map_err(|cause| io::Error::other(self.error(cause)))?;
                continue;
            };
            match body.read(buffer) {
                Ok(0) if self.done_bytes == self.size_bytes => {
                    self.finished = true;
                    self.body = None;
                    self.verify().map_err(|cause| io::Error::other(self.error(cause)))?;
                    return Ok(0);
                }
                Ok(0) => self.cut(None).map_err(|cause| io::Error::other(self.error(cause)))?,
                Ok(count) => {
                    self.take(&buffer[..count])
                        .map_err(|cause| io::Error::other(self.error(cause)))?;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.cut(Some(error)).map_err(|cause| io::Error::other(self.error(cause)))?;
                }
            }
        }
    }
}

impl BlobReader {
    /// Asks for a blob for the first time.
    pub(crate) fn open(
        source: Box<dyn BlobSource>,
        digest: Digest,
        size_bytes: u64,
    ) -> Result<BlobReader, RegistryError> {
        let mut reader = BlobReader {
            source,
            digest,
            size_bytes,
            done_bytes: 0,
            hasher: Hasher::new(),
            body: None,
            tries: 1,
            resumed_at: 0,
            finished: false,
        };
        match reader.connect() {
            Ok(body) => reader.body = Some(body),
            Err(cause) => return Err(reader.error(cause)),
        }
        Ok(reader)
    }

    /// Size of the whole blob in bytes, as its descriptor has it.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.done_bytes += bytes.len() as u64;
        if self.done_bytes > self.size_bytes {
            let (what, expected) = ("the blob", self.size_bytes);
            return Err(Cause::Size { what, expected, found: "more".to_owned() });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    fn verify(&self) -> Result<(), Cause> {
        let found = self.hasher.clone().finish();
        if found == self.digest {
            return Ok(());
        }
        Err(Cause::Digest { what: "the blob", expected: self.digest, found })
    }

    /// The connection has ended early: waits, or gives up.
    fn cut(&mut self, source: Option<io::Error>) -> Result<(), Cause> {
        self.body = None;
        if self.done_bytes >= self.resumed_at + PROGRESS_BYTES {
            self.tries = 1;
        }
        self.tries += 1;
        self.resumed_at = self.done_bytes;
        let cause = Cause::Cut {
            what: "the blob",
            done_bytes: self.done_bytes,
            size_bytes: self.size_bytes,
            source,
        };
        self.source.wait_after(self.tries - 1, cause)
    }

    fn resume(&mut self) -> Result<(), Cause> {
        match self.connect() {
            Ok(body) => self.body = Some(body),
            // What was skipped broke off again.
            Err(Cause::Cut { source, .. }) => self.cut(source)?,
            Err(cause) => return Err(cause),
        }
        Ok(())
    }

    /// Asks for the blob from where we are.
    fn connect(&mut self) -> Result<ureq::BodyReader<'static>, Cause> {
        let answer = self.source.ask(self.done_bytes)?;
        let malformed = |reason: &str| Cause::Malformed(answer.url.redacted(), reason.to_owned());
        if answer.header("content-encoding").is_some_and(|e| !e.eq_ignore_ascii_case("identity")) {
            return Err(malformed("the blob comes with a Content-Encoding"));
        }
        match answer.status {
            200 => self.skip(answer),
            206 if self.done_bytes > 0 => {
                let range = answer.header("content-range").unwrap_or_default();
                if parse_range(range) != Some((self.done_bytes, self.size_bytes)) {
                    return Err(malformed("the answer has another range than was asked for"));
                }
                Ok(answer.into_reader())
            }
            206 => Err(malformed("the answer is a part, the whole was asked for")),
            _ => Err(answer.into_cause()),
        }
    }

    /// Takes a whole answer where a part was hoped for: what we have must come again, byte for byte.
    fn skip(&self, answer: Answer) -> Result<ureq::BodyReader<'static>, Cause> {
        let length = answer.header("content-length").and_then(|text| text.parse::<u64>().ok());
        if let Some(length) = length.filter(|length| *length != self.size_bytes) {
            let (what, expected) = ("the blob", self.size_bytes);
            return Err(Cause::Size { what, expected, found: length.to_string() });
        }
        let mut reader = answer.into_reader();
        let mut again = Hasher::new();
        let copied = io::copy(&mut (&mut reader).take(self.done_bytes), &mut again);
        if !matches!(copied, Ok(count) if count == self.done_bytes) {
            return Err(Cause::Cut {
                what: "the blob",
                done_bytes: self.done_bytes,
                size_bytes: self.size_bytes,
                source: copied.err(),
            });
        }
        let (found, expected) = (again.finish(), self.hasher.clone().finish());
        if found != expected {
            return Err(Cause::Digest { what: "the blob's first part", expected, found });
        }
        Ok(reader)
    }

    fn error(&self, cause: Cause) -> RegistryError {
        RegistryError::new(self.source.action(), cause)
    }
}

/// First byte and whole length of `bytes 5-9/10`, if the range goes to the end.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let length: u64 = length.parse().ok()?;
    (last.parse::<u64>().ok()? + 1 == length).then_some((first.parse().ok()?, length))
}
