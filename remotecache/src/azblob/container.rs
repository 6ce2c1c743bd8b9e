//! Requests to one container: each try signed anew, refusals told in the service's own words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use oci::Descriptor;
use registry::{
    BlobReader, RegistryClient, RegistryError, Service, ServiceAnswer, ServiceCall, ServiceError,
    percent,
};

use super::sign::{self, ToSign};
use crate::{AzblobOptions, xml};

/// Answers that are read whole, besides small blobs, are not longer than this.
const ANSWER_MAX_BYTES: u64 = 1 << 20;
/// Version of the service's interface.
const VERSION: &str = "2021-08-06";
/// What every content is: the signature names it, so it is always sent.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A container and the way to it.
pub(super) struct Container {
    service: Service,
    /// Scheme, host and port.
    origin: String,
    /// The address' own path and the container's name, percent-encoded.
    base_path: String,
    account: String,
    key: Vec<u8>,
    is_made: AtomicBool,
}

/// One request about a key.
#[derive(Default)]
struct Ask<'a> {
    method: &'static str,
    key: &'a str,
    query: &'a [(&'a str, &'a str)],
    /// Names in lower case that begin with `x-ms-`.
    headers: Vec<(&'static str, String)>,
    body: Option<&'a [u8]>,
}

impl Container {
    pub(super) fn new(
        options: &AzblobOptions,
        client: &RegistryClient,
    ) -> Result<Container, RegistryError> {
        // A signature in the address would be sent along and shown.
        let url = options.account_url.split(['?', '#']).next().unwrap_or_default();
        let service = client.service(&format!("azblob container {}", options.container), url)?;
        let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        let wrong_key = |_| ServiceError::configuration("secret_access_key", "it is not base64");
        let key = service.retrying("use the account's key", || {
            STANDARD.decode(options.secret_access_key.reveal().trim()).map_err(wrong_key)
        })?;
        Ok(Container {
            service,
            origin: format!("{scheme}://{host}"),
            base_path: format!("{path}/{}", percent::encode(&options.container)),
            account: options.account_name.clone(),
            key,
            is_made: AtomicBool::new(false),
        })
    }

    /// Makes the container, once, when it is not there.
    pub(super) fn make(&self) -> Result<(), RegistryError> {
        if self.is_made.load(Ordering::Relaxed) {
            return Ok(());
        }
        let query = [("restype", "container")];
        let look = Ask { method: "HEAD", query: &query, ..Ask::default() };
        let found = self.service.retrying("look for the container", || match self.once(&look) {
            Ok(_) => Ok(true),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        })?;
        if !found {
            let make = Ask { method: "PUT", query: &query, body: Some(&[]), ..Ask::default() };
            self.service.retrying("make the container", || match self.once(&make) {
                // Somebody else was faster.
                Err(error) if error.status() != Some(409) => Err(error),
                _ => Ok(()),
            })?;
        }
        self.is_made.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Size of a blob; `None` when it is not there.
    pub(super) fn size_of(&self, key: &str) -> Result<Option<u64>, RegistryError> {
        let ask = Ask { method: "HEAD", key, ..Ask::default() };
        self.service.retrying(&format!("look for {key}"), || match self.once(&ask) {
            Ok(answer) => Ok(answer.header("content-length").and_then(|text| text.parse().ok())),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Reads a small blob whole; `None` when it is not there.
    pub(super) fn get(
        &self,
        key: &str,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let ask = Ask { method: "GET", key, ..Ask::default() };
        self.service.retrying(&format!("get {key}"), || match self.once(&ask) {
            Ok(answer) => answer.read("the blob", limit_bytes).map(Some),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Opens a blob; reading goes on after a cut.
    pub(super) fn blob(
        self: &Arc<Self>,
        key: &str,
        blob: &Descriptor,
    ) -> Result<BlobReader, RegistryError> {
        let (container, key) = (self.clone(), key.to_owned());
        self.service.blob(blob.digest, blob.size_bytes, move |from_byte| {
            let range = (from_byte > 0).then(|| ("x-ms-range", format!("bytes={from_byte}-")));
            let headers = range.into_iter().collect();
            container.once(&Ask { method: "GET", key: &key, headers, ..Ask::default() })
        })
    }

    /// Writes a blob in one request, whatever was there.
    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let headers = vec![("x-ms-blob-type", "BlockBlob".to_owned())];
        self.run(&Ask { method: "PUT", key, headers, body: Some(bytes), ..Ask::default() })
    }

    /// Sends a part of a blob.
    pub(super) fn put_block(&self, key: &str, id: &str, bytes: &[u8]) -> Result<(), RegistryError> {
        let query = [("comp", "block"), ("blockid", id)];
        let body = Some(bytes);
        self.run(&Ask { method: "PUT", key, query: &query, body, ..Ask::default() })
    }

    /// Puts the parts together.
    pub(super) fn put_block_list(&self, key: &str, ids: &[String]) -> Result<(), RegistryError> {
        let body = xml::block_list(ids);
        let query = [("comp", "blocklist")];
        let body = Some(body.as_bytes());
        self.run(&Ask { method: "PUT", key, query: &query, body, ..Ask::default() })
    }

    /// Does a request until it is answered with success.
    fn run(&self, ask: &Ask<'_>) -> Result<(), RegistryError> {
        self.service.retrying(&format!("put {}", ask.key), || {
            self.once(ask)?.read("the answer", ANSWER_MAX_BYTES).map(drop)
        })
    }

    /// One signed try. Everything but success is an error.
    fn once(&self, ask: &Ask<'_>) -> Result<ServiceAnswer, ServiceError> {
        let now = Timestamp::try_from(self.service.now()).unwrap_or_default();
        let mut headers = ask.headers.clone();
        headers.push(("x-ms-date", now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()));
        headers.push(("x-ms-version", VERSION.to_owned()));
        let mut path = self.base_path.clone();
        if !ask.key.is_empty() {
            path += &format!("/{}", percent::encode_path(ask.key));
        }
        let signed: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let to_sign = ToSign {
            method: ask.method,
            account: &self.account,
            path: &path,
            query: ask.query,
            headers: &signed,
            content_type: if ask.body.is_some() { CONTENT_TYPE } else { "" },
            content_bytes: ask.body.map_or(0, <[u8]>::len),
        };
        let authorization = Some(sign::authorization(&to_sign, &self.key));
        let query: Vec<String> = (ask.query.iter())
            .map(|(name, value)| format!("{name}={}", percent::encode(value)))
            .collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{mark}{}", self.origin, query.join("&"));
        if ask.body.is_some() {
            headers.push(("content-type", CONTENT_TYPE.to_owned()));
        }
        let body = ask.body;
        let call = ServiceCall { method: ask.method, url: &url, headers, authorization, body };
        let answer = self.service.send(&call)?;
        match answer.status() {
            200..=299 => Ok(answer),
            _ => Err(refusal(answer)),
        }
    }
}

/// What a refusal means: code and the first line of the message. What follows quotes what was signed.
fn refusal(answer: ServiceAnswer) -> ServiceError {
    // An answer to HEAD has no body.
    let code = answer.header("x-ms-error-code").map(str::to_owned);
    answer.into_error(|body| {
        let text = String::from_utf8_lossy(body);
        let error = xml::texts(&text, "Error").next().unwrap_or_default();
        let message = xml::text(error, "Message").unwrap_or_default();
        let message = message.lines().next().unwrap_or_default();
        let code = code.or_else(|| xml::text(error, "Code")).unwrap_or_default();
        Some(if message.is_empty() { code } else { format!("{code}: {message}") })
    })
}
