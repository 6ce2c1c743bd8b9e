//! One request and its answer: redirects, credentials only to their origin, tries again after what may pass.
//!
//! Owns the rule of spec/security.md C1: the `Authorization` header is made for an origin and sent nowhere else.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{HeaderMap, Request, header};
use ureq::{Body, SendBody};

use crate::address;
use crate::agents::{Agents, Trust};
use crate::credentials::Secret;
use crate::dns::{ForbiddenTarget, Guard};
use crate::error::{Cause, Identity, diagnostics, printable};
use crate::options::RegistryOptions;
use crate::pace::Paced;
use crate::retry::{RetryPolicy, now, parse_retry_after};
use crate::url::{Origin, Url};

/// Error bodies are read up to this (spec/security.md C7).
const ERROR_BODY_MAX_BYTES: u64 = 64 << 10;
/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 10;

/// A request. GET and HEAD follow redirects; the others never do.
#[derive(Clone)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    /// Headers besides `Authorization`.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// Value of `Authorization`, for the URL's own origin.
    pub(crate) authorization: Option<String>,
    pub(crate) body: Content<'a>,
}

/// Opens content to send from its start; called again for each try.
pub(crate) type Open<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read + 'a>> + Sync);

/// What a request sends.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    None,
    Bytes(&'a [u8]),
    Stream { open: Open<'a>, size_bytes: u64 },
}

/// A good or bad answer whose body has not been read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    body: Body,
    /// How long one read may stand still.
    patience: Duration,
    /// What the server was sent and people must not see, should it say it again (spec/security.md E3).
    hidden: Vec<Secret>,
    /// Who asked, where that may be why it was refused.
    identity: Option<Box<Identity>>,
}

/// A body on its way.
pub(crate) type BodyReader = Paced<ureq::BodyReader<'static>>;

/// Sends requests for one registry.
pub(crate) struct Transport<'a> {
    pub(crate) agents: &'a Agents,
    pub(crate) options: &'a RegistryOptions,
    /// The origin that the user named; others are only reached with care.
    pub(crate) home: &'a Origin,
    /// What holds for the home alone.
    pub(crate) trust: Trust,
    /// Headers for the home alone.
    pub(crate) headers: &'a [(String, Secret)],
}

impl Answer {
    /// A header's value as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole body, which must not be longer than `limit_bytes`.
    pub(crate) fn read(self, what: &'static str, limit_bytes: u64) -> Result<Vec<u8>, Cause> {
        self.check_encoding()?;
        let origin = self.url.origin().to_string();
        let mut bytes = Vec::new();
        let read = self.into_reader().take(limit_bytes + 1).read_to_end(&mut bytes);
        read.map_err(|error| Cause::Transport {
            origin,
            error: Box::new(error.into()),
            was_there: true,
        })?;
        if bytes.len() as u64 > limit_bytes {
            return Err(Cause::TooLarge { what, limit_bytes });
        }
        Ok(bytes)
    }

    /// The same answer with its body in memory, which must not be longer than `limit_bytes`.
    pub(crate) fn buffered(self, what: &'static str, limit_bytes: u64) -> Result<Answer, Cause> {
        let Answer { status, patience, .. } = self;
        let (headers, url, hidden) = (self.headers.clone(), self.url.clone(), self.hidden.clone());
        let identity = self.identity.clone();
        let body = Body::builder().data(self.read(what, limit_bytes)?);
        Ok(Answer { status, headers, url, body, patience, hidden, identity })
    }

    /// Nothing that a registry has comes encoded: digests are those of the bytes on the wire (spec/security.md C8).
    pub(crate) fn check_encoding(&self) -> Result<(), Cause> {
        match self.header("content-encoding") {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
                let why = format!("the answer has a Content-Encoding, {}", printable(encoding));
                Err(Cause::Malformed(self.url.redacted(), why))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn into_reader(self) -> BodyReader {
        Paced::new(self.body.into_with_config().limit(u64::MAX).reader(), self.patience)
    }

    /// The same answer, of which people are not shown this.
    pub(crate) fn hiding(mut self, secret: &Secret) -> Answer {
        self.hidden.push(secret.clone());
        self
    }

    /// The same answer, with who was refused.
    pub(crate) fn asked_by(self, identity: Identity) -> Answer {
        Answer { identity: Some(Box::new(identity)), ..self }
    }

    /// The answer as the cause of a failure, with what its body says.
    pub(crate) fn into_cause(self) -> Cause {
        self.into_cause_with(diagnostics)
    }

    /// As [`Answer::into_cause`]; `text` takes from the body what a person should see of it.
    pub(crate) fn into_cause_with(self, text: impl FnOnce(&[u8]) -> String) -> Cause {
        let status = self.status;
        let retry_after = self.header("retry-after").and_then(|v| parse_retry_after(v, now()));
        let url = self.url.redacted();
        let hidden = self.hidden.clone();
        let identity = self.identity.clone();
        let mut body = Vec::new();
        // A body that breaks off still says something.
        let _ = self.into_reader().take(ERROR_BODY_MAX_BYTES).read_to_end(&mut body);
        // Twice: it may be written in JSON's own way, or be cut off in what is shown.
        let shown = text(&masked(body, &hidden)).into_bytes();
        let diagnostics = String::from_utf8_lossy(&masked(shown, &hidden)).into_owned();
        Cause::Status { url, status, retry_after, diagnostics, identity }
    }
}

impl Transport<'_> {
    /// Does something again after temporary failures, as the policy says.
    pub(crate) fn retrying<T>(
        &self,
        attempt: impl FnMut() -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        self.retrying_with(&self.options.retry, None, attempt)
    }

    /// As [`Transport::retrying`] with another policy, and a limit for all waits together.
    pub(crate) fn retrying_with<T>(
        &self,
        policy: &RetryPolicy,
        wait_max: Option<Duration>,
        mut attempt: impl FnMut() -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        let mut waited = Duration::ZERO;
        for tried in 1.. {
            let cause = match attempt() {
                Ok(value) => return Ok(value),
                Err(cause) if wait_max.is_some_and(|max| waited >= max) => return Err(cause),
                Err(cause) => cause,
            };
            waited += self.wait_after(policy, tried, cause)?;
        }
        Err(Cause::Cancelled)
    }

    /// Waits after try number `tried` failed, and says how long; or gives the cause back when that was the last.
    pub(crate) fn wait_after(
        &self,
        policy: &RetryPolicy,
        tried: u32,
        cause: Cause,
    ) -> Result<Duration, Cause> {
        if self.agents.is_stopped() {
            return Err(Cause::Cancelled);
        }
        let Some(delay) = policy.delay(tried.saturating_add(1), &cause) else { return Err(cause) };
        self.wait(delay)?;
        Ok(delay)
    }

    /// Sleeps in short pieces, so that a stop is noticed.
    pub(crate) fn wait(&self, delay: Duration) -> Result<(), Cause> {
        const PIECE: Duration = Duration::from_millis(50);
        let mut left = delay;
        while !left.is_zero() {
            if self.agents.is_stopped() {
                return Err(Cause::Cancelled);
            }
            let piece = left.min(PIECE);
            thread::sleep(piece);
            left -= piece;
        }
        Ok(())
    }

    /// Sends one request; follows redirects of GET and HEAD without taking credentials along.
    pub(crate) fn send_once(&self, call: &Call) -> Result<Answer, Cause> {
        let may_follow = matches!(call.method, "GET" | "HEAD");
        let mut url = call.url.clone();
        let mut authorization = call.authorization.as_deref();
        for _ in 0..=REDIRECTS_MAX {
            // Once gone from there it stays away: another host must not choose what is asked for with it.
            authorization = authorization.filter(|_| url.origin() == call.url.origin());
            let answer = self.exchange(call, &url, authorization)?;
            if !may_follow || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            url = self.redirect_target(&answer)?;
        }
        Err(Cause::Malformed(call.url.redacted(), "too many redirects".to_owned()))
    }

    /// Sends one request and gives back whatever comes, redirects included.
    pub(crate) fn send_directly(&self, call: &Call) -> Result<Answer, Cause> {
        self.exchange(call, &call.url, call.authorization.as_deref())
    }

    /// Where an answer's `Location` leads, if it is safe to go there.
    pub(crate) fn redirect_target(&self, answer: &Answer) -> Result<Url, Cause> {
        let malformed = |reason: &str| Cause::Malformed(answer.url.redacted(), reason.to_owned());
        let location = answer
            .headers
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| malformed("the answer has no Location"))?;
        let target = answer
            .url
            .join(location)
            .map_err(|reason| malformed(&format!("its Location cannot be used: {reason}")))?;
        if answer.url.https && !target.https {
            let target = format!("redirect to {}", target.redacted());
            return Err(Cause::Unsafe { target, reason: "it leaves https for plain http" });
        }
        Ok(target)
    }

    fn exchange(
        &self,
        call: &Call,
        url: &Url,
        authorization: Option<&str>,
    ) -> Result<Answer, Cause> {
        let (guard, trust) = self.trusted(url)?;
        let agent = self.agents.agent(self.options, url, guard, &trust)?;
        let mut request = Request::builder().method(call.method).uri(url.to_string());
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let is_ours = |name: &str| name == "authorization" && authorization.is_some();
        let own =
            self.headers.iter().filter(|(name, _)| url.origin() == *self.home && !is_ours(name));
        for (name, value) in own {
            request = request.header(name, value.reveal());
        }
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let transport = |source: ureq::Error| self.transport_cause(url, source);
        let http = |error: ureq::http::Error| transport(ureq::Error::Http(error));
        let result = match call.body {
            Content::None => agent.run(request.body(SendBody::none()).map_err(http)?),
            Content::Bytes(bytes) => {
                let request = request.header(header::CONTENT_LENGTH, bytes.len());
                let mut reader = bytes;
                agent.run(request.body(SendBody::from_reader(&mut reader)).map_err(http)?)
            }
            Content::Stream { open, size_bytes } => {
                let request = request.header(header::CONTENT_LENGTH, size_bytes);
                let mut source = Watched { inner: open().map_err(Cause::Local)?, failed: None };
                let body = SendBody::from_reader(&mut source);
                let result = agent.run(request.body(body).map_err(http)?);
                if let Some(error) = source.failed {
                    return Err(Cause::Local(error));
                }
                result
            }
        };
        let (parts, body) = result.map_err(transport)?.into_parts();
        self.agents.note_answer(url.origin());
        let status = parts.status.as_u16();
        let patience = self.options.idle_timeout;
        let mut hidden: Vec<Secret> = authorization.map(secrets_of).unwrap_or_default();
        if url.origin() == *self.home {
            hidden.extend(self.headers.iter().map(|(_, value)| value.clone()));
        }
        let (headers, url) = (parts.headers, url.clone());
        Ok(Answer { status, headers, url, body, patience, hidden, identity: None })
    }

    /// How far a URL is trusted: fully on the host that the user named, else only to public places.
    fn trusted(&self, target: &Url) -> Result<(Guard, Trust), Cause> {
        if target.origin() == *self.home {
            return Ok((Guard::Open, self.trust.clone()));
        }
        let registry_is_loopback = address::is_loopback_host(&self.home.host);
        // Proxies resolve names themselves, so an address that is spelt out is checked here too.
        if is_forbidden(target, registry_is_loopback) {
            return Err(forbidden_target(target));
        }
        Ok((Guard::Foreign { registry_is_loopback }, Trust::default()))
    }

    fn transport_cause(&self, url: &Url, source: ureq::Error) -> Cause {
        let forbidden =
            matches!(&source, ureq::Error::Other(inner) if inner.is::<ForbiddenTarget>());
        if forbidden {
            return forbidden_target(url);
        }
        if self.agents.is_stopped() {
            return Cause::Cancelled;
        }
        // It may be the proxy that is not there.
        let proxy = self.options.proxy.shown(url.https, &url.host, url.port);
        let through = proxy.map(|proxy| format!(" through proxy {proxy}")).unwrap_or_default();
        let was_there = self.agents.has_answered(&url.origin());
        let origin = format!("{}{through}", url.origin());
        Cause::Transport { origin, error: Box::new(source), was_there }
    }
}

/// What is secret in the value of an `Authorization` header: a token, or a password in both its forms.
fn secrets_of(authorization: &str) -> Vec<Secret> {
    let (kind, value) = authorization.split_once(' ').unwrap_or(("", authorization));
    let decoded = STANDARD.decode(value).ok().filter(|_| kind.eq_ignore_ascii_case("basic"));
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let password = decoded.as_deref().and_then(|text| text.split_once(':')).map(|(_, p)| p);
    [Some(value), password].into_iter().flatten().map(|text| Secret::new(text.to_owned())).collect()
}

/// Shorter ones are found in any text: to hide them would tell them.
const SECRET_MIN_BYTES: usize = 6;

/// A text without secrets that were sent to whoever says it.
fn masked(text: Vec<u8>, hidden: &[Secret]) -> Vec<u8> {
    let mut text = text;
    for secret in hidden.iter().map(|secret| secret.reveal().as_bytes()) {
        if secret.len() < SECRET_MIN_BYTES {
            continue;
        }
        let mut from = 0;
        while let Some(at) = text[from..].windows(secret.len()).position(|part| part == secret) {
            text.splice(from + at..from + at + secret.len(), *b"***");
            from += at + 3;
        }
    }
    text
}

/// Whether a URL spells out an address that a server must not name.
fn is_forbidden(url: &Url, registry_is_loopback: bool) -> bool {
    address::literal(&url.host).is_some_and(|a| address::is_forbidden(a, registry_is_loopback))
        || address::is_odd_address(&url.host)
}

/// How far a URL is trusted that a download leads to: fully when the user named its host.
pub(crate) fn guard_of_redirect(target: &Url, first: Option<&Url>) -> Result<Guard, Cause> {
    let Some(first) = first.filter(|first| first.origin() != target.origin()) else {
        return Ok(Guard::Open);
    };
    let registry_is_loopback = address::is_loopback_host(&first.host);
    match is_forbidden(target, registry_is_loopback) {
        true => Err(forbidden_target(target)),
        false => Ok(Guard::Foreign { registry_is_loopback }),
    }
}

fn forbidden_target(url: &Url) -> Cause {
    Cause::Unsafe {
        target: printable(&url.redacted()),
        reason: "a server must not send its clients to this address",
    }
}

/// Remembers that it was the source that failed, not the connection.
struct Watched<'a> {
    inner: Box<dyn Read + 'a>,
    failed: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            copy
        })
    }
}
