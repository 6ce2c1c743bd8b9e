//! A registry in this process that can be told to fail (style: every fault that real ones have).
//!
//! Speaks the OCI distribution API over HTTP/1.1, plain or TLS, on a free loopback port: pull, push, mount, tags,
//! and token or basic authentication.

mod api;
mod auth;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use oci::Digest;

use crate::http::{self, Hooks, Request, Response, Server, Service};

pub use crate::http::{Fault, FaultKind, Logged};
pub use auth::Auth;

/// A running registry; it ends when this is dropped.
pub struct TestRegistry(Server<Shared>);

/// How a registry is to behave.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who may do what.
    pub auth: Auth,
    /// Speak TLS with the certificate of [`crate::tls`].
    pub tls: bool,
    /// With TLS: speak only with clients that show [`crate::tls::CLIENT_PEM`].
    pub client_certificate: bool,
    /// Answer uploads with a `Location` at this base URL instead of an own path.
    pub upload_base: Option<String>,
    /// The longest body of an upload that is taken at once, in bytes.
    pub body_max_bytes: Option<usize>,
    /// Pieces of an upload are said to be at least so long, in bytes.
    pub piece_min_bytes: Option<usize>,
    /// Have the API for referrers.
    pub referrers: bool,
    /// So many tags are listed at once.
    pub tags_in_page: Option<usize>,
    /// Where tokens are to be had; empty for this registry's own `/token`.
    pub realm: String,
}

struct Shared {
    settings: Settings,
    address: SocketAddr,
    state: Mutex<State>,
}

/// Media type and bytes of a manifest.
pub type Manifest = (String, Arc<[u8]>);

#[derive(Default)]
struct State {
    blobs: HashMap<(String, Digest), Arc<[u8]>>,
    manifests: BTreeMap<(String, String), Manifest>,
    uploads: HashMap<String, Vec<u8>>,
    next_upload_keeps: Option<usize>,
    next_number: u64,
    tokens: HashMap<String, Vec<String>>,
}

impl TestRegistry {
    /// An open registry in plain http.
    pub fn start() -> TestRegistry {
        TestRegistry::start_with(Settings::default())
    }

    /// A registry with other settings.
    pub fn start_with(settings: Settings) -> TestRegistry {
        TestRegistry(Server::start(settings.tls, |address| Shared {
            settings,
            address,
            state: Mutex::default(),
        }))
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.0.address().to_string()
    }

    /// `127.0.0.1:port/name`.
    pub fn name(&self, name: &str) -> String {
        format!("{}/{name}", self.0.address())
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

    /// Of the next body of an upload so many bytes arrive, then the registry fails.
    pub fn cut_next_upload(&self, after_bytes: usize) {
        self.state().next_upload_keeps = Some(after_bytes);
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
        self.0.service().state()
    }
}

impl Deref for TestRegistry {
    type Target = Hooks;

    fn deref(&self) -> &Hooks {
        self.0.hooks()
    }
}

impl Service for Shared {
    fn answer(&self, request: &Request) -> Response {
        api::answer(self, request)
    }

    fn wants_client_certificate(&self) -> bool {
        self.settings.client_certificate
    }

    fn expire_tokens(&self) {
        self.state().tokens.clear();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `http://127.0.0.1:port`.
    fn base(&self) -> String {
        http::base(self.settings.tls, self.address)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}
