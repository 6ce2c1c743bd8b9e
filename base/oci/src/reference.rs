//! Image references: `registry/repository:tag@digest` (spec FROM-11).

use std::fmt;
use std::str::FromStr;

use crate::Digest;

/// A full image reference in its normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Host of the registry with its port: `docker.io`, `127.0.0.1:5000`.
    registry: String,
    /// Path of the repository: `library/debian`.
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A reference could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseReferenceError(String);

/// The registry that a reference without one means.
const DEFAULT_REGISTRY: &str = "docker.io";

impl Reference {
    /// Host of the registry with its port: `docker.io`, `127.0.0.1:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path of the repository in the registry: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag as written, `latest` if there is neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// The digest; it decides over the tag.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `registry/repository` alone.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same repository with another digest and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same tag and digest in another repository of another registry: what the reference is called at a mirror.
    pub fn located(&self, registry: &str, repository: &str) -> Reference {
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Reference { registry, repository, ..self.clone() }
    }

    /// The short form that people write: `debian:12`, `user/app:latest`, `host:5000/app`.
    pub fn familiar(&self) -> String {
        self.shorten(&self.to_string())
    }

    /// The familiar form of the name without tag and digest.
    pub fn familiar_name(&self) -> String {
        self.shorten(&self.name())
    }

    /// Takes the parts away that are put in by themselves.
    fn shorten(&self, full: &str) -> String {
        let Some(short) = full.strip_prefix("docker.io/") else { return full.to_owned() };
        let name = self.repository.strip_prefix("library/").filter(|name| !name.contains('/'));
        match short.strip_prefix("library/") {
            Some(short) if name.is_some() => short.to_owned(),
            // A path that begins like a registry needs the real one before it.
            _ if split_registry(&self.repository).1 != self.repository => full.to_owned(),
            _ => short.to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = self.tag() {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// No reference is longer than host, name, tag and digest may be; longer texts are not read to their end.
const TEXT_BYTES_MAX: usize = 4096;

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Reference, ParseReferenceError> {
        let invalid = || ParseReferenceError("invalid reference format".to_owned());
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid());
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseReferenceError(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let (name, tag) = split_tag(rest);
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid());
        }
        let (registry, repository) = split_registry(name);
        if repository.bytes().any(|b| b.is_ascii_uppercase())
            && is_repository(&repository.to_ascii_lowercase())
        {
            return Err(ParseReferenceError(format!(
                "invalid reference format: repository name ({repository}) must be lowercase"
            )));
        }
        if !is_registry(&registry) || !is_repository(&repository) || repository.len() > 255 {
            return Err(invalid());
        }
        Ok(Reference { registry, repository, tag: tag.map(str::to_owned), digest })
    }
}

fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// A first component is a host if it has a dot or a colon, is `localhost`, or has an upper-case letter.
fn split_registry(name: &str) -> (String, String) {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        return (registry.to_owned(), format!("library/{repository}"));
    }
    (registry.to_owned(), repository.to_owned())
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port))
            if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) =>
        {
            (host, Some(port))
        }
        _ => (registry, None),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let ipv6 = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        // Only groups of hexadecimal digits: no zone, no dotted quad.
        .is_some_and(|h| !h.contains('.') && h.parse::<std::net::Ipv6Addr>().is_ok());
    (ipv6 || host.split('.').all(label)) && port.is_none_or(|p| p.parse::<u16>().is_ok())
}

fn is_repository(repository: &str) -> bool {
    repository.split('/').all(is_path_component)
}

/// Letters and digits, with single `.`, one or two `_`, or any run of `-` between them.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    alphanumeric(*first)
        && alphanumeric(*last)
        && component.split(|c: char| alphanumeric(c as u8) && c.is_ascii()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed() {
        let check = |text: &str, full: &str, familiar: &str| {
            let reference: Reference = text.parse().expect(text);
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (full, familiar)
            );
        };
        check("debian", "docker.io/library/debian:latest", "debian:latest"); // FROM-11
        check("debian:12", "docker.io/library/debian:12", "debian:12");
        check("user/app", "docker.io/user/app:latest", "user/app:latest");
        check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
        check("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest");
        check(
            "docker.io/docker.io/a",
            "docker.io/docker.io/a:latest",
            "docker.io/docker.io/a:latest",
        );
        check("localhost/app", "localhost/app:latest", "localhost/app:latest");
        check("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c");
        check("index.docker.io/x", "docker.io/library/x:latest", "x:latest");
        check("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest");
        let digest = Digest::of(b"");
        check(
            &format!("a:b@{digest}"),
            &format!("docker.io/library/a:b@{digest}"),
            &format!("a:b@{digest}"),
        );
    }

    #[test]
    fn malformed_references_are_refused() {
        for bad in [
            "",
            "a:b:c",
            "a b",
            "UPPER",
            ":x",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a@sha256:12",
            "a:",
            "[2001:db8::192.0.2.33]:5000/a",
            "[fe80::1%eth0]/a",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        let error = "INVALID".parse::<Reference>().expect_err("upper case");
        assert_eq!(
            error.to_string(), // ERR-50
            "invalid reference format: repository name (library/INVALID) must be lowercase"
        );
    }
}
