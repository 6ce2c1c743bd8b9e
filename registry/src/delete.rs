//! Removing from a registry: manifests by their digest. Blobs go when the registry collects its garbage.

use oci::{Digest, Reference};

use crate::auth::Scopes;
use crate::client::get;
use crate::error::{Action, Cause};
use crate::hosts::Asked;
use crate::places::Place;
use crate::transport::Call;
use crate::{RegistryClient, RegistryError};

impl RegistryClient {
    /// Removes a manifest or index from a repository, with all tags that point to it.
    ///
    /// # Errors
    /// The repository has no such manifest, the registry does not let it be removed, or cannot be reached.
    pub fn delete_manifest(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let target = reference.with_digest(*digest);
        self.try_delete(&target)
            .map_err(|cause| RegistryError::new(Action::DeleteManifest(target.to_string()), cause))
    }

    fn try_delete(&self, target: &Reference) -> Result<(), Cause> {
        // Where a push goes: a mirror's copy is the mirror's affair.
        let Place { session, reference } = self.origin(target, Asked::Push)?;
        let path = format!("manifests/{}", crate::pull::manifest_name(&reference));
        let call = Call { method: "DELETE", ..get(session.repository_url(&reference, &path)) };
        let scopes = Scopes::none().and(reference.repository(), &["delete", "pull"]);
        let answer = self.request(&session, reference.repository(), &scopes, &call)?;
        match answer.status {
            200..=204 => Ok(()),
            _ => Err(answer.into_cause()),
        }
    }
}
