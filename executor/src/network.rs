//! Networks of steps: the machine's, none, or one of their own that a user-mode helper serves (design D11).
//!
//! Helpers are probed, not assumed: pasta, else slirp4netns, else the machine's network with a warning. A network is
//! used by one step at a time and by others after it; the helper dies with the launcher.

use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use sys::network::{block_address, in_network, new_network};

use crate::ExecError;
use crate::local::LauncherClient;
use crate::sandbox::{FdList, HelperSpec, Report};

/// How long a helper may take until the network works.
const READY_TIMEOUT_S: i64 = 10;

/// The metadata service of clouds; a step has no business there (security.md D14).
const METADATA: [u8; 4] = [169, 254, 169, 254];

/// Where pasta answers name look-ups for a resolver on the machine's loopback.
const PASTA_DNS: &str = "169.254.1.1";

/// Where slirp4netns does, always.
const SLIRP_DNS: &str = "10.0.2.3";

/// A resolver that a helper offers inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarder {
    /// Its address in the step's network.
    pub(crate) address: IpAddr,
}

/// A network with its helper.
#[derive(Debug)]
pub(crate) struct OwnNetwork {
    pub(crate) namespace: OwnedFd,
    pub(crate) forwarder: Forwarder,
    /// The init of the helper; killing it ends the helper.
    init: OwnedFd,
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        let _ = sys::pidfd::signal(self.init.as_fd(), Signal::KILL.as_raw());
    }
}

/// The network that a step got. Dropping it gives it back.
#[derive(Debug)]
pub(crate) enum StepNetwork {
    /// The machine's, as asked for or as all that there is.
    Host,
    /// None but a loopback interface.
    Loopback,
    /// Its own.
    Own(Lease),
}

/// An own network in use.
#[derive(Debug)]
pub(crate) struct Lease {
    network: Option<OwnNetwork>,
    pool: Arc<Pool>,
}

impl Lease {
    /// The network.
    pub(crate) fn network(&self) -> &OwnNetwork {
        self.network.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(network) = self.network.take() {
            self.pool.put(network);
        }
    }
}

/// All own networks of a worker.
#[derive(Debug)]
pub(crate) struct Pool {
    launcher: Arc<LauncherClient>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<OwnNetwork>,
    /// Networks that [`Pool::warm_up`] is starting.
    warming: usize,
    /// Steps that wait for one of those.
    waiting: usize,
    /// Why there can be none on this machine.
    unusable: Option<String>,
}

impl Pool {
    pub(crate) fn new(launcher: Arc<LauncherClient>) -> Arc<Pool> {
        Arc::new(Pool { launcher, state: Mutex::default(), changed: Condvar::new() })
    }

    /// Starts networks in the background until so many are there or coming.
    pub(crate) fn warm_up(self: &Arc<Pool>, count: usize) {
        let mut state = self.lock();
        if state.unusable.is_some() {
            return;
        }
        for _ in (state.idle.len() + state.warming)..count {
            let pool = self.clone();
            let thread = std::thread::Builder::new().name("network".into()).spawn(move || {
                let result = start(&pool.launcher);
                let mut state = pool.lock();
                state.warming -= 1;
                pool.file(&mut state, result);
            });
            if thread.is_ok() {
                state.warming += 1;
            }
        }
    }

    /// A network for one step; the error says why there can be none.
    pub(crate) fn take(self: &Arc<Pool>) -> Result<Lease, String> {
        let mut state = self.lock();
        loop {
            if let Some(why) = &state.unusable {
                return Err(why.clone());
            }
            if let Some(network) = state.idle.pop() {
                if sys::pidfd::has_ended(&network.init) {
                    continue;
                }
                return Ok(Lease { network: Some(network), pool: self.clone() });
            }
            if state.warming > state.waiting {
                state.waiting += 1;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
                continue;
            }
            drop(state);
            let result = start(&self.launcher);
            state = self.lock();
            self.file(&mut state, result);
        }
    }

    fn put(&self, network: OwnNetwork) {
        self.lock().idle.push(network);
        self.changed.notify_all();
    }

    fn file(&self, state: &mut State, result: Result<OwnNetwork, String>) {
        match result {
            Ok(network) => state.idle.push(network),
            Err(why) => state.unusable = Some(why),
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a network and finds a helper that can serve it.
fn start(launcher: &LauncherClient) -> Result<OwnNetwork, String> {
    let namespace = new_network().map_err(|error| error.to_string())?;
    in_network(namespace.as_fd(), || block_address(METADATA)).map_err(|error| error.to_string())?;
    let mut problems = Vec::new();
    for tool in [Tool::Pasta, Tool::Slirp4netns] {
        match start_tool(launcher, tool, &namespace) {
            Ok(init) => {
                let forwarder = Forwarder { address: tool.dns() };
                return Ok(OwnNetwork { namespace, forwarder, init });
            }
            Err(problem) => problems.push(format!("{}: {problem}", tool.name())),
        }
    }
    Err(problems.join("; "))
}

#[derive(Clone, Copy)]
enum Tool {
    Pasta,
    Slirp4netns,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::Pasta => "pasta",
            Tool::Slirp4netns => "slirp4netns",
        }
    }

    fn dns(self) -> IpAddr {
        let text = match self {
            Tool::Pasta => PASTA_DNS,
            Tool::Slirp4netns => SLIRP_DNS,
        };
        text.parse().expect("a constant address")
    }

    fn arguments(self) -> Vec<String> {
        let mut arguments: Vec<&str> = Vec::new();
        match self {
            Tool::Pasta => {
                arguments.extend(["--config-net", "--no-map-gw", "--no-netns-quit", "--quiet"]);
                arguments.extend(["-t", "none", "-u", "none", "-T", "none", "-U", "none"]);
                if !crate::resolver::has_outer_resolver(&crate::resolver::read_host()) {
                    arguments.extend(["--dns-forward", PASTA_DNS]);
                }
                if !sys::in_user_namespace() {
                    arguments.extend(["--runas", "0:0"]); // else it gives up what it needs to enter
                }
                arguments.extend(["--netns", "{network}"]);
            }
            Tool::Slirp4netns => {
                arguments.extend(["--configure", "--mtu=65520", "--disable-host-loopback"]);
                arguments.extend(["--ready-fd={ready}", "--netns-type=path", "{network}", "tap0"]);
            }
        }
        arguments.into_iter().map(str::to_owned).collect()
    }
}

const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

fn find_program(name: &str) -> Option<String> {
    let candidates = PROGRAM_DIRS.iter().map(|dir| format!("{dir}/{name}"));
    candidates.into_iter().find(|path| Path::new(path).exists())
}

fn start_tool(
    launcher: &LauncherClient,
    tool: Tool,
    namespace: &OwnedFd,
) -> Result<OwnedFd, String> {
    let program = find_program(tool.name()).ok_or("not installed")?;
    let said = |error: std::io::Error| error.to_string();
    let mut fds = FdList::default();
    let mut argv = vec![program];
    argv.extend(tool.arguments());
    let null =
        std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map_err(said)?;
    let (errors, errors_write) = std::io::pipe().map_err(said)?;
    let network = fds.add(namespace.try_clone().map_err(said)?);
    let stdin = fds.add(OwnedFd::from(null.try_clone().map_err(said)?));
    let stdout = fds.add(OwnedFd::from(null));
    let stderr = fds.add(errors_write.into());
    let spec = HelperSpec { argv, network, stdio: [stdin, stdout, stderr] };
    let started = launcher.start_helper(&spec, fds).map_err(|error: ExecError| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    })?;
    if is_ready(started.status) {
        return Ok(started.pidfd);
    }
    let _ = sys::pidfd::signal(started.pidfd.as_fd(), Signal::KILL.as_raw());
    Err(last_words(errors.into()))
}

/// Waits until the helper has gone into the background (pasta) or says that it works (slirp4netns).
fn is_ready(status: OwnedFd) -> bool {
    let mut fds = [PollFd::new(&status, PollFlags::IN)];
    let timeout = Timespec { tv_sec: READY_TIMEOUT_S, tv_nsec: 0 };
    if !poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) {
        return false;
    }
    let mut bytes = [0; 256];
    let length = rustix::io::read(&status, &mut bytes).unwrap_or(0);
    match &bytes[..length] {
        b"1" => true,
        line => matches!(serde_json::from_slice(line), Ok(Report::Ended(0))),
    }
}

/// The last line that a helper wrote, without waiting for more.
fn last_words(errors: OwnedFd) -> String {
    let _ = rustix::fs::fcntl_setfl(&errors, rustix::fs::OFlags::NONBLOCK);
    let mut text = Vec::new();
    let _ = std::fs::File::from(errors).take(64 << 10).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text);
    // Some versions tell of each line that the system log did not take.
    let mut lines = text.lines().map(str::trim).filter(|line| !line.contains("to syslog"));
    lines.rfind(|line| !line.is_empty()).unwrap_or("it ended without a word").to_owned()
}
