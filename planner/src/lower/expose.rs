//! EXPOSE: port specifications (EXPO-01 to EXPO-07).

use parser::ast::Word;

use super::StageBuild;
use crate::lint;
use crate::site::{Fail, Site};

pub(super) fn lower(
    build: &mut StageBuild<'_, '_>,
    words: &[Word],
    site: &Site,
) -> Result<(), Fail> {
    // Sorted as written, then expanded (EXPO-06).
    let mut words: Vec<&Word> = words.iter().collect();
    words.sort_by(|a, b| a.text.cmp(&b.text));
    let mut ports = Vec::new();
    for word in words {
        let specifications = build.state.variables.words(word, site)?;
        build.take_room(specifications.iter().map(String::len).sum(), site)?;
        for specification in specifications {
            let (ip, host, container) = split(&specification);
            let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
            let names_host = !ip.is_empty() || !host.is_empty();
            let findings = build.lowering.findings;
            lint::exposed_port(findings, &specification, protocol, names_host, site);
            let parsed = parse(&specification)
                .map_err(|message| site.error_in("invalid-port", message, word.span))?;
            // A range is short and long at once.
            build
                .take_room(parsed.iter().map(|port| size_of_val(port) + port.len()).sum(), site)?;
            ports.extend(parsed);
        }
    }
    build.note(format!("EXPOSE [{}]", ports.join(" ")));
    build.state.config.config.exposed_ports.extend(ports);
    Ok(())
}

/// `[ip:][host]:container[/proto]`: the container's ports, each as `port/proto`.
fn parse(text: &str) -> Result<Vec<String>, String> {
    let (ip, host, container) = split(text);
    let (container, protocol) = match container.split_once('/') {
        Some((port, "")) => (port, "tcp".to_owned()),
        Some((port, protocol)) => (port, protocol.to_lowercase()),
        None => (container, "tcp".to_owned()),
    };
    if container.is_empty() {
        return Err(format!("invalid port: {text:?}: no port specified"));
    }
    if !matches!(&*protocol, "tcp" | "udp" | "sctp") {
        return Err(format!("invalid port: {text:?}: invalid proto: {protocol}"));
    }
    check_ip(ip)?;
    let (first, last) =
        range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    if !host.is_empty() {
        let (host_first, host_last) =
            range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
        if last - first != host_last - host_first && first != last {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// The parts before, between and behind the last two colons.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = text.rsplit_once(':') else { return ("", "", text) };
    match rest.rsplit_once(':') {
        Some((ip, host)) => (ip, host, container),
        None => ("", rest, container),
    }
}

fn check_ip(ip: &str) -> Result<(), String> {
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    match ip.is_empty() || bare.parse::<std::net::IpAddr>().is_ok() {
        true => Ok(()),
        false => Err(format!("invalid IP address: {ip}")),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    // Go's number parser, which BuildKit uses, takes a sign.
    let number = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if all_digits { digits.parse::<u16>().ok() } else { None }
    };
    match text.split_once('-') {
        None => number(text).map(|port| (port, port)),
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_errors() {
        let check = |text: &str, want: &str| {
            let got = parse(text).map_or_else(|error| error, |ports| ports.join(" "));
            assert_eq!(got, want, "{text}");
        };
        check("80", "80/tcp"); // EXPO-02
        check("80/", "80/tcp");
        check("53/UDP", "53/udp");
        check("0", "0/tcp"); // EXPO-03
        check("80-82/sctp", "80/sctp 81/sctp 82/sctp");
        check("+80-+81", "80/tcp 81/tcp");
        check("++80", "invalid containerPort: ++80");
        check("127.0.0.1::81", "81/tcp"); // EXPO-01
        check("8080:90", "90/tcp");
        check("8000-8010:90", "90/tcp");
        check("[::1]:1:2", "2/tcp");
        // EXPO-07
        check("foo", "invalid containerPort: foo");
        check("70000", "invalid containerPort: 70000");
        check("90-80", "invalid containerPort: 90-80");
        check("80,443", "invalid containerPort: 80,443");
        check("80/foo", "invalid port: \"80/foo\": invalid proto: foo");
        check("/tcp", "invalid port: \"/tcp\": no port specified");
        check("1-2:3-5", "invalid ranges specified for container and host Ports: 3-5 and 1-2");
        check("x:1:2", "invalid IP address: x");
        check("x:1", "invalid hostPort: x");
    }
}
