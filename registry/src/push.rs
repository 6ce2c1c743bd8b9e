//! Writing to a registry: blobs that it does not have yet, then manifests.

use oci::{Digest, Reference};

use crate::auth::Scopes;
use crate::client::{Session, get};
use crate::error::{Action, Cause};
use crate::pull::manifest_name;
use crate::transport::{Answer, Call, Content, Open};
use crate::{RegistryClient, RegistryError};

/// What pushing a blob came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The repository had it.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

impl RegistryClient {
    /// Whether the repository has a blob.
    pub fn blob_exists(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let attempt = || {
            let session = self.session(reference.registry())?;
            let scopes = Scopes::pull(reference.repository());
            self.transport(&session)
                .retrying(|| self.find_blob(&session, reference, digest, &scopes))
        };
        let name = reference.name();
        attempt()
            .map_err(|cause| RegistryError::new(Action::FindBlob { name, digest: *digest }, cause))
    }

    /// Makes sure that the repository has a blob: looks, tries to mount it from another repository of the same
    /// registry, else sends it in one request. `open` gives the content from its start and may be called again.
    pub fn push_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size_bytes: u64,
        open: Open,
        mount_from: Option<&Reference>,
    ) -> Result<Pushed, RegistryError> {
        let blob = Blob { digest: *digest, size_bytes, open };
        self.try_push_blob(reference, &blob, mount_from).map_err(|cause| {
            let action = Action::PushBlob { name: reference.name(), digest: *digest };
            RegistryError::new(action, cause)
        })
    }

    /// Sends a manifest or index under the reference's tag, or under its digest when it has no tag.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, RegistryError> {
        self.try_push_manifest(reference, media_type, bytes)
            .map_err(|cause| RegistryError::new(Action::PushManifest(reference.to_string()), cause))
    }

    fn try_push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Cause> {
        let digest = Digest::of(bytes);
        if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
            return Err(Cause::Digest { what: "the manifest", expected, found: digest });
        }
        let session = self.session(reference.registry())?;
        let name = match reference.tag() {
            Some(tag) => tag.to_owned(),
            None => manifest_name(reference),
        };
        let call = Call {
            method: "PUT",
            url: session.repository_url(reference, &format!("manifests/{name}")),
            headers: vec![("content-type", media_type.to_owned())],
            authorization: None,
            body: Content::Bytes(bytes),
        };
        let scopes = Scopes::push(reference.repository());
        let answer = self.request(&session, reference.repository(), &scopes, &call)?;
        if !matches!(answer.status, 200..=204) {
            return Err(answer.into_cause());
        }
        let said = answer.header("docker-content-digest").and_then(|t| t.parse().ok());
        match said.filter(|said| *said != digest) {
            Some(found) => {
                Err(Cause::Digest { what: "the pushed manifest", expected: digest, found })
            }
            None => Ok(digest),
        }
    }

    /// Looks once; a temporary failure is the caller's to handle.
    fn find_blob(
        &self,
        session: &Session,
        reference: &Reference,
        digest: &Digest,
        scopes: &Scopes,
    ) -> Result<bool, Cause> {
        let mut call = get(session.repository_url(reference, &format!("blobs/{digest}")));
        call.method = "HEAD";
        let answer = self.request_once(session, reference.repository(), scopes, &call)?;
        match answer.status {
            200 => Ok(true),
            404 => Ok(false),
            _ => Err(answer.into_cause()),
        }
    }

    fn try_push_blob(
        &self,
        reference: &Reference,
        blob: &Blob,
        mount_from: Option<&Reference>,
    ) -> Result<Pushed, Cause> {
        let session = self.session(reference.registry())?;
        let mut mount_from = mount_from.filter(|from| {
            from.registry() == reference.registry() && from.repository() != reference.repository()
        });
        let scopes = Scopes::push(reference.repository());
        let mut sent = false;
        self.transport(&session).retrying(|| {
            if self.find_blob(&session, reference, &blob.digest, &scopes)? {
                // The answer to an earlier try may have been lost after the registry had all of it.
                return Ok(if sent { Pushed::Uploaded } else { Pushed::Existed });
            }
            sent = true;
            let opened = match mount_from.take() {
                Some(from) => self.mount(&session, reference, blob, from, &scopes)?,
                None => None,
            };
            let opened = match opened {
                Some(answer) if answer.status == 201 => return Ok(Pushed::Mounted),
                Some(answer) => answer,
                None => self.open_upload(&session, reference, &scopes)?,
            };
            self.upload(&session, reference.repository(), &scopes, blob, &opened)
        })
    }

    /// Asks for the blob to be taken from another repository: 201 when it was, 202 when an upload was opened
    /// instead, `None` when the registry does not do or allow it.
    fn mount(
        &self,
        session: &Session,
        reference: &Reference,
        blob: &Blob,
        from: &Reference,
        scopes: &Scopes,
    ) -> Result<Option<Answer>, Cause> {
        let url = session
            .repository_url(reference, "blobs/uploads/")
            .with_query("mount", &blob.digest.to_string())
            .with_query("from", from.repository());
        let both = scopes.clone().and(from.repository(), &["pull"]);
        match self.request_once(session, reference.repository(), &both, &post(url)) {
            Ok(answer) if matches!(answer.status, 201 | 202) => Ok(Some(answer)),
            // A mount is only a hope: whatever speaks against it, the upload will say it better.
            Ok(_) => Ok(None),
            Err(Cause::Cancelled) => Err(Cause::Cancelled),
            Err(_) => Ok(None),
        }
    }

    fn open_upload(
        &self,
        session: &Session,
        reference: &Reference,
        scopes: &Scopes,
    ) -> Result<Answer, Cause> {
        let url = session.repository_url(reference, "blobs/uploads/");
        let answer = self.request_once(session, reference.repository(), scopes, &post(url))?;
        if answer.status == 202 { Ok(answer) } else { Err(answer.into_cause()) }
    }

    /// Sends a blob's content to the place that `opened` names.
    fn upload(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
        blob: &Blob,
        opened: &Answer,
    ) -> Result<Pushed, Cause> {
        let transport = self.transport(session);
        let target = transport.redirect_target(opened)?;
        let is_home = target.origin() == session.home;
        let call = Call {
            method: "PUT",
            url: target.with_query("digest", &blob.digest.to_string()),
            headers: vec![("content-type", "application/octet-stream".to_owned())],
            authorization: None,
            body: Content::Stream { open: blob.open, size_bytes: blob.size_bytes },
        };
        // Storage elsewhere gets the content and no credential (spec/security.md C1).
        let answer = if is_home {
            self.request_once(session, repository, scopes, &call)?
        } else {
            transport.send_once(&call)?
        };
        match answer.status {
            201 | 202 | 204 => Ok(Pushed::Uploaded),
            _ => Err(answer.into_cause()),
        }
    }
}

struct Blob<'a> {
    digest: Digest,
    size_bytes: u64,
    open: Open<'a>,
}

fn post<'a>(url: crate::url::Url) -> Call<'a> {
    Call { method: "POST", body: Content::Bytes(&[]), ..get(url) }
}
