//! ONBUILD: an instruction kept as text (ONB-01, ONB-02, LEX-122).

use super::{Fault, FoundHeredoc, HeredocWord, Line, flags, heredoc, words};
use crate::ast::{Kind, Word};

/// `ONBUILD`.
pub(super) fn onbuild(line: &Line<'_>, found: &[FoundHeredoc<'_>]) -> Result<Kind, Fault> {
    if line.args.is_empty() {
        return Err(line.wrong_arguments("ONBUILD requires at least one argument".to_owned()));
    }
    line.no_flags()?;
    let args = line.args();
    let keyword_end = args.find(words::is_blank).unwrap_or(args.len());
    let message = match args[..keyword_end].to_uppercase().as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        "FROM" => "FROM isn't allowed as an ONBUILD trigger",
        "MAINTAINER" => "MAINTAINER isn't allowed as an ONBUILD trigger",
        _ => {
            let text = heredoc::script(args, found);
            return Ok(Kind::Onbuild(Word { text, span: line.place(&line.args) }));
        }
    };
    Err(Fault::new("onbuild", message).at(line.in_args(&(0..keyword_end)), ""))
}

/// The heredocs of the inner instruction.
pub(super) fn heredocs(args: &str, offset: usize, escape: char) -> Vec<HeredocWord> {
    let keyword_end = args.find(words::is_blank).unwrap_or(args.len());
    if !matches!(args[..keyword_end].to_uppercase().as_str(), "RUN" | "COPY" | "ADD") {
        return Vec::new();
    }
    let (_, start) = flags::take(args, keyword_end, escape);
    let inner = args[start..].trim_start();
    heredoc::find(inner, offset + args.len() - inner.len())
}
