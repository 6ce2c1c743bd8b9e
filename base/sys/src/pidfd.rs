//! Processes by descriptor: a number can be somebody else by the time it is used, a descriptor cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

/// Sends a signal. To a process that has ended nothing is sent, and that is no error.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let Some(signal) = Signal::from_named_raw(signal) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    match rustix::process::pidfd_send_signal(process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether the process has ended (it may not be reaped yet).
pub fn has_ended(process: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
