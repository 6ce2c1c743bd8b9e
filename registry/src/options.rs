//! What a client is told at its start. Data only; nothing here reads the environment.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::{in_network, is_loopback_host, literal};
use crate::hosts::{Link, Scheme};
use crate::url::split_port;
use crate::{Credentials, Hosts, RetryPolicy};

/// Settings of a [`crate::RegistryClient`].
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// `User-Agent` header.
    pub user_agent: String,
    /// Who to be, for each registry.
    pub credentials: Credentials,
    /// Where registries are asked: mirrors, other places, what is blocked.
    pub hosts: Hosts,
    /// Certificates that sign registries' certificates.
    pub roots: TlsRoots,
    /// Tries and waits.
    pub retry: RetryPolicy,
    /// Registries (`host:port` as in references) that speak plain http. Loopback hosts do so without being named,
    /// unless they turn out to speak TLS.
    pub plain_http: Vec<String>,
    /// Registries whose certificate is not checked. Never inherited by a redirect (spec/security.md C14).
    pub skip_verify: Vec<String>,
    /// Hosts of token servers that may get credentials although their name is unrelated to the registry's.
    pub trusted_realms: Vec<String>,
    /// Proxies.
    pub proxy: ProxySettings,
    /// Time for a connection to be made.
    pub connect_timeout: Duration,
    /// Time for which one read or write may stand still.
    pub idle_timeout: Duration,
    /// Where names are looked up; for tests.
    pub hosts_file: PathBuf,
    /// Name servers; for tests.
    pub resolv_conf: PathBuf,
}

impl RegistryOptions {
    /// For what others can stand in for: gives up sooner on servers that are slow to answer.
    pub(crate) fn of_little_patience(&self) -> RegistryOptions {
        let mut options = self.clone();
        options.connect_timeout = options.connect_timeout.min(Duration::from_secs(10));
        options.idle_timeout = options.idle_timeout.min(Duration::from_secs(15));
        options.retry.tries = options.retry.tries.min(3);
        options.retry.max_delay = options.retry.max_delay.min(Duration::from_secs(2));
        options.retry.max_retry_after = options.retry.max_retry_after.min(Duration::from_secs(10));
        options
    }

    /// The usual settings for `credentials`.
    pub fn new(credentials: Credentials) -> RegistryOptions {
        RegistryOptions {
            user_agent: concat!("shale/", env!("CARGO_PKG_VERSION")).to_owned(),
            credentials,
            hosts: Hosts::default(),
            roots: TlsRoots::System { extra: Vec::new() },
            retry: RetryPolicy::standard(),
            plain_http: Vec::new(),
            skip_verify: Vec::new(),
            trusted_realms: Vec::new(),
            proxy: ProxySettings::default(),
            connect_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(120),
            hosts_file: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

/// Certificates that are trusted.
#[derive(Clone, Debug)]
pub enum TlsRoots {
    /// Those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR, read at the first https request.
    System {
        /// Further PEM files.
        extra: Vec<PathBuf>,
    },
    /// Those in these PEM files alone.
    Files(Vec<PathBuf>),
}

/// Proxies as URLs, `http://user:password@host:port`.
#[derive(Clone, Default)]
pub struct ProxySettings {
    /// For https registries (HTTPS_PROXY).
    pub https: Option<String>,
    /// For plain http registries (HTTP_PROXY).
    pub http: Option<String>,
    /// Comma-separated names, domains, addresses and networks that are reached directly (NO_PROXY).
    pub no_proxy: String,
}

impl std::fmt::Debug for ProxySettings {
    /// Silent: the URLs may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxySettings").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

impl ProxySettings {
    /// The proxy through which a place is reached, without its user and password. Where both schemes may be spoken,
    /// that of plain http, which is tried first.
    pub fn shown_for(&self, link: &Link) -> Option<String> {
        let https = link.scheme == Scheme::Https;
        let host = crate::client::api_host(&link.host);
        let (name, port) = split_port(&host)?;
        self.shown(https, name, port.unwrap_or(if https { 443 } else { 80 }))
    }

    /// The proxy for a host, without its user and password.
    pub(crate) fn shown(&self, https: bool, host: &str, port: u16) -> Option<String> {
        let proxy = self.proxy_for(https, host, port)?;
        let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", proxy));
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        Some(format!("{scheme}://{}", crate::error::printable(rest)))
    }

    /// The proxy for a host, if it is not reached directly. Loopback never goes through one.
    pub(crate) fn proxy_for(&self, https: bool, host: &str, port: u16) -> Option<&str> {
        let proxy = if https { &self.https } else { &self.http }.as_deref()?;
        let direct = is_loopback_host(host)
            || self.no_proxy.split(',').any(|rule| is_covered(rule.trim(), host, port));
        (!proxy.is_empty() && !direct).then_some(proxy)
    }
}

/// One word of NO_PROXY: `*`, an address, a network, a name with all names below it, each with a port or without.
fn is_covered(rule: &str, host: &str, port: u16) -> bool {
    if rule.is_empty() {
        return false;
    }
    if rule == "*" {
        return true;
    }
    let address = literal(host);
    if let Some((network, bits)) = rule.split_once('/') {
        return match (address, network.parse(), bits.parse()) {
            (Some(address), Ok(network), Ok(bits)) => in_network(address, network, bits),
            _ => false,
        };
    }
    if let Some(rule) = literal(rule) {
        return address == Some(rule);
    }
    let Some((rule, rule_port)) = split_port(rule) else { return false };
    if rule_port.is_some_and(|p| p != port) {
        return false;
    }
    if let Some(rule) = literal(rule) {
        return address == Some(rule);
    }
    let rule = rule.strip_prefix("*.").unwrap_or(rule).trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    host == rule || host.strip_suffix(&rule).is_some_and(|head| head.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_proxy_covers_names_and_addresses() {
        let check = |rules: &str, host: &str, proxied: bool| {
            let settings = ProxySettings {
                https: Some("http://p:1".to_owned()),
                http: None,
                no_proxy: rules.to_owned(),
            };
            let got = settings.proxy_for(true, host, 443);
            assert_eq!(got.is_some(), proxied, "{rules} {host}");
            assert_eq!(settings.proxy_for(false, host, 80), None);
        };
        check("", "example.com", true);
        check("", "localhost", false);
        check("", "127.3.2.1", false);
        check("example.com", "a.example.com", false);
        check(".example.com, x", "example.com", false);
        check("*.example.com", "badexample.com", true);
        check("10.0.0.0/8", "10.1.2.3", false);
        check("10.0.0.0/8", "11.1.2.3", true);
        check("0.0.0.0/0", "11.1.2.3", false);
        check("fd00::/8", "[fd12::1]", false);
        check("example.com:444", "example.com", true);
        check("example.com:443", "example.com", false);
        check("*", "example.com", false);
    }
}
