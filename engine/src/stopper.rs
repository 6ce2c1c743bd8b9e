//! Ends transfers when a build is cancelled or has failed: a server that does not answer must not hold it up.

use registry::RegistryClient;
use rustix::event::{PollFd, PollFlags, poll};
use sys::Cancel;

/// Does work; the client's transfers end as soon as `cancel` says so.
pub(crate) fn with<T>(cancel: &Cancel, client: &RegistryClient, work: impl FnOnce() -> T) -> T {
    let done = Done(Cancel::new());
    std::thread::scope(|scope| {
        let over = done.0.clone();
        scope.spawn(move || {
            let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            while poll(&mut [watch(cancel.fd()), watch(over.fd())], None)
                == Err(rustix::io::Errno::INTR)
            {}
            if cancel.is_cancelled() {
                client.stop();
            }
        });
        // Dropped when the work ends, by a panic too: the thread is waited for.
        let _done = done;
        work()
    })
}

struct Done(Cancel);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
