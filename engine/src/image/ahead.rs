//! A stream read ahead by a thread of its own, so that decompressing and writing files go on at the same time.
//!
//! Holds a few pieces, however long the stream is.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

/// Length of a piece in bytes.
const PIECE_BYTES: usize = 512 << 10;
/// Pieces that wait to be read.
const PIECES_MAX: usize = 4;

/// What another thread reads. Dropped early, it ends that thread.
pub(super) struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

/// Begins to read a stream.
pub(super) fn ahead<'scope>(
    scope: &'scope Scope<'scope, '_>,
    source: impl Read + Send + 'scope,
) -> Ahead {
    let (send, pieces) = sync_channel(PIECES_MAX);
    scope.spawn(move || read(source, &send));
    Ahead { pieces, piece: Vec::new(), at: 0 }
}

fn read(source: impl Read, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    let mut source = source;
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = source.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let is_last = read.is_err() || piece.is_empty();
        // What was read before an error counts, as it would without this thread.
        let has_bytes = !piece.is_empty();
        if has_bytes && pieces.send(Ok(piece)).is_err() {
            return;
        }
        if let Err(error) = read {
            let _ = pieces.send(Err(error));
        }
        if is_last {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                // The other thread has come to the end.
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.piece[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_errors_and_ends_pass_in_order() {
        let long: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|at| at as u8).collect();
        let read = |source: &mut (dyn Read + Send)| {
            std::thread::scope(|scope| {
                let mut got = Vec::new();
                let read = ahead(scope, source).read_to_end(&mut got);
                (got, read.map_err(|error| error.to_string()))
            })
        };
        let (got, end) = read(&mut &long[..]);
        assert!(got == long && end == Ok(long.len()));
        assert_eq!(read(&mut io::empty()), (Vec::new(), Ok(0)));
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("it broke"))
            }
        }
        let (got, end) = read(&mut (&b"begun"[..]).chain(Fails));
        assert_eq!((&got[..], end), (&b"begun"[..], Err("it broke".to_owned())));
        // Who wants no more leaves nobody waiting.
        std::thread::scope(|scope| {
            let mut few = [0; 5];
            ahead(scope, io::repeat(1)).read_exact(&mut few).expect("there is enough");
        });
    }
}
