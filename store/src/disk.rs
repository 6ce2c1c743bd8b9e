//! Files below the store's root, always reached through the root's descriptor. The only module that changes the disk
//! (with `cache_mounts` and `ingest`, whose callers fill directories); each change passes a fault point.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawMode, Stat};
use rustix::io::Errno;

use crate::fault;

const PRIVATE_DIR: Mode = Mode::from_raw_mode(0o700);
const PRIVATE_FILE: Mode = Mode::from_raw_mode(0o600);

/// The store's root directory. Names are relative paths made by this crate, never taken from outside.
#[derive(Debug)]
pub(crate) struct Disk {
    root: OwnedFd,
    path: PathBuf,
}

impl Disk {
    pub(crate) fn new(root: OwnedFd, path: PathBuf) -> Disk {
        Disk { root, path }
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn root_path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading; `None` when there is none.
    pub(crate) fn open(&self, name: &str) -> io::Result<Option<File>> {
        match self.open_at(name, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => Ok(Some(file)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A whole file; `None` when there is none.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(mut file) = self.open(name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(1024);
        file.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Opens a directory for listing and as a base of look-ups.
    pub(crate) fn open_dir(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(self.open_at(name, OFlags::RDONLY | OFlags::DIRECTORY)?.into())
    }

    /// Creates a file that must not exist yet, for writing.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        fault::point()?;
        self.open_at(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    /// Opens a file for locking, making it when it is not there.
    pub(crate) fn open_lock(&self, name: &str) -> io::Result<File> {
        match self.open_at(name, OFlags::RDWR) {
            Err(e) if is_absent(&e) => {
                fault::point()?;
                self.open_at(name, OFlags::RDWR | OFlags::CREATE)
            }
            // A lock needs no right to write: readers of a read-only store may hold it.
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::ROFS | Errno::ACCESS)) => {
                self.open_at(name, OFlags::RDONLY)
            }
            other => other,
        }
    }

    /// Writes a new file; the content goes through one fault point of its own.
    pub(crate) fn write_new(&self, name: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        let mut file = self.create(name)?;
        write(&mut file, bytes)?;
        if durable {
            sync(&file)?;
        }
        Ok(())
    }

    /// Adds to the end of a file, making it when it is not there. Not safe against a crash.
    pub(crate) fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fault::point()?;
        let mut file = self.open_at(name, OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)?;
        file.write_all(bytes)
    }

    /// Renames a file or directory, replacing a file or empty directory of that name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point()?;
        Ok(rustix::fs::renameat(&self.root, from, &self.root, to)?)
    }

    /// Gives a file one more name.
    pub(crate) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fault::point()?;
        Ok(rustix::fs::linkat(&self.root, from, &self.root, to, AtFlags::empty())?)
    }

    /// Makes a directory; it is fine if there is one.
    pub(crate) fn make_dir(&self, name: &str) -> io::Result<()> {
        fault::point()?;
        match rustix::fs::mkdirat(&self.root, name, PRIVATE_DIR) {
            Err(Errno::EXIST) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes a file; `false` when there was none.
    pub(crate) fn unlink(&self, name: &str) -> io::Result<bool> {
        self.unlink_as(name, AtFlags::empty())
    }

    /// Removes an empty directory; `false` when there was none.
    pub(crate) fn remove_dir(&self, name: &str) -> io::Result<bool> {
        self.unlink_as(name, AtFlags::REMOVEDIR)
    }

    fn unlink_as(&self, name: &str, flags: AtFlags) -> io::Result<bool> {
        fault::point()?;
        match rustix::fs::unlinkat(&self.root, name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes a file or a whole tree by descriptors, following nothing.
    pub(crate) fn remove_tree(&self, dir: &str, name: &str) -> io::Result<()> {
        fault::point()?;
        let parent = self.open_dir(dir)?;
        match sys::remove_tree(parent.as_fd(), name.as_bytes()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// What is at a name, links not followed; `None` when nothing is.
    pub(crate) fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        fault::look();
        match rustix::fs::statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Sets the modification time to now: when it was last used.
    pub(crate) fn touch(&self, name: &str) -> io::Result<()> {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(&self.root, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Names in a directory, sorted; empty when there is no such directory. Names that are not UTF-8 are none of ours.
    pub(crate) fn list(&self, name: &str) -> io::Result<Vec<String>> {
        let dir = match self.open_dir(name) {
            Ok(dir) => dir,
            Err(e) if is_absent(&e) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes a directory's names durable.
    pub(crate) fn sync_dir(&self, name: &str) -> io::Result<()> {
        fault::point()?;
        Ok(rustix::fs::fsync(self.open_dir(name)?)?)
    }

    /// Makes everything written so far durable, and reports write errors since the root was opened.
    pub(crate) fn sync_everything(&self) -> io::Result<()> {
        fault::point()?;
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    fn open_at(&self, name: &str, flags: OFlags) -> io::Result<File> {
        fault::look();
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.root, name, flags, PRIVATE_FILE)?.into())
    }
}

/// Writes all of `bytes`.
pub(crate) fn write(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    fault::point()?;
    file.write_all(bytes)
}

/// Makes a file's content durable.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    fault::point()?;
    Ok(rustix::fs::fsync(file)?)
}

/// Takes or drops a lock, waiting if the operation says so.
pub(crate) fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))?)
}

/// Takes a lock if nobody holds one against it.
pub(crate) fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether the error says that there is nothing of this name.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

/// Whether a single path component is safe to use as a name.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let bytes = OsStr::new(name).as_bytes();
    !bytes.is_empty() && bytes.len() <= 255 && !matches!(name, "." | "..") && {
        !bytes.iter().any(|b| matches!(b, b'/' | 0))
    }
}

/// When something was last changed as the file system has it, in seconds and nanoseconds.
pub(crate) fn modified(stat: &Stat) -> (i64, i64) {
    (stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0))
}

/// The kind bits of a mode.
pub(crate) fn is_dir(stat: &Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode as RawMode) == rustix::fs::FileType::Directory
}

/// 32 random hexadecimal digits.
pub(crate) fn random_name() -> io::Result<String> {
    random_id().map(|id| format!("{id:032x}"))
}

/// 128 random bits.
pub(crate) fn random_id() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}
