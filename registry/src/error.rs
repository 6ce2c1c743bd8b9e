//! What can go wrong with a registry, and what it says of itself.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use oci::Digest;

/// A registry operation failed. Display names the operation and its object; `source` says why.
#[derive(Debug)]
pub struct RegistryError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    action: Action,
    cause: Cause,
}

/// Kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegistryErrorKind {
    /// The registry does not have it.
    NotFound,
    /// Credentials are missing or were not accepted.
    Unauthorized,
    /// The credentials do not allow it.
    Denied,
    /// No answer: no such host, connection refused, reset or timed out.
    Unreachable,
    /// The other side's certificate was not accepted, or TLS failed.
    Tls,
    /// Content is not what its digest or size says.
    Digest,
    /// The registry asks for fewer requests.
    TooManyRequests,
    /// The registry has a fault of its own (5xx).
    Server,
    /// An answer that makes no sense.
    Malformed,
    /// The registry asked for something that is not safe to do.
    Unsafe,
    /// Stored credentials or a credential helper could not be used.
    Credentials,
    /// An option or a file named by one is wrong.
    Configuration,
    /// The user's configuration forbids it.
    Blocked,
    /// The content to be sent could not be read.
    Local,
    /// The caller stopped the client.
    Cancelled,
    /// Any other refusal by the registry.
    Refused,
}

/// What was tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Action {
    #[error("find out where registries are asked")]
    ReadHosts,
    #[error("log in to {0}")]
    Login(String),
    #[error("contact registry {0}")]
    Ping(String),
    #[error("prepare a download")]
    Download,
    #[error("get manifest of {0}")]
    GetManifest(String),
    #[error("get blob {digest} of {name}")]
    GetBlob { name: String, digest: Digest },
    #[error("list tags of {0}")]
    ListTags(String),
    #[error("list repositories of {0}")]
    ListRepositories(String),
    #[error("search {0}")]
    Search(String),
    #[error("remove manifest {0}")]
    DeleteManifest(String),
    #[error("list what refers to {digest} in {name}")]
    ListReferrers { name: String, digest: Digest },
    #[error("look for blob {digest} in {name}")]
    FindBlob { name: String, digest: Digest },
    #[error("push blob {digest} to {name}")]
    PushBlob { name: String, digest: Digest },
    #[error("push manifest to {0}")]
    PushManifest(String),
    #[error("use {0}")]
    UseService(String),
    #[error("{0}")]
    Service(String),
    #[error("read credentials from {0}")]
    ReadCredentials(String),
    #[error("hand credentials for {server} to {program}")]
    TellHelper { server: String, program: String },
    #[error("get credentials for {server} from {program}")]
    RunHelper { server: String, program: String },
}

/// Who was refused.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Whose credentials were looked for.
    pub(crate) registry: String,
    /// What was found, and where; `None` for nobody.
    pub(crate) sent: Option<String>,
}

/// Why it failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("{url}: {}{}{}", status_text(*.status), with_colon(.diagnostics), shown_identity(*.status, .identity.as_deref()))]
    Status {
        url: String,
        status: u16,
        retry_after: Option<Duration>,
        diagnostics: String,
        identity: Option<Box<Identity>>,
    },
    // Not a `source`: it would say the same once more.
    #[error("{origin}: {}", transport_text(.error))]
    Transport {
        origin: String,
        error: Box<ureq::Error>,
        /// It has answered this process before.
        was_there: bool,
    },
    #[error("token server {origin}: {cause}")]
    Token { origin: String, cause: Box<Cause> },
    #[error("{what} has digest {found}, not {expected}")]
    Digest { what: &'static str, expected: Digest, found: Digest },
    #[error("{what} has {found}, not {expected} bytes")]
    Size { what: &'static str, expected: u64, found: String },
    #[error("{what} is larger than {limit_bytes} bytes")]
    TooLarge { what: &'static str, limit_bytes: u64 },
    #[error("{what} ended after {done_bytes} of {size_bytes} bytes{}", .source.as_ref().map(|e| format!(": {e}")).unwrap_or_default())]
    Cut { what: &'static str, done_bytes: u64, size_bytes: u64, source: Option<io::Error> },
    #[error("{0}: {1}")]
    Malformed(String, String),
    #[error("{target} is refused: {reason}")]
    Unsafe { target: String, reason: &'static str },
    #[error("the registry wants credentials for {realm}, which does not belong to {registry}")]
    ForeignRealm { realm: String, registry: String },
    #[error("{name} is blocked by {by}")]
    Blocked { name: String, by: String },
    #[error("{text}")]
    Service { text: String, is_temporary: bool },
    #[error("authentication of an unknown kind: {0}")]
    UnknownChallenge(String),
    #[error("{what}: {reason}")]
    Credentials { what: String, reason: String },
    #[error("{what}: {reason}")]
    Configuration { what: String, reason: String },
    #[error("content to push cannot be read: {0}")]
    Local(io::Error),
    #[error("stopped")]
    Cancelled,
}

impl RegistryError {
    pub(crate) fn new(action: Action, cause: Cause) -> RegistryError {
        RegistryError(Box::new(Inner { action, cause }))
    }

    pub(crate) fn into_cause(self) -> Cause {
        self.0.cause
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> RegistryErrorKind {
        self.0.cause.kind()
    }

    /// What to do next, where the cause says it: log in, or trust whoever signed the certificate.
    pub fn hint(&self) -> Option<String> {
        match self.0.action {
            // There the answer is another password, as everybody knows.
            Action::Login(_) => self.0.cause.trust_hint(),
            _ => self.0.cause.login_hint().or_else(|| self.0.cause.trust_hint()),
        }
    }

    /// Whether the registry, or the repository, does not have what was asked for.
    pub fn is_not_found(&self) -> bool {
        self.kind() == RegistryErrorKind::NotFound
    }

    /// Whether the same request may succeed later. All tries of the retry policy have been used up.
    pub fn is_temporary(&self) -> bool {
        self.0.cause.is_temporary()
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.action.fmt(f)
    }
}

impl Error for RegistryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0.cause)
    }
}

impl Cause {
    #[cfg(test)]
    pub(crate) fn status(status: u16, retry_after: Option<Duration>, text: String) -> Cause {
        let url = "http://test".to_owned();
        Cause::Status { url, status, retry_after, diagnostics: text, identity: None }
    }

    pub(crate) fn kind(&self) -> RegistryErrorKind {
        use RegistryErrorKind as Kind;
        match self {
            Cause::Status { status, diagnostics, .. } => status_kind(*status, diagnostics),
            Cause::Transport { error, .. } => transport_kind(error),
            Cause::Token { cause, .. } => match cause.kind() {
                // A token server that does not know the scope says so in many ways.
                Kind::NotFound | Kind::Refused => Kind::Unauthorized,
                kind => kind,
            },
            Cause::Digest { .. } | Cause::Size { .. } => Kind::Digest,
            Cause::TooLarge { .. } | Cause::Malformed(..) | Cause::UnknownChallenge(_) => {
                Kind::Malformed
            }
            Cause::Cut { .. } => Kind::Unreachable,
            Cause::Service { is_temporary: true, .. } => Kind::Server,
            Cause::Service { is_temporary: false, .. } => Kind::Refused,
            Cause::Unsafe { .. } | Cause::ForeignRealm { .. } => Kind::Unsafe,
            Cause::Credentials { .. } => Kind::Credentials,
            Cause::Configuration { .. } => Kind::Configuration,
            Cause::Blocked { .. } => Kind::Blocked,
            Cause::Local(_) => Kind::Local,
            Cause::Cancelled => Kind::Cancelled,
        }
    }

    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Cause::Status { status, .. } => is_temporary_status(*status),
            Cause::Transport { error, was_there, .. } => is_temporary_transport(error, *was_there),
            Cause::Token { cause, .. } => cause.is_temporary(),
            Cause::Cut { .. } => true,
            Cause::Service { is_temporary, .. } => *is_temporary,
            _ => false,
        }
    }

    /// The same, with who was refused.
    pub(crate) fn asked_by(self, who: Identity) -> Cause {
        match self {
            Cause::Status { url, status, retry_after, diagnostics, .. } => {
                let identity = Some(Box::new(who));
                Cause::Status { url, status, retry_after, diagnostics, identity }
            }
            Cause::Token { origin, cause } => {
                Cause::Token { origin, cause: Box::new(cause.asked_by(who)) }
            }
            other => other,
        }
    }

    fn login_hint(&self) -> Option<String> {
        let (status, identity) = match self {
            Cause::Status { status, identity: Some(identity), .. } => (*status, identity),
            Cause::Token { cause, .. } => return cause.login_hint(),
            _ => return None,
        };
        let login = format!("`shale login {}`", identity.registry);
        Some(match (status, &identity.sent) {
            (401 | 403, None) => format!("log in first: {login}"),
            (401, Some(_)) => format!("log in again: {login}"),
            (403, Some(_)) => format!("log in as a user who may do this: {login}"),
            _ => return None,
        })
    }

    fn trust_hint(&self) -> Option<String> {
        use rustls::{CertificateError, Error as Tls};
        let Cause::Transport { origin, error, .. } = self else { return None };
        let tls = match &**error {
            ureq::Error::Io(io) => tls_error(io)?,
            ureq::Error::Rustls(tls) => tls,
            _ => return None,
        };
        match tls {
            Tls::InvalidCertificate(CertificateError::UnknownIssuer) => {}
            Tls::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => {
                return Some(
                    "whoever runs the registry has to renew its certificate, unless this \
                     machine's clock is wrong: look at `date`"
                        .to_owned(),
                );
            }
            _ => return None,
        }
        let host = origin.split(' ').next().unwrap_or(origin).trim_start_matches("https://");
        Some(format!(
            "if its authority is to be trusted, put the authority's certificate into \
             /etc/containers/certs.d/{host}/ca.crt (or below ~/.config); \
             `shale registry explain {host}/NAME` \
             shows what is read"
        ))
    }

    /// Whether the other side said nothing for as long as the client waits.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Cause::Transport { error, .. } => is_timeout(error),
            Cause::Cut { source: Some(error), .. } => {
                let carried = error.get_ref().and_then(|inner| inner.downcast_ref());
                error.kind() == io::ErrorKind::TimedOut || carried.is_some_and(is_timeout)
            }
            Cause::Token { cause, .. } => cause.is_silence(),
            _ => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Cause::Status { retry_after, .. } => *retry_after,
            Cause::Token { cause, .. } => cause.retry_after(),
            _ => None,
        }
    }
}

/// Statuses after which the same request may work a little later.
pub(crate) fn is_temporary_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn status_kind(status: u16, diagnostics: &str) -> RegistryErrorKind {
    use RegistryErrorKind as Kind;
    match status {
        404 => Kind::NotFound,
        401 => Kind::Unauthorized,
        403 => Kind::Denied,
        429 => Kind::TooManyRequests,
        500.. => Kind::Server,
        // No refusal, but nothing that could be meant.
        ..400 => Kind::Malformed,
        // Hub answers some unknown names so.
        400 if diagnostics.contains("MANIFEST_UNKNOWN") => Kind::NotFound,
        _ => Kind::Refused,
    }
}

fn transport_kind(error: &ureq::Error) -> RegistryErrorKind {
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            RegistryErrorKind::Tls
        }
        ureq::Error::Io(io) if tls_error(io).is_some() => RegistryErrorKind::Tls,
        ureq::Error::Protocol(_)
        | ureq::Error::Http(_)
        | ureq::Error::LargeResponseHeader(..)
        | ureq::Error::BodyStalled => RegistryErrorKind::Malformed,
        ureq::Error::InvalidProxyUrl | ureq::Error::BadUri(_) => RegistryErrorKind::Configuration,
        _ => RegistryErrorKind::Unreachable,
    }
}

fn is_timeout(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::BodyStalled => true,
        ureq::Error::Io(io) => io.kind() == io::ErrorKind::TimedOut,
        _ => false,
    }
}

fn is_temporary_transport(error: &ureq::Error, was_there: bool) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::BodyStalled => true,
        // A server that is started anew is there again soon.
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => was_there,
        // Where nobody was, nobody will be for longer than our waits; all else about a connection may pass.
        ureq::Error::Io(io) => {
            tls_error(io).is_none()
                && !matches!(
                    io.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::NotConnected
                        | io::ErrorKind::NotFound
                        | io::ErrorKind::NetworkUnreachable
                )
        }
        _ => false,
    }
}

/// The TLS library's error inside an error of the socket.
fn tls_error(io: &io::Error) -> Option<&rustls::Error> {
    io.get_ref().and_then(|inner| inner.downcast_ref())
}

fn transport_text(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(io) => match tls_error(io) {
            Some(tls) => format!("TLS: {tls}"),
            None => io.to_string(),
        },
        ureq::Error::Rustls(tls) => format!("TLS: {tls}"),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Timeout(what) => format!("no answer in time ({what})"),
        other => other.to_string(),
    }
}

fn status_text(status: u16) -> String {
    let reason = ureq::http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let text = match reason {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    };
    match status {
        ..400 => format!("{text} is no answer to this request"),
        _ => text,
    }
}

/// Whether a refusal was meant for somebody.
fn shown_identity(status: u16, identity: Option<&Identity>) -> String {
    match identity {
        Some(Identity { sent: Some(sent), .. }) if matches!(status, 401 | 403) => {
            format!(" (sent: {sent})")
        }
        Some(Identity { registry, sent: None }) if matches!(status, 401 | 403) => {
            format!(" (no credentials for {registry} were sent)")
        }
        _ => String::new(),
    }
}

fn with_colon(diagnostics: &str) -> String {
    if diagnostics.is_empty() { String::new() } else { format!(": {diagnostics}") }
}

/// Longest text of a registry's own that is shown, in bytes.
const DIAGNOSTICS_MAX_BYTES: usize = 500;

/// What an error body says: the registry's codes and messages, else its first line; without control characters.
pub(crate) fn diagnostics(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Entry>,
        #[serde(default)]
        details: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(Body { errors, .. }) if !errors.is_empty() => {
            let one = |e: &Entry| match (e.code.is_empty(), e.message.is_empty()) {
                (false, false) => format!("{}: {}", e.code, e.message),
                _ => format!("{}{}", e.code, e.message),
            };
            errors.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        Ok(Body { details: Some(details), .. }) => details,
        _ => {
            let text = String::from_utf8_lossy(body);
            let first = text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default();
            // An HTML page helps nobody.
            if first.trim_start().starts_with('<') { String::new() } else { first.to_owned() }
        }
    };
    printable(&text)
}

/// Text of others, made safe to print and not too long.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if out.len() >= DIAGNOSTICS_MAX_BYTES {
            out.push('…');
            break;
        }
        let turns_text = matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        if c.is_control() || turns_text {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registrys_words_are_shown_escaped_and_capped() {
        let check = |body: &str, expect: &str| assert_eq!(diagnostics(body.as_bytes()), expect);
        check(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"a":1}}]}"#,
            "MANIFEST_UNKNOWN: manifest unknown",
        );
        check(r#"{"errors":[{"code":"A"},{"message":"b\u001b[31m"}]}"#, "A; b\\u{1b}[31m");
        check(r#"{"details":"incorrect username or password"}"#, "incorrect username or password");
        check("\n no healthy upstream\nsecond", "no healthy upstream");
        check("<html>502</html>", "");
        check("", "");
        assert!(diagnostics("x".repeat(70_000).as_bytes()).len() < 600);
    }

    #[test]
    fn the_chain_names_operation_then_cause() {
        let error = RegistryError::new(
            Action::GetManifest("127.0.0.1:5000/app:1".to_owned()),
            Cause::status(404, None, "MANIFEST_UNKNOWN: gone".to_owned()),
        );
        assert_eq!(error.to_string(), "get manifest of 127.0.0.1:5000/app:1");
        let source = error.source().expect("a cause").to_string();
        assert_eq!(source, "http://test: 404 Not Found: MANIFEST_UNKNOWN: gone");
        assert!(error.is_not_found() && !error.is_temporary());
    }
}
