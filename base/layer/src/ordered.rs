//! Work done on all cores whose results are taken in the order in which it was given.
//!
//! Owns the waiting. Refuses to know what the work is and how much of it may be under way: the caller bounds it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// Jobs under way on rayon's threads, first in, first out.
pub(crate) struct Ordered<T> {
    jobs: VecDeque<Receiver<T>>,
}

impl<T: Send + 'static> Ordered<T> {
    pub(crate) fn new() -> Ordered<T> {
        Ordered { jobs: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(crate) fn push(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let (sender, receiver) = sync_channel(1);
        rayon::spawn(move || {
            // Nobody waits any more when the caller has given up.
            let _ = sender.send(job());
        });
        self.jobs.push_back(receiver);
    }

    /// Waits for the oldest job. On one of rayon's own threads it works on other jobs meanwhile, so a pool of one
    /// thread does not wait for itself.
    pub(crate) fn pop(&mut self) -> Option<T> {
        const DIED: &str = "a panic in a job ends the process, so its result always comes";
        let job = self.jobs.pop_front()?;
        if rayon::current_thread_index().is_none() {
            return Some(job.recv().expect(DIED));
        }
        loop {
            match job.try_recv() {
                Ok(result) => return Some(result),
                Err(TryRecvError::Disconnected) => unreachable!("{DIED}"),
                Err(TryRecvError::Empty) => {}
            }
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_even_in_a_pool_of_one() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let results: Vec<u32> = pool.install(|| {
                let mut jobs = Ordered::new();
                (0..50).for_each(|n| jobs.push(move || n * 2));
                std::iter::from_fn(|| jobs.pop()).collect()
            });
            assert_eq!(results, (0..50).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
