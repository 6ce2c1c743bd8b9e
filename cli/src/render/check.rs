//! The report of `--check` in docker's layout (spec CALL-02).

use parser::Diagnostic;
use planner::Rule;

use super::error::excerpt;
use super::mask::masked;
use super::plain_text;

/// Lays findings out.
pub(crate) fn check_report(findings: &[Diagnostic]) -> String {
    let mut text = match findings.len() {
        0 => return "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        n => format!("Check complete, {n} warnings have been found!\n"),
    };
    for finding in findings {
        text.push_str(&format!("\nWARNING: {}", finding.code));
        if let Some(url) = Rule::named(finding.code).and_then(Rule::url) {
            text.push_str(&format!(" - {url}"));
        }
        text.push_str(&format!("\n{}\n", plain_text(&masked(&finding.message))));
        if let (Some(source), Some(label)) = (&finding.source, finding.labels.first()) {
            text.push_str(&excerpt(source, source.lines(label.span)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use parser::{SourceText, Span};

    #[test]
    fn findings_have_docker_s_layout() {
        let source = SourceText::new("Dockerfile", "FROM scratch\nCMD echo\n");
        let message = "JSON arguments recommended for CMD";
        let finding = Diagnostic::error("JSONArgsRecommended", message, &source, Span::new(13, 21));
        insta::assert_snapshot!(check_report(&[finding]), @r"
        Check complete, 1 warning has been found!

        WARNING: JSONArgsRecommended - https://docs.docker.com/go/dockerfile/rule/json-args-recommended/
        JSON arguments recommended for CMD
        Dockerfile:2
        --------------------
           1 |     FROM scratch
           2 | >>> CMD echo
           3 |
        --------------------
        ");
        assert_eq!(check_report(&[]), "Check complete, no warnings found.\n");
    }
}
