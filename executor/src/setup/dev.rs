//! /dev of a step: a file system of our own, nothing of it from the image.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use sys::mount::{self, Attributes};

use super::{Sandbox, failed, failed_io};
use crate::sandbox::Failure;

const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

impl Sandbox<'_> {
    pub(super) fn mount_dev(&mut self, shm_size_bytes: u64, host: bool) -> Result<(), Failure> {
        let what = "mount /dev";
        let at = self.base_dir("dev")?;
        let options = [(c"size", c"64m"), (c"mode", c"755")];
        let dev =
            mount::new_filesystem(c"tmpfs", &options, Attributes::NOSUID | Attributes::NOEXEC)
                .map_err(failed(what))?;
        mount::attach(dev.as_fd(), at.as_fd()).map_err(failed(what))?;
        if host {
            self.bind_all_nodes(&dev)?;
        }
        let mut made = Vec::new();
        for (name, major, minor) in NODES {
            if self.make_node(&dev, name, major, minor)? {
                made.push(name);
            }
        }
        if !host {
            close_to_other_nodes(&dev, &made)?;
        }
        for (name, target) in LINKS {
            rustix::fs::symlinkat(target, &dev, name)
                .map_err(failed_io(what, format!("symlinkat({name:?})")))?;
        }
        let size = CString::new(shm_size_bytes.to_string()).unwrap_or_default();
        let shm = [(c"size", size.as_c_str()), (c"mode", c"1777")];
        let shm = mount::new_filesystem(c"tmpfs", &shm, Attributes::DATA).map_err(failed(what))?;
        let mqueue =
            mount::new_filesystem(c"mqueue", &[], Attributes::DATA).map_err(failed(what))?;
        for (name, mount) in [("pts", new_pts()?), ("shm", shm), ("mqueue", mqueue)] {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))
                .map_err(failed_io(what, format!("mkdirat({name:?})")))?;
            let at = open_entry(&dev, name).map_err(failed_io(what, name))?;
            mount::attach(mount.as_fd(), at.as_fd()).map_err(failed(what))?;
        }
        Ok(())
    }

    /// A node of our own where that is allowed (true), else the machine's node bound over a file.
    fn make_node(
        &self,
        dev: &OwnedFd,
        name: &str,
        major: u32,
        minor: u32,
    ) -> Result<bool, Failure> {
        let what = || format!("make /dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        let device = makedev(major, minor);
        match rustix::fs::mknodat(dev, name, FileType::CharacterDevice, mode, device) {
            // The mask of the process took bits away.
            Ok(()) => rustix::fs::chmodat(dev, name, mode, rustix::fs::AtFlags::empty())
                .map(|()| true)
                .map_err(failed_io(what(), "fchmodat")),
            Err(Errno::PERM) => self.bind_node(dev, name).map(|()| false),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(failed_io(what(), "mknodat")(errno)),
        }
    }

    fn bind_node(&self, dev: &OwnedFd, name: &str) -> Result<(), Failure> {
        let what = || format!("bind /dev/{name}");
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let node =
            match rustix::fs::openat(&self.outside, format!("dev/{name}"), flags, Mode::empty()) {
                Ok(node) => node,
                Err(Errno::NOENT) => return Ok(()), // this machine has none either
                Err(errno) => return Err(failed_io(what(), "openat(/dev)")(errno)),
            };
        let copy = mount::clone_tree(node.as_fd(), false).map_err(failed(what()))?;
        mount::add_attributes(copy.as_fd(), Attributes::NOSUID | Attributes::NOEXEC, false)
            .map_err(failed(what()))?;
        let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(dev, name, create, Mode::from_raw_mode(0o666))
            .map_err(failed_io(what(), "openat(dev)"))?;
        let at = open_entry(dev, name).map_err(failed_io(what(), "openat(dev)"))?;
        mount::attach(copy.as_fd(), at.as_fd()).map_err(failed(what()))
    }

    /// `--security=insecure`: every device node in the machine's /dev itself (RUN-26).
    fn bind_all_nodes(&self, dev: &OwnedFd) -> Result<(), Failure> {
        let failed = |errno: Errno| failed_io("list the machine's /dev", "openat(/dev)")(errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let outer =
            rustix::fs::openat(&self.outside, "dev", flags, Mode::empty()).map_err(failed)?;
        for entry in rustix::fs::Dir::read_from(&outer).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_node =
                matches!(entry.file_type(), FileType::CharacterDevice | FileType::BlockDevice);
            match entry.file_name().to_str() {
                Ok("ptmx") | Err(_) => {} // terminals are the step's own
                Ok(name) if is_node => self.bind_node(dev, name)?,
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

/// A node that the step makes in its /dev is dead, as everywhere else (security.md B7): the file system is nodev, and
/// the nodes that we have `made` in it are mounts of their own, without it, each on itself.
fn close_to_other_nodes(dev: &OwnedFd, made: &[&str]) -> Result<(), Failure> {
    let what = "close /dev to further nodes";
    let mut own = Vec::new();
    for name in made {
        let node = open_entry(dev, name).map_err(failed_io(what, format!("openat({name:?})")))?;
        own.push((mount::clone_tree(node.as_fd(), false).map_err(failed(what))?, node));
    }
    mount::add_attributes(dev.as_fd(), Attributes::NODEV, false).map_err(failed(what))?;
    for (copy, node) in own {
        mount::attach(copy.as_fd(), node.as_fd()).map_err(failed(what))?;
    }
    Ok(())
}

/// Pseudo-terminals of the step. A namespace with a single id has no group 5 to give them to.
fn new_pts() -> Result<OwnedFd, Failure> {
    let options = [(c"ptmxmode", c"0666"), (c"mode", c"0620"), (c"gid", c"5")];
    let attributes = Attributes::NOSUID | Attributes::NOEXEC;
    mount::new_filesystem(c"devpts", &options, attributes)
        .or_else(|_| mount::new_filesystem(c"devpts", &options[..2], attributes))
        .map_err(failed("mount /dev/pts"))
}

fn open_entry(dir: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}
