//! Reads `WWW-Authenticate` (RFC 9110, 11.6.1). Total on any text.

use ureq::http::HeaderMap;

/// How a registry wants to be authenticated to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with each request.
    Basic,
    /// A token from another server.
    Bearer(Realm),
    /// Something else; its names.
    Unknown(String),
}

/// Where tokens are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Realm {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    pub(crate) scope: Option<String>,
}

/// The challenge that this client answers: Bearer if there is one, else Basic. `None` when there is none at all.
pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let all: Vec<Parsed> = headers
        .get_all("www-authenticate")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(parse)
        .collect();
    let bearer = all.iter().find(|c| c.scheme.eq_ignore_ascii_case("bearer")).and_then(|c| {
        let realm = c.param("realm")?.to_owned();
        let text = |name| c.param(name).map(str::to_owned);
        Some(Challenge::Bearer(Realm { realm, service: text("service"), scope: text("scope") }))
    });
    let basic =
        || all.iter().any(|c| c.scheme.eq_ignore_ascii_case("basic")).then_some(Challenge::Basic);
    let names = || {
        let names: Vec<&str> = all.iter().map(|c| c.scheme.as_str()).collect();
        (!names.is_empty()).then(|| Challenge::Unknown(names.join(", ")))
    };
    bearer.or_else(basic).or_else(names)
}

#[derive(Debug)]
struct Parsed {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Parsed {
    fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Reads a list of challenges: words followed by `name=value` pairs with commas between.
fn parse(text: &str) -> Vec<Parsed> {
    let mut all: Vec<Parsed> = Vec::new();
    let mut rest = text.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        let blank_after = after.trim_start_matches([' ', '\t']);
        match (blank_after.strip_prefix('='), all.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = read_value(value.trim_start_matches([' ', '\t']));
                challenge.params.push((word.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => break,
            (None, _) => {
                all.push(Parsed { scheme: word.to_owned(), params: Vec::new() });
                rest = blank_after;
            }
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    all
}

fn read_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expect: Option<Challenge>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("www-authenticate", line.parse().expect("header value"));
        }
        assert_eq!(choose(&headers), expect, "{lines:?}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer(Realm {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }))
    }

    #[test]
    fn challenges_of_real_registries() {
        check(
            &[r#"Bearer realm="https://a/t",service="s",scope="repository:x:pull,push""#],
            bearer("https://a/t", Some("s"), Some("repository:x:pull,push")),
        );
        check(&["bearer realm=https://a/t"], bearer("https://a/t", None, None));
        check(&[r#"Basic realm="Registry", charset="UTF-8""#], Some(Challenge::Basic));
        check(
            &[r#"Basic realm="x, y", Bearer realm="a\"b" , service="s""#],
            bearer("a\"b", Some("s"), None),
        );
        check(&[r#"Basic realm="x""#, r#"Bearer realm="b""#], bearer("b", None, None));
        check(&["Negotiate"], Some(Challenge::Unknown("Negotiate".to_owned())));
        check(&["Bearer service=x"], Some(Challenge::Unknown("Bearer".to_owned())));
        check(&[], None);
        check(&["=,=\"", ",,,"], None);
    }
}
