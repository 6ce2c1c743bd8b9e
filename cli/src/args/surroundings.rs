//! What the program finds around it: variables, directory, terminals. Read once; the rest is handed values.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::UsageError;

/// The program's surroundings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// Environment variables.
    pub(crate) vars: BTreeMap<OsString, OsString>,
    /// The current directory.
    pub(crate) directory: PathBuf,
    /// The user that podman's files of this session are named after.
    pub(crate) user_id: u32,
    /// Runs as root.
    pub(crate) root_user: bool,
    /// Standard input is a terminal.
    pub(crate) stdin_terminal: bool,
    /// Standard output is a terminal.
    pub(crate) stdout_terminal: bool,
    /// Standard error is a terminal.
    pub(crate) stderr_terminal: bool,
    /// What an earlier process of the same command has read from standard input.
    pub(crate) stdin_copy: Option<Arc<File>>,
}

impl Surroundings {
    /// Looks around.
    pub(crate) fn here() -> Surroundings {
        Surroundings {
            vars: std::env::vars_os().collect(),
            // A deleted directory only matters to those who name something relative to it.
            directory: std::env::current_dir().unwrap_or_default(),
            user_id: outer_user_id(),
            root_user: rustix::process::geteuid().is_root(),
            stdin_terminal: std::io::stdin().is_terminal(),
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
            stdin_copy: None,
        }
    }

    /// A variable that is set and not empty, as text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name)?.to_str()
    }

    /// A variable that is set and not empty.
    pub(crate) fn raw(&self, name: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A path as this directory sees it.
    pub(crate) fn absolute(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.join(path)
    }

    /// The directory of the user's configuration files; `None` for a user without a home.
    pub(crate) fn config_home(&self) -> Option<PathBuf> {
        // The base directory specification: a relative value is to be ignored.
        let named =
            self.raw("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        named.or_else(|| self.raw("HOME").map(|home| Path::new(home).join(".config")))
    }

    /// Whether colours may be used on standard error (CLI-60).
    pub(crate) fn colours(&self) -> bool {
        self.stderr_terminal
            && self.raw("NO_COLOR").is_none()
            && self.text("TERM").is_some_and(|term| term != "dumb")
    }

    /// The directory of the store: the flag's, that of SHALE_ROOT, or the user's own (design D1).
    pub(crate) fn store_root(&self, flag: Option<&Path>) -> Result<PathBuf, UsageError> {
        let named = || self.raw("SHALE_ROOT").map(Path::new);
        if let Some(root) = flag.filter(|root| !root.as_os_str().is_empty()).or_else(named) {
            return Ok(self.absolute(root));
        }
        if self.root_user {
            return Ok(PathBuf::from("/var/lib/shale"));
        }
        // The base directory specification: a relative value is to be ignored.
        let data = self.raw("XDG_DATA_HOME").map(PathBuf::from).filter(|data| data.is_absolute());
        let home = || self.raw("HOME").map(|home| Path::new(home).join(".local/share"));
        data.or_else(home).map(|data| data.join("shale")).ok_or_else(|| {
            UsageError::new("no directory for the store: neither HOME nor XDG_DATA_HOME is set")
                .with_hint("name one with --root or SHALE_ROOT")
        })
    }
}

/// Our user as the namespace above knows it: in one of our own we look like root.
fn outer_user_id() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
        let (inside, outside, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let at = own.checked_sub(inside).filter(|at| *at < count)?;
        outside.checked_add(at)
    };
    map.lines().find_map(line).unwrap_or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(root_user: bool, vars: &[(&str, &str)]) -> Surroundings {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Surroundings { vars, root_user, directory: "/cwd".into(), ..Surroundings::default() }
    }

    #[test]
    fn every_user_has_a_store() {
        let check = |root_user, vars: &[(&str, &str)], flag: Option<&str>, want: Option<&str>| {
            let root = around(root_user, vars).store_root(flag.map(Path::new));
            assert_eq!(root.ok(), want.map(PathBuf::from), "{vars:?} {flag:?}");
        };
        check(true, &[("HOME", "/root")], None, Some("/var/lib/shale"));
        check(true, &[], Some("s"), Some("/cwd/s"));
        check(true, &[("SHALE_ROOT", "v")], None, Some("/cwd/v"));
        check(true, &[("SHALE_ROOT", "v")], Some("s"), Some("/cwd/s"));
        check(true, &[("SHALE_ROOT", "")], Some(""), Some("/var/lib/shale"));
        check(false, &[("HOME", "/h")], None, Some("/h/.local/share/shale"));
        check(false, &[("HOME", "/h"), ("XDG_DATA_HOME", "/d")], None, Some("/d/shale"));
        check(
            false,
            &[("HOME", "/h"), ("XDG_DATA_HOME", "d")],
            None,
            Some("/h/.local/share/shale"),
        );
        check(false, &[], Some("/s"), Some("/s"));
        check(false, &[], None, None);
    }
}
