//! What is read, with its progress told: files, archives and downloads on their way into the store.

use std::io::{self, Read};

use progress::{Emitter, EventKind};

/// A reader whose progress is told as that of one item of a step.
pub(crate) struct Told<'a, R> {
    inner: R,
    teller: Teller<'a>,
    done_bytes: u64,
}

/// Tells of one item of a step, now and then.
pub(crate) struct Teller<'a> {
    events: &'a Emitter,
    vertex: u32,
    item: String,
    told_bytes: u64,
    is_over: bool,
}

/// Bytes between two events.
const TELL_EVERY_BYTES: u64 = 1 << 20;

impl<'a> Teller<'a> {
    pub(crate) fn new(events: &'a Emitter, vertex: u32, item: String) -> Teller<'a> {
        Teller { events, vertex, item, told_bytes: 0, is_over: false }
    }

    /// So much has come, of so much as far as that is known.
    pub(crate) fn tell(&mut self, done_bytes: u64, total_bytes: Option<u64>) {
        let is_end = total_bytes == Some(done_bytes);
        if self.is_over || !(is_end || done_bytes >= self.told_bytes + TELL_EVERY_BYTES) {
            return;
        }
        (self.told_bytes, self.is_over) = (done_bytes, is_end);
        let (vertex, item) = (self.vertex, self.item.clone());
        self.events.emit(EventKind::Transfer { vertex, item, done_bytes, total_bytes });
    }
}

impl<'a, R> Told<'a, R> {
    /// Tells of a reader of unknown length: that it is over is known at its end.
    pub(crate) fn new(inner: R, teller: Teller<'a>) -> Told<'a, R> {
        Told { inner, teller, done_bytes: 0 }
    }
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done_bytes += count as u64;
        let is_end = count == 0 && !buffer.is_empty();
        self.teller.tell(self.done_bytes, is_end.then_some(self.done_bytes));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Heard = Arc<Mutex<Vec<(u64, Option<u64>)>>>;

    struct Hears(Heard);

    impl progress::Sink for Hears {
        fn take(&mut self, event: &progress::Event) {
            if let EventKind::Transfer { done_bytes, total_bytes, .. } = &event.kind {
                self.0.lock().expect("whole").push((*done_bytes, *total_bytes));
            }
        }
    }

    #[test]
    fn the_end_is_told_once() {
        let told = Heard::default();
        let events = Emitter::new(Box::new(Hears(Arc::clone(&told))));
        let length = TELL_EVERY_BYTES + 5;
        let teller = Teller::new(&events, 1, "it".to_owned());
        let mut reader = Told::new(io::repeat(7).take(length), teller);
        assert_eq!(io::copy(&mut reader, &mut io::sink()).expect("read"), length);
        assert_eq!(reader.read(&mut [0]).expect("over"), 0);
        let told = told.lock().expect("whole");
        let (last, before) = told.split_last().expect("told");
        assert_eq!(*last, (length, Some(length)));
        assert!(before.iter().all(|(done, total)| total.is_none() && *done < length + 1));
    }
}
