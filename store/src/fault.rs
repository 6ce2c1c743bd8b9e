//! Fault points: every operation that changes the disk passes one, so that a test can fail or "kill" each of them in
//! turn. Nothing of it is in a normal build.

/// Passed before an operation that changes the disk. Fails when a test's plan says so.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use testing::point;

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;
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
        match PLAN.get() {
            Some((nth, Kind::DiskFull)) if now == nth => Err(rustix::io::Errno::NOSPC.into()),
            Some((nth, Kind::Killed)) if now >= nth => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }
}
