//! `login`: whether a registry takes a credential, and what is to be kept of it.

use crate::credentials::Credential;
use crate::error::{Action, Cause};
use crate::{RegistryClient, RegistryError};

impl RegistryClient {
    /// Looks whether a registry takes the client's credential for it, and gives what is to be kept: an identity token
    /// where the registry's token server gives one for a password, else the credential itself.
    ///
    /// # Errors
    /// The registry does not take it, or cannot be reached.
    pub fn login(&self, registry: &str) -> Result<Credential, RegistryError> {
        self.try_login(registry)
            .map_err(|cause| RegistryError::new(Action::Login(registry.to_owned()), cause))
    }

    fn try_login(&self, registry: &str) -> Result<Credential, Cause> {
        let session = self.session_itself(registry)?;
        self.ping_session(&session, "")?;
        let credential =
            self.options().credentials.get(registry, "").map_err(RegistryError::into_cause)?;
        let transport = self.transport(&session);
        let token = session.auth.identity_token(&transport, registry, &credential)?;
        Ok(token.map_or(credential, Credential::IdentityToken))
    }
}
