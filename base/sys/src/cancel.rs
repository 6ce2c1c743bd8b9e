//! A wish to stop, shared by everything that works for one command.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use rustix::event::{EventfdFlags, eventfd};

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const FORCED: u8 = 2;

/// Tells work that nobody wants its result any more. Clones are one and the same.
#[derive(Clone, Debug)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    signal: AtomicI32,
    event: OwnedFd,
}

impl Cancel {
    /// Not cancelled yet.
    ///
    /// # Panics
    /// When the process has no descriptor left: nothing else could work then.
    pub fn new() -> Cancel {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .expect("an event descriptor is the first thing a process asks for");
        let shared = Shared { state: AtomicU8::new(RUNNING), signal: AtomicI32::new(0), event };
        Cancel { shared: Arc::new(shared) }
    }

    /// Asks for an orderly end: steps get SIGTERM and some seconds.
    pub fn cancel(&self) {
        self.shared.state.fetch_max(CANCELLED, Ordering::SeqCst);
        self.wake();
    }

    /// Asks for the end now: steps are killed. What a second Ctrl-C means.
    pub fn force(&self) {
        self.shared.state.fetch_max(FORCED, Ordering::SeqCst);
        self.wake();
    }

    /// Whether an end was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.shared.state.load(Ordering::SeqCst) >= CANCELLED
    }

    /// Whether the end was asked for with [`Cancel::force`].
    pub fn is_forced(&self) -> bool {
        self.shared.state.load(Ordering::SeqCst) >= FORCED
    }

    /// The signal that led to it, when it was one: the exit status of the command depends on it.
    pub fn signal(&self) -> Option<i32> {
        Some(self.shared.signal.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }

    /// How a command ends that was stopped by a signal (docs/exit-codes.md): 143 for SIGTERM and SIGHUP, else 130.
    pub fn exit_code(&self) -> Option<i32> {
        self.signal().map(|signal| match signal {
            libc::SIGTERM | libc::SIGHUP => 143,
            _ => 130,
        })
    }

    /// [`Cancel::cancel`] at the first signal, [`Cancel::force`] at each further one.
    pub fn on_signal(&self, signal: i32) {
        let first =
            self.shared.signal.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
        match first {
            Ok(_) => self.cancel(),
            Err(_) => self.force(),
        }
    }

    /// Readable (for poll) as soon as the end was asked for, and for ever after.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    fn wake(&self) {
        // It only fails when the counter is full, and then the descriptor is readable anyway.
        let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
    }
}

impl Default for Cancel {
    fn default() -> Cancel {
        Cancel::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    fn readable(cancel: &Cancel) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(cancel.fd(), PollFlags::IN)];
        poll(&mut fds, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn second_signal_forces() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        assert!(!readable(&cancel) && !cancel.is_cancelled());
        other.on_signal(2);
        assert!(readable(&cancel) && cancel.is_cancelled() && !cancel.is_forced());
        other.on_signal(15);
        assert!(cancel.is_forced());
        assert_eq!((cancel.signal(), cancel.exit_code()), (Some(2), Some(130)));
    }

    #[test]
    fn the_code_is_that_of_the_first_signal() {
        for (signal, code) in [(2, 130), (3, 130), (15, 143), (1, 143)] {
            let cancel = Cancel::new();
            assert_eq!(cancel.exit_code(), None);
            cancel.on_signal(signal);
            cancel.on_signal(2);
            assert_eq!(cancel.exit_code(), Some(code), "{signal}");
        }
    }
}
