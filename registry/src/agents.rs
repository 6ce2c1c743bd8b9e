//! The HTTP agents below the client, made when first needed: reading a hundred root certificates takes longer than
//! many a request.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::transport::{Connector as _, DefaultConnector, TcpConnector};

use crate::dns::{Guard, HostResolver};
use crate::error::Cause;
use crate::hosts::TlsFiles;
use crate::local_file::read_local_file;
use crate::options::{RegistryOptions, TlsRoots};
use crate::plain_proxy::PlainProxy;
use crate::url::{Origin, Url};

/// What makes agents differ. Connections are pooled for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AgentKey {
    tls: Tls,
    files: TlsFiles,
    guard: Guard,
    proxy: Option<String>,
    /// Clients of different patience share what stops them.
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// What one place is believed and shown besides the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Its certificate is not checked.
    pub(crate) skip_verify: bool,
    /// Certificates for it.
    pub(crate) files: TlsFiles,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tls {
    None,
    Verified,
    Unverified,
}

/// All agents of one client.
#[derive(Default)]
pub(crate) struct Agents {
    made: Mutex<HashMap<AgentKey, Agent>>,
    roots: Mutex<Option<Loaded>>,
    stopped: AtomicBool,
    /// Who has answered.
    answered: Mutex<HashSet<Origin>>,
}

/// Longer heads are refused. More than the library's input buffer has room for.
const HEAD_MAX_BYTES: usize = 256 << 10;

impl Agents {
    /// The agent for a URL. `trust` is more than usual only for the place that the user named.
    pub(crate) fn agent(
        &self,
        options: &RegistryOptions,
        url: &Url,
        guard: Guard,
        trust: &Trust,
    ) -> Result<Agent, Cause> {
        if self.is_stopped() {
            return Err(Cause::Cancelled);
        }
        let tls = match (url.https, trust.skip_verify) {
            (false, _) => Tls::None,
            (true, false) => Tls::Verified,
            (true, true) => Tls::Unverified,
        };
        let proxy = options.proxy.proxy_for(url.https, &url.host, url.port).map(str::to_owned);
        let files = if url.https { trust.files.clone() } else { TlsFiles::default() };
        let RegistryOptions { connect_timeout, idle_timeout, .. } = *options;
        let key = AgentKey { tls, files, guard, proxy, connect_timeout, idle_timeout };
        let mut made = lock(&self.made);
        if let Some(agent) = made.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.make(options, &key)?;
        made.insert(key, agent.clone());
        Ok(agent)
    }

    /// Ends all connections and refuses new ones.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        for (_, agent) in lock(&self.made).drain() {
            agent.shutdown();
        }
    }

    /// Notes that somebody has answered.
    pub(crate) fn note_answer(&self, origin: Origin) {
        lock(&self.answered).insert(origin);
    }

    /// Whether somebody has ever answered.
    pub(crate) fn has_answered(&self, origin: &Origin) -> bool {
        lock(&self.answered).contains(origin)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn make(&self, options: &RegistryOptions, key: &AgentKey) -> Result<Agent, Cause> {
        let proxy = match &key.proxy {
            Some(text) => Some(ureq::Proxy::new(text).map_err(|_| Cause::Configuration {
                what: "proxy".to_owned(),
                reason: "its URL cannot be read".to_owned(),
            })?),
            None => None,
        };
        let roots = match key.tls {
            Tls::Verified => self.roots(&options.roots, &key.files)?,
            Tls::None | Tls::Unverified => RootCerts::new_with_certs(&[]),
        };
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .client_cert(client_cert(&key.files)?)
            .disable_verification(key.tls == Tls::Unverified)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let plain = proxy.as_ref().filter(|_| key.tls == Tls::None).and_then(PlainProxy::new);
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(&options.user_agent)
            .accept_encoding("identity")
            .proxy(proxy.filter(|_| plain.is_none()))
            .tls_config(tls)
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_per_read(Some(options.idle_timeout))
            // Heads that come byte by byte stand still for none of them.
            .timeout_recv_response(Some(options.idle_timeout * 2))
            .timeout_per_write(Some(options.idle_timeout))
            // Not only heads: behind an interim answer all that is in the input buffer counts.
            .max_response_header_size(HEAD_MAX_BYTES)
            .max_idle_connections(if plain.is_some() { 0 } else { 32 })
            .max_idle_connections_per_host(if plain.is_some() { 0 } else { 16 })
            .build();
        // Where a proxy resolves names, the only address that is looked up is that of the proxy.
        let guard = if plain.is_some() { Guard::Open } else { key.guard };
        let resolver = HostResolver::guarded(&options.hosts_file, &options.resolv_conf, guard);
        Ok(match plain {
            None => Agent::with_parts(config, DefaultConnector::default(), resolver),
            Some(plain) => {
                let resolver = plain.resolver(resolver);
                let connector = ().chain(TcpConnector::default()).chain(plain);
                Agent::with_parts(config, connector, resolver)
            }
        })
    }

    fn roots(&self, roots: &TlsRoots, own: &TlsFiles) -> Result<RootCerts, Cause> {
        let mut known = lock(&self.roots);
        let usual = match &*known {
            Some(roots) => roots.clone(),
            None => known.insert(load_roots(roots)?).clone(),
        };
        if own.ca.is_empty() {
            return make_roots(&usual);
        }
        let mut all = usual;
        for file in &own.ca {
            all.certs.extend(load_file(file)?);
        }
        make_roots(&all)
    }
}

/// Certificates, and what was wrong where there are none.
#[derive(Clone)]
struct Loaded {
    certs: Vec<CertificateDer<'static>>,
    complaint: Option<String>,
}

/// Who we are to one place. Of several, servers are shown the first.
fn client_cert(files: &TlsFiles) -> Result<Option<ClientCert>, Cause> {
    let Some((cert, key)) = files.client.first() else { return Ok(None) };
    let wrong = |file: &Path, reason: String| Cause::Configuration {
        what: format!("client certificate {}", file.display()),
        reason,
    };
    let chain = load_file(cert)?;
    let chain: Vec<Certificate<'static>> =
        chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let pem = read_local_file(key).map_err(|e| wrong(key, e.to_string()))?;
    let key = PrivateKey::from_pem(&pem).map_err(|e| wrong(key, e.to_string()))?;
    Ok(Some(ClientCert::new_with_certs(&chain, key)))
}

fn load_roots(roots: &TlsRoots) -> Result<Loaded, Cause> {
    let mut certs = Vec::new();
    let (files, complaint) = match roots {
        TlsRoots::System { extra } => {
            let system = rustls_native_certs::load_native_certs();
            certs.extend(system.certs);
            (extra, system.errors.into_iter().next().map(|e| e.to_string()))
        }
        TlsRoots::Files(files) => (files, None),
    };
    for file in files {
        certs.extend(load_file(file)?);
    }
    Ok(Loaded { certs, complaint })
}

fn make_roots(loaded: &Loaded) -> Result<RootCerts, Cause> {
    if loaded.certs.is_empty() {
        let reason = loaded.complaint.clone().unwrap_or_else(|| "none found".to_owned());
        return Err(Cause::Configuration { what: "root certificates".to_owned(), reason });
    }
    let certs: Vec<Certificate<'static>> =
        loaded.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(RootCerts::new_with_certs(&certs))
}

fn load_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let fail = |reason: String| Cause::Configuration {
        what: format!("certificates in {}", file.display()),
        reason,
    };
    // Whatever waits for ever, or has no end, is none.
    read_local_file(file).map_err(|error| fail(error.to_string()))?;
    let loaded = rustls_native_certs::load_certs_from_paths(Some(file), None);
    match loaded.errors.into_iter().next() {
        Some(error) => Err(fail(error.to_string())),
        None if loaded.certs.is_empty() => Err(fail("none found".to_owned())),
        None => Ok(loaded.certs),
    }
}

/// Locks; what a panicked thread left is still whole, because every change here is one insert.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}
