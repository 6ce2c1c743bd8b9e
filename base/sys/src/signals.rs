//! Signals as things that are read, never as handlers.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a person or a service manager sends to end or to steer a command.
const STEERING: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGTSTP,
];

fn steering() -> SigSet {
    STEERING.into_iter().collect()
}

/// Blocks the steering signals in the calling thread and all threads that it starts later. Call before the first one.
///
/// # Errors
/// As pthread_sigmask(3).
pub fn block_steering() -> io::Result<()> {
    steering().thread_block().map_err(io::Error::from)
}

/// Waits for one of the steering signals, which must be blocked, and gives its number.
///
/// # Errors
/// As sigwait(3).
pub fn wait_steering() -> io::Result<i32> {
    steering().wait().map(|signal| signal as i32).map_err(io::Error::from)
}

/// Blocks all signals and gives a descriptor from which they are read, without waiting.
///
/// # Errors
/// As signalfd(2).
pub fn read_all() -> io::Result<Signals> {
    let all = SigSet::all();
    all.thread_block()?;
    let fd = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    Ok(Signals { fd })
}

/// Signals of a process that blocks them all.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// The next one that waits.
    pub fn next(&self) -> Option<i32> {
        self.fd.read_signal().ok().flatten().map(|info| info.ssi_signo as i32)
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Every signal unblocked and with its default action: what a program expects at its start.
pub fn reset() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action runs no code of ours; numbers that cannot be changed give an error and no more.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    let _ = SigSet::all().thread_unblock();
}

/// Keeps a background process from being stopped when it sets the terminal's foreground group.
///
/// # Errors
/// As pthread_sigmask(3).
pub fn block_terminal_output() -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTTOU);
    set.thread_block().map_err(io::Error::from)
}
