//! ARG (ARG-01, LEX-66).

use super::{Fault, Line, words};
use crate::ast::{Arg, Kind};

/// `ARG NAME[=default] …`; leading `--x` words are dropped without a word.
pub(super) fn arg(line: &Line<'_>) -> Result<Kind, Fault> {
    let words = words::split_quoted(line.args(), line.escape);
    if words.is_empty() {
        return Err(line.wrong_arguments("ARG requires at least one argument".to_owned()));
    }
    let mut items = Vec::with_capacity(words.len());
    for range in words.iter().map(|range| line.in_args(range)) {
        let Some(sign) = line.text(&range).find('=') else {
            items.push((line.word(range), None));
            continue;
        };
        let sign = range.start + sign;
        if sign == range.start {
            return Err(Fault::new("arguments", "ARG names can not be blank").at(range, ""));
        }
        items.push((line.word(range.start..sign), Some(line.word(sign + 1..range.end))));
    }
    Ok(Kind::Arg(Arg { items }))
}
