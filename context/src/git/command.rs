//! Running git so that it does nothing but what it is asked.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use sys::Cancel;

use crate::error::Failure;
use crate::git::GitRequest;
use crate::http::Url;
use crate::{ContextError, HttpAuth};

/// Lines of git's own words that an error shows.
const OUTPUT_LINES_MAX: usize = 8;

/// As much as is kept of what git writes.
const OUTPUT_MAX_BYTES: u64 = 4 << 20;

/// Longest list of known hosts that is taken over.
const KNOWN_HOSTS_MAX_BYTES: u64 = 16 << 20;

/// Git with a closed environment.
pub(crate) struct Git<'a> {
    remote: String,
    env: Vec<(OsString, OsString)>,
    cancel: &'a Cancel,
}

impl<'a> Git<'a> {
    /// Checks the remote and takes a user and password out of it. `home` is an empty directory.
    pub(crate) fn new(request: &GitRequest<'a>, home: &Path) -> Result<Git<'a>, ContextError> {
        let (remote, user) = split_remote(&request.source.remote).map_err(|reason| {
            let remote = Git::printable(&request.source.remote);
            ContextError(Failure::BadGit { remote, reason: reason.to_owned() })
        })?;
        if is_ssh(&remote) && request.ssh_agent.is_none() {
            return Err(ContextError(Failure::NoAgent { remote }));
        }
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
        if let Some(agent) = request.ssh_agent {
            set("SSH_AUTH_SOCK", agent.as_os_str());
        }
        let known_hosts = home.join("known_hosts");
        take_known_hosts(request.env, &known_hosts);
        set("GIT_SSH_COMMAND", &ssh_command(&known_hosts));
        for (index, (key, value)) in config(&remote, auth.as_deref()).into_iter().enumerate() {
            set(&format!("GIT_CONFIG_KEY_{index}"), key.as_ref());
            set(&format!("GIT_CONFIG_VALUE_{index}"), value.as_ref());
            set("GIT_CONFIG_COUNT", (index + 1).to_string().as_ref());
        }
        Ok(Git { remote, env, cancel: request.cancel })
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
        // A group of its own, so that its helpers can be ended with it.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let remote = self.remote.clone();
        let output = command.spawn().and_then(|child| finish(child, self.cancel));
        let output = output.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Failure::NoGit { remote: remote.clone() },
            _ => Failure::RunGit { remote: remote.clone(), source },
        })?;
        if self.cancel.is_cancelled() {
            return Err(ContextError(Failure::Cancelled));
        }
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<&str> = lines.collect();
        let mut output = lines[lines.len().saturating_sub(OUTPUT_LINES_MAX)..].join("; ");
        if output.contains("returned error: 30") {
            output.push_str(" (redirects are not followed with credentials: name the new place)");
        }
        Err(ContextError(Failure::Git { operation, remote, output }))
    }
}

/// Waits for the end of a process while its output is read; a wish to stop ends it and its helpers.
fn finish(mut child: Child, cancel: &Cancel) -> io::Result<Output> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let group = Pid::from_child(&child);
    std::thread::scope(|scope| {
        let out = scope.spawn(|| read_all(out));
        let err = scope.spawn(|| read_all(err));
        let watched = rustix::process::pidfd_open(group, PidfdFlags::empty());
        if let Ok(process) = &watched {
            let mut fds = [
                PollFd::new(process, PollFlags::IN),
                PollFd::from_borrowed_fd(cancel.fd(), PollFlags::IN),
            ];
            while poll(&mut fds, None) == Err(rustix::io::Errno::INTR) {}
        }
        if cancel.is_cancelled() {
            // The group may have ended by itself just now.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let status = child.wait()?;
        let all = |thread: std::thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
            thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        };
        Ok(Output { status, stdout: all(out)?, stderr: all(err)? })
    })
}

/// What a pipe brings: a remote decides how much that is, so only the beginning is kept. All of it is read, else git
/// would wait for ever.
fn read_all(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.by_ref().take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes)?;
        io::copy(&mut pipe, &mut io::sink())?;
    }
    Ok(bytes)
}

/// The user's known hosts, where new ones are noted for this run only. Without them every host is new.
fn take_known_hosts(env: &[(OsString, OsString)], into: &Path) {
    let home = env.iter().find(|(name, _)| name == "HOME").map(|(_, home)| Path::new(home));
    let Some(file) = home.map(|home| home.join(".ssh/known_hosts")) else { return };
    let fits =
        std::fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= KNOWN_HOSTS_MAX_BYTES);
    if fits && !into.exists() {
        let _ = std::fs::copy(&file, into);
    }
}

/// Keys come from the agent alone and nothing from the user's configuration. A host that is not known is believed, as
/// docker build does; one that has another key than the known one is not.
fn ssh_command(known_hosts: &Path) -> OsString {
    let options = [
        "BatchMode=yes",
        "ConnectTimeout=30",
        "ServerAliveInterval=15",
        "ServerAliveCountMax=4",
        "StrictHostKeyChecking=accept-new",
        "IdentityFile=none",
        "ForwardAgent=no",
    ];
    let mut command = OsString::from("ssh -F /dev/null");
    for option in options {
        command.push(format!(" -o {option}"));
    }
    // Read by a shell, and then by ssh, which takes blanks for the end of a name.
    let file = known_hosts.to_string_lossy().replace('\'', "'\\''");
    command.push(format!(" -o 'UserKnownHostsFile=\"{file}\"'"));
    command
}

fn is_ssh(remote: &str) -> bool {
    remote.starts_with("ssh://") || !remote.contains("://")
}

const FIXED: [(&str, &str); 8] = [
    ("LC_ALL", "C"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "/bin/false"),
    ("SSH_ASKPASS", "/bin/false"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ALLOW_PROTOCOL", "http:https:ssh:git"),
];

/// Settings that a repository's own configuration cannot override.
fn config(remote: &str, auth: Option<&str>) -> Vec<(String, String)> {
    let mut config: Vec<(String, String)> = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsmonitor", "false"),
        ("core.attributesFile", "/dev/null"),
        ("core.excludesFile", "/dev/null"),
        ("credential.helper", ""),
        ("core.logAllRefUpdates", "false"),
        ("advice.detachedHead", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("protocol.version", "2"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "60"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    if let Some(auth) = auth.filter(|_| remote.starts_with("http")) {
        let scope = format!("http.{}.extraHeader", token_scope(remote));
        config.push((scope, format!("Authorization: {auth}")));
        // Git would take the header along to wherever the remote leads.
        config.push(("http.followRedirects".to_owned(), "false".to_owned()));
    }
    config
}

/// Who gets the credentials: the remote itself, no other repository, with the exception that BuildKit makes.
fn token_scope(remote: &str) -> &str {
    let shared = ["https://github.com/", "https://www.github.com/"];
    shared.into_iter().find(|prefix| remote.starts_with(prefix)).unwrap_or(remote)
}

/// Variables of the caller that git may see.
fn allowed(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    let proxies = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
    let others = ["path", "ssl_cert_file", "ssl_cert_dir", "git_ssl_cainfo"];
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
            let authority = rest.split('/').next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            if user.contains(':') {
                return Err("a password has no place in it: it would be among git's arguments");
            }
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
        for good in
            ["https://h/r.git", "http://h:1/r", "ssh://git@h/r", "git@h:o/r.git", "git://h:1/r@v"]
        {
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
            "ssh://u:secret@h/r",
            "git://u:secret@h/r",
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
    fn credentials_have_a_scope() {
        let check = |remote: &str, want: &[(&str, &str)]| {
            let all = config(remote, Some("Basic x"));
            let own: Vec<_> = all
                .iter()
                .filter(|(key, _)| key.starts_with("http.h") || key == "http.followRedirects")
                .collect();
            let want: Vec<_> =
                want.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(own, want.iter().collect::<Vec<_>>(), "{remote}");
        };
        let header = "Authorization: Basic x";
        let alone = ("http.followRedirects", "false");
        check("https://h:1/r.git", &[("http.https://h:1/r.git.extraHeader", header), alone]);
        check(
            "https://github.com/o/r.git",
            &[("http.https://github.com/.extraHeader", header), alone],
        );
        check("ssh://git@h/r.git", &[]);
        check("git@h:r.git", &[]);
    }

    #[test]
    fn ssh_reads_odd_file_names() {
        let command = ssh_command(Path::new("/a b/it's/known_hosts"));
        let command = command.to_string_lossy();
        assert!(
            command.ends_with(r#" -o 'UserKnownHostsFile="/a b/it'\''s/known_hosts"'"#),
            "{command}"
        );
    }

    #[test]
    fn only_what_git_needs_is_in_its_environment() {
        assert!(allowed("HTTPS_PROXY".as_ref()) && allowed("PATH".as_ref()));
        for name in ["GIT_DIR", "LD_PRELOAD", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "HOME"] {
            assert!(!allowed(name.as_ref()), "{name}");
        }
        assert_eq!(absolute_only(".:/usr/bin::bin:/bin".as_ref()), "/usr/bin:/bin");
    }
}
