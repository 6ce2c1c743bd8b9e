//! Reading from a registry: manifests, and blobs that survive a cut connection. Nothing is given out that was not
//! checked (spec/security.md C5, C8).

use std::io::{self, Read};

use oci::{Descriptor, Digest, Hasher, Reference, media};

use crate::auth::Scopes;
use crate::client::get;
use crate::error::{Action, Cause};
use crate::transport::Answer;
use crate::{RegistryClient, RegistryError};

/// Manifests and indexes may be this long (spec/security.md C7).
const MANIFEST_MAX_BYTES: u64 = 4 << 20;
/// A transfer that has come this much further counts as a new one for the retry policy.
const PROGRESS_BYTES: u64 = 256 << 10;

/// A manifest or index as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Kind of the document.
    pub media_type: String,
    /// Digest of `bytes`.
    pub digest: Digest,
    /// The document; to be stored and pushed as it is.
    pub bytes: Vec<u8>,
}

impl RegistryClient {
    /// Gets the manifest or index that a reference names; by digest if it has one. The digest is verified, the
    /// choice of a platform is the caller's.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        self.try_resolve(reference)
            .map_err(|cause| RegistryError::new(Action::GetManifest(reference.to_string()), cause))
    }

    fn try_resolve(&self, reference: &Reference) -> Result<Resolved, Cause> {
        let session = self.session(reference.registry())?;
        let path = format!("manifests/{}", manifest_name(reference));
        let mut call = get(session.repository_url(reference, &path));
        let accepted =
            [media::OCI_INDEX, media::OCI_MANIFEST, media::DOCKER_INDEX, media::DOCKER_MANIFEST];
        call.headers.push(("accept", accepted.join(", ")));
        let scopes = Scopes::pull(reference.repository());
        let answer = self.request(&session, reference.repository(), &scopes, &call)?;
        if answer.status != 200 {
            return Err(answer.into_cause());
        }
        let url = answer.url.redacted();
        let said_digest = answer.header("docker-content-digest").map(str::to_owned);
        let said_type = media_type(&answer);
        let bytes = answer.read("the manifest", MANIFEST_MAX_BYTES)?;
        let digest = Digest::of(&bytes);
        let expected = match reference.digest() {
            Some(digest) => Some(digest),
            // Another algorithm cannot be compared; the tag is all that was asked for.
            None => said_digest.and_then(|text| text.parse().ok()),
        };
        if let Some(expected) = expected.filter(|e| *e != digest) {
            return Err(Cause::Digest { what: "the manifest", expected, found: digest });
        }
        let media_type = agreed_type(&bytes, said_type, &url)?;
        Ok(Resolved { media_type, digest, bytes })
    }

    /// Opens a blob. The reader checks size and digest at its end, and goes on after a cut connection.
    pub fn blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        let mut reader = BlobReader {
            client: self.clone(),
            reference: reference.clone(),
            digest: descriptor.digest,
            size_bytes: descriptor.size_bytes,
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
}

/// Tag or digest, as the API's path wants it.
pub(crate) fn manifest_name(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

fn media_type(answer: &Answer) -> String {
    let text = answer.header("content-type").unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// The document's own type and the transport's must not contradict each other (spec/security.md C4).
fn agreed_type(bytes: &[u8], said: String, url: &str) -> Result<String, Cause> {
    #[derive(serde::Deserialize)]
    struct Probe {
        #[serde(rename = "mediaType", default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<serde::de::IgnoredAny>,
    }
    let malformed = |reason: String| Cause::Malformed(url.to_owned(), reason);
    let probe: Probe = serde_json::from_slice(bytes)
        .map_err(|e| malformed(format!("the manifest is not JSON: {e}")))?;
    let known =
        |t: &str| media::is_index(t) || matches!(t, media::OCI_MANIFEST | media::DOCKER_MANIFEST);
    let own = probe.media_type.filter(|t| !t.is_empty());
    match own {
        Some(own) if known(&said) && said != own => Err(malformed(format!(
            "the manifest calls itself {}, the registry says {said}",
            crate::error::printable(&own)
        ))),
        Some(own) => Ok(own),
        None if known(&said) => Ok(said),
        None if probe.manifests.is_some() => Ok(media::OCI_INDEX.to_owned()),
        None => Ok(media::OCI_MANIFEST.to_owned()),
    }
}

/// A blob on its way. Its end is only reached when size and digest are right; errors carry a [`RegistryError`].
pub struct BlobReader {
    client: RegistryClient,
    reference: Reference,
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
        let session = self.client.session(self.reference.registry())?;
        let transport = self.client.transport(&session);
        if transport.agents.is_stopped() {
            return Err(Cause::Cancelled);
        }
        match transport.options.retry.delay(self.tries, &cause) {
            Some(delay) => transport.wait(delay),
            None => Err(cause),
        }
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
        let session = self.client.session(self.reference.registry())?;
        let path = format!("blobs/{}", self.digest);
        let mut call = get(session.repository_url(&self.reference, &path));
        if self.done_bytes > 0 {
            call.headers.push(("range", format!("bytes={}-", self.done_bytes)));
        }
        let repository = self.reference.repository();
        let answer = self.client.request(&session, repository, &Scopes::pull(repository), &call)?;
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
        let action = Action::GetBlob { name: self.reference.name(), digest: self.digest };
        RegistryError::new(action, cause)
    }
}

/// First byte and whole length of `bytes 5-9/10`, if the range goes to the end.
fn parse_range(text: &str) -> Option<(u64, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let length: u64 = length.parse().ok()?;
    (last.parse::<u64>().ok()? + 1 == length).then_some((first.parse().ok()?, length))
}
