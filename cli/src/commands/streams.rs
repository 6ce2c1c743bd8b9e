//! Where archives come from and go to: files that appear when they are whole, pipes, standard input and output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use engine::{BuildError, BuildErrorKind};

use super::Failure;
use crate::args::{Surroundings, UsageError};

const BUFFER_BYTES: usize = 256 << 10;

/// Without a file an archive goes to standard output, which must not be a screen then.
pub(super) fn no_archive_to_a_terminal(
    path: Option<&Path>,
    around: &Surroundings,
) -> Result<(), UsageError> {
    match path.is_none() && around.stdout_terminal {
        true => Err(UsageError::new("refusing to write an archive to a terminal")
            .with_hint("name a file with -o, or redirect the output")),
        false => Ok(()),
    }
}

/// Nobody types an archive.
pub(super) fn no_archive_from_a_terminal(
    path: Option<&Path>,
    around: &Surroundings,
) -> Result<(), UsageError> {
    match path.is_none() && around.stdin_terminal {
        true => Err(UsageError::new("refusing to read an archive from a terminal")
            .with_hint("name a file with -i, or redirect the input")),
        false => Ok(()),
    }
}

/// A file or standard input.
pub(super) fn source(
    path: Option<&Path>,
    around: &Surroundings,
) -> Result<Box<dyn Read + Send>, Failure> {
    let Some(path) = path else { return Ok(Box::new(io::stdin())) };
    let file = File::open(around.absolute(path));
    let failed = |error| BuildError::io(format!("cannot read {}", path.display()), error);
    Ok(Box::new(file.map_err(failed)?))
}

/// The same error with the archive's name behind what was to be done.
pub(super) fn named(error: BuildError, what: &str, path: Option<&Path>) -> BuildError {
    match path {
        Some(path) if error.kind() == BuildErrorKind::Files => {
            let message = format!("{what} {}: {error}", path.display());
            error.saying(message)
        }
        _ => error,
    }
}

/// Where an archive goes: a file that appears when it is whole, something else than a file, or standard output.
pub(super) struct Target {
    out: BufWriter<File>,
    /// The file under its temporary name and its own.
    file: Option<(PathBuf, PathBuf)>,
}

impl Target {
    pub(super) fn open(path: Option<&Path>) -> Result<Target, BuildError> {
        let Some(path) = path else {
            // Not through the one that looks for ends of lines.
            let out = io::stdout().as_fd().try_clone_to_owned();
            let out = out.map_err(|e| BuildError::io("cannot write to standard output", e))?;
            return Ok(Target { out: buffered(out.into()), file: None });
        };
        let failed = |error| BuildError::io(format!("cannot write {}", path.display()), error);
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
            // A pipe or device stays what it is.
            Ok(meta) if !meta.is_file() => {
                let file = OpenOptions::new().write(true).open(path).map_err(failed)?;
                Ok(Target { out: buffered(file), file: None })
            }
            _ => {
                // A link stays a link, its target is replaced.
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
                let partial = beside(&path);
                let file = OpenOptions::new().write(true).create_new(true).open(&partial);
                let out = buffered(file.map_err(failed)?);
                Ok(Target { out, file: Some((partial, path)) })
            }
        }
    }

    pub(super) fn finish(&mut self) -> Result<(), BuildError> {
        let flushed = self.out.flush();
        let done = flushed.and_then(|()| match &self.file {
            Some((partial, path)) => fs::rename(partial, path),
            None => Ok(()),
        });
        done.map_err(|error| BuildError::io("cannot write the archive", error))?;
        self.file = None;
        Ok(())
    }
}

fn buffered(file: File) -> BufWriter<File> {
    BufWriter::with_capacity(BUFFER_BYTES, file)
}

/// A name that nobody has, in the same directory.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some((partial, _)) = &self.file {
            let _ = fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("out.tar");
        let names = || fs::read_dir(dir.path()).expect("list").count();
        let mut target = Target::open(Some(&path)).expect("open");
        target.write_all(b"half").expect("write");
        drop(target);
        assert_eq!(names(), 0);
        let mut target = Target::open(Some(&path)).expect("open");
        target.write_all(b"whole").expect("write");
        target.finish().expect("finish");
        drop(target);
        assert_eq!((fs::read(&path).expect("read"), names()), (b"whole".to_vec(), 1));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("out.tar", &link).expect("link");
        let mut target = Target::open(Some(&link)).expect("open");
        target.write_all(b"through").expect("write");
        target.finish().expect("finish");
        assert_eq!(fs::read(&path).expect("read"), b"through");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let mut null = Target::open(Some(Path::new("/dev/null"))).expect("open");
        null.write_all(b"x").expect("write");
        null.finish().expect("finish");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
        let dir = tempfile::tempdir().expect("a temporary directory");
        assert!(Target::open(Some(dir.path())).is_err());
        assert!(Target::open(Some(&dir.path().join("none/x"))).is_err());
    }
}
