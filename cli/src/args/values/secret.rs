//! `--secret` and `--ssh` (spec CLI-40, CLI-42).

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use engine::SecretInput;
use executor::{Agent, Keys};

use super::csv;
use crate::args::{Surroundings, UsageError};

/// Keys of `--secret`.
const SECRET_KEYS: [&str; 5] = ["id", "src", "source", "env", "type"];

/// Reads `id=x[,src=path | ,env=NAME][,type=file|env]`.
pub(crate) fn parse_secret(
    text: &str,
    around: &Surroundings,
) -> Result<(String, SecretInput), UsageError> {
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in csv::fields(text)? {
        let Some((key, value)) = field.split_once('=') else {
            let message = format!("invalid field '{field}' must be a key=value pair");
            let hint = format!("write id={field},src=FILE or id={field},env=VARIABLE");
            return Err(UsageError::new(message).with_hint(hint));
        };
        match key.to_ascii_lowercase().as_str() {
            "id" => id = Some(value.to_owned()),
            "src" | "source" => source = Some(value.to_owned()),
            "env" => variable = Some(value.to_owned()),
            "type" if matches!(value, "file" | "env") => kind = Some(value.to_owned()),
            "type" => {
                let message = format!("unsupported secret type {value:?}");
                return Err(UsageError::new(message).with_hint("use file or env"));
            }
            other => {
                let meant = parser::did_you_mean(other, SECRET_KEYS);
                let message = format!("unexpected key '{key}' in '{field}'{meant}");
                let keys = format!("the keys are {}", SECRET_KEYS.join(", "));
                return Err(UsageError::new(message).with_hint(keys));
            }
        }
    }
    let id = id.filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| UsageError::new("a secret needs an id").with_hint("add id=NAME"))?;
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = Some(source.take().unwrap_or_else(|| id.clone()));
    }
    let named = source.is_some() || variable.is_some() || kind.is_some();
    let value = match (variable, source) {
        (Some(name), _) => variable_value(&name, around)
            .ok_or_else(|| UsageError::new(format!("secret {id}: variable {name} is not set")))?,
        (None, Some(path)) => file_value(&id, &path, around)?,
        (None, None) => match variable_value(&id, around).filter(|_| !named) {
            Some(value) => value,
            None => file_value(&id, &id, around)?,
        },
    };
    Ok((id, value))
}

fn variable_value(name: &str, around: &Surroundings) -> Option<SecretInput> {
    use std::os::unix::ffi::OsStrExt as _;
    let value = around.vars.get(std::ffi::OsStr::new(name))?;
    Some(SecretInput::Value(value.as_bytes().into()))
}

fn file_value(id: &str, path: &str, around: &Surroundings) -> Result<SecretInput, UsageError> {
    let path = around.absolute(path);
    match std::fs::metadata(&path) {
        Ok(facts) if facts.is_dir() => {
            Err(UsageError::new(format!("secret {id}: {} is a directory", path.display())))
        }
        Ok(_) => Ok(SecretInput::File(path)),
        Err(error) => {
            Err(UsageError::new(format!("secret {id}: cannot read {}: {error}", path.display())))
        }
    }
}

/// Reads `default`, or `id[=socket]`, or `id=keyfile[,keyfile…]`.
pub(crate) fn parse_ssh(text: &str, around: &Surroundings) -> Result<(String, Agent), UsageError> {
    let (id, sources) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { "default" } else { id };
    let paths: Vec<PathBuf> = match sources {
        "" => vec![around.raw("SSH_AUTH_SOCK").map(PathBuf::from).ok_or_else(|| {
            let message = "invalid empty ssh agent socket for";
            UsageError::new(format!("{message} {id}: make sure SSH_AUTH_SOCK is set"))
                .with_hint(agent_hint(id, around))
        })?],
        sources => csv::fields(sources)?.into_iter().map(PathBuf::from).collect(),
    };
    let paths: Vec<PathBuf> = paths.iter().map(|path| around.absolute(path)).collect();
    let mut sockets = 0;
    for path in &paths {
        let facts = std::fs::metadata(path).map_err(|error| {
            UsageError::new(format!("ssh agent {id}: cannot use {}: {error}", path.display()))
        })?;
        sockets += usize::from(facts.file_type().is_socket());
    }
    let agent = match (&paths[..], sockets) {
        ([path], 1) => Agent::Socket(path.clone()),
        (_, 0) => Agent::Keys(keys(id, &paths)?),
        _ => {
            let message = format!("ssh agent {id}: name one socket, or key files alone");
            return Err(UsageError::new(message));
        }
    };
    Ok((id.to_owned(), agent))
}

/// What to write for an id without an agent; a file's name alone was meant as a key.
fn agent_hint(id: &str, around: &Surroundings) -> String {
    match around.absolute(id).exists() {
        true => format!("{id} is a file here: write --ssh default={id}"),
        false => format!("start an agent, or name a key: --ssh {id}=KEYFILE"),
    }
}

fn keys(id: &str, paths: &[PathBuf]) -> Result<Keys, UsageError> {
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    Keys::read(&paths).map_err(|(at, error)| {
        let message = format!("ssh agent {id}: key file {} {error}", paths[at].display());
        UsageError::new(message).with_hint(error.hint())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        let vars = [("TOKEN", "from env"), ("EMPTY", "")];
        Surroundings {
            vars: vars.iter().map(|(n, v)| (n.into(), v.into())).collect(),
            directory: std::env::temp_dir(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn secrets_come_from_variables_and_files() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let path = file.path().display().to_string();
        let check = |text: &str, want: &str| {
            let got = match parse_secret(text, &around()) {
                Ok((id, SecretInput::Value(value))) => {
                    format!("{id} value {}", String::from_utf8_lossy(&value))
                }
                Ok((id, SecretInput::File(path))) => format!("{id} file {}", path.display()),
                Err(error) => error.message,
            };
            assert_eq!(got, want, "{text}");
        };
        check("id=TOKEN", "TOKEN value from env"); // CLI-40
        check("id=t,env=TOKEN", "t value from env");
        check("id=t,type=env,src=TOKEN", "t value from env");
        check("id=EMPTY", "EMPTY value ");
        check(&format!("id=t,src={path}"), &format!("t file {path}"));
        check(&format!("id={path}"), &format!("{path} file {path}"));
        check("id=t,env=NONE", "secret t: variable NONE is not set");
        check("src=x", "a secret needs an id");
        check("id=x,mode=4", "unexpected key 'mode' in 'mode=4'");
        check("id=x,scr=y", "unexpected key 'scr' in 'scr=y' (did you mean src?)");
        check("x", "invalid field 'x' must be a key=value pair");
        assert!(parse_secret("id=no-such-file-here", &around()).is_err());
    }

    #[test]
    fn agents_are_sockets() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let text = format!("deploy={}", socket.display());
        let (id, agent) = parse_ssh(&text, &around()).expect("a socket");
        assert!(id == "deploy" && matches!(agent, Agent::Socket(path) if path == socket));
        let error = parse_ssh("default", &around()).expect_err("no agent");
        assert!(error.message.contains("SSH_AUTH_SOCK"), "{error}");
        let hint = |error: UsageError| error.hint.unwrap_or_default();
        assert_eq!(hint(error), "start an agent, or name a key: --ssh default=KEYFILE");
        let here = Surroundings { directory: dir.path().to_owned(), ..around() };
        let error = parse_ssh("agent", &here).expect_err("no agent");
        assert_eq!(hint(error), "agent is a file here: write --ssh default=agent");
        let error = parse_ssh(&format!("{text},/etc/passwd"), &around()).expect_err("both");
        assert!(error.message.contains("one socket, or key files alone"), "{error}");
        let error = parse_ssh("k=/etc/passwd", &around()).expect_err("no key");
        assert!(error.message.contains("key file /etc/passwd holds no private key"), "{error}");
        assert!(parse_ssh("k=/no/such/file", &around()).is_err());
    }
}
