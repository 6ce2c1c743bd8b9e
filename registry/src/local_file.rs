//! Small files of this machine that say something of registries: read whole, or not at all.
//!
//! Owns what is no such file: one that nobody ever finishes writing (a FIFO, a terminal), or one too long to be meant.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// They may be this long.
pub(crate) const LOCAL_FILE_MAX_BYTES: u64 = 4 << 20;

/// Reads a configuration file, certificate or key. `/dev/null` is an empty one.
///
/// # Errors
/// It is not there, is no regular file, is longer than 4 MiB, or cannot be read.
pub fn read_local_file(path: &Path) -> io::Result<Vec<u8>> {
    if path == Path::new("/dev/null") {
        return Ok(Vec::new());
    }
    let wrong = |text: &str| io::Error::new(ErrorKind::InvalidInput, text.to_owned());
    // Before it is opened: opening a FIFO waits for somebody who writes.
    if !std::fs::metadata(path)?.is_file() {
        return Err(wrong("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LOCAL_FILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LOCAL_FILE_MAX_BYTES {
        return Err(wrong("it is longer than 4 MiB"));
    }
    Ok(bytes)
}

/// As [`read_local_file`], of a text.
///
/// # Errors
/// As [`read_local_file`], or it is not UTF-8.
pub fn read_local_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_local_file(path)?);
    text.map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_small_regular_files_are_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        let said = |path: &Path| read_local_text(path).map_err(|error| error.to_string());
        std::fs::write(&file, "text").expect("written");
        assert_eq!(said(&file), Ok("text".to_owned()));
        std::fs::write(&file, b"\xff").expect("written");
        assert_eq!(said(&file), Err("it is not UTF-8".to_owned()));
        File::create(&file).and_then(|f| f.set_len(LOCAL_FILE_MAX_BYTES + 1)).expect("made");
        assert_eq!(said(&file), Err("it is longer than 4 MiB".to_owned()));
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        for odd in [dir.path(), &fifo, Path::new("/dev/zero")] {
            assert_eq!(said(odd), Err("it is not a regular file".to_owned()), "{odd:?}");
        }
        assert_eq!(said(Path::new("/dev/null")), Ok(String::new()));
        let absent = read_local_file(&dir.path().join("absent")).expect_err("it is not there");
        assert_eq!(absent.kind(), ErrorKind::NotFound);
    }
}
