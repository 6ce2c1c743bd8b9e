//! Runs `docker-credential-*` programs (spec/security.md C13): names checked, found in given directories only,
//! time and output limited.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::credentials::{Credential, Secret};

/// A helper's answer may be this long.
const OUTPUT_MAX_BYTES: u64 = 1 << 20;

/// Asks a helper for the credential of a server; `None` when it has none. The error says why in a phrase, and never
/// what the helper printed: that may be a password.
pub(crate) fn get(
    name: &str,
    dirs: &[PathBuf],
    server: &str,
    timeout: Duration,
) -> Result<Option<Credential>, String> {
    let (failure, bytes) = run(name, dirs, "get", server.as_bytes(), timeout)?;
    let Some(failure) = failure else { return parse(&bytes) };
    let text = String::from_utf8_lossy(&bytes);
    let unknown = ["credentials not found", "no credentials server URL", "not found in keychain"];
    match unknown.iter().any(|phrase| text.contains(phrase)) {
        true => Ok(None),
        false => Err(failure),
    }
}

/// Gives a helper a credential to keep.
pub(crate) fn store(
    name: &str,
    dirs: &[PathBuf],
    server: &str,
    credential: &Credential,
    timeout: Duration,
) -> Result<(), String> {
    let (user, secret) = match credential {
        Credential::Basic { user, password } => (user.as_str(), password),
        Credential::IdentityToken(token) => (TOKEN_USER, token),
        Credential::Anonymous | Credential::RegistryToken(_) => {
            return Err("it keeps passwords and identity tokens alone".to_owned());
        }
    };
    let input = serde_json::json!({
        "ServerURL": server, "Username": user, "Secret": secret.reveal(),
    });
    run(name, dirs, "store", input.to_string().as_bytes(), timeout)?.0.map_or(Ok(()), Err)
}

/// Has a helper forget a server.
pub(crate) fn erase(
    name: &str,
    dirs: &[PathBuf],
    server: &str,
    timeout: Duration,
) -> Result<(), String> {
    run(name, dirs, "erase", server.as_bytes(), timeout)?.0.map_or(Ok(()), Err)
}

/// The user name that says that a secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Runs a helper: how it failed, if it did, and what it printed.
fn run(
    name: &str,
    dirs: &[PathBuf],
    verb: &str,
    input: &[u8],
    timeout: Duration,
) -> Result<(Option<String>, Vec<u8>), String> {
    let program = find(name, dirs)?;
    let mut child = Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("start {}: {e}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input may still answer; its exit says what went wrong.
        let _ = stdin.write_all(input);
    }
    match output_of(&mut child, timeout) {
        Ok((status, bytes)) if status.success() => Ok((None, bytes)),
        Ok((status, bytes)) => {
            let failure =
                format!("it failed ({status}); `{} {verb}` by hand says why", program.display());
            Ok((Some(failure), bytes))
        }
        Err(reason) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(reason)
        }
    }
}

fn find(name: &str, dirs: &[PathBuf]) -> Result<PathBuf, String> {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(valid) {
        return Err("its name is not valid".to_owned());
    }
    let file = format!("docker-credential-{name}");
    dirs.iter()
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(&file))
        .find(|path| is_program(path))
        .ok_or_else(|| {
            format!(
                "there is no {file} in PATH: install it, or take `{name}` out of the file that names it"
            )
        })
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether the helper ended well, and what it printed.
fn output_of(child: &mut Child, timeout: Duration) -> Result<(ExitStatus, Vec<u8>), String> {
    let end = Instant::now() + timeout;
    let stdout = child.stdout.take().ok_or("it has no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.take(OUTPUT_MAX_BYTES + 1).read_to_end(&mut bytes);
        // Nobody listens any more after a time-out.
        let _ = sender.send(result.map(|_| bytes));
    });
    let late = || format!("no answer within {} s", timeout.as_secs());
    let bytes = receiver
        .recv_timeout(timeout)
        .map_err(|_| late())?
        .map_err(|e| format!("read its answer: {e}"))?;
    if bytes.len() as u64 > OUTPUT_MAX_BYTES {
        return Err("its answer is too long".to_owned());
    }
    loop {
        match child.try_wait().map_err(|e| format!("wait for it: {e}"))? {
            Some(status) => return Ok((status, bytes)),
            None if Instant::now() > end => return Err(late()),
            // Its output has ended, so it is about to exit.
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// An answer; one without a secret means that there is none.
fn parse(bytes: &[u8]) -> Result<Option<Credential>, String> {
    #[derive(serde::Deserialize)]
    struct Members {
        #[serde(rename = "Username", default)]
        user: String,
        #[serde(rename = "Secret", default)]
        secret: String,
    }
    let members: Members =
        serde_json::from_slice(bytes).map_err(|_| "its answer is not a credential".to_owned())?;
    if members.secret.is_empty() {
        return Ok(None);
    }
    let secret = Secret::new(members.secret);
    Ok(Some(match members.user.as_str() {
        TOKEN_USER => Credential::IdentityToken(secret),
        _ => Credential::Basic { user: members.user, password: secret },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn check(script: &str, expect: Result<Option<&str>, &str>) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("docker-credential-fake");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let dirs = [PathBuf::from("relative"), dir.path().to_owned()];
        let got = get("fake", &dirs, "r.example", Duration::from_millis(1500));
        let got = got.map(|c| c.map(|c| format!("{c:?}")));
        match (got, expect) {
            (Ok(got), Ok(want)) => assert_eq!(got.as_deref(), want, "{script}"),
            (Err(got), Err(want)) => {
                assert!(got.contains(want) && !got.contains("vault"), "{script}: {got}");
            }
            (got, want) => panic!("{script}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn helpers_answer_refuse_hang_and_flood() {
        check(
            r#"read -r s; [ "$1 $s" = "get r.example" ] && echo '{"ServerURL":"x","Username":"u","Secret":"s"}'"#,
            Ok(Some(r#"Basic { user: "u", password: *** }"#)),
        );
        check(r#"echo '{"Username":"<token>","Secret":"s"}'"#, Ok(Some("IdentityToken(***)")));
        check("echo 'credentials not found in native keychain'; exit 1", Ok(None));
        check("echo 'vault is locked'; exit 3", Err("it failed (exit status: 3)"));
        check("echo '{}'", Ok(None));
        check("echo nonsense", Err("not a credential"));
        check("exec sleep 20", Err("no answer within"));
        check("head -c 3000000 /dev/zero", Err("too long"));
    }

    #[test]
    fn names_cannot_leave_the_directories() {
        for name in ["../x", "", "a/b", "A", "x y"] {
            let error = get(name, &[PathBuf::from("/bin")], "r", Duration::from_secs(1));
            assert_eq!(error.expect_err(name), "its name is not valid");
        }
    }
}
