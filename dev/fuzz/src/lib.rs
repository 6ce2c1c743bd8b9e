//! What the fuzz targets share: time limits, and trees without places.

#![forbid(unsafe_code)]

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time that any input may take: far more than it does, far less than anything that is not linear. Values of
/// the words target may grow to megabytes.
const BASE: Duration = Duration::from_secs(3);
const PER_KILOBYTE: Duration = Duration::from_millis(20);

/// Runs something on an input and panics when it takes too much processor time for the input's size.
pub fn timed<T>(input: &str, work: impl FnOnce() -> T) -> T {
    let start = processor_time();
    let result = work();
    let taken = processor_time().saturating_sub(start);
    let allowed = BASE + PER_KILOBYTE * (input.len() / 1024) as u32;
    assert!(taken < allowed, "{} bytes took {taken:?}", input.len());
    result
}

/// Of this thread: machines are shared, and the clock on the wall goes on while others have the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The debug form of a tree without the places in it.
pub fn without_places(tree: &impl std::fmt::Debug) -> String {
    let text = format!("{tree:?}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("Span { start: ") {
        out.push_str(&rest[..at]);
        // Inside a string of the tree it is cut out of both sides alike.
        rest = rest[at..].find('}').map_or("", |end| &rest[at + end + 1..]);
    }
    out + rest
}
