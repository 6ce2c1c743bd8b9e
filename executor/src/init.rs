//! Process 1 of a step's outer pid namespace: starts the command, reaps, forwards signals, and dies with the launcher.
//!
//! It stays outside the step's mounts. When it ends, the kernel ends everything in its namespace.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use sys::{Process, namespaces, step};

use crate::sandbox::{Failure, Fds, HelperSpec, NetworkSpec, Report, SandboxSpec};
use crate::setup;

/// Place of the spec and of the status pipe among the descriptors; the spec's own places count from after them.
const SPEC: usize = 0;
const STATUS: usize = 1;

/// Becomes the init of a step.
pub(crate) fn run_step(fds: Fds, life: OwnedFd) -> ! {
    let Some((spec, status, fds)) = begin::<SandboxSpec>(fds, &life) else { step::exit_now(1) };
    for cgroup in &spec.cgroups {
        // "0" is the writer; before the cgroup namespace, so that the step's group is the root of its view.
        if let Err(errno) = rustix::io::write(fds.get(*cgroup), b"0") {
            let call = "write(cgroup.procs)".into();
            let what = "join the control group".into();
            failed(what, call, errno.raw_os_error()).write(&status);
            step::exit_now(1);
        }
    }
    let network = match spec.network {
        NetworkSpec::Loopback => namespaces::NETWORK,
        NetworkSpec::Host | NetworkSpec::Join(_) => 0,
    };
    let kinds = namespaces::PID
        | namespaces::MOUNT
        | namespaces::IPC
        | namespaces::UTS
        | namespaces::CGROUP
        | network;
    match sys::clone_process(kinds) {
        Ok(Process::Child) => setup::run(spec, fds, status),
        Ok(Process::Parent { pid, pidfd }) => {
            let forward = if spec.terminal { Forward::ButKeys } else { Forward::All };
            drop((fds, spec));
            watch(pid, &pidfd, &life, forward, &mut |ended| {
                Report::Ended(ended).write(&status);
                step::exit_now(0)
            })
        }
        Err(error) => {
            let what = "make the step's namespaces".into();
            failed(what, error.call().into(), error.errno()).write(&status);
            step::exit_now(1)
        }
    }
}

/// Becomes the init of a network helper, which may go into the background: the init stays until all has gone.
pub(crate) fn run_helper(fds: Fds, life: OwnedFd) -> ! {
    let Some((spec, status, fds)) = begin::<HelperSpec>(fds, &life) else { step::exit_now(1) };
    match sys::clone_process(0) {
        Ok(Process::Child) => exec_helper(&spec, &fds, &status),
        Ok(Process::Parent { pid, pidfd }) => {
            drop((fds, spec));
            let mut status = Some(status);
            watch(pid, &pidfd, &life, Forward::All, &mut |ended| {
                // Closed afterwards: its end-of-file is the answer of a helper that stays in the foreground.
                if let Some(status) = status.take() {
                    Report::Ended(ended).write(&status);
                }
                if ended != 0 {
                    step::exit_now(1);
                }
            })
        }
        Err(_) => step::exit_now(1),
    }
}

/// Ties our life to the launcher's and reads the spec.
fn begin<T: DeserializeOwned>(mut fds: Fds, life: &OwnedFd) -> Option<(T, OwnedFd, Fds)> {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // A dying process closes its files before its death signals are sent, so whoever dies now or later is seen.
    if has_hung_up(life.as_fd()) || fds.0.len() <= STATUS {
        return None;
    }
    let status = fds.0.remove(STATUS);
    let mut spec = File::from(fds.0.remove(SPEC));
    let mut text = Vec::new();
    spec.rewind().ok()?;
    spec.read_to_end(&mut text).ok()?;
    Some((serde_json::from_slice(&text).ok()?, status, fds))
}

fn has_hung_up(life: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(life, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Which signals go on to the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forward {
    All,
    /// The terminal sends those of keys to the command itself.
    ButKeys,
}

const KEYS: [i32; 4] =
    [Signal::INT.as_raw(), Signal::QUIT.as_raw(), Signal::TSTP.as_raw(), Signal::WINCH.as_raw()];

fn watch(
    pid: i32,
    pidfd: &OwnedFd,
    life: &OwnedFd,
    forward: Forward,
    ended: &mut dyn FnMut(i32),
) -> ! {
    let Ok(signals) = sys::signals::read_all() else { step::exit_now(1) };
    loop {
        // Before the wait: the command may have ended before the descriptor for signals existed.
        loop {
            match step::reap_any() {
                Ok(Some((reaped, status))) if reaped == pid => ended(status),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => step::exit_now(0), // no child is left
            }
        }
        let mut fds = [PollFd::new(&signals, PollFlags::IN), PollFd::new(life, PollFlags::IN)];
        let _ = poll(&mut fds, None);
        if !fds[1].revents().is_empty() {
            step::exit_now(1); // the launcher has gone
        }
        while let Some(signal) = signals.next() {
            let key = forward == Forward::ButKeys && KEYS.contains(&signal);
            if signal != Signal::CHILD.as_raw() && !key {
                let _ = sys::pidfd::signal(pidfd.as_fd(), signal);
            }
        }
    }
}

fn failed(what: String, call: String, errno: i32) -> Report {
    Report::Failed(Failure::Setup { what, call, errno })
}

fn exec_helper(spec: &HelperSpec, fds: &Fds, status: &OwnedFd) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let network = fds.get(spec.network);
    let stdio = spec.stdio.map(|fd| fds.get(fd));
    if let Err(error) = helper_descriptors(network, status, stdio) {
        let _ = std::io::stderr().write_all(format!("{error}\n").as_bytes());
        step::exit_now(126);
    }
    sys::signals::reset();
    let argument = |text: &String| {
        let text = text
            .replace("{network}", &format!("/proc/self/fd/{}", network.as_raw_fd()))
            .replace("{ready}", &status.as_raw_fd().to_string());
        CString::new(text).unwrap_or_default()
    };
    let argv: Vec<CString> = spec.argv.iter().map(argument).collect();
    let path = c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let error = match argv.first() {
        Some(program) => nix::unistd::execve(program, &argv, &[path]).err(),
        None => None,
    };
    let _ = std::io::stderr().write_all(format!("{error:?}\n").as_bytes());
    step::exit_now(127)
}

/// Standard descriptors as wanted; of the rest only the two that the helper may need stay over the execution.
fn helper_descriptors(
    network: &OwnedFd,
    status: &OwnedFd,
    stdio: [&OwnedFd; 3],
) -> std::io::Result<()> {
    rustix::stdio::dup2_stdin(stdio[0])?;
    rustix::stdio::dup2_stdout(stdio[1])?;
    rustix::stdio::dup2_stderr(stdio[2])?;
    for fd in [network, status] {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}
