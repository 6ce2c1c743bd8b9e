//! `shale login` and `shale logout`: a registry's password is tried, then kept where docker keeps it.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use ::registry::{
    Credential, Credentials, Keeper, LoginConfig, RegistryError, RegistryErrorKind,
    RegistryOptions, Secret, server_name,
};
use engine::{BuildError, BuildErrorKind};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{Done, Failure, Process, print, say, warn};
use crate::args::{DockerConfig, LoginArgs, LogoutArgs, UsageError};

/// Passwords and names may be this long.
const INPUT_MAX_BYTES: usize = 1 << 20;

/// Tries a password and keeps it.
pub(crate) fn login(process: &mut Process, typed: &LoginArgs) -> Done {
    let registry = registry_of(typed.server.as_deref())?;
    let config = DockerConfig::read(&process.around);
    config.warning.iter().for_each(|warning| warn(warning));
    let options = config.registry_options(&process.around).map_err(broken_file)?;
    // Nothing is asked for that could not be kept.
    let path = config_path(process)?;
    let file = read_config(&path)?;
    let Some((user, password)) = given(process, typed)? else {
        return again_or_asked(process, typed, &registry, &options, (&path, file));
    };
    tried_and_kept(process, (&registry, &user, password), &options, (&path, file))
}

/// Forgets a password.
pub(crate) fn logout(process: &mut Process, typed: &LogoutArgs) -> Done {
    let registry = registry_of(typed.server.as_deref())?;
    let path = config_path(process)?;
    let mut file = read_config(&path)?;
    let shown = shown(&registry);
    let helper_dirs = DockerConfig::helper_dirs(&process.around);
    let had_entry = file.has(&registry).map_err(broken_file)?;
    if !file.forget(&registry, &helper_dirs).map_err(no_registry)? {
        warn_of_kept(process, &registry)?;
        return print(&format!("Not logged in to {shown}\n"));
    }
    if had_entry {
        write_config(&path, &file.to_text())?;
    }
    warn_of_kept(process, &registry)?;
    print(&format!("Removing login credentials for {shown}\n"))
}

/// Says where credentials are that this command does not remove: they are used from now on.
fn warn_of_kept(process: &Process, registry: &str) -> Result<(), Failure> {
    let left = kept_elsewhere(process, registry)?;
    left.iter().for_each(|place| warn(&format!("{place} still has credentials for {registry}")));
    Ok(())
}

/// The credential of flags and standard input; `None` when there is none.
fn given(process: &Process, typed: &LoginArgs) -> Result<Option<(String, Secret)>, Failure> {
    let usage = |text: &str| Err(Failure::Usage(UsageError::new(text)));
    if typed.password.is_some() && typed.password_stdin {
        return usage("--password and --password-stdin are mutually exclusive");
    }
    if typed.password.is_some() {
        warn("--password can be seen by others on this machine: use --password-stdin");
    }
    let user = typed.username.clone().filter(|user| !user.is_empty());
    let password = match (&typed.password, typed.password_stdin) {
        (None, true) if user.is_none() => {
            return usage("Must provide --username with --password-stdin");
        }
        (None, true) => Some(from_stdin()?),
        (password, _) => password.clone().filter(|password| !password.is_empty()),
    };
    let Some(password) = password else { return Ok(None) };
    let user = match user {
        Some(user) => user,
        None => asked(process, "Username: ", true)?,
    };
    Ok(Some((user, Secret::new(password))))
}

/// Nothing was given: what is kept is tried, then a person is asked.
fn again_or_asked(
    process: &Process,
    typed: &LoginArgs,
    registry: &str,
    options: &RegistryOptions,
    (path, file): (&Path, LoginConfig),
) -> Done {
    let kept = options.credentials.get(registry, "").map_err(no_registry)?;
    let is_other =
        |user: &String| matches!(&kept, Credential::Basic { user: kept, .. } if kept != user);
    if kept != Credential::Anonymous && !typed.username.as_ref().is_some_and(is_other) {
        say("Authenticating with existing credentials...\n");
        match process.client(options.clone()).login(registry) {
            Ok(_) => return print("Login Succeeded\n"),
            Err(error) if error.kind() == RegistryErrorKind::Unauthorized => {
                say("They are not accepted any more.\n");
            }
            Err(error) => return Err(no_registry(error)),
        }
    }
    if !process.around.stdin_terminal {
        let error = UsageError::new("cannot ask for a password: standard input is no terminal");
        let hint = format!("pass it: shale login -u NAME --password-stdin {registry}");
        return Err(error.with_hint(hint).into());
    }
    let user = match &typed.username {
        Some(user) => user.clone(),
        None => asked(process, "Username: ", true)?,
    };
    let password = Secret::new(asked(process, "Password: ", false)?);
    tried_and_kept(process, (registry, &user, password), options, (path, file))
}

fn tried_and_kept(
    process: &Process,
    (registry, user, password): (&str, &str, Secret),
    options: &RegistryOptions,
    (path, mut file): (&Path, LoginConfig),
) -> Done {
    if user.contains(':') {
        return Err(UsageError::new("the name of a user cannot have a colon in it").into());
    }
    let credential = Credential::Basic { user: user.to_owned(), password };
    let credentials = Credentials::only(registry, credential);
    let client = process.client(RegistryOptions { credentials, ..options.clone() });
    let credential = client.login(registry).map_err(no_registry)?;
    let keeper = file.keeper(registry);
    let helper_dirs = DockerConfig::helper_dirs(&process.around);
    file.keep(registry, user, &credential, &helper_dirs).map_err(no_registry)?;
    write_config(path, &file.to_text())?;
    if keeper == Keeper::File {
        warn(&format!(
            "the password is kept unencrypted in {}; a credential helper would keep it better",
            path.display()
        ));
    }
    for place in overruling(process, registry, path)? {
        warn(&format!("{place} comes first and has other credentials for {registry}"));
    }
    print("Login Succeeded\n")
}

/// Files and variables that are asked before the one which was written, and have something for the registry.
fn overruling(process: &Process, registry: &str, path: &Path) -> Result<Vec<String>, Failure> {
    let all = kept_elsewhere(process, registry)?;
    let own = path.display().to_string();
    Ok(all.into_iter().take_while(|place| *place != own).collect())
}

/// All that have something for the registry.
fn kept_elsewhere(process: &Process, registry: &str) -> Result<Vec<String>, Failure> {
    let config = DockerConfig::read(&process.around);
    let options = config.registry_options(&process.around).map_err(broken_file)?;
    let kept = options.credentials.kept(registry, "");
    let entries =
        kept.into_iter().filter(|kept| matches!(kept.how, ::registry::KeptAs::Entry { .. }));
    Ok(entries.map(|kept| kept.file).collect())
}

fn registry_of(server: Option<&str>) -> Result<String, UsageError> {
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        return Ok("docker.io".to_owned());
    };
    let name = server_name(server);
    let is_host =
        format!("{name}/any").parse::<oci::Reference>().is_ok_and(|r| r.registry() == name);
    match is_host {
        true => Ok(name),
        // A word without a dot would be taken for a part of a name by every other command.
        false => Err(UsageError::new(format!("{server} is not the name of a registry"))
            .with_hint("write it as in names of images: registry.example, registry.example:5000")),
    }
}

/// What docker calls a registry when it forgets one.
fn shown(registry: &str) -> &str {
    if registry == "docker.io" { "https://index.docker.io/v1/" } else { registry }
}

fn no_registry(error: RegistryError) -> Failure {
    Failure::Engine(BuildError::of(BuildErrorKind::Registry, error))
}

/// A file with credentials that cannot be understood.
fn broken_file(error: RegistryError) -> Failure {
    Failure::Engine(BuildError::of(BuildErrorKind::Dockerfile, error))
}

fn config_path(process: &Process) -> Result<PathBuf, UsageError> {
    DockerConfig::path(&process.around).ok_or_else(|| {
        UsageError::new("no place to keep credentials: neither DOCKER_CONFIG nor HOME is set")
    })
}

fn read_config(path: &Path) -> Result<LoginConfig, Failure> {
    let text = match ::registry::read_local_text(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(file_error("read", path, e)),
    };
    LoginConfig::parse(&path.display().to_string(), &text).map_err(broken_file)
}

/// Replaces the file at once, readable for its owner alone. A link to it stays one.
fn write_config(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, fchown};
    let failed = |error| file_error("write", path, error);
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = target.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    // Readable for its owner alone from the beginning.
    let mut file =
        tempfile::Builder::new().prefix(".config.json.").tempfile_in(directory).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    if let Ok(old) = std::fs::metadata(&target) {
        // Root may log in for somebody else; where that is not possible the new file is ours.
        let _ = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
    }
    file.persist(&target).map_err(|error| failed(error.error))?;
    Ok(())
}

fn file_error(what: &str, path: &Path, error: std::io::Error) -> Failure {
    BuildError::io(format!("cannot {what} {}", path.display()), error).into()
}

/// All of standard input without the line break at its end.
fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let input = std::io::stdin().lock().take(INPUT_MAX_BYTES as u64 + 1).read_to_string(&mut text);
    input.map_err(|e| BuildError::io("cannot read the password from standard input", e))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text.is_empty() || text.len() > INPUT_MAX_BYTES {
        true => Err(UsageError::new("there is no password on standard input").into()),
        false => Ok(text.to_owned()),
    }
}

/// A line that a person types; `echo` says whether it is to be seen.
fn asked(process: &Process, question: &str, echo: bool) -> Result<String, Failure> {
    if !process.around.stdin_terminal {
        let text = format!("cannot ask for it: {}", question.trim_end_matches(": "));
        return Err(UsageError::new(text).with_hint("name it with --username").into());
    }
    say(question);
    let quiet = (!echo).then(Quiet::start).transpose();
    let _quiet = quiet.map_err(|e| BuildError::io("cannot hide what is typed", e.into()))?;
    let line = typed_line(process);
    if !echo {
        say("\n");
    }
    let line = line?;
    match line.is_empty() {
        true => Err(UsageError::new(format!("nothing was typed at `{}`", question.trim())).into()),
        false => Ok(line),
    }
}

/// Reads a line from the terminal, unless the command is to stop.
fn typed_line(process: &Process) -> Result<String, Failure> {
    let failed = |e| Failure::Engine(BuildError::io("cannot read what is typed", e));
    let stdin = std::io::stdin();
    let mut line = Vec::new();
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(process.cancel.fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error.into())),
        }
        if process.cancel.is_cancelled() {
            return Err(BuildError::new(BuildErrorKind::Cancelled, "stopped").into());
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        // A terminal gives a line at a time; nothing of it may stay in a buffer of ours.
        let mut bytes = [0; 4096];
        let count = rustix::io::read(stdin.as_fd(), &mut bytes).map_err(|e| failed(e.into()))?;
        line.extend_from_slice(&bytes[..count]);
        if count == 0 || line.ends_with(b"\n") || line.len() > INPUT_MAX_BYTES {
            let text = String::from_utf8_lossy(&line);
            return Ok(text.trim_end_matches(['\n', '\r']).to_owned());
        }
    }
}

/// The terminal does not show what is typed until this ends.
struct Quiet(rustix::termios::Termios);

impl Quiet {
    fn start() -> Result<Quiet, rustix::io::Errno> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that went away needs nothing put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
