//! Putting credentials where docker puts them, and taking them away: `login` and `logout`.
//!
//! Owns the text of config.json and what helpers are told; the command line reads and writes the file.

use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::config_json::{File, normal_key, server_url};
use super::{Credential, HELPER_TIMEOUT, program_name};
use crate::RegistryError;
use crate::error::{Action, Cause};
use crate::helper;

/// Who keeps a registry's credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// This program.
    Helper(String),
    /// The file itself, where whoever reads the file reads the password.
    File,
}

/// The registry that a person means by a server: `registry.example:5000` of `https://registry.example:5000/v2/`.
pub fn server_name(typed: &str) -> String {
    let key = normal_key(typed.trim());
    key.split('/').next().unwrap_or_default().to_owned()
}

/// A config.json to be changed. What is not changed keeps its order and its bytes.
pub struct LoginConfig {
    members: Members,
    file: File,
    origin: String,
}

type Members = Vec<(String, Box<RawValue>)>;

impl fmt::Debug for LoginConfig {
    /// Silent: the text holds passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginConfig").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl LoginConfig {
    /// Reads the text of a file; an empty one is a new one.
    ///
    /// # Errors
    /// It is not what docker writes; the error does not quote it.
    pub fn parse(origin: &str, text: &str) -> Result<LoginConfig, RegistryError> {
        let origin = origin.to_owned();
        let wrong = |reason: String| wrong(&origin, reason);
        let file = File::parse(&origin, text).map_err(wrong)?;
        let members = match text.trim().is_empty() {
            true => Members::new(),
            false => members(text).map_err(wrong)?,
        };
        Ok(LoginConfig { members, file, origin })
    }

    /// Who keeps the credential of a registry.
    pub fn keeper(&self, registry: &str) -> Keeper {
        match self.file.helper(registry) {
            Some((helper, _)) => Keeper::Helper(program_name(helper)),
            None => Keeper::File,
        }
    }

    /// Whether the file has an entry of a registry, empty or not.
    ///
    /// # Errors
    /// Its entries cannot be read.
    pub fn has(&self, registry: &str) -> Result<bool, RegistryError> {
        Ok(self.auths()?.iter().any(|(key, _)| normal_key(key) == registry))
    }

    /// Keeps a credential: a helper has it from now on, or the text.
    ///
    /// # Errors
    /// The helper fails.
    pub fn keep(
        &mut self,
        registry: &str,
        user: &str,
        credential: &Credential,
        helper_dirs: &[PathBuf],
    ) -> Result<(), RegistryError> {
        let server = server_url(registry);
        let mut auths = self.auths()?;
        let entry = match self.file.helper(registry) {
            Some((helper, _)) => {
                let done = helper::store(helper, helper_dirs, server, credential, HELPER_TIMEOUT);
                done.map_err(|reason| failed(server, helper, reason))?;
                // Docker leaves this so that a list of registries can be had from the file.
                serde_json::json!({})
            }
            None => entry(user, credential),
        };
        let entry = raw(&entry).map_err(|reason| wrong(&self.origin, reason))?;
        match auths.iter_mut().find(|(key, _)| key == server) {
            Some((_, known)) => *known = entry,
            None => auths.push((server.to_owned(), entry)),
        }
        self.set_auths(&auths)
    }

    /// Forgets a registry in all spellings; says whether there was anything.
    ///
    /// # Errors
    /// The helper fails.
    pub fn forget(
        &mut self,
        registry: &str,
        helper_dirs: &[PathBuf],
    ) -> Result<bool, RegistryError> {
        let mut auths = self.auths()?;
        let count = auths.len();
        auths.retain(|(key, _)| normal_key(key) != registry);
        let mut had = auths.len() < count;
        if let Some((helper, _)) = self.file.helper(registry) {
            let server = server_url(registry);
            let asked = helper::get(helper, helper_dirs, server, HELPER_TIMEOUT);
            let kept = asked.map_err(|reason| failed(server, helper, reason))?;
            if kept.is_some() {
                let erased = helper::erase(helper, helper_dirs, server, HELPER_TIMEOUT);
                erased.map_err(|reason| failed(server, helper, reason))?;
                had = true;
            }
        }
        if auths.len() < count {
            self.set_auths(&auths)?;
        }
        Ok(had)
    }

    /// The text to be written.
    pub fn to_text(&self) -> String {
        format!("{}\n", written(&self.members, 0))
    }

    fn auths(&self) -> Result<Members, RegistryError> {
        let auths = self.members.iter().find(|(key, _)| key == "auths").map(|(_, raw)| raw.get());
        let auths = auths.filter(|text| *text != "null").map(members).transpose();
        Ok(auths.map_err(|reason| wrong(&self.origin, reason))?.unwrap_or_default())
    }

    fn set_auths(&mut self, auths: &Members) -> Result<(), RegistryError> {
        let text = written(auths, 1);
        let auths = RawValue::from_string(text).map_err(|e| wrong(&self.origin, e.to_string()))?;
        match self.members.iter_mut().find(|(key, _)| key == "auths") {
            Some((_, known)) => *known = auths,
            None => self.members.insert(0, ("auths".to_owned(), auths)),
        }
        Ok(())
    }
}

fn wrong(origin: &str, reason: String) -> RegistryError {
    let cause = Cause::Credentials { what: "not a registry configuration".to_owned(), reason };
    RegistryError::new(Action::ReadCredentials(origin.to_owned()), cause)
}

fn failed(server: &str, helper: &str, reason: String) -> RegistryError {
    let action = Action::TellHelper { server: server.to_owned(), program: program_name(helper) };
    RegistryError::new(action, Cause::Credentials { what: "credential helper".to_owned(), reason })
}

/// An entry as docker writes it.
fn entry(user: &str, credential: &Credential) -> serde_json::Value {
    let encoded = |password: &str| STANDARD.encode(format!("{user}:{password}"));
    match credential {
        Credential::Anonymous => serde_json::json!({}),
        Credential::Basic { password, .. } => {
            serde_json::json!({ "auth": encoded(password.reveal()) })
        }
        Credential::IdentityToken(token) => {
            serde_json::json!({ "auth": encoded(""), "identitytoken": token.reveal() })
        }
        Credential::RegistryToken(token) => {
            serde_json::json!({ "registrytoken": token.reveal() })
        }
    }
}

fn raw(value: &serde_json::Value) -> Result<Box<RawValue>, String> {
    let members = value.as_object().into_iter().flatten();
    let members: Result<Members, serde_json::Error> = members
        .map(|(key, value)| Ok((key.clone(), serde_json::value::to_raw_value(value)?)))
        .collect();
    let members = members.map_err(|e| e.to_string())?;
    RawValue::from_string(written(&members, 2)).map_err(|e| e.to_string())
}

/// The members of an object in their order, values as they are written.
fn members(text: &str) -> Result<Members, String> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Members;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
            let mut members = Members::new();
            while let Some(member) = map.next_entry::<String, Box<RawValue>>()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    let place = |e: serde_json::Error| format!("line {} column {}", e.line(), e.column());
    let members = serde::Deserializer::deserialize_map(&mut reader, Pairs).map_err(place)?;
    reader.end().map_err(place)?;
    Ok(members)
}

/// An object as docker lays it out: a line for each member, tabs before it.
fn written(members: &Members, depth: usize) -> String {
    if members.is_empty() {
        return "{}".to_owned();
    }
    let tabs = "\t".repeat(depth + 1);
    let lines: Vec<String> = members
        .iter()
        .map(|(key, value)| {
            format!("{tabs}{}: {}", serde_json::Value::from(key.as_str()), value.get())
        })
        .collect();
    format!("{{\n{}\n{}}}", lines.join(",\n"), "\t".repeat(depth))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn bob() -> Credential {
        Credential::Basic { user: "bob".to_owned(), password: Secret::new("pw".to_owned()) }
    }

    /// The text after a login of bob, and after the logout that follows it.
    fn check(before: &str, registry: &str, kept: &str, forgotten: &str) {
        let mut config = LoginConfig::parse("config.json", before).expect(before);
        config.keep(registry, "bob", &bob(), &[]).expect("kept");
        let text = config.to_text();
        assert_eq!(text, kept);
        let mut config = LoginConfig::parse("config.json", &text).expect("what was written");
        assert!(config.forget(registry, &[]).expect("forgotten"));
        assert_eq!(config.to_text(), forgotten);
        assert!(!config.forget(registry, &[]).expect("nothing left"));
    }

    #[test]
    fn what_is_not_meant_stays_as_it_is_written() {
        let entry = "{\n\t\t\t\"auth\": \"Ym9iOnB3\"\n\t\t}";
        check(
            "",
            "docker.io",
            &format!(
                "{{\n\t\"auths\": {{\n\t\t\"https://index.docker.io/v1/\": {entry}\n\t}}\n}}\n"
            ),
            "{\n\t\"auths\": {}\n}\n",
        );
        check(
            r#"{"a": 1.0e2, "auths": {"x.example":{"auth" : "eDp5"}}, "b": [1,  2], "a": 12345678901234567890123}"#,
            "r.example:5000",
            &format!(
                "{{\n\t\"a\": 1.0e2,\n\t\"auths\": {{\n\t\t\"x.example\": {{\"auth\" : \"eDp5\"}},\n\t\t\
                 \"r.example:5000\": {entry}\n\t}},\n\t\"b\": [1,  2],\n\t\"a\": 12345678901234567890123\n}}\n"
            ),
            "{\n\t\"a\": 1.0e2,\n\t\"auths\": {\n\t\t\"x.example\": {\"auth\" : \"eDp5\"}\n\t},\n\t\"b\": [1,  2],\n\t\
             \"a\": 12345678901234567890123\n}\n",
        );
        // All spellings of a registry are forgotten.
        check(
            r#"{"auths": {"https://r.example/v2/": {}, "http://r.example": {}}}"#,
            "r.example",
            &format!(
                "{{\n\t\"auths\": {{\n\t\t\"https://r.example/v2/\": {{}},\n\t\t\"http://r.example\": {{}},\n\t\t\
                 \"r.example\": {entry}\n\t}}\n}}\n"
            ),
            "{\n\t\"auths\": {}\n}\n",
        );
    }

    #[test]
    fn an_identity_token_is_kept_without_the_password() {
        let mut config = LoginConfig::parse("config.json", r#"{"auths": null}"#).expect("valid");
        let token = Credential::IdentityToken(Secret::new("t".to_owned()));
        config.keep("r.example", "bob", &token, &[]).expect("kept");
        let text = config.to_text();
        assert!(text.contains(r#""auth": "Ym9iOg==""#), "{text}");
        assert!(text.contains(r#""identitytoken": "t""#), "{text}");
    }

    #[test]
    fn broken_files_are_left_alone_and_not_quoted() {
        for text in
            ["[]", "{", "{} {}", r#"{"auths": "hush"}"#, r#"{"auths": {"r": {"auth": "hush"}}}"#]
        {
            let error = LoginConfig::parse("config.json", text).expect_err(text);
            let shown = format!("{error}: {}", std::error::Error::source(&error).expect("a cause"));
            assert!(shown.contains("config.json") && !shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn servers_are_called_as_in_names_of_images() {
        let check = |typed: &str, want: &str| assert_eq!(server_name(typed), want, "{typed}");
        check("https://r.example:5000/v2/", "r.example:5000");
        check("R.example", "r.example");
        check("https://index.docker.io/v1/", "docker.io");
        check("registry-1.docker.io", "docker.io");
        check("r.example/team", "r.example");
    }
}
