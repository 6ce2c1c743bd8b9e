//! The command's process: sets up its file system operation by operation, gives up what it may not have, executes.
//!
//! It is a fork of a single-threaded process and alone in its namespaces; no untrusted code has run in them yet.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use sys::mount::Attributes;
use sys::seccomp::{PacketSockets, step_filter};
use sys::{SysError, caps, mount, step};

use crate::rootfs;
use crate::sandbox::{
    CommandSpec, Failure, FdRef, Fds, FilterSpec, NetworkSpec, Report, SandboxSpec, SetupOp, Stub,
};

/// The number of "permission denied".
const EACCES: i32 = nix::errno::Errno::EACCES as i32;

mod attach;
mod dev;
mod limits;
mod proc;

/// Becomes the command.
pub(crate) fn run(spec: SandboxSpec, fds: Fds, status: OwnedFd) -> ! {
    let failure = match prepare(&spec, &fds, &status) {
        Ok(env) => {
            // From here on our descriptors are 0 to 3 and nothing else; owners of the old numbers must not close them.
            let stdio = spec.stdio.map(|fd| fds.get(fd).as_fd());
            let result = step::set_descriptors(stdio, status.as_fd());
            std::mem::forget((fds, status));
            match result {
                Ok(status) => {
                    let failure = become_command(&spec.command, &env);
                    Report::Failed(failure).write(&status);
                    step::exit_now(125)
                }
                Err(_) => step::exit_now(125),
            }
        }
        Err(failure) => failure,
    };
    Report::Failed(failure).write(&status);
    step::exit_now(125)
}

/// A failed call of the set-up.
fn failed(what: impl Into<String>) -> impl FnOnce(SysError) -> Failure {
    let what = what.into();
    move |error| Failure::Setup { what, call: error.call().to_owned(), errno: error.errno() }
}

/// The same for the functions that give an I/O error.
fn failed_io<E: Into<std::io::Error>>(
    what: impl Into<String>,
    call: impl Into<String>,
) -> impl FnOnce(E) -> Failure {
    let (what, call) = (what.into(), call.into());
    move |error| failed(what)(SysError::from_io(call, &error.into()))
}

/// What the operations work on.
struct Sandbox<'a> {
    fds: &'a Fds,
    status: &'a OwnedFd,
    /// The machine's file system: what was our root so far.
    outside: OwnedFd,
    /// A tmpfs of this step for masks and small files, attached in the old root and gone with it.
    scratch: OwnedFd,
    covers: Covers,
    files: u32,
    /// The new root.
    root: Option<OwnedFd>,
    stubs: Vec<Vec<u8>>,
}

/// What hides files and directories of the kernel: empty ones of the scratch file system.
struct Covers {
    directory: OwnedFd,
    file: OwnedFd,
}

fn scratch_entry(scratch: &OwnedFd, name: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(scratch, name, flags, Mode::empty())
        .map_err(failed_io("use the scratch file system", format!("openat({name:?})")))
}

/// Everything but the last moments. Gives the environment.
fn prepare(spec: &SandboxSpec, fds: &Fds, status: &OwnedFd) -> Result<Vec<CString>, Failure> {
    if !spec.terminal {
        let _ = rustix::process::setsid();
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    match spec.network {
        NetworkSpec::Host => {}
        NetworkSpec::Loopback => {
            sys::network::loopback_up().map_err(failed("bring up the loopback interface"))?;
        }
        NetworkSpec::Join(network) => {
            sys::enter_network(fds.get(network).as_fd())
                .map_err(failed("enter the step's network"))?;
        }
    }
    let mut sandbox = Sandbox::new(fds, status)?;
    for op in &spec.setup {
        sandbox.apply(op)?;
    }
    sandbox.report_stubs(fds.get(spec.upper))?;
    // On the root it is there by now; a mount may cover it and have none.
    let CommandSpec { workdir, uid, gid, .. } = &spec.command;
    rootfs::make_workdir(sandbox.root()?, workdir, *uid, *gid)
        .map_err(|error| Failure::Workdir { errno: error.raw_os_error().unwrap_or(EACCES) })?;
    mount::enter_root(sandbox.root()?, 1).map_err(failed("enter the step's root"))?;
    environment(fds.get(spec.command.env))
}

fn environment(content: &OwnedFd) -> Result<Vec<CString>, Failure> {
    let bytes = read_memfd(content.as_fd())?;
    let entries = bytes.split(|b| *b == 0).filter(|entry| !entry.is_empty());
    Ok(entries.map(|entry| CString::new(entry).unwrap_or_default()).collect())
}

fn read_memfd(fd: BorrowedFd<'_>) -> Result<Vec<u8>, Failure> {
    let failed =
        |errno: rustix::io::Errno| failed_io("read a prepared file", "pread(memfd)")(errno);
    let size = rustix::fs::fstat(fd).map_err(failed)?.st_size as usize;
    let mut bytes = vec![0; size];
    let mut at = 0;
    while at < size {
        match rustix::io::pread(fd, &mut bytes[at..], at as u64).map_err(failed)? {
            0 => break,
            read => at += read,
        }
    }
    Ok(bytes)
}

impl<'a> Sandbox<'a> {
    fn new(fds: &'a Fds, status: &'a OwnedFd) -> Result<Sandbox<'a>, Failure> {
        let what = "make the scratch file system";
        let outside = mount::open_own_path(c"/").map_err(failed(what))?;
        let scratch = mount::new_filesystem(
            c"tmpfs",
            &[(c"size", c"16m"), (c"mode", c"755")],
            Attributes::NOSUID | Attributes::NODEV,
        )
        .map_err(failed(what))?;
        // On top of our root, which stays open: its insides are reached through `outside` alone from now on.
        mount::attach(scratch.as_fd(), outside.as_fd()).map_err(failed(what))?;
        for dir in ["root", "masked"] {
            rustix::fs::mkdirat(&scratch, dir, Mode::from_raw_mode(0o555))
                .map_err(failed_io(what, format!("mkdirat(\"{dir}\")")))?;
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(&scratch, "empty", flags, Mode::from_raw_mode(0o444))
            .map_err(failed_io(what, "openat(\"empty\")"))?;
        let covers = Covers {
            directory: scratch_entry(&scratch, "masked")?,
            file: scratch_entry(&scratch, "empty")?,
        };
        Ok(Sandbox {
            fds,
            status,
            outside,
            scratch,
            covers,
            files: 0,
            root: None,
            stubs: Vec::new(),
        })
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Failure> {
        let missing = || failed("use the root")(SysError::new("root before its time", 22));
        self.root.as_ref().map(AsFd::as_fd).ok_or_else(missing)
    }

    fn fd(&self, place: FdRef) -> BorrowedFd<'a> {
        self.fds.get(place).as_fd()
    }

    fn apply(&mut self, op: &SetupOp) -> Result<(), Failure> {
        match op {
            SetupOp::Root(mount) => self.attach_root(*mount),
            SetupOp::Proc { masked, strict } => self.mount_proc(*masked, *strict),
            SetupOp::Sys { masked } => self.mount_sys(*masked),
            SetupOp::Dev { shm_size_bytes, host } => self.mount_dev(*shm_size_bytes, *host),
            SetupOp::Attach { mount, target, directory } => {
                self.attach_at(self.fd(*mount), target, *directory)
            }
            SetupOp::Tmpfs { target, size_bytes, read_only } => {
                self.mount_tmpfs(target, *size_bytes, *read_only)
            }
            SetupOp::File(file) => self.mount_file(file),
            SetupOp::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .map_err(failed_io("set the host name", format!("sethostname({name:?})"))),
        }
    }

    fn attach_root(&mut self, mount: FdRef) -> Result<(), Failure> {
        let what = "attach the root";
        let at = scratch_entry(&self.scratch, "root")?;
        mount::attach(self.fd(mount), at.as_fd()).map_err(failed(what))?;
        // A mount's own descriptor stays what it was; ours is borrowed from the list, so a copy is kept.
        let copy = self.fd(mount).try_clone_to_owned();
        self.root = Some(copy.map_err(failed_io(what, "dup(root)"))?);
        Ok(())
    }

    fn report_stubs(&mut self, upper: &OwnedFd) -> Result<(), Failure> {
        let mut stubs = Vec::new();
        for path in std::mem::take(&mut self.stubs) {
            // Through the upper directory, where they are ordinary files.
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            if let Ok(fd) = sys::open_beneath(upper.as_fd(), &path, flags, Mode::empty()) {
                let stat = rustix::fs::fstat(&fd)
                    .map_err(failed_io("note the mount points", "fstat(stub)"))?;
                stubs.push(Stub { path, inode: stat.st_ino });
            }
        }
        Report::Stubs(stubs).write(self.status);
        Ok(())
    }
}

/// Gives up rights and executes. Returns why it could not.
fn become_command(command: &CommandSpec, env: &[CString]) -> Failure {
    let filter = match command.filter {
        FilterSpec::Off => None,
        FilterSpec::On => Some(step_filter(PacketSockets::Refused)),
        FilterSpec::OnWithPackets => Some(step_filter(PacketSockets::Allowed)),
    };
    let confinement = step::Confinement {
        capabilities: command.capabilities,
        are_ambient: command.capabilities == caps::ALL,
        filter,
        uid: command.uid,
        gid: command.gid,
        groups: command.groups.as_deref(),
    };
    // Not before: our own descriptors are more than a step may have.
    if let Err(failure) = limits::set(&command.limits) {
        return failure;
    }
    // As root first, like every container runtime: the directory may lie below one that the user must not enter.
    // Nothing outside of the root can be reached by it, our only descriptors are a step's own.
    let entered = rustix::process::chdir(command.workdir.as_str());
    if let Err(error) = step::confine(&confinement) {
        return failed("give up rights")(error);
    }
    sys::signals::reset();
    if let Err(errno) = entered.or_else(|_| rustix::process::chdir(command.workdir.as_str())) {
        return Failure::Workdir { errno: errno.raw_os_error() };
    }
    execute(command, env)
}

fn execute(command: &CommandSpec, env: &[CString]) -> Failure {
    let text = |text: &String| CString::new(text.as_bytes()).unwrap_or_default();
    let argv: Vec<CString> = command.argv.iter().map(text).collect();
    let Some(program) = command.argv.first().filter(|program| !program.is_empty()) else {
        return Failure::ProgramNotFound;
    };
    if program.contains('/') {
        return exec_file(program, &argv, env);
    }
    let mut refused = Failure::ProgramNotFound;
    for dir in command.path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        // A file that may not be executed does not end the search, as in a shell.
        match exec_file(&format!("{dir}/{program}"), &argv, env) {
            Failure::ProgramNotFound => {}
            failure @ Failure::Exec { errno: EACCES, .. } => refused = failure,
            failure => return failure,
        }
    }
    refused
}

fn exec_file(path: &str, argv: &[CString], env: &[CString]) -> Failure {
    let Ok(file) = CString::new(path) else { return Failure::ProgramNotFound };
    let errno = match nix::unistd::execve(&file, argv, env) {
        Err(errno) => errno,
        Ok(never) => match never {},
    };
    match errno {
        nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR => {
            if rustix::fs::stat(path).is_ok() {
                Failure::InterpreterNotFound { program: path.to_owned() }
            } else {
                Failure::ProgramNotFound
            }
        }
        errno => Failure::Exec { program: path.to_owned(), errno: errno as i32 },
    }
}
