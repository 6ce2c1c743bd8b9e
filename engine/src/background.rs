//! Threads that work behind a build's back, and the marks by which others wait for one piece of their work.
//!
//! Owns starting and joining. Refuses to know what the work is.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use graph::LayerId;

use crate::error::{BuildError, BuildErrorKind};
use crate::stop::{Stop, lock};

/// The threads of one build, and the layers that they complete.
#[derive(Default)]
pub(crate) struct Background {
    pending: Mutex<HashMap<LayerId, Arc<Pending>>>,
    threads: Mutex<Vec<JoinHandle<Result<(), Stop>>>>,
}

#[derive(Default)]
struct Pending {
    done: Mutex<bool>,
    changed: Condvar,
}

/// Wakes who waits for a layer when it is dropped, however the work on it ended; they then see what the store has.
pub(crate) struct Completing(Arc<Pending>);

impl Background {
    /// Does something on a thread of its own. [`Background::join`] reports its error.
    pub(crate) fn spawn(&self, job: impl FnOnce() -> Result<(), Stop> + Send + 'static) {
        let thread = std::thread::spawn(job);
        lock(&self.threads).push(thread);
    }

    /// Says that a layer will be completed: from now on [`Background::wait`] waits for it.
    pub(crate) fn completing(&self, layer: LayerId) -> Completing {
        let pending = Arc::new(Pending::default());
        lock(&self.pending).insert(layer, pending.clone());
        Completing(pending)
    }

    /// Waits until nobody works on a layer any more.
    pub(crate) fn wait(&self, layer: LayerId) {
        let Some(pending) = lock(&self.pending).get(&layer).cloned() else { return };
        let mut done = lock(&pending.done);
        while !*done {
            done = pending.changed.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for everything that was started and gives the first error.
    pub(crate) fn join(&self) -> Result<(), Stop> {
        let mut result = Ok(());
        loop {
            let threads = std::mem::take(&mut *lock(&self.threads));
            if threads.is_empty() {
                return result;
            }
            for thread in threads {
                let ended = thread.join().unwrap_or_else(|_| Err(ended_by_bug()));
                result = result.and(ended);
            }
        }
    }
}

fn ended_by_bug() -> Stop {
    let text = "a thread that completes layers ended by a bug in shale";
    BuildError::new(BuildErrorKind::Files, text).into()
}

impl Drop for Completing {
    fn drop(&mut self) {
        *lock(&self.0.done) = true;
        self.0.changed.notify_all();
    }
}
