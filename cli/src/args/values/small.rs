//! Values of one word: pairs, sizes, limits, hosts, names.

use std::net::IpAddr;

use graph::{Limits, Network, Ulimit};
use oci::{Platform, Reference};
use planner::Entitlement;

use crate::args::UsageError;
use crate::args::habits::transport_hint;

/// A switch's value, as Go reads it (CLI-02).
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("want true or false".to_owned()),
    }
}

/// `name=value`, or `name` alone.
pub(crate) fn pair(text: &str) -> (String, Option<String>) {
    match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (text.to_owned(), None),
    }
}

/// `-t`: a name for the result; a digest makes no name (CLI-43).
pub(crate) fn tag_name(text: &str) -> Result<Reference, UsageError> {
    let invalid = |why: String| UsageError::new(format!("invalid tag {text:?}: {why}"));
    let name: Reference =
        text.parse().map_err(|e: oci::ParseReferenceError| invalid(e.to_string()))?;
    if name.digest().is_some() {
        return Err(invalid("refusing to create a tag with a digest reference".to_owned()));
    }
    Ok(name)
}

/// A name that a command was given for an image.
pub(crate) fn image_name(text: &str) -> Result<Reference, UsageError> {
    text.parse().map_err(|e: oci::ParseReferenceError| {
        let error = UsageError::new(format!("invalid image name {text:?}: {e}"));
        match transport_hint(text) {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

/// A list of platforms, each once (PLAT-01, PLAT-09).
pub(crate) fn platforms<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Platform>, UsageError> {
    let mut platforms = Vec::new();
    for text in texts.iter().map(AsRef::as_ref).filter(|text| !text.is_empty()) {
        let platform: Platform =
            text.parse().map_err(|e: oci::ParsePlatformError| UsageError::new(e.to_string()))?;
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    Ok(platforms)
}

/// A number of bytes with an optional unit of 1024s: `512`, `64m`, `1.5GiB`.
pub(crate) fn size_bytes(text: &str) -> Result<u64, UsageError> {
    let invalid = || {
        UsageError::new(format!("invalid size: {text:?}"))
            .with_hint("write a number with a unit of 1024: 512m, 20G, 1.5GiB")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| invalid())?;
    let unit = unit.trim_start().to_ascii_lowercase();
    let exponent = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(invalid()),
    };
    let bytes = number * 1024f64.powi(exponent);
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(invalid()) }
}

/// `--add-host`: `name:address` or `name=address`, IPv6 with or without brackets (CLI-10).
pub(crate) fn add_host(text: &str) -> Result<(String, String), UsageError> {
    let bad = || UsageError::new(format!("bad format for add-host: {text:?}"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    if name.is_empty() || name.contains([':', ' ', '\t', '\n', '#']) {
        return Err(bad());
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(UsageError::new(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// `--ulimit`: `name=soft[:hard]`; -1 and `unlimited` are no limit (CLI-45).
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, UsageError> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let invalid = |what: &str| UsageError::new(format!("invalid ulimit argument {text:?}: {what}"));
    let (name, limits) = text.split_once('=').ok_or_else(|| invalid("want name=soft[:hard]"))?;
    if !NAMES.contains(&name) {
        return Err(invalid("unknown limit").with_hint(format!("known are {}", NAMES.join(", "))));
    }
    let number = |text: &str| match text {
        "unlimited" => Ok(-1),
        number => {
            number.parse::<i64>().ok().filter(|n| *n >= -1).ok_or_else(|| invalid("not a number"))
        }
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(invalid("the soft limit is above the hard limit"));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// `--network` of the whole build (CLI-27). `sandbox` also says that no other network will do (design D11).
pub(crate) fn network(text: &str) -> Result<(Network, bool), UsageError> {
    match text {
        "" | "default" | "bridge" => Ok((Network::Default, false)),
        "sandbox" => Ok((Network::Default, true)),
        "none" => Ok((Network::None, false)),
        "host" => Ok((Network::Host, false)),
        other => Err(UsageError::new(format!("network mode {other:?} not supported"))
            .with_hint("use default, none, host or sandbox")),
    }
}

/// `--allow` (CLI-11).
pub(crate) fn entitlement(text: &str) -> Result<Option<Entitlement>, UsageError> {
    match text {
        "network.host" => Ok(Some(Entitlement::NetworkHost)),
        "security.insecure" => Ok(Some(Entitlement::SecurityInsecure)),
        "device" => Ok(Some(Entitlement::Device(None))),
        // A local output that deletes was asked for by its own attribute; nothing more is needed here.
        "buildx.local.delete" => Ok(None),
        other => match other.strip_prefix("device=") {
            Some(name) => Ok(Some(Entitlement::Device(Some(name.to_owned())))),
            None => Err(UsageError::new(format!("invalid entitlement {other:?}"))
                .with_hint("known are network.host, security.insecure, device[=NAME]")),
        },
    }
}

/// One `--resource name=value` (CLI-38), noted in `limits`.
pub(crate) fn limit(limits: &mut Limits, name: &str, value: &str) -> Result<(), UsageError> {
    let invalid = || UsageError::new(format!("invalid value for resource {name}: {value:?}"));
    let number = || value.parse::<u64>().map_err(|_| invalid());
    match name {
        "memory" => limits.memory_bytes = Some(size_bytes(value)?),
        "memory-swap" if value == "-1" => limits.memory_swap_bytes = Some(-1),
        "memory-swap" => {
            limits.memory_swap_bytes = Some(size_bytes(value)?.try_into().map_err(|_| invalid())?);
        }
        "cpu-shares" => limits.cpu_shares = Some(number()?),
        "cpu-period" => limits.cpu_period_us = Some(number()?),
        "cpu-quota" => limits.cpu_quota_us = Some(value.parse().map_err(|_| invalid())?),
        "cpuset-cpus" => limits.cpuset_cpus = Some(cpu_list(value).ok_or_else(invalid)?),
        "cpuset-mems" => limits.cpuset_mems = Some(cpu_list(value).ok_or_else(invalid)?),
        _ => return Err(UsageError::new(format!("unknown resource {name:?}"))),
    }
    Ok(())
}

fn cpu_list(text: &str) -> Option<String> {
    let range = |part: &str| part.split('-').all(|n| n.parse::<u32>().is_ok());
    text.split(',').all(range).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        let check =
            |text: &str, want: Option<u64>| assert_eq!(size_bytes(text).ok(), want, "{text}");
        check("0", Some(0));
        check("512", Some(512));
        check("512b", Some(512));
        check("64m", Some(64 << 20));
        check("64MiB", Some(64 << 20));
        check("1.5g", Some(3 << 29));
        for bad in ["", "m", "-1", "1x", "1.2.3", "nan", "999999999p"] {
            check(bad, None);
        }
    }

    #[test]
    fn hosts_have_addresses() {
        let check = |text: &str, want: Option<(&str, &str)>| {
            let got = add_host(text).ok();
            assert_eq!(got, want.map(|(n, a)| (n.to_owned(), a.to_owned())), "{text}");
        };
        check("db:10.0.0.1", Some(("db", "10.0.0.1"))); // CLI-10
        check("db=10.0.0.1", Some(("db", "10.0.0.1")));
        check("db:::1", Some(("db", "::1")));
        check("db=[fe80::1]", Some(("db", "fe80::1")));
        check("me:host-gateway", Some(("me", "host-gateway")));
        for bad in ["db", ":10.0.0.1", "db:", "db:1.2.3", "a b:1.2.3.4"] {
            check(bad, None);
        }
    }

    #[test]
    fn limits_are_read() {
        let both = Ulimit { name: "nofile".into(), soft: 1024, hard: 4096 };
        assert_eq!(ulimit("nofile=1024:4096"), Ok(both));
        assert_eq!(ulimit("core=unlimited").map(|u| (u.soft, u.hard)), Ok((-1, -1)));
        for bad in ["nofile", "x=1", "nofile=a", "nofile=2:1", "nofile=-2", "nofile=-1:5"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
        let mut limits = Limits::default();
        for (name, value) in [("memory", "1g"), ("memory-swap", "-1"), ("cpuset-cpus", "0-1,3")] {
            limit(&mut limits, name, value).expect(name);
        }
        assert_eq!((limits.memory_bytes, limits.memory_swap_bytes), (Some(1 << 30), Some(-1)));
        assert!(limit(&mut limits, "cpuset-cpus", "0;1").is_err());
        assert!(limit(&mut limits, "ram", "1").is_err());
    }

    #[test]
    fn names_of_results_have_no_digest() {
        assert_eq!(
            tag_name("app").map(|n| n.to_string()),
            Ok("docker.io/library/app:latest".into())
        );
        let error = tag_name("X Y").expect_err("a space");
        assert_eq!(error.message, "invalid tag \"X Y\": invalid reference format"); // ERR-75
        assert!(tag_name(&format!("app@{}", oci::Digest::of(b""))).is_err());
    }
}
