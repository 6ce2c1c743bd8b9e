//! Mounts at targets that a Dockerfile names: resolved inside the root, made when they are missing.

use std::ffi::CString;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use sys::mount::Attributes;
use sys::{Made, mount};

use super::{Sandbox, failed, failed_io, read_memfd, scratch_entry};
use crate::sandbox::{Failure, FileSpec};

impl Sandbox<'_> {
    /// Attaches a detached mount at a path of the step.
    pub(super) fn attach_at(
        &mut self,
        mount: BorrowedFd<'_>,
        target: &str,
        directory: bool,
    ) -> Result<(), Failure> {
        let at = self.target(target, if directory { Made::Directory } else { Made::File })?;
        mount::attach(mount, at.as_fd()).map_err(failed(format!("mount at {target}")))
    }

    pub(super) fn mount_tmpfs(
        &mut self,
        target: &str,
        size_bytes: Option<u64>,
        read_only: bool,
    ) -> Result<(), Failure> {
        let size = CString::new(size_bytes.unwrap_or(0).to_string()).unwrap_or_default();
        let mut options = vec![(c"mode", c"1777")];
        if size_bytes.is_some_and(|size| size > 0) {
            options.push((c"size", size.as_c_str()));
        }
        let mut attributes = Attributes::NOSUID | Attributes::NODEV;
        if read_only {
            attributes = attributes | Attributes::RDONLY;
        }
        let tmpfs = mount::new_filesystem(c"tmpfs", &options, attributes)
            .map_err(failed(format!("make a tmpfs for {target}")))?;
        self.attach_at(tmpfs.as_fd(), target, true)
    }

    /// A file on memory: written, owned, then its mode, then read-only (security.md B8's order).
    pub(super) fn mount_file(&mut self, file: &FileSpec) -> Result<(), Failure> {
        let what = || format!("make the file for {}", file.target);
        self.files += 1;
        let name = format!("file{}", self.files);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.scratch, &name, flags, Mode::from_raw_mode(0o600))
            .map_err(failed_io(what(), "openat(scratch file)"))?;
        let mut out = std::fs::File::from(fd);
        out.write_all(&read_memfd(self.fd(file.content))?)
            .map_err(failed_io(what(), "write(scratch file)"))?;
        let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
        rustix::fs::fchown(&out, Some(uid), Some(gid))
            .map_err(failed_io(what(), format!("fchown({}, {})", file.uid, file.gid)))?;
        rustix::fs::fchmod(&out, Mode::from_raw_mode(file.mode))
            .map_err(failed_io(what(), format!("fchmod({:o})", file.mode)))?;
        drop(out);
        let entry = scratch_entry(&self.scratch, &name)?;
        let copy = mount::clone_tree(entry.as_fd(), false).map_err(failed(what()))?;
        let attributes =
            if file.executable { Attributes::NOSUID | Attributes::NODEV } else { Attributes::DATA };
        mount::add_attributes(copy.as_fd(), attributes | Attributes::RDONLY, false)
            .map_err(failed(what()))?;
        self.attach_at(copy.as_fd(), &file.target, false)
    }

    /// Opens a mount's target in-root and makes it when it is missing (MNT-11). What is made on the root file system
    /// is noted, and its directory's time is put back at once: only the step's own changes count later.
    fn target(&mut self, target: &str, last: Made) -> Result<OwnedFd, Failure> {
        let problem = |problem: String| Failure::Mount { target: target.to_owned(), problem };
        let root = self.root()?;
        let made = sys::make_in_root(root, target.as_bytes(), last, Mode::from_raw_mode(0o755))
            .map_err(|error| {
                problem(match error.kind() {
                    ErrorKind::IsADirectory => {
                        "what is mounted is a file, and a directory is there".into()
                    }
                    ErrorKind::NotADirectory => {
                        "a file is there or on the way, where a directory is wanted".into()
                    }
                    _ => error.to_string(),
                })
            })?;
        let in_kernel = mount::is_on_kernel_filesystem(&made.fd);
        if in_kernel.map_err(|error| problem(error.to_string()))? {
            return Err(problem("nothing can be mounted on /proc and /sys".into()));
        }
        if is_same_file(&made.fd, root) {
            return Err(problem("it is the root of the step".into()));
        }
        let root_device = device(root);
        for created in made.created {
            if device(created.parent.as_fd()) == root_device {
                put_time_back(created.parent.as_fd(), created.parent_mtime);
                self.stubs.push(created.path);
            }
        }
        Ok(made.fd)
    }
}

fn device(fd: BorrowedFd<'_>) -> Option<u64> {
    rustix::fs::fstat(fd).ok().map(|stat| stat.st_dev)
}

fn is_same_file(a: &OwnedFd, b: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(a), rustix::fs::fstat(b)) {
        (Ok(a), Ok(b)) => (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino),
        _ => false,
    }
}

/// Sets a directory's modification time. The descriptor is an `O_PATH` one, so it goes by procfs; a directory that
/// refuses keeps the new time, which costs no more than an entry in the layer.
fn put_time_back(dir: BorrowedFd<'_>, (secs, nanos): (i64, u32)) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos.into() },
    };
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let _ = rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty());
}
