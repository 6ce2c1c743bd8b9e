//! Reading from a registry: manifests and blobs. Nothing is given out that was not checked (spec/security.md C5, C8).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::{Descriptor, Digest, Reference, media};

use crate::auth::Scopes;
use crate::blob::{BlobPrefix, BlobReader, BlobSource, range_headers};
use crate::client::get;
use crate::error::{Action, Cause};
use crate::hosts::Asked;
use crate::places::{Place, Spot};
use crate::transport::Answer;
use crate::{RegistryClient, RegistryError};

/// Manifests and indexes may be this long (spec/security.md C7).
const MANIFEST_MAX_BYTES: u64 = 4 << 20;

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
        self.at_places(reference, Asked::Manifest, |place| self.resolve_at(place))
    }

    fn resolve_at(&self, Place { session, reference }: &Place) -> Result<Resolved, Cause> {
        let path = format!("manifests/{}", manifest_name(reference));
        let mut call = get(session.repository_url(reference, &path));
        let accepted =
            [media::OCI_INDEX, media::OCI_MANIFEST, media::DOCKER_INDEX, media::DOCKER_MANIFEST];
        call.headers.push(("accept", accepted.join(", ")));
        let scopes = Scopes::pull(reference.repository());
        let whole = ("the manifest", MANIFEST_MAX_BYTES);
        let answer = self.request_whole(session, reference.repository(), &scopes, &call, whole)?;
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
        let source = Box::new(self.blob_source(reference, descriptor));
        BlobReader::open(source, descriptor.digest, descriptor.size_bytes)
    }

    /// Opens what follows the beginning of a blob that an earlier transfer got. Size and digest are checked of both
    /// together: a wrong beginning is found at the end, or before it where the registry cannot give parts.
    ///
    /// # Errors
    /// As [`RegistryClient::blob`].
    pub fn blob_behind(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        prefix: BlobPrefix,
    ) -> Result<BlobReader, RegistryError> {
        let source = Box::new(self.blob_source(reference, descriptor));
        BlobReader::open_behind(source, descriptor.digest, descriptor.size_bytes, prefix)
    }

    fn blob_source(&self, reference: &Reference, descriptor: &Descriptor) -> RegistryBlob {
        let (client, reference) = (self.clone(), reference.clone());
        let (spots, at) = (OnceLock::new(), AtomicUsize::new(0));
        RegistryBlob { client, reference, digest: descriptor.digest, spots, at }
    }
}

/// A blob that a registry serves.
struct RegistryBlob {
    client: RegistryClient,
    reference: Reference,
    digest: Digest,
    /// Where it may be asked for, once that is known, and which of them is asked.
    spots: OnceLock<Vec<Spot>>,
    at: AtomicUsize,
}

impl RegistryBlob {
    /// The place that is asked.
    fn spot(&self) -> Result<&Spot, Cause> {
        let spots = match self.spots.get() {
            Some(spots) => spots,
            None => {
                let spots = self.client.blob_spots(&self.reference, &self.digest)?;
                self.spots.get_or_init(|| spots)
            }
        };
        spots.get(self.at.load(Ordering::Relaxed)).ok_or(Cause::Cancelled)
    }

    fn ask_at(&self, spot: &Spot, from_byte: u64, entity: Option<&str>) -> Result<Answer, Cause> {
        let Place { session, reference } = self.client.place(spot)?;
        let path = format!("blobs/{}", self.digest);
        let mut call = get(session.repository_url(&reference, &path));
        call.headers.extend(range_headers(from_byte, entity));
        let repository = reference.repository();
        self.client.request(&session, repository, &Scopes::pull(repository), &call)
    }
}

impl BlobSource for RegistryBlob {
    fn ask(&self, from_byte: u64, entity: Option<&str>) -> Result<Answer, Cause> {
        let mut entity = entity;
        loop {
            let spot = self.spot()?;
            let cause = match self.ask_at(spot, from_byte, entity) {
                Ok(answer) if matches!(answer.status, 200 | 206) || spot.is_last() => {
                    return Ok(answer);
                }
                Ok(answer) => answer.into_cause(),
                Err(cause) => cause,
            };
            self.client.pass_over(spot, cause)?;
            self.at.fetch_add(1, Ordering::Relaxed);
            // Another place has other names for the same bytes.
            entity = None;
        }
    }

    fn wait_after(&self, tried: u32, cause: Cause) -> Result<(), Cause> {
        let Place { session, .. } = self.client.place(self.spot()?)?;
        let transport = self.client.transport(&session);
        transport.wait_after(&transport.options.retry, tried, cause).map(drop)
    }

    fn was_wrong(&self) {
        if let Ok(spot) = self.spot() {
            self.client.distrust(spot, &self.digest);
        }
    }

    fn action(&self) -> Action {
        Action::GetBlob { name: self.reference.name(), digest: self.digest }
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
    let probe: Probe = serde_json::from_slice(bytes).map_err(|error| {
        malformed(match said.as_str() {
            _ if bytes.is_empty() => "the answer is empty, not a manifest".to_owned(),
            "text/html" => {
                "the answer is an HTML page, not a manifest: is a proxy or a login page in between?"
                    .to_owned()
            }
            _ => format!("the manifest is not JSON: {error}"),
        })
    })?;
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
