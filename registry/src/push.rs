//! Writing to a registry: blobs that it does not have yet, then manifests.

use std::io::{self, Read};

use oci::{Digest, Reference};

use crate::auth::Scopes;
use crate::client::{Session, get};
use crate::error::{Action, Cause};
use crate::hosts::Asked;
use crate::pull::manifest_name;
use crate::transport::{Answer, Call, Content, Open};
use crate::upload::Upload;
use crate::{RegistryClient, RegistryError};

/// Repositories that a blob is asked for in before it is sent.
const MOUNTS_MAX: usize = 3;

/// Opens content to send from a byte on; called again for each try.
pub type OpenAt<'a> = &'a (dyn Fn(u64) -> io::Result<Box<dyn Read + 'a>> + Sync);

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
            let session = self.origin(reference, Asked::Push)?.session;
            let scopes = Scopes::pull(reference.repository());
            self.transport(&session)
                .retrying(|| self.find_blob(&session, reference, digest, &scopes))
        };
        let name = reference.name();
        attempt()
            .map_err(|cause| RegistryError::new(Action::FindBlob { name, digest: *digest }, cause))
    }

    /// As [`RegistryClient::push_blob_from`], of content that can only be opened at its start. `open` may be called
    /// again.
    pub fn push_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size_bytes: u64,
        open: Open,
        mount_from: Option<&Reference>,
    ) -> Result<Pushed, RegistryError> {
        let open = |at: u64| {
            let mut content = open()?;
            io::copy(&mut (&mut content).take(at), &mut io::sink())?;
            Ok(content)
        };
        self.push_blob_from(reference, digest, size_bytes, &open, mount_from.as_slice())
            .map(|(pushed, _)| pushed)
    }

    /// Makes sure that the repository has a blob: looks, tries to mount it from other repositories of the same
    /// registry, else sends it: in one request, or in pieces where that is too much at once. What was cut goes on
    /// where the registry says that it has come to. `open` gives the content from a byte on and may be called again.
    /// Says from which repository a blob was mounted.
    ///
    /// # Errors
    /// The registry refuses the blob or cannot be reached, or the content cannot be opened.
    pub fn push_blob_from<'f>(
        &self,
        reference: &Reference,
        digest: &Digest,
        size_bytes: u64,
        open: OpenAt,
        mount_from: &[&'f Reference],
    ) -> Result<(Pushed, Option<&'f Reference>), RegistryError> {
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
        self.put_manifest(reference, media_type, bytes)
            .map(|(digest, _)| digest)
            .map_err(|cause| RegistryError::new(Action::PushManifest(reference.to_string()), cause))
    }

    /// Sends a manifest; gives its digest and the registry's answer.
    pub(crate) fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(Digest, Answer), Cause> {
        let digest = Digest::of(bytes);
        if let Some(expected) = reference.digest().filter(|expected| *expected != digest) {
            return Err(Cause::Digest { what: "the manifest", expected, found: digest });
        }
        let session = self.origin(reference, Asked::Push)?.session;
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
        // A page of somebody in between is no success.
        let is_meant = answer.header("location").or(answer.header("docker-content-digest"));
        let is_taken = match answer.status {
            201 | 202 | 204 => true,
            200 => is_meant.is_some(),
            _ => false,
        };
        if !is_taken {
            return Err(answer.into_cause());
        }
        let said = answer.header("docker-content-digest").and_then(|t| t.parse().ok());
        match said.filter(|said| *said != digest) {
            Some(found) => {
                Err(Cause::Digest { what: "the pushed manifest", expected: digest, found })
            }
            None => Ok((digest, answer)),
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

    fn try_push_blob<'f>(
        &self,
        reference: &Reference,
        blob: &Blob,
        mount_from: &[&'f Reference],
    ) -> Result<(Pushed, Option<&'f Reference>), Cause> {
        let session = self.origin(reference, Asked::Push)?.session;
        let usable = |from: &&&Reference| {
            from.registry() == reference.registry() && from.repository() != reference.repository()
        };
        let mut mount_from: Vec<&Reference> = mount_from.iter().filter(usable).copied().collect();
        mount_from.truncate(MOUNTS_MAX);
        let scopes = Scopes::push(reference.repository());
        let to = Target { client: self, session: &session, reference, scopes: &scopes };
        let mut upload = Upload::new(to, blob);
        let mut sent = false;
        let mut tried = 0;
        loop {
            tried += 1;
            let cause = match self.push_once(to, blob, &mut mount_from, &mut upload, &mut sent) {
                Ok(pushed) => return Ok(pushed),
                Err(cause) => cause,
            };
            if upload.is_lost(&cause) {
                continue;
            }
            if upload.has_advanced() {
                tried = 1;
            }
            let transport = self.transport(&session);
            transport.wait_after(&transport.options.retry, tried, cause)?;
        }
    }

    fn push_once<'f>(
        &self,
        to: Target,
        blob: &Blob,
        mount_from: &mut Vec<&'f Reference>,
        upload: &mut Upload,
        sent: &mut bool,
    ) -> Result<(Pushed, Option<&'f Reference>), Cause> {
        let Target { session, reference, scopes, .. } = to;
        // What an earlier try got across is not sent again.
        if upload.resume()? {
            return Ok((Pushed::Uploaded, None));
        }
        if self.find_blob(session, reference, &blob.digest, scopes)? {
            // The answer to an earlier try may have been lost after the registry had all of it.
            return Ok((if *sent { Pushed::Uploaded } else { Pushed::Existed }, None));
        }
        *sent = true;
        for from in std::mem::take(mount_from) {
            match self.mount(session, reference, blob, from, scopes)? {
                Some(answer) if answer.status == 201 => return Ok((Pushed::Mounted, Some(from))),
                Some(answer) => match upload.opened(&answer) {
                    // It does not say where: an upload without a mount may do better.
                    Ok(()) | Err(Cause::Malformed(..)) => {}
                    Err(cause) => return Err(cause),
                },
                None => {}
            }
        }
        upload.send()?;
        Ok((Pushed::Uploaded, None))
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
}

/// Where a blob goes.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) client: &'a RegistryClient,
    pub(crate) session: &'a Session,
    pub(crate) reference: &'a Reference,
    pub(crate) scopes: &'a Scopes,
}

/// What is sent.
pub(crate) struct Blob<'a> {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) open: OpenAt<'a>,
}

fn post<'a>(url: crate::url::Url) -> Call<'a> {
    Call { method: "POST", body: Content::Bytes(&[]), ..get(url) }
}
