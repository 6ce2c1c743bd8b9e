//! The single-threaded process that clones steps (design D2).
//!
//! It takes specs over a socket, clones an init for each, answers with its pidfd and reaps. It dies with the engine and
//! takes every init with it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{DumpableBehavior, Signal};
use sys::seccomp::PacketSockets;
use sys::signals::Signals;
use sys::{Process, namespaces, socket, step};

use crate::init;
use crate::sandbox::Fds;

/// What the engine asks for: the first byte of a message. The first descriptor is the spec, the second the status pipe.
pub(crate) const START_STEP: u8 = b'S';

/// A network helper: a spec of another kind ([`crate::sandbox::HelperSpec`]).
pub(crate) const START_HELPER: u8 = b'H';

/// The answer: a process, with its pidfd; its id follows.
pub(crate) const STARTED: u8 = b'P';

/// The answer: none; errno and the call follow.
pub(crate) const REFUSED: u8 = b'E';

/// Runs the launcher until the engine's end of the socket closes.
pub(crate) fn run(engine: OwnedFd, engine_pid: i32) -> ! {
    // Both halves are needed (see the prototype's notes): the signal also reaches a stopped process, and looking at the
    // parent afterwards is sound as the engine had one thread when it forked us.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid().is_none_or(|pid| pid.as_raw_nonzero().get() != engine_pid) {
        step::exit_now(1);
    }
    crate::cgroup::confine_self();
    // Steps are what the kernel should kill first; written before the process becomes non-dumpable.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let Ok(signals) = sys::signals::read_all() else { step::exit_now(1) };
    let Ok((life, life_write)) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC) else {
        step::exit_now(1)
    };
    // Compiled here, so that every step inherits them.
    for packets in [PacketSockets::Allowed, PacketSockets::Refused] {
        sys::seccomp::step_filter(packets);
    }
    let mut launcher = Launcher { engine, life, life_write, signals, inits: Vec::new() };
    loop {
        launcher = launcher.turn();
    }
}

struct Launcher {
    engine: OwnedFd,
    /// Reading end of a pipe that only we write: its end-of-file tells an init that we died.
    life: OwnedFd,
    life_write: OwnedFd,
    signals: Signals,
    inits: Vec<(i32, OwnedFd)>,
}

impl Launcher {
    fn turn(mut self) -> Launcher {
        let mut fds =
            [PollFd::new(&self.engine, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
        let _ = poll(&mut fds, None);
        let from_engine = !fds[0].revents().is_empty();
        while self.signals.next().is_some() {} // SIGCHLD woke us; the others mean nothing here
        while let Ok(Some((pid, _))) = step::reap_any() {
            self.inits.retain(|(init, _)| *init != pid);
        }
        if !from_engine {
            return self;
        }
        match socket::receive(self.engine.as_fd()) {
            Ok(Some((message, fds))) => self.start(&message, fds),
            Ok(None) | Err(_) => self.end(),
        }
    }

    fn start(mut self, message: &[u8], fds: Vec<OwnedFd>) -> Launcher {
        match sys::clone_process(namespaces::PID) {
            Ok(Process::Child) => self.become_init(message, fds),
            Ok(Process::Parent { pid, pidfd }) => {
                let mut answer = vec![STARTED];
                answer.extend(pid.to_le_bytes());
                self.answer(&answer, &[pidfd.as_fd()]);
                self.inits.push((pid, pidfd));
            }
            Err(error) => {
                let mut answer = vec![REFUSED];
                answer.extend(error.errno().to_le_bytes());
                answer.extend(error.call().as_bytes());
                self.answer(&answer, &[]);
            }
        }
        self
    }

    fn answer(&self, message: &[u8], fds: &[BorrowedFd<'_>]) {
        // When the engine has gone, the next turn notices.
        let _ = socket::send(self.engine.as_fd(), message, fds);
    }

    /// In the child: what is the launcher's is closed, the rest is init's.
    fn become_init(self, message: &[u8], fds: Vec<OwnedFd>) -> ! {
        let Launcher { engine, life, life_write, signals, inits } = self;
        drop((engine, life_write, signals, inits));
        match message.first() {
            Some(&START_STEP) => init::run_step(Fds(fds), life),
            Some(&START_HELPER) => init::run_helper(Fds(fds), life),
            _ => step::exit_now(1),
        }
    }

    fn end(self) -> ! {
        for (_, init) in &self.inits {
            let _ = sys::pidfd::signal(init.as_fd(), Signal::KILL.as_raw());
        }
        for (pid, _) in &self.inits {
            let _ = step::reap(*pid);
        }
        step::exit_now(0)
    }
}
