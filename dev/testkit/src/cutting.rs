//! A way to a real server that breaks once: bytes are passed on both ways, and the first connection that has carried so
//! many of them in one direction is cut.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A running way; it ends with this value.
pub struct CuttingWay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: String,
    stopped: AtomicBool,
    /// Bytes to and from the server after which a connection is cut; `u64::MAX` once that was done.
    cut_at: [AtomicU64; 2],
    cuts: AtomicU64,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

impl CuttingWay {
    /// A way to `host:port` on a free port of the loopback interface. It cuts nothing yet.
    pub fn to(host: &str) -> CuttingWay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: host.to_owned(),
            stopped: AtomicBool::new(false),
            cut_at: [AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)],
            cuts: AtomicU64::new(0),
        });
        let own = shared.clone();
        std::thread::spawn(move || accept(&listener, &own));
        CuttingWay { address, shared }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Cuts the next connection that carries so many bytes that way; once.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.cut_at[direction as usize].store(bytes, Ordering::SeqCst);
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for CuttingWay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(client), Ok(server)) = (client, TcpStream::connect(&shared.to)) else { continue };
        for (direction, from, to) in
            [(Direction::Up, &client, &server), (Direction::Down, &server, &client)]
        {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let shared = shared.clone();
            std::thread::spawn(move || carry(from, to, direction, &shared));
        }
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, direction: Direction, shared: &Shared) {
    let mut buffer = vec![0; 16 << 10];
    let mut carried = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        carried += length as u64;
        let limit = &shared.cut_at[direction as usize];
        let at = limit.load(Ordering::SeqCst);
        let exchange = |new| limit.compare_exchange(at, new, Ordering::SeqCst, Ordering::SeqCst);
        if carried >= at && exchange(u64::MAX).is_ok() {
            shared.cuts.fetch_add(1, Ordering::SeqCst);
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
