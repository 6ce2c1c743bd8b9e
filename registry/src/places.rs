//! The places of a plan one after the other: a mirror that has nothing, or does not answer, is passed over.
//!
//! Owns when the next place is asked and what people are told of it. A credential is looked up for each place by its
//! own name, so none meant for one reaches another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use oci::{Digest, Reference};

use crate::agents::lock;
use crate::client::Session;
use crate::error::{Action, Cause};
use crate::hosts::{Asked, Endpoint, Link, Plan, Scheme};
use crate::{Kept, RegistryClient, RegistryError, RegistryErrorKind};

/// Is told what people should know: a line without its end.
type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// What is known of mirrors so far.
#[derive(Default)]
pub(crate) struct Mirrors {
    /// Those that gave the manifest of a name: they may be asked for its blobs.
    answered: Mutex<HashSet<(String, Link)>>,
    /// Those that did not answer: they are not asked again.
    dead: Mutex<HashSet<Link>>,
    /// Those that gave other bytes for a digest.
    wrong: Mutex<HashSet<(Digest, Link)>>,
    listener: Mutex<Option<Listener>>,
}

/// A place that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    link: Link,
    reference: Reference,
    is_last: bool,
}

impl Spot {
    /// Whether no other place follows.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }
}

/// A place that is asked: the session with it, and what a reference is called there.
pub(crate) struct Place {
    pub(crate) session: Arc<Session>,
    pub(crate) reference: Reference,
}

impl RegistryClient {
    /// Has somebody told when a mirror does not answer. Clones tell the same one.
    pub fn listen(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        *lock(&self.0.mirrors.listener) = Some(Arc::new(listener));
    }

    /// Where a reference is asked for, with what this client's own options say of its registry. Asks nobody.
    ///
    /// # Errors
    /// A configuration file cannot be used.
    pub fn plan(&self, reference: &Reference, asked: Asked) -> Result<Plan, RegistryError> {
        let options = &self.0.options;
        let mut plan = options.hosts.plan(reference, asked)?;
        let named = |list: &[String]| list.iter().any(|name| name == reference.registry());
        // Not for another host that a file has stand for it (spec/security.md C14).
        let is_it = |e: &&mut Endpoint| e.is_origin && e.link.host == reference.registry();
        for link in plan.endpoints.iter_mut().filter(is_it).map(|e| &mut e.link) {
            if named(&self.0.insecure) {
                link.insecure();
            }
            link.skip_verify |= named(&options.skip_verify);
            if named(&options.plain_http) {
                link.scheme = Scheme::Http;
            }
        }
        Ok(plan)
    }

    /// Where the credential for a place of a plan is kept. Runs no helper.
    pub fn credentials_of(&self, endpoint: &Endpoint) -> Vec<Kept> {
        self.0.options.credentials.kept(&endpoint.link.host, &endpoint.repository)
    }

    /// The proxy through which a place of a plan is reached, without its user and password.
    pub fn proxy_of(&self, endpoint: &Endpoint) -> Option<String> {
        self.0.options.proxy.shown_for(&endpoint.link)
    }

    /// Looks whether one place of a plan answers and accepts our credentials for it.
    ///
    /// # Errors
    /// It does not.
    pub fn ping_endpoint(&self, endpoint: &Endpoint) -> Result<(), RegistryError> {
        let session = self.session_at(&endpoint.link, true);
        let done = session.and_then(|session| self.ping_session(&session, &endpoint.repository));
        done.map_err(|cause| RegistryError::new(Action::Ping(endpoint.link.host.clone()), cause))
    }

    /// The registry itself, for questions that are about no repository.
    pub(crate) fn session(&self, registry: &str) -> Result<Arc<Session>, Cause> {
        match self.origin(&any_of(registry)?, Asked::Push) {
            Ok(place) => Ok(place.session),
            // Nobody has asked for an image.
            Err(Cause::Blocked { by, .. }) => Err(Cause::Blocked { name: registry.to_owned(), by }),
            Err(cause) => Err(cause),
        }
    }

    /// The registry itself, not what stands for it: where a credential that is kept under its name may go.
    pub(crate) fn session_itself(&self, registry: &str) -> Result<Arc<Session>, Cause> {
        let reference = any_of(registry)?;
        for asked in [Asked::Push, Asked::Manifest] {
            let plan = self.plan(&reference, asked).map_err(RegistryError::into_cause)?;
            if let Some(by) = plan.blocked {
                return Err(Cause::Blocked { name: registry.to_owned(), by: by.to_string() });
            }
            if let Some(own) = plan.endpoints.iter().find(|e| e.link.host == registry) {
                return self.session_at(&own.link, true);
            }
        }
        let reason = "files have another host stand for it (`shale registry explain`): \
                      that one has credentials of its own";
        let what = format!("registry {registry}");
        Err(Cause::Configuration { what, reason: reason.to_owned() })
    }

    /// The place that is searched: the registry itself, or the index that Docker Hub has for it.
    pub(crate) fn index_session(&self, registry: &str) -> Result<Arc<Session>, Cause> {
        let session = self.session(registry)?;
        match registry {
            "docker.io" => {
                // What a file says of another host, headers above all, is not for this one.
                let mut link = Link::plain(&format!("index.{registry}"));
                if session.link.host == registry {
                    link.files.ca.clone_from(&session.link.files.ca);
                }
                self.session_at(&link, true)
            }
            _ => Ok(session),
        }
    }

    /// The registry itself: where tags are listed, and where a push goes.
    pub(crate) fn origin(&self, reference: &Reference, asked: Asked) -> Result<Place, Cause> {
        let mut spots = self.spots(reference, asked)?;
        let last = spots.pop().ok_or(Cause::Cancelled)?;
        self.place(&last)
    }

    /// The places to ask, the registry itself last.
    pub(crate) fn spots(&self, reference: &Reference, asked: Asked) -> Result<Vec<Spot>, Cause> {
        let plan = self.plan(reference, asked).map_err(RegistryError::into_cause)?;
        if let Some(by) = plan.blocked {
            return Err(Cause::Blocked { name: reference.name(), by: by.to_string() });
        }
        let (dead, answered) = (lock(&self.0.mirrors.dead), lock(&self.0.mirrors.answered));
        let name = reference.name();
        let is_asked = |endpoint: &&Endpoint| {
            // Whoever gave a manifest is asked for all that belongs to it.
            let gave = || answered.contains(&(name.clone(), endpoint.link.clone()));
            endpoint.is_origin
                || (!dead.contains(&endpoint.link) && (endpoint.unused.is_none() || gave()))
        };
        let asked: Vec<&Endpoint> = plan.endpoints.iter().filter(is_asked).collect();
        let count = asked.len();
        let spot = |(at, endpoint): (usize, &&Endpoint)| Spot {
            link: endpoint.link.clone(),
            reference: reference.located(&endpoint.link.host, &endpoint.repository),
            is_last: at + 1 == count,
        };
        Ok(asked.iter().enumerate().map(spot).collect())
    }

    /// The places to ask for a blob: none but the last that gave other bytes for its digest.
    pub(crate) fn blob_spots(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Vec<Spot>, Cause> {
        let mut spots = self.spots(reference, Asked::Blob)?;
        let wrong = lock(&self.0.mirrors.wrong);
        spots.retain(|spot| spot.is_last || !wrong.contains(&(*digest, spot.link.clone())));
        Ok(spots)
    }

    /// Remembers that a mirror gave other bytes for a digest.
    pub(crate) fn distrust(&self, spot: &Spot, digest: &Digest) {
        if spot.is_last || !lock(&self.0.mirrors.wrong).insert((*digest, spot.link.clone())) {
            return;
        }
        let name = spot.reference.name();
        self.tell(&format!("mirror {name} is passed over: its blob {digest} has other bytes"));
    }

    /// How many mirrors gave other bytes for a digest so far. When it grows, the next try asks another place.
    pub fn wrong_mirrors(&self, digest: &Digest) -> usize {
        lock(&self.0.mirrors.wrong).iter().filter(|(wrong, _)| wrong == digest).count()
    }

    fn tell(&self, text: &str) {
        let listener = lock(&self.0.mirrors.listener).clone();
        listener.iter().for_each(|listener| listener(text));
    }

    /// Opens a session with a place.
    pub(crate) fn place(&self, spot: &Spot) -> Result<Place, Cause> {
        let session = self.session_at(&spot.link, spot.is_last)?;
        Ok(Place { session, reference: spot.reference.clone() })
    }

    /// Asks one place after the other until one has it.
    pub(crate) fn at_places<T>(
        &self,
        reference: &Reference,
        asked: Asked,
        attempt: impl Fn(&Place) -> Result<T, Cause>,
    ) -> Result<T, Cause> {
        for spot in self.spots(reference, asked)? {
            match self.place(&spot).and_then(|place| attempt(&place)) {
                Ok(found) => {
                    lock(&self.0.mirrors.answered).insert((reference.name(), spot.link));
                    return Ok(found);
                }
                Err(cause) => self.pass_over(&spot, cause)?,
            }
        }
        Err(Cause::Cancelled)
    }

    /// Says why a place is passed over; gives the cause back when there is no other.
    pub(crate) fn pass_over(&self, spot: &Spot, cause: Cause) -> Result<(), Cause> {
        use RegistryErrorKind as Kind;
        let kind = cause.kind();
        if spot.is_last || kind == Kind::Cancelled {
            return Err(cause);
        }
        let is_dead = matches!(
            kind,
            Kind::Unreachable | Kind::Tls | Kind::TooManyRequests | Kind::Configuration
        );
        // A mirror need not have all, and need not let everybody in.
        let is_usual = matches!(kind, Kind::NotFound | Kind::Unauthorized | Kind::Denied);
        let is_new = !is_dead || lock(&self.0.mirrors.dead).insert(spot.link.clone());
        if is_new && !is_usual {
            self.tell(&format!("mirror {} is passed over: {cause}", spot.reference.name()));
        }
        Ok(())
    }
}

/// A name at a registry, for questions that are about no repository.
fn any_of(registry: &str) -> Result<Reference, Cause> {
    let name = format!("{registry}/library/any");
    name.parse().map_err(|error: oci::ParseReferenceError| Cause::Configuration {
        what: format!("registry {registry}"),
        reason: error.to_string(),
    })
}
