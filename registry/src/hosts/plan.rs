//! The places that a reference is asked for at, made from whichever file speaks of its registry first.

use std::fmt;
use std::path::PathBuf;

use oci::Reference;

use super::hosts_toml::{self, Host, HostsToml};
use super::registries_conf::{Pulls, Registry};
use super::{HostsSource, Loaded, Wrong, certs};
use crate::Secret;
use crate::address::is_loopback_host;
use crate::agents::Trust;
use crate::url::{Origin, Url, split_port};

/// What a reference is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its manifest: by digest if it has one, else by its tag.
    Manifest,
    /// A blob of it.
    Blob,
    /// To take an image.
    Push,
}

/// The places, in the order in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// All that are known; those with [`Endpoint::unused`] are left out.
    pub endpoints: Vec<Endpoint>,
    /// What forbids the reference.
    pub blocked: Option<Said>,
    /// What other files say that does not count.
    pub notes: Vec<String>,
}

/// A place that may have what a reference names.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// How it is spoken to.
    pub link: Link,
    /// What the repository is called there.
    pub repository: String,
    /// It is the registry itself.
    pub is_origin: bool,
    /// Why it is not asked this time.
    pub unused: Option<String>,
    /// What says so: the word in the file, and where.
    pub said: Vec<(&'static str, Said)>,
}

/// How a place is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its name with its port, as credentials are kept for it.
    pub host: String,
    /// How it is asked.
    pub scheme: Scheme,
    /// Path of the API, usually `/v2`.
    pub api: String,
    /// Its certificate is not checked.
    pub skip_verify: bool,
    /// Certificates for it.
    pub files: TlsFiles,
    /// Headers for it alone.
    pub headers: Vec<(String, Secret)>,
    /// The registry that it stands for, told to it with `?ns=`.
    pub namespace: Option<String>,
}

/// How a place is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// TLS only.
    Https,
    /// Plain http only.
    Http,
    /// Whichever it speaks: it is this machine, or was called insecure.
    Either,
}

/// Certificates for one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    /// PEM files with certificates that sign the server's, besides the system's.
    pub ca: Vec<PathBuf>,
    /// PEM files with who we are: certificate and key.
    pub client: Vec<(PathBuf, PathBuf)>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1, where it is known.
    pub line: Option<usize>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

impl Plan {
    /// The places that are asked.
    pub fn used(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(|endpoint| endpoint.unused.is_none())
    }
}

impl Endpoint {
    /// `host/repository`, as references have it.
    pub fn name(&self) -> String {
        format!("{}/{}", self.link.host, self.repository)
    }
}

impl Link {
    /// A registry that no file speaks of.
    pub(crate) fn plain(host: &str) -> Link {
        let is_here = split_port(host).is_some_and(|(name, _)| is_loopback_host(name));
        Link {
            host: host.to_owned(),
            scheme: if is_here { Scheme::Either } else { Scheme::Https },
            api: "/v2".to_owned(),
            skip_verify: false,
            files: TlsFiles::default(),
            headers: Vec::new(),
            namespace: None,
        }
    }

    /// Where its API is, for people: `https://mirror.example/v2`.
    pub fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::Either => "http(s)",
        };
        format!("{scheme}://{}{}", crate::client::api_host(&self.host), self.api)
    }

    /// The place that a URL names.
    fn of_url(url: &Url) -> Link {
        let Origin { https, host, port } = url.origin();
        let usual = if https { 443 } else { 80 };
        let host = if port == usual { host } else { format!("{host}:{port}") };
        let host = if is_docker_hub(&host) { "docker.io".to_owned() } else { host };
        let scheme = if https { Scheme::Https } else { Scheme::Http };
        Link { scheme, ..Link::plain(&host) }
    }

    /// What its server is believed and shown.
    pub(crate) fn trust(&self) -> Trust {
        Trust { skip_verify: self.skip_verify, files: self.files.clone() }
    }

    pub(crate) fn insecure(&mut self) {
        self.skip_verify = true;
        if self.scheme == Scheme::Https {
            self.scheme = Scheme::Either;
        }
    }
}

/// Names under which Docker Hub answers.
pub(crate) fn is_docker_hub(host: &str) -> bool {
    matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.docker.io")
}

/// Makes the plan.
pub(super) fn plan(
    source: &HostsSource,
    loaded: &Loaded,
    reference: &Reference,
    asked: Asked,
) -> Result<Plan, Wrong> {
    let table = loaded.registries.table(reference);
    let file = hosts_toml::find(&source.hosts_dirs, reference.registry())?;
    let mut plan = Plan::default();
    let job = Job { loaded, reference, asked };
    match (table, &file) {
        (Some(table), _) => {
            if table.blocked.is_some() {
                plan.blocked.clone_from(&table.blocked);
            } else {
                plan.endpoints = job.of_table(table);
            }
            plan.notes.extend(file.iter().map(|file| not_used(&file.said, "", &table.said)));
        }
        (None, Some(file)) => plan.endpoints = job.of_file(file),
        (None, None) => plan.endpoints = job.of_daemon(),
    }
    plan.notes.extend(loaded.unread.iter().cloned());
    plan.notes.extend(file.iter().flat_map(|file| file.unread.iter().cloned()));
    if let Some(winner) = table.map(|t| &t.said).or(file.as_ref().map(|f| &f.said)) {
        plan.notes.extend(job.daemon_notes(winner));
    }
    for endpoint in &mut plan.endpoints {
        let name = endpoint.name();
        match loaded.registries.blocked(&name) {
            // What stands for the registry may not be asked: nobody may.
            Some(said) if endpoint.is_origin => plan.blocked = Some(said.clone()),
            Some(said) => endpoint.unused = Some(format!("{said} blocks it")),
            None => {}
        }
        let host = endpoint.link.host.clone();
        let mut names = vec![host.as_str()];
        if host == "docker.io" {
            names.push("registry-1.docker.io");
        }
        certs::add(&mut endpoint.link.files, &source.certs_dirs, &names)?;
    }
    if plan.blocked.is_some() {
        plan.endpoints.clear();
    }
    Ok(plan)
}

fn not_used(said: &Said, what: &str, winner: &Said) -> String {
    format!("{said} speaks of it too{what}; it is not used, {winner} comes first")
}

struct Job<'a> {
    loaded: &'a Loaded,
    reference: &'a Reference,
    asked: Asked,
}

impl Job<'_> {
    fn has_digest(&self) -> bool {
        self.reference.digest().is_some()
    }

    /// `registries.conf`: mirrors, then the location. Who pushes asks the registry of the reference, as podman does.
    fn of_table(&self, table: &Registry) -> Vec<Endpoint> {
        let name = self.reference.name();
        let mut all = Vec::new();
        if self.asked != Asked::Push {
            for mirror in &table.mirrors {
                let mut endpoint = self.at(&table.located(&name, &mirror.location), false);
                endpoint.said.push(("mirror", mirror.said.clone()));
                self.may_be_insecure(&mut endpoint, mirror.insecure.as_ref(), true);
                endpoint.unused = self.unfit(mirror.pulls);
                all.push(endpoint);
            }
        }
        let place = match self.asked {
            Asked::Push => name,
            _ => table.located(&name, &table.location),
        };
        let is_elsewhere = place != self.reference.name();
        let mut endpoint = self.at(&place, true);
        let word = if is_elsewhere { "location" } else { "registry" };
        endpoint.said.push((word, table.said.clone()));
        self.may_be_insecure(&mut endpoint, table.insecure.as_ref(), is_elsewhere);
        all.push(endpoint);
        all
    }

    /// Why a mirror is not for this reference.
    fn unfit(&self, pulls: Pulls) -> Option<String> {
        let is_pinned = self.has_digest() || self.asked == Asked::Blob;
        match pulls {
            Pulls::ByDigest if !is_pinned => Some("it is for references with a digest".to_owned()),
            Pulls::ByTag if self.has_digest() => {
                Some("it is for references without a digest".to_owned())
            }
            _ => None,
        }
    }

    /// `hosts.toml`: its hosts, then the server. A push goes to the first that takes one.
    fn of_file(&self, file: &HostsToml) -> Vec<Endpoint> {
        let mut all: Vec<Endpoint> =
            file.hosts.iter().map(|host| self.of_host(host, false)).collect();
        all.push(self.of_host(&file.server, true));
        if self.asked == Asked::Push {
            all.retain(|endpoint| endpoint.unused.is_none());
            all.truncate(1);
        }
        all
    }

    fn of_host(&self, host: &Host, is_origin: bool) -> Endpoint {
        let mut endpoint = self.at(&self.reference.name(), is_origin);
        if let Some(url) = &host.url {
            endpoint.link = Link::of_url(url);
            let path = url.path.trim_end_matches('/');
            endpoint.link.api = match host.override_path {
                true => path.to_owned(),
                false => format!("{path}/v2"),
            };
        }
        let link = &mut endpoint.link;
        if link.host != self.reference.registry() && self.asked != Asked::Push {
            link.namespace = Some(self.reference.registry().to_owned());
        }
        link.files.clone_from(&host.files);
        link.headers.clone_from(&host.headers);
        let word = if is_origin { "server" } else { "host" };
        endpoint.said.push((word, host.said.clone()));
        if let Some(said) = &host.skip_verify {
            link.skip_verify = true;
            endpoint.said.push(("skip_verify", said.clone()));
        }
        let can = match (self.asked, self.has_digest()) {
            (Asked::Push, _) => host.can_push,
            (Asked::Manifest, false) => host.can_resolve,
            (Asked::Manifest, true) | (Asked::Blob, _) => host.can_pull,
        };
        if !can {
            endpoint.unused = Some("its capabilities do not name this".to_owned());
        }
        endpoint
    }

    /// `daemon.json`: mirrors of Docker Hub, and registries that may be insecure.
    fn of_daemon(&self) -> Vec<Endpoint> {
        let mut all = Vec::new();
        if self.reference.registry() == "docker.io" && self.asked != Asked::Push {
            // The first file that names mirrors.
            let mirrors = self.loaded.daemons.iter().map(|daemon| &daemon.mirrors);
            for (url, said) in mirrors.into_iter().find(|m| !m.is_empty()).into_iter().flatten() {
                let mut endpoint = self.at(&self.reference.name(), false);
                endpoint.link = Link::of_url(url);
                endpoint.said.push(("registry-mirrors", said.clone()));
                self.may_be_insecure(&mut endpoint, None, true);
                all.push(endpoint);
            }
        }
        let mut origin = self.at(&self.reference.name(), true);
        self.may_be_insecure(&mut origin, None, true);
        all.push(origin);
        all
    }

    /// What `daemon.json` says of a registry that another file speaks of.
    fn daemon_notes(&self, winner: &Said) -> Vec<String> {
        let registry = self.reference.registry();
        let mut notes = Vec::new();
        for daemon in &self.loaded.daemons {
            if registry == "docker.io"
                && let Some((_, said)) = daemon.mirrors.first()
            {
                notes.push(not_used(said, " (registry-mirrors)", winner));
            }
            if let Some(said) = daemon.insecure(registry) {
                notes.push(not_used(&said, " (insecure-registries)", winner));
            }
        }
        notes
    }

    /// The place `host/repository`.
    fn at(&self, place: &str, is_origin: bool) -> Endpoint {
        let (host, repository) = place.split_once('/').unwrap_or((place, ""));
        let host = if is_docker_hub(host) { "docker.io" } else { host };
        let link = Link::plain(host);
        let repository = repository.to_owned();
        Endpoint { link, repository, is_origin, unused: None, said: Vec::new() }
    }

    /// Lets a place be insecure when its own entry, or a daemon.json that counts for it, says so.
    fn may_be_insecure(&self, endpoint: &mut Endpoint, own: Option<&Said>, ask_daemon: bool) {
        let daemon = || self.loaded.insecure(&endpoint.link.host).filter(|_| ask_daemon);
        if let Some(said) = own.cloned().or_else(daemon) {
            endpoint.link.insecure();
            endpoint.said.push(("insecure", said));
        }
    }
}
