//! JSON, read strictly, as far as a Dockerfile needs it (LEX-51, LEX-81).
//!
//! Owns the grammar. Nested values are walked with a stack of its own, not by recursion.

use std::ops::Range;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while_m_n, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{map, map_opt, opt, recognize, value};
use nom::multi::fold_many0;
use nom::sequence::{delimited, pair, preceded};
use nom::{IResult, Parser};

/// A value found directly in the outermost array or object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its key, in an object.
    pub(crate) key: Option<String>,
    /// Its text; `None` if it is no string.
    pub(crate) text: Option<String>,
    /// Where it stands, quotes included.
    pub(crate) range: Range<usize>,
}

/// The members of a text that is one JSON array or object and nothing else; `None` if it is not.
pub(crate) fn members(text: &str) -> Option<Vec<Member>> {
    let mut walk = Walk { whole: text, open: Vec::new(), members: Vec::new(), key: None };
    let rest = walk.container(text)?;
    rest.is_empty().then_some(walk.members)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

struct Walk<'a> {
    whole: &'a str,
    open: Vec<Open>,
    members: Vec<Member>,
    /// The key that was read last in the outermost object.
    key: Option<String>,
}

impl<'a> Walk<'a> {
    /// Reads a whole array or object with everything in it; gives what is left.
    fn container(&mut self, input: &'a str) -> Option<&'a str> {
        let mut rest = self.enter(blanks(input))?;
        // Whether a value may come now without a comma: directly behind an opening bracket.
        let mut is_first = true;
        while let Some(&open) = self.open.last() {
            rest = blanks(rest);
            if let Some(after) = rest.strip_prefix(closing(open)) {
                self.leave(after);
                (rest, is_first) = (after, false);
                continue;
            }
            if !is_first {
                rest = blanks(rest.strip_prefix(',')?);
            }
            if open == Open::Object {
                rest = self.key(rest)?;
            }
            (rest, is_first) = self.value(rest)?;
        }
        Some(blanks(rest))
    }

    fn key(&mut self, input: &'a str) -> Option<&'a str> {
        let (rest, key) = string(input).ok()?;
        if self.open.len() == 1 {
            self.key = Some(key);
        }
        blanks(rest).strip_prefix(':').map(blanks)
    }

    /// Reads a scalar, or enters a container; tells whether it did.
    fn value(&mut self, input: &'a str) -> Option<(&'a str, bool)> {
        if input.starts_with(['[', '{']) {
            if self.open.len() == 1 {
                self.add(None, input, input);
            }
            return Some((self.enter(input)?, true));
        }
        let (rest, text) = alt((map(string, Some), map(scalar, |_| None))).parse(input).ok()?;
        if self.open.len() == 1 {
            self.add(text, input, rest);
        }
        Some((rest, false))
    }

    fn enter(&mut self, input: &'a str) -> Option<&'a str> {
        let (open, rest) = match input.strip_prefix('[') {
            Some(rest) => (Open::Array, rest),
            None => (Open::Object, input.strip_prefix('{')?),
        };
        self.open.push(open);
        Some(rest)
    }

    fn leave(&mut self, rest: &str) {
        self.open.pop();
        let end = self.offset(rest);
        if let (1, Some(member)) = (self.open.len(), self.members.last_mut()) {
            member.range.end = member.range.end.max(end);
        }
    }

    fn add(&mut self, text: Option<String>, from: &str, to: &str) {
        let range = self.offset(from)..self.offset(to);
        self.members.push(Member { key: self.key.take(), text, range });
    }

    fn offset(&self, rest: &str) -> usize {
        self.whole.len() - rest.len()
    }
}

fn closing(open: Open) -> char {
    match open {
        Open::Array => ']',
        Open::Object => '}',
    }
}

fn blanks(input: &str) -> &str {
    input.trim_start_matches([' ', '\t', '\r', '\n'])
}

/// A string with its escapes resolved.
fn string(input: &str) -> IResult<&str, String> {
    let plain = take_while1(|c: char| c != '"' && c != '\\' && c >= ' ');
    let part = alt((map(plain, Part::Text), map(preceded(char('\\'), escape), Part::Char)));
    let parts = fold_many0(part, String::new, |mut text, part| {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Char(c) => text.push(c),
        }
        text
    });
    delimited(char('"'), parts, char('"')).parse(input)
}

enum Part<'a> {
    Text(&'a str),
    Char(char),
}

fn escape(input: &str) -> IResult<&str, char> {
    alt((
        one_of("\"\\/"),
        value('\u{8}', char('b')),
        value('\u{c}', char('f')),
        value('\n', char('n')),
        value('\r', char('r')),
        value('\t', char('t')),
        surrogates,
        // Half of a pair alone stands for nothing.
        map(unit, |unit| char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
    ))
    .parse(input)
}

fn surrogates(input: &str) -> IResult<&str, char> {
    map_opt(pair(unit, preceded(char('\\'), unit)), |(high, low)| match (high, low) {
        (0xd800..=0xdbff, 0xdc00..=0xdfff) => {
            char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
        }
        _ => None,
    })
    .parse(input)
}

fn unit(input: &str) -> IResult<&str, u32> {
    let digits = take_while_m_n(4, 4, |c: char| c.is_ascii_hexdigit());
    map_opt(preceded(char('u'), digits), |digits| u32::from_str_radix(digits, 16).ok()).parse(input)
}

fn scalar(input: &str) -> IResult<&str, &str> {
    alt((tag("true"), tag("false"), tag("null"), number)).parse(input)
}

fn number(input: &str) -> IResult<&str, &str> {
    let digits = || take_while1(|c: char| c.is_ascii_digit());
    let natural = alt((
        tag("0"),
        recognize(pair(one_of("123456789"), take_while(|c: char| c.is_ascii_digit()))),
    ));
    let fraction = opt(pair(char('.'), digits()));
    let exponent = opt((one_of("eE"), opt(one_of("+-")), digits()));
    recognize((opt(char('-')), natural, fraction, exponent)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Option<Vec<Option<String>>> {
        members(text).map(|members| members.into_iter().map(|member| member.text).collect())
    }

    #[test]
    fn arrays_are_read_strictly() {
        let some = |words: &[&str]| Some(words.iter().map(|w| Some((*w).to_owned())).collect());
        let cases: [(&str, Option<Vec<Option<String>>>); 18] = [
            ("[]", some(&[])),
            (" [ \"a\" , \"b c\" ] ", some(&["a", "b c"])),
            (r#"["\"\\\/\b\f\n\r\té"]"#, some(&["\"\\/\u{8}\u{c}\n\r\té"])),
            (r#"["\ud83d\ude00"]"#, some(&["😀"])),
            (r#"["\ud83d"]"#, some(&["\u{fffd}"])),
            (r#"["a",]"#, None),
            (r#"["a" "b"]"#, None),
            (r#"[,"a"]"#, None),
            (r#"['a']"#, None),
            (r#"["c:\x"]"#, None),
            (r#"["a"] x"#, None),
            (r#"["a""#, None),
            ("[\"a\nb\"]", None),
            (r#"[1, "a"]"#, Some(vec![None, Some("a".to_owned())])),
            (r#"[[["x"], {"k": [true, null, -1.5e+3]}]]"#, Some(vec![None])),
            ("[01]", None),
            (r#"{"a": "b"}"#, some(&["b"])),
            (r#"{"a" "b"}"#, None),
        ];
        for (text, expect) in cases {
            assert_eq!(texts(text), expect, "{text}");
        }
    }

    #[test]
    fn members_know_their_keys_and_places() {
        let text = r#"{ "x": [1, 2], "syntax": "a/b" }"#;
        let members = members(text).unwrap();
        assert_eq!(&text[members[0].range.clone()], "[1, 2]");
        assert_eq!(members[1].key.as_deref(), Some("syntax"));
        assert_eq!(&text[members[1].range.clone()], "\"a/b\"");
    }

    #[test]
    fn deep_nesting_needs_no_stack() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(members(&deep), None);
        assert_eq!(members(&(deep + &"]".repeat(1_000_000))).map(|m| m.len()), Some(1));
    }
}
