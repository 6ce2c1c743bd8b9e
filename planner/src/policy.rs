//! Source policies: which images, URLs and repositories a build may use, and what is used in their place (NCTX-15).
//!
//! Owns the rules and their order. Knows nothing of the file that they stand in.

use graph::{GitSource, HttpSource};
use oci::Reference;

use crate::lower::{add_http_source, without_user};

/// A source may be changed this often; more is a circle (NCTX-11).
const REDIRECTIONS_MAX: usize = 10;

/// Rules, all of which are looked at in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePolicy {
    /// The rules.
    pub rules: Vec<PolicyRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// What is done with a source that fits.
    pub action: PolicyAction,
    /// Which sources fit: `docker-image://` with the whole name, a URL, or `git://host/path#reference`.
    pub selector: String,
    /// `*` in the selector stands for any text.
    pub wildcards: bool,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// The source may be used, whatever earlier rules say.
    Allow,
    /// It may not, whatever earlier rules say.
    Deny,
    /// Another one is used.
    Convert {
        /// The other one; `$1` is what the first `*` stands for. `None` for the same.
        identifier: Option<String>,
        /// Digest that a URL's content must have.
        checksum: Option<String>,
    },
}

/// What became of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decided {
    identifier: String,
    checksum: Option<String>,
}

impl SourcePolicy {
    /// What is used for an image: an identifier with its scheme, most often of another image.
    ///
    /// # Errors
    /// Why it may not be used.
    pub(crate) fn image(&self, reference: &Reference) -> Result<Option<String>, String> {
        let name = image_name(reference);
        let decided = self.decide(&name)?;
        Ok((decided.identifier != name).then_some(decided.identifier))
    }

    /// What is used for a URL.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn http(&self, source: HttpSource) -> Result<HttpSource, String> {
        let decided = self.decide(&source.url)?;
        if decided.identifier == source.url && decided.checksum.is_none() {
            return Ok(source);
        }
        if !decided.identifier.starts_with("http://") && !decided.identifier.starts_with("https://")
        {
            let [old, new] = [&source.url, &decided.identifier].map(|url| without_user(url));
            return Err(format!("source policy: {old} cannot become {new}, which is no URL"));
        }
        let changed = add_http_source(&decided.identifier, decided.checksum.as_deref())?;
        let checksum = changed.checksum.or(source.checksum);
        // The name is that of the URL in the Dockerfile (ADD-31).
        Ok(HttpSource { url: changed.url, checksum, file_name: source.file_name })
    }

    /// What is used for a plain URL, as [`SourcePolicy::http`].
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn url(&self, url: &str) -> Result<HttpSource, String> {
        self.http(add_http_source(url, None)?)
    }

    /// Whether a repository may be used.
    ///
    /// # Errors
    /// Why it may not be used.
    pub fn git(&self, source: &GitSource) -> Result<(), String> {
        let name = git_name(source);
        match self.decide(&name)? {
            decided if decided.identifier == name => Ok(()),
            decided => {
                let new = decided.identifier;
                Err(format!("source policy: {name} cannot become {new}: repositories stay"))
            }
        }
    }

    fn decide(&self, identifier: &str) -> Result<Decided, String> {
        let mut now = Decided { identifier: identifier.to_owned(), checksum: None };
        for _ in 0..=REDIRECTIONS_MAX {
            match self.change(&now)? {
                Some(changed) => now = changed,
                None => return Ok(now),
            }
        }
        Err(format!(
            "context recursion limit exceeded: the source policy changes {} in a circle",
            without_user(identifier)
        ))
    }

    /// One look at all rules; a change ends it.
    fn change(&self, now: &Decided) -> Result<Option<Decided>, String> {
        let mut denied = false;
        for rule in &self.rules {
            let Some(parts) = rule.matches(&now.identifier) else { continue };
            match &rule.action {
                PolicyAction::Allow => denied = false,
                PolicyAction::Deny => denied = true,
                PolicyAction::Convert { identifier, checksum } => {
                    let identifier = match identifier {
                        Some(format) => fill(format, &parts),
                        None => now.identifier.clone(),
                    };
                    let checksum = checksum.clone().or_else(|| now.checksum.clone());
                    let changed = Decided { identifier, checksum };
                    if changed != *now {
                        return Ok(Some(changed));
                    }
                }
            }
        }
        match denied {
            true => Err(format!("source {:?} denied by policy", without_user(&now.identifier))),
            false => Ok(None),
        }
    }
}

impl PolicyRule {
    /// What the asterisks of the selector stand for, if it fits.
    fn matches<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        if self.selector == text {
            return Some(Vec::new());
        }
        if !self.wildcards {
            return None;
        }
        let pieces: Vec<&str> = self.selector.split('*').collect();
        let (first, last) = (pieces[0], pieces[pieces.len() - 1]);
        if pieces.len() < 2 || text.len() < first.len() + last.len() {
            return None;
        }
        let text = text.strip_prefix(first)?.strip_suffix(last)?;
        asterisks(&pieces[1..pieces.len() - 1], text)
    }
}

/// What stands between the pieces of a text: as much as possible for the earlier asterisks, so the last piece is looked
/// for first. Takes no more time than the text is long, whatever the pieces are.
fn asterisks<'t>(pieces: &[&str], text: &'t str) -> Option<Vec<&'t str>> {
    let mut found = Vec::new();
    let mut rest = text;
    for piece in pieces.iter().rev() {
        let at = rest.rfind(piece)?;
        found.push(&rest[at + piece.len()..]);
        rest = &rest[..at];
    }
    found.push(rest);
    found.reverse();
    Some(found)
}

/// Puts `$1`, `${2}` in.
fn fill(format: &str, parts: &[&str]) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let (number, tail) = braced.unwrap_or((&after[..digits], &after[digits..]));
        if let Some(part) = number.parse::<usize>().ok().and_then(|n| parts.get(n.checked_sub(1)?))
        {
            out.push_str(part);
        }
        rest = tail;
    }
    out + rest
}

fn image_name(reference: &Reference) -> String {
    format!("docker-image://{reference}")
}

/// BuildKit's name for a repository: the same for all ways to it.
fn git_name(source: &GitSource) -> String {
    let remote = match without_user(&source.remote).split_once("://") {
        Some((_, rest)) => rest.to_owned(),
        None => {
            let rest = source.remote.split_once('@').map_or(&*source.remote, |(_, rest)| rest);
            rest.replacen(':', "/", 1)
        }
    };
    let reference = source.reference.as_deref().unwrap_or_default();
    let subdir = match source.subdir.is_empty() {
        true => String::new(),
        false => format!(":{}", source.subdir),
    };
    match reference.is_empty() && subdir.is_empty() {
        true => format!("git://{remote}"),
        false => format!("git://{remote}#{reference}{subdir}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GitForm, parse_git};

    fn policy(rules: &[(&str, &str)]) -> SourcePolicy {
        let rule = |(selector, action): &(&str, &str)| {
            let action = match *action {
                "allow" => PolicyAction::Allow,
                "deny" => PolicyAction::Deny,
                new => {
                    let (identifier, checksum) = new.split_once(' ').unwrap_or((new, ""));
                    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
                    PolicyAction::Convert { identifier: text(identifier), checksum: text(checksum) }
                }
            };
            PolicyRule { action, selector: (*selector).to_owned(), wildcards: true }
        };
        SourcePolicy { rules: rules.iter().map(rule).collect() }
    }

    #[test]
    fn rules_decide_in_their_order() {
        let check = |rules: &[(&str, &str)], want: &str| {
            let reference: Reference = "alpine:3".parse().expect("valid");
            let got = policy(rules).image(&reference);
            let got = got.map(|new| new.unwrap_or_else(|| "same".to_owned()));
            assert_eq!(got.unwrap_or_else(|error| error), want, "{rules:?}");
        };
        let name = "docker-image://docker.io/library/alpine:3";
        let denied = format!("source {name:?} denied by policy");
        check(&[], "same");
        check(&[(name, "deny")], &denied);
        check(&[("docker-image://*", "deny"), (name, "allow")], "same");
        check(&[(name, "allow"), ("*", "deny")], &denied);
        check(
            &[("docker-image://docker.io/library/*:*", "docker-image://h/$2-${1}")],
            "docker-image://h/3-alpine",
        );
        check(
            &[("*alpine*", "docker-image://h/x"), ("docker-image://h/*", "deny")],
            "source \"docker-image://h/x\" denied by policy",
        );
        check(
            &[
                ("docker-image://a*", "x"),
                ("*:4", "x"),
                ("docker-image://docker.io/library/alpine", "x"),
            ],
            "same",
        );
        let circle = format!(
            "context recursion limit exceeded: the source policy changes {name} in a circle"
        );
        check(&[("*", "$1+")], &circle);
    }

    #[test]
    fn urls_get_checksums_and_other_places() {
        let source = || add_http_source("https://h/a.txt", None).expect("valid");
        let sum = format!("sha256:{}", "1".repeat(64));
        let got = policy(&[("https://h/*", &format!("https://mirror/$1/z {sum}"))]).http(source());
        let got = got.expect("changed");
        assert_eq!((&*got.url, &*got.file_name), ("https://mirror/a.txt/z", "a.txt"));
        assert_eq!(got.checksum.map(|sum| sum.to_string()), Some(sum));
        assert!(policy(&[("https://h/*", "file:///$1")]).http(source()).is_err());
        let secret = add_http_source("https://u:secret@h/a.txt", None).expect("valid");
        let denied = policy(&[("https://*", "deny")]).http(secret);
        assert_eq!(denied, Err("source \"https://h/a.txt\" denied by policy".to_owned()));
        assert_eq!(policy(&[("http://h/*", "deny")]).http(source()), Ok(source()));
    }

    #[test]
    fn repositories_have_one_name() {
        let check = |text: &str, want: &str| {
            let git = parse_git(text, GitForm::Context).expect(text).expect(text);
            assert_eq!(git_name(&git), want);
            assert!(policy(&[(want, "deny")]).git(&git).is_err());
            assert!(policy(&[("git://other", "deny")]).git(&git).is_ok());
        };
        check("https://h/o/r.git#v1:d", "git://h/o/r.git#v1:d");
        check("ssh://git@h/o/r.git", "git://h/o/r.git");
        check("git@h:o/r.git", "git://h/o/r.git");
    }
}
