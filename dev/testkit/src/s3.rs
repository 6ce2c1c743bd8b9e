//! A bucket in this process that can be told to fail: signatures, ranges, uploads in parts, copies, lists and
//! conditional writes as S3 has them.

mod api;
mod signature;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::http::{Hooks, Request, Response, Server, Service};

pub(crate) use signature::hmac;

pub use crate::http::{Fault, FaultKind, Logged};

/// A running server with one bucket; it ends when this is dropped.
pub struct TestS3(Server<Shared>);

/// How a server is to behave.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Name of the bucket.
    pub bucket: String,
    /// The region that requests must be signed for.
    pub region: String,
    /// Who may do everything.
    pub access_key_id: String,
    /// The secret of that.
    pub secret_access_key: String,
    /// A token that requests must carry, signed.
    pub session_token: Option<String>,
    /// How far this server's clock is ahead, in seconds.
    pub clock_ahead_s: i64,
    /// Speak TLS with the certificate of [`crate::tls`].
    pub tls: bool,
}

impl Default for S3Settings {
    fn default() -> S3Settings {
        S3Settings {
            bucket: "bucket".to_owned(),
            region: "eu-test-1".to_owned(),
            access_key_id: "TESTKEY".to_owned(),
            secret_access_key: "test/secret+key".to_owned(),
            session_token: None,
            clock_ahead_s: 0,
            tls: false,
        }
    }
}

struct Shared {
    settings: S3Settings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    next_number: u64,
}

#[derive(Clone)]
struct Object {
    bytes: Arc<[u8]>,
    /// Seconds since 1970, by this server's clock.
    written_s: i64,
}

struct Upload {
    key: String,
    parts: BTreeMap<u32, Vec<u8>>,
}

impl TestS3 {
    /// A server with the usual settings.
    pub fn start() -> TestS3 {
        TestS3::start_with(S3Settings::default())
    }

    /// A server with other settings.
    pub fn start_with(settings: S3Settings) -> TestS3 {
        TestS3(Server::start(settings.tls, |_| Shared { settings, state: Mutex::default() }))
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        self.0.base()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.0.address().port()
    }

    /// How it behaves.
    pub fn settings(&self) -> &S3Settings {
        &self.0.service().settings
    }

    /// Keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// An object's bytes.
    pub fn object(&self, key: &str) -> Option<Arc<[u8]>> {
        self.state().objects.get(key).map(|object| object.bytes.clone())
    }

    /// Stores an object.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let object = Object { bytes: bytes.into(), written_s: self.0.service().now_s() };
        self.state().objects.insert(key.to_owned(), object);
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) -> bool {
        self.state().objects.remove(key).is_some()
    }

    /// Makes all objects older.
    pub fn age(&self, by: Duration) {
        for object in self.state().objects.values_mut() {
            object.written_s -= i64::try_from(by.as_secs()).unwrap();
        }
    }

    /// How old an object is, in seconds.
    pub fn age_of(&self, key: &str) -> Option<i64> {
        let now_s = self.0.service().now_s();
        self.state().objects.get(key).map(|object| now_s - object.written_s)
    }

    /// Uploads in parts that have begun and not ended.
    pub fn open_uploads(&self) -> usize {
        self.state().uploads.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.service().state()
    }
}

impl Deref for TestS3 {
    type Target = Hooks;

    fn deref(&self) -> &Hooks {
        self.0.hooks()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn now_s(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.settings.clock_ahead_s
    }
}

impl Service for Shared {
    fn answer(&self, request: &Request) -> Response {
        let date = api::http_date(self.now_s());
        match signature::refuse(&self.settings, request, self.now_s()) {
            Some((status, code)) => api::error(status, code),
            None => api::answer(self, request),
        }
        .with("date", date)
    }
}
