//! ONBUILD: an instruction kept as text (ONB-01, ONB-02, LEX-122).

use super::{Fault, FoundHeredoc, Line, cut_at, heredoc};
use crate::ast::{Kind, Word};

/// `ONBUILD`. Of the inner instruction only the form is checked; whether it exists shows when it is run.
pub(super) fn onbuild(line: &Line<'_>, found: &[FoundHeredoc<'_>]) -> Result<Kind, Fault> {
    let inner = inner(line);
    inner.check_form()?;
    if line.args.is_empty() {
        return Err(line.wrong_arguments("ONBUILD requires at least one argument".to_owned()));
    }
    line.no_flags()?;
    let message = match inner.name.as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        "FROM" => "FROM isn't allowed as an ONBUILD trigger",
        "MAINTAINER" => "MAINTAINER isn't allowed as an ONBUILD trigger",
        _ => {
            // Kept as it is, blanks at its end included.
            let text = format!("{}{}", line.args(), line.logical.trailing);
            let text = heredoc::script(&text, found);
            return Ok(Kind::Onbuild(Word { text, span: line.place(&line.args) }));
        }
    };
    Err(Fault::new("onbuild", message).at(inner.keyword.clone(), ""))
}

/// The instruction that is kept.
pub(super) fn inner<'l>(line: &Line<'l>) -> Line<'l> {
    cut_at(line.logical, line.args.start, line.escape)
}
