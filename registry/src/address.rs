//! What a host name or address means for safety: loopback, forbidden targets, related hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address that a host part of a URL spells out, if it is one.
pub(crate) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// Whether a host is this machine by name: `localhost`, `*.localhost`, 127.0.0.0/8, ::1.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    match literal(host) {
        Some(address) => is_loopback(address),
        None => is_localhost(host),
    }
}

/// Whether a name is answered with the loopback addresses without asking anyone (RFC 6761).
pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_loopback(address: IpAddr) -> bool {
    plain(address).is_loopback()
}

/// An IPv4 address in IPv6 clothes is what it is inside: mapped (RFC 4291), or behind a translator (RFC 6052).
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let translated = match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        _ => v6.to_ipv4_mapped(),
    };
    translated.map_or(address, IpAddr::V4)
}

/// Whether a name is an address to some but not to all: `2852039166`, `0xa9fea9fe`, `169.254.43518`. A proxy may take
/// it for one that is forbidden.
pub(crate) fn is_odd_address(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    let is_hex = last.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("0x"));
    let is_number = !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit());
    literal(host).is_none() && (is_hex || is_number)
}

/// Whether a registry may send this client to `address` (spec/security.md C2): never to link-local addresses,
/// where cloud machines serve their secrets; to loopback only when the registry itself is there.
pub(crate) fn is_forbidden(address: IpAddr, registry_is_loopback: bool) -> bool {
    const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match plain(address) {
        IpAddr::V4(v4) => {
            v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4 == Ipv4Addr::BROADCAST
                || (v4.is_loopback() && !registry_is_loopback)
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6 == METADATA_V6
                || (v6.is_loopback() && !registry_is_loopback)
        }
    }
}

/// Whether an address lies in a network of so many leading bits.
pub(crate) fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(a) & mask == u32::from(n) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(n) & mask
        }
        _ => false,
    }
}

/// Whether two hosts plainly belong to one owner: the same host, or names under one domain. Without a list of
/// public suffixes a common suffix counts only if it has three labels, or two of which the first is longer than
/// three letters (`co.uk`, `com.br` are none).
pub(crate) fn are_related(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    if literal(a).is_some() || literal(b).is_some() {
        return is_loopback_host(a) && is_loopback_host(b);
    }
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut common = Vec::new();
    for (x, y) in a.rsplit('.').zip(b.rsplit('.')) {
        if x != y {
            break;
        }
        common.push(x);
    }
    common.len() > 2 || (common.len() == 2 && common[1].len() > 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_owner() {
        let check = |a, b, expect| assert_eq!(are_related(a, b), expect, "{a} {b}");
        check("registry.example.com", "auth.example.com", true);
        check("example.com", "auth.example.com", true);
        check("registry.example.com", "registry.evil.com", false);
        check("a.co.uk", "b.co.uk", false);
        check("r.a.co.uk", "auth.a.co.uk", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("localhost", "127.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("example.com", "example.com.evil.org", false);
    }

    #[test]
    fn numbers_are_no_names() {
        for odd in ["2852039166", "0xa9fea9fe", "169.254.43518", "a.0X1", "127.1", "1."] {
            assert!(is_odd_address(odd), "{odd}");
        }
        for good in ["127.0.0.1", "[::1]", "a.example", "1password.example", "r2", "0.example"] {
            assert!(!is_odd_address(good), "{good}");
        }
    }

    #[test]
    fn a_registry_cannot_send_us_to_metadata_services() {
        let check = |text: &str, local, expect| {
            assert_eq!(is_forbidden(text.parse().expect(text), local), expect, "{text}");
        };
        check("169.254.169.254", true, true); // security.md C2
        check("::ffff:169.254.169.254", true, true);
        check("64:ff9b::169.254.169.254", true, true);
        check("64:ff9b::192.0.2.1", false, false);
        check("fe80::1", false, true);
        check("fd00:ec2::254", false, true);
        check("0.0.0.0", true, true);
        check("127.0.0.1", false, true);
        check("127.0.0.1", true, false);
        check("::1", false, true);
        check("10.1.2.3", false, false);
        check("192.0.2.1", false, false);
    }
}
