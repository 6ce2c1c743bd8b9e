//! A body that must move: one that comes byte by byte would hold a build for ever without a single read that stands
//! still for long.
//!
//! Owns what counts as too slow. Only the time spent waiting for the other side counts, not that of the reader.

use std::io::{self, Read};
use std::time::{Duration, Instant};

/// In the time for which one read may stand still, all reads together must bring so many bytes. At the usual two
/// minutes that is less than any connection that works.
const BYTES_MIN: u64 = 1024;

/// A body that fails with [`io::ErrorKind::TimedOut`] when it is too slow.
pub(crate) struct Paced<R> {
    inner: R,
    patience: Duration,
    waited: Duration,
    bytes: u64,
}

impl<R: Read> Paced<R> {
    pub(crate) fn new(inner: R, patience: Duration) -> Paced<R> {
        Paced { inner, patience, waited: Duration::ZERO, bytes: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let started = Instant::now();
        let count = self.inner.read(buffer)?;
        self.waited += started.elapsed();
        self.bytes += count as u64;
        if count == 0 || self.waited < self.patience {
            return Ok(count);
        }
        if self.bytes < BYTES_MIN {
            let text = format!("too slow: {} bytes in {:.1?}", self.bytes, self.waited);
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time after a wait.
    struct Slow(u64, Duration);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(self.1);
            buffer[..self.0 as usize].fill(0);
            Ok(self.0 as usize)
        }
    }

    #[test]
    fn a_trickle_ends_and_a_slow_stream_does_not() {
        let read = |bytes: u64| {
            let slow = Slow(bytes, Duration::from_millis(5));
            let mut paced = Paced::new(slow, Duration::from_millis(20)).take(bytes * 12);
            io::copy(&mut paced, &mut io::sink()).map_err(|error| error.kind())
        };
        assert_eq!(read(1), Err(io::ErrorKind::TimedOut));
        assert_eq!(read(4096), Ok(4096 * 12));
    }
}
