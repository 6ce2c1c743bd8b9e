//! Servers that nobody gets past: connections that fail before the first request.
//!
//! Owns what goes wrong in the handshake and what the other side said first. Answers no request.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use crate::wire::reset_at_close;

/// The root of [`DoorKind::Expired`] and [`DoorKind::NotYetValid`] as PEM.
pub const TIMES_ROOT_PEM: &str = include_str!("../testdata/tls/times-ca.pem");
const EXPIRED_PEM: &[u8] = include_bytes!("../testdata/tls/expired.pem");
const FUTURE_PEM: &[u8] = include_bytes!("../testdata/tls/future.pem");
const TIMES_KEY: &[u8] = include_bytes!("../testdata/tls/times.key");

/// What happens to whoever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorKind {
    /// The connection is reset in the middle of the handshake.
    Reset,
    /// It is closed there.
    Close,
    /// Bytes come that are no TLS.
    Garbage,
    /// The answer is plain http.
    PlainHttp,
    /// Nothing comes at all.
    Silence,
    /// The first half of a TLS record comes and no more.
    HalfRecord,
    /// A TLS alert: handshake failure.
    Alert,
    /// A certificate of 2001.
    Expired,
    /// A certificate of 2098.
    NotYetValid,
}

/// A server on a free port of the loopback interface; it ends when this is dropped.
pub struct Door {
    port: u16,
    stopped: Arc<AtomicBool>,
    firsts: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Door {
    /// Starts a server.
    pub fn start(kind: DoorKind) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let door = Door { port, stopped: Arc::default(), firsts: Arc::default() };
        let (stopped, firsts) = (door.stopped.clone(), door.firsts.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let firsts = firsts.clone();
                std::thread::spawn(move || meet(kind, stream, &firsts));
            }
        });
        door
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often somebody came and said something.
    pub fn count(&self) -> usize {
        self.firsts.lock().unwrap().len()
    }

    /// Whether anything was said that is no TLS.
    pub fn heard_plain_text(&self) -> bool {
        self.firsts.lock().unwrap().iter().any(|first| first.first() != Some(&0x16))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn meet(kind: DoorKind, mut stream: TcpStream, firsts: &Mutex<Vec<Vec<u8>>>) {
    let mut first = [0; 16];
    let Ok(count) = stream.peek(&mut first) else { return };
    if count == 0 {
        return;
    }
    firsts.lock().unwrap().push(first[..count].to_vec());
    let mut say = |bytes: &[u8]| {
        // What came must be taken, else the end of the connection is a reset.
        let _ = stream.read(&mut [0; 1 << 14]);
        let _ = stream.write_all(bytes);
    };
    match kind {
        DoorKind::Reset => {
            say(&[]);
            reset_at_close(&stream);
        }
        DoorKind::Close => say(&[]),
        DoorKind::Garbage => say(&[0xff; 64]),
        DoorKind::PlainHttp => say(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
        DoorKind::Alert => say(&[0x15, 3, 3, 0, 2, 2, 40]),
        DoorKind::Silence => std::thread::sleep(Duration::from_secs(20)),
        DoorKind::HalfRecord => {
            say(&[0x16, 3, 3, 0, 100, 2, 0, 0]);
            std::thread::sleep(Duration::from_secs(20));
        }
        DoorKind::Expired => shake_hands(stream, EXPIRED_PEM),
        DoorKind::NotYetValid => shake_hands(stream, FUTURE_PEM),
    }
}

fn shake_hands(mut stream: TcpStream, certificate: &[u8]) {
    let chain = CertificateDer::pem_slice_iter(certificate).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(TIMES_KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
    // Whoever looks at the certificate goes away here.
    let _ = connection.complete_io(&mut stream);
}
