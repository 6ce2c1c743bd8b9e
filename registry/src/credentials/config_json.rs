//! The format of config.json and auth.json: entries, helpers, and what their keys mean.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::{Credential, Secret};

/// One text as it is understood.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) origin: String,
    /// By normal key (`host`, `host:port` or `host/path`), with the key as it is written.
    auths: BTreeMap<String, (String, Credential)>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
    /// Keys and names of helpers with their lines.
    lines: BTreeMap<(&'static str, String), usize>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    #[serde(default)]
    auths: Option<BTreeMap<String, Option<Entry>>>,
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

impl File {
    /// Reads a text; the error is a phrase that quotes nothing of it but keys.
    pub(super) fn parse(origin: &str, text: &str) -> Result<File, String> {
        let mut file = File { origin: origin.to_owned(), ..File::default() };
        if text.trim().is_empty() {
            return Ok(file);
        }
        // The parser's own words may quote a password; where it stumbled is enough.
        let members: Members = serde_json::from_str(text)
            .map_err(|e| format!("line {} column {}", e.line(), e.column()))?;
        let mut lines = BTreeMap::new();
        let mut note = |word: &'static str, name: &str| {
            if let Some(line) = line_of(text, word, name) {
                lines.insert((word, name.to_owned()), line);
            }
        };
        let mut auths: Vec<_> = members.auths.unwrap_or_default().into_iter().collect();
        // Of several spellings of one key the usual one counts: that is the one which a login writes.
        auths.sort_by_key(|(key, _)| server_url(&normal_key(key)) == key);
        for (key, entry) in auths {
            note("auths", &key);
            let credential = entry.unwrap_or_default().credential();
            let credential =
                credential.ok_or_else(|| format!("the entry of {key} cannot be read"))?;
            if let Some(credential) = credential {
                file.auths.insert(normal_key(&key), (key, credential));
            }
        }
        for (key, helper) in members.cred_helpers.unwrap_or_default() {
            note("credHelpers", &helper);
            file.helpers.insert(normal_key(&key), helper);
        }
        let store = members.creds_store.filter(|s| !s.is_empty());
        store.iter().for_each(|store| note("credsStore", store));
        (file.store, file.lines) = (store, lines);
        Ok(file)
    }

    /// One credential for one registry.
    pub(super) fn only(registry: &str, credential: Credential) -> File {
        let auths = [(registry.to_owned(), (registry.to_owned(), credential))].into();
        File { auths, ..File::default() }
    }

    /// The helper for a registry, and the word that names it.
    pub(super) fn helper(&self, registry: &str) -> Option<(&str, &'static str)> {
        let own = self.helpers.get(registry).filter(|helper| !helper.is_empty());
        own.map(|helper| (helper.as_str(), "credHelpers"))
            .or_else(|| self.store.as_deref().map(|store| (store, "credsStore")))
    }

    /// The entry with the longest key that covers the repository, and that key.
    pub(super) fn stored(&self, registry: &str, repository: &str) -> Option<(String, &Credential)> {
        let mut key = format!("{registry}/{repository}");
        loop {
            if let Some((written, credential)) = self.auths.get(&key) {
                return Some((written.clone(), credential));
            }
            key.truncate(key.rfind('/')?);
        }
    }

    /// The line of a name behind a word of the file.
    pub(super) fn line_of(&self, name: &str, word: &'static str) -> Option<usize> {
        self.lines.get(&(word, name.to_owned())).copied()
    }
}

/// JSON's reader keeps no places: the first line that has the text as a string behind the word.
fn line_of(text: &str, word: &str, name: &str) -> Option<usize> {
    let from = text.find(&format!("\"{word}\""))?;
    let at = from + text[from..].find(&format!("\"{name}\""))?;
    Some(text[..at].matches('\n').count() + 1)
}

impl Entry {
    /// The credential in an entry: `Some(None)` for the empty entry that means "the helper has it", `None` for
    /// one that makes no sense.
    fn credential(self) -> Option<Option<Credential>> {
        let full = |text: Option<String>| text.filter(|t| !t.is_empty());
        if let Some(token) = full(self.identitytoken) {
            return Some(Some(Credential::IdentityToken(Secret::new(token))));
        }
        if let Some(token) = full(self.registrytoken) {
            return Some(Some(Credential::RegistryToken(Secret::new(token))));
        }
        if let Some(auth) = full(self.auth) {
            let auth = auth.trim();
            let bytes = STANDARD.decode(auth).or_else(|_| STANDARD_NO_PAD.decode(auth)).ok()?;
            let text = String::from_utf8(bytes).ok()?;
            let (user, password) = text.split_once(':')?;
            let password = Secret::new(password.trim_end_matches('\0').to_owned());
            return Some(Some(Credential::Basic { user: user.to_owned(), password }));
        }
        let password = full(self.password).map(Secret::new);
        Some(
            full(self.username)
                .zip(password)
                .map(|(user, password)| Credential::Basic { user, password }),
        )
    }
}

/// What helpers and config.json call a registry: Docker Hub has kept the address of its first index.
pub(super) fn server_url(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

/// `https://index.docker.io/v1/` and `registry-1…` are `docker.io`; schemes and API versions do not count.
pub(super) fn normal_key(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    let (host, path) = key.split_once('/').map_or((key, None), |(h, p)| (h, Some(p)));
    let host = host.to_ascii_lowercase();
    let host = match crate::hosts::is_docker_hub(&host) {
        true => "docker.io".to_owned(),
        false => host,
    };
    path.map_or(host.clone(), |path| format!("{host}/{path}"))
}
