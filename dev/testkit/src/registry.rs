//! A registry in this process that can be told to fail (style: every fault that real ones have).
//!
//! Speaks the OCI distribution API over HTTP/1.1, plain or TLS, on a free loopback port: pull, push, mount, tags,
//! and token or basic authentication.

mod api;
mod auth;
mod http;

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use oci::Digest;

pub use auth::Auth;

/// A running registry; it ends when this is dropped.
pub struct TestRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// How a registry is to behave.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who may do what.
    pub auth: Auth,
    /// Speak TLS with the certificate of [`crate::tls`].
    pub tls: bool,
    /// Answer uploads with a `Location` at this base URL instead of an own path.
    pub upload_base: Option<String>,
    /// Where tokens are to be had; empty for this registry's own `/token`.
    pub realm: String,
}

/// Something to go wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Method of the requests that it hits; empty for any.
    pub method: &'static str,
    /// A part of their path and query; empty for any.
    pub path: String,
    /// How many requests it hits.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The body ends after so many bytes, then the connection is closed.
    CutBody(usize),
    /// The connection is closed without an answer.
    Close,
    /// The body is another one.
    Body(Vec<u8>),
    /// Headers are added to the answer or replace those it has.
    Headers(Vec<(&'static str, String)>),
    /// A `Range` header is not heeded.
    NoRange,
    /// A body without end.
    Endless,
    /// Every token given so far is no longer good.
    ExpireTokens,
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, for token requests.
    pub body: String,
    /// Status of the answer.
    pub status: u16,
}

struct Shared {
    settings: Settings,
    address: SocketAddr,
    stopped: AtomicBool,
    state: Mutex<State>,
}

/// Media type and bytes of a manifest.
pub type Manifest = (String, Arc<[u8]>);

#[derive(Default)]
struct State {
    blobs: HashMap<(String, Digest), Arc<[u8]>>,
    manifests: BTreeMap<(String, String), Manifest>,
    uploads: HashMap<String, Vec<u8>>,
    next_number: u64,
    faults: Vec<Fault>,
    log: Vec<Logged>,
    tokens: HashMap<String, Vec<String>>,
}

impl TestRegistry {
    /// An open registry in plain http.
    pub fn start() -> TestRegistry {
        TestRegistry::start_with(Settings::default())
    }

    /// A registry with other settings.
    pub fn start_with(settings: Settings) -> TestRegistry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            settings,
            address,
            stopped: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let server = shared.clone();
        std::thread::spawn(move || accept(&listener, &server));
        TestRegistry { address, shared }
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `127.0.0.1:port/name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Lets something go wrong. Earlier faults are used up first.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Shorthand for [`TestRegistry::fail`].
    pub fn fail_with(&self, method: &'static str, path: &str, times: u32, kind: FaultKind) {
        self.fail(Fault { method, path: path.to_owned(), times, kind });
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Logged> {
        self.state().log.clone()
    }

    /// `METHOD path status` of all requests so far, without queries.
    pub fn calls(&self) -> Vec<String> {
        let one = |l: &Logged| {
            let path = l.path.split('?').next().unwrap_or_default();
            format!("{} {path} {}", l.method, l.status)
        };
        self.state().log.iter().map(one).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    /// Stores a blob.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.state().blobs.insert((repository.to_owned(), digest), bytes.into());
        digest
    }

    /// Stores a manifest under its digest and a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) {
        let mut state = self.state();
        for name in [tag.to_owned(), Digest::of(bytes).to_string()] {
            let value = (media_type.to_owned(), Arc::from(bytes));
            state.manifests.insert((repository.to_owned(), name), value);
        }
    }

    /// A blob's bytes.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Arc<[u8]>> {
        self.state().blobs.get(&(repository.to_owned(), *digest)).cloned()
    }

    /// Media type and bytes of a manifest by tag or digest.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Manifest> {
        self.state().manifests.get(&(repository.to_owned(), name.to_owned())).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `http://127.0.0.1:port`.
    fn base(&self) -> String {
        let scheme = if self.settings.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

impl State {
    /// Takes one use of the first fault that fits a request.
    fn take_fault(&mut self, method: &str, path: &str) -> Option<FaultKind> {
        let fits = |f: &Fault| {
            (f.method.is_empty() || f.method == method) && path.contains(f.path.as_str())
        };
        let at = self.faults.iter().position(fits)?;
        let fault = &mut self.faults[at];
        let kind = fault.kind.clone();
        fault.times = fault.times.saturating_sub(1);
        if fault.times == 0 {
            self.faults.remove(at);
        }
        Some(kind)
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            // A client that goes away is not this server's failure.
            let _ = if shared.settings.tls {
                let connection = rustls::ServerConnection::new(crate::tls::server_config());
                let mut tls = rustls::StreamOwned::new(connection.unwrap(), stream);
                http::serve(&mut tls, &shared)
            } else {
                http::serve(&mut { stream }, &shared)
            };
        });
    }
}
