//! A bare walk of a directory: the least that finding out "nothing changed" can cost (bench/run's limit).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;

/// Lists every directory below `dir` and asks for the status of everything in it, on all processors. Returns how many
/// things there are.
///
/// # Errors
/// A directory cannot be read.
pub fn walk(dir: &Path) -> io::Result<usize> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let work = Work {
        queue: Mutex::new(Queue { dirs: vec![dir.to_owned()], busy: 0, failed: None }),
        more: Condvar::new(),
        seen: AtomicUsize::new(0),
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work.run());
        }
    });
    match work.queue.into_inner().unwrap_or_else(|lock| lock.into_inner()).failed {
        Some(error) => Err(error),
        None => Ok(work.seen.into_inner()),
    }
}

struct Work {
    queue: Mutex<Queue>,
    more: Condvar,
    seen: AtomicUsize,
}

struct Queue {
    dirs: Vec<PathBuf>,
    busy: usize,
    failed: Option<io::Error>,
}

impl Work {
    fn run(&self) {
        while let Some(dir) = self.take() {
            let found = self.read(&dir);
            let mut queue = self.queue.lock().unwrap_or_else(|lock| lock.into_inner());
            queue.busy -= 1;
            match found {
                Ok(dirs) => queue.dirs.extend(dirs),
                Err(error) => queue.failed = Some(error),
            }
            self.more.notify_all();
        }
    }

    /// The next directory; `None` when nobody will find another one.
    fn take(&self) -> Option<PathBuf> {
        let mut queue = self.queue.lock().unwrap_or_else(|lock| lock.into_inner());
        loop {
            if let Some(dir) = queue.dirs.pop() {
                queue.busy += 1;
                return Some(dir);
            }
            if queue.busy == 0 {
                return None;
            }
            queue = self.more.wait(queue).unwrap_or_else(|lock| lock.into_inner());
        }
    }

    fn read(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut dirs = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // Relative to the directory's descriptor, without following links.
            let status = entry.metadata()?;
            self.seen.fetch_add(1, Ordering::Relaxed);
            if status.is_dir() {
                dirs.push(entry.path());
            }
        }
        Ok(dirs)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn everything_is_seen_once() {
        let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let seen = super::walk(&top.join("src")).expect("readable");
        let names = std::fs::read_dir(top.join("src")).expect("readable").count();
        assert!(seen >= names && names > 3, "{seen} {names}");
        assert!(super::walk(&top.join("no such directory")).is_err());
    }
}
