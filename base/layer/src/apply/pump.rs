//! The stream beside the unpacking: one thread reads, decompresses and hashes, the other parses and writes.
//!
//! Owns the hand-over of buffers. Refuses to look into them.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use oci::{DiffId, Digest, Hasher};

use crate::LayerError;

const CHUNK_BYTES: usize = 512 * 1024;

/// A result and what was hashed on the way.
pub(super) struct Pumped<T> {
    pub(super) result: T,
    pub(super) diff_id: DiffId,
    pub(super) size_bytes: u64,
}

/// Runs `parse` on a stream that another thread reads and hashes. `parse` must read to the end, which comes with an
/// error when the stream is longer than `limit_bytes`.
pub(super) fn hashed<T>(
    src: &mut (dyn Read + Send),
    limit_bytes: u64,
    parse: impl FnOnce(Chunks) -> Result<T, LayerError>,
) -> Result<Pumped<T>, LayerError> {
    std::thread::scope(|scope| {
        let (full_sender, full) = sync_channel(4);
        let (empty, empty_receiver) = channel();
        let pump = scope.spawn(move || pump(src, limit_bytes, &full_sender, &empty_receiver));
        let chunks = Chunks { full, empty, chunk: Vec::new(), used: 0, failed: false };
        let result = parse(chunks);
        let (digest, size_bytes) = pump.join().expect("reading and hashing do not panic");
        Ok(Pumped { result: result?, diff_id: DiffId(digest), size_bytes })
    })
}

fn pump(
    src: &mut (dyn Read + Send),
    limit_bytes: u64,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> (Digest, u64) {
    let mut hasher = Hasher::new();
    let mut total = 0;
    loop {
        let mut chunk = empty.try_recv().unwrap_or_default();
        chunk.clear();
        chunk.reserve(CHUNK_BYTES);
        let read = (&mut *src).take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        hasher.update(&chunk);
        total += chunk.len() as u64;
        let read = match total > limit_bytes {
            true => Err(io::Error::other(format!("it has more than {limit_bytes} bytes"))),
            false => read,
        };
        let ended = chunk.is_empty() || read.is_err();
        // Nobody takes a chunk any more when parsing has failed.
        let taken = (chunk.is_empty() || full.send(Ok(chunk)).is_ok())
            && read.map_or_else(|error| full.send(Err(error)).is_ok(), |_| true);
        if ended || !taken {
            return (hasher.finish(), total);
        }
    }
}

/// The parsing side of the stream.
pub(super) struct Chunks {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    used: usize,
    failed: bool,
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() && !self.failed {
            let used = std::mem::take(&mut self.chunk);
            self.used = 0;
            // The reader may have gone already; then nobody needs the buffer.
            let _ = self.empty.send(used);
            match self.full.recv() {
                Ok(Ok(chunk)) => self.chunk = chunk,
                Ok(Err(error)) => {
                    self.failed = true;
                    return Err(error);
                }
                Err(_ended) => {}
            }
        }
        Ok(&self.chunk[self.used..])
    }

    fn consume(&mut self, len: usize) {
        self.used = (self.used + len).min(self.chunk.len());
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let chunk = self.fill_buf()?;
        let len = chunk.len().min(buffer.len());
        buffer[..len].copy_from_slice(&chunk[..len]);
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_without_end_ends_with_an_error() {
        let read = |length: u64| {
            let mut stream = io::repeat(0).take(length);
            let pumped = hashed(&mut stream, 3 << 20, |mut chunks| {
                let read = io::copy(&mut chunks, &mut io::sink());
                read.map_err(|source| LayerError::ReadTar { source })
            });
            pumped.map(|pumped| pumped.result)
        };
        assert_eq!(read(3 << 20).expect("as long as it may be"), 3 << 20);
        let error = read(u64::MAX).expect_err("without end");
        let why = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(why.as_deref(), Some("it has more than 3145728 bytes"));
    }
}
