//! The few forms of URL that registries use. Owns parsing, joining and what counts as the same origin; refuses
//! user names and passwords in URLs, because nothing should ever print or forward them.

use std::fmt;

use crate::percent;

/// An `http` or `https` URL without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) https: bool,
    /// Lower case; an IPv6 address has its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with a slash; has the query.
    pub(crate) path: String,
}

/// Scheme, host and port: what a credential is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Url {
    /// Reads an absolute URL. The error is a phrase on what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
        let (https, rest) = if let Some(rest) = strip_scheme(text, "https://") {
            (true, rest)
        } else if let Some(rest) = strip_scheme(text, "http://") {
            (false, rest)
        } else {
            return Err("it is not an http or https URL");
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("it has a user name in it");
        }
        let (host, port) = split_port(authority).ok_or("its port is not a number")?;
        let port = port.unwrap_or(if https { 443 } else { 80 });
        let valid = |b: u8| b.is_ascii_alphanumeric() || b"-._[]:".contains(&b);
        if host.is_empty() || !host.bytes().all(valid) {
            return Err("its host name is not valid");
        }
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it has characters that a URL cannot have");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { https, host: host.to_ascii_lowercase(), port, path })
    }

    /// Reads a `Location` header as seen from this URL.
    pub(crate) fn join(&self, location: &str) -> Result<Url, &'static str> {
        let location = location.trim();
        if location.contains("://") && !location.starts_with('/') {
            return Url::parse(location);
        }
        if let Some(rest) = location.strip_prefix("//") {
            let scheme = if self.https { "https" } else { "http" };
            return Url::parse(&format!("{scheme}://{rest}"));
        }
        let own_path = self.path.split('?').next().unwrap_or_default();
        let path = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{own_path}{location}")
        } else {
            let dir = own_path.rfind('/').map_or("/", |at| &own_path[..=at]);
            format!("{dir}{location}")
        };
        Url::parse(&format!("{}{path}", self.origin()))
    }

    /// Adds a query parameter; the value is percent-encoded.
    pub(crate) fn with_query(mut self, name: &str, value: &str) -> Url {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(name);
        self.path.push('=');
        self.path.push_str(&percent::encode(value));
        self
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin { https: self.https, host: self.host.clone(), port: self.port }
    }

    /// The URL for people: a query may hold a signature, so it is left out (spec/security.md, E).
    pub(crate) fn redacted(&self) -> String {
        match self.path.split_once('?') {
            Some((path, _)) => format!("{}{path}?…", self.origin()),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

impl Origin {
    /// `host:port`, the port always spelt out.
    pub(crate) fn with_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        match (self.https, self.port) {
            (true, 443) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

/// Splits `host:port`; an IPv6 address keeps its brackets. `None` when the port is no number.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            port.parse().ok().map(|port| (host, Some(port)))
        }
        _ => Some((authority, None)),
    }
}

fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let head = text.get(..scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined() {
        let check = |base: &str, location: &str, expect: &str| {
            let url = Url::parse(base).expect(base).join(location).expect(location);
            assert_eq!(url.to_string(), expect, "{base} + {location}");
        };
        check("http://a:5/v2/x/uploads/", "/v2/y?s=1", "http://a:5/v2/y?s=1");
        check("http://a/v2/x/uploads/", "u1?s=2", "http://a/v2/x/uploads/u1?s=2");
        check("https://a/v2/x?k=1", "?s=2", "https://a/v2/x?s=2");
        check("https://a/v2/x", "//B:9/y", "https://b:9/y");
        check("https://a/v2/x", "HTTP://[::1]:80/y#f", "http://[::1]/y");
        check("https://a", "https://b", "https://b/");
    }

    #[test]
    fn urls_that_could_carry_credentials_or_tricks_are_refused() {
        for bad in [
            "ftp://a/",
            "file:///etc/passwd",
            "https://u:p@a/",
            "https:///x",
            "https://a:x/",
            "https://a b/",
            "https://a/\u{7f}",
            "http://a/\r\nX: y",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_hidden_and_values_encoded() {
        let url = Url::parse("https://a/t").expect("valid").with_query("scope", "a&b=c d");
        assert_eq!(url.to_string(), "https://a/t?scope=a%26b%3Dc%20d");
        assert_eq!(url.redacted(), "https://a/t?…");
    }
}
