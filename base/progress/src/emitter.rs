//! The way from workers to whatever listens.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Event, EventKind};

/// Something that takes events in order. It must not block: slow listeners have their own queue.
pub trait Sink: Send {
    /// Takes the next event.
    fn take(&mut self, event: &Event);
}

/// Gives events their time and number and hands them to the sink. Clones speak to the same sink.
#[derive(Clone)]
pub struct Emitter {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    sink: Box<dyn Sink>,
    started: Instant,
    next_seq: u64,
}

impl Emitter {
    /// Starts a stream now.
    pub fn new(sink: Box<dyn Sink>) -> Emitter {
        let shared = Shared { sink, started: Instant::now(), next_seq: 0 };
        Emitter { shared: Arc::new(Mutex::new(shared)) }
    }

    /// An emitter that nobody listens to.
    pub fn silent() -> Emitter {
        struct Nobody;
        impl Sink for Nobody {
            fn take(&mut self, _: &Event) {}
        }
        Emitter::new(Box::new(Nobody))
    }

    /// Emits one event.
    pub fn emit(&self, kind: EventKind) {
        let mut shared = match self.shared.lock() {
            Ok(shared) => shared,
            // A sink that panicked must not take the build's state with it.
            Err(poisoned) => poisoned.into_inner(),
        };
        let at: Duration = shared.started.elapsed();
        let event = Event { at, seq: shared.next_seq, kind };
        shared.next_seq += 1;
        shared.sink.take(&event);
    }
}

impl std::fmt::Debug for Emitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emitter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn events_are_numbered_in_order_over_clones() {
        struct Send(mpsc::Sender<u64>);
        impl Sink for Send {
            fn take(&mut self, event: &Event) {
                self.0.send(event.seq).expect("receiver lives");
            }
        }
        let (tx, rx) = mpsc::channel();
        let emitter = Emitter::new(Box::new(Send(tx)));
        for speaker in [&emitter, &emitter.clone(), &emitter] {
            speaker.emit(EventKind::BuildFinished { ok: true });
        }
        drop(emitter);
        assert_eq!(rx.iter().collect::<Vec<_>>(), [0, 1, 2]);
    }
}
