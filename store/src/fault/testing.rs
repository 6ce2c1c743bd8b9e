//! The plans of tests: which fault point fails, and how; what another process does meanwhile.

use std::cell::{Cell, RefCell};
use std::io;

/// What happens at the chosen point.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// This one operation fails with "no space left on device".
    DiskFull,
    /// It fails, and so does everything after it: what is on disk is what a killed process leaves.
    Killed,
}

thread_local! {
    static PLAN: Cell<Option<(u64, Kind)>> = const { Cell::new(None) };
    static PASSED: Cell<u64> = const { Cell::new(0) };
    static IS_INTERLEAVED: Cell<bool> = const { Cell::new(false) };
    static OTHER: RefCell<Option<Other>> = const { RefCell::new(None) };
}

/// What another process does, and at which point of this one.
type Other = (u64, Box<dyn FnOnce()>);

/// Runs `work`, and `other` in the middle of it: before its `nth` operation or look (from 0). Tells how many were
/// passed. `other` stands for another process, so it must not wait for a lock that this one may hold.
pub(crate) fn interleaved<T>(
    nth: u64,
    other: impl FnOnce() + 'static,
    work: impl FnOnce() -> T,
) -> (T, u64) {
    OTHER.set(Some((nth, Box::new(other))));
    IS_INTERLEAVED.set(true);
    let result = with(None, work);
    IS_INTERLEAVED.set(false);
    OTHER.set(None);
    result
}

/// Runs `work` with the `nth` operation (from 0) of this thread failing; tells how many were passed.
pub(crate) fn with<T>(plan: Option<(u64, Kind)>, work: impl FnOnce() -> T) -> (T, u64) {
    PASSED.set(0);
    PLAN.set(plan);
    let result = work();
    PLAN.set(None);
    (result, PASSED.get())
}

pub(crate) fn point() -> io::Result<()> {
    let now = PASSED.get();
    PASSED.set(now + 1);
    let due = OTHER.with_borrow_mut(|other| other.take_if(|(nth, _)| *nth == now));
    if let Some((_, other)) = due {
        other();
        PASSED.set(now + 1);
    }
    match PLAN.get() {
        Some((nth, Kind::DiskFull)) if now == nth => Err(rustix::io::Errno::NOSPC.into()),
        Some((nth, Kind::Killed)) if now >= nth => Err(io::Error::other("killed")),
        _ => Ok(()),
    }
}

pub(crate) fn look() {
    if IS_INTERLEAVED.get() {
        let _ = point();
    }
}
