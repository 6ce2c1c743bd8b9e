//! Parser directives at the top of a file (LEX-40 to LEX-55).
//!
//! Two readings, as in BuildKit: `escape` is looked for by the line reader's rules (blanks before
//! `#` are fine, a `#!` line is an ordinary comment), `syntax` and `check` by stricter ones (column
//! 0, a `#!` line is passed over).

use crate::ast::{Directives, Word};
use crate::lines::{PhysicalLine, Reader};
use crate::syntax::Fault;
use crate::{Span, json};

/// What the top of a file says.
pub(crate) struct Top<'s> {
    pub(crate) directives: Directives,
    /// Number of the lines that are directives (LEX-29).
    pub(crate) lines: u32,
    /// Mistakes, each with its line.
    pub(crate) faults: Vec<(Fault, PhysicalLine<'s>)>,
}

/// Reads the directives of a text.
pub(crate) fn read(text: &str) -> Top<'_> {
    let mut top = Top { directives: Directives::default(), lines: 0, faults: Vec::new() };
    read_escape(text, &mut top);
    let first = Reader::new(text).next_physical();
    let has_shebang = first.is_some_and(|line| line.text.starts_with("#!"));
    top.directives.syntax = find(text, "#", "syntax", has_shebang)
        .or_else(|| find(text, "//", "syntax", has_shebang))
        .or_else(|| json_syntax(text));
    top.directives.check = find(text, "#", "check", has_shebang);
    top
}

/// The directives by the line reader's rules: the escape character, and which ones are written
/// twice (LEX-45).
fn read_escape<'s>(text: &'s str, top: &mut Top<'s>) {
    let mut seen: Vec<&'static str> = Vec::new();
    let mut reader = Reader::new(text);
    while let Some(line) = reader.next_physical() {
        let indent = line.text.len() - line.text.trim_start().len();
        let Some((name, value)) = directive(&line, indent, "#") else { return };
        top.lines += 1;
        if seen.contains(&name) {
            let message = format!("only one {name} parser directive can be used");
            top.faults.push((Fault::plain("directive", message), line));
            continue;
        }
        seen.push(name);
        if name == "escape" {
            match value.text.as_str() {
                "\\" => top.directives.escape = '\\',
                "`" => top.directives.escape = '`',
                other => {
                    let message = format!("invalid escape token '{other}' does not match ` or \\");
                    let fault = Fault::plain("directive", message);
                    top.faults.push((fault, line));
                }
            }
        }
    }
}

fn find(text: &str, comment: &str, wanted: &str, has_shebang: bool) -> Option<Word> {
    let mut reader = Reader::new(text);
    if has_shebang {
        reader.next_physical();
    }
    let mut seen: Vec<&'static str> = Vec::new();
    while let Some(line) = reader.next_physical() {
        let (name, value) = directive(&line, 0, comment)?;
        if name == wanted {
            return Some(value);
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    None
}

/// A known directive on this line, behind so many blanks.
fn directive(
    line: &PhysicalLine<'_>,
    indent: usize,
    comment: &str,
) -> Option<(&'static str, Word)> {
    let body = line.text.get(indent..)?.strip_prefix(comment)?;
    let (name, value) = name_and_value(body)?;
    let known = ["syntax", "escape", "check"];
    let name = known.into_iter().find(|known| known.eq_ignore_ascii_case(name))?;
    let start = line.start + (value.as_ptr() as usize - line.text.as_ptr() as usize);
    Some((name, Word { text: value.to_owned(), span: Span::new(start, start + value.len()) }))
}

/// `name = value` with optional blanks; nothing if it has not this form.
pub(crate) fn name_and_value(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then_some((name, value))
}

/// The `syntax` member of a file that is a JSON object (LEX-51).
fn json_syntax(text: &str) -> Option<Word> {
    let bom = text.len() - text.trim_start_matches('\u{feff}').len();
    let body = &text[bom..];
    if !body.trim_start().starts_with('{') {
        return None;
    }
    let member = json::members(body)?.into_iter().find(|m| m.key.as_deref() == Some("syntax"))?;
    let span = Span::new(bom + member.range.start, bom + member.range.end);
    Some(Word { text: member.text?, span })
}
