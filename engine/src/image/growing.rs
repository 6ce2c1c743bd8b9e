//! A file that is still being written, read beside: what comes from a socket is looked into on another thread, and what
//! was there before a transfer went on as well.
//!
//! Owns how far a reader may go. Holds no bytes: both sides have the file.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::stop::lock;

/// How far a file has come.
pub(super) struct Growing {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    there_bytes: u64,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing follows.
    Whole,
    /// What was read is of no use.
    Lost,
}

impl Growing {
    /// Begins with what the file has already.
    pub(super) fn new(there_bytes: u64) -> Growing {
        Growing { state: Mutex::new(State { there_bytes, end: None }), changed: Condvar::new() }
    }

    /// Watches the writing: whatever was read from `body` counts as written when more of it is asked for. Dropped
    /// without [`Watched::ended`] it ends the reader.
    pub(super) fn watched<'a>(&'a self, body: &'a mut dyn Read) -> Watched<'a> {
        let done_bytes = lock(&self.state).there_bytes;
        Watched { growing: self, body, done_bytes }
    }

    /// Reads what is there, and waits for the rest.
    pub(super) fn follow(&self, file: File) -> Follower<'_> {
        Follower { growing: self, file, at: 0 }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

/// The writing side.
pub(super) struct Watched<'a> {
    growing: &'a Growing,
    body: &'a mut dyn Read,
    done_bytes: u64,
}

impl Watched<'_> {
    /// All is written, or, if not, what was written is of no use.
    pub(super) fn ended(self, is_whole: bool) {
        if is_whole {
            let there_bytes = self.done_bytes;
            self.growing.change(|state| *state = State { there_bytes, end: Some(End::Whole) });
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.growing.change(|state| {
            state.end.get_or_insert(End::Lost);
        });
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there_bytes = self.done_bytes;
        self.growing.change(|state| state.there_bytes = there_bytes);
        let count = self.body.read(buffer)?;
        self.done_bytes += count as u64;
        Ok(count)
    }
}

/// The reading side.
pub(super) struct Follower<'a> {
    growing: &'a Growing,
    file: File,
    at: u64,
}

impl Read for Follower<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.growing.state);
        let there_bytes = loop {
            match state.end {
                Some(End::Lost) => return Err(io::Error::other("the transfer has failed")),
                None if state.there_bytes <= self.at => {
                    let changed = self.growing.changed.wait(state);
                    state = changed.unwrap_or_else(PoisonError::into_inner);
                }
                Some(End::Whole) | None => break state.there_bytes,
            }
        };
        drop(state);
        let left = usize::try_from(there_bytes - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..length], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// What a reader gets of a file that has `there` already and gets `body`, one byte at a time.
    fn follow(there: &[u8], body: &[u8], is_whole: bool) -> io::Result<Vec<u8>> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(there).expect("written");
        let growing = Growing::new(there.len() as u64);
        let reader = file.try_clone().expect("a second descriptor");
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let mut got = Vec::new();
                growing.follow(reader).read_to_end(&mut got).map(|_| got)
            });
            let mut body = body;
            let mut watched = growing.watched(&mut body);
            let mut byte = [0];
            while watched.read(&mut byte).expect("a slice does not fail") == 1 {
                file.write_all(&byte).expect("written");
            }
            watched.ended(is_whole);
            reading.join().expect("no panic")
        })
    }

    #[test]
    fn a_reader_gets_all_that_was_there_and_came() {
        let check = |there: &[u8], body: &[u8]| {
            assert_eq!(follow(there, body, true).expect("whole"), [there, body].concat());
        };
        check(b"", b"");
        check(b"", b"all of it");
        check(b"the beginning, ", b"then the rest");
        check(b"nothing came", b"");
    }

    #[test]
    fn a_reader_ends_with_the_transfer_that_failed() {
        follow(b"some", b" more", false).expect_err("what came is of no use");
        let growing = Growing::new(0);
        drop(growing.watched(&mut io::empty()));
        let file = tempfile::tempfile().expect("a file");
        growing.follow(file).read(&mut [0]).expect_err("nobody writes any more");
    }
}
