//! The cache service of GitHub Actions in this process, in both of its versions, and the blob store behind its second:
//! entries that never change, scopes, signed URLs that can expire.

mod api;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::http::{self, Hooks, Request, Response, Server, Service};

pub use crate::http::{Fault, FaultKind, Logged};

/// A running service; it ends when this is dropped.
pub struct TestActions(Server<Shared>);

struct Shared {
    base: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their making.
    entries: Vec<Entry>,
    /// Tokens and the scopes that they may read; the first one may be written.
    tokens: BTreeMap<String, Vec<String>>,
    /// A part of each signed URL that is good now.
    signature: u64,
}

struct Entry {
    key: String,
    version: String,
    scope: String,
    bytes: Vec<u8>,
    blocks: BTreeMap<String, Vec<u8>>,
    content: Option<Arc<[u8]>>,
}

impl TestActions {
    /// A service that knows no token yet.
    pub fn start() -> TestActions {
        TestActions(Server::start(false, |address| Shared {
            base: http::base(false, address),
            state: Mutex::default(),
        }))
    }

    /// Its URL, for both versions.
    pub fn url(&self) -> String {
        self.0.base()
    }

    /// A new job's token. It writes to the first scope and reads all of them, the first one before the others.
    pub fn token(&self, scopes: &[&str]) -> String {
        let permission = |at| if at == 0 { 3 } else { 1 };
        let listed: Vec<serde_json::Value> = scopes
            .iter()
            .enumerate()
            .map(|(at, scope)| serde_json::json!({"Scope": scope, "Permission": permission(at)}))
            .collect();
        let ac = serde_json::Value::from(listed).to_string();
        let mut state = self.state();
        let claims = serde_json::json!({"ac": ac, "number": state.tokens.len()}).to_string();
        let token = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        state.tokens.insert(token.clone(), scopes);
        token
    }

    /// From now on, URLs that were given out before are refused.
    pub fn expire_urls(&self) {
        self.state().signature += 1;
    }

    /// Keys of all entries that were ended, in the order of their making.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state();
        let ended = state.entries.iter().filter(|entry| entry.content.is_some());
        ended.map(|entry| entry.key.clone()).collect()
    }

    /// Content of the newest ended entry with a key.
    pub fn content(&self, key: &str) -> Option<Arc<[u8]>> {
        let state = self.state();
        state.entries.iter().rev().find(|entry| entry.key == key)?.content.clone()
    }

    /// Removes all entries with a key, as the service does with old ones.
    pub fn evict(&self, key: &str) {
        self.state().entries.retain(|entry| entry.key != key);
    }

    /// Begins an entry that nobody ends.
    pub fn leave_unfinished(&self, key: &str, version: &str, scope: &str) {
        self.state().entries.push(Entry::new(key, version, scope));
    }

    /// Makes an entry with the newest one's version.
    pub fn put(&self, key: &str, scope: &str, content: &[u8]) {
        let version = self.version().unwrap();
        let content = Some(content.into());
        self.state().entries.push(Entry { content, ..Entry::new(key, &version, scope) });
    }

    /// Version of the newest entry.
    pub fn version(&self) -> Option<String> {
        self.state().entries.last().map(|entry| entry.version.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.service().state()
    }
}

impl Deref for TestActions {
    type Target = Hooks;

    fn deref(&self) -> &Hooks {
        self.0.hooks()
    }
}

impl Entry {
    fn new(key: &str, version: &str, scope: &str) -> Entry {
        Entry {
            key: key.to_owned(),
            version: version.to_owned(),
            scope: scope.to_owned(),
            bytes: Vec::new(),
            blocks: BTreeMap::new(),
            content: None,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Service for Shared {
    fn answer(&self, request: &Request) -> Response {
        api::answer(self, request)
    }
}
