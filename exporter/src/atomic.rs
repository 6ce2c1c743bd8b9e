//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::ExportError;
use crate::error::write;

/// Gives `fill` a writer and renames what it wrote to `path` when it has ended well. A pipe, device, socket or
/// `/dev/stdout` is written in place. On failure the old file is still there.
pub fn write_file(
    path: &Path,
    fill: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let shown = path.display().to_string();
    // Never another file in the place of what is no file.
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        let file = OpenOptions::new().write(true).open(path).map_err(write(&shown))?;
        return fill_buffered(file, fill, &shown);
    }
    // A link stays a link, its target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (temp, file) = create_beside(&target).map_err(write(&shown))?;
    let result = fill_buffered(file, fill, &shown)
        .and_then(|()| fs::rename(&temp, &target).map_err(write(&shown)));
    if result.is_err() {
        // The error that led here says more than a failure to clean up.
        let _ = fs::remove_file(&temp);
    }
    result
}

/// Writes bytes as [`write_file`] does.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let shown = path.display().to_string();
    write_file(path, &mut |out| out.write_all(bytes).map_err(write(&shown)))
}

fn fill_buffered(
    file: File,
    fill: &mut dyn FnMut(&mut dyn Write) -> Result<(), ExportError>,
    shown: &str,
) -> Result<(), ExportError> {
    let mut out = BufWriter::with_capacity(256 << 10, file);
    fill(&mut out)?;
    out.flush().map_err(write(shown))
}

/// A new file in the directory of `target`, under a name that nobody has.
pub(crate) fn create_beside(target: &Path) -> io::Result<(PathBuf, File)> {
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::IsADirectory, "it has no file name"))?;
    for attempt in 0..1000u32 {
        let mut temp_name = std::ffi::OsString::from(".");
        temp_name.push(name);
        temp_name.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temp = target.with_file_name(temp_name);
        match OpenOptions::new().write(true).create_new(true).mode(0o666).open(&temp) {
            Ok(file) => return Ok((temp, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many temporary files beside it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Failure;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("out.tar");
        let names = || fs::read_dir(dir.path()).expect("list").count();
        let fail = |out: &mut dyn Write| {
            out.write_all(b"half").expect("buffered");
            Err(Failure::Cancelled.into())
        };
        write_file(&path, &mut { fail }).expect_err("stopped");
        assert_eq!(names(), 0);
        write_bytes(&path, b"old").expect("write");
        write_file(&path, &mut { fail }).expect_err("stopped");
        assert_eq!((fs::read(&path).expect("there"), names()), (b"old".to_vec(), 1));
        write_bytes(&path, b"new").expect("write");
        assert_eq!((fs::read(&path).expect("there"), names()), (b"new".to_vec(), 1));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("out.tar", &link).expect("link");
        write_bytes(&link, b"through").expect("write");
        assert_eq!(fs::read(&path).expect("there"), b"through");
        assert!(write_bytes(&dir.path().join("none/x"), b"").is_err());
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let dir = tempfile::tempdir().expect("temp dir");
        let link = dir.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &link).expect("link");
        assert_eq!(
            write_bytes(&link, b"x").expect_err("full").kind(),
            crate::ExportErrorKind::DiskFull
        );
        write_bytes(Path::new("/dev/null"), b"x").expect("written to nowhere");
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
        write_bytes(&socket, b"x").expect_err("a socket cannot be opened");
        assert!(!fs::metadata(&socket).expect("still there").is_file());
    }
}
