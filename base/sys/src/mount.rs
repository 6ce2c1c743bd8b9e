//! Mounts by descriptor: every source and every target is an open file, no path is resolved twice (security.md A1).

use std::ffi::{CStr, CString};
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::SysError;
use crate::error::show_fd;

/// Attributes of a mount, the bits of `MOUNT_ATTR_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    /// None.
    pub const NONE: Attributes = Attributes(0);
    /// No writing.
    pub const RDONLY: Attributes = Attributes(0x1);
    /// Set-id bits and file capabilities mean nothing.
    pub const NOSUID: Attributes = Attributes(0x2);
    /// Device nodes cannot be opened.
    pub const NODEV: Attributes = Attributes(0x4);
    /// Nothing can be executed.
    pub const NOEXEC: Attributes = Attributes(0x8);
    /// [`Attributes::NOSUID`], [`Attributes::NODEV`] and [`Attributes::NOEXEC`]: data and nothing else.
    pub const DATA: Attributes = Attributes(0xe);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Attributes) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Attributes {
    type Output = Attributes;

    fn bitor(self, other: Attributes) -> Attributes {
        Attributes(self.0 | other.0)
    }
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct NewFilesystem {
    kind: CString,
    fd: OwnedFd,
}

impl NewFilesystem {
    /// fsopen(2).
    ///
    /// # Errors
    /// ENODEV when the kernel has no such file system.
    pub fn open(kind: &CStr) -> Result<NewFilesystem, SysError> {
        let fd = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| SysError::new(format!("fsopen({kind:?})"), errno.raw_os_error()))?;
        Ok(NewFilesystem { kind: kind.to_owned(), fd })
    }

    /// An option with a value.
    ///
    /// # Errors
    /// EINVAL for what the file system does not know.
    pub fn set(&self, key: &CStr, value: &CStr) -> Result<(), SysError> {
        rustix::mount::fsconfig_set_string(&self.fd, key, value)
            .map_err(|errno| self.failed(&format!("{key:?}={value:?}"), errno))
    }

    /// An option without a value.
    ///
    /// # Errors
    /// As [`NewFilesystem::set`].
    pub fn flag(&self, key: &CStr) -> Result<(), SysError> {
        rustix::mount::fsconfig_set_flag(&self.fd, key)
            .map_err(|errno| self.failed(&format!("{key:?}"), errno))
    }

    /// An option whose value is an open file.
    ///
    /// # Errors
    /// As [`NewFilesystem::set`].
    pub fn set_fd(&self, key: &CStr, value: BorrowedFd<'_>) -> Result<(), SysError> {
        rustix::mount::fsconfig_set_fd(&self.fd, key, value)
            .map_err(|errno| self.failed(&format!("{key:?}={}", show_fd(value)), errno))
    }

    /// Makes the file system and a detached mount of it.
    ///
    /// # Errors
    /// EPERM where the namespace may not have one, EINVAL for options that do not fit.
    pub fn create(self, attributes: Attributes) -> Result<OwnedFd, SysError> {
        rustix::mount::fsconfig_create(&self.fd).map_err(|errno| self.failed("create", errno))?;
        let flags = MountAttrFlags::from_bits_retain(attributes.0);
        rustix::mount::fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, flags)
            .map_err(|errno| self.failed("fsmount", errno))
    }

    fn failed(&self, what: &str, errno: rustix::io::Errno) -> SysError {
        let call = format!("fsconfig(<{}>, {what})", self.kind.to_string_lossy());
        SysError::new(call, errno.raw_os_error())
    }
}

/// A new instance of a file system, detached.
///
/// # Errors
/// As [`NewFilesystem`]'s parts.
pub fn new_filesystem(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: Attributes,
) -> Result<OwnedFd, SysError> {
    let fs = NewFilesystem::open(kind)?;
    for (key, value) in options {
        fs.set(key, value)?;
    }
    fs.create(attributes)
}

/// A detached copy of the mount that an open file is on, with that file as its root.
///
/// # Errors
/// EINVAL where the file's mount is another namespace's, or detached itself (before Linux 6.15).
pub fn clone_tree(fd: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, SysError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, c"", flags).map_err(|errno| {
        SysError::new(format!("open_tree({}, CLONE)", show_fd(fd)), errno.raw_os_error())
    })
}

/// Adds attributes to a mount and, if wanted, to all below it.
///
/// # Errors
/// EPERM when a locked attribute would be cleared; EINVAL when `fd` is not the root of a mount.
pub fn add_attributes(
    fd: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> Result<(), SysError> {
    let attr = libc::mount_attr {
        attr_set: u64::from(attributes.0),
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant, `attr` outlives the call and its size is given with it; nothing is kept.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(SysError::last(format!("mount_setattr({}, {:#x})", show_fd(fd), attributes.0))),
    }
}

/// Attaches a detached mount onto what `target` is: a directory onto a directory, a file onto a file.
///
/// # Errors
/// As move_mount(2).
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), SysError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags).map_err(|errno| {
        let call = format!("move_mount({}, {})", show_fd(mount), show_fd(target));
        SysError::new(call, errno.raw_os_error())
    })
}

/// Makes the root of a mount the root of the file system and takes the old root away. `stacked` is the number of mounts
/// on the very root of the old one: each lies above it and goes first. The working directory is `/` then.
///
/// # Errors
/// As fchdir(2), pivot_root(2) and umount2(2).
pub fn enter_root(root: BorrowedFd<'_>, stacked: u32) -> Result<(), SysError> {
    let failed = |call: &'static str| {
        move |errno: rustix::io::Errno| SysError::new(call, errno.raw_os_error())
    };
    rustix::process::fchdir(root).map_err(failed("fchdir(root)"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root(\".\", \".\")"))?;
    // The old root is on top of the new one now. "." leads to the topmost mount each time.
    for _ in 0..=stacked {
        rustix::mount::unmount(".", UnmountFlags::DETACH)
            .map_err(failed("umount2(\".\", DETACH)"))?;
    }
    rustix::process::chdir("/").map_err(failed("chdir(\"/\")"))
}

/// Detaches what is mounted on a directory that is the root of a mount, and all below.
///
/// # Errors
/// As umount2(2).
pub fn detach(root: BorrowedFd<'_>) -> Result<(), SysError> {
    let path = format!("/proc/self/fd/{}", root.as_raw_fd());
    rustix::mount::unmount(&path, UnmountFlags::DETACH).map_err(|errno| {
        SysError::new(format!("umount2({}, DETACH)", show_fd(root)), errno.raw_os_error())
    })
}

/// Opens what is to be cloned by an absolute path of our own namespace.
///
/// # Errors
/// As open(2).
pub fn open_own_path(path: &CStr) -> Result<OwnedFd, SysError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| SysError::new(format!("open({path:?}, O_PATH)"), errno.raw_os_error()))
}

/// Whether an open file is on procfs or sysfs.
///
/// # Errors
/// As fstatfs(2).
pub fn is_on_kernel_filesystem(fd: impl AsFd) -> std::io::Result<bool> {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    const SYSFS_MAGIC: u64 = 0x6265_6572;
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64;
    Ok(magic == PROC_SUPER_MAGIC || magic == SYSFS_MAGIC)
}
