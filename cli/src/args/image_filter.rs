//! `--filter` of commands on images: from the text to what an image has to be.

use oci::Reference;
use pattern::Wildcard;

use super::UsageError;
use super::values::duration_ms;

/// What images have to be: each of these; of several patterns, one.
#[derive(Debug, Default)]
pub(crate) struct ImageFilter {
    /// Without a name, or with one.
    pub(crate) dangling: Option<bool>,
    /// Labels that have to be there, with their values.
    pub(crate) labels: Vec<LabelFilter>,
    /// Patterns for names.
    pub(crate) references: Vec<NamePattern>,
    /// Made before the image of this name.
    pub(crate) before: Option<String>,
    /// Made after the image of this name.
    pub(crate) since: Option<String>,
    /// Made before this time, in seconds since 1970.
    pub(crate) until_secs: Option<i64>,
}

/// A label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelFilter {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
    /// It must not be there.
    pub(crate) is_not: bool,
}

/// A pattern for names as they are shown.
#[derive(Debug)]
pub(crate) struct NamePattern {
    text: String,
    wildcard: Wildcard,
}

impl NamePattern {
    /// Reads a pattern; `*` and `?` stand for no slash.
    pub(crate) fn new(text: &str) -> Result<NamePattern, UsageError> {
        let wildcard = Wildcard::new(text.as_bytes());
        let wildcard = wildcard.map_err(|error| UsageError::new(error.to_string()))?;
        Ok(NamePattern { text: text.to_owned(), wildcard })
    }

    /// Whether a name is meant, with its tag or without it.
    pub(crate) fn matches(&self, name: &Reference) -> bool {
        let (whole, repository) = (name.familiar(), name.familiar_name());
        self.wildcard.matches(whole.as_bytes())
            || self.wildcard.matches(repository.as_bytes())
            || self.text == name.name()
    }
}

/// The filters of `shale images`; `now_secs` is the present time.
pub(crate) fn image_filter(texts: &[String], now_secs: i64) -> Result<ImageFilter, UsageError> {
    let mut filter = ImageFilter::default();
    for text in texts {
        let (key, value) = split(text)?;
        match key {
            "reference" => filter.references.push(NamePattern::new(value)?),
            "before" => filter.before = Some(value.to_owned()),
            "since" => filter.since = Some(value.to_owned()),
            _ if takes(&mut filter, key, value, text, now_secs)? => {}
            _ => {
                return Err(invalid(
                    text,
                    "want dangling, label, reference, before, since or until",
                ));
            }
        }
    }
    Ok(filter)
}

/// The filters of `prune`.
pub(crate) fn prune_filter(texts: &[String], now_secs: i64) -> Result<ImageFilter, UsageError> {
    let mut filter = ImageFilter::default();
    for text in texts {
        let (key, value) = split(text)?;
        if !takes(&mut filter, key, value, text, now_secs)? {
            return Err(invalid(text, "want until, label or label!"));
        }
    }
    Ok(filter)
}

/// What all of them know.
fn takes(
    filter: &mut ImageFilter,
    key: &str,
    value: &str,
    text: &str,
    now_secs: i64,
) -> Result<bool, UsageError> {
    match key {
        "dangling" => {
            let is = truth(value).ok_or_else(|| invalid(text, "want true or false"))?;
            filter.dangling = Some(is);
        }
        "label" | "label!" => {
            let (name, value) = match value.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (value, None),
            };
            let is_not = key.ends_with('!');
            filter.labels.push(LabelFilter { key: name.to_owned(), value, is_not });
        }
        "until" => {
            let until = moment_secs(value, now_secs);
            let why =
                "want a time that has passed, like 24h, or a moment, like 2026-01-02T15:04:05";
            let until = until.ok_or_else(|| invalid(text, why))?;
            // Of several the earliest.
            filter.until_secs = Some(filter.until_secs.map_or(until, |other| other.min(until)));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn split(text: &str) -> Result<(&str, &str), UsageError> {
    text.split_once('=').ok_or_else(|| invalid(text, "it has no value"))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "true" | "True" | "TRUE" | "t" | "T" => Some(true),
        "0" | "false" | "False" | "FALSE" | "f" | "F" => Some(false),
        _ => None,
    }
}

/// A length of time that has passed, or a moment: RFC 3339, a date, seconds since 1970. UTC where no zone is given.
fn moment_secs(text: &str, now_secs: i64) -> Option<i64> {
    if let Some(ms) = duration_ms(text) {
        return Some(now_secs.saturating_sub(i64::try_from(ms / 1000).ok()?));
    }
    let number = text.split_once('.').map_or(text, |(whole, _)| whole);
    if let Ok(secs) = number.parse() {
        return Some(secs);
    }
    let whole = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    whole.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

fn invalid(text: &str, why: &str) -> UsageError {
    UsageError::new(format!("invalid filter {text:?}: {why}"))
        .with_hint("for example --filter dangling=true --filter label=stage=test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(texts: &[&str]) -> Result<ImageFilter, UsageError> {
        image_filter(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), 100_000)
    }

    #[test]
    fn filters_are_read_or_refused() {
        let all = filter(&["dangling=1", "label=a", "label=b=c=d", "before=x", "until=10h"]);
        let all = all.expect("a filter");
        assert_eq!((all.dangling, all.before.as_deref()), (Some(true), Some("x")));
        assert_eq!(all.until_secs, Some(64_000));
        let value = |text: &str| Some(text.to_owned());
        let labels = [("a", None), ("b", value("c=d"))];
        let labels =
            labels.map(|(key, value)| LabelFilter { key: key.to_owned(), value, is_not: false });
        assert_eq!(all.labels, labels);
        for wrong in ["foo=bar", "dangling=maybe", "dangling", "until=soon", "reference=[a"] {
            assert!(filter(&[wrong]).is_err(), "{wrong}");
        }
        let not = prune_filter(&["label!=a=b".to_owned()], 0).expect("a filter");
        assert!(not.labels[0].is_not && not.labels[0].value.as_deref() == Some("b"));
        assert!(prune_filter(&["reference=a".to_owned()], 0).is_err());
    }

    #[test]
    fn moments_have_many_forms() {
        let secs = |text| moment_secs(text, 1_000_000);
        assert_eq!(secs("10m"), Some(999_400));
        assert_eq!(secs("1700000000"), Some(1_700_000_000));
        assert_eq!(secs("1970-01-02"), Some(86_400));
        assert_eq!(secs("1970-01-01T00:01:00"), Some(60));
        assert_eq!(secs("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(secs("tomorrow"), None);
    }

    #[test]
    fn patterns_are_compared_with_what_is_shown() {
        let check = |pattern: &str, name: &str| {
            let name = name.parse().expect("a name");
            NamePattern::new(pattern).expect("a pattern").matches(&name)
        };
        assert!(check("app", "app:1") && check("a*", "app:1") && check("app:1", "app:1"));
        assert!(
            check("a*:l*", "app")
                && check("*/*", "team/app")
                && check("docker.io/library/app", "app")
        );
        assert!(!check("app", "team/app") && !check("a*", "team/app") && !check("app:2", "app:1"));
    }
}
