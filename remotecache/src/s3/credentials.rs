//! Who signs: the options' own credential, else the chain that Amazon's tools follow.
//!
//! Order: options, AWS_ACCESS_KEY_ID, a web identity named by AWS_* variables, the profile in the shared files, the
//! container's agent, the machine's own metadata. Files and services are asked when the first request is signed, and
//! again shortly before a credential ends. Not supported, and said so: roles by `source_profile`, SSO, and
//! `credential_process`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use registry::{RegistryClient, Secret, ServiceError};

use super::files::{read_file, section};
use super::issuers::{self, WebIdentity};
use super::sign::AwsCredential;
use crate::S3Options;
use crate::parts::lock;

/// A credential is renewed when it has less time left.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// Finds the credential once and keeps it while it is good.
pub(super) struct Credentials {
    options: S3Options,
    client: RegistryClient,
    known: Mutex<Option<AwsCredential>>,
}

impl Credentials {
    pub(super) fn new(options: &S3Options, client: &RegistryClient) -> Credentials {
        Credentials { options: options.clone(), client: client.clone(), known: Mutex::default() }
    }

    /// The credential that is good now.
    pub(super) fn get(&self, now: Timestamp) -> Result<AwsCredential, ServiceError> {
        let mut known = lock(&self.known);
        let is_good = |c: &AwsCredential| c.expires.is_none_or(|end| end - RENEW_BEFORE > now);
        if let Some(credential) = known.as_ref().filter(|credential| is_good(credential)) {
            return Ok(credential.clone());
        }
        let found = self.find()?;
        *known = Some(found.clone());
        Ok(found)
    }

    /// Forgets a credential that was refused as too old.
    pub(super) fn forget(&self) {
        *lock(&self.known) = None;
    }

    fn find(&self) -> Result<AwsCredential, ServiceError> {
        let options = &self.options;
        if let (Some(id), Some(secret)) = (&options.access_key_id, &options.secret_access_key) {
            return Ok(lasting(id, secret.reveal(), options.session_token.clone()));
        }
        let variable = |name: &str| self.variable(name);
        if let (Some(id), Some(secret)) =
            (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        {
            let token = variable("AWS_SESSION_TOKEN").map(|token| Secret::new(token.to_owned()));
            return Ok(lasting(id, secret, token));
        }
        if let (Some(role), Some(file)) =
            (variable("AWS_ROLE_ARN"), variable("AWS_WEB_IDENTITY_TOKEN_FILE"))
        {
            return self.web_identity(role, Path::new(file), variable("AWS_ROLE_SESSION_NAME"));
        }
        if let Some(credential) = self.profile()? {
            return Ok(credential);
        }
        let place = issuers::Place { client: &self.client, variable: &variable };
        if let Some(credential) = issuers::container(&place)? {
            return Ok(credential);
        }
        issuers::machine(&place)?.ok_or_else(|| {
            let reason = "none is given by access_key_id and secret_access_key, by AWS_* variables, \
                in the shared credentials file, or by this machine";
            ServiceError::configuration("credential for S3", reason)
        })
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let value = self.options.environment.variables.get(name)?.reveal();
        (!value.is_empty()).then_some(value)
    }

    fn web_identity(
        &self,
        role: &str,
        file: &Path,
        session: Option<&str>,
    ) -> Result<AwsCredential, ServiceError> {
        let token = read_file(file)?.unwrap_or_default();
        if token.trim().is_empty() {
            let what = format!("web identity token in {}", file.display());
            return Err(ServiceError::configuration(&what, "there is none"));
        }
        let identity = WebIdentity {
            role,
            session: session.unwrap_or("shale"),
            token: token.trim(),
            region: &self.options.region,
        };
        let variable = |name: &str| self.variable(name);
        issuers::assume(&issuers::Place { client: &self.client, variable: &variable }, &identity)
    }

    /// What the shared files say of the profile in force. The credentials file goes before the other one.
    fn profile(&self) -> Result<Option<AwsCredential>, ServiceError> {
        let named = self.variable("AWS_PROFILE").or_else(|| self.variable("AWS_DEFAULT_PROFILE"));
        let name = named.unwrap_or("default");
        let mut known = BTreeMap::new();
        for (variable, own, prefix) in [
            ("AWS_CONFIG_FILE", "config", "profile "),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", ""),
        ] {
            let Some(file) = self.file(variable, own) else { continue };
            let Some(text) = read_file(&file)? else { continue };
            let is_wanted = |title: &str| {
                title.strip_prefix(prefix).is_some_and(|title| title.trim() == name)
                    || (name == "default" && title == name)
            };
            known.extend(section(&text, is_wanted));
        }
        self.of_profile(name, named.is_some(), &known)
    }

    fn of_profile(
        &self,
        name: &str,
        is_asked_for: bool,
        known: &BTreeMap<String, String>,
    ) -> Result<Option<AwsCredential>, ServiceError> {
        let value = |key: &str| known.get(key).map(String::as_str).filter(|v| !v.is_empty());
        if let (Some(id), Some(secret)) =
            (value("aws_access_key_id"), value("aws_secret_access_key"))
        {
            let token = value("aws_session_token").map(|token| Secret::new(token.to_owned()));
            return Ok(Some(lasting(id, secret, token)));
        }
        if let (Some(role), Some(file)) = (value("role_arn"), value("web_identity_token_file")) {
            let session = value("role_session_name");
            return self.web_identity(role, Path::new(file), session).map(Some);
        }
        let what = format!("profile `{name}` of the shared AWS files");
        let unknown = ["role_arn", "credential_process", "sso_session", "sso_start_url"];
        if let Some(key) = unknown.into_iter().find(|key| value(key).is_some()) {
            let reason = format!(
                "credentials by {key} are not supported; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            );
            return Err(ServiceError::configuration(&what, &reason));
        }
        if is_asked_for {
            return Err(ServiceError::configuration(&what, "it has no credential"));
        }
        Ok(None)
    }

    fn file(&self, variable: &str, name: &str) -> Option<PathBuf> {
        let home = || Some(self.options.environment.home.as_ref()?.join(".aws").join(name));
        self.variable(variable).map(PathBuf::from).or_else(home)
    }
}

fn lasting(id: &str, secret: &str, session_token: Option<Secret>) -> AwsCredential {
    AwsCredential {
        access_key_id: id.to_owned(),
        secret_access_key: Secret::new(secret.to_owned()),
        session_token,
        expires: None,
    }
}
