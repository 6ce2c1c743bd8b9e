//! Instructions whose argument is the rest of the line: MAINTAINER, STOPSIGNAL, USER, WORKDIR
//! (LEX-80, LEX-93).

use super::{Fault, Line};
use crate::ast::{Kind, Word};

/// `MAINTAINER`.
pub(super) fn maintainer(line: &Line<'_>) -> Result<Kind, Fault> {
    let text = rest_of_line(line)?;
    line.no_flags()?;
    Ok(Kind::Maintainer(text))
}

/// `STOPSIGNAL`; leading `--x` words are dropped without a word (LEX-66).
pub(super) fn stopsignal(line: &Line<'_>) -> Result<Kind, Fault> {
    rest_of_line(line).map(Kind::Stopsignal)
}

/// `USER`.
pub(super) fn user(line: &Line<'_>) -> Result<Kind, Fault> {
    let text = rest_of_line(line)?;
    line.no_flags()?;
    Ok(Kind::User(text))
}

/// `WORKDIR`.
pub(super) fn workdir(line: &Line<'_>) -> Result<Kind, Fault> {
    let text = rest_of_line(line)?;
    line.no_flags()?;
    Ok(Kind::Workdir(text))
}

fn rest_of_line(line: &Line<'_>) -> Result<Word, Fault> {
    if line.args.is_empty() {
        return Err(line.wrong_arguments(format!("{} requires exactly one argument", line.name)));
    }
    Ok(line.word(line.args.clone()))
}
