//! COPY and ADD (COPY-01, COPY-110, LEX-112, LEX-113, LEX-121, EXP-51, ADD-01).

use std::collections::{HashMap, HashSet};

use super::flags::{Flags, Takes};
use super::{Fault, FoundHeredoc, Line, heredoc, list};
use crate::ast::{Add, Copy, Heredoc, Kind, Transfer, Word};
use crate::expand::Expander;

const COPY_FLAGS: [(&str, Takes); 6] = [
    ("from", Takes::Value),
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::List),
];

const ADD_FLAGS: [(&str, Takes); 7] = [
    ("chown", Takes::Value),
    ("chmod", Takes::Value),
    ("link", Takes::Bool),
    ("exclude", Takes::List),
    ("checksum", Takes::Value),
    ("keep-git-dir", Takes::Bool),
    ("unpack", Takes::Bool),
];

/// `COPY`.
pub(super) fn copy(line: &Line<'_>, heredocs: &[FoundHeredoc<'_>]) -> Result<Kind, Fault> {
    let words = words(line)?;
    let flags = line.flags(&COPY_FLAGS)?;
    let transfer = transfer(line, &flags, words, heredocs)?;
    let from = flags.value("from");
    if let Some(from) = &from {
        check_from(line, from)?;
    }
    Ok(Kind::Copy(Copy { from, transfer, parents: flags.boolean("parents").unwrap_or(false) }))
}

/// `ADD`.
pub(super) fn add(line: &Line<'_>, heredocs: &[FoundHeredoc<'_>]) -> Result<Kind, Fault> {
    let words = words(line)?;
    let flags = line.flags(&ADD_FLAGS)?;
    Ok(Kind::Add(Add {
        transfer: transfer(line, &flags, words, heredocs)?,
        checksum: flags.value("checksum"),
        keep_git_dir: flags.boolean("keep-git-dir"),
        unpack: flags.boolean("unpack"),
    }))
}

/// The sources and the destination, which is the last one.
fn words(line: &Line<'_>) -> Result<Vec<Word>, Fault> {
    let words = list::json_or_words(line)?;
    if words.len() >= 2 {
        return Ok(words);
    }
    let message = format!(
        "{} requires at least two arguments, but only one was provided. \
         Destination could not be determined",
        line.name
    );
    Err(line.wrong_arguments(message))
}

fn transfer(
    line: &Line<'_>,
    flags: &Flags,
    mut words: Vec<Word>,
    found: &[FoundHeredoc<'_>],
) -> Result<Transfer, Fault> {
    let dest = words.pop().unwrap_or_default();
    if heredoc::word(&dest.text).is_some() {
        let message = format!("{} cannot accept a heredoc as a destination", line.name);
        let fault = Fault::new("heredoc", message).at(dest.span, "");
        return Err(fault.help("put the destination behind the heredoc's word"));
    }
    let bodies: HashMap<&str, &FoundHeredoc<'_>> =
        found.iter().map(|found| (found.word.name.as_str(), found)).collect();
    let mut names_seen = HashSet::new();
    let (mut sources, mut heredocs) = (Vec::new(), Vec::new());
    for word in words {
        let Some(announced) = heredoc::word(&word.text) else {
            sources.push(word);
            continue;
        };
        // Without a body where no heredoc was looked for, as in JSON form (LEX-101).
        let heredoc = match bodies.get(announced.name.as_str()) {
            Some(found) => found.to_ast(|range| line.place(range)),
            None => announced.to_ast(String::new(), word.span),
        };
        // Of several with one name one file results, with the last body (LEX-113).
        if names_seen.insert(announced.name) {
            heredocs.push(Heredoc { span: word.span, ..heredoc });
        }
    }
    Ok(Transfer {
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        exclude: flags.list("exclude"),
        sources,
        heredocs,
        dest,
    })
}

/// A value that expansion would change is refused (EXP-51).
fn check_from(line: &Line<'_>, from: &Word) -> Result<(), Fault> {
    let expanded = Expander::new(line.escape).word(&from.text, &|_| None);
    if expanded.is_ok_and(|expanded| expanded.text == from.text && expanded.unset.is_empty()) {
        return Ok(());
    }
    let message = "variable expansion is not supported for --from, define a new stage with FROM \
                   using ARG from global scope as a workaround";
    let fault = Fault::plain("copy-from", message).at(from.span, "");
    Err(fault.help("write FROM $IMAGE AS name above and --from=name here"))
}
