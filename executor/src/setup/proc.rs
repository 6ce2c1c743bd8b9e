//! /proc and /sys of a step: what is hidden and what is read-only (security.md section 2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sys::mount::{self, Attributes};

use super::{Sandbox, failed, failed_io};
use crate::sandbox::{Failure, Report};

/// Below /proc; nothing of the machine's state leaks through them.
const PROC_MASKED: [&str; 16] = [
    "acpi",
    "asound",
    "config.gz",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "pagetypeinfo",
    "sched_debug",
    "scsi",
    "slabinfo",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Below /sys. The control groups are there only in a bound /sys of the machine.
const SYS_MASKED: [&str; 5] =
    ["devices/virtual/powercap", "firmware", "fs/cgroup", "fs/selinux", "kernel/security"];

/// Whose instance of a kernel file system a step sees.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// A new one, on which nothing is mounted but by us.
    Ours,
    /// A copy of the machine's tree with all that is mounted in it.
    Machines,
}

impl Sandbox<'_> {
    pub(super) fn mount_proc(&mut self, masked: bool, strict: bool) -> Result<(), Failure> {
        let what = "mount /proc";
        let at = self.base_dir("proc")?;
        let (proc, whose) = match mount::new_filesystem(c"proc", &[], Attributes::DATA) {
            Ok(proc) => (proc, Whose::Ours),
            Err(error) if error.errno() == Errno::PERM.raw_os_error() => {
                (self.outer_proc(strict)?, Whose::Machines)
            }
            Err(error) => return Err(failed(what)(error)),
        };
        mount::attach(proc.as_fd(), at.as_fd()).map_err(failed(what))?;
        if !masked {
            return Ok(());
        }
        for path in PROC_MASKED {
            self.mask(proc.as_fd(), whose, path)?;
        }
        for path in PROC_READ_ONLY {
            protect(proc.as_fd(), whose, path)?;
        }
        Ok(())
    }

    /// The machine's own /proc, read-only: all that a user namespace gets where parts of it are covered (design D13).
    fn outer_proc(&self, strict: bool) -> Result<OwnedFd, Failure> {
        let line = "this machine's /proc is masked, so steps see the process ids outside of them";
        if strict {
            return Err(Failure::Isolation(line.into()));
        }
        Report::Degraded(line.into()).write(self.status);
        self.outer_tree("proc")
    }

    pub(super) fn mount_sys(&mut self, masked: bool) -> Result<(), Failure> {
        let what = "mount /sys";
        let at = self.base_dir("sys")?;
        let attributes =
            if masked { Attributes::DATA | Attributes::RDONLY } else { Attributes::DATA };
        let (sysfs, whose) = match mount::new_filesystem(c"sysfs", &[], attributes) {
            Ok(sysfs) => (sysfs, Whose::Ours),
            // The network is not ours.
            Err(_) => (self.outer_tree("sys")?, Whose::Machines),
        };
        mount::attach(sysfs.as_fd(), at.as_fd()).map_err(failed(what))?;
        if masked {
            for path in SYS_MASKED {
                self.mask(sysfs.as_fd(), whose, path)?;
            }
        }
        Ok(())
    }

    /// A copy of a tree of the machine with all its mounts, read-only all the way down.
    fn outer_tree(&self, path: &str) -> Result<OwnedFd, Failure> {
        let what = format!("bind the machine's /{path}");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.outside, path, flags, Mode::empty())
            .map_err(failed_io(&what, format!("openat(/, {path:?})")))?;
        let tree = mount::clone_tree(fd.as_fd(), true).map_err(failed(&what))?;
        mount::add_attributes(tree.as_fd(), Attributes::DATA | Attributes::RDONLY, true)
            .map_err(failed(&what))?;
        Ok(tree)
    }

    /// Opens /proc, /sys or /dev of the root: a real directory of it, made when it is missing, and then it stays
    /// (RUN-11). An image that has a link there is refused (security.md D3).
    pub(super) fn base_dir(&self, name: &str) -> Result<OwnedFd, Failure> {
        let root = self.root()?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let open = || sys::open_beneath(root, name.as_bytes(), flags, Mode::empty());
        let result = match open() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o755))
                    .map_err(std::io::Error::from)
                    .and_then(|()| open())
            }
            result => result,
        };
        result.map_err(|error| Failure::Mount {
            target: format!("/{name}"),
            problem: format!("the file system has something else than a directory there ({error})"),
        })
    }

    /// Covers a file with an empty one, a directory with an empty one: of our own, never of the image's.
    fn mask(&self, fs: BorrowedFd<'_>, whose: Whose, path: &str) -> Result<(), Failure> {
        let what = || format!("mask {path}");
        let Some(target) = below(fs, whose, path).map_err(failed_io(what(), "openat2"))? else {
            return Ok(());
        };
        let stat = rustix::fs::fstat(&target).map_err(failed_io(what(), "fstat"))?;
        let cover = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => &self.covers.directory,
            _ => &self.covers.file,
        };
        let copy = mount::clone_tree(cover.as_fd(), false).map_err(failed(what()))?;
        mount::add_attributes(copy.as_fd(), Attributes::DATA | Attributes::RDONLY, false)
            .map_err(failed(what()))?;
        mount::attach(copy.as_fd(), target.as_fd()).map_err(failed(what()))
    }
}

/// Makes a tree of procfs read-only.
fn protect(fs: BorrowedFd<'_>, whose: Whose, path: &str) -> Result<(), Failure> {
    let what = || format!("make {path} read-only");
    let Some(target) = below(fs, whose, path).map_err(failed_io(what(), "openat2"))? else {
        return Ok(());
    };
    let copy = mount::clone_tree(target.as_fd(), true).map_err(failed(what()))?;
    mount::add_attributes(copy.as_fd(), Attributes::DATA | Attributes::RDONLY, true)
        .map_err(failed(what()))?;
    mount::attach(copy.as_fd(), target.as_fd()).map_err(failed(what()))
}

/// Opens a path of procfs or sysfs: of ours on this very mount (security.md D4). `None` when it is not there.
fn below(fs: BorrowedFd<'_>, whose: Whose, path: &str) -> std::io::Result<Option<OwnedFd>> {
    let mut resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if whose == Whose::Ours {
        resolve |= ResolveFlags::NO_XDEV;
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(fs, path, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
