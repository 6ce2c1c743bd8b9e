//! Names to addresses without the C library: a static binary in a bare root has no name service switch.
//!
//! Owns `localhost`, the hosts file and a small DNS client (A and AAAA over UDP, TCP when the answer is cut).
//! Refuses to know what the addresses are for.

mod packet;
mod query;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::address::{is_forbidden, is_localhost, literal};

/// How long an answer is believed. Connections follow a look-up at once, so this only saves questions.
const BELIEVED: Duration = Duration::from_secs(60);

/// Looks host names up for HTTP connections.
pub struct HostResolver {
    hosts_file: PathBuf,
    resolv_conf: PathBuf,
    guard: Guard,
    known: Mutex<HashMap<String, (Instant, Vec<IpAddr>)>>,
}

/// Which addresses are acceptable (spec/security.md C2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Guard {
    /// All: the user named the host.
    Open,
    /// Not those of [`is_forbidden`]: a registry named the host.
    Foreign { registry_is_loopback: bool },
}

impl HostResolver {
    /// A resolver that reads the given files, usually `/etc/hosts` and `/etc/resolv.conf`.
    pub fn new(hosts_file: &Path, resolv_conf: &Path) -> HostResolver {
        HostResolver::guarded(hosts_file, resolv_conf, Guard::Open)
    }

    pub(crate) fn guarded(hosts_file: &Path, resolv_conf: &Path, guard: Guard) -> HostResolver {
        HostResolver {
            hosts_file: hosts_file.to_owned(),
            resolv_conf: resolv_conf.to_owned(),
            guard,
            known: Mutex::default(),
        }
    }

    /// The addresses of a host name or address, IPv4 first; empty when there is no such host.
    pub fn addresses(&self, host: &str) -> Vec<IpAddr> {
        if let Some(address) = literal(host) {
            return vec![address];
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        if is_localhost(&name) {
            return vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        }
        let mut known = match self.known.lock() {
            Ok(known) => known,
            Err(poisoned) => poisoned.into_inner(),
        };
        if let Some((at, addresses)) = known.get(&name)
            && at.elapsed() < BELIEVED
        {
            return addresses.clone();
        }
        // The lock is kept over the question: parallel transfers to one host shall ask once.
        let addresses = self.look_up(&name, host.ends_with('.'));
        if !addresses.is_empty() {
            known.insert(name, (Instant::now(), addresses.clone()));
        }
        addresses
    }

    fn look_up(&self, name: &str, absolute: bool) -> Vec<IpAddr> {
        let hosts = std::fs::read_to_string(&self.hosts_file).unwrap_or_default();
        let found = in_hosts_file(&hosts, name);
        if !found.is_empty() {
            return found;
        }
        let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        let settings = Settings::parse(&text);
        settings
            .candidates(name, absolute)
            .iter()
            .map(|candidate| query::ask(&settings, candidate))
            .find(|addresses| !addresses.is_empty())
            .unwrap_or_default()
    }
}

impl fmt::Debug for HostResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostResolver({:?})", self.guard)
    }
}

impl Resolver for HostResolver {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default_port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let port = uri.port_u16().unwrap_or(default_port);
        let mut found = self.addresses(host);
        if found.is_empty() {
            return Err(ureq::Error::HostNotFound);
        }
        if let Guard::Foreign { registry_is_loopback } = self.guard {
            found.retain(|address| !is_forbidden(*address, registry_is_loopback));
            if found.is_empty() {
                return Err(ureq::Error::Other(Box::new(ForbiddenTarget)));
            }
        }
        let mut out = self.empty();
        for address in found.into_iter().take(16) {
            out.push(SocketAddr::new(address, port));
        }
        Ok(out)
    }
}

/// A registry sent us to an address that no registry should name.
#[derive(Debug, thiserror::Error)]
#[error("a server must not send its clients to this address")]
pub(crate) struct ForbiddenTarget;

fn in_hosts_file(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found.sort_by_key(IpAddr::is_ipv6);
    found
}

/// What resolv.conf says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Settings {
    fn parse(text: &str) -> Settings {
        let mut settings = Settings {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(parse_server);
                    settings.servers.extend(address.filter(|_| settings.servers.len() < 3));
                }
                Some("search" | "domain") => {
                    let domain = |w: &str| w.trim_end_matches('.').to_owned();
                    settings.search = words.map(domain).filter(|w| !w.is_empty()).collect();
                }
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)));
        }
        settings
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(value.clamp(1, 30).into()),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// Names to ask for, in order.
    fn candidates(&self, name: &str, absolute: bool) -> Vec<String> {
        let own = name.to_owned();
        if absolute {
            return vec![own];
        }
        let mut names: Vec<String> =
            self.search.iter().map(|domain| format!("{name}.{domain}")).collect();
        if name.bytes().filter(|b| *b == b'.').count() >= self.ndots {
            names.insert(0, own);
        } else {
            names.push(own);
        }
        names
    }
}

/// A name server's address. `address:port` is our extension.
fn parse_server(word: &str) -> Option<SocketAddr> {
    if let Ok(with_port) = word.parse::<SocketAddr>() {
        return Some(with_port);
    }
    let bare = word.split('%').next().unwrap_or(word);
    bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, 53))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_and_literals_need_no_files() {
        let resolver = HostResolver::new(Path::new("/nonexistent"), Path::new("/nonexistent"));
        let check = |host: &str, expect: &[&str]| {
            let got: Vec<String> = resolver.addresses(host).iter().map(IpAddr::to_string).collect();
            assert_eq!(got, expect, "{host}");
        };
        check("localhost", &["127.0.0.1", "::1"]);
        check("LOCALHOST.", &["127.0.0.1", "::1"]);
        check("x.localhost", &["127.0.0.1", "::1"]);
        check("127.0.0.9", &["127.0.0.9"]);
        check("[::1]", &["::1"]);
    }

    #[test]
    fn the_hosts_file_is_asked_before_dns() {
        let text = "# c\n::2 six both # both\n10.0.0.1\tBOTH other\n10.0.0.1 both\nbad both\n";
        let found = in_hosts_file(text, "both");
        assert_eq!(found, ["10.0.0.1".parse::<IpAddr>().expect("v4"), "::2".parse().expect("v6")]);
        assert!(in_hosts_file(text, "bot").is_empty());
    }

    #[test]
    fn search_domains_follow_ndots() {
        let text = "domain x\nsearch a.example. b.example\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\noptions ndots:2 timeout:1 rotate";
        let settings = Settings::parse(text);
        assert_eq!(settings.servers.len(), 2);
        assert_eq!(settings.timeout, Duration::from_secs(1));
        assert_eq!(settings.candidates("r.x", false), ["r.x.a.example", "r.x.b.example", "r.x"]);
        assert_eq!(settings.candidates("a.b.c", false)[0], "a.b.c");
        assert_eq!(settings.candidates("r", true), ["r"]);
        assert_eq!(Settings::parse("").servers[0].to_string(), "127.0.0.1:53");
    }
}
