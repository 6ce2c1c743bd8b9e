//! An ssh agent with one key that signs nothing: enough to see that a step reaches it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

const LIST_KEYS: u8 = 11;
const KEYS: u8 = 12;
const FAILURE: u8 = 5;

/// Listens at a path for as long as the process lives.
pub(super) fn start(path: &Path) -> PathBuf {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is no failure.
            std::thread::spawn(move || serve(stream).ok());
        }
    });
    path.to_owned()
}

fn serve(mut stream: UnixStream) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length).min(1 << 18) as usize];
        stream.read_exact(&mut message)?;
        let answer = match message.first() {
            Some(&LIST_KEYS) => keys(),
            _ => vec![FAILURE],
        };
        stream.write_all(&prefixed(&answer))?;
    }
}

fn keys() -> Vec<u8> {
    let public: Vec<u8> = (0..32).collect();
    let key = [prefixed(b"ssh-ed25519"), prefixed(&public)].concat();
    [&[KEYS, 0, 0, 0, 1][..], &prefixed(&key), &prefixed(b"conformance key")].concat()
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("messages are short");
    [&length.to_be_bytes(), bytes].concat()
}
