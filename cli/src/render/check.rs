//! The report of `--check` in docker's layout (spec CALL-02).

use parser::Diagnostic;

use super::error::excerpt;
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
        if let Some(url) = rule_url(finding.code) {
            text.push_str(&format!(" - {url}"));
        }
        text.push_str(&format!("\n{}\n", plain_text(&finding.message)));
        if let (Some(source), Some(label)) = (&finding.source, finding.labels.first()) {
            text.push_str(&excerpt(source, source.lines(label.span)));
        }
    }
    text
}

/// Where a rule is explained (LINT-03).
fn rule_url(rule: &str) -> Option<String> {
    const WITHOUT: &str = "InvalidBaseImagePlatform";
    let kebab = kebab_case(rule);
    (rule != WITHOUT).then(|| format!("https://docs.docker.com/go/dockerfile/rule/{kebab}/"))
}

fn kebab_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut kebab = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_lower = at > 0 && letters[at - 1].is_lowercase();
        let before_lower = at > 0 && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_lower || before_lower) {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
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

    #[test]
    fn rules_have_their_own_address() {
        let names = ["JSONArgsRecommended", "FromAsCasing", "UndefinedVar"].map(kebab_case);
        assert_eq!(names, ["json-args-recommended", "from-as-casing", "undefined-var"]);
    }
}
