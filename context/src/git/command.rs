//! Running git so that it does nothing but what it is asked.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::Failure;
use crate::git::GitRequest;
use crate::http::Url;
use crate::{ContextError, HttpAuth};

/// Lines of git's own words that an error shows.
const OUTPUT_LINES_MAX: usize = 8;

/// Git with a closed environment.
pub(crate) struct Git {
    remote: String,
    env: Vec<(OsString, OsString)>,
}

impl Git {
    /// Checks the remote and takes a user and password out of it. `home` is an empty directory.
    pub(crate) fn new(request: &GitRequest<'_>, home: &Path) -> Result<Git, ContextError> {
        let (remote, user) = split_remote(&request.source.remote).map_err(|reason| {
            let remote = Git::printable(&request.source.remote);
            ContextError(Failure::BadGit { remote, reason: reason.to_owned() })
        })?;
        let auth = request.auth.map(HttpAuth::value).map(str::to_owned).or(user);
        let mut env: Vec<(OsString, OsString)> = Vec::new();
        env.extend(request.env.iter().filter(|(name, _)| allowed(name)).map(|(name, value)| {
            let value = if name == "PATH" { absolute_only(value) } else { value.clone() };
            (name.clone(), value)
        }));
        let mut set = |name: &str, value: &OsStr| env.push((name.into(), value.to_owned()));
        set("HOME", home.as_os_str());
        set("XDG_CONFIG_HOME", home.as_os_str());
        for (name, value) in FIXED {
            set(name, value.as_ref());
        }
        for (index, (key, value)) in config(&remote, auth.as_deref()).into_iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{index}"), key.as_ref());
            set(&format!("GIT_CONFIG_VALUE_{index}"), value.as_ref());
            set("GIT_CONFIG_COUNT", (index + 1).to_string().as_ref());
        }
        Ok(Git { remote, env })
    }

    /// The remote without user and password.
    pub(crate) fn remote(&self) -> &str {
        &self.remote
    }

    /// A remote as it may be printed.
    pub(crate) fn printable(remote: &str) -> String {
        Url::redact(remote)
    }

    /// Runs git in a directory and returns what it wrote to standard output.
    pub(crate) fn run(
        &self,
        operation: &'static str,
        dir: &Path,
        args: &[&str],
    ) -> Result<String, ContextError> {
        let mut command = Command::new("git");
        command.env_clear().envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(args).current_dir(dir).stdin(Stdio::null());
        let remote = self.remote.clone();
        let output = command.output().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Failure::NoGit { remote: remote.clone() },
            _ => Failure::RunGit { remote: remote.clone(), source },
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let output = lines[lines.len().saturating_sub(OUTPUT_LINES_MAX)..].join("; ");
        Err(ContextError(Failure::Git { operation, remote, output }))
    }
}

const FIXED: [(&str, &str); 9] = [
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "/bin/false"),
    ("SSH_ASKPASS", "/bin/false"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ALLOW_PROTOCOL", "http:https:ssh:git"),
    ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes"),
];

/// Settings that a repository's own configuration cannot override.
fn config(remote: &str, auth: Option<&str>) -> Vec<(String, String)> {
    let mut config: Vec<(String, String)> = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.attributesFile", "/dev/null"),
        ("core.excludesFile", "/dev/null"),
        ("credential.helper", ""),
        ("advice.detachedHead", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("protocol.version", "2"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "60"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    // Only for this remote's own host: redirects and submodules elsewhere do not get it.
    if let (Some(auth), Some(origin)) = (auth, origin(remote)) {
        config.push((format!("http.{origin}/.extraHeader"), format!("Authorization: {auth}")));
    }
    config
}

fn origin(remote: &str) -> Option<String> {
    let (scheme, rest) = remote.split_once("://")?;
    let host = rest.split('/').next()?;
    matches!(scheme, "http" | "https").then(|| format!("{scheme}://{host}"))
}

/// Variables of the caller that git may see.
fn allowed(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let proxies = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
    let others = ["path", "ssh_auth_sock", "ssl_cert_file", "ssl_cert_dir", "git_ssl_cainfo"];
    proxies.contains(&name.as_str()) || others.contains(&name.as_str())
}

/// Leaves out what would be searched in the current directory (security.md B10).
fn absolute_only(path: &OsStr) -> OsString {
    let parts = path.as_bytes().split(|b| *b == b':').filter(|part| part.starts_with(b"/"));
    OsStr::from_bytes(&parts.collect::<Vec<_>>().join(&b':')).to_owned()
}

/// Checks a remote; returns it without user and password, those as the value of a header.
fn split_remote(remote: &str) -> Result<(String, Option<String>), &'static str> {
    if remote.starts_with('-') || remote.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("the remote has a blank, a control character or a leading `-`");
    }
    match remote.split_once("://") {
        Some(("http" | "https", _)) => {
            let (url, user) = Url::parse(remote)?;
            Ok((url.to_string(), user))
        }
        Some(("ssh" | "git", rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            match rest.starts_with('-') || host.starts_with('-') || host.is_empty() {
                true => Err("the remote's host is malformed"),
                false => Ok((remote.to_owned(), None)),
            }
        }
        Some(_) => Err("only http, https, ssh and git remotes are known"),
        None => scp_form(remote)
            .then(|| (remote.to_owned(), None))
            .ok_or("not a remote: want a URL or user@host:path (local repositories are not read)"),
    }
}

/// `user@host:path`.
fn scp_form(remote: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    remote.split_once('@').is_some_and(|(user, rest)| {
        let host = rest.split_once(':');
        host.is_some_and(|(host, path)| {
            word(user) && word(host) && !path.is_empty() && !path.starts_with('-')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_checked() {
        for good in ["https://h/r.git", "http://h:1/r", "ssh://git@h/r", "git@h:o/r.git"] {
            assert_eq!(split_remote(good), Ok((good.to_owned(), None)), "{good}");
        }
        for bad in [
            "-uupload",
            "--upload-pack=x",
            "file:///r",
            "/r",
            "../r",
            "ext::sh -c x",
            "ext::x",
            "ssh://-oProxyCommand=x/r",
            "git@-x:r",
            "h:r",
            "git@h:-r",
            "",
        ] {
            assert!(split_remote(bad).is_err(), "{bad}");
        }
        let (remote, user) = split_remote("https://u:secret@h/r.git").expect("remote");
        assert_eq!(remote, "https://h/r.git");
        assert!(user.is_some());
    }

    #[test]
    fn only_what_git_needs_is_in_its_environment() {
        assert!(allowed("HTTPS_PROXY".as_ref()) && allowed("SSH_AUTH_SOCK".as_ref()));
        assert!(!allowed("GIT_DIR".as_ref()) && !allowed("LD_PRELOAD".as_ref()));
        assert_eq!(absolute_only(".:/usr/bin::bin:/bin".as_ref()), "/usr/bin:/bin");
    }
}
