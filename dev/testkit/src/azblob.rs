//! Azure's blob storage as far as caches need it, in this process: containers, blobs whole and in blocks, ranges, and
//! signatures with an account's key. Paths begin with the account's name, as with the service's own emulator.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http::{Hooks, Request, Response, Server, Service, decode};
use crate::s3::hmac;

pub use crate::http::FaultKind;

/// Name of the one account.
pub const ACCOUNT: &str = "testaccount";
/// Its key.
pub const KEY: &[u8] = b"the key of the test account";

/// A running server; it ends when this is dropped.
pub struct TestAzblob(Server<Shared>);

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    containers: Vec<String>,
    blobs: BTreeMap<String, Arc<[u8]>>,
    blocks: BTreeMap<(String, String), Vec<u8>>,
}

impl TestAzblob {
    /// A server with an account and no container.
    pub fn start() -> TestAzblob {
        TestAzblob(Server::start(false, |_| Shared::default()))
    }

    /// Address of the account.
    pub fn url(&self) -> String {
        format!("{}/{ACCOUNT}", self.0.base())
    }

    /// The account's key in base64.
    pub fn key(&self) -> String {
        STANDARD.encode(KEY)
    }

    /// `container/name` of all blobs.
    pub fn names(&self) -> Vec<String> {
        self.0.service().state().blobs.keys().cloned().collect()
    }

    /// A blob's bytes, by container and name.
    pub fn blob(&self, name: &str) -> Option<Arc<[u8]>> {
        self.0.service().state().blobs.get(name).cloned()
    }
}

impl Deref for TestAzblob {
    type Target = Hooks;

    fn deref(&self) -> &Hooks {
        self.0.hooks()
    }
}

impl Service for Shared {
    fn answer(&self, request: &Request) -> Response {
        if request.header("authorization") != Some(&authorization(request)) {
            return error(403, "AuthenticationFailed");
        }
        let path = decode(request.path());
        let Some(name) = path.strip_prefix(&format!("/{ACCOUNT}/")) else {
            return error(400, "InvalidUri");
        };
        let query = |key: &str| request.query(key).into_iter().next().unwrap_or_default();
        let mut state = self.state();
        if query("restype") == "container" {
            return state.container(request, name);
        }
        let container = name.split('/').next().unwrap_or_default();
        if !state.containers.iter().any(|have| have == container) {
            return error(404, "ContainerNotFound");
        }
        match (request.method.as_str(), query("comp").as_str()) {
            ("GET" | "HEAD", "") => state.get(request, name),
            ("PUT", "") if request.header("x-ms-blob-type") == Some("BlockBlob") => {
                state.blobs.insert(name.to_owned(), request.body.clone().into());
                Response::new(201)
            }
            ("PUT", "block") => {
                let id = query("blockid");
                state.blocks.insert((name.to_owned(), id), request.body.clone());
                Response::new(201)
            }
            ("PUT", "blocklist") => state.put_together(name, &request.body),
            _ => error(400, "UnsupportedHttpVerb"),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn container(&mut self, request: &Request, name: &str) -> Response {
        let is_there = self.containers.iter().any(|have| have == name);
        match (request.method.as_str(), is_there) {
            ("PUT", false) => {
                self.containers.push(name.to_owned());
                Response::new(201)
            }
            ("PUT", true) => error(409, "ContainerAlreadyExists"),
            (_, true) => Response::new(200),
            (_, false) => error(404, "ContainerNotFound"),
        }
    }

    fn get(&self, request: &Request, name: &str) -> Response {
        let Some(bytes) = self.blobs.get(name) else { return error(404, "BlobNotFound") };
        let range = request.header("x-ms-range").and_then(|text| text.strip_prefix("bytes="));
        let first = range.and_then(|text| text.strip_suffix('-')?.parse::<usize>().ok());
        match first.filter(|first| *first < bytes.len()) {
            Some(first) => {
                let (last, all) = (bytes.len() - 1, bytes.len());
                Response::new(206)
                    .with("content-range", format!("bytes {first}-{last}/{all}"))
                    .body(bytes[first..].to_vec())
            }
            None => Response::new(200).body(bytes.to_vec()),
        }
    }

    fn put_together(&mut self, name: &str, list: &[u8]) -> Response {
        let list = String::from_utf8_lossy(list);
        let ids = list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next());
        let mut bytes = Vec::new();
        for id in ids {
            match self.blocks.remove(&(name.to_owned(), id.to_owned())) {
                Some(block) => bytes.extend(block),
                None => return error(400, "InvalidBlockList"),
            }
        }
        self.blobs.insert(name.to_owned(), bytes.into());
        Response::new(201)
    }
}

/// What a request that the account's owner has made says of itself.
fn authorization(request: &Request) -> String {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let length = match header("content-length") {
        "0" => "",
        length => length,
    };
    let standard = [
        header("content-encoding"),
        header("content-language"),
        length,
        header("content-md5"),
        header("content-type"),
        header("date"),
        header("if-modified-since"),
        header("if-match"),
        header("if-none-match"),
        header("if-unmodified-since"),
        header("range"),
    ];
    let mut lines = vec![request.method.clone()];
    lines.extend(standard.map(str::to_owned));
    let own = request.headers.iter().filter(|(name, _)| name.starts_with("x-ms-"));
    lines.extend(own.map(|(name, value)| format!("{name}:{value}")));
    lines.push(format!("/{ACCOUNT}{}", request.path()));
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let mut pairs: Vec<String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| format!("{name}:{}", decode(value)))
        .collect();
    pairs.sort();
    lines.extend(pairs);
    format!("SharedKey {ACCOUNT}:{}", STANDARD.encode(hmac(KEY, &lines.join("\n"))))
}

fn error(status: u16, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>told so by {code}\nRequestId:1</Message></Error>"
    );
    Response::new(status).with("x-ms-error-code", code.to_owned()).body(body.into_bytes())
}
