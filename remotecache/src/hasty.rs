//! A place that is read only while its blobs come at a sensible speed: a server that sends a byte now and then never
//! stands still, and yet holds a build for ever.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use oci::{Descriptor, Reference};

use crate::place::OpenBlob;
use crate::{CacheDocument, CachePlace, Put, RemoteError};

/// In each period of this length a blob has to come this much further.
const PERIOD: Duration = Duration::from_secs(60);
const BYTES_IN_PERIOD: u64 = 1 << 20;

/// The place behind it, with little patience for its blobs.
pub(crate) struct Hasty<P>(pub(crate) P);

impl<P: CachePlace> CachePlace for Hasty<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn read(&self) -> Result<Option<CacheDocument>, RemoteError> {
        self.0.read()
    }

    fn open(&self, blob: &Descriptor) -> Result<Box<dyn Read + Send>, RemoteError> {
        Ok(Box::new(HastyReader::new(self.0.open(blob)?, PERIOD)))
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, RemoteError> {
        self.0.has(blob)
    }

    fn put(
        &self,
        blob: &Descriptor,
        open: OpenBlob<'_>,
        elsewhere: Option<&Reference>,
    ) -> Result<Put, RemoteError> {
        self.0.put(blob, open, elsewhere)
    }

    fn publish(&self, document: &CacheDocument) -> Result<(), RemoteError> {
        self.0.publish(document)
    }
}

/// Only the time in which the sender is waited for counts: whoever reads may take as long as it likes.
struct HastyReader<R> {
    reader: R,
    /// How long a period is, in time of waiting.
    period: Duration,
    waited: Duration,
    /// What has come in this period.
    bytes: u64,
}

impl<R> HastyReader<R> {
    fn new(reader: R, period: Duration) -> HastyReader<R> {
        HastyReader { reader, period, waited: Duration::ZERO, bytes: 0 }
    }
}

impl<R: Read> Read for HastyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let count = self.reader.read(buffer)?;
        self.waited += start.elapsed();
        self.bytes += count as u64;
        if self.bytes >= BYTES_IN_PERIOD {
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        } else if count > 0 && self.waited >= self.period {
            let (bytes, seconds) = (self.bytes, self.waited.as_secs());
            let reason = format!("given up: only {bytes} bytes came in {seconds} s");
            return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at each read, after a while.
    struct Slow(usize, Duration);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(self.1);
            Ok(buffer.len().min(self.0))
        }
    }

    #[test]
    fn drops_do_not_hold_a_reader_for_ever() {
        let period = Duration::from_millis(20);
        let mut reader = HastyReader::new(Slow(1, Duration::from_millis(5)), period);
        let error = io::copy(&mut reader, &mut io::sink()).expect_err("too slow");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_comes_fast_enough_comes_whole() {
        let period = Duration::from_millis(1);
        let slow = Slow(1 << 20, Duration::from_millis(2)).take(5 << 20);
        let mut bytes = Vec::new();
        let mut reader = HastyReader::new(slow, period);
        let mut piece = vec![0; 1 << 20];
        loop {
            match reader.read(&mut piece).expect("fast enough") {
                0 => break,
                count => bytes.extend_from_slice(&piece[..count]),
            }
        }
        assert_eq!(bytes.len(), 5 << 20);
    }

    #[test]
    fn a_short_blob_may_end_late() {
        let period = Duration::from_millis(1);
        let slow = Slow(0, Duration::from_millis(5));
        let read = HastyReader::new(slow, period).read(&mut [0; 8]);
        assert_eq!(read.expect("its end"), 0);
    }
}
