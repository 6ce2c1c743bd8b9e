//! Flags directly behind the keyword (LEX-62 to LEX-74).

use std::ops::Range;

use nom::branch::alt;
use nom::bytes::complete::take_till1;
use nom::character::complete::{anychar, char};
use nom::combinator::{map, opt};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

use super::{Fault, Line, shown};
use crate::ast::Word;
use crate::suggest::did_you_mean;

/// A word that starts with `--`, quotes and escapes taken away.
#[derive(Debug)]
pub(super) struct RawFlag {
    text: String,
    /// Where it stands in the line.
    range: Range<usize>,
    /// Where its value stands, as written.
    value_range: Range<usize>,
}

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` or `=false`.
    Bool,
    /// `=value`, once.
    Value,
    /// `=value`, as often as wanted.
    List,
}

/// The flags of an instruction, known and checked.
#[derive(Debug, Default)]
pub(super) struct Flags {
    given: Vec<(&'static str, Word)>,
}

/// Takes the flags that stand at an offset of the line; gives the offset where the arguments begin.
pub(super) fn take(text: &str, start: usize, escape: char) -> (Vec<RawFlag>, usize) {
    let mut flags = Vec::new();
    let mut at = start;
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        if !rest.starts_with("--") {
            return (flags, at);
        }
        let Ok((after, word)) = flag_word(rest, escape) else { return (flags, at) };
        let range = at..text.len() - after.len();
        at = range.end;
        if word == "--" {
            return (flags, at);
        }
        let value_start =
            text[range.clone()].find('=').map_or(range.end, |sign| range.start + sign + 1);
        flags.push(RawFlag { text: word, value_range: value_start..range.end, range });
    }
}

/// A word up to white space, with quotes and escapes resolved (LEX-64). An open quote takes the
/// rest.
fn flag_word(input: &str, escape: char) -> IResult<&str, String> {
    let quoted = |quote: char| {
        let plain = take_till1(move |c| c == quote || c == escape);
        let part = alt((map(plain, str::to_owned), escaped(escape)));
        let parts = fold_many0(part, String::new, |text, part| text + &part);
        delimited(char(quote), parts, opt(char(quote)))
    };
    let plain =
        take_till1(move |c: char| matches!(c, '"' | '\'') || c == escape || c.is_whitespace());
    let part = alt((map(plain, str::to_owned), escaped(escape), quoted('"'), quoted('\'')));
    fold_many0(part, String::new, |text, part| text + &part).parse(input)
}

/// An escape character and what it protects; nothing at the very end.
fn escaped<'i>(
    escape: char,
) -> impl Parser<&'i str, Output = String, Error = nom::error::Error<&'i str>> {
    map(preceded(char(escape), opt(anychar)), |c| c.map(String::from).unwrap_or_default())
}

impl Line<'_> {
    /// Checks the flags against those the instruction has.
    pub(super) fn flags(&self, allowed: &[(&'static str, Takes)]) -> Result<Flags, Fault> {
        let mut flags = Flags::default();
        for raw in &self.flags {
            let (name, value) = match raw.text[2..].split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (&raw.text[2..], None),
            };
            let Some(&(name, takes)) = allowed.iter().find(|(known, _)| *known == name) else {
                return Err(unknown(name, raw, allowed));
            };
            if takes != Takes::List && flags.find(name).is_some() {
                let message = format!("duplicate flag specified: --{name}");
                return Err(
                    Fault::new("flag", message).at(raw.range.clone(), "given a second time")
                );
            }
            let text = match (takes, value) {
                (Takes::Bool, None) => "true",
                (Takes::Bool, Some(value)) if value.eq_ignore_ascii_case("true") => "true",
                (Takes::Bool, Some(value)) if value.eq_ignore_ascii_case("false") => "false",
                (Takes::Bool, Some(value)) if !value.is_empty() => {
                    return Err(not_boolean(name, value, raw));
                }
                (Takes::Value | Takes::List, Some(value)) => value,
                (_, None | Some(_)) => {
                    let message = format!("missing a value on flag: --{name}");
                    let fault = Fault::new("flag", message).at(raw.range.clone(), "");
                    let value = if takes == Takes::Bool { "true" } else { "VALUE" };
                    return Err(fault.help(format!("write --{name}={value}")));
                }
            };
            let span = self.place(&raw.value_range);
            flags.given.push((name, Word { text: text.to_owned(), span }));
        }
        Ok(flags)
    }

    /// Checks that there are no flags, for instructions that have none (LEX-65).
    pub(super) fn no_flags(&self) -> Result<(), Fault> {
        self.flags(&[]).map(|_| ())
    }
}

fn unknown(name: &str, raw: &RawFlag, allowed: &[(&'static str, Takes)]) -> Fault {
    let hint = did_you_mean(name, allowed.iter().map(|(known, _)| *known));
    let message = format!("unknown flag: --{}{hint}", shown(name));
    let fault = Fault::new("unknown-flag", message).at(raw.range.clone(), "");
    match allowed {
        [] => fault.help("write -- before arguments that start with --"),
        _ => fault,
    }
}

fn not_boolean(name: &str, value: &str, raw: &RawFlag) -> Fault {
    let message = format!("expecting boolean value for flag --{name}, not: {}", shown(value));
    Fault::new("flag", message).at(raw.value_range.clone(), "")
}

impl Flags {
    /// The flag's value, also when it is empty.
    pub(super) fn find(&self, name: &str) -> Option<&Word> {
        self.given.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    /// The flag's value, unless it is empty, which means as much as no flag (LEX-69).
    pub(super) fn value(&self, name: &str) -> Option<Word> {
        self.find(name).filter(|value| !value.text.is_empty()).cloned()
    }

    /// The values of a list flag, in order.
    pub(super) fn list(&self, name: &str) -> Vec<Word> {
        let given = self.given.iter().filter(|(given, _)| *given == name);
        given.map(|(_, value)| value.clone()).collect()
    }

    /// A boolean flag, `None` when absent.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.find(name).map(|value| value.text == "true")
    }
}
