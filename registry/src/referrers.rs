//! Artifacts that refer to an image: signatures, attestations, bills of materials. A registry either lists them by its
//! API or they are listed in an index under a tag that is made of the image's digest.

use oci::{Descriptor, Digest, Document, Index, Reference, media};

use crate::auth::Scopes;
use crate::client::get;
use crate::error::{Action, Cause};
use crate::hosts::Asked;
use crate::places::Place;
use crate::tags::{PAGE_MAX_BYTES, Pages};
use crate::{RegistryClient, RegistryError};

impl RegistryClient {
    /// What refers to a digest in a repository; with `artifact_type` only that kind.
    ///
    /// # Errors
    /// The registry refuses or cannot be reached. That nothing refers to it is none.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let listed = match self.listed_referrers(reference, subject, artifact_type) {
            Ok(Some(listed)) => Ok(listed),
            // It has no such list: what clients keep under a tag counts.
            Ok(None) => self.tagged_referrers(reference, subject),
            Err(cause) => Err(cause),
        };
        let action = || Action::ListReferrers { name: reference.name(), digest: *subject };
        let mut listed = listed.map_err(|cause| RegistryError::new(action(), cause))?;
        // A registry may leave the choice to us.
        if let Some(wanted) = artifact_type {
            listed.retain(|one| one.artifact_type.as_deref() == Some(wanted));
        }
        Ok(listed)
    }

    /// Sends an artifact's manifest, whose `subject` is the digest, under its own digest, and sees to it that it is
    /// found: by the registry, or in the index under the tag. `listed` is its descriptor in such an index.
    ///
    /// # Errors
    /// The registry refuses or cannot be reached.
    pub fn push_referrer(
        &self,
        reference: &Reference,
        subject: &Digest,
        listed: &Descriptor,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        let target = reference.with_digest(listed.digest);
        let fail = |cause| RegistryError::new(Action::PushManifest(target.to_string()), cause);
        let (digest, answer) =
            self.put_manifest(&target, &listed.media_type, bytes).map_err(fail)?;
        if answer.header("oci-subject").is_none() {
            self.tag_referrer(reference, subject, listed).map_err(fail)?;
        }
        Ok(digest)
    }

    /// `None` from a registry without the API.
    fn listed_referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Cause> {
        let Place { session, reference } = self.origin(reference, Asked::Manifest)?;
        let reference = &reference;
        let scopes = Scopes::pull(reference.repository());
        let mut url = session.repository_url(reference, &format!("referrers/{subject}"));
        if let Some(wanted) = artifact_type {
            url = url.with_query("artifactType", wanted);
        }
        let whole = ("the list of referrers", PAGE_MAX_BYTES);
        let mut pages = Pages::new(whole.0, url);
        let mut all = Vec::new();
        while let Some(url) = pages.next()? {
            let mut call = get(url);
            call.headers.push(("accept", media::OCI_INDEX.to_owned()));
            let answer =
                self.request_whole(&session, reference.repository(), &scopes, &call, whole)?;
            match answer.status {
                200 => {}
                // What knows no such path says so in many ways.
                400 | 404 | 405 | 406 => return Ok(None),
                _ => return Err(answer.into_cause()),
            }
            let is_index = answer.header("content-type").is_some_and(|said| {
                said.split(';').next().unwrap_or_default().trim() == media::OCI_INDEX
            });
            if !is_index {
                return Ok(None);
            }
            let place = answer.url.redacted();
            let bytes = pages.read(answer)?;
            all.extend(index(&bytes, place)?.manifests);
        }
        Ok(Some(all))
    }

    fn tagged_referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, Cause> {
        let tagged = fallback(reference, subject);
        match self.resolve(&tagged) {
            Ok(found) => Ok(index(&found.bytes, tagged.to_string())?.manifests),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error.into_cause()),
        }
    }

    /// Adds to the index under the tag. Two clients that do so at once may lose one of the two: the specification knows
    /// no better for such registries.
    fn tag_referrer(
        &self,
        reference: &Reference,
        subject: &Digest,
        listed: &Descriptor,
    ) -> Result<(), Cause> {
        let mut manifests = self.tagged_referrers(reference, subject)?;
        if manifests.iter().any(|known| known.digest == listed.digest) {
            return Ok(());
        }
        manifests.push(listed.clone());
        let media_type = media::OCI_INDEX.to_owned();
        let annotations = Default::default();
        let index = Index { schema_version: 2, media_type, manifests, annotations };
        let tagged = fallback(reference, subject);
        self.put_manifest(&tagged, media::OCI_INDEX, &index.to_json()).map(drop)
    }
}

fn index(bytes: &[u8], place: String) -> Result<Index, Cause> {
    match Document::from_json(bytes, media::OCI_INDEX) {
        Ok(Document::Index(index)) => Ok(index),
        Ok(Document::Manifest(_)) => {
            Err(Cause::Malformed(place, "the list of referrers is no index".to_owned()))
        }
        Err(error) => Err(Cause::Malformed(place, error.to_string())),
    }
}

/// The tag under which clients list what refers to a digest where the registry does not.
fn fallback(reference: &Reference, subject: &Digest) -> Reference {
    let text = format!("{}:sha256-{}", reference.name(), subject.hex());
    text.parse().expect("digits are a valid tag")
}
