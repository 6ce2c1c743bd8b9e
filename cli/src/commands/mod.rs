//! The commands: each takes what was typed, asks the engine, and says what came of it.

mod build;
mod cache;
mod call;
mod hand_off;
mod image;
mod images;
mod lists;
mod login;
mod metadata;
mod mounts;
mod problems;
mod registry;
mod run;
mod search;
mod streams;
mod transfer;
mod verify;
mod version;
mod why;

use std::ffi::OsString;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ::registry::{RegistryClient, RegistryError, RegistryOptions};
use clap::Parser as _;
use engine::{BuildError, BuildErrorKind, Environment, Facts};
use executor::WorkerOptions;
use executor::process::{EngineProcess, EngineStart, engine_started, run_engine, watch_signals};
use rustix::event::{PollFd, PollFlags, poll};
use store::{Store, StoreOptions};
use sys::Cancel;

use crate::args::{Cli, Command, DockerConfig, Surroundings, UsageError, cache_max, hint_for};
use crate::exit::Exit;
use crate::render::{LAST_WORDS, Report, Style, masked, plain_text, render_report};

/// From the first line to the exit code.
pub(crate) fn main() -> ExitCode {
    // The first thing: an engine forks its launcher while it has one thread.
    let engine = match engine_started() {
        Ok(engine) => engine,
        Err(error) => {
            say(&render_report(&Report::of(&error), Style { colours: false, excerpt: false }));
            return Exit::Environment.into();
        }
    };
    let arguments = match &engine {
        Some(engine) => engine.arguments(),
        None => std::env::args_os().skip(1).collect(),
    };
    let name = OsString::from("shale");
    match Cli::try_parse_from(std::iter::once(&name).chain(&arguments)) {
        Ok(cli) => run(cli, arguments, engine),
        Err(error) => {
            // A reader that went away is no reason to fail.
            let _ = error.print();
            if let Some(hint) = hint_for(&error, &arguments) {
                say(&format!("hint: {hint}\n"));
            }
            ExitCode::from(error.exit_code() as u8)
        }
    }
}

fn run(cli: Cli, arguments: Vec<OsString>, mut engine: Option<EngineProcess>) -> ExitCode {
    let mut around = Surroundings::here();
    if let Some(directory) = &cli.config {
        around.vars.insert("DOCKER_CONFIG".into(), directory.into());
    }
    let stdin = engine.as_mut().and_then(|engine| engine.take_file("stdin"));
    around.stdin_copy = stdin.map(|file| Arc::new(file.into()));
    let cancel = match watch_signals(engine.as_ref()) {
        Ok(cancel) => cancel,
        Err(error) => {
            say(&render_report(&Report::of(&error), Style { colours: false, excerpt: false }));
            return Exit::Environment.into();
        }
    };
    let said_root = engine.as_mut().and_then(|engine| read_handed(engine, "root"));
    let said_root = said_root.map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
    let root = cli.root;
    let cache_max = None;
    let mut process = Process { arguments, around, root, said_root, cache_max, engine, cancel };
    if !cli.command.may_make_store()
        && let Err(failure) = process.expect_store()
    {
        return process.report(&failure).into();
    }
    let done = match cli.command.in_short() {
        Command::Build(typed) => build::run(&mut process, &typed),
        Command::Images(typed) => image::images(&mut process, &typed),
        Command::Run(typed) => run::run(&mut process, &typed),
        Command::Pull(typed) => transfer::pull(&mut process, &typed),
        Command::Push(typed) => transfer::push(&mut process, &typed),
        Command::Save(typed) => images::save(&mut process, &typed),
        Command::Load(typed) => images::load(&mut process, &typed),
        Command::Import(typed) => images::import(&mut process, &typed),
        Command::Export(typed) => images::export(&mut process, &typed),
        Command::Tag(typed) => image::tag(&mut process, &typed),
        Command::Rmi(typed) => image::rmi(&mut process, &typed),
        Command::History(typed) => image::history(&mut process, &typed),
        Command::Inspect(typed) => image::inspect(&mut process, &typed),
        Command::Prune(typed) => cache::prune_all(&mut process, &typed),
        Command::Image(typed) => image::image(&mut process, &typed),
        Command::System(typed) => image::system(&mut process, &typed),
        Command::Cache(typed) => cache::run(&mut process, &typed),
        Command::Why(typed) => why::run(&mut process, &typed),
        Command::Login(typed) => login::login(&mut process, &typed),
        Command::Logout(typed) => login::logout(&mut process, &typed),
        Command::Registry(typed) => registry::run(&mut process, &typed),
        Command::Manifest(typed) => lists::manifest(&mut process, &typed),
        Command::Join(typed) => lists::join(&mut process, &typed),
        Command::Search(typed) => search::search(&mut process, &typed),
        Command::Version(typed) => version::version(&typed),
        // `Command::in_short` has turned it into what it is another name for.
        Command::Builder(_) => print(""),
    };
    match done {
        Ok(code) => code,
        Err(failure) => process.report(&failure).into(),
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong.
    Usage(UsageError),
    /// The engine said no.
    Engine(BuildError),
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Failure {
        Failure::Usage(error)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Failure {
        Failure::Engine(error)
    }
}

/// How a command ended.
pub(crate) type Done = Result<ExitCode, Failure>;

/// This process and what it has.
pub(crate) struct Process {
    /// The arguments without the program's name.
    pub(crate) arguments: Vec<OsString>,
    /// What it finds around it.
    pub(crate) around: Surroundings,
    /// `--root`.
    pub(crate) root: Option<PathBuf>,
    /// The store that the process which started this one uses.
    pub(crate) said_root: Option<PathBuf>,
    /// `--cache-max`.
    pub(crate) cache_max: Option<String>,
    /// Present in the process that runs steps.
    pub(crate) engine: Option<EngineProcess>,
    /// The wish to stop.
    pub(crate) cancel: Cancel,
}

impl Process {
    /// Opens the store.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        let root = self.store_root()?;
        let own_marks =
            sys::in_user_namespace() || !sys::probe::has_capability(sys::caps::SYS_ADMIN);
        let options = StoreOptions { boot_id: None, userxattr: own_marks };
        Store::open(&root, &options).map_err(|error| {
            let what = format!("cannot open the store {}", root.display());
            Failure::Engine(not_opened(BuildError::store(&what, error)))
        })
    }

    /// A directory that this very command names and that is not there is a slip, not an empty store. (What SHALE_ROOT
    /// names is settled for all commands, also for those before the first build.)
    fn expect_store(&self) -> Result<(), Failure> {
        let (Some(_), None) = (&self.root, &self.engine) else { return Ok(()) };
        let root = self.store_root()?;
        match std::fs::metadata(&root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = format!("there is no store at {}", root.display());
                Err(BuildError::new(BuildErrorKind::Environment, text)
                    .with_hint(
                        "look at --root; without it SHALE_ROOT counts. A build makes the store",
                    )
                    .into())
            }
            _ => Ok(()),
        }
    }

    /// Where the store is. In a user namespace everybody is root: there the first process has said it.
    fn store_root(&self) -> Result<PathBuf, UsageError> {
        match &self.said_root {
            Some(root) => Ok(root.clone()),
            None => self.around.store_root(self.root.as_deref()),
        }
    }

    /// What the engine needs. `facts` are what an earlier process has learnt.
    pub(crate) fn environment(
        &mut self,
        config: &DockerConfig,
        options: WorkerOptions,
    ) -> Result<Environment, Failure> {
        let registry = config
            .registry_options(&self.around)
            .map_err(|error| BuildError::of(BuildErrorKind::Dockerfile, error))?;
        let registry = self.client(registry);
        // Facts that cannot be read are asked for again.
        let facts = self.engine.as_mut().and_then(|engine| read_handed(engine, "facts"));
        Ok(Environment {
            store: self.store()?,
            registry: Arc::new(registry),
            worker: self.engine.as_ref().map(|engine| Arc::new(engine.worker(options)) as _),
            facts: Facts::from_json(&facts.unwrap_or_default()),
            cache_max: cache_max(self.cache_max.as_deref(), &self.around)?,
        })
    }

    /// A client whose transfers end when the command is told to stop: a registry that does not answer must not hold
    /// it up.
    pub(crate) fn client(&self, options: RegistryOptions) -> RegistryClient {
        let client = RegistryClient::new(options);
        let (ended, cancel) = (client.clone(), self.cancel.clone());
        // It lives as long as the process. Without it a stop takes as long as the next answer.
        let _ = std::thread::Builder::new().spawn(move || {
            let watch = || PollFd::from_borrowed_fd(cancel.fd(), PollFlags::IN);
            while poll(&mut [watch()], None) == Err(rustix::io::Errno::INTR) {}
            ended.stop();
        });
        client
    }

    /// Does the command again in a process that can run steps; its exit code is ours.
    pub(crate) fn in_engine(
        &self,
        facts: Option<&Facts>,
        stdin: Option<&std::fs::File>,
        terminal: bool,
    ) -> Done {
        let failed = |error| BuildError::io("cannot hand on what is known", error);
        let root = self.store_root()?;
        let mut files = vec![hand("root", root.as_os_str().as_bytes()).map_err(failed)?];
        if let Some(facts) = facts {
            files.push(hand("facts", &facts.to_json()).map_err(failed)?);
        }
        if let Some(stdin) = stdin {
            files.push(("stdin".to_owned(), stdin.try_clone().map_err(failed)?.into()));
        }
        let start = EngineStart { args: self.arguments.clone(), files, terminal };
        let exit = run_engine(start)
            .map_err(|error| BuildError::of(BuildErrorKind::Environment, error))?;
        Ok(ExitCode::from(exit.code() as u8))
    }

    /// How errors look here. On a terminal the underlined line says all that docker's excerpt would.
    pub(crate) fn style(&self) -> Style {
        Style { colours: self.around.colours(), excerpt: !self.around.stderr_terminal }
    }

    fn report(&self, failure: &Failure) -> Exit {
        match failure {
            Failure::Usage(error) => {
                let hint = error.hint.clone();
                say(&render_report(&Report { hint, ..Report::of(error) }, self.style()));
                Exit::Usage
            }
            Failure::Engine(error) => {
                let stopped = self.cancel.signal().and_then(|_| stopped(error));
                let error = stopped.as_ref().unwrap_or(error);
                let text = render_report(&engine_report(error), self.style());
                match self.cancel.signal() {
                    Some(_) => say_soon(text),
                    None => say(&text),
                }
                let terminated = self.cancel.exit_code() == Some(Exit::Terminated as i32);
                Exit::of(error.kind(), terminated)
            }
        }
    }
}

/// What a command really failed with that had been told to stop: streams and transfers that end then look broken.
/// What a step or a Dockerfile is to blame for has come before.
fn stopped(error: &BuildError) -> Option<BuildError> {
    let is_moving = matches!(error.kind(), BuildErrorKind::Files | BuildErrorKind::Registry);
    is_moving.then(BuildError::cancelled)
}

/// A store that does not open for another reason than a full disk or its version is the machine's fault, not the
/// command's.
fn not_opened(error: BuildError) -> BuildError {
    match error.kind() {
        BuildErrorKind::Files | BuildErrorKind::Environment => error
            .of_kind(BuildErrorKind::Environment)
            .with_hint("name a directory of your own for the store with --root or SHALE_ROOT"),
        _ => error,
    }
}

/// Puts bytes into memory for the process that runs steps.
fn hand(name: &str, bytes: &[u8]) -> std::io::Result<(String, OwnedFd)> {
    let memory = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(bytes)?;
    Ok((name.to_owned(), file.into()))
}

/// What [`hand`] put there; `None` when there is nothing of the name.
fn read_handed(engine: &mut EngineProcess, name: &str) -> Option<Vec<u8>> {
    let mut file = std::fs::File::from(engine.take_file(name)?);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).ok()?;
    Some(bytes)
}

fn engine_report(error: &BuildError) -> Report<'_> {
    const NO_SPACE: &str =
        "`shale cache prune` frees what no image needs, --root names a store on another disk";
    let usual = (error.kind() == BuildErrorKind::DiskFull).then_some(NO_SPACE);
    Report {
        diagnostics: error.diagnostics(),
        hint: error.hint().or(usual).map(str::to_owned).or_else(|| registry_hint(error)),
        ..Report::of(error)
    }
}

/// What the registry's own error says is to be done, wherever in the chain it is.
fn registry_hint(error: &BuildError) -> Option<String> {
    let own = error.own_cause();
    let mut next = own.map(|cause| cause as &(dyn std::error::Error + 'static));
    while let Some(cause) = next {
        if let Some(refused) = cause.downcast_ref::<RegistryError>() {
            return refused.hint();
        }
        // The error that an I/O error carries is not among its sources.
        let carried = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match carried {
            Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
            None => cause.source(),
        };
    }
    None
}

/// Writes to standard output. A reader that went away is no reason to fail.
pub(crate) fn print(text: &str) -> Done {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(BuildError::io("cannot write to standard output", error).into())
        }
        _ => Ok(Exit::Ok.into()),
    }
}

/// Writes to standard error; there is nobody to tell if that fails.
pub(crate) fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Says it if that can be done soon: whoever stopped the command may not read any more.
fn say_soon(text: String) {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        say(&text);
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(LAST_WORDS);
}

/// Says a warning on standard error.
pub(crate) fn warn(message: &str) {
    say(&format!("warning: {}\n", plain_text(&masked(message))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_does_not_open_is_the_machine_s_fault() {
        let check = |root: &std::path::Path, want: BuildErrorKind| {
            let options = StoreOptions { boot_id: None, userxattr: false };
            let error = Store::open(root, &options).expect_err("no store");
            let error = not_opened(BuildError::store("cannot open the store", error));
            assert_eq!(error.kind(), want, "{error:?}");
        };
        // The kernel makes no directories there, and says that the one above does not exist.
        check(std::path::Path::new("/proc/x"), BuildErrorKind::Environment);
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        check(&file.path().join("store"), BuildErrorKind::Environment);
        let newer = BuildError::new(BuildErrorKind::NewerStore, "of next year");
        assert_eq!(not_opened(newer).kind(), BuildErrorKind::NewerStore);
    }
}
