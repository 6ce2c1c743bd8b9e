//! Instructions inside one logical line: keyword, flags, arguments, one file per kind of
//! instruction.
//!
//! Owns the argument forms (LEX-60 to LEX-94) and the checks BuildKit makes while it parses.
//! Refuses to expand variables or to know what came before the line.

mod arg;
mod command;
mod csv;
mod flags;
mod from;
mod healthcheck;
mod heredoc;
mod json_form;
mod key_value;
mod list;
mod onbuild;
mod run;
mod single;
mod transfer;
mod words;

use std::ops::Range;

use crate::Span;
use crate::ast::{Kind, Word};
use crate::lines::LogicalLine;
use crate::suggest::suggest;
use flags::RawFlag;

pub use csv::{CsvError, csv_fields};
pub(crate) use heredoc::{FoundHeredoc, HeredocWord};

/// The keywords, in the order in which hints prefer them.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// An instruction's line, cut into its parts.
#[derive(Debug)]
pub(crate) struct Line<'l> {
    logical: &'l LogicalLine<'l>,
    escape: char,
    keyword: Range<usize>,
    /// The keyword in upper case.
    name: String,
    flags: Vec<RawFlag>,
    args: Range<usize>,
}

/// A mistake in one instruction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// BuildKit's `dockerfile parse error on line N: ` does not stand before it.
    pub(crate) is_plain: bool,
    /// Where it is, and what is to be said there.
    pub(crate) label: Option<(Place, String)>,
    pub(crate) help: Option<String>,
}

/// Where a mistake is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the joined line.
    Joined(Range<usize>),
    /// In the file.
    File(Span),
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Place {
        Place::Joined(range)
    }
}

impl From<Span> for Place {
    fn from(span: Span) -> Place {
        Place::File(span)
    }
}

/// The keyword of a line, as written.
pub(crate) fn keyword<'l>(logical: &'l LogicalLine<'_>) -> &'l str {
    logical.text.split(words::is_blank).next().unwrap_or_default()
}

/// Cuts a line into keyword, flags and arguments.
pub(crate) fn cut<'l>(logical: &'l LogicalLine<'l>, escape: char) -> Line<'l> {
    cut_at(logical, 0, escape)
}

/// Cuts the instruction that begins at an offset of a line.
fn cut_at<'l>(logical: &'l LogicalLine<'l>, start: usize, escape: char) -> Line<'l> {
    let text = logical.text.as_ref();
    let end = text[start..].find(words::is_blank).map_or(text.len(), |length| start + length);
    let (flags, args_start) = flags::take(text, end, escape);
    let args_start = text.len() - text[args_start..].trim_start().len();
    let name = text[start..end].to_uppercase();
    Line { logical, escape, keyword: start..end, name, flags, args: args_start..text.len() }
}

impl Line<'_> {
    /// The heredocs that this line announces, in order (LEX-100 to LEX-112).
    pub(crate) fn heredocs(&self) -> Vec<HeredocWord> {
        match self.name.as_str() {
            "RUN" | "COPY" | "ADD" => heredoc::find(&self.logical.text, self.args()),
            "ONBUILD" => onbuild::inner(self).heredocs_of_trigger(),
            _ => Vec::new(),
        }
    }

    /// As [`Line::heredocs`], where there is no instruction inside another one.
    fn heredocs_of_trigger(&self) -> Vec<HeredocWord> {
        if self.name == "ONBUILD" { Vec::new() } else { self.heredocs() }
    }

    /// Checks what BuildKit checks while it reads a line, before it knows what the instruction means.
    fn check_form(&self) -> Result<(), Fault> {
        match self.name.as_str() {
            "ENV" | "LABEL" => key_value::check_form(self),
            "HEALTHCHECK" => healthcheck::check_form(self),
            "RUN" | "CMD" | "ENTRYPOINT" | "SHELL" | "COPY" | "ADD" | "VOLUME" => {
                self.json_form().map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// The keyword as written.
    pub(crate) fn keyword(&self) -> Word {
        self.word(self.keyword.clone())
    }

    /// What stands behind the keyword, flags included.
    pub(crate) fn original(&self) -> &str {
        self.logical.text[self.keyword.end..].trim_start()
    }

    /// What the instruction says.
    pub(crate) fn kind(&self, heredocs: &[FoundHeredoc<'_>]) -> Result<Kind, Fault> {
        match self.name.as_str() {
            "ADD" => transfer::add(self, heredocs),
            "ARG" => arg::arg(self),
            "CMD" => command::cmd(self),
            "COPY" => transfer::copy(self, heredocs),
            "ENTRYPOINT" => command::entrypoint(self),
            "ENV" => key_value::env(self),
            "EXPOSE" => list::expose(self),
            "FROM" => from::from(self),
            "HEALTHCHECK" => healthcheck::healthcheck(self),
            "LABEL" => key_value::label(self),
            "MAINTAINER" => single::maintainer(self),
            "ONBUILD" => onbuild::onbuild(self, heredocs),
            "RUN" => run::run(self, heredocs),
            "SHELL" => command::shell(self),
            "STOPSIGNAL" => single::stopsignal(self),
            "USER" => single::user(self),
            "VOLUME" => list::volume(self),
            "WORKDIR" => single::workdir(self),
            _ => Err(self.unknown()),
        }
    }

    fn unknown(&self) -> Fault {
        let keyword = &self.logical.text[self.keyword.clone()];
        let mut message = format!("unknown instruction: {}", shown(keyword));
        let mut help = None;
        if let Some(best) = suggest(keyword, KEYWORDS) {
            // In the case that the user writes (LEX-61).
            let is_lower = !keyword.contains(char::is_uppercase);
            let best = if is_lower { best.to_lowercase() } else { best.to_owned() };
            message.push_str(&format!(" (did you mean {best}?)"));
        } else if keyword.is_empty() {
            help = Some("nothing follows the escape character".to_owned());
        } else if keyword.starts_with(|c: char| !c.is_alphabetic()) {
            help = Some(
                "a line that belongs to the one above needs an escape character at its end"
                    .to_owned(),
            );
        }
        let fault = Fault::new("unknown-instruction", message).at(self.keyword.clone(), "");
        Fault { help, ..fault }
    }

    /// The arguments as one text, without white space around them.
    fn args(&self) -> &str {
        &self.logical.text[self.args.clone()]
    }

    /// A range of the arguments as a range of the line.
    fn in_args(&self, range: &Range<usize>) -> Range<usize> {
        self.args.start + range.start..self.args.start + range.end
    }

    /// The text of a range of the line, with its place.
    fn word(&self, range: Range<usize>) -> Word {
        Word { text: self.logical.text[range.clone()].to_owned(), span: self.place(&range) }
    }

    /// The words of the arguments, split at blanks (LEX-87), as ranges of the line.
    fn blank_words(&self) -> Vec<Range<usize>> {
        words::split_blanks(self.args()).iter().map(|range| self.in_args(range)).collect()
    }

    fn place(&self, range: &Range<usize>) -> Span {
        self.logical.place(range)
    }

    fn text(&self, range: &Range<usize>) -> &str {
        &self.logical.text[range.clone()]
    }

    /// An error about too few or too many arguments, at the arguments or else at the keyword.
    fn wrong_arguments(&self, message: String) -> Fault {
        let place = if self.args.is_empty() { self.keyword.clone() } else { self.args.clone() };
        Fault::new("arguments", message).at(place, "")
    }
}

impl Fault {
    /// A mistake that BuildKit reports with the line number in the message.
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), is_plain: false, label: None, help: None }
    }

    /// A mistake that BuildKit reports as it is.
    pub(crate) fn plain(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { is_plain: true, ..Fault::new(code, message) }
    }

    pub(crate) fn at(self, place: impl Into<Place>, text: &str) -> Fault {
        Fault { label: Some((place.into(), text.to_owned())), ..self }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Fault {
        Fault { help: Some(help.into()), ..self }
    }
}

/// A word for a message: a very long one is cut.
fn shown(word: &str) -> String {
    const SHOWN_CHARS: usize = 100;
    match word.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}
