//! Requests to services that are no registries (object stores, caches of CI systems), over the same proxies, roots,
//! name look-ups and retries.
//!
//! Owns how such a request is sent, tried again and reported. Refuses to know what any service wants to hear: the
//! caller signs each try anew, reads the answers and says which of them are failures. Redirects are never followed:
//! signatures and tokens in headers are for the host that they were made for.

use std::fmt;
use std::time::{Duration, SystemTime};

use oci::Digest;

use crate::blob::{BlobReader, BlobSource};
use crate::error::{Action, Cause, diagnostics, printable};
use crate::retry::now;
use crate::transport::{Answer, Call, Content, Transport};
use crate::url::{Origin, Url};
use crate::{ProxySettings, RegistryClient, RegistryError, RegistryOptions, RetryPolicy};

/// A service at one origin. Clones share connections.
#[derive(Clone)]
pub struct Service {
    client: RegistryClient,
    name: String,
    home: Origin,
    retry: RetryPolicy,
    wait_max: Option<Duration>,
}

/// One request.
pub struct ServiceCall<'a> {
    /// Its method.
    pub method: &'static str,
    /// Where to: the service's own origin, or one that the service named, which must then be a public one.
    pub url: &'a str,
    /// Headers besides `Authorization`.
    pub headers: Vec<(&'static str, String)>,
    /// Value of `Authorization`.
    pub authorization: Option<String>,
    /// What is sent. An empty content has a length, none has not.
    pub body: Option<&'a [u8]>,
}

/// An answer, good or bad, whose body has not been read.
pub struct ServiceAnswer(Answer);

/// One try failed. Whether another follows is the policy's to say.
#[derive(Debug)]
pub struct ServiceError(Cause);

impl RegistryClient {
    /// A client for services that only machines like this one have next to them (metadata services): no proxies, and
    /// no long waits where there is none. Both end with the same [`RegistryClient::stop`].
    #[must_use]
    pub fn for_neighbours(&self) -> RegistryClient {
        let wait = Duration::from_secs(2);
        self.with_options(RegistryOptions {
            proxy: ProxySettings::default(),
            connect_timeout: wait,
            idle_timeout: wait,
            retry: RetryPolicy { tries: 2, max_retry_after: wait, ..self.options().retry.clone() },
            ..self.options().clone()
        })
    }

    /// The service at a URL, of which the origin counts. `name` is what errors call it. Nothing is contacted.
    ///
    /// # Errors
    /// The URL is malformed, or has a user name in it.
    pub fn service(&self, name: &str, url: &str) -> Result<Service, RegistryError> {
        let parsed = Url::parse(url).map_err(|reason| {
            let cause =
                Cause::Configuration { what: format!("URL of {name}"), reason: reason.to_owned() };
            RegistryError::new(Action::UseService(name.to_owned()), cause)
        })?;
        Ok(Service {
            client: self.clone(),
            name: name.to_owned(),
            home: parsed.origin(),
            retry: self.options().retry.clone(),
            wait_max: None,
        })
    }
}

impl Service {
    /// Another policy than the client's. `wait_max` bounds all waits of one operation together.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy, wait_max: Option<Duration>) -> Service {
        self.retry = retry;
        self.wait_max = wait_max;
        self
    }

    /// The policy in force.
    pub fn retry(&self) -> &RetryPolicy {
        &self.retry
    }

    /// Does something again after temporary failures. `what` says what it is: "get object x".
    ///
    /// # Errors
    /// The last try's failure.
    pub fn retrying<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, ServiceError>,
    ) -> Result<T, RegistryError> {
        self.transport()
            .retrying_with(&self.retry, self.wait_max, || attempt().map_err(|error| error.0))
            .map_err(|cause| RegistryError::new(self.action(what), cause))
    }

    /// Sends one request and gives back whatever comes.
    ///
    /// # Errors
    /// No answer came, the URL is one that the service must not send us to, or the content could not be opened.
    pub fn send(&self, call: &ServiceCall<'_>) -> Result<ServiceAnswer, ServiceError> {
        let malformed = |reason: &str| {
            // What follows a question mark may be a signature.
            let url = call.url.split('?').next().unwrap_or_default();
            ServiceError(Cause::Malformed(printable(url), reason.to_owned()))
        };
        let url = Url::parse(call.url).map_err(malformed)?;
        let call = Call {
            method: call.method,
            url,
            headers: call.headers.clone(),
            authorization: call.authorization.clone(),
            body: call.body.map_or(Content::None, Content::Bytes),
        };
        self.transport().send_directly(&call).map(ServiceAnswer).map_err(ServiceError)
    }

    /// Opens a blob: `ask` requests it from a byte on and gives back answers 200 and 206 only. The reader goes on
    /// after a cut connection and checks size and digest at its end.
    ///
    /// # Errors
    /// The blob cannot be had.
    pub fn blob(
        &self,
        digest: Digest,
        size_bytes: u64,
        ask: impl Fn(u64) -> Result<ServiceAnswer, ServiceError> + Send + 'static,
    ) -> Result<BlobReader, RegistryError> {
        let source = ServiceBlob { service: self.clone(), ask: Box::new(ask), digest };
        BlobReader::open(Box::new(source), digest, size_bytes)
    }

    /// The time, for signatures and for when they end. Nothing else may depend on it.
    pub fn now(&self) -> SystemTime {
        now()
    }

    /// Sleeps, unless the client is stopped.
    ///
    /// # Errors
    /// The client is stopped.
    pub fn wait(&self, delay: Duration) -> Result<(), RegistryError> {
        let waited = self.transport().wait(delay);
        waited.map_err(|cause| RegistryError::new(self.action("wait"), cause))
    }

    /// Callers name the service in an error of their own.
    fn action(&self, what: &str) -> Action {
        Action::Service(what.to_owned())
    }

    fn transport(&self) -> Transport<'_> {
        self.client.transport_to(&self.home)
    }
}

impl ServiceAnswer {
    /// The status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// A header's value as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.header(name)
    }

    /// The whole body.
    ///
    /// # Errors
    /// It is longer than `limit_bytes`, or breaks off.
    pub fn read(self, what: &'static str, limit_bytes: u64) -> Result<Vec<u8>, ServiceError> {
        self.0.read(what, limit_bytes).map_err(ServiceError)
    }

    /// The answer as a failure. `text` takes from the body what a person should see of it; without it the body's
    /// first line is shown.
    pub fn into_error(self, text: impl FnOnce(&[u8]) -> Option<String>) -> ServiceError {
        ServiceError(self.0.into_cause_with(|body| match text(body) {
            Some(text) => printable(&text),
            None => diagnostics(body),
        }))
    }
}

impl ServiceError {
    /// An answer that makes no sense, from the place named.
    pub fn malformed(place: &str, reason: &str) -> ServiceError {
        ServiceError(Cause::Malformed(printable(place), printable(reason)))
    }

    /// A failure that the service told in its own way and that may pass.
    pub fn temporary(text: &str) -> ServiceError {
        ServiceError(Cause::Service { text: printable(text), is_temporary: true })
    }

    /// A failure that the service told in its own way and that stays.
    pub fn lasting(text: &str) -> ServiceError {
        ServiceError(Cause::Service { text: printable(text), is_temporary: false })
    }

    /// Something of this machine's that cannot be used: `what` and why.
    pub fn configuration(what: &str, reason: &str) -> ServiceError {
        ServiceError(Cause::Configuration { what: what.to_owned(), reason: printable(reason) })
    }

    /// Status of the answer, if one came.
    pub fn status(&self) -> Option<u16> {
        match &self.0 {
            Cause::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<RegistryError> for ServiceError {
    fn from(error: RegistryError) -> ServiceError {
        ServiceError(error.into_cause())
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Service({} at {})", self.name, self.home)
    }
}

impl fmt::Debug for ServiceAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceAnswer({} of {})", self.0.status, self.0.url.redacted())
    }
}

type Ask = dyn Fn(u64) -> Result<ServiceAnswer, ServiceError> + Send;

/// A blob that a service serves.
struct ServiceBlob {
    service: Service,
    ask: Box<Ask>,
    digest: Digest,
}

impl BlobSource for ServiceBlob {
    fn ask(&self, from_byte: u64, _entity: Option<&str>) -> Result<Answer, Cause> {
        let Service { retry, wait_max, .. } = &self.service;
        let attempt = || match (self.ask)(from_byte) {
            Ok(answer) => Ok(answer.0),
            Err(error) => Err(error.0),
        };
        self.service.transport().retrying_with(retry, *wait_max, attempt)
    }

    fn wait_after(&self, tried: u32, cause: Cause) -> Result<(), Cause> {
        self.service.transport().wait_after(&self.service.retry, tried, cause).map(drop)
    }

    fn action(&self) -> Action {
        Action::GetBlob { name: self.service.name.clone(), digest: self.digest }
    }
}
