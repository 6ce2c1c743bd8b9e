//! The processes of a command (design D1): the one that the user started, and the engine below it.
//!
//! The first looks things up. When something has to run, [`run_engine`] clones one child into namespaces of its own,
//! which executes the same file with the same arguments; there, [`engine_started`] is the first thing in `main`.
//!
//! ```no_run
//! # fn command(args: &[std::ffi::OsString], engine: Option<executor::process::EngineProcess>) -> i32 { 0 }
//! let engine = executor::process::engine_started().expect("..."); // before any thread
//! let cancel = executor::process::watch_signals(engine.as_ref()).expect("..."); // the first thread
//! let args = match &engine {
//!     Some(engine) => engine.arguments(),
//!     None => std::env::args_os().skip(1).collect(),
//! };
//! // In the engine: `engine.worker(options)`. In the first process: `run_engine(EngineStart { args, .. })`.
//! std::process::exit(command(&args, engine));
//! ```

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use sys::engine::{EngineExec, Waiting, spawn_engine};
use sys::idmap::{self, IdMap};
use sys::{Cancel, Process};

use crate::launcher;
use crate::local::{LauncherClient, LocalWorker, WorkerOptions};
use crate::{ExecError, Exit, Level};

/// First argument of an engine. Nobody types it: without the variable beside it it means nothing.
const ARGUMENT: &str = "--shale-engine";

/// Tells an engine its descriptors: `name=number`, separated by semicolons.
const VARIABLE: &str = "SHALE_ENGINE";

/// Name of the pipe whose end-of-file means that the first process has gone.
const LIFE: &str = "life";

/// Present when keys go to the step itself.
const TERMINAL: &str = "terminal";

/// What an engine is started with.
#[derive(Debug)]
pub struct EngineStart {
    /// The arguments of the command, without the program's name.
    pub args: Vec<OsString>,
    /// Open files for it, by names of ASCII letters.
    pub files: Vec<(String, OwnedFd)>,
    /// It will run one command with our terminal (`shale run`): no session of its own.
    pub terminal: bool,
}

/// The engine that signals are sent on to, if one runs.
static RUNNING: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Starts an engine and waits for its end. To be called by the main thread, which must not end before the process: the
/// engine dies with the thread that started it.
///
/// # Errors
/// No namespaces, no ids, or an execution that failed.
pub fn run_engine(start: EngineStart) -> Result<Exit, ExecError> {
    let (life_read, life_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(ExecError::prepare("make a pipe"))?;
    let terminal = start.terminal;
    let user_namespace = !sys::probe::has_capability(sys::caps::SYS_ADMIN);
    let map = match user_namespace {
        true => Some(idmap::choose().map_err(|source| ExecError::Ids { source })?),
        false => None,
    };
    let waiting = spawn(&start, &life_read, &life_write, user_namespace)?;
    if let Some(map) = &map {
        write_ids(waiting.pid, map)?;
    }
    let (pid, pidfd) = waiting.go().map_err(ExecError::setup("start the engine"))?;
    drop((life_read, start));
    set_running(Some(pidfd));
    let status =
        sys::step::reap(pid).map_err(ExecError::prepare::<std::io::Error>("wait for the engine"));
    set_running(None);
    if terminal {
        take_terminal_back();
    }
    status.map(Exit::from_wait_status)
}

fn set_running(engine: Option<OwnedFd>) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = engine;
}

fn spawn(
    start: &EngineStart,
    life_read: &OwnedFd,
    life_write: &OwnedFd,
    user_namespace: bool,
) -> Result<Waiting, ExecError> {
    let files = |operation: &'static str| ExecError::prepare::<std::io::Error>(operation);
    let exe = std::fs::File::open("/proc/self/exe").map_err(files("open our own file"))?;
    let exe_path = std::env::current_exe().map_err(files("find our own file"))?;
    let own_name = std::env::args_os().next().unwrap_or_else(|| "shale".into());
    let mut argv = vec![c_string(&own_name), c_string(OsStr::new(ARGUMENT))];
    argv.extend(start.args.iter().map(|arg| c_string(arg)));
    let mut keep = vec![life_read.as_raw_fd()];
    let mut names = format!("{LIFE}={}", life_read.as_raw_fd());
    for (name, file) in &start.files {
        names.push_str(&format!(";{name}={}", file.as_raw_fd()));
        keep.push(file.as_raw_fd());
    }
    if start.terminal {
        names.push_str(&format!(";{TERMINAL}"));
    }
    let mut env: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            c_string(&entry)
        })
        .collect();
    env.push(c_string(OsStr::new(&format!("{VARIABLE}={names}"))));
    let exec = EngineExec {
        exe_path: &c_string(exe_path.as_os_str()),
        exe: exe.as_fd(),
        argv: &argv,
        env: &env,
        keep: &keep,
        life: life_write.as_fd(),
        user_namespace,
        new_session: !start.terminal,
    };
    spawn_engine(&exec).map_err(|source| ExecError::Namespaces { source })
}

/// What came from the kernel as an argument or a variable has no NUL.
fn c_string(text: &OsStr) -> CString {
    CString::new(text.as_bytes().to_vec()).unwrap_or_default()
}

/// Ranges whose tools are missing or refuse leave the single id, which needs neither.
fn write_ids(pid: i32, map: &IdMap) -> Result<(), ExecError> {
    let failed = |source| ExecError::Ids { source };
    match idmap::write(pid, map) {
        Err(idmap::IdMapError::Tool { .. }) if no_ids_yet(pid) => {
            idmap::write(pid, &IdMap::Single).map_err(failed)
        }
        result => result.map_err(failed),
    }
}

fn no_ids_yet(pid: i32) -> bool {
    let empty = |file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|map| map.is_empty())
    };
    empty("uid_map") && empty("gid_map")
}

/// A step with our terminal made itself its foreground group.
fn take_terminal_back() {
    let _ = sys::signals::block_terminal_output();
    // A group that was made outside of our pid namespace has no number here, and rustix does not expect that.
    if let Some(own) = rustix::process::Pid::from_raw(nix::unistd::getpgrp().as_raw()) {
        let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), own);
    }
}

/// The engine side, in a process that [`run_engine`] started.
#[derive(Debug)]
pub struct EngineProcess {
    launcher: Arc<LauncherClient>,
    files: BTreeMap<String, OwnedFd>,
    terminal: bool,
}

/// To be called first in `main`: fills closed standard descriptors, forbids core files and tells whether this process
/// is an engine. If it is, its launcher is forked here, while there is one thread.
///
/// # Errors
/// A launcher that could not be made.
pub fn engine_started() -> Result<Option<EngineProcess>, ExecError> {
    sys::fill_standard_descriptors()
        .map_err(ExecError::prepare::<std::io::Error>("open /dev/null"))?;
    // Secrets and keys are read by the process that looks up, too (security.md E7).
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    if std::env::args_os().nth(1).as_deref() != Some(OsStr::new(ARGUMENT)) {
        return Ok(None);
    }
    let Some(names) = sys::take_env(VARIABLE) else { return Ok(None) };
    let given = parse_names(&names.into_vec());
    let numbers: Vec<i32> = given.iter().filter_map(|(_, number)| *number).collect();
    let malformed = || ExecError::Died { process: "the process that started this one" };
    let fds = sys::adopt_descriptors(&numbers).ok_or_else(malformed)?;
    let with_numbers = given.iter().filter(|(_, number)| number.is_some());
    let mut files: BTreeMap<String, OwnedFd> =
        with_numbers.map(|(name, _)| name.clone()).zip(fds).collect();
    let life = files.remove(LIFE).ok_or_else(malformed)?;
    let terminal = given.iter().any(|(name, _)| name == TERMINAL);
    // Undone by an execution.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    allow_all_descriptors();
    let (files, life, launcher) = fork_launcher(files, life)?;
    die_with(life)?;
    Ok(Some(EngineProcess { launcher: Arc::new(launcher), files, terminal }))
}

fn parse_names(text: &[u8]) -> Vec<(String, Option<i32>)> {
    let text = String::from_utf8_lossy(text);
    let parts = text.split(';').filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, number)) => (name.to_owned(), number.parse().ok()),
            None => (part.to_owned(), None),
        })
        .collect()
}

/// As many descriptors as we may have: each layer of a step is one.
fn allow_all_descriptors() {
    let descriptors = rustix::process::getrlimit(Resource::Nofile);
    let most = Rlimit { current: descriptors.maximum, maximum: descriptors.maximum };
    let _ = rustix::process::setrlimit(Resource::Nofile, most);
}

type Files = BTreeMap<String, OwnedFd>;

fn fork_launcher(
    files: Files,
    life: OwnedFd,
) -> Result<(Files, OwnedFd, LauncherClient), ExecError> {
    let (own, theirs) = sys::socket::pair()
        .map_err(ExecError::prepare::<std::io::Error>("make the launcher's socket"))?;
    let engine = rustix::process::getpid().as_raw_nonzero().get();
    match sys::clone_process(0).map_err(ExecError::setup("start the launcher of steps"))? {
        Process::Child => {
            drop((files, life, own));
            launcher::run(theirs, engine)
        }
        Process::Parent { pid, .. } => Ok((files, life, LauncherClient::new(own, pid))),
    }
}

/// Ends this process when the first one has gone. The parent-death signal does the same, and neither is enough alone.
fn die_with(life: OwnedFd) -> Result<(), ExecError> {
    let wait = move || {
        let mut byte = [0];
        let _ = rustix::io::retry_on_intr(|| rustix::io::read(&life, &mut byte));
        sys::step::exit_now(1)
    };
    // Signals are to go to the thread that waits for them.
    sys::signals::block_steering()
        .map_err(ExecError::prepare::<std::io::Error>("block signals"))?;
    let thread = thread::Builder::new().name("life".into()).spawn(wait);
    thread.map(|_| ()).map_err(ExecError::prepare::<std::io::Error>("start a thread"))
}

impl EngineProcess {
    /// The arguments of the command, without the program's name.
    pub fn arguments(&self) -> Vec<OsString> {
        std::env::args_os().skip(2).collect()
    }

    /// Takes one of the files that the process was started with.
    pub fn take_file(&mut self, name: &str) -> Option<OwnedFd> {
        self.files.remove(name)
    }

    /// What this machine allows.
    pub fn level(&self) -> Level {
        if !sys::in_user_namespace() {
            return Level::Root;
        }
        match sys::idmap::has_single_id() {
            true => Level::UserNsSingle,
            false => Level::UserNsRanges,
        }
    }

    /// A worker of this process.
    pub fn worker(&self, options: WorkerOptions) -> LocalWorker {
        LocalWorker::new(self.launcher.clone(), self.level(), options)
    }
}

/// Turns the signals that end a command into a [`Cancel`], and sends them on to an engine that runs. Call once, before
/// any other thread is started.
///
/// # Errors
/// When no thread can be started.
pub fn watch_signals(engine: Option<&EngineProcess>) -> Result<Cancel, ExecError> {
    sys::signals::block_steering()
        .map_err(ExecError::prepare::<std::io::Error>("block signals"))?;
    let cancel = Cancel::new();
    let own = cancel.clone();
    let keys_are_ours = !engine.is_some_and(|engine| engine.terminal);
    let watch = move || {
        while let Ok(signal) = sys::signals::wait_steering() {
            steer(signal, &own, keys_are_ours);
        }
    };
    let thread = thread::Builder::new().name("signals".into()).spawn(watch);
    thread.map_err(ExecError::prepare::<std::io::Error>("start a thread"))?;
    Ok(cancel)
}

fn steer(signal: i32, cancel: &Cancel, keys_are_ours: bool) {
    const ENDING: [Signal; 4] = [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP];
    const KEYS: [Signal; 2] = [Signal::INT, Signal::QUIT];
    let is_in = |set: &[Signal]| set.iter().any(|one| one.as_raw() == signal);
    if signal == Signal::TSTP.as_raw() {
        // The signal is blocked, so we stop ourselves; steps go on, as they do with any builder.
        if keys_are_ours {
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::STOP);
        }
        return;
    }
    if let Some(engine) = &*RUNNING.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = sys::pidfd::signal(engine.as_fd(), signal);
    }
    if is_in(&ENDING) && (keys_are_ours || !is_in(&KEYS)) {
        cancel.on_signal(signal);
        if cancel.is_forced() {
            end_soon(cancel.exit_code().unwrap_or(1));
        }
    }
}

/// Whoever asks twice is not kept waiting by what cannot be cancelled, such as writing to a pipe that nobody reads. The
/// store takes an end at any time.
fn end_soon(code: i32) {
    const GRACE: Duration = Duration::from_secs(3);
    static ASKED: std::sync::Once = std::sync::Once::new();
    ASKED.call_once(|| {
        let _ = thread::Builder::new().name("end".into()).spawn(move || {
            thread::sleep(GRACE);
            sys::step::exit_now(code)
        });
    });
}
