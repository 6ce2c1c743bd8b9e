//! A running step seen from the engine: its output, its reports, requests to stop it, its end.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use progress::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use sys::Cancel;

use crate::local::Started;
use crate::sandbox::{Failure, Report, Stub};
use crate::{ExecError, OutputSink};

/// How long a step may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// How often a second request to stop is looked for, once there was a first one.
const FORCE_CHECK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How a step ended.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Mount points that were made for it.
    pub(super) stubs: Vec<Stub>,
    /// Why the command was not executed.
    pub(super) failure: Option<Failure>,
    /// The command's raw wait status; `None` when its init was killed.
    pub(super) status: Option<i32>,
    /// The signal that it was asked to end with and that it has no handler for: as its process 1 it never sees such a
    /// one, so it is killed in its stead.
    pub(super) asked: Option<i32>,
}

/// Which signal a step is asked to end with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    /// SIGTERM, whatever came: the steps of a build.
    WithTerm,
    /// The one that came: a command in the foreground.
    WithItsSignal,
}

/// Hands on output and requests to stop until every process of the step has gone and every pipe is read empty.
pub(super) fn to_the_end(
    running: Started,
    pipes: Vec<(Stream, OwnedFd)>,
    output: &mut dyn OutputSink,
    cancel: &Cancel,
    asks: Asks,
) -> Result<End, ExecError> {
    let Started { pid, pidfd, status } = running;
    let mut watch = Watch {
        pid,
        pidfd,
        status: Some(status),
        pipes,
        ended: false,
        asks,
        stop: None,
        text: Vec::new(),
        end: End::default(),
        buffer: vec![0; 64 << 10],
    };
    while !watch.is_over() {
        watch.turn(output, cancel)?;
    }
    Ok(watch.end)
}

struct Watch {
    pid: i32,
    pidfd: OwnedFd,
    /// `None` after its end-of-file.
    status: Option<OwnedFd>,
    /// What has not come to its end-of-file.
    pipes: Vec<(Stream, OwnedFd)>,
    ended: bool,
    asks: Asks,
    /// When the step is killed; set when it was asked to end.
    stop: Option<Instant>,
    /// The unfinished line of the status pipe.
    text: Vec<u8>,
    end: End,
    buffer: Vec<u8>,
}

/// What a turn found readable.
struct Ready {
    pipes: Vec<bool>,
    status: bool,
    ended: bool,
}

impl Watch {
    fn is_over(&self) -> bool {
        self.ended && self.status.is_none() && self.pipes.is_empty()
    }

    fn turn(&mut self, output: &mut dyn OutputSink, cancel: &Cancel) -> Result<(), ExecError> {
        let ready = self.wait(cancel)?;
        for place in (0..self.pipes.len()).rev() {
            if ready.pipes[place] {
                self.pass_on(place, output);
            }
        }
        if ready.status {
            self.read_status(output);
        }
        self.ended |= ready.ended;
        if cancel.is_cancelled() && !self.ended {
            self.stop(cancel);
        }
        Ok(())
    }

    fn wait(&self, cancel: &Cancel) -> Result<Ready, ExecError> {
        // In this order: pipes, status, the process, the wish to stop.
        let descriptors = self.pipes.iter().map(|(_, fd)| fd.as_fd());
        let descriptors = descriptors.chain(self.status.as_ref().map(AsFd::as_fd));
        let descriptors = descriptors.chain((!self.ended).then(|| self.pidfd.as_fd()));
        let descriptors = descriptors.chain(self.stop.is_none().then(|| cancel.fd()));
        let mut fds: Vec<PollFd<'_>> =
            descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = self.stop.map(|_| FORCE_CHECK);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(ExecError::prepare("wait for the step")(errno)),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready {
            pipes: self.pipes.iter().map(|_| next()).collect(),
            status: self.status.is_some() && next(),
            ended: !self.ended && next(),
        })
    }

    fn pass_on(&mut self, place: usize, output: &mut dyn OutputSink) {
        let (stream, pipe) = &self.pipes[place];
        match rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut self.buffer[..])) {
            Ok(0) | Err(_) => drop(self.pipes.remove(place)),
            Ok(bytes) => output.write(*stream, &self.buffer[..bytes]),
        }
    }

    fn read_status(&mut self, output: &mut dyn OutputSink) {
        let Some(status) = &self.status else { return };
        match rustix::io::retry_on_intr(|| rustix::io::read(status, &mut self.buffer[..])) {
            Ok(0) | Err(_) => self.status = None,
            Ok(bytes) => self.text.extend_from_slice(&self.buffer[..bytes]),
        }
        while let Some(end) = self.text.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Report::Stubs(stubs)) => self.end.stubs = stubs,
                Ok(Report::Degraded(line)) => output.warn(&line),
                Ok(Report::Failed(failure)) => self.end.failure = Some(failure),
                Ok(Report::Ended(status)) => self.end.status = Some(status),
                Err(_) => {} // init was killed while it wrote
            }
        }
    }

    /// Asks the step to end the first time, kills it when its time is over or nobody wants to wait.
    fn stop(&mut self, cancel: &Cancel) {
        let deadline = match self.stop {
            Some(deadline) => deadline,
            None => {
                let signal = match self.asks {
                    Asks::WithTerm => Signal::TERM.as_raw(),
                    Asks::WithItsSignal => cancel.signal().unwrap_or(Signal::TERM.as_raw()),
                };
                let _ = sys::pidfd::signal(self.pidfd.as_fd(), signal);
                // A process 1 that does not handle the signal never sees it: there is nothing to wait for.
                let is_handled = handles(self.pid, signal);
                self.end.asked = (!is_handled).then_some(signal);
                Instant::now() + if is_handled { GRACE } else { Duration::ZERO }
            }
        };
        self.stop = Some(deadline);
        if cancel.is_forced() || Instant::now() >= deadline {
            let _ = sys::pidfd::signal(self.pidfd.as_fd(), Signal::KILL.as_raw());
        }
    }
}

/// Whether the command below an init has a handler for a signal. Assumed where the machine does not tell.
fn handles(init: i32, signal: i32) -> bool {
    let children = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"));
    let Some(command) = children.ok().and_then(|c| c.split_whitespace().next().map(str::to_owned))
    else {
        return true;
    };
    let status = std::fs::read_to_string(format!("/proc/{command}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    caught.is_none_or(|bits| bits >> (signal - 1) & 1 == 1)
}
