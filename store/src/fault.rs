//! Fault points: every operation that changes the disk passes one, so that a test can fail or "kill" each of them in
//! turn. Nothing of it is in a normal build.

/// Passed before an operation that changes the disk. Fails when a test's plan says so.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point() -> std::io::Result<()> {
    Ok(())
}

/// Passed before a look at the disk: what others do in between may change what is seen. Never fails.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn look() {}

#[cfg(test)]
pub(crate) use testing::{look, point};

#[cfg(test)]
pub(crate) mod testing;
