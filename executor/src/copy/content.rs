//! The bytes of one file: shared with the source where the file system can, else read, hashed and written in one pass.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use oci::{Digest, Hasher};
use sys::Cancel;

const BUFFER_BYTES: usize = 256 << 10;

/// What one call of copy_file_range is asked for: short enough that a cancel is noticed.
const RANGE_BYTES: usize = 64 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Copies everything from one file to another, which is empty. With `known` the content is one that cannot have
/// changed, a layer's, and is not read; else the digest of the bytes that were written is found and returned.
pub(super) fn copy_content(
    from: &mut File,
    to: &mut File,
    known: Option<Digest>,
    (no_clone, cancel): (&AtomicBool, &Cancel),
) -> io::Result<Digest> {
    if !no_clone.load(Ordering::Relaxed) {
        match rustix::fs::ioctl_ficlone(&*to, &*from) {
            // What is hashed is the clone, which nobody else writes to.
            Ok(()) => return known.map_or_else(|| hash(to, cancel), Ok),
            Err(_) => no_clone.store(true, Ordering::Relaxed),
        }
    }
    match known {
        Some(digest) => copy_ranges(from, to, cancel).map(|()| digest),
        None => copy_hashed(from, to, cancel),
    }
}

fn hash(file: &mut File, cancel: &Cancel) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    each_buffer(file, cancel, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}

fn copy_hashed(from: &mut File, to: &mut File, cancel: &Cancel) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    each_buffer(from, cancel, |bytes| {
        hasher.update(bytes);
        to.write_all(bytes)
    })?;
    Ok(hasher.finish())
}

fn copy_ranges(from: &mut File, to: &mut File, cancel: &Cancel) -> io::Result<()> {
    loop {
        stop_if(cancel)?;
        match rustix::fs::copy_file_range(&*from, None, &*to, None, RANGE_BYTES) {
            Ok(0) => break,
            Ok(_) => {}
            // Not between these file systems: both files stand where the last call left them.
            Err(_) => break,
        }
    }
    // Reads to the end in any case: some file systems answer 0 for files whose size they do not know.
    each_buffer(from, cancel, |bytes| to.write_all(bytes))
}

fn each_buffer(
    file: &mut File,
    cancel: &Cancel,
    mut use_bytes: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(BUFFER_BYTES, 0);
        loop {
            stop_if(cancel)?;
            match file.read(buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => use_bytes(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    })
}

fn stop_if(cancel: &Cancel) -> io::Result<()> {
    match cancel.is_cancelled() {
        true => Err(io::Error::other("stopped")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek;

    #[test]
    fn content_arrives_whole() {
        let check = |bytes: &[u8], known: Option<Digest>, clone: bool| {
            let mut from = tempfile::tempfile().expect("file");
            from.write_all(bytes).and_then(|()| from.rewind()).expect("write");
            let mut to = tempfile::tempfile().expect("file");
            let no_clone = AtomicBool::new(!clone);
            let digest = copy_content(&mut from, &mut to, known, (&no_clone, &Cancel::new()));
            assert_eq!(digest.expect("copy"), Digest::of(bytes));
            let mut got = Vec::new();
            to.rewind().and_then(|()| to.read_to_end(&mut got)).expect("read");
            assert!(got == bytes);
        };
        let big = vec![7; 3 * BUFFER_BYTES + 1];
        for bytes in [&b""[..], b"x", &big] {
            for clone in [true, false] {
                check(bytes, None, clone);
                check(bytes, Some(Digest::of(bytes)), clone);
            }
        }
    }
}
