//! A blob on its way in: goes on after a cut connection, checks size and digest at its end (spec/security.md C8).
//!
//! Knows nothing of where the blob lies: a [`BlobSource`] asks for it, from any byte on.

use std::io::{self, Read};

use oci::{Digest, Hasher};

use crate::RegistryError;
use crate::error::{Action, Cause};
use crate::transport::{Answer, BodyReader};

/// A transfer that has come this much further counts as a new one for the retry policy.
const PROGRESS_BYTES: u64 = 256 << 10;

/// Where a blob comes from.
pub(crate) trait BlobSource: Send {
    /// Asks for the content from a byte on, again after temporary failures. With `entity` a part is only wanted of the
    /// content that was so tagged before, and the whole of any other.
    fn ask(&self, from_byte: u64, entity: Option<&str>) -> Result<Answer, Cause>;

    /// Waits after a transfer was cut that had been tried so often, or gives its cause back when that was enough.
    fn wait_after(&self, tried: u32, cause: Cause) -> Result<(), Cause>;

    /// Hears that what came was not the blob: another place may have it.
    fn was_wrong(&self) {
        // Most sources know one place.
    }

    /// What an error says was tried.
    fn action(&self) -> Action;
}

/// The headers that ask for the content from a byte on; none for the whole.
pub(crate) fn range_headers(from_byte: u64, entity: Option<&str>) -> Vec<(&'static str, String)> {
    if from_byte == 0 {
        return Vec::new();
    }
    let range = ("range", format!("bytes={from_byte}-"));
    let entity = entity.map(|tag| ("if-range", tag.to_owned()));
    std::iter::once(range).chain(entity).collect()
}

/// The beginning of a blob that the caller has from an earlier transfer.
#[derive(Clone)]
pub struct BlobPrefix {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// What it hashes to so far.
    pub hasher: Hasher,
}

impl std::fmt::Debug for BlobPrefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlobPrefix({})", self.size_bytes)
    }
}

/// A blob on its way. Its end is only reached when size and digest are right; errors carry a [`RegistryError`].
pub struct BlobReader {
    source: Box<dyn BlobSource>,
    digest: Digest,
    size_bytes: u64,
    done_bytes: u64,
    hasher: Hasher,
    body: Option<BodyReader>,
    tries: u32,
    resumed_at: u64,
    finished: bool,
    /// The tag of what was got so far, for a server that may have something else by now.
    entity: Option<String>,
    /// Parts that were asked for came wrong: the whole is asked for from now on.
    whole_only: bool,
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
                // All bytes are there, whatever went wrong behind them.
                Ok(0) | Err(_) if self.done_bytes == self.size_bytes => {
                    self.body = None;
                    self.verify().map_err(|cause| io::Error::other(self.error(cause)))?;
                    // Only now: who reads on after an error must not find an end.
                    self.finished = true;
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
        let nothing = BlobPrefix { size_bytes: 0, hasher: Hasher::new() };
        BlobReader::open_behind(source, digest, size_bytes, nothing)
    }

    /// As [`BlobReader::open`], for what follows the bytes that are there already. They count for the digest.
    pub(crate) fn open_behind(
        source: Box<dyn BlobSource>,
        digest: Digest,
        size_bytes: u64,
        prefix: BlobPrefix,
    ) -> Result<BlobReader, RegistryError> {
        let mut reader = BlobReader {
            source,
            digest,
            size_bytes,
            done_bytes: prefix.size_bytes,
            hasher: prefix.hasher,
            body: None,
            tries: 1,
            resumed_at: prefix.size_bytes,
            finished: false,
            entity: None,
            whole_only: false,
        };
        if reader.done_bytes > 0 && reader.done_bytes == size_bytes {
            reader.finished = true;
            return reader.verify().map_err(|cause| reader.error(cause)).map(|()| reader);
        }
        match reader.connect() {
            Ok(body) => reader.body = Some(body),
            Err(cause) => return Err(reader.error(cause)),
        }
        Ok(reader)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.done_bytes += bytes.len() as u64;
        if self.done_bytes > self.size_bytes {
            self.source.was_wrong();
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
        self.source.was_wrong();
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

    /// Asks for the blob from where we are. A server that is bad at parts is asked for the whole once more.
    fn connect(&mut self) -> Result<BodyReader, Cause> {
        let answer = self.ask()?;
        let answer = match self.is_bad_part(&answer) {
            true => {
                self.whole_only = true;
                self.ask()?
            }
            false => answer,
        };
        let malformed = |reason: &str| Cause::Malformed(answer.url.redacted(), reason.to_owned());
        answer.check_encoding()?;
        match answer.status {
            200 => {
                self.entity = strong_entity(&answer);
                self.skip(answer)
            }
            206 if self.done_bytes > 0 && !self.whole_only => Ok(answer.into_reader()),
            206 => Err(malformed("the answer is a part, the whole was asked for")),
            _ => Err(answer.into_cause()),
        }
    }

    fn ask(&self) -> Result<Answer, Cause> {
        let from_byte = if self.whole_only { 0 } else { self.done_bytes };
        self.source.ask(from_byte, self.entity.as_deref().filter(|_| from_byte > 0))
    }

    /// Whether a part was asked for and the answer is no use: another part, no part at all, or of another length.
    fn is_bad_part(&self, answer: &Answer) -> bool {
        if self.whole_only || self.done_bytes == 0 {
            return false;
        }
        let wanted = (self.done_bytes, self.size_bytes);
        let left = self.size_bytes - self.done_bytes;
        match answer.status {
            206 => {
                let range = answer.header("content-range").and_then(parse_range);
                let length = answer.header("content-length").and_then(|l| l.parse::<u64>().ok());
                range != Some(wanted) || length.is_some_and(|length| length != left)
            }
            416 => true,
            _ => false,
        }
    }

    /// Takes a whole answer where a part was hoped for: what we have must come again, byte for byte.
    fn skip(&self, answer: Answer) -> Result<BodyReader, Cause> {
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

/// The answer's entity tag, if equal tags mean equal bytes.
fn strong_entity(answer: &Answer) -> Option<String> {
    answer.header("etag").filter(|tag| tag.starts_with('"')).map(str::to_owned)
}

/// First byte and whole length of `bytes 5-9/10`, if the range goes to the end.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let length: u64 = length.parse().ok()?;
    (last.parse::<u64>().ok()? + 1 == length).then_some((first.parse().ok()?, length))
}
