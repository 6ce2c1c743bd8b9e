//! The error of a system call.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// A system call that failed, printed as strace prints it: `openat2(5</var/lib/x>, "etc") = -1 ENOENT (…)`. The
/// arguments are those of the moment of the failure, a descriptor with the path that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysError {
    call: String,
    errno: i32,
}

impl SysError {
    /// `call` as strace would print it, without the result.
    pub fn new(call: impl Into<String>, errno: i32) -> SysError {
        SysError { call: call.into(), errno }
    }

    /// With the errno of an I/O error; EIO when it has none.
    pub fn from_io(call: impl Into<String>, error: &io::Error) -> SysError {
        SysError::new(call, error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// With the calling thread's errno.
    pub(crate) fn last(call: impl Into<String>) -> SysError {
        SysError::new(call, Errno::last_raw())
    }

    /// The error's number, of `errno.h`.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// The call, without the result.
    pub fn call(&self) -> &str {
        &self.call
    }
}

impl fmt::Display for SysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = Errno::from_raw(self.errno);
        write!(f, "{} = -1 {:?} ({})", self.call, errno, errno.desc())
    }
}

impl std::error::Error for SysError {}

impl From<SysError> for io::Error {
    /// Keeps the number alone, so that callers can compare it.
    fn from(error: SysError) -> io::Error {
        io::Error::from_raw_os_error(error.errno)
    }
}

/// A descriptor as strace -y prints it.
pub(crate) fn show_fd(fd: BorrowedFd<'_>) -> String {
    let number = fd.as_raw_fd();
    match std::fs::read_link(format!("/proc/self/fd/{number}")) {
        Ok(path) => format!("{number}<{}>", path.display()),
        Err(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn prints_like_strace() {
        let error = SysError::new("openat2(5</x>, \"etc\")", libc::ENOENT);
        assert_eq!(
            error.to_string(),
            "openat2(5</x>, \"etc\") = -1 ENOENT (No such file or directory)"
        );
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(show_fd(null.as_fd()).ends_with("</dev/null>"));
    }
}
