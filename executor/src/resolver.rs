//! /etc/resolv.conf and /etc/hosts of steps (XENV-05, XENV-06).

use std::net::IpAddr;

use crate::network::Forwarder;

/// Resolvers when the machine has none that a step can reach: only where the step is on the machine's own network and
/// could use them like every program there.
const UPSTREAM_OF_SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";

/// The text of a step's /etc/resolv.conf: the machine's, with resolvers on its loopback replaced. `forwarder` is where
/// the step's network helper answers for them; without one the step shares the machine's loopback.
pub(crate) fn resolv_conf(host: &str, forwarder: Option<&Forwarder>) -> String {
    let Some(forwarder) = forwarder else { return filtered(host, &|_| true, None) };
    if has_outer_resolver(host) {
        return filtered(host, &|address| !address.is_loopback(), None);
    }
    filtered(host, &|_| false, Some(forwarder.address))
}

/// Whether any resolver is not on the machine's loopback.
pub(crate) fn has_outer_resolver(host: &str) -> bool {
    nameservers(host).any(|address| !address.is_loopback())
}

/// The machine's file: systemd-resolved's list of real servers where the usual file names its stub alone.
pub(crate) fn read_host() -> String {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if text.is_empty() || has_outer_resolver(&text) {
        return text;
    }
    let upstream = std::fs::read_to_string(UPSTREAM_OF_SYSTEMD).unwrap_or_default();
    if has_outer_resolver(&upstream) { upstream } else { text }
}

fn nameservers(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    text.lines().filter_map(nameserver)
}

fn nameserver(line: &str) -> Option<IpAddr> {
    let mut words = line.split_whitespace();
    if words.next() != Some("nameserver") {
        return None;
    }
    let address = words.next()?;
    address.split('%').next()?.parse().ok()
}

fn filtered(host: &str, keep: &dyn Fn(&IpAddr) -> bool, add: Option<IpAddr>) -> String {
    let mut text = String::new();
    for line in host.lines() {
        let line = line.trim();
        let kept = match line.split_whitespace().next() {
            Some("nameserver") => nameserver(line).is_some_and(|address| keep(&address)),
            Some("search" | "domain" | "options" | "sortlist") => true,
            _ => false, // comments say nothing about the step
        };
        if kept {
            text.push_str(line);
            text.push('\n');
        }
    }
    if let Some(address) = add {
        text.push_str(&format!("nameserver {address}\n"));
    }
    text
}

/// The text of a step's /etc/hosts. `host-gateway` as an address of `extra` means the machine: reached by its loopback
/// where the network is shared, and by nothing in a network of the step's own (security.md D14).
pub(crate) fn hosts(hostname: &str, extra: &[(String, String)]) -> String {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in extra {
        let address = match address.as_str() {
            "host-gateway" => "127.0.0.1",
            address => address.trim_matches(['[', ']']),
        };
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xenv_06_loopback_resolvers() {
        let forwarder = Forwarder { address: "10.0.2.3".parse().unwrap() };
        let check = |host: &str, own_network: bool, want: &str| {
            let forwarder = own_network.then_some(&forwarder);
            assert_eq!(resolv_conf(host, forwarder), want, "{host}");
        };
        check("nameserver 10.1.1.1\n# x\nsearch a b\n", true, "nameserver 10.1.1.1\nsearch a b\n");
        check(
            "nameserver 127.0.0.53\noptions edns0\n",
            true,
            "options edns0\nnameserver 10.0.2.3\n",
        );
        check("nameserver 127.0.0.1\nnameserver 9.9.9.9\n", true, "nameserver 9.9.9.9\n");
        check("nameserver 127.0.0.53\n", false, "nameserver 127.0.0.53\n");
        check("nameserver fe80::1%eth0\n", true, "nameserver fe80::1%eth0\n");
        check("", true, "nameserver 10.0.2.3\n");
    }

    #[test]
    fn xenv_05_hosts() {
        let extra = [("a".to_owned(), "1.2.3.4".to_owned()), ("gw".into(), "host-gateway".into())];
        assert_eq!(
            hosts("buildkitsandbox", &extra),
            "127.0.0.1\tlocalhost buildkitsandbox\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             1.2.3.4\ta\n\
             127.0.0.1\tgw\n"
        );
    }
}
