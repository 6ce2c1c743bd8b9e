//! Comma-separated values with quotes, as in `--mount` and `--device` (MNT-01).

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_till1};
use nom::character::complete::char;
use nom::combinator::{eof, map, peek, value};
use nom::multi::fold_many0;
use nom::sequence::{delimited, terminated};
use nom::{IResult, Parser};

/// Why a text is no list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// There is nothing at all.
    #[error("EOF")]
    Empty,
    /// A quote inside a value that does not start with one, or text behind a closing quote.
    #[error("parse error on column {0}: quote in the wrong place")]
    Quote(usize),
    /// A quote is never closed.
    #[error("parse error on column {0}: quote without an end")]
    Unclosed(usize),
}

/// Splits a list at its commas. A value in double quotes may have commas; a quote in it is written
/// twice.
///
/// # Errors
/// Quotes in wrong places; nothing to split. Columns count bytes from 1.
pub fn csv_fields(text: &str) -> Result<Vec<String>, CsvError> {
    if text.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let column = text.len() - rest.len() + 1;
        let read = if rest.starts_with('"') { quoted(rest) } else { plain(rest) };
        let (after, field) = read.map_err(|_| fault(rest, column))?;
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

fn plain(input: &str) -> IResult<&str, String> {
    let text = take_till(|c| c == ',' || c == '"');
    map(terminated(text, peek(alt((tag(","), eof)))), str::to_owned).parse(input)
}

fn quoted(input: &str) -> IResult<&str, String> {
    let part = alt((take_till1(|c| c == '"'), value("\"", tag("\"\""))));
    let parts = fold_many0(part, String::new, |text, part| text + part);
    terminated(delimited(char('"'), parts, char('"')), peek(alt((tag(","), eof)))).parse(input)
}

fn fault(rest: &str, column: usize) -> CsvError {
    let is_closed = rest.matches('"').count().is_multiple_of(2);
    match rest.starts_with('"') && !is_closed {
        true => CsvError::Unclosed(column),
        false => CsvError::Quote(column),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_quotes() {
        let ok = |fields: &[&str]| Ok(fields.iter().map(|f| (*f).to_owned()).collect());
        let cases: [(&str, Result<Vec<String>, CsvError>); 9] = [
            ("a", ok(&["a"])),
            ("type=bind,src=a", ok(&["type=bind", "src=a"])),
            (",a,", ok(&["", "a", ""])),
            ("\"src=a,b\",ro", ok(&["src=a,b", "ro"])),
            ("\"a\"\"b\"", ok(&["a\"b"])),
            ("", Err(CsvError::Empty)),
            ("src=\"a\"", Err(CsvError::Quote(1))),
            ("x,\"a\"b", Err(CsvError::Quote(3))),
            ("x,\"a", Err(CsvError::Unclosed(3))),
        ];
        for (text, expect) in cases {
            assert_eq!(csv_fields(text), expect, "{text}");
        }
    }
}
