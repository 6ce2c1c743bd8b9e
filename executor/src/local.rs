//! The worker that runs steps on this machine.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use sys::{Cancel, SysError, socket};

use crate::launcher;
use crate::mounts::memfd;
use crate::network::{Pool, StepNetwork};
use crate::run;
use crate::sandbox::{FdList, HelperSpec, SandboxSpec};
use crate::{
    CopyStep, ExecError, Exit, Level, MkdirStep, NewLayer, OutputSink, RunEnd, RunStep, Worker,
};

/// How a worker is to behave.
#[derive(Clone, Copy, Debug)]
pub struct WorkerOptions {
    /// Refuse a step rather than run it with less isolation than designed: the machine's network, a bound /proc.
    pub require_isolation: bool,
    /// Refuse a step rather than run it in the machine's network (`--network=sandbox`).
    pub require_network: bool,
}

/// Runs steps in namespaces of this machine. Made by [`EngineProcess::worker`](crate::process::EngineProcess::worker).
#[derive(Debug)]
pub struct LocalWorker {
    pub(crate) launcher: Arc<LauncherClient>,
    pub(crate) level: Level,
    pub(crate) options: WorkerOptions,
    pub(crate) networks: Arc<Pool>,
    /// The fallback to the machine's network was told.
    told: AtomicBool,
}

impl LocalWorker {
    pub(crate) fn new(
        launcher: Arc<LauncherClient>,
        level: Level,
        options: WorkerOptions,
    ) -> LocalWorker {
        let networks = Pool::new(launcher.clone());
        LocalWorker { launcher, level, options, networks, told: AtomicBool::new(false) }
    }

    /// The network of a step as asked for, or what there is (design D11).
    pub(crate) fn network(
        &self,
        wanted: graph::Network,
        warn: &mut dyn FnMut(&str),
    ) -> Result<StepNetwork, ExecError> {
        match wanted {
            graph::Network::None => return Ok(StepNetwork::Loopback),
            graph::Network::Host => return Ok(StepNetwork::Host),
            graph::Network::Default => {}
        }
        let why = match self.networks.take() {
            Ok(lease) => return Ok(StepNetwork::Own(lease)),
            Err(why) => why,
        };
        if self.options.require_isolation || self.options.require_network {
            let problem = format!("a step cannot have a network of its own here ({why})");
            return Err(ExecError::NeedsIsolation { problem });
        }
        if !self.told.swap(true, Ordering::SeqCst) {
            warn(&format!("steps use this machine's network: {why}"));
        }
        Ok(StepNetwork::Host)
    }
}

impl Worker for LocalWorker {
    fn level(&self) -> Level {
        self.level
    }

    fn run(
        &self,
        step: &RunStep<'_>,
        output: &mut dyn OutputSink,
        cancel: &Cancel,
    ) -> Result<RunEnd, ExecError> {
        run::run(self, step, output, cancel)
    }

    fn attach(
        &self,
        step: &RunStep<'_>,
        warn: &mut dyn FnMut(&str),
        cancel: &Cancel,
    ) -> Result<Exit, ExecError> {
        run::attach(self, step, warn, cancel)
    }

    fn copy(&self, step: &CopyStep<'_>, cancel: &Cancel) -> Result<NewLayer, ExecError> {
        crate::copy::copy(step, self.level, cancel)
    }

    fn mkdir(&self, step: &MkdirStep<'_>, cancel: &Cancel) -> Result<NewLayer, ExecError> {
        crate::mkdir::mkdir(step, self.level, cancel)
    }

    fn expect_steps(&self, count: usize) {
        self.networks.warm_up(count);
    }
}

/// The engine's end of the launcher.
#[derive(Debug)]
pub(crate) struct LauncherClient {
    /// `None` when it is being ended.
    socket: Mutex<Option<OwnedFd>>,
    pid: i32,
}

impl Drop for LauncherClient {
    fn drop(&mut self) {
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // It ends all steps first, and then nothing is left but its control group.
        let _ = sys::step::reap(self.pid);
        crate::cgroup::remove_groups_of(self.pid);
    }
}

/// A process that the launcher started.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its id here.
    pub(crate) pid: i32,
    /// A descriptor of it.
    pub(crate) pidfd: OwnedFd,
    /// The reading end of its status pipe.
    pub(crate) status: OwnedFd,
}

impl LauncherClient {
    pub(crate) fn new(socket: OwnedFd, pid: i32) -> LauncherClient {
        LauncherClient { socket: Mutex::new(Some(socket)), pid }
    }

    /// Starts a step.
    ///
    /// # Errors
    /// [`ExecError::Died`] when there is no launcher any more.
    pub(crate) fn start_step(&self, spec: &SandboxSpec, fds: FdList) -> Result<Started, ExecError> {
        self.start(launcher::START_STEP, spec, fds)
    }

    /// Starts a network helper.
    ///
    /// # Errors
    /// As [`LauncherClient::start_step`].
    pub(crate) fn start_helper(
        &self,
        spec: &HelperSpec,
        fds: FdList,
    ) -> Result<Started, ExecError> {
        self.start(launcher::START_HELPER, spec, fds)
    }

    fn start(&self, kind: u8, spec: &impl Serialize, fds: FdList) -> Result<Started, ExecError> {
        let text = serde_json::to_vec(spec).expect("specs have no maps with odd keys");
        let spec = memfd(&text)?;
        let (status, status_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(ExecError::prepare("make a pipe"))?;
        let fds = fds.into_inner();
        let mut all: Vec<BorrowedFd<'_>> = vec![spec.as_fd(), status_write.as_fd()];
        all.extend(fds.iter().map(AsFd::as_fd));
        let died = |_| ExecError::Died { process: "the launcher of steps" };
        let guard = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || ExecError::Died { process: "the launcher of steps" };
        let socket = guard.as_ref().ok_or_else(gone)?;
        socket::send(socket.as_fd(), &[kind], &all).map_err(died)?;
        let answer = socket::receive(socket.as_fd()).map_err(died)?;
        drop(guard);
        let (message, mut received) = answer.ok_or_else(gone)?;
        let number = |bytes: &[u8]| bytes.get(1..5).and_then(|b| b.try_into().ok());
        let number = number(&message).map_or(0, i32::from_le_bytes);
        match (message.first(), received.pop()) {
            (Some(&launcher::STARTED), Some(pidfd)) => Ok(Started { pid: number, pidfd, status }),
            _ => {
                let call = String::from_utf8_lossy(message.get(5..).unwrap_or_default());
                let source = SysError::new(call.into_owned(), number);
                Err(ExecError::Setup { what: "start a process for it".into(), source })
            }
        }
    }
}
