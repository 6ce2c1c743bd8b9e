//! New processes and namespaces.

use std::mem::size_of;
use std::os::fd::{FromRawFd, OwnedFd};

use crate::SysError;

/// Kinds of namespaces, as bits of [`clone_process`].
pub mod namespaces {
    /// Mounts.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Process ids.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// System V objects and message queues.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// Host name.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// Control groups.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// Network.
    pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
    /// Users.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
}

/// Which side of [`clone_process`] this is.
#[derive(Debug)]
pub enum Process {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The new process's id, in our pid namespace.
        pid: i32,
        /// A descriptor of it: for poll and for signals.
        pidfd: OwnedFd,
    },
}

/// Whether the calling process has one thread.
pub fn is_single_threaded() -> bool {
    // The directory's link count is two and one for each thread: one call instead of a listing.
    rustix::fs::stat("/proc/self/task").is_ok_and(|stat| stat.st_nlink == 3)
}

/// Clones the calling process as fork(2) does, with the first process of new namespaces. SIGCHLD tells of its end.
///
/// # Errors
/// EPERM where a namespace is not allowed, ENOSPC where there are too many.
///
/// # Panics
/// When the process has more than one thread: the child could find a lock that nobody holds any more.
pub fn clone_process(namespaces: u64) -> Result<Process, SysError> {
    assert!(is_single_threaded(), "only a process with one thread is cloned");
    // SAFETY: with one thread the child is a whole copy, so all code may run in it.
    match unsafe { raw_clone(namespaces) }? {
        (0, _) => Ok(Process::Child),
        (pid, pidfd) => {
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(Process::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
        }
    }
}

/// clone3 with a pidfd; (0, _) in the child.
///
/// # Safety
/// When the process has several threads, the child may only make async-signal-safe calls.
pub(crate) unsafe fn raw_clone(flags: u64) -> Result<(i32, i32), SysError> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zeros is a valid value of this structure of integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // SAFETY: the arguments and `pidfd` outlive the call; without CLONE_VM the child has its own copy of the memory.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        0.. => Ok((pid as i32, pidfd)),
        _ => Err(SysError::last(format!("clone3({flags:#x})"))),
    }
}

/// Puts the calling thread into a new network namespace and opens that. Everything else of the thread stays.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN in the user namespace.
pub(crate) fn unshare_network() -> Result<OwnedFd, SysError> {
    // SAFETY: a new network namespace for one thread has no effect on memory or on descriptors.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(SysError::last("unshare(CLONE_NEWNET)"));
    }
    let path = "/proc/thread-self/ns/net";
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| SysError::new(format!("open({path:?})"), errno.raw_os_error()))
}

/// Puts the calling thread into a network namespace.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN over it.
pub fn enter_network(namespace: std::os::fd::BorrowedFd<'_>) -> Result<(), SysError> {
    let kind = rustix::thread::LinkNameSpaceType::Network;
    rustix::thread::move_into_link_name_space(namespace, Some(kind))
        .map_err(|errno| SysError::new("setns(CLONE_NEWNET)", errno.raw_os_error()))
}
