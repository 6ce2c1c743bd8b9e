//! The client: one session for each registry, made when the registry is first named.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use oci::Reference;
use ureq::http::StatusCode;

use crate::address::is_loopback_host;
use crate::agents::{Agents, Trust, lock};
use crate::auth::{AuthState, Scopes};
use crate::challenge::{self, Challenge};
use crate::credentials::Credential;
use crate::error::{Action, Cause, Identity, is_temporary_status};
use crate::hosts::{Link, Scheme};
use crate::places::Mirrors;
use crate::transport::{self, Answer, Call, Content, Transport};
use crate::url::{Origin, Url, split_port};
use crate::{RegistryError, RegistryErrorKind, RegistryOptions};

/// A blocking client for any number of registries. Clones share connections and tokens; all may be used by several
/// threads at once.
#[derive(Clone)]
pub struct RegistryClient(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) options: RegistryOptions,
    /// Registries that may speak plain http or show any certificate.
    pub(crate) insecure: Vec<String>,
    agents: Arc<Agents>,
    sessions: Mutex<HashMap<Link, Arc<Session>>>,
    pub(crate) mirrors: Arc<Mirrors>,
}

/// What is known of one registry.
pub(crate) struct Session {
    /// Its name, as credentials are kept for it.
    registry: String,
    pub(crate) link: Link,
    pub(crate) home: Origin,
    /// Its settings, where they are not the client's.
    options: Option<RegistryOptions>,
    pub(crate) auth: AuthState,
    /// For each repository, with where it comes from.
    credentials: Mutex<HashMap<String, Sent>>,
}

/// A credential, and what people are told of it.
type Sent = (Credential, Option<String>);

impl RegistryClient {
    /// Makes a client. Nothing is read or contacted before the first request.
    pub fn new(options: RegistryOptions) -> RegistryClient {
        RegistryClient::with(options, Vec::new(), Arc::default(), Arc::default())
    }

    fn with(
        options: RegistryOptions,
        insecure: Vec<String>,
        agents: Arc<Agents>,
        mirrors: Arc<Mirrors>,
    ) -> Self {
        RegistryClient(Arc::new(Inner {
            options,
            insecure,
            agents,
            sessions: Mutex::default(),
            mirrors,
        }))
    }

    /// The same with other settings. Both end with the same [`RegistryClient::stop`].
    pub(crate) fn with_options(&self, options: RegistryOptions) -> RegistryClient {
        RegistryClient::with(
            options,
            self.0.insecure.clone(),
            self.0.agents.clone(),
            self.0.mirrors.clone(),
        )
    }

    /// A client that also takes plain http and any certificate from one registry (`registry.insecure`). Both end with
    /// the same [`RegistryClient::stop`].
    pub fn trusting(&self, registry: &str) -> RegistryClient {
        let mut insecure = self.0.insecure.clone();
        insecure.push(registry.to_owned());
        RegistryClient::with(
            self.0.options.clone(),
            insecure,
            self.0.agents.clone(),
            self.0.mirrors.clone(),
        )
    }

    /// A client for what a build can do without: it gives up on servers that are slow to answer. Both end with the same
    /// [`RegistryClient::stop`].
    pub fn of_little_patience(&self) -> RegistryClient {
        self.with_options(self.0.options.of_little_patience())
    }

    /// Ends all transfers at once and refuses new ones: what a second Ctrl-C or a failed build wants.
    pub fn stop(&self) {
        self.0.agents.stop();
    }

    /// An agent for one request of a download that is no registry's: the same proxies, roots and name look-ups, no
    /// credentials. It follows no redirects itself. `redirected_from` is the URL that the user named when a server
    /// named this one: such a one may not lead to addresses that only this machine can reach (spec/security.md C11).
    ///
    /// # Errors
    /// The URL is malformed or forbidden; proxy or root certificates cannot be read, and the URL needs them.
    pub fn download_agent(
        &self,
        url: &str,
        redirected_from: Option<&str>,
    ) -> Result<ureq::Agent, RegistryError> {
        let agent = || {
            let malformed = |reason: &str| Cause::Malformed(url.to_owned(), reason.to_owned());
            let target = Url::parse(url).map_err(malformed)?;
            let first = redirected_from.map(Url::parse).transpose().map_err(malformed)?;
            let guard = transport::guard_of_redirect(&target, first.as_ref())?;
            self.0.agents.agent(&self.0.options, &target, guard, &Trust::default())
        };
        agent().map_err(|cause| RegistryError::new(Action::Download, cause))
    }

    /// Looks whether a registry answers and accepts our credentials.
    pub fn ping(&self, registry: &str) -> Result<(), RegistryError> {
        let attempt = || {
            let session = self.session(registry)?;
            self.ping_session(&session, "")
        };
        attempt().map_err(|cause| RegistryError::new(Action::Ping(registry.to_owned()), cause))
    }

    /// `repository` is the one whose credentials are tried.
    pub(crate) fn ping_session(&self, session: &Session, repository: &str) -> Result<(), Cause> {
        let call = get(session.url("/v2/"));
        let answer = self.request(session, repository, &Scopes::none(), &call)?;
        if answer.status == 200 { Ok(()) } else { Err(answer.into_cause()) }
    }

    /// The session for a place. A mirror, which others stand in for, is given up sooner.
    pub(crate) fn session_at(&self, link: &Link, is_last: bool) -> Result<Arc<Session>, Cause> {
        if let Some(session) = lock(&self.0.sessions).get(link) {
            return Ok(session.clone());
        }
        let session = Arc::new(self.new_session(link, is_last)?);
        // Another thread may have been faster; all must use the same tokens.
        Ok(lock(&self.0.sessions).entry(link.clone()).or_insert(session).clone())
    }

    fn new_session(&self, link: &Link, is_last: bool) -> Result<Session, Cause> {
        let options = (!is_last).then(|| self.0.options.of_little_patience());
        let host = api_host(&link.host);
        let malformed = || Cause::Configuration {
            what: format!("registry {}", link.host),
            reason: "not a host name with or without a port".to_owned(),
        };
        let (name, port) = split_port(&host).ok_or_else(malformed)?;
        let origin = |https: bool| Origin {
            https,
            host: name.to_ascii_lowercase(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
        };
        let known = options.as_ref().unwrap_or(&self.0.options);
        let https = match link.scheme {
            Scheme::Https => true,
            Scheme::Http => false,
            // Both schemes at one port: whoever speaks plain http answers, or says that he wants TLS.
            Scheme::Either if port.is_some() || is_loopback_host(name) => {
                self.speaks_tls(known, &origin(false))?
            }
            Scheme::Either => self.answers_tls(known, link, &origin(true)),
        };
        Ok(Session {
            registry: link.host.clone(),
            link: link.clone(),
            home: origin(https),
            options,
            auth: AuthState::default(),
            credentials: Mutex::default(),
        })
    }

    /// Whether an insecure registry answers at the port of TLS; else it is asked at that of plain http.
    fn answers_tls(&self, options: &RegistryOptions, link: &Link, home: &Origin) -> bool {
        let transport = Transport {
            agents: &self.0.agents,
            options,
            home,
            trust: link.trust(),
            headers: &link.headers,
        };
        let url =
            Url { https: true, host: home.host.clone(), port: home.port, path: "/v2/".into() };
        !matches!(
            transport.send_directly(&get(url)).map_err(|cause| cause.kind()),
            Err(RegistryErrorKind::Unreachable | RegistryErrorKind::Malformed)
        )
    }

    /// Whether a loopback registry, first asked in plain http, turns out to want TLS. Never the other way round
    /// (spec/security.md C3).
    fn speaks_tls(&self, options: &RegistryOptions, plain: &Origin) -> Result<bool, Cause> {
        let transport = Transport {
            agents: &self.0.agents,
            options,
            home: plain,
            trust: Trust::default(),
            headers: &[],
        };
        let url =
            Url { https: false, host: plain.host.clone(), port: plain.port, path: "/v2/".into() };
        match transport.send_directly(&get(url)) {
            Ok(answer) if answer.status == 400 => match answer.into_cause() {
                Cause::Status { diagnostics, .. } => Ok(diagnostics.contains("HTTPS")),
                _ => Ok(false),
            },
            Ok(_) => Ok(false),
            // A request would be met with the same silence, after another long wait.
            Err(cause) if cause.is_silence() => Err(cause),
            Err(Cause::Transport { error, .. }) => {
                Ok(matches!(*error, ureq::Error::Protocol(_) | ureq::Error::Http(_)))
            }
            Err(Cause::Cancelled) => Err(Cause::Cancelled),
            Err(_) => Ok(false),
        }
    }

    pub(crate) fn transport<'a>(&'a self, session: &'a Session) -> Transport<'a> {
        Transport {
            agents: &self.0.agents,
            options: session.options.as_ref().unwrap_or(&self.0.options),
            home: &session.home,
            trust: session.link.trust(),
            headers: &session.link.headers,
        }
    }

    /// The transport to something that is no registry.
    pub(crate) fn transport_to<'a>(&'a self, home: &'a Origin) -> Transport<'a> {
        let named = |name: &String| *name == home.host || *name == home.with_port();
        Transport {
            agents: &self.0.agents,
            options: &self.0.options,
            home,
            trust: Trust {
                skip_verify: self.0.options.skip_verify.iter().any(named),
                ..Trust::default()
            },
            headers: &[],
        }
    }

    pub(crate) fn options(&self) -> &RegistryOptions {
        &self.0.options
    }

    /// Sends a request of the session's own origin with whatever authorization the registry wants; again after
    /// temporary failures.
    pub(crate) fn request(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
        call: &Call,
    ) -> Result<Answer, Cause> {
        self.transport(session).retrying(|| {
            let answer = self.request_once(session, repository, scopes, call)?;
            if is_temporary_status(answer.status) { Err(answer.into_cause()) } else { Ok(answer) }
        })
    }

    /// As [`RegistryClient::request`], with the body of an answer 200 in memory: one that breaks off is asked for
    /// again.
    pub(crate) fn request_whole(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
        call: &Call,
        (what, limit_bytes): (&'static str, u64),
    ) -> Result<Answer, Cause> {
        self.transport(session).retrying(|| {
            let answer = self.request_once(session, repository, scopes, call)?;
            match answer.status {
                200 => answer.buffered(what, limit_bytes),
                status if is_temporary_status(status) => Err(answer.into_cause()),
                _ => Ok(answer),
            }
        })
    }

    /// As [`RegistryClient::request`], but a temporary failure is the caller's to handle. Other origins, to which an
    /// answer has led, get no credential and no say in how the registry is authenticated to (spec/security.md C1).
    pub(crate) fn request_once(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
        call: &Call,
    ) -> Result<Answer, Cause> {
        let result = self.request_as(session, repository, scopes, call);
        let is_refused = match &result {
            Ok(answer) => matches!(answer.status, 401 | 403) && answer.url.origin() == session.home,
            Err(cause) => matches!(cause, Cause::Token { .. }),
        };
        if !is_refused {
            return result;
        }
        // What was asked for before: a helper is not run again.
        let known = lock(&session.credentials).get(repository).cloned();
        let identity =
            Identity { registry: session.registry.clone(), sent: known.and_then(|(_, told)| told) };
        match result {
            Ok(answer) => Ok(answer.asked_by(identity)),
            Err(cause) => Err(cause.asked_by(identity)),
        }
    }

    fn request_as(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
        call: &Call,
    ) -> Result<Answer, Cause> {
        let transport = self.transport(session);
        if call.url.origin() != session.home {
            return transport.send_once(call);
        }
        let was_known = session.auth.is_known();
        let mut call = call.clone();
        if was_known {
            call.authorization = self.authorization(session, repository, scopes)?;
        }
        let answer = transport.send_once(&call)?;
        let is_home = answer.url.origin() == session.home;
        if answer.status != StatusCode::UNAUTHORIZED.as_u16() || !is_home {
            return Ok(answer);
        }
        let challenge = match challenge::choose(&answer.headers) {
            None if !was_known => self.ask_for_challenge(session)?,
            said => said,
        };
        let Some(challenge) = challenge else { return Ok(answer) };
        session.auth.challenged(challenge, scopes);
        let authorization = self.authorization(session, repository, scopes)?;
        let is_new = authorization.is_some() && authorization != call.authorization;
        if !is_new {
            return Ok(answer);
        }
        call.authorization = authorization;
        transport.send_once(&call)
    }

    /// Some registries say only at the root of their API how they want to be authenticated to.
    fn ask_for_challenge(&self, session: &Session) -> Result<Option<Challenge>, Cause> {
        let answer = self.transport(session).send_directly(&get(session.url("/v2/")))?;
        Ok(challenge::choose(&answer.headers))
    }

    fn authorization(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
    ) -> Result<Option<String>, Cause> {
        let (credential, _) = self.credential(session, repository)?;
        let transport = self.transport(session);
        session.auth.authorization(&transport, &session.registry, &credential, scopes)
    }

    /// The credential for a repository; helpers are asked once.
    fn credential(&self, session: &Session, repository: &str) -> Result<Sent, Cause> {
        let mut known = lock(&session.credentials);
        if let Some(credential) = known.get(repository) {
            return Ok(credential.clone());
        }
        let credential = self
            .0
            .options
            .credentials
            .get_with_place(&session.registry, repository)
            .map_err(RegistryError::into_cause)?;
        known.insert(repository.to_owned(), credential.clone());
        Ok(credential)
    }
}

impl Session {
    /// A URL of this registry. `path` begins with `/v2`, which stands for the path of its API.
    pub(crate) fn url(&self, path: &str) -> Url {
        let Origin { https, host, port } = self.home.clone();
        let rest = path.strip_prefix("/v2").unwrap_or(path);
        let url = Url { https, host, port, path: format!("{}{rest}", self.link.api) };
        match &self.link.namespace {
            Some(namespace) => url.with_query("ns", namespace),
            None => url,
        }
    }

    /// A URL of this registry outside its API's path.
    pub(crate) fn outside_url(&self, path: &str) -> Url {
        let Origin { https, host, port } = self.home.clone();
        Url { https, host, port, path: path.to_owned() }
    }

    /// A URL below a repository.
    pub(crate) fn repository_url(&self, reference: &Reference, rest: &str) -> Url {
        self.url(&format!("/v2/{}/{rest}", reference.repository()))
    }
}

/// A GET without further headers.
pub(crate) fn get<'a>(url: Url) -> Call<'a> {
    Call { method: "GET", url, headers: Vec::new(), authorization: None, body: Content::None }
}

/// The host that serves a registry's API. Docker Hub's has another name than its references.
pub(crate) fn api_host(registry: &str) -> String {
    if registry == "docker.io" { format!("registry-1.{registry}") } else { registry.to_owned() }
}
