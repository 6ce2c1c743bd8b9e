//! One case made real: its context and served files on disk with fixed times and modes, its placeholders replaced, its
//! scripts run.
//!
//! Knows nothing of builds.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use super::image::sha256;

/// 2021-03-04T05:06:07Z, the time of all that is staged.
pub(super) const STAMP: i64 = 1_614_834_367;

/// What a script changed is younger than this at its start.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// The directories of a case.
pub(super) struct Stage {
    top: PathBuf,
    placeholders: Placeholders,
}

/// Words of a case file that stand for what is known only in a run.
#[derive(Clone, Debug)]
pub(super) struct Placeholders(Vec<(&'static str, String)>);

impl Placeholders {
    /// For the case of this name. The addresses are `127.0.0.1:PORT`.
    pub(super) fn new(name: &str, registry: &str, web: &str, agent: &Path) -> Placeholders {
        let port = web.rsplit(':').next().unwrap_or_default();
        // Longer ones first, so that putting them back finds the whole of them.
        Placeholders(vec![
            ("@http@", format!("http://{web}/{name}")),
            ("@host@", web.to_owned()),
            ("@registry@", registry.to_owned()),
            ("@salt@", salt(name)),
            ("@agent@", agent.to_string_lossy().into_owned()),
            ("@port@", port.to_owned()),
        ])
    }

    /// Replaces the placeholders.
    pub(super) fn outward(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (word, value)| text.replace(word, value))
    }

    /// The same for bytes that may be no text.
    fn outward_bytes(&self, content: &[u8]) -> Vec<u8> {
        let replace = |content: Vec<u8>, (word, value): &(&str, String)| {
            replaced(&content, word.as_bytes(), value.as_bytes())
        };
        self.0.iter().fold(content.to_vec(), replace)
    }

    /// Puts the placeholders back. A bare port is left alone: it may be any number; so is a path in a message.
    pub(super) fn inward(&self, text: &str) -> String {
        let back = self.0.iter().filter(|(word, _)| !["@port@", "@here@"].contains(word));
        back.fold(text.to_owned(), |text, (word, value)| text.replace(value, word))
    }
}

fn replaced(content: &[u8], word: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.windows(word.len()).position(|window| window == word) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value);
        rest = &rest[at + word.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// A word that no run had before.
fn salt(name: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{name} {} {}", std::process::id(), now.as_nanos());
    format!("salt{}", &sha256(seed.as_bytes())[7..19])
}

impl Stage {
    /// Makes the directories below `top`.
    pub(super) fn new(top: PathBuf, mut placeholders: Placeholders) -> std::io::Result<Stage> {
        let here = top.join("context").to_string_lossy().into_owned();
        placeholders.0.push(("@here@", here));
        for below in ["context", "http", "out"] {
            make_directory(&top.join(below))?;
        }
        Ok(Stage { top, placeholders })
    }

    pub(super) fn context(&self) -> PathBuf {
        self.top.join("context")
    }

    /// A store of the case's own.
    pub(super) fn store(&self, name: &str) -> PathBuf {
        self.top.join(format!("store-{name}"))
    }

    /// What the web server serves.
    pub(super) fn http(&self) -> PathBuf {
        self.top.join("http")
    }

    /// Where a build's output goes.
    pub(super) fn output(&self, build: usize) -> PathBuf {
        self.top.join(format!("out/{build}"))
    }

    pub(super) fn placeholders(&self) -> &Placeholders {
        &self.placeholders
    }

    /// Writes a file of the context.
    pub(super) fn file(&self, path: &str, mode: u32, content: &[u8]) -> std::io::Result<()> {
        self.write(&self.context(), path, mode, content)
    }

    /// Writes a file of the web server.
    pub(super) fn http_file(&self, path: &str, content: &[u8]) -> std::io::Result<()> {
        self.write(&self.http(), path, 0o644, content)
    }

    fn write(&self, top: &Path, path: &str, mode: u32, content: &[u8]) -> std::io::Result<()> {
        let path = top.join(self.placeholders.outward(path));
        make_directory(path.parent().unwrap_or(top))?;
        std::fs::write(&path, self.placeholders.outward_bytes(content))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
    }

    /// Gives everything staged so far its fixed time.
    pub(super) fn settle_all(&self) -> std::io::Result<()> {
        settle(&self.context(), None)?;
        settle(&self.http(), None)
    }

    /// Runs a script in the context; what it touches and gives no time of its own gets the fixed one.
    ///
    /// # Errors
    /// Its last output, when it fails.
    pub(super) fn script(&self, what: &str, text: &str) -> Result<(), String> {
        let since = SystemTime::now() - CLOCK_SLACK;
        let script = format!("umask 022\n{}", self.placeholders.outward(text));
        let context = self.context();
        let output = Command::new("sh")
            .args(["-eu", "-c", &script])
            .current_dir(&context)
            .env("HTTP_ROOT", self.http())
            .env("SRC", &context)
            .env("HOME", &self.top)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("sh: {error}"))?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            return Err(format!("{what} failed, {}: {said}", output.status));
        }
        settle(&context, Some(since)).map_err(|error| format!("times after {what}: {error}"))
    }

    /// Removes the directories.
    pub(super) fn remove(&self) {
        // What cannot be removed here (another user's) the world removes at its end.
        let _ = std::fs::remove_dir_all(&self.top);
    }
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Fixed times for all below a directory, or for what was touched since.
fn settle(top: &Path, since: Option<SystemTime>) -> std::io::Result<()> {
    let meta = top.symlink_metadata()?;
    if meta.is_dir() {
        let entries: Vec<_> = std::fs::read_dir(top)?.collect::<Result<_, _>>()?;
        for entry in entries {
            settle(&entry.path(), since)?;
        }
    }
    let old = |since: &SystemTime| meta.modified().is_ok_and(|time| time < *since);
    let future = || meta.modified().is_ok_and(|t| t > SystemTime::now() + Duration::from_secs(5));
    if since.as_ref().is_some_and(|since| old(since) || future()) {
        return Ok(());
    }
    let is_file = meta.is_file() && meta.size() > 0;
    let nanos = if is_file { content_nanos(&std::fs::read(top).unwrap_or_default()) } else { 0 };
    let time = Timespec { tv_sec: STAMP, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, top, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// A part of a second that depends on the content: a file of the same name and size with other content would look
/// unchanged to builders that compare no more than that (BuildKit does so).
fn content_nanos(content: &[u8]) -> i64 {
    let hex = &sha256(content)[7..15];
    i64::from_str_radix(hex, 16).unwrap_or_default() % 999_999_937
}
