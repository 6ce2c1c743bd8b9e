//! ENV and LABEL (LEX-88 to LEX-92, ENV-01, LABEL-01).

use super::{Fault, Line, shown, words};
use crate::ast::{KeyValues, Kind};
use crate::quote::go_quote;

/// `ENV`.
pub(super) fn env(line: &Line<'_>) -> Result<Kind, Fault> {
    pairs(line).map(Kind::Env)
}

/// `LABEL`.
pub(super) fn label(line: &Line<'_>) -> Result<Kind, Fault> {
    pairs(line).map(Kind::Label)
}

/// Whether the arguments have one of the two forms.
pub(super) fn check_form(line: &Line<'_>) -> Result<(), Fault> {
    raw_pairs(line).map(|_| ())
}

fn pairs(line: &Line<'_>) -> Result<KeyValues, Fault> {
    let (pairs, is_old_form) = raw_pairs(line)?;
    line.no_flags()?;
    if pairs.is_empty() {
        return Err(line.wrong_arguments(format!("{} requires at least one argument", line.name)));
    }
    if let Some((key, _)) = pairs.iter().find(|(key, _)| key.is_empty()) {
        let message = format!("{} names can not be blank", line.name);
        return Err(Fault::new("arguments", message).at(key.start..key.end + 1, ""));
    }
    let pairs = pairs.into_iter().map(|(key, value)| (line.word(key), line.word(value)));
    Ok(KeyValues { pairs: pairs.collect(), legacy: is_old_form })
}

/// The pairs, and whether they are in the old form.
fn raw_pairs(line: &Line<'_>) -> Result<(Pairs, bool), Fault> {
    let words = words::split_quoted(line.args(), line.escape);
    let is_old_form = words.first().is_some_and(|first| !line.args()[first.clone()].contains('='));
    let pairs = if is_old_form { old_form(line)? } else { new_form(line, &words)? };
    Ok((pairs, is_old_form))
}

type Pairs = Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>;

/// The first word and the untouched rest.
fn old_form(line: &Line<'_>) -> Result<Pairs, Fault> {
    let args = line.args();
    let key_end = args.find(words::is_blank).unwrap_or(args.len());
    let value = args[key_end..].trim_start_matches(words::is_blank);
    if value.is_empty() {
        let message = format!("{} must have two arguments", line.name);
        let fault = Fault::plain("arguments", message).at(line.args.clone(), "");
        return Err(fault.help(format!("write {} NAME=VALUE", line.name)));
    }
    Ok(vec![(line.in_args(&(0..key_end)), line.in_args(&(args.len() - value.len()..args.len())))])
}

/// `name=value` words.
fn new_form(line: &Line<'_>, words: &[std::ops::Range<usize>]) -> Result<Pairs, Fault> {
    let mut pairs = Vec::with_capacity(words.len());
    for range in words.iter().map(|range| line.in_args(range)) {
        let word = line.text(&range);
        let Some(sign) = word.find('=') else {
            let message = format!(
                "Syntax error - can't find = in {}. Must be of the form: name=value",
                go_quote(&shown(word))
            );
            let fault = Fault::plain("arguments", message).at(range, "no = here");
            return Err(fault.help("a value with blanks needs quotes"));
        };
        let sign = range.start + sign;
        pairs.push((range.start..sign, sign + 1..range.end));
    }
    Ok(pairs)
}
