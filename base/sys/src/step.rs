//! The last things a process does before it becomes the command of a step.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::SysError;
use crate::seccomp::Program;

/// What the command may do and who it is.
#[derive(Debug)]
pub struct Confinement<'a> {
    /// Bounding set, and for root also the permitted and effective sets.
    pub capabilities: u64,
    /// All sets have them, whoever the user is and whatever is executed (`--security=insecure`, RUN-26).
    pub are_ambient: bool,
    /// Filter of system calls.
    pub filter: Option<&'a Program>,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups; `None` where the namespace cannot set them (a single mapped id).
    pub groups: Option<&'a [u32]>,
}

/// Gives up what the command may not have, in the one order that works: bounding set (needs CAP_SETPCAP), keyring and
/// filter (need what they later forbid), groups, ids, and the remaining sets after the last change of ids.
///
/// # Errors
/// EINVAL for an id that is not mapped in the user namespace.
pub fn confine(to: &Confinement<'_>) -> Result<(), SysError> {
    drop_bounding(to.capabilities)?;
    join_new_keyring();
    if let Some(filter) = to.filter {
        filter.install()?;
    }
    if let Some(groups) = to.groups {
        // SAFETY: raw, as the library's function would signal threads; the slice outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
        check(result, || format!("setgroups({groups:?})"))?;
    }
    // SAFETY: raw for the same reason; numbers only.
    let result = unsafe { libc::syscall(libc::SYS_setresgid, to.gid, to.gid, to.gid) };
    check(result, || format!("setresgid({})", to.gid))?;
    // SAFETY: numbers only. An execution takes it back.
    let result =
        unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, u64::from(to.are_ambient), 0u64, 0u64, 0u64) };
    check(result.into(), || "prctl(PR_SET_KEEPCAPS)".into())?;
    // SAFETY: as above.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, to.uid, to.uid, to.uid) };
    check(result, || format!("setresuid({})", to.uid))?;
    if to.are_ambient {
        let all = set_capabilities(to.capabilities, to.capabilities)?;
        return raise_ambient(all);
    }
    set_capabilities(if to.uid == 0 { to.capabilities } else { 0 }, 0).map(drop)
}

fn check(result: libc::c_long, call: impl FnOnce() -> String) -> Result<(), SysError> {
    if result < 0 { Err(SysError::last(call())) } else { Ok(()) }
}

fn drop_bounding(keep: u64) -> Result<(), SysError> {
    for number in 0..64 {
        if keep >> number & 1 == 1 {
            continue;
        }
        // SAFETY: numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            let error = SysError::last(format!("prctl(PR_CAPBSET_DROP, {number})"));
            match error.errno() {
                libc::EINVAL => break, // the kernel has no more
                _ => return Err(error),
            }
        }
    }
    // SAFETY: numbers only.
    let result =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check(result.into(), || "prctl(PR_CAP_AMBIENT_CLEAR_ALL)".into())
}

/// A new session keyring, so that the caller's keys are out of reach (security.md D10). A kernel without keys has none
/// to hide.
fn join_new_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; numbers only.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0usize) };
}

/// Sets the effective and permitted sets, and the inheritable one, to what is wanted of what we have; a container may
/// have less than a machine. Returns what is effective then.
fn set_capabilities(wanted: u64, inheritable: u64) -> Result<u64, SysError> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut have = [0u32; 6]; // effective, permitted, inheritable; twice
    // SAFETY: both arrays have the layout that version 3 prescribes and outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), have.as_mut_ptr()) };
    check(result, || "capget()".into())?;
    let have = u64::from(have[1]) | u64::from(have[4]) << 32;
    let (wanted, inheritable) = (wanted & have, inheritable & have);
    let (low, high) = (wanted as u32, (wanted >> 32) as u32);
    let sets = [low, low, inheritable as u32, high, high, (inheritable >> 32) as u32];
    // SAFETY: as above.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    check(result, || format!("capset({wanted:#x})"))?;
    Ok(wanted)
}

fn raise_ambient(capabilities: u64) -> Result<(), SysError> {
    for number in (0..64u64).filter(|number| capabilities >> number & 1 == 1) {
        // SAFETY: numbers only.
        let result = unsafe {
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, number, 0u64, 0u64)
        };
        check(result.into(), || format!("prctl(PR_CAP_AMBIENT_RAISE, {number})"))?;
    }
    Ok(())
}

/// Makes `fds` the descriptors 0 to 2, `keep` number 3 (closed by an execution), and closes all others.
///
/// # Errors
/// As fcntl(2) and dup3(2).
pub fn set_descriptors(
    fds: [BorrowedFd<'_>; 3],
    keep: BorrowedFd<'_>,
) -> Result<OwnedFd, SysError> {
    let [stdin, stdout, stderr] = fds;
    let mut high = Vec::with_capacity(4);
    for fd in [stdin, stdout, stderr, keep] {
        // SAFETY: duplicates a descriptor that is open; the copy is ours.
        let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10) };
        check(copy.into(), || format!("fcntl({}, F_DUPFD_CLOEXEC)", fd.as_raw_fd()))?;
        high.push(copy);
    }
    for (number, copy) in high.iter().enumerate() {
        let flags = if number == 3 { libc::O_CLOEXEC } else { 0 };
        // SAFETY: replaces what has this number; no code of this process uses a descriptor after this function but the
        // ones made here, as its documentation demands.
        let result = unsafe { libc::dup3(*copy, number as i32, flags) };
        check(result.into(), || format!("dup3({copy}, {number})"))?;
    }
    // SAFETY: as above; numbers only.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 4u32, u32::MAX, 0u32) };
    check(result, || "close_range(4, ~0)".into())?;
    // SAFETY: 3 was made above and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(3) })
}

/// Ends the process at once: no destructor, no buffer, nothing that a copy of another process has no right to flush.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and runs no code of this process.
    unsafe { libc::_exit(code) }
}

/// Sends a signal to a process by its id; only sound for our own child that is not reaped yet.
///
/// # Errors
/// As kill(2).
pub fn kill_child(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: numbers only.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reaps a child that has ended, any one: its id and raw wait status. `None` when none has.
///
/// # Errors
/// ECHILD when there are no children at all.
pub fn reap_any() -> io::Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some((pid, status))),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reaps one child, waiting for its end: its raw wait status.
///
/// # Errors
/// ECHILD when it is not our child.
pub fn reap(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(pid, &raw mut status, 0) } {
            reaped if reaped == pid => return Ok(status),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
