//! Takes mount points that were made for a run out of its layer (MNT-11, security.md A4).
//!
//! In the upper directory and by descriptor: what the step put in their place, or into them, stays.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::sandbox::Stub;

/// Removes the stubs that are still what they were: same inode, empty. Their directories keep their times.
///
/// # Errors
/// What the file system refuses.
pub(crate) fn remove(upper: BorrowedFd<'_>, stubs: &[Stub]) -> io::Result<()> {
    for stub in stubs.iter().rev() {
        let at = stub.path.iter().rposition(|b| *b == b'/');
        let (parent, name) = match at {
            Some(at) => (&stub.path[..at], &stub.path[at + 1..]),
            None => (b"".as_slice(), stub.path.as_slice()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let parent = match sys::open_beneath(upper, parent, flags, Mode::empty()) {
            Ok(parent) => parent,
            Err(_) => continue, // the step replaced it
        };
        let Ok(stat) = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if let Some(how) = removal(stub, &stat) {
            let before = rustix::fs::fstat(&parent)?;
            match rustix::fs::unlinkat(&parent, name, how) {
                Ok(()) => put_times_back(parent.as_fd(), &before)?,
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

fn removal(stub: &Stub, stat: &Stat) -> Option<AtFlags> {
    if stat.st_ino != stub.inode {
        return None;
    }
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Some(AtFlags::REMOVEDIR),
        FileType::RegularFile if stat.st_size == 0 => Some(AtFlags::empty()),
        _ => None,
    }
}

fn put_times_back(dir: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    Ok(rustix::fs::futimens(dir, &times)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn mnt_11_only_what_is_still_a_stub() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path();
        for path in ["run/secrets", "kept/below", "swapped"] {
            std::fs::create_dir_all(upper.join(path)).unwrap();
        }
        std::fs::write(upper.join("run/secrets/a"), "").unwrap();
        std::fs::write(upper.join("filled"), "").unwrap();
        let stub = |path: &str| Stub {
            path: path.as_bytes().to_vec(),
            inode: std::fs::symlink_metadata(upper.join(path)).unwrap().ino(),
        };
        let stubs = [
            stub("run"),
            stub("run/secrets"),
            stub("run/secrets/a"),
            stub("kept"),
            stub("kept/below"),
            stub("filled"),
            stub("swapped"),
        ];
        std::fs::write(upper.join("kept/file"), "x").unwrap();
        std::fs::write(upper.join("filled"), "x").unwrap();
        std::fs::remove_dir(upper.join("swapped")).unwrap();
        symlink("/", upper.join("swapped")).unwrap();
        let time = std::fs::metadata(upper).unwrap().modified().unwrap();
        let fd = std::fs::File::open(upper).unwrap();
        remove(fd.as_fd(), &stubs).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(upper).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["filled", "kept", "swapped"]);
        assert!(!upper.join("kept/below").exists());
        assert_eq!(std::fs::metadata(upper).unwrap().modified().unwrap(), time);
    }
}
