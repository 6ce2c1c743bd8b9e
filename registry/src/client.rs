//! The client: one session for each registry, made when the registry is first named.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::Reference;
use ureq::http::StatusCode;

use crate::address::is_loopback_host;
use crate::agents::{Agents, lock};
use crate::auth::{AuthState, Scopes};
use crate::challenge;
use crate::credentials::Credential;
use crate::error::{Action, Cause, is_temporary_status};
use crate::transport::{self, Answer, Call, Content, Transport};
use crate::url::{Origin, Url, split_port};
use crate::{RegistryError, RegistryOptions};

/// A blocking client for any number of registries. Clones share connections and tokens; all may be used by several
/// threads at once.
#[derive(Clone)]
pub struct RegistryClient(Arc<Inner>);

struct Inner {
    options: RegistryOptions,
    /// Registries that may speak plain http or show any certificate.
    insecure: Vec<String>,
    agents: Arc<Agents>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

/// What is known of one registry.
pub(crate) struct Session {
    registry: String,
    pub(crate) home: Origin,
    skip_verify: bool,
    auth: AuthState,
    credentials: Mutex<HashMap<String, Credential>>,
}

impl RegistryClient {
    /// Makes a client. Nothing is read or contacted before the first request.
    pub fn new(options: RegistryOptions) -> RegistryClient {
        RegistryClient(Arc::new(Inner {
            options,
            insecure: Vec::new(),
            agents: Arc::new(Agents::new()),
            sessions: Mutex::default(),
        }))
    }

    /// A client that also takes plain http and any certificate from one registry (`registry.insecure`). Both end with
    /// the same [`RegistryClient::stop`].
    pub fn trusting(&self, registry: &str) -> RegistryClient {
        let mut insecure = self.0.insecure.clone();
        insecure.push(registry.to_owned());
        RegistryClient(Arc::new(Inner {
            options: self.0.options.clone(),
            insecure,
            agents: self.0.agents.clone(),
            sessions: Mutex::default(),
        }))
    }

    /// A client for what a build can do without: it gives up on servers that are slow to answer. Both end with the same
    /// [`RegistryClient::stop`].
    pub fn of_little_patience(&self) -> RegistryClient {
        let mut options = self.0.options.clone();
        options.connect_timeout = options.connect_timeout.min(Duration::from_secs(10));
        options.idle_timeout = options.idle_timeout.min(Duration::from_secs(15));
        options.retry.tries = options.retry.tries.min(3);
        options.retry.max_retry_after = options.retry.max_retry_after.min(Duration::from_secs(10));
        RegistryClient(Arc::new(Inner {
            options,
            insecure: self.0.insecure.clone(),
            agents: self.0.agents.clone(),
            sessions: Mutex::default(),
        }))
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
            self.0.agents.agent(&self.0.options, &target, guard, false)
        };
        agent().map_err(|cause| RegistryError::new(Action::Download, cause))
    }

    /// Looks whether a registry answers and accepts our credentials.
    pub fn ping(&self, registry: &str) -> Result<(), RegistryError> {
        let attempt = || {
            let session = self.session(registry)?;
            let call = get(session.url("/v2/"));
            let answer = self.request(&session, "", &Scopes::none(), &call)?;
            if answer.status == 200 { Ok(()) } else { Err(answer.into_cause()) }
        };
        attempt().map_err(|cause| RegistryError::new(Action::Ping(registry.to_owned()), cause))
    }

    /// The session for a registry.
    pub(crate) fn session(&self, registry: &str) -> Result<Arc<Session>, Cause> {
        if let Some(session) = lock(&self.0.sessions).get(registry) {
            return Ok(session.clone());
        }
        let session = Arc::new(self.new_session(registry)?);
        // Another thread may have been faster; all must use the same tokens.
        Ok(lock(&self.0.sessions).entry(registry.to_owned()).or_insert(session).clone())
    }

    fn new_session(&self, registry: &str) -> Result<Session, Cause> {
        let options = &self.0.options;
        let named = |list: &[String]| list.iter().any(|name| name == registry);
        let host = api_host(registry);
        let malformed = || Cause::Configuration {
            what: format!("registry {registry}"),
            reason: "not a host name with or without a port".to_owned(),
        };
        let (name, port) = split_port(&host).ok_or_else(malformed)?;
        let origin = |https: bool| Origin {
            https,
            host: name.to_ascii_lowercase(),
            port: port.unwrap_or(if https { 443 } else { 80 }),
        };
        let insecure = named(&self.0.insecure);
        let skip_verify = insecure || named(&options.skip_verify);
        let https = if named(&options.plain_http) {
            false
        } else if is_loopback_host(name) || (insecure && port.is_some()) {
            self.speaks_tls(&origin(false))?
        } else {
            true
        };
        Ok(Session {
            registry: registry.to_owned(),
            home: origin(https),
            skip_verify,
            auth: AuthState::default(),
            credentials: Mutex::default(),
        })
    }

    /// Whether a loopback registry, first asked in plain http, turns out to want TLS. Never the other way round
    /// (spec/security.md C3).
    fn speaks_tls(&self, plain: &Origin) -> Result<bool, Cause> {
        let transport = Transport {
            agents: &self.0.agents,
            options: &self.0.options,
            home: plain,
            skip_verify: false,
        };
        let url =
            Url { https: false, host: plain.host.clone(), port: plain.port, path: "/v2/".into() };
        match transport.send_directly(&get(url)) {
            Ok(answer) if answer.status == 400 => match answer.into_cause() {
                Cause::Status { diagnostics, .. } => Ok(diagnostics.contains("HTTPS")),
                _ => Ok(false),
            },
            Ok(_) => Ok(false),
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
            options: &self.0.options,
            home: &session.home,
            skip_verify: session.skip_verify,
        }
    }

    /// The transport to something that is no registry.
    pub(crate) fn transport_to<'a>(&'a self, home: &'a Origin) -> Transport<'a> {
        let named = |name: &String| *name == home.host || *name == home.with_port();
        Transport {
            agents: &self.0.agents,
            options: &self.0.options,
            home,
            skip_verify: self.0.options.skip_verify.iter().any(named),
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

    /// As [`RegistryClient::request`], but a temporary failure is the caller's to handle.
    pub(crate) fn request_once(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
        call: &Call,
    ) -> Result<Answer, Cause> {
        let transport = self.transport(session);
        let was_known = session.auth.is_known();
        let mut call = call.clone();
        if was_known {
            call.authorization = self.authorization(session, repository, scopes)?;
        }
        let answer = transport.send_once(&call)?;
        if answer.status != StatusCode::UNAUTHORIZED.as_u16() {
            return Ok(answer);
        }
        let Some(challenge) = challenge::choose(&answer.headers) else { return Ok(answer) };
        session.auth.challenged(challenge, scopes);
        let authorization = self.authorization(session, repository, scopes)?;
        let is_new = authorization.is_some() && authorization != call.authorization;
        if !is_new {
            return Ok(answer);
        }
        call.authorization = authorization;
        transport.send_once(&call)
    }

    fn authorization(
        &self,
        session: &Session,
        repository: &str,
        scopes: &Scopes,
    ) -> Result<Option<String>, Cause> {
        let credential = self.credential(session, repository)?;
        let transport = self.transport(session);
        session.auth.authorization(&transport, &session.registry, &credential, scopes)
    }

    /// The credential for a repository; helpers are asked once.
    fn credential(&self, session: &Session, repository: &str) -> Result<Credential, Cause> {
        let mut known = lock(&session.credentials);
        if let Some(credential) = known.get(repository) {
            return Ok(credential.clone());
        }
        let credential = self
            .0
            .options
            .credentials
            .get(&session.registry, repository)
            .map_err(RegistryError::into_cause)?;
        known.insert(repository.to_owned(), credential.clone());
        Ok(credential)
    }
}

impl Session {
    /// A URL of this registry. `path` begins with a slash.
    pub(crate) fn url(&self, path: &str) -> Url {
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
fn api_host(registry: &str) -> String {
    if registry == "docker.io" { format!("registry-1.{registry}") } else { registry.to_owned() }
}
