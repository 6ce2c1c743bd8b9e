//! Downloads of single files (ADD-30 to ADD-41).

mod url;

use std::error::Error;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layer::Mtime;
use oci::{Digest, Hasher};
use ureq::http::{Response, header};
use ureq::{Agent, Body};

pub(crate) use url::Url;

use crate::ContextError;
use crate::error::Failure;

const REDIRECTS_MAX: usize = 10;

/// What is to be downloaded.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The URL; a user and password in it are sent to its own host only and never printed.
    pub url: &'a str,
    /// Digest that the content must have (ADD-39).
    pub checksum: Option<Digest>,
    /// Credentials for the host of the URL (ADD-38).
    pub auth: Option<&'a HttpAuth>,
    /// The content that the caller knows already (ADD-36).
    pub known: Option<KnownContent<'a>>,
    /// The longest content that is accepted.
    pub size_max_bytes: u64,
}

/// What an earlier download of a URL said of its content.
#[derive(Clone, Copy, Debug)]
pub struct KnownContent<'a> {
    /// Its ETag.
    pub etag: &'a str,
    /// [`HttpFile::location`]. The same ETag somewhere else says nothing.
    pub location: &'a str,
}

/// Why there is no agent for a URL.
pub type AgentError = Box<dyn Error + Send + Sync>;

/// Gives the agent for a URL; the second URL is the one that the user named, if a server named the first.
pub type AgentFor<'a> = dyn Fn(&str, Option<&str>) -> Result<Agent, AgentError> + 'a;

/// How downloads reach servers.
#[derive(Clone, Copy)]
pub struct Downloads<'a> {
    /// The agent for each request.
    pub agent: &'a AgentFor<'a>,
    /// Whether nobody wants the content any more; asked while it comes in.
    pub cancelled: &'a dyn Fn() -> bool,
    /// Is told how many bytes have come, and how many will if the server says it.
    pub told: &'a dyn Fn(u64, Option<u64>),
}

/// The value of an Authorization header.
#[derive(Clone)]
pub struct HttpAuth(String);

impl HttpAuth {
    /// A bearer token: HTTP_AUTH_TOKEN_<host>.
    pub fn bearer(token: &str) -> HttpAuth {
        HttpAuth(format!("Bearer {}", token.trim()))
    }

    /// The whole value of the header: HTTP_AUTH_HEADER_<host>.
    pub fn header(value: &str) -> HttpAuth {
        HttpAuth(value.trim().to_owned())
    }

    /// A user and a password.
    pub fn basic(user: &str, password: &str) -> HttpAuth {
        HttpAuth(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
    }

    pub(crate) fn value(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for HttpAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpAuth(…)")
    }
}

/// A file that was downloaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpFile {
    /// Digest of the content.
    pub digest: Digest,
    /// Length of the content.
    pub size_bytes: u64,
    /// Last-Modified (ADD-34).
    pub mtime: Option<Mtime>,
    /// ETag, to ask with the next time.
    pub etag: Option<String>,
    /// Where the redirects led: scheme, host, port and path. A query is left out, it may be a signature of the day.
    pub location: String,
}

/// Downloads a file into a new file of this machine, hashing as it goes. `None` when the server says that the content
/// with the known ETag is still the one; its body is not read then. Follows at most ten redirects, never to another
/// scheme than http and https, never from https to http, and gives credentials to nobody but the URL's own host
/// (security.md C11).
///
/// # Errors
/// A malformed URL, a server that cannot be reached or says no, content that is too long or has the wrong digest: the
/// file is removed then.
pub fn fetch_http(
    downloads: &Downloads<'_>,
    request: &HttpRequest<'_>,
    into: &Path,
) -> Result<Option<HttpFile>, ContextError> {
    let Some((response, location)) = get(downloads, request)? else { return Ok(None) };
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    // One without text would be the same as any other such.
    let etag = text(header::ETAG).filter(|etag| !etag.is_empty()).map(str::to_owned);
    let mtime = text(header::LAST_MODIFIED).and_then(http_date);
    let stored = store(response, downloads, request, into);
    if stored.is_err() {
        // Half a file must not be taken for a whole one; that it cannot be removed is the smaller error.
        let _ = std::fs::remove_file(into);
    }
    let (digest, size_bytes) = stored?;
    Ok(Some(HttpFile { digest, size_bytes, mtime, etag, location }))
}

/// Asks until something else than a redirect comes: the answer and where it came from.
fn get(
    downloads: &Downloads<'_>,
    request: &HttpRequest<'_>,
) -> Result<Option<(Response<Body>, String)>, ContextError> {
    let bad = |reason| {
        let url = Url::redact(request.url);
        ContextError(Failure::BadUrl { url, reason })
    };
    let (first, user) = Url::parse(request.url).map_err(bad)?;
    let mut auth = request.auth.map(|auth| auth.value().to_owned()).or(user);
    let mut url = first.clone();
    for hop in 0..=REDIRECTS_MAX {
        if url.origin() != first.origin() {
            auth = None; // Nor does it come back when a foreign server leads back.
        }
        let location = url.without_query();
        let known = request.known.filter(|known| known.location == location);
        let from = (hop > 0).then(|| first.to_string());
        let agent = (downloads.agent)(&url.to_string(), from.as_deref())
            .map_err(|source| ContextError(Failure::Agent { url: url.without_query(), source }))?;
        let response = ask(&agent, &url, known.map(|known| known.etag), auth.as_deref())?;
        match response.status().as_u16() {
            304 if known.is_some() => return Ok(None),
            301 | 302 | 303 | 307 | 308 => {
                let location = response.headers().get(header::LOCATION);
                let location = location.and_then(|l| l.to_str().ok());
                let location = location.ok_or_else(|| bad("redirect without a location"))?;
                let next = url.join(location).map_err(bad)?;
                if url.is_https() && !next.is_https() {
                    return Err(bad("redirect from https to http"));
                }
                url = next;
            }
            // Some servers know ETags but not the question for them.
            200 if known.is_some_and(|known| is_same_etag(known.etag, &response)) => {
                return Ok(None);
            }
            200..=303 | 305..=399 => return Ok(Some((response, location))), // ADD-35
            status => {
                let url = first.to_string();
                return Err(ContextError(Failure::Status { url, status }));
            }
        }
    }
    Err(ContextError(Failure::Redirects { url: first.to_string() }))
}

/// Weak ETags count as BuildKit takes them: for the same content.
fn is_same_etag(known: &str, response: &Response<Body>) -> bool {
    let strong = |text: &str| text.strip_prefix("W/").unwrap_or(text).to_owned();
    let got = response.headers().get(header::ETAG).and_then(|value| value.to_str().ok());
    got.is_some_and(|got| strong(got) == strong(known))
}

fn ask(
    agent: &Agent,
    url: &Url,
    known_etag: Option<&str>,
    auth: Option<&str>,
) -> Result<Response<Body>, ContextError> {
    let mut call = agent
        .get(url.to_string())
        .config()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .build()
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some(auth) = auth {
        call = call.header(header::AUTHORIZATION, auth);
    }
    if let Some(etag) = known_etag {
        call = call.header(header::IF_NONE_MATCH, etag);
    }
    let fail = |source| Failure::Request { url: url.without_query(), source: Box::new(source) };
    call.call().map_err(|error| ContextError(fail(error)))
}

/// Streams the body into the file.
fn store(
    response: Response<Body>,
    downloads: &Downloads<'_>,
    request: &HttpRequest<'_>,
    into: &Path,
) -> Result<(Digest, u64), ContextError> {
    let url = || Url::redact(request.url);
    let file = OpenOptions::new().write(true).create_new(true).open(into);
    let mut file = file.map_err(ContextError::file("create", into))?;
    let size_max_bytes = request.size_max_bytes;
    let body = response.into_body();
    let total_bytes = body.content_length();
    let mut body = body.into_with_config().limit(u64::MAX).reader();
    let mut hasher = Hasher::new();
    let mut size_bytes = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        if (downloads.cancelled)() {
            return Err(ContextError(Failure::Cancelled));
        }
        let read = body.read(&mut buffer);
        let count = read.map_err(|source| Failure::Body { url: url(), source })?;
        if count == 0 {
            break;
        }
        size_bytes += count as u64;
        if size_bytes > size_max_bytes {
            return Err(ContextError(Failure::TooLong { url: url(), size_max_bytes }));
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(ContextError::file("write", into))?;
        (downloads.told)(size_bytes, total_bytes);
    }
    let got = hasher.finish();
    match request.checksum {
        Some(want) if want != got => {
            Err(ContextError(Failure::Digest { url: url(), got, want })) // ADD-39
        }
        _ => Ok((got, size_bytes)),
    }
}

fn http_date(text: &str) -> Option<Mtime> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Mtime { secs: time.as_second(), nanos: 0 })
}

#[cfg(test)]
mod tests;
