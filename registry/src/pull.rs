//! Reading from a registry: manifests and blobs. Nothing is given out that was not checked (spec/security.md C5, C8).

use oci::{Descriptor, Digest, Reference, media};

use crate::auth::Scopes;
use crate::blob::{BlobReader, BlobSource, range_header};
use crate::client::get;
use crate::error::{Action, Cause};
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
        let source = RegistryBlob {
            client: self.clone(),
            reference: reference.clone(),
            digest: descriptor.digest,
        };
        BlobReader::open(Box::new(source), descriptor.digest, descriptor.size_bytes)
    }
}

/// A blob that a registry serves.
struct RegistryBlob {
    client: RegistryClient,
    reference: Reference,
    digest: Digest,
}

impl BlobSource for RegistryBlob {
    fn ask(&self, from_byte: u64) -> Result<Answer, Cause> {
        let session = self.client.session(self.reference.registry())?;
        let path = format!("blobs/{}", self.digest);
        let mut call = get(session.repository_url(&self.reference, &path));
        call.headers.extend(range_header(from_byte));
        let repository = self.reference.repository();
        self.client.request(&session, repository, &Scopes::pull(repository), &call)
    }

    fn wait_after(&self, tried: u32, cause: Cause) -> Result<(), Cause> {
        let session = self.client.session(self.reference.registry())?;
        let transport = self.client.transport(&session);
        transport.wait_after(&transport.options.retry, tried, cause).map(drop)
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
