//! Credentials in URLs are not shown: who reads progress, errors and their logs is not always who may have them.
//!
//! Owns what counts as one: user and password of `http://` and `https://` URLs, as in BuildKit, and the password of `ssh://`
//! and `tcp://`. Variables stay readable, and so do the users of other schemes (`ssh://git@…`).

use std::borrow::Cow;

use progress::{Event, EventKind, Outcome, VertexInfo};

/// What stands for a user or a password; BuildKit's.
const MASK: &str = "xxxxx";

/// A text without the credentials in its URLs.
pub(crate) fn masked(text: &str) -> Cow<'_, str> {
    replaced(text, |_| MASK.to_owned())
}

/// As [`masked`], of as many bytes, so that places in the text stay where they are.
pub(crate) fn masked_in_place(text: &str) -> Cow<'_, str> {
    replaced(text, |secret| "x".repeat(secret.len()))
}

/// An event without the credentials in URLs. What a step writes is its own.
pub(crate) fn masked_event(event: &Event) -> Cow<'_, Event> {
    let kind = match &event.kind {
        EventKind::Planned { vertex, info } => match masked(&info.name) {
            Cow::Borrowed(_) => return Cow::Borrowed(event),
            Cow::Owned(name) => {
                let info = VertexInfo { name, ..(**info).clone() };
                EventKind::Planned { vertex: *vertex, info: info.into() }
            }
        },
        EventKind::Started { vertex, because: Some(text) } => match masked(text) {
            Cow::Borrowed(_) => return Cow::Borrowed(event),
            Cow::Owned(text) => EventKind::Started { vertex: *vertex, because: Some(text) },
        },
        EventKind::Finished { vertex, outcome: Outcome::Failed(text) } => match masked(text) {
            Cow::Borrowed(_) => return Cow::Borrowed(event),
            Cow::Owned(text) => {
                EventKind::Finished { vertex: *vertex, outcome: Outcome::Failed(text) }
            }
        },
        EventKind::Warning { vertex, message } => match masked(message) {
            Cow::Borrowed(_) => return Cow::Borrowed(event),
            Cow::Owned(message) => EventKind::Warning { vertex: *vertex, message },
        },
        _ => return Cow::Borrowed(event),
    };
    Cow::Owned(Event { kind, ..event.clone() })
}

fn replaced(text: &str, mask: impl Fn(&str) -> String) -> Cow<'_, str> {
    let mut out = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices("://") {
        let begin = at + "://".len();
        let is = |name: &str| {
            let scheme = at.checked_sub(name.len()).map(|from| &text.as_bytes()[from..at]);
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(name.as_bytes()))
        };
        let is_web = is("http") || is("https");
        if begin < done || !(is_web || is("ssh") || is("tcp")) {
            continue;
        }
        let rest = &text[begin..];
        // An apostrophe may be part of a password.
        let is_end = |c: char| c.is_whitespace() || c.is_control() || "/?#\"`<>\\".contains(c);
        let authority = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        let Some((user_info, _)) = authority.rsplit_once('@') else { continue };
        out.push_str(&text[done..begin]);
        let (user, password) = match user_info.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (user_info, None),
        };
        let part = |part: &str| match part.is_empty() || is_variable(part) {
            true => part.to_owned(),
            false => mask(part),
        };
        out.push_str(&if is_web { part(user) } else { user.to_owned() });
        if let Some(password) = password {
            out.push(':');
            out.push_str(&part(password));
        }
        done = begin + user_info.len();
    }
    match done {
        0 => Cow::Borrowed(text),
        _ => Cow::Owned(out + &text[done..]),
    }
}

/// Whether a text is a variable and nothing else: that tells nothing.
fn is_variable(text: &str) -> bool {
    let Some(name) = text.strip_prefix('$') else { return false };
    let braced = name.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    braced.unwrap_or(name).chars().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_urls_are_not_shown() {
        let check = |text: &str, expect: &str| {
            assert_eq!(masked(text), expect);
            let placed = masked_in_place(text);
            assert_eq!(placed.len(), text.len());
            // Masked once more it is the same.
            assert_eq!(masked(&masked(text)), expect);
            assert_eq!(masked_in_place(&placed), placed);
        };
        check(
            "ADD https://u:p@host.tld/this:that /",
            "ADD https://xxxxx:xxxxx@host.tld/this:that /",
        );
        check("HTTP://token@h", "HTTP://xxxxx@h");
        check("https://:password@h/", "https://:xxxxx@h/");
        check("https://u:p@q@h/x@y", "https://xxxxx:xxxxx@h/x@y");
        check("'https://u:it's@h'", "'https://xxxxx:xxxxx@h'");
        check("https://${USER}secret:$P-w@h", "https://xxxxx:xxxxx@h");
        check(
            "a http://u:p@h b https://v:w@i c",
            "a http://xxxxx:xxxxx@h b https://xxxxx:xxxxx@i c",
        );
        check("[\"http://ü:p\u{e4}ß@h\", \"/\"]", "[\"http://xxxxx:xxxxx@h\", \"/\"]");
        check("no ssh://me:pw@h and tcp://u:p@h:1", "no ssh://me:xxxxx@h and tcp://u:xxxxx@h:1");
        check("git+https://t:s@h/r.git#main", "git+https://xxxxx:xxxxx@h/r.git#main");
        for same in [
            "https://host.tld/this:that",
            "https://host/a@b http://h?q=a@b c@d",
            "https://$USER:${PASSWORD}@host/",
            "ssh://git@host/r.git git@host:r.git",
            "://@ http:// https://@h",
            "",
        ] {
            check(same, same);
        }
        assert_eq!(masked_in_place("http://me:pw@h"), "http://xx:xx@h");
    }

    #[test]
    fn no_event_shows_one_but_what_a_step_writes() {
        let said = |kind: EventKind| {
            let event = Event { at: Default::default(), seq: 7, kind };
            format!("{:?}", masked_event(&event))
        };
        let text = || "http://me:secret@host/".to_owned();
        let info = VertexInfo {
            name: text(),
            stage: String::new(),
            file: "Dockerfile".into(),
            line: Some(1),
            inputs: Vec::new(),
        };
        for kind in [
            EventKind::Planned { vertex: 1, info: info.into() },
            EventKind::Started { vertex: 1, because: Some(text()) },
            EventKind::Finished { vertex: 1, outcome: Outcome::Failed(text()) },
            EventKind::Warning { vertex: None, message: text() },
        ] {
            let said = said(kind);
            assert!(!said.contains("secret") && said.contains("xxxxx@host"), "{said}");
        }
    }
}
