//! The cache service of GitHub Actions, in both of its versions: entries that are found by key, reserved, filled and
//! then never changed.
//!
//! Version 2 answers to JSON over POST and hands out signed URLs of a blob store; version 1 takes the content itself.

use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oci::{Descriptor, Digest};
use registry::{
    BlobReader, RegistryClient, RegistryError, RetryPolicy, Secret, Service, ServiceAnswer,
    ServiceCall, ServiceError, percent,
};
use serde::Deserialize;
use serde_json::json;

use crate::parts::{Part, Slots, send_parts};
use crate::{GhaOptions, RemoteError, RemoteErrorKind, xml};

/// Answers of the service are not longer than this.
const ANSWER_MAX_BYTES: u64 = 64 << 10;
/// Content is sent in parts of this size.
const PART_BYTES: u64 = 16 << 20;
/// What marks entries of container builds; BuildKit's own, so that both share blobs.
const VERSION_OF: &[u8] = b"|go-actionscache-1.0";

/// The service, and who asks it.
pub(super) struct Api {
    service: Service,
    base: String,
    token: Secret,
    is_v2: bool,
}

/// An entry that is there.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its whole key.
    pub(super) key: String,
    url: String,
}

/// An entry that is ours to fill.
pub(super) struct Reserved {
    key: String,
    /// Version 1: its number. Version 2: where its content goes.
    place: String,
}

impl Api {
    pub(super) fn new(options: &GhaOptions, client: &RegistryClient) -> Result<Api, RemoteError> {
        let (url, is_v2) = choose(options).ok_or_else(|| {
            RemoteError::new(RemoteErrorKind::Configuration, "open a gha cache").because(
                "its url is not set; a job has it in ACTIONS_RESULTS_URL or ACTIONS_CACHE_URL",
            )
        })?;
        let service = client
            .service("GitHub Actions cache", &url)
            .map_err(|error| RemoteError::of_registry("open a gha cache", error))?;
        // The service refuses for minutes whoever asks it too often: twice the client's patience, and long waits.
        let usual = service.retry();
        let retry = RetryPolicy {
            tries: usual.tries.saturating_mul(2),
            max_delay: Duration::from_secs(90).min(usual.max_delay.saturating_mul(9)),
            ..usual.clone()
        };
        let service = service.with_retry(retry, Some(Duration::from_secs(options.timeout_s)));
        let base = url.trim_end_matches('/').to_owned();
        Ok(Api { service, base, token: options.token.clone(), is_v2 })
    }

    /// The newest entry whose key begins with `key`, in all scopes that the token may read.
    pub(super) fn find(&self, key: &str) -> Result<Option<Entry>, RegistryError> {
        self.service.retrying(&format!("look for {key}"), || self.find_once(key))
    }

    fn find_once(&self, key: &str) -> Result<Option<Entry>, ServiceError> {
        if self.is_v2 {
            let request = json!({"key": key, "restore_keys": [key], "version": version()});
            let found: Found2 = self.twirp("GetCacheEntryDownloadURL", &request)?;
            let is_found = found.ok && !found.signed_download_url.is_empty();
            return Ok(is_found
                .then_some(Entry { key: found.matched_key, url: found.signed_download_url }));
        }
        let query = format!("cache?keys={}&version={}", percent::encode(key), version());
        let answer = self.artifact("GET", &query, Vec::new(), None)?;
        if answer.status() == 204 {
            return Ok(None);
        }
        let body = answer.read("the answer", ANSWER_MAX_BYTES)?;
        if body.is_empty() {
            return Ok(None);
        }
        let found: Found1 = self.parse(&body)?;
        let is_found = !found.cache_key.is_empty() && !found.archive_location.is_empty();
        Ok(is_found.then_some(Entry { key: found.cache_key, url: found.archive_location }))
    }

    /// Reads a small entry whole.
    pub(super) fn get(&self, entry: &Entry, limit_bytes: u64) -> Result<Vec<u8>, RegistryError> {
        self.service.retrying(&format!("get {}", entry.key), || {
            self.content(&entry.url, 0)?.read("the entry", limit_bytes)
        })
    }

    /// Opens a blob's entry; reading goes on after a cut. A URL that is good no longer is asked for anew.
    pub(super) fn blob(
        self: &std::sync::Arc<Self>,
        key: &str,
        blob: &Descriptor,
    ) -> Result<Option<BlobReader>, RegistryError> {
        let Some(entry) = self.find(key)?.filter(|entry| entry.key == key) else {
            return Ok(None);
        };
        let (api, key) = (self.clone(), key.to_owned());
        let reader = self.service.blob(blob.digest, blob.size_bytes, move |from_byte| match api
            .content(&entry.url, from_byte)
        {
            Err(error) if matches!(error.status(), Some(401 | 403)) => {
                let again = api.find_once(&key)?.ok_or(error)?;
                api.content(&again.url, from_byte)
            }
            answer => answer,
        })?;
        Ok(Some(reader))
    }

    /// Begins an entry. `None` when it is there already, or somebody else is filling it.
    pub(super) fn reserve(&self, key: &str) -> Result<Option<Reserved>, RegistryError> {
        self.service.retrying(&format!("reserve {key}"), || {
            let request = json!({"key": key, "version": version()});
            let place = if self.is_v2 {
                let made = self.twirp::<Made2>("CreateCacheEntry", &request);
                made.and_then(|made| match made.ok && !made.signed_upload_url.is_empty() {
                    true => Ok(made.signed_upload_url),
                    false => Err(ServiceError::lasting("the service refused to make an entry")),
                })
            } else {
                self.reserve_1(&request)
            };
            match place {
                Ok(place) => Ok(Some(Reserved { key: key.to_owned(), place })),
                Err(error) if is_there_already(&error) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn reserve_1(&self, request: &serde_json::Value) -> Result<String, ServiceError> {
        let body = request.to_string();
        let headers = vec![("content-type", "application/json".to_owned())];
        let answer = self.artifact("POST", "caches", headers, Some(body.as_bytes()))?;
        let made: Made1 = self.parse(&answer.read("the answer", ANSWER_MAX_BYTES)?)?;
        Ok(made.cache_id.to_string())
    }

    /// Fills an entry and ends it.
    pub(super) fn fill(
        &self,
        entry: &Reserved,
        blob: &Descriptor,
        source: Box<dyn Read + Send>,
        slots: &Slots,
    ) -> Result<(), RemoteError> {
        let is_one = blob.size_bytes <= PART_BYTES;
        let send = |part: &Part| {
            let what = format!("put part {} of {}", part.number + 1, entry.key);
            let sent = self.service.retrying(&what, || match (self.is_v2, is_one) {
                (false, _) => self.chunk(entry, part),
                (true, true) => self.upload(&entry.place, &part.bytes, true),
                (true, false) => {
                    let id = percent::encode(&block_id(part.number));
                    let url = with_query(&entry.place, &format!("comp=block&blockid={id}"));
                    self.upload(&url, &part.bytes, false)
                }
            });
            sent.map_err(super::not_written)
        };
        let count = send_parts(blob, source, PART_BYTES, slots, &send)?.len();
        if self.is_v2 && !is_one {
            self.join_blocks(entry, count).map_err(super::not_written)?;
        }
        self.commit(entry, blob.size_bytes).map_err(super::not_written)
    }

    /// Version 1: a range of the content.
    fn chunk(&self, entry: &Reserved, part: &Part) -> Result<(), ServiceError> {
        if part.bytes.is_empty() {
            return Ok(());
        }
        let (first, length) = (part.offset_bytes, part.bytes.len() as u64);
        let headers = vec![
            ("content-type", "application/octet-stream".to_owned()),
            ("content-range", format!("bytes {first}-{}/*", first + length - 1)),
        ];
        let path = format!("caches/{}", entry.place);
        self.artifact("PATCH", &path, headers, Some(&part.bytes)).map(drop)
    }

    /// Version 2: the whole content, or a block of it, to the blob store. The URL is the credential.
    fn upload(&self, url: &str, bytes: &[u8], is_whole: bool) -> Result<(), ServiceError> {
        let mut headers = vec![("content-type", "application/octet-stream".to_owned())];
        if is_whole {
            headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
        }
        let body = Some(bytes);
        self.send(&ServiceCall { method: "PUT", url, headers, authorization: None, body }).map(drop)
    }

    fn join_blocks(&self, entry: &Reserved, count: usize) -> Result<(), RegistryError> {
        let ids: Vec<String> = (0..count).map(block_id).collect();
        let list = xml::block_list(&ids);
        let url = with_query(&entry.place, "comp=blocklist");
        self.service.retrying(&format!("put {} together", entry.key), || {
            self.upload(&url, list.as_bytes(), false)
        })
    }

    fn commit(&self, entry: &Reserved, size_bytes: u64) -> Result<(), RegistryError> {
        self.service.retrying(&format!("end {}", entry.key), || {
            if self.is_v2 {
                // The size is a 64-bit number, which JSON has as a text here.
                let (key, size) = (&entry.key, size_bytes.to_string());
                let request = json!({"key": key, "size_bytes": size, "version": version()});
                let done: Done2 = self.twirp("FinalizeCacheEntryUpload", &request)?;
                return match done.ok {
                    true => Ok(()),
                    false => Err(ServiceError::lasting("the service refused to end the entry")),
                };
            }
            let body = json!({"size": size_bytes}).to_string();
            let headers = vec![("content-type", "application/json".to_owned())];
            let path = format!("caches/{}", entry.place);
            self.artifact("POST", &path, headers, Some(body.as_bytes())).map(drop)
        })
    }

    /// Waits until somebody else may have filled an entry.
    pub(super) fn wait(&self) -> Result<(), RegistryError> {
        self.service.wait(Duration::from_secs(2).min(self.service.retry().max_delay))
    }

    /// Content of an entry from a byte on.
    fn content(&self, url: &str, from_byte: u64) -> Result<ServiceAnswer, ServiceError> {
        let range = (from_byte > 0).then(|| ("range", format!("bytes={from_byte}-")));
        let (headers, body) = (range.into_iter().collect(), None);
        self.send(&ServiceCall { method: "GET", url, headers, authorization: None, body })
    }

    /// A request of version 1.
    fn artifact(
        &self,
        method: &'static str,
        path: &str,
        mut headers: Vec<(&'static str, String)>,
        body: Option<&[u8]>,
    ) -> Result<ServiceAnswer, ServiceError> {
        headers.push(("accept", "application/json;api-version=6.0-preview.1".to_owned()));
        let url = format!("{}/_apis/artifactcache/{path}", self.base);
        let authorization = Some(format!("Bearer {}", self.token.reveal()));
        self.send(&ServiceCall { method, url: &url, headers, authorization, body })
    }

    /// A request of version 2.
    fn twirp<T: for<'a> Deserialize<'a>>(
        &self,
        method: &str,
        request: &serde_json::Value,
    ) -> Result<T, ServiceError> {
        let url =
            format!("{}/twirp/github.actions.results.api.v1.CacheService/{method}", self.base);
        let body = request.to_string();
        let answer = self.send(&ServiceCall {
            method: "POST",
            url: &url,
            headers: vec![("content-type", "application/json".to_owned())],
            authorization: Some(format!("Bearer {}", self.token.reveal())),
            body: Some(body.as_bytes()),
        })?;
        self.parse(&answer.read("the answer", ANSWER_MAX_BYTES)?)
    }

    fn send(&self, call: &ServiceCall<'_>) -> Result<ServiceAnswer, ServiceError> {
        let answer = self.service.send(call)?;
        match answer.status() {
            200..=299 => Ok(answer),
            _ => Err(answer.into_error(error_text)),
        }
    }

    fn parse<T: for<'a> Deserialize<'a>>(&self, body: &[u8]) -> Result<T, ServiceError> {
        // The answer may hold a signed URL, so it is not quoted.
        let malformed = |_| ServiceError::malformed(&self.base, "the answer makes no sense");
        serde_json::from_slice(body).map_err(malformed)
    }
}

#[derive(Deserialize)]
struct Found1 {
    #[serde(rename = "cacheKey", default)]
    cache_key: String,
    #[serde(rename = "archiveLocation", default)]
    archive_location: String,
}

#[derive(Deserialize)]
struct Made1 {
    #[serde(rename = "cacheId", alias = "cacheID")]
    cache_id: u64,
}

#[derive(Deserialize)]
struct Found2 {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    signed_download_url: String,
    #[serde(default)]
    matched_key: String,
}

#[derive(Deserialize)]
struct Made2 {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    signed_upload_url: String,
}

#[derive(Deserialize)]
struct Done2 {
    #[serde(default)]
    ok: bool,
}

/// The URL to ask, and whether it speaks version 2.
fn choose(options: &GhaOptions) -> Option<(String, bool)> {
    let given = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
    if options.version != Some(1)
        && let Some(url) = given(&options.url_v2)
    {
        return Some((url, true));
    }
    let url = given(&options.url)?;
    let is_v2 = match options.version {
        Some(version) => version >= 2,
        None => url.contains("results-receiver.actions.githubusercontent.com"),
    };
    Some((url, is_v2))
}

/// The version that all entries have.
fn version() -> String {
    Digest::of(VERSION_OF).hex()
}

/// Blocks of one blob need names of one length.
fn block_id(number: usize) -> String {
    STANDARD.encode(format!("shale-{number:08}"))
}

fn with_query(url: &str, query: &str) -> String {
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

fn is_there_already(error: &ServiceError) -> bool {
    let text = error.to_string().to_ascii_lowercase();
    error.status() == Some(409)
        || (matches!(error.status(), Some(400..=499))
            && (text.contains("already exists")
                || text.contains("already_exists")
                || text.contains("alreadyexists")))
}

/// What a refusal says, in any of the three forms.
fn error_text(body: &[u8]) -> Option<String> {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        code: String,
        msg: String,
        message: String,
        #[serde(rename = "typeKey")]
        type_key: String,
    }
    // Some answers begin with a byte order mark.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let members = match serde_json::from_slice::<Body>(body) {
        Ok(body) => vec![body.code, body.type_key, body.msg, body.message],
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let member = |name| xml::text(&text, name).unwrap_or_default();
            vec![member("Code"), member("Message")]
        }
    };
    let said: Vec<String> = members.into_iter().filter(|text| !text.is_empty()).collect();
    (!said.is_empty()).then(|| said.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: Option<&str>, url_v2: Option<&str>, version: Option<u32>) -> GhaOptions {
        GhaOptions {
            url: url.map(str::to_owned),
            url_v2: url_v2.map(str::to_owned),
            version,
            token: Secret::new(String::new()),
            scope: "buildkit".to_owned(),
            timeout_s: 600,
        }
    }

    #[test]
    fn the_newer_service_is_preferred() {
        let check = |url, url_v2, version, expect: Option<(&str, bool)>| {
            let got = choose(&options(url, url_v2, version));
            assert_eq!(got, expect.map(|(url, is_v2)| (url.to_owned(), is_v2)));
        };
        check(Some("http://a"), Some("http://b"), None, Some(("http://b", true)));
        check(Some("http://a"), Some("http://b"), Some(1), Some(("http://a", false)));
        check(Some("http://a"), None, Some(2), Some(("http://a", true)));
        check(Some("http://a"), Some(""), None, Some(("http://a", false)));
        let results = "https://results-receiver.actions.githubusercontent.com/";
        check(Some(results), None, None, Some((results, true)));
        check(None, None, None, None);
    }

    #[test]
    fn refusals_are_told_in_the_services_words() {
        let check = |body: &str, expect: Option<&str>| {
            assert_eq!(error_text(body.as_bytes()).as_deref(), expect);
        };
        check("{\"code\":\"already_exists\",\"msg\":\"x\"}", Some("already_exists: x"));
        check("\u{feff}{\"message\":\"m\",\"typeKey\":\"K\"}", Some("K: m"));
        check("<?xml?><Error><Code>C</Code><Message>M</Message></Error>", Some("C: M"));
        check("gone", None);
    }
}
