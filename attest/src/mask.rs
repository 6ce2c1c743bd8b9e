//! What no document may tell: credentials in URLs, and values that the caller withholds (ATT-13).

use serde_json::Value;

/// What stands in the place of what is not told.
pub const MASK: &str = "xxxxx";
/// Shorter values are found by chance everywhere: only where they stand alone are they masked.
const FOUND_MIN_BYTES: usize = 6;

/// A text without the users and passwords of URLs, wherever in it they are.
pub fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        // A text that begins as a URL is one: quotes may be part of a password.
        let is_begin = out.is_empty() && before[..at].chars().all(is_of_scheme);
        let is_end = |c: char| {
            matches!(c, '/' | '?' | '#')
                || c.is_whitespace()
                || (!is_begin && matches!(c, '"' | '\'' | '`' | '<' | '>' | '\\'))
        };
        let (authority, path) = after.split_at(after.find(is_end).unwrap_or(after.len()));
        out.push_str(before);
        rest = match authority.rsplit_once('@') {
            Some((user, host)) if before[..at].ends_with(is_of_scheme) => {
                out.push_str(&format!("{}@{host}", masked(user)));
                path
            }
            // Another one may begin there.
            _ => after,
        };
    }
    out.push_str(rest);
    out
}

fn is_of_scheme(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

fn masked(user: &str) -> String {
    match user.split_once(':') {
        Some(("", _)) => format!(":{MASK}"),
        Some(_) => format!("{MASK}:{MASK}"),
        None if user.is_empty() => String::new(),
        None => MASK.to_owned(),
    }
}

/// A text without credentials of URLs and without any of the values that are withheld.
pub(crate) fn scrubbed(text: &str, withheld: &[String]) -> String {
    let mut out = text.to_owned();
    let mut longest_first: Vec<&String> = withheld.iter().collect();
    longest_first.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in longest_first {
        if value.len() >= FOUND_MIN_BYTES && out.contains(value.as_str()) {
            out = out.replace(value.as_str(), MASK);
        }
    }
    mask_urls(&out)
}

/// The same for all texts of a document.
pub(crate) fn scrub(value: &mut Value, withheld: &[String]) {
    match value {
        Value::String(text) => *text = scrubbed(text, withheld),
        Value::Array(list) => list.iter_mut().for_each(|one| scrub(one, withheld)),
        Value::Object(members) => members.values_mut().for_each(|one| scrub(one, withheld)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_go() {
        let check = |text: &str, want: &str| assert_eq!(mask_urls(text), want);
        check("https://u:secret@h/p.git#main", "https://xxxxx:xxxxx@h/p.git#main"); // ATT-13
        check("https://token@h/p", "https://xxxxx@h/p");
        check("https://:pw@h/p", "https://:xxxxx@h/p");
        check("https://a:b@c@h", "https://xxxxx:xxxxx@h");
        check("https://a:\"b@h", "https://xxxxx:xxxxx@h");
        check("https://h/p@v", "https://h/p@v");
        check("git@github.com:a/b", "git@github.com:a/b");
        check("word", "word");
        check("://u@h", "://u@h");
        check("docker-image://docker.io/a/b@sha256:00", "docker-image://docker.io/a/b@sha256:00");
    }

    #[test]
    fn they_go_from_longer_texts_too() {
        let check = |text: &str, want: &str| assert_eq!(mask_urls(text), want);
        check(
            "git clone 'https://u:p@h/a' && curl -u x \"ftp://t@h\" a@b",
            "git clone 'https://xxxxx:xxxxx@h/a' && curl -u x \"ftp://xxxxx@h\" a@b",
        );
        check("index=https://u:p@h/simple", "index=https://xxxxx:xxxxx@h/simple");
        check("git://https://u:p@h/a", "git://https://xxxxx:xxxxx@h/a");
        check("see https://h for 'x' or a@b", "see https://h for 'x' or a@b");
        check("https://h\nmail a@b", "https://h\nmail a@b");
    }

    #[test]
    fn withheld_values_are_found_everywhere() {
        let withheld = ["hunter2".to_owned(), "hunter22".to_owned(), "1".to_owned()];
        let mut value = serde_json::json!({
            "a": ["/x/hunter22/y", 1, null], "b": { "c": "hunter2", "d": "v1" },
        });
        scrub(&mut value, &withheld);
        let want = serde_json::json!({
            "a": ["/x/xxxxx/y", 1, null], "b": { "c": "xxxxx", "d": "v1" },
        });
        assert_eq!(value, want);
    }
}
