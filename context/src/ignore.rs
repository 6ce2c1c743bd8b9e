//! Finding and reading the ignore file of a directory context (IGN-01 to IGN-03).

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pattern::{IgnoreFile, IgnoreRules};
use rustix::fs::{Mode, OFlags};

use crate::ContextError;
use crate::error::Failure;

const SIZE_MAX_BYTES: u64 = 1 << 20;

/// An ignore file that was found.
#[derive(Clone, Debug)]
pub struct LoadedIgnore {
    /// What it says.
    pub rules: IgnoreRules,
    /// Its name, without the directory it is in.
    pub name: String,
    text: Vec<u8>,
}

impl LoadedIgnore {
    /// The line that hides a path of the context: its number, counted from 1, and its pattern.
    pub fn hiding_line(&self, path: &[u8]) -> Option<(usize, String)> {
        let (line, pattern) = IgnoreFile::hiding_line(&self.text, path)?;
        Some((line, String::from_utf8_lossy(pattern).into_owned()))
    }
}

/// Reads the rules of a directory context: `<Dockerfile>.dockerignore` beside the Dockerfile if there is one, else
/// `.dockerignore` in the root of the context. Named contexts and Dockerfiles from elsewhere give no `dockerfile`.
/// `None` when there is neither.
///
/// # Errors
/// Files that are no regular files or longer than 1 MiB, and malformed patterns.
pub fn load_ignore(
    context: &Path,
    dockerfile: Option<&Path>,
) -> Result<Option<LoadedIgnore>, ContextError> {
    if let Some(dockerfile) = dockerfile {
        let mut name = dockerfile.as_os_str().to_owned();
        name.push(".dockerignore");
        if let Some(rules) = read(&PathBuf::from(name))? {
            return Ok(Some(rules));
        }
    }
    read(&context.join(".dockerignore"))
}

fn read(path: &Path) -> Result<Option<LoadedIgnore>, ContextError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let text = match rustix::fs::open(dir, flags, Mode::empty()) {
        Ok(dir) => sys::read_small(dir.as_fd(), name.as_bytes(), SIZE_MAX_BYTES),
        // Where the Dockerfile would be is nothing at all: that is for whoever looks for the Dockerfile.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    };
    let Some(text) = text.map_err(ContextError::file("read ignore file", path))? else {
        return Ok(None);
    };
    let fail = |source| {
        let (path, line) = (path.components().collect(), line_of_mistake(&text));
        ContextError(Failure::Ignore { path, line, source })
    };
    let rules = IgnoreFile::parse(&text).map_err(fail)?;
    Ok(Some(LoadedIgnore { rules, name: name.to_string_lossy().into_owned(), text }))
}

/// The line that makes a text no ignore file: the last one of the shortest beginning that is none.
fn line_of_mistake(text: &[u8]) -> usize {
    let ends: Vec<usize> = text
        .split_inclusive(|byte| *byte == b'\n')
        .scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        })
        .collect();
    ends.partition_point(|end| IgnoreFile::parse(&text[..*end]).is_ok()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_mistake_has_a_line() {
        assert_eq!(line_of_mistake(b"a\n\n# x\n!\nb\n["), 4);
        assert_eq!(line_of_mistake(b"["), 1);
        assert_eq!(line_of_mistake(b"a\n["), 2);
    }

    #[test]
    fn the_file_beside_the_dockerfile_wins() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let context = dir.path();
        let dockerfile = context.join("Dockerfile");
        let hides = |dockerfile: Option<&Path>, path: &str| {
            let rules = load_ignore(context, dockerfile).expect("load");
            rules.map(|loaded| loaded.rules.is_ignored(path.as_bytes()))
        };
        assert_eq!(hides(Some(&dockerfile), "a"), None);
        fs::write(context.join(".dockerignore"), "a").expect("write");
        assert_eq!(hides(Some(&dockerfile), "a"), Some(true)); // IGN-02
        fs::write(context.join("Dockerfile.dockerignore"), "b").expect("write");
        assert_eq!(hides(Some(&dockerfile), "a"), Some(false)); // IGN-01
        assert_eq!(hides(Some(&dockerfile), "b"), Some(true));
        assert_eq!(hides(None, "a"), Some(true));
        let loaded = load_ignore(context, Some(&dockerfile)).expect("load").expect("there");
        assert_eq!(loaded.name, "Dockerfile.dockerignore");
        assert_eq!(loaded.hiding_line(b"b/c"), Some((1, "b".to_owned())));
        assert_eq!(loaded.hiding_line(b"a"), None);
    }

    #[test]
    fn a_link_leads_nowhere_and_a_fifo_blocks_nobody() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(".dockerignore");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("symlink");
        assert!(load_ignore(dir.path(), None).expect("outside is not seen").is_none());
        fs::remove_file(&path).expect("remove");
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, Mode::RUSR, 0).expect("mkfifo");
        assert!(load_ignore(dir.path(), None).is_err());
        fs::remove_file(&path).expect("remove");
        fs::write(&path, "[").expect("write");
        assert!(load_ignore(dir.path(), None).is_err()); // IGN-18
    }
}
