//! Which frontend a file asks for (LEX-50 to LEX-53). There is one, built in, that answers to Docker's names for it.
//!
//! Owns the names. Refuses to fetch anything: a frontend of somebody else is a program that we do not run.

use oci::Reference;
use parser::{Diagnostic, Parse, SourceText};

use crate::LowerRequest;
use crate::site::nowhere;

/// The build argument that counts instead of the directive (LEX-52).
const ARGUMENT: &str = "BUILDKIT_SYNTAX";

/// Images that hold the frontend that is built in here.
const OWN: [&str; 2] = ["docker/dockerfile", "docker/dockerfile-upstream"];

/// The same frontend by its name inside BuildKit.
const OWN_INTERNAL: &str = "dockerfile.v0";

/// Refuses a file that is written for another frontend. To be asked before the file's other mistakes: in another
/// language, all of it is one.
///
/// # Errors
/// The name that is not ours, at the directive's line.
pub fn check_frontend(
    parse: &Parse,
    source: &SourceText,
    request: &LowerRequest,
) -> Result<(), Vec<Diagnostic>> {
    let directive = parse.dockerfile.directives.syntax.as_ref();
    let argument = request.build_arg(ARGUMENT).filter(|value| !value.trim().is_empty());
    let Some(value) = argument.or(directive.map(|word| &*word.text)) else { return Ok(()) };
    let name = value.split_whitespace().next().unwrap_or_default(); // LEX-50
    let Some(problem) = problem(name) else { return Ok(()) };
    let error = match directive.filter(|_| argument.is_none()) {
        Some(word) => Diagnostic::error("frontend", problem, source, word.span),
        None => *nowhere("frontend", format!("build argument {ARGUMENT}: {problem}")),
    };
    Err(vec![error.with_help(format!(
        "if it is a Dockerfile all the same: --build-arg {ARGUMENT}={}",
        OWN[0]
    ))])
}

fn problem(name: &str) -> Option<String> {
    if name == OWN_INTERNAL {
        return None;
    }
    match name.parse::<Reference>() {
        Err(error) => Some(format!("failed to parse frontend name {name:?}: {error}")),
        Ok(image) if image.registry() == "docker.io" && OWN.contains(&image.repository()) => None,
        Ok(_) => Some(format!("frontend {name} is not supported, the only one is {}", OWN[0])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::tests::{request, with_args};

    /// The error with the lines that it is at.
    fn check(text: &str, request: &LowerRequest, want: Option<&str>) {
        let source = SourceText::new("Dockerfile", text);
        let result = check_frontend(&parser::parse(&source), &source, request);
        let error = result.err().map(|errors| {
            let place = errors[0].labels.first().map(|label| source.lines(label.span).first);
            format!("{}: {}", place.unwrap_or(0), errors[0].message)
        });
        assert_eq!(error.as_deref(), want, "{text}");
    }

    #[test]
    fn lex_53_names_of_the_one_frontend() {
        let digest = format!("docker/dockerfile:1@sha256:{}", "a".repeat(64));
        for name in [
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1.7-labs",
            "index.docker.io/docker/dockerfile:1",
            "docker/dockerfile-upstream:master",
            "dockerfile.v0",
            "docker/dockerfile:1 with words", // LEX-50
            &digest,
        ] {
            check(&format!("# syntax={name}\nFROM scratch\n"), &request(), None);
        }
        check("FROM scratch\n", &request(), None);
        check("# escape=`\n\n# syntax=a/b\nFROM scratch\n", &request(), None); // LEX-41
    }

    #[test]
    fn lex_53_other_frontends_are_refused() {
        let refused = |line: u32, name: &str| {
            format!("{line}: frontend {name} is not supported, the only one is docker/dockerfile")
        };
        let other = "# escape=`\n# syntax=ghcr.io/a/docker/dockerfile:1 x\nFROM scratch\n";
        check(other, &request(), Some(&refused(2, "ghcr.io/a/docker/dockerfile:1")));
        check("# syntax=dockerfile\n", &request(), Some(&refused(1, "dockerfile")));
        // LEX-51: files of other languages
        check("// syntax=a/b\n{}\n", &request(), Some(&refused(1, "a/b")));
        check("{\n \"syntax\": \"a/b\" }\n", &request(), Some(&refused(2, "a/b")));
        let malformed = "1: failed to parse frontend name \"::\": invalid reference format"; // ERR-09
        check("# syntax=::\nFROM scratch\n", &request(), Some(malformed));
    }

    #[test]
    fn lex_52_the_argument_counts_instead() {
        let own = with_args(&[("BUILDKIT_SYNTAX", "docker/dockerfile:1")]);
        check("# syntax=a/b\nFROM scratch\n", &own, None);
        let other = with_args(&[("BUILDKIT_SYNTAX", "a/b")]);
        let want = "0: build argument BUILDKIT_SYNTAX: frontend a/b is not supported, the only one \
                    is docker/dockerfile";
        check("# syntax=docker/dockerfile\nFROM scratch\n", &other, Some(want));
        let empty = with_args(&[("BUILDKIT_SYNTAX", "")]);
        check("# syntax=docker/dockerfile\nFROM scratch\n", &empty, None);
    }
}
