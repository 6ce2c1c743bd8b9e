//! The agent of a `--mount=type=ssh`: a socket of ours that lets signing through and nothing else (security.md E6).
//! Behind it stands an agent of the machine, or keys that this process has read.

mod files;
mod keys;
mod wire;

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub use keys::{KeyError, Keys};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

/// Longest message either way; what OpenSSH's agent takes.
const MESSAGE_MAX_BYTES: u32 = 256 << 10;

/// Connections of a step at a time: each costs this process a thread and descriptors.
const CONNECTIONS_MAX: usize = 128;

/// Messages of the agent protocol that a step may send.
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// Its answer to everything else.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// Who signs for a step.
#[derive(Clone, Debug)]
pub enum Agent {
    /// An agent that listens at a socket of this machine.
    Socket(PathBuf),
    /// Keys of files.
    Keys(Keys),
}

/// An agent of ours at a socket for a program of this machine. It ends when this is dropped; the socket's directory is
/// the caller's.
#[derive(Debug)]
pub struct ServedAgent {
    _proxy: AgentProxy,
}

impl ServedAgent {
    /// Serves an agent at a new socket that only this user may use.
    ///
    /// # Errors
    /// What the file system refuses.
    pub fn start(agent: Agent, dir: &Path, name: &str) -> io::Result<ServedAgent> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(dir, flags, Mode::empty())?;
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (proxy, _) = serve(&dir, name, (0o600, owner.0, owner.1), agent)?;
        Ok(ServedAgent { _proxy: proxy })
    }
}

/// A running proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct AgentProxy {
    ended: Arc<AtomicBool>,
    listener: UnixListener,
    thread: Option<thread::JoinHandle<()>>,
}

/// Makes a socket `name` in `dir` with mode and owner, and serves it. The socket's descriptor (`O_PATH`) is for
/// mounting.
///
/// # Errors
/// What the file system refuses.
pub(crate) fn serve(
    dir: &OwnedFd,
    name: &str,
    (mode, uid, gid): (u32, u32, u32),
    agent: Agent,
) -> io::Result<(AgentProxy, OwnedFd)> {
    // By way of procfs: the path of the directory may be longer than an address takes.
    let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))?;
    rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let ended = Arc::new(AtomicBool::new(false));
    let (accepting, flag) = (listener.try_clone()?, ended.clone());
    let thread = thread::Builder::new().name("ssh-agent".into()).spawn(move || {
        let agent = Arc::new(agent);
        while let Ok((step, _)) = accepting.accept() {
            if flag.load(Ordering::SeqCst) {
                return;
            }
            // One for this thread, one for each connection; what is too much is closed at once.
            if Arc::strong_count(&agent) > CONNECTIONS_MAX {
                continue;
            }
            let agent = agent.clone();
            let _ =
                thread::Builder::new().name("ssh-agent".into()).spawn(move || relay(step, &agent));
        }
    })?;
    Ok((AgentProxy { ended, listener, thread: Some(thread) }, socket))
}

impl Drop for AgentProxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one connection until either end closes it or breaks the protocol.
fn relay(mut step: UnixStream, agent: &Agent) {
    let mut behind = match agent {
        Agent::Keys(keys) => Behind::Keys(keys),
        Agent::Socket(path) => match UnixStream::connect(path) {
            Ok(stream) => Behind::Stream(stream),
            Err(_) => return,
        },
    };
    while let Ok(Some(request)) = read_message(&mut step) {
        let answer = match request.get(4) {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => behind.answer(&request),
            _ => Some(FAILURE.to_vec()),
        };
        let Some(answer) = answer else { return };
        if step.write_all(&answer).is_err() {
            return;
        }
    }
}

/// What stands behind one connection.
enum Behind<'a> {
    Keys(&'a Keys),
    Stream(UnixStream),
}

impl Behind<'_> {
    /// The answer to a message that may pass; `None` when the agent has gone.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        match self {
            Behind::Keys(keys) => Some(keys.answer(request)),
            Behind::Stream(agent) => {
                agent.write_all(request).ok()?;
                read_message(agent).ok().flatten()
            }
        }
    }
}

/// One message with its length; `None` at the end.
fn read_message(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let bytes = u32::from_be_bytes(length);
    if bytes == 0 || bytes > MESSAGE_MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = length.to_vec();
    message.resize(4 + bytes as usize, 0);
    stream.read_exact(&mut message[4..])?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut message = (body.len() as u32 + 1).to_be_bytes().to_vec();
        message.push(kind);
        message.extend_from_slice(body);
        message
    }

    #[test]
    fn e6_only_list_and_sign_pass() {
        let dir = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(dir.path().join("agent")).unwrap();
        let seen = thread::spawn(move || {
            let (mut stream, _) = agent.accept().unwrap();
            let mut kinds = Vec::new();
            while let Ok(Some(request)) = read_message(&mut stream) {
                kinds.push(request[4]);
                stream.write_all(&message(12, b"answer")).unwrap();
            }
            kinds
        });
        let fd = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let me = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let owner = (0o600, me.0, me.1);
        let (proxy, _socket) =
            serve(&fd, "socket", owner, Agent::Socket(dir.path().join("agent"))).unwrap();
        let path = dir.path().join("socket");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut step = UnixStream::connect(&path).unwrap();
        for (kind, answer) in [(11, 12), (17, 5), (13, 12), (19, 5), (22, 5), (27, 5)] {
            step.write_all(&message(kind, b"x")).unwrap();
            assert_eq!(read_message(&mut step).unwrap().unwrap()[4], answer, "{kind}");
        }
        step.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(read_message(&mut step).unwrap().is_none(), "a lying length ends it");
        assert_eq!(seen.join().unwrap(), [11, 13]);
        drop(proxy);
        assert!(UnixStream::connect(&path).is_err());
    }

    #[test]
    fn e6_a_step_has_some_connections_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let agent = UnixListener::bind(dir.path().join("agent")).unwrap();
        let behind = Agent::Socket(dir.path().join("agent"));
        let proxy = ServedAgent::start(behind, dir.path(), "socket").unwrap();
        let path = dir.path().join("socket");
        let connect = || (UnixStream::connect(&path).unwrap(), agent.accept().unwrap());
        let open: Vec<_> = (0..CONNECTIONS_MAX).map(|_| connect()).collect();
        let mut refused = UnixStream::connect(&path).unwrap();
        assert_eq!(refused.read(&mut [0]).unwrap(), 0, "closed at once");
        drop(open);
        drop(proxy);
        assert!(UnixStream::connect(&path).is_err());
    }
}
