//! Who to be for a registry: config.json of Docker, auth.json of Podman, and helper programs.
//!
//! Owns the formats and the order of look-up. Refuses to know environment variables and home directories: texts and
//! directories are given by the caller.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use crate::RegistryError;
use crate::error::{Action, Cause};
use crate::helper;

/// Text that is never printed.
#[derive(Clone, PartialEq, Eq)]
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

#[derive(Debug, Default)]
struct File {
    /// By normal key: `host`, `host:port` or `host/path`.
    auths: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

/// A helper may take this long; it may ask a password manager, but not wait for a person for ever.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

impl Credentials {
    /// No credentials: everything is asked for anonymously.
    pub fn none() -> Credentials {
        Credentials::default()
    }

    /// Reads the texts. Fails when one is not valid; the error does not quote it.
    pub fn load(source: &CredentialsSource) -> Result<Credentials, RegistryError> {
        let read = |text: &CredentialsText| {
            parse(&text.text).map_err(|reason| {
                let cause =
                    Cause::Credentials { what: "not a registry configuration".to_owned(), reason };
                RegistryError::new(Action::ReadCredentials(text.origin.clone()), cause)
            })
        };
        let files = source.texts.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Credentials(Arc::new(Loaded { files, helper_dirs: source.helper_dirs.clone() })))
    }

    /// The credential for a repository. In each text: stored entries by longest prefix, then the registry's own
    /// helper, then the common one. A helper that knows nothing means the next text, at last anonymous.
    pub fn get(&self, registry: &str, repository: &str) -> Result<Credential, RegistryError> {
        for file in &self.0.files {
            if let Some(credential) = file.stored(registry, repository) {
                return Ok(credential.clone());
            }
            let Some(helper) = file.helpers.get(registry).or(file.store.as_ref()) else { continue };
            let server = server_url(registry);
            let found = helper::get(helper, &self.0.helper_dirs, server, HELPER_TIMEOUT);
            let found = found.map_err(|reason| {
                let program = format!("docker-credential-{}", crate::error::printable(helper));
                let what = "credential helper".to_owned();
                let action = Action::RunHelper { server: server.to_owned(), program };
                RegistryError::new(action, Cause::Credentials { what, reason })
            })?;
            if let Some(credential) = found {
                return Ok(credential);
            }
        }
        Ok(Credential::Anonymous)
    }
}

impl File {
    /// The entry with the longest key that covers the repository.
    fn stored(&self, registry: &str, repository: &str) -> Option<&Credential> {
        let mut key = format!("{registry}/{repository}");
        loop {
            if let Some(credential) = self.auths.get(&key) {
                return Some(credential);
            }
            key.truncate(key.rfind('/')?);
        }
    }
}

/// What helpers call a registry: Docker Hub has kept the address of its first index.
fn server_url(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

fn parse(text: &str) -> Result<File, String> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    // The parser's own words may quote a password; where it stumbled is enough.
    let members: Members = serde_json::from_str(text)
        .map_err(|e| format!("line {} column {}", e.line(), e.column()))?;
    let mut file = File { store: members.creds_store.filter(|s| !s.is_empty()), ..File::default() };
    for (key, entry) in members.auths.unwrap_or_default() {
        if let Some(credential) =
            entry.credential().ok_or_else(|| format!("the entry of {key} cannot be read"))?
        {
            file.auths.insert(normal_key(&key), credential);
        }
    }
    for (key, helper) in members.cred_helpers.unwrap_or_default() {
        file.helpers.insert(normal_key(&key), helper);
    }
    Ok(file)
}

impl Entry {
    /// The credential in an entry: `Some(None)` for the empty entry that means "the helper has it", `None` for
    /// one that makes no sense.
    fn credential(self) -> Option<Option<Credential>> {
        let full = |text: Option<String>| text.filter(|t| !t.is_empty());
        if let Some(token) = full(self.identitytoken) {
            return Some(Some(Credential::IdentityToken(Secret(token))));
        }
        if let Some(token) = full(self.registrytoken) {
            return Some(Some(Credential::RegistryToken(Secret(token))));
        }
        if let Some(auth) = full(self.auth) {
            let auth = auth.trim();
            let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (user, password) = text.split_once(':')?;
            let password = Secret(password.trim_end_matches('\0').to_owned());
            return Some(Some(Credential::Basic { user: user.to_owned(), password }));
        }
        let password = full(self.password).map(Secret);
        Some(
            full(self.username)
                .zip(password)
                .map(|(user, password)| Credential::Basic { user, password }),
        )
    }
}

/// `https://index.docker.io/v1/` and `registry-1…` are `docker.io`; schemes and API versions do not count.
fn normal_key(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(h, p)| (h, Some(p)));
    let host = host.to_ascii_lowercase();
    let host = match host.strip_suffix(".docker.io") {
        Some("index" | "registry-1" | "registry") => "docker.io".to_owned(),
        _ => host,
    };
    path.map_or(host.clone(), |path| format!("{host}/{path}"))
}

#[cfg(test)]
mod tests {
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
