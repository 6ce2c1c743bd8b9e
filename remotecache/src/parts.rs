//! Content on its way out in parts of bounded size, some of them at the same time.
//!
//! Owns how much memory uploads take: a place has so many slots, and a part that is read lies in one until it is sent.
//! A part is sent again from memory, so a source is read once only.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;

use oci::{Descriptor, Digest, Hasher};

use crate::{RemoteError, RemoteErrorKind};

/// Parts of uploads that may be in memory at the same time.
pub(crate) struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
    all: usize,
}

/// A slot that is taken until this is dropped.
pub(crate) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(crate) fn new(count: usize) -> Slots {
        let count = count.max(1);
        Slots { free: Mutex::new(count), freed: Condvar::new(), all: count }
    }

    /// Waits for a slot.
    pub(crate) fn take(&self) -> Slot<'_> {
        let mut free = lock(&self.free);
        while *free == 0 {
            free = self.freed.wait(free).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

/// A part of a blob.
pub(crate) struct Part {
    /// From 0.
    pub(crate) number: usize,
    /// Where it begins.
    pub(crate) offset_bytes: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a blob in parts of `part_bytes` and hands each to `send`, as many at a time as there are slots. What `send`
/// gives back is returned in the order of the parts. The content is compared with the descriptor before this returns.
///
/// # Errors
/// The first failure of reading or sending; the content is not what the descriptor says.
pub(crate) fn send_parts<T: Send>(
    blob: &Descriptor,
    source: Box<dyn Read + Send>,
    part_bytes: u64,
    slots: &Slots,
    send: &(dyn Fn(&Part) -> Result<T, RemoteError> + Sync),
) -> Result<Vec<T>, RemoteError> {
    let count = blob.size_bytes.div_ceil(part_bytes.max(1)).max(1);
    let threads = usize::try_from(count).unwrap_or(usize::MAX).min(slots.all);
    let reading = Mutex::new(Reading {
        source,
        hasher: Hasher::new(),
        number: 0,
        left_bytes: blob.size_bytes,
        part_bytes,
    });
    let sent = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    let is_over = AtomicBool::new(false);
    let work = || {
        while !is_over.load(Ordering::Relaxed) {
            let _slot = slots.take();
            let part = match lock(&reading).next() {
                Ok(Some(part)) => part,
                Ok(None) => return,
                Err(error) => return fail(&failure, &is_over, unreadable(blob, error)),
            };
            match send(&part) {
                Ok(value) => lock(&sent).push((part.number, value)),
                Err(error) => return fail(&failure, &is_over, error),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    lock(&reading).check(blob)?;
    let mut sent = std::mem::take(&mut *lock(&sent));
    sent.sort_by_key(|(number, _)| *number);
    Ok(sent.into_iter().map(|(_, value)| value).collect())
}

/// Reads a blob that fits into one part, and checks it.
pub(crate) fn read_whole(
    blob: &Descriptor,
    source: Box<dyn Read + Send>,
) -> Result<Vec<u8>, RemoteError> {
    let part_bytes = blob.size_bytes.max(1);
    let left_bytes = blob.size_bytes;
    let mut reading = Reading { source, hasher: Hasher::new(), number: 0, left_bytes, part_bytes };
    let part = reading.next().map_err(|error| unreadable(blob, error))?;
    reading.check(blob)?;
    Ok(part.map(|part| part.bytes).unwrap_or_default())
}

/// Size of a blob's parts: whole MiB, `least_bytes` at least, and so many that there are not more than `count_max`.
pub(crate) fn part_size(size_bytes: u64, least_bytes: u64, count_max: u64) -> u64 {
    size_bytes.div_ceil(count_max).next_multiple_of(1 << 20).max(least_bytes)
}

struct Reading {
    source: Box<dyn Read + Send>,
    hasher: Hasher,
    number: usize,
    left_bytes: u64,
    part_bytes: u64,
}

impl Reading {
    fn next(&mut self) -> io::Result<Option<Part>> {
        // Content without a byte has one part all the same.
        if self.left_bytes == 0 && self.number > 0 {
            return Ok(None);
        }
        let wanted = self.left_bytes.min(self.part_bytes);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).map_err(io::Error::other)?);
        (&mut self.source).take(wanted).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < wanted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it was"));
        }
        self.hasher.update(&bytes);
        let part =
            Part { number: self.number, offset_bytes: self.number as u64 * self.part_bytes, bytes };
        self.left_bytes -= wanted;
        self.number += 1;
        Ok(Some(part))
    }

    fn check(&mut self, blob: &Descriptor) -> Result<(), RemoteError> {
        let mut rest = [0];
        let is_longer = self.source.read(&mut rest).map_err(|error| unreadable(blob, error))? > 0;
        let found: Digest = std::mem::take(&mut self.hasher).finish();
        let reason = match found == blob.digest {
            _ if is_longer => "it is longer than it was".to_owned(),
            true => return Ok(()),
            false => format!("its content has digest {found}"),
        };
        Err(unreadable(blob, io::Error::new(io::ErrorKind::InvalidData, reason)))
    }
}

/// The content to be sent cannot be read.
pub(crate) fn unreadable(blob: &Descriptor, error: io::Error) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Local, format!("read blob {}", blob.digest)).because(error)
}

fn fail(failure: &Mutex<Option<RemoteError>>, is_over: &AtomicBool, error: RemoteError) {
    is_over.store(true, Ordering::Relaxed);
    lock(failure).get_or_insert(error);
}

/// Locks; every change below a lock here is one step, so what a panicked thread left is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(content: &[u8]) -> Descriptor {
        Descriptor::new("x", Digest::of(content), content.len() as u64)
    }

    fn boxed(content: &[u8]) -> Box<dyn Read + Send> {
        Box::new(io::Cursor::new(content.to_vec()))
    }

    #[test]
    fn parts_are_in_order_and_whole() {
        let content: Vec<u8> = (0..1003u32).map(|n| n as u8).collect();
        for (part_bytes, count) in [(1u64, 1003), (100, 11), (1003, 1), (5000, 1)] {
            let slots = Slots::new(4);
            let parts = send_parts(&blob(&content), boxed(&content), part_bytes, &slots, &|part| {
                assert_eq!(part.offset_bytes, part.number as u64 * part_bytes);
                Ok(part.bytes.clone())
            });
            let parts = parts.expect("sent");
            assert_eq!(parts.len(), count);
            assert_eq!(parts.concat(), content);
            assert_eq!(*lock(&slots.free), 4);
        }
        let parts = send_parts(&blob(b""), boxed(b""), 10, &Slots::new(2), &|part| Ok(part.number));
        assert_eq!(parts.expect("sent"), [0]);
    }

    #[test]
    fn there_are_never_too_many_parts() {
        let least = 8 << 20;
        for count_max in [10_000, 50_000] {
            for size_bytes in [least + 1, 1 << 30, 80_000 << 20, 400_000 << 20, 5 << 40] {
                let part = part_size(size_bytes, least, count_max);
                assert!(part >= least && size_bytes.div_ceil(part) <= count_max, "{size_bytes}");
            }
        }
        assert_eq!(part_size(100 << 30, least, 10_000), 11 << 20);
    }

    #[test]
    fn content_that_changed_is_refused() {
        for (content, reason) in
            [(&b"abc"[..], "shorter"), (b"abcde", "longer"), (b"abcx", "digest")]
        {
            let sent = send_parts(&blob(b"abcd"), boxed(content), 3, &Slots::new(2), &|_| Ok(()));
            let error = sent.expect_err("changed");
            assert_eq!(error.kind(), RemoteErrorKind::Local);
            let source = std::error::Error::source(&error).expect("a cause").to_string();
            assert!(source.contains(reason), "{source}");
            assert!(read_whole(&blob(b"abcd"), boxed(content)).is_err());
        }
        assert_eq!(read_whole(&blob(b"abcd"), boxed(b"abcd")).expect("read"), b"abcd");
    }

    #[test]
    fn the_first_failure_ends_it() {
        let content = vec![7; 1000];
        let sent = send_parts(&blob(&content), boxed(&content), 1, &Slots::new(3), &|part| {
            let refused = || RemoteError::new(RemoteErrorKind::Refused, "send");
            if part.number == 5 { Err(refused()) } else { Ok(()) }
        });
        assert_eq!(sent.expect_err("refused").kind(), RemoteErrorKind::Refused);
    }
}
