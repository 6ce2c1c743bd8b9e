//! Who to be for a registry: config.json of Docker, auth.json of Podman, and helper programs.
//!
//! Owns the formats and the order of look-up. Refuses to know environment variables and home directories: texts and
//! directories are given by the caller.

mod config_json;
mod edit;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::RegistryError;
use crate::error::{Action, Cause};
use crate::helper;
use config_json::{File, server_url};

pub use edit::{Keeper, LoginConfig, server_name};

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A way to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// None.
    Anonymous,
    /// User name and password.
    Basic {
        /// The name.
        user: String,
        /// The password or access token.
        password: Secret,
    },
    /// A refresh token, exchanged for access tokens.
    IdentityToken(Secret),
    /// A token that the registry itself takes.
    RegistryToken(Secret),
}

/// Where credentials are looked for; made by the command line.
#[derive(Clone, Debug, Default)]
pub struct CredentialsSource {
    /// Texts in the format of config.json or auth.json, most important first: DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE,
    /// config.json, auth.json.
    pub texts: Vec<CredentialsText>,
    /// Absolute directories where helper programs are looked for, usually those of PATH.
    pub helper_dirs: Vec<PathBuf>,
}

/// One text with credentials.
#[derive(Clone)]
pub struct CredentialsText {
    /// What it is called in errors: a path, or the name of a variable.
    pub origin: String,
    /// The text.
    pub text: String,
}

impl fmt::Debug for CredentialsText {
    /// Silent: the text holds passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialsText").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// All that is known of whom to be. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Credentials(Arc<Loaded>);

#[derive(Debug, Default)]
struct Loaded {
    files: Vec<File>,
    helper_dirs: Vec<PathBuf>,
}

/// A helper may take this long; it may ask a password manager, but not wait for a person for ever.
pub(crate) const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

impl Credentials {
    /// No credentials: everything is asked for anonymously.
    pub fn none() -> Credentials {
        Credentials::default()
    }

    /// Reads the texts. Fails when one is not valid; the error does not quote it.
    pub fn load(source: &CredentialsSource) -> Result<Credentials, RegistryError> {
        let read = |text: &CredentialsText| {
            File::parse(&text.origin, &text.text).map_err(|reason| {
                let cause =
                    Cause::Credentials { what: "not a registry configuration".to_owned(), reason };
                RegistryError::new(Action::ReadCredentials(text.origin.clone()), cause)
            })
        };
        let files = source.texts.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Credentials(Arc::new(Loaded { files, helper_dirs: source.helper_dirs.clone() })))
    }

    /// One credential for one registry, and none for others.
    pub fn only(registry: &str, credential: Credential) -> Credentials {
        let file = File::only(registry, credential);
        Credentials(Arc::new(Loaded { files: vec![file], helper_dirs: Vec::new() }))
    }

    /// The credential for a repository. Each text is asked: the registry's own helper, else the common one, then the
    /// stored entry with the longest prefix. One that knows nothing means the next, at last anonymous.
    ///
    /// # Errors
    /// A helper cannot be run, or fails. What it printed is not shown: it may be a password.
    pub fn get(&self, registry: &str, repository: &str) -> Result<Credential, RegistryError> {
        self.get_with_place(registry, repository).map(|(credential, _)| credential)
    }

    /// As [`Credentials::get`], with what people are told of it: what it is and where it comes from.
    pub(crate) fn get_with_place(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<(Credential, Option<String>), RegistryError> {
        let told = |credential: &Credential, place: &str| match credential {
            Credential::Anonymous => None,
            // One that was just given is in no file.
            credential if place.is_empty() => Some(credential.kind()),
            credential => Some(format!("{} from {place}", credential.kind())),
        };
        for file in &self.0.files {
            if let Some((helper, _)) = file.helper(registry)
                && let Some(credential) = self.ask(helper, registry)?
            {
                let place = format!("{} (named in {})", program_name(helper), file.origin);
                let told = told(&credential, &place);
                return Ok((credential, told));
            }
            if let Some((_, credential)) = file.stored(registry, repository) {
                return Ok((credential.clone(), told(credential, &file.origin)));
            }
        }
        Ok((Credential::Anonymous, None))
    }

    /// Where the credential for a repository is kept: helpers that would be asked, in this order, and at the end the
    /// entry that would be used. Runs no helper.
    pub fn kept(&self, registry: &str, repository: &str) -> Vec<Kept> {
        let mut all = Vec::new();
        for file in &self.0.files {
            let kept = |line, how| Kept { file: file.origin.clone(), line, how };
            if let Some((name, word)) = file.helper(registry) {
                let line = file.line_of(name, word);
                let program = program_name(name);
                all.push(kept(line, KeptAs::Helper { program, word }));
            }
            if let Some((entry, credential)) = file.stored(registry, repository) {
                let kind = credential.kind();
                let line = file.line_of(&entry, "auths");
                all.push(kept(line, KeptAs::Entry { key: entry, kind }));
                return all;
            }
        }
        all
    }

    fn ask(&self, helper: &str, registry: &str) -> Result<Option<Credential>, RegistryError> {
        let server = server_url(registry);
        let found = helper::get(helper, &self.0.helper_dirs, server, HELPER_TIMEOUT);
        found.map_err(|reason| {
            let action =
                Action::RunHelper { server: server.to_owned(), program: program_name(helper) };
            let what = "credential helper".to_owned();
            RegistryError::new(action, Cause::Credentials { what, reason })
        })
    }
}

impl Credential {
    /// What it is, for people: never the secret.
    fn kind(&self) -> String {
        match self {
            Credential::Anonymous => "nothing".to_owned(),
            Credential::Basic { user, .. } => {
                format!("password of {}", crate::error::printable(user))
            }
            Credential::IdentityToken(_) => "identity token".to_owned(),
            Credential::RegistryToken(_) => "registry token".to_owned(),
        }
    }
}

fn program_name(helper: &str) -> String {
    format!("docker-credential-{}", crate::error::printable(helper))
}

/// A place where a credential is, or may be, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The file or variable that says so.
    pub file: String,
    /// Its line, from 1, where it is known.
    pub line: Option<usize>,
    /// How it is kept.
    pub how: KeptAs,
}

/// How a credential is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptAs {
    /// A program is asked.
    Helper {
        /// Its name.
        program: String,
        /// The word in the file: `credHelpers` or `credsStore`.
        word: &'static str,
    },
    /// An entry below `auths`.
    Entry {
        /// Its key.
        key: String,
        /// What it is: "password of bob", "identity token".
        kind: String,
    },
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn load(text: &str) -> Credentials {
        let text = CredentialsText { origin: "test".to_owned(), text: text.to_owned() };
        let source = CredentialsSource { texts: vec![text], helper_dirs: vec![] };
        Credentials::load(&source).expect("valid")
    }

    #[test]
    fn entries_are_found_by_longest_prefix() {
        let auth = |user: &str| STANDARD.encode(format!("{user}:p:w"));
        let credentials = load(&format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"r.example":{{"auth":"{}"}},
                "r.example/team":{{"auth":"{}"}},"r.example/team/app":{{"username":"app","password":"x"}},
                "http://127.0.0.1:5000/v2/":{{"auth":"{}"}},"empty.example":{{}},
                "id.example":{{"auth":"dTo=","identitytoken":"i"}},"tok.example":{{"registrytoken":"r"}}}}}}"#,
            auth("hub"),
            auth("all"),
            auth("team"),
            auth("local"),
        ));
        let check = |registry: &str, repository: &str, expect: &str| {
            let got = match credentials.get(registry, repository).expect("no helper") {
                Credential::Anonymous => "anonymous".to_owned(),
                Credential::Basic { user, .. } => user,
                Credential::IdentityToken(token) => format!("identity {}", token.reveal()),
                Credential::RegistryToken(token) => format!("registry {}", token.reveal()),
            };
            assert_eq!(got, expect, "{registry}/{repository}");
        };
        check("docker.io", "library/debian", "hub");
        check("r.example", "x", "all");
        check("r.example", "team/x", "team");
        check("r.example", "team/app", "app");
        check("r.example", "team/app/sub", "app");
        check("r.example", "teams", "all");
        check("r.example:5000", "x", "anonymous");
        check("127.0.0.1:5000", "x", "local");
        check("empty.example", "x", "anonymous");
        check("id.example", "x", "identity i");
        check("tok.example", "x", "registry r");
        let Credential::Basic { password, .. } = credentials.get("r.example", "x").expect("ok")
        else {
            panic!("not basic")
        };
        assert_eq!(password.reveal(), "p:w");
        assert!(!format!("{credentials:?}").contains("p:w"));
    }

    #[test]
    fn broken_texts_are_refused_without_quoting_them() {
        let broken = r#"{"auths":{"r":{"password":12345}}}"#;
        let text = CredentialsText { origin: "config.json".to_owned(), text: broken.to_owned() };
        let source = CredentialsSource { texts: vec![text], helper_dirs: vec![] };
        let error = Credentials::load(&source).expect_err("a number");
        let shown = format!("{error}: {}", std::error::Error::source(&error).expect("cause"));
        assert!(shown.contains("config.json") && !shown.contains("12345"), "{shown}");
        assert!(load("").get("r", "x").expect("none") == Credential::Anonymous);
    }
}
