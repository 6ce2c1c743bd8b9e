//! Texts for people: variables put in, durations as Go prints them.

use crate::scope::Variables;

/// Values that a name of a step may have in it.
const VALUES_BYTES_MAX: usize = 64 << 10;

/// Puts the values of known variables into a text; everything else stays as written (INS-10). A cheap likeness of
/// expansion for names of steps: modifiers are left alone, what cannot be read is no error, long values stay names.
pub(super) fn with_values(text: &str, variables: &Variables) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut room = VALUES_BYTES_MAX;
    while let Some(at) = rest.find('$') {
        let escaped = rest[..at].ends_with('\\');
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (name, length) = name_behind(&rest[1..]);
        match variables.get(name) {
            Some(value) if !escaped && value.len() <= room => {
                out.push_str(value);
                room -= value.len();
            }
            _ => out.push_str(&rest[..length + 1]),
        }
        rest = &rest[length + 1..];
    }
    out + rest
}

/// Takes the user and password out of the http URLs in a text; a token often stands there alone.
pub(super) fn without_users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = behind.find(|c: char| "/?#\"'".contains(c) || c.is_whitespace());
        let authority = &behind[..end.unwrap_or(behind.len())];
        let is_http = before.ends_with("http") || before.ends_with("https");
        let user = authority.rfind('@').filter(|_| is_http).map_or(0, |at| at + 1);
        rest = &behind[user..];
    }
    out + rest
}

/// The name behind a dollar sign and how many bytes it takes, braces included.
fn name_behind(text: &str) -> (&str, usize) {
    let length =
        |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    match text.strip_prefix('{') {
        Some(inner) => match length(inner) {
            end if inner[end..].starts_with('}') => (&inner[..end], end + 2),
            _ => ("", 0),
        },
        None => (&text[..length(text)], length(text)),
    }
}

/// A duration as Go prints it: `1m30s`, `1.5s`, `20ms` (HEAL-06).
pub(super) fn duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    let unit = |size: u64, name: &str| format!("{sign}{}{name}", decimal(ns, size));
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => unit(1, "ns"),
        1_000..1_000_000 => unit(1_000, "µs"),
        1_000_000..1_000_000_000 => unit(1_000_000, "ms"),
        _ => {
            let minutes = ns / 60_000_000_000;
            let seconds = format!("{}s", decimal(ns % 60_000_000_000, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

/// A number in a unit of so many parts, as short as it can be.
fn decimal(parts: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", parts / unit, parts % unit);
    match unit {
        1 => parts.to_string(),
        _ => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_users() {
        let check = |text: &str, want: &str| assert_eq!(without_users(text), want);
        check("ADD https://u:p@h/a@b http://t@h#x@ /", "ADD https://h/a@b http://h#x@ /");
        check("ADD https://u:p@q@h", "ADD https://h");
        check("ADD [\"https://u@h\", \"@\"]", "ADD [\"https://h\", \"@\"]");
        check("ADD ssh://git@h/r git@h:r /", "ADD ssh://git@h/r git@h:r /");
    }

    #[test]
    fn durations_print_like_go() {
        for (ns, want) in [
            (0, "0s"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(ns), want); // HEAL-06
        }
    }

    #[test]
    fn names_of_steps_show_values() {
        let mut variables = Variables::default();
        variables.set("A", "x");
        let check = |text: &str, want: &str| assert_eq!(with_values(text, &variables), want);
        check("RUN $A ${A} $B ${A:-y} \\$A $", "RUN x x $B ${A:-y} \\$A $"); // INS-10
    }
}
