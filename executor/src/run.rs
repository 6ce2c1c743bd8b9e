//! RUN: from a step's description to a sandbox, through its output and its end, to a layer.

mod watch;

use watch::{Asks, End};

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use graph::Security;
use progress::Stream;
use rustix::process::Signal;
use sys::{Cancel, SysError, caps};

use crate::cgroup::{self, StepGroups};
use crate::devices;
use crate::local::{LocalWorker, Started};
use crate::mounts::{self, Prepared};
use crate::network::StepNetwork;
use crate::platform::{self, Interpreter};
use crate::resolver;
use crate::rootfs::{self, Rootfs};
use crate::sandbox::{CommandSpec, Failure, FdList, FilterSpec, NetworkSpec, SandboxSpec, SetupOp};
use crate::stubs;
use crate::{ExecError, Exit, Level, NewLayer, OutputSink, RunEnd, RunStep};

/// What the host is called inside (XENV-04).
const HOSTNAME: &str = "buildkitsandbox";

/// Size of /dev/shm (XENV-08).
const SHM_SIZE_BYTES: u64 = 64 << 20;

/// The search path when the environment has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a step and commits what it changed.
pub(crate) fn run(
    worker: &LocalWorker,
    step: &RunStep<'_>,
    output: &mut dyn OutputSink,
    cancel: &Cancel,
) -> Result<RunEnd, ExecError> {
    let null = std::fs::File::open("/dev/null").map_err(ExecError::prepare("open /dev/null"))?;
    let (out, out_write) = pipe()?;
    let (err, err_write) = pipe()?;
    let stdio = [null.into(), out_write, err_write];
    let mut sandbox = prepare(worker, step, stdio, false, &mut |line| output.warn(line))?;
    let running = sandbox.start(worker)?;
    let pipes = vec![(Stream::Stdout, out), (Stream::Stderr, err)];
    let end = watch::to_the_end(running, pipes, output, cancel, Asks::WithTerm)?;
    if cancel.is_cancelled() {
        return Err(ExecError::Cancelled);
    }
    sandbox.finish(end)
}

/// Runs a step with our own descriptors and commits nothing.
pub(crate) fn attach(
    worker: &LocalWorker,
    step: &RunStep<'_>,
    warn: &mut dyn FnMut(&str),
    cancel: &Cancel,
) -> Result<Exit, ExecError> {
    let own = |fd: io::Result<OwnedFd>| fd.map_err(ExecError::prepare("use our descriptors"));
    let stdio = [
        own(rustix::stdio::stdin().try_clone_to_owned())?,
        own(rustix::stdio::stdout().try_clone_to_owned())?,
        own(rustix::stdio::stderr().try_clone_to_owned())?,
    ];
    let terminal = rustix::termios::isatty(&stdio[0]);
    let mut sandbox = prepare(worker, step, stdio, terminal, warn)?;
    let running = sandbox.start(worker)?;
    let nobody = &mut Nobody { warn };
    let end = watch::to_the_end(running, Vec::new(), nobody, cancel, Asks::WithItsSignal)?;
    // The command's own end counts, also when it was asked for.
    sandbox.finish(end).map(|end| end.exit)
}

/// Takes warnings alone: there is no output to take.
struct Nobody<'a> {
    warn: &'a mut dyn FnMut(&str),
}

impl OutputSink for Nobody<'_> {
    fn write(&mut self, _: Stream, _: &[u8]) {}

    fn warn(&mut self, message: &str) {
        (self.warn)(message);
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), ExecError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(ExecError::prepare("make a pipe"))
}

/// A sandbox that is ready to start, and all that has to live as long as it runs.
struct Prepare<'a> {
    step: &'a RunStep<'a>,
    root: Rootfs,
    spec: Option<(SandboxSpec, FdList)>,
    groups: StepGroups,
    _network: StepNetwork,
    _mounts: Prepared,
}

fn prepare<'a>(
    worker: &LocalWorker,
    step: &'a RunStep<'a>,
    stdio: [OwnedFd; 3],
    terminal: bool,
    warn: &mut dyn FnMut(&str),
) -> Result<Prepare<'a>, ExecError> {
    let run = step.run;
    let (root, mount) = rootfs::mount(step.layers, step.ingest, worker.level)?;
    let read = |path: &[u8]| sys::read_small(mount.as_fd(), path, tree::ACCOUNT_FILE_MAX_BYTES);
    let mut user = tree::lookup_user(&run.user, &read)?;
    check_ids(&user, worker.level)?;
    rootfs::make_workdir(mount.as_fd(), &run.workdir, user.uid, user.gid)
        .map_err(|source| ExecError::Workdir { path: run.workdir.clone(), source })?;
    let network = worker.network(run.network, warn)?;
    let mut fds = FdList::default();
    let (groups, joins, missing) = cgroup::for_step(run.cgroup_parent.as_deref(), &run.limits);
    for controller in missing {
        warn(&format!("the step has no {controller} limit: its control group cannot be made"));
    }
    let cgroups = joins.into_iter().map(|join| fds.add(join)).collect();
    let mut mounts = Prepared::default();
    generated_files(step, &network, &mut fds, &mut mounts)?;
    // An error is left to the execution: the caller asks before, and the kernel knows best.
    if let Ok(Interpreter::Shown(path)) = platform::interpreter(step.platform) {
        mounts.add_interpreter(&mut fds, &path)?;
    }
    devices::left_out(&step.devices).iter().for_each(|line| warn(line));
    let groups_of_devices = devices::add_to(&mut mounts, &mut fds, step, (user.uid, user.gid))?;
    user.groups.extend(groups_of_devices);
    mounts::prepare(step, worker.level, &mut fds, &mut mounts)?;
    let command = command(run, &user, &network, worker.level, &mounts, &mut fds)?;
    let spec = SandboxSpec {
        cgroups,
        network: network_spec(&network, &mut fds)?,
        setup: setup_ops(worker, step, mount, &mut fds, &mut mounts),
        command,
        stdio: stdio.map(|fd| fds.add(fd)),
        terminal,
        upper: fds.add(root.upper.try_clone().map_err(ExecError::prepare("dup"))?),
    };
    let spec = Some((spec, fds));
    Ok(Prepare { step, root, spec, groups, _network: network, _mounts: mounts })
}

/// A namespace with one id cannot run anybody but its root.
fn check_ids(user: &tree::User, level: Level) -> Result<(), ExecError> {
    if level == Level::UserNsSingle && (user.uid, user.gid) != (0, 0) {
        let problem = format!(
            "the step runs as {}:{}, and this account has no further ids: give it ranges in \
             /etc/subuid and /etc/subgid and install newuidmap (package uidmap)",
            user.uid, user.gid
        );
        return Err(ExecError::NeedsIsolation { problem });
    }
    Ok(())
}

/// /etc/resolv.conf, /etc/hosts (XENV-05 to XENV-07) and the scripts of heredocs (LEX-116).
fn generated_files(
    step: &RunStep<'_>,
    network: &StepNetwork,
    fds: &mut FdList,
    mounts: &mut Prepared,
) -> Result<(), ExecError> {
    let forwarder = match network {
        StepNetwork::Own(lease) => Some(&lease.network().forwarder),
        StepNetwork::Host | StepNetwork::Loopback => None,
    };
    let resolv = resolver::resolv_conf(&resolver::read_host(), forwarder);
    mounts.add_file(fds, "/etc/resolv.conf".into(), resolv.as_bytes(), 0o644)?;
    let hosts = resolver::hosts(hostname(step), &step.run.extra_hosts);
    mounts.add_file(fds, "/etc/hosts".into(), hosts.as_bytes(), 0o644)?;
    for script in &step.run.scripts {
        mounts.add_file(fds, format!("/dev/pipes/{}", script.name), &script.content, 0o755)?;
    }
    Ok(())
}

fn hostname<'a>(step: &'a RunStep<'_>) -> &'a str {
    step.run.hostname.as_deref().unwrap_or(HOSTNAME)
}

fn setup_ops(
    worker: &LocalWorker,
    step: &RunStep<'_>,
    root: OwnedFd,
    fds: &mut FdList,
    mounts: &mut Prepared,
) -> Vec<SetupOp> {
    let masked = step.run.security == Security::Sandbox;
    let mut ops = vec![
        SetupOp::Root(fds.add(root)),
        SetupOp::Hostname(hostname(step).to_owned()),
        SetupOp::Proc { masked, strict: worker.options.require_isolation },
        SetupOp::Sys { masked },
        SetupOp::Dev {
            shm_size_bytes: step.run.shm_size_bytes.unwrap_or(SHM_SIZE_BYTES),
            host: !masked,
        },
    ];
    ops.extend(mounts.take_ops());
    ops
}

fn network_spec(network: &StepNetwork, fds: &mut FdList) -> Result<NetworkSpec, ExecError> {
    Ok(match network {
        StepNetwork::Host => NetworkSpec::Host,
        StepNetwork::Loopback => NetworkSpec::Loopback,
        StepNetwork::Own(lease) => {
            let namespace = lease.network().namespace.try_clone();
            NetworkSpec::Join(fds.add(namespace.map_err(ExecError::prepare("dup"))?))
        }
    })
}

fn command(
    run: &graph::Run,
    user: &tree::User,
    network: &StepNetwork,
    level: Level,
    mounts: &Prepared,
    fds: &mut FdList,
) -> Result<CommandSpec, ExecError> {
    let env = environment(run, user, mounts);
    let path = env.iter().find(|(name, _)| name == "PATH");
    let path = path.map_or(PATH.into(), |(_, value)| String::from_utf8_lossy(value).into_owned());
    let mut text = Vec::new();
    for (name, value) in &env {
        text.extend([name.as_bytes(), b"=", value, b"\0"].concat());
    }
    let shared_network = matches!(network, StepNetwork::Host);
    let (capabilities, filter) = match (run.security, shared_network) {
        (Security::Insecure, _) => (caps::ALL, FilterSpec::Off),
        (Security::Sandbox, true) => {
            (caps::STEP & !caps::NET_RAW & !caps::NET_BIND_SERVICE, FilterSpec::On)
        }
        (Security::Sandbox, false) => (caps::STEP, FilterSpec::OnWithPackets),
    };
    let mut groups = vec![user.gid];
    groups.extend(user.groups.iter().filter(|group| **group != user.gid));
    Ok(CommandSpec {
        argv: run.argv.clone(),
        env: mounts::memory_file(fds, &text)?,
        path,
        workdir: run.workdir.clone(),
        uid: user.uid,
        gid: user.gid,
        groups: (level != Level::UserNsSingle).then_some(groups),
        capabilities,
        filter,
        limits: run.ulimits.iter().map(|l| (l.name.clone(), l.soft, l.hard)).collect(),
    })
}

/// The stage's variables, then proxies, secrets and the agent's socket; HOME when nobody set it (XENV-01, XENV-02).
fn environment(run: &graph::Run, user: &tree::User, mounts: &Prepared) -> Vec<(String, Vec<u8>)> {
    let mut env: Vec<(String, Vec<u8>)> = Vec::new();
    let mut set = |name: &str, value: &[u8]| match env.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value.to_vec(),
        None => env.push((name.to_owned(), value.to_vec())),
    };
    for (name, value) in run.env.iter().chain(&run.proxy_env) {
        set(name, value.as_bytes());
    }
    for (name, value) in &mounts.env {
        set(name, value);
    }
    let mut default = |name: &str, value: &[u8]| {
        if !env.iter().any(|(n, _)| n == name) {
            env.push((name.to_owned(), value.to_vec()));
        }
    };
    if let Some(socket) = &mounts.ssh_auth_sock {
        default("SSH_AUTH_SOCK", socket.as_bytes());
    }
    default("PATH", PATH.as_bytes());
    default("HOME", &user.home);
    env
}

impl Prepare<'_> {
    fn start(&mut self, worker: &LocalWorker) -> Result<Started, ExecError> {
        let (spec, fds) = self.spec.take().expect("started once");
        worker.launcher.start_step(&spec, fds)
    }

    /// After the last process of the step has gone.
    fn finish(self, end: End) -> Result<RunEnd, ExecError> {
        if let Some(failure) = end.failure {
            return Err(self.explain(failure));
        }
        // No status: init was killed, and the command with it.
        let killed = Exit::Signal(end.asked.unwrap_or(Signal::KILL.as_raw()));
        let exit = end.status.map_or(killed, Exit::from_wait_status);
        let out_of_memory = self.groups.ran_out_of_memory();
        let layer = match exit {
            Exit::Code(0) => {
                stubs::remove(self.root.upper.as_fd(), &end.stubs)
                    .map_err(ExecError::prepare::<io::Error>("take out mount points"))?;
                self.root.commit()?;
                Some(NewLayer::default())
            }
            Exit::Code(_) | Exit::Signal(_) => None,
        };
        Ok(RunEnd { exit, out_of_memory, layer })
    }

    fn explain(&self, failure: Failure) -> ExecError {
        let program = self.step.run.argv.first().cloned().unwrap_or_default();
        match failure {
            Failure::Setup { what, call, errno } => {
                ExecError::Setup { what, source: SysError::new(call, errno) }
            }
            Failure::Mount { target, problem } => ExecError::Mount { target, problem },
            Failure::Workdir { errno } => ExecError::Workdir {
                path: self.step.run.workdir.clone(),
                source: io::Error::from_raw_os_error(errno),
            },
            Failure::Limit { name, errno } => {
                ExecError::Limit { name, source: io::Error::from_raw_os_error(errno) }
            }
            Failure::ProgramNotFound => ExecError::ProgramNotFound { program },
            Failure::InterpreterNotFound { program } => ExecError::InterpreterNotFound { program },
            Failure::Exec { program, errno } => {
                let source = SysError::new(format!("execve({program:?})"), errno);
                ExecError::NotExecutable { program, source }
            }
            Failure::Isolation(problem) => ExecError::NeedsIsolation { problem },
        }
    }
}
