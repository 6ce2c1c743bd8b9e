//! Splitting arguments into words (LEX-87, LEX-88).

use std::ops::{BitOr, Range};

use nom::branch::alt;
use nom::bytes::complete::{take_till, take_till1};
use nom::character::complete::{anychar, char};
use nom::combinator::{consumed, map, opt, value};
use nom::multi::{fold_many0, fold_many1};
use nom::sequence::delimited;
use nom::{IResult, Parser};

/// Blanks that separate keywords and words (LEX-60).
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r')
}

/// Words separated by blanks; quotes mean nothing.
pub(super) fn split_blanks(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut rest = text.trim_start_matches(is_blank);
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        let length = rest.find(is_blank).unwrap_or(rest.len());
        ranges.push(start..start + length);
        rest = rest[length..].trim_start_matches(is_blank);
    }
    ranges
}

/// Words separated by white space outside of quotes; quotes and escapes stay, only an escape
/// character at the very end is left out of its word.
pub(super) fn split_quoted(text: &str, escape: char) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let start = text.len() - rest.len();
        let Ok((after, (word, is_cut_off))) = quoted_word(rest, escape) else { break };
        let mut end = start + word.len();
        if is_cut_off {
            end -= escape.len_utf8();
        }
        if start < end {
            ranges.push(start..end);
        }
        rest = after.trim_start();
    }
    ranges
}

/// A word, and whether it ends in an escape character with nothing behind it.
fn quoted_word(input: &str, escape: char) -> IResult<&str, (&str, bool)> {
    let escaped = || map((char(escape), opt(anychar)), |(_, c)| c.is_none());
    let in_single = (char('\''), take_till(|c| c == '\''), opt(char('\'')));
    let plain_in_double = value(false, take_till1(move |c| c == '"' || c == escape));
    let double_parts = fold_many0(alt((escaped(), plain_in_double)), || false, BitOr::bitor);
    let in_double = delimited(char('"'), double_parts, opt(char('"')));
    let plain =
        take_till1(move |c: char| c == '\'' || c == '"' || c == escape || c.is_whitespace());
    let part = alt((escaped(), value(false, in_single), in_double, value(false, plain)));
    consumed(fold_many1(part, || false, BitOr::bitor)).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &[&str]) {
        let words: Vec<&str> =
            split_quoted(text, '\\').into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, expect, "{text}");
    }

    #[test]
    fn name_value_words_keep_quotes_and_escapes() {
        check("", &[]);
        check("  a=b\tc=d  ", &["a=b", "c=d"]);
        check(r#"a="b c" d='e f'"#, &[r#"a="b c""#, "d='e f'"]);
        check(r#"a=b\ c d="\" e" f"#, &[r"a=b\ c", r#"d="\" e""#, "f"]);
        // No escape inside single quotes.
        check(r"a='\' b", &[r"a='\'", "b"]);
        // An escape character at the very end is dropped, a quote may stay open.
        check(r"a=b\", &["a=b"]);
        check(r"a=b\\", &[r"a=b\\"]);
        check(r#"a="b c"#, &[r#"a="b c"#]);
        check(r#"a="b\"#, &[r#"a="b"#]);
        check(r"a='b\", &[r"a='b\"]);
        check(r"\", &[]);
    }

    #[test]
    fn word_lists_split_at_blanks_only() {
        let text = " \"a b\" /c\u{b}\u{c}\rd\u{a0}e ";
        let words: Vec<&str> = split_blanks(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(words, ["\"a", "b\"", "/c", "d\u{a0}e"]);
    }
}
