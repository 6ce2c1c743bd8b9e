//! The process's environment and standard descriptors.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, IntoRawFd};

use rustix::fs::{Mode, OFlags};

use crate::clone::is_single_threaded;

/// Takes a variable out of the environment, so that no child inherits it. Only at the start of a process.
///
/// # Panics
/// When the process has other threads: they could be reading the environment.
pub fn take_env(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    assert!(is_single_threaded(), "the environment changes before threads start");
    // SAFETY: there is no other thread, as was just looked up, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Opens /dev/null for each of the descriptors 0 to 2 that is closed, so that nothing of ours gets such a number.
///
/// # Errors
/// As open(2) of /dev/null.
pub fn fill_standard_descriptors() -> std::io::Result<()> {
    loop {
        let fd = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        if fd.as_raw_fd() > 2 {
            return Ok(());
        }
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty())?;
        let _ = fd.into_raw_fd(); // stays open for good
    }
}

/// Takes over descriptors that the process was started with, by their numbers, and makes them close at an execution.
/// A number that is not open, is 0 to 2 or stands there twice gives `None`.
///
/// # Panics
/// When the process has other threads: the numbers could mean something else by now.
pub fn adopt_descriptors(numbers: &[i32]) -> Option<Vec<std::os::fd::OwnedFd>> {
    use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
    assert!(is_single_threaded(), "inherited descriptors are taken over before threads start");
    let mut seen = std::collections::BTreeSet::new();
    for number in numbers {
        if *number <= 2 || !seen.insert(*number) {
            return None;
        }
        // SAFETY: only asked whether it is open, and there is no other thread that could close it meanwhile.
        let fd = unsafe { BorrowedFd::borrow_raw(*number) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    }
    // SAFETY: each is open, stands there once, and came with the execution: nothing in this process owns it yet.
    Some(numbers.iter().map(|number| unsafe { OwnedFd::from_raw_fd(*number) }).collect())
}
