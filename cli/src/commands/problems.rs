//! How problems of a Dockerfile are told, by a build as by `--call`.

use engine::BuildError;
use parser::Diagnostic;

use super::{Failure, say, warn};
use crate::args::BuildCommand;
use crate::render::{Display, finding_status};

/// Says what checks found in a build (LINT-02).
pub(super) fn warn_of(command: &BuildCommand, findings: &[Diagnostic]) {
    for finding in findings.iter().filter(|_| !command.quiet) {
        let line = finding.source.as_ref().zip(finding.labels.first());
        let line = line.map_or(0, |(source, label)| source.lines(label.span).first);
        let short = format!("{}: {} (line {line})", finding.code, finding.message);
        match command.display {
            Display::RawJson => say(&format!("{}\n", finding_status(finding, &short))),
            _ => warn(&short),
        }
    }
}

/// The sentence that tools look for (spec section 11).
pub(super) fn failed_to_solve(error: BuildError) -> Failure {
    if error.kind() == engine::BuildErrorKind::Cancelled {
        return error.into();
    }
    let message = format!("failed to solve: {error}");
    error.saying(message).into()
}
