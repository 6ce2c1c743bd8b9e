//! Single patterns without `**`: Go's `filepath.Match` on one path component (COPY-20 to COPY-26).

use crate::PatternError;
use crate::units::{Unit, ascii, units};

/// A pattern of `*`, `?`, `[class]` and `\` escapes that is compared with one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Star,
    Any,
    One(Unit),
    Class { negated: bool, ranges: Vec<(Unit, Unit)> },
}

impl Wildcard {
    /// Reads a pattern; `*` and `?` never match a slash.
    pub fn new(pattern: &[u8]) -> Result<Wildcard, PatternError> {
        let fail = || PatternError::syntax(pattern);
        let text = units(pattern);
        let mut rest = &text[..];
        let mut parts = Vec::new();
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            parts.push(match u8::try_from(*first) {
                Ok(b'*') => Part::Star,
                Ok(b'?') => Part::Any,
                Ok(b'[') => class(&mut rest).ok_or_else(fail)?,
                Ok(b'\\') => {
                    let (escaped, tail) = rest.split_first().ok_or_else(fail)?;
                    rest = tail;
                    Part::One(*escaped)
                }
                _ => Part::One(*first),
            });
        }
        parts.dedup_by(|a, b| *a == Part::Star && *b == Part::Star);
        Ok(Wildcard(parts))
    }

    /// Whether the pattern matches the whole name.
    pub fn matches(&self, name: &[u8]) -> bool {
        let name = units(name);
        let (mut at, mut part) = (0, 0);
        // Where to go on when a later part fails: only the last star can need more, so this is never exponential.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(part), name.get(at)) {
                (Some(Part::Star), _) => {
                    retry = Some((part, at));
                    part += 1;
                }
                (Some(one), Some(unit)) if one.accepts(*unit) => {
                    part += 1;
                    at += 1;
                }
                (None, None) => return true,
                _ => match retry {
                    Some((star, from)) if name.get(from).is_some_and(|u| *u != ascii(b'/')) => {
                        retry = Some((star, from + 1));
                        part = star + 1;
                        at = from + 1;
                    }
                    _ => return false,
                },
            }
        }
    }
}

impl Part {
    fn accepts(&self, unit: Unit) -> bool {
        match self {
            Part::Star => false,
            Part::Any => unit != ascii(b'/'),
            Part::One(one) => *one == unit,
            Part::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&unit)) != *negated
            }
        }
    }
}

/// Reads a class behind its `[`: at least one range, `^` in front negates, `]` and `-` must be escaped.
fn class(rest: &mut &[Unit]) -> Option<Part> {
    let negated = rest.first() == Some(&ascii(b'^'));
    if negated {
        *rest = &rest[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if rest.first() == Some(&ascii(b']')) && !ranges.is_empty() {
            *rest = &rest[1..];
            return Some(Part::Class { negated, ranges });
        }
        let low = class_unit(rest)?;
        let high = match rest.first() {
            Some(unit) if *unit == ascii(b'-') => {
                *rest = &rest[1..];
                class_unit(rest)?
            }
            _ => low,
        };
        ranges.push((low, high));
    }
}

fn class_unit(rest: &mut &[Unit]) -> Option<Unit> {
    let (first, tail) = rest.split_first()?;
    if [ascii(b'-'), ascii(b']')].contains(first) {
        return None;
    }
    let (unit, tail) = if *first == ascii(b'\\') { tail.split_first()? } else { (first, tail) };
    *rest = tail;
    Some(*unit)
}

/// Whether a path component has an unescaped wildcard character.
pub fn has_wildcards(component: &[u8]) -> bool {
    let mut bytes = component.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Some` is the answer, `None` a syntax error.
    fn check(pattern: &str, name: &[u8], want: Option<bool>) {
        let got = Wildcard::new(pattern.as_bytes()).ok().map(|w| w.matches(name));
        assert_eq!(got, want, "{pattern} on {}", String::from_utf8_lossy(name));
    }

    #[test]
    fn patterns_match_as_in_go() {
        // The table of Go's path/filepath match_test.go.
        let table: &[(&str, &str, Option<bool>)] = &[
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*", "abc", Some(true)),
            ("a*", "ab/c", Some(false)),
            ("a*/b", "abc/b", Some(true)),
            ("a*/b", "a/c/b", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^b-d]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("a[^a][^a][^a]b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("*[a-ζ]", "A", Some(false)),
            ("a?b", "a/b", Some(false)),
            ("a*b", "a/b", Some(false)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-]", "-", Some(true)),
            ("[x\\-]", "x", Some(true)),
            ("[x\\-]", "z", Some(false)),
            ("[\\-x]", "a", Some(false)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[x-]", "z", None),
            ("[-x]", "x", None),
            ("\\", "a", None),
            ("[a-b-c]", "a", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "ab", None),
            ("a[", "a", None),
            ("*x", "xxx", Some(true)),
            // COPY-20, COPY-22, COPY-26
            ("*", ".hid", Some(true)),
            ("arr[[]0].txt", "arr[0].txt", Some(true)),
            ("[!a]", "!", Some(true)),
            ("**", "a", Some(true)),
            ("", "", Some(true)),
        ];
        for (pattern, name, want) in table {
            check(pattern, name.as_bytes(), *want);
        }
        check("a?b", b"a\xffb", Some(true));
    }

    #[test]
    fn hostile_patterns_take_no_time() {
        let pattern = format!("{}b", "*a".repeat(2_000));
        let name = "a".repeat(4_000);
        assert!(!Wildcard::new(pattern.as_bytes()).expect("valid").matches(name.as_bytes()));
    }
}
