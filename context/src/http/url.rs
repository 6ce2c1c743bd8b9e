//! As much of URLs as downloads need.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// An absolute http or https URL without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    https: bool,
    /// Host and port as written, lower case.
    authority: String,
    /// Path and query, beginning with a slash.
    path: String,
}

impl Url {
    /// Reads a URL; user and password in it come back as the value of an Authorization header.
    pub(crate) fn parse(text: &str) -> Result<(Url, Option<String>), &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("not an absolute URL")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("only http and https are known"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(basic(user)), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err("the URL has no host");
        }
        if text.bytes().any(|b| b.is_ascii_control()) || authority.contains(' ') {
            return Err("the URL has a blank or a control character");
        }
        let path = if path.starts_with('/') { escape(path) } else { format!("/{}", escape(path)) };
        Ok((Url { https, authority: host.to_ascii_lowercase(), path }, user))
    }

    /// Scheme, host, port and path.
    pub(crate) fn without_query(&self) -> String {
        let url = self.to_string();
        url.split('?').next().unwrap_or_default().to_owned()
    }

    /// The URL that a redirect means. A user and password there are dropped.
    pub(crate) fn join(&self, location: &str) -> Result<Url, &'static str> {
        let scheme = if self.https { "https" } else { "http" };
        if location.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':')) {
            return Url::parse(location).map(|(url, _)| url);
        }
        let absolute = if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{}{location}", self.authority)
        } else {
            let own = self.path.split('?').next().unwrap_or_default();
            let dir = match location.starts_with('?') {
                true => own,
                false => &own[..=own.rfind('/').unwrap_or(0)],
            };
            format!("{scheme}://{}{dir}{location}", self.authority)
        };
        Url::parse(&absolute).map(|(url, _)| url)
    }

    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// Whoever may get the same credentials: scheme, host and port.
    pub(crate) fn origin(&self) -> (bool, &str, u16) {
        let (host, port) = match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
            _ => (self.authority.as_str(), None),
        };
        (self.https, host, port.unwrap_or(if self.https { 443 } else { 80 }))
    }

    /// A URL as it may be printed.
    pub(crate) fn redact(text: &str) -> String {
        let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        match rest[..end].rsplit_once('@') {
            Some((user, _)) => format!("{scheme}://{}", &rest[user.len() + 1..]),
            None => text.to_owned(),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// What people write into paths though URLs cannot have it: blanks and letters beyond ASCII.
fn escape(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'!'..=b'~' if !b"\"<>\\^`{|}".contains(&byte) => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `user:password`, percent-encoded, as the value of a header.
fn basic(user: &str) -> String {
    let mut user = percent_decode(user);
    if !user.contains(&b':') {
        user.push(b':');
    }
    format!("Basic {}", STANDARD.encode(user))
}

fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_joined() {
        let check = |base: &str, location: &str, want: &str| {
            let (base, _) = Url::parse(base).expect(base);
            let got = base.join(location).map(|url| url.to_string());
            assert_eq!(got.unwrap_or_else(str::to_owned), want, "{location}");
        };
        check("http://h/a/b?c#d", "x", "http://h/a/x");
        check("http://h/a/b?c#d", "/x", "http://h/x");
        check("http://h/a/b", "?q=/", "http://h/a/b?q=/");
        check("https://h", "//o:8/x", "https://o:8/x");
        check("http://h/", "https://user:p@o/x", "https://o/x");
        check("http://h/", "file:///etc/passwd", "only http and https are known"); // C11
        check("http://h/", "data:x", "not an absolute URL");
        check("http://H:80/", "", "http://h:80/");
        let (url, user) = Url::parse("https://u:p%40@h/x").expect("url");
        assert_eq!(
            (url.to_string().as_str(), user.as_deref()),
            ("https://h/x", Some("Basic dTpwQA=="))
        );
        assert_eq!(Url::redact("https://u:p@h/x@y"), "https://h/x@y");
        assert_eq!(Url::redact("https://h/x@y"), "https://h/x@y");
        assert_eq!(Url::redact("https://u:p@q@h"), "https://h");
        let (url, _) = Url::parse("http://h/a b/é?x=\"1\"").expect("url");
        assert_eq!(url.to_string(), "http://h/a%20b/%C3%A9?x=%221%22");
        assert_eq!(url.without_query(), "http://h/a%20b/%C3%A9");
        for bad in
            ["x", "ftp://h/", "http://", "http:///x", "http://h h/x", "http://@/x", "http://h/\n"]
        {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_compare_by_scheme_host_and_port() {
        let same = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| Url::parse(text).expect(text).0);
            a.origin() == b.origin()
        };
        assert!(same("http://h/a", "http://H:80/b"));
        assert!(!same("http://h/a", "https://h/a"));
        assert!(!same("http://h/a", "http://h:8080/a"));
        assert!(!same("http://h/a", "http://h.evil/a"));
        assert!(same("http://[::1]/a", "http://[::1]:80/a"));
    }
}
