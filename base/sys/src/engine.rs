//! The engine's start: one clone of a process that may have threads (design D1).
//!
//! Between the clone and the execution only system calls are made: another thread may hold the allocator's or a
//! printer's lock for ever in the copy. All that the child needs is prepared before.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::SysError;
use crate::clone::{namespaces, raw_clone};

/// What is executed and with what.
#[derive(Debug)]
pub struct EngineExec<'a> {
    /// Path of the running file.
    pub exe_path: &'a CStr,
    /// The running file, open for reading.
    pub exe: BorrowedFd<'a>,
    /// Arguments, the name first.
    pub argv: &'a [CString],
    /// Environment.
    pub env: &'a [CString],
    /// Descriptors that stay open in the child.
    pub keep: &'a [RawFd],
    /// A descriptor that the child must not have: the writing end of the pipe whose end-of-file means our death.
    pub life: BorrowedFd<'a>,
    /// A user namespace, too; its ids are to be mapped before [`Waiting::go`].
    pub user_namespace: bool,
    /// A session of its own: the terminal's signals do not reach it.
    pub new_session: bool,
}

/// A child that waits for its ids.
#[derive(Debug)]
pub struct Waiting {
    /// Its id.
    pub pid: i32,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    go: OwnedFd,
    report: OwnedFd,
}

/// Clones the calling process into new namespaces. Must be called by the thread that lives to the process's end: the
/// child dies with the thread that cloned it.
///
/// # Errors
/// As clone3(2): EPERM where no namespaces are allowed.
pub fn spawn_engine(exec: &EngineExec<'_>) -> Result<Waiting, SysError> {
    let (ready_read, ready_write) = pipe()?;
    let (go_read, go_write) = pipe()?;
    let (report_read, report_write) = pipe()?;
    let pointers = |list: &[CString]| {
        let mut pointers: Vec<*const c_char> = list.iter().map(|s| s.as_ptr()).collect();
        pointers.push(ptr::null());
        pointers
    };
    let (argv, env) = (pointers(exec.argv), pointers(exec.env));
    let child = ChildPlan {
        exec,
        argv: &argv,
        env: &env,
        close: [exec.life.as_raw_fd(), go_write.as_raw_fd(), ready_read.as_raw_fd()],
        ready: ready_write.as_raw_fd(),
        go: go_read.as_raw_fd(),
        report: report_write.as_raw_fd(),
    };
    let user = if exec.user_namespace { namespaces::USER } else { 0 };
    // SAFETY: the child runs `ChildPlan::run` alone, which makes system calls only and never returns.
    let (pid, pidfd) = match unsafe { raw_clone(namespaces::MOUNT | user) }? {
        (0, _) => child.run(),
        parent => parent,
    };
    // SAFETY: the kernel has just made this descriptor for us.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    drop((ready_write, go_read, report_write));
    // It has set its parent-death signal when it says so: from here on whoever dies is noticed.
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(&ready_read, &mut byte)) {
        Ok(1) => Ok(Waiting { pid, pidfd, go: go_write, report: report_read }),
        _ => Err(SysError::new("read(ready)", libc::EPIPE)),
    }
}

impl Waiting {
    /// Lets it execute itself; returns when it has.
    ///
    /// # Errors
    /// The call that failed in the child.
    pub fn go(self) -> Result<(i32, OwnedFd), SysError> {
        let Waiting { pid, pidfd, go, report } = self;
        rustix::io::write(&go, b"g")
            .map_err(|errno| SysError::new("write(go)", errno.raw_os_error()))?;
        drop(go);
        let mut bytes = [0; 8];
        match rustix::io::retry_on_intr(|| rustix::io::read(&report, &mut bytes)) {
            Ok(8) => {
                let word = |at: usize| {
                    i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
                };
                let stage = Stage::NAMES.get(word(0) as usize).copied().unwrap_or("child");
                Err(SysError::new(stage, word(4)))
            }
            _ => Ok((pid, pidfd)),
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), SysError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|errno| SysError::new("pipe2()", errno.raw_os_error()))
}

/// Where the child failed.
#[derive(Clone, Copy)]
enum Stage {
    Groups,
    Mounts,
    Copy,
    Exec,
}

impl Stage {
    const NAMES: [&'static str; 4] = [
        "setgroups(0)",
        "mount(\"/\", MS_REC|MS_SLAVE)",
        "memfd_create(own file)",
        "execveat(own file)",
    ];
}

struct ChildPlan<'a> {
    exec: &'a EngineExec<'a>,
    argv: &'a [*const c_char],
    env: &'a [*const c_char],
    close: [RawFd; 3],
    ready: RawFd,
    go: RawFd,
    report: RawFd,
}

impl ChildPlan<'_> {
    fn run(&self) -> ! {
        // SAFETY: this process is a copy with one thread; all calls below are plain system calls on numbers, on
        // constants and on buffers that were made before the clone or lie on this stack.
        unsafe {
            for fd in self.close {
                libc::close(fd);
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            if self.exec.new_session {
                libc::setsid();
            }
            let mut byte = 0u8;
            libc::write(self.ready, (&raw const byte).cast(), 1);
            libc::close(self.ready);
            if libc::read(self.go, (&raw mut byte).cast(), 1) != 1 {
                libc::_exit(1);
            }
            // Raw: the library's function would wait for threads that are not in this copy. EPERM: a single mapped id.
            if libc::syscall(libc::SYS_setgroups, 0usize, 0usize) != 0
                && *libc::__errno_location() != libc::EPERM
            {
                self.fail(Stage::Groups);
            }
            let flags = libc::MS_REC | libc::MS_SLAVE;
            if libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) != 0 {
                self.fail(Stage::Mounts);
            }
            for fd in self.exec.keep {
                libc::fcntl(*fd, libc::F_SETFD, 0);
            }
            self.exec_read_only();
            self.exec_copy()
        }
    }

    /// From a read-only mount of its own: not even root of a step can write to the file then. Returns when it cannot
    /// be had.
    ///
    /// # Safety
    /// As [`ChildPlan::run`].
    unsafe fn exec_read_only(&self) {
        // SAFETY: as in `run`; the structures are all-integer and filled by the kernel.
        unsafe {
            let clone = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
            let path = self.exec.exe_path.as_ptr();
            let tree = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path, clone) as c_int;
            if tree < 0 {
                return;
            }
            // The path may lead to another file by now.
            let mut by_path: libc::stat = std::mem::zeroed();
            let mut running: libc::stat = std::mem::zeroed();
            if libc::fstat(tree, &raw mut by_path) != 0
                || libc::fstat(self.exec.exe.as_raw_fd(), &raw mut running) != 0
                || (by_path.st_dev, by_path.st_ino) != (running.st_dev, running.st_ino)
            {
                return;
            }
            let attr = libc::mount_attr {
                attr_set: libc::MOUNT_ATTR_RDONLY
                    | libc::MOUNT_ATTR_NODEV
                    | libc::MOUNT_ATTR_NOSUID,
                attr_clr: 0,
                propagation: 0,
                userns_fd: 0,
            };
            let result = libc::syscall(
                libc::SYS_mount_setattr,
                tree,
                c"".as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw const attr,
                size_of::<libc::mount_attr>(),
            );
            if result == 0 {
                self.exec_fd(tree);
            }
        }
    }

    /// From a sealed copy in memory.
    ///
    /// # Safety
    /// As [`ChildPlan::run`].
    unsafe fn exec_copy(&self) -> ! {
        // SAFETY: as in `run`.
        unsafe {
            let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
            let copy = libc::syscall(libc::SYS_memfd_create, c"shale".as_ptr(), flags) as c_int;
            if copy < 0 {
                self.fail(Stage::Copy);
            }
            let mut offset: libc::off_t = 0;
            loop {
                let exe = self.exec.exe.as_raw_fd();
                match libc::sendfile(copy, exe, &raw mut offset, 1 << 30) {
                    0 => break,
                    1.. => {}
                    _ => self.fail(Stage::Copy),
                }
            }
            let seals =
                libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
            if libc::fcntl(copy, libc::F_ADD_SEALS, seals) != 0 {
                self.fail(Stage::Copy);
            }
            self.exec_fd(copy);
            self.fail(Stage::Exec)
        }
    }

    /// # Safety
    /// As [`ChildPlan::run`].
    unsafe fn exec_fd(&self, fd: c_int) {
        let (argv, env) = (self.argv.as_ptr(), self.env.as_ptr());
        // SAFETY: both lists end in a null pointer and their strings live on in this copy of the memory.
        unsafe {
            libc::syscall(libc::SYS_execveat, fd, c"".as_ptr(), argv, env, libc::AT_EMPTY_PATH);
        }
    }

    /// # Safety
    /// As [`ChildPlan::run`].
    unsafe fn fail(&self, stage: Stage) -> ! {
        // SAFETY: as in `run`.
        unsafe {
            let words = [stage as i32, *libc::__errno_location()];
            libc::write(self.report, words.as_ptr().cast(), size_of_val(&words));
            libc::_exit(1)
        }
    }
}
