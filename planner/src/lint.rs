//! Build checks: advice on a Dockerfile that can be built (spec section 9).
//!
//! Owns the list of rules, which of them are wanted, and what they have found. A rule is a function in a module below
//! that looks at facts and says what it found; the facts come from whoever reads the file and lowers it. Refuses to
//! stop anything: `check=error=true` is for the caller to obey, by [`Findings::violation`].

mod file;
mod from;
mod instruction;
mod rules;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};

use parser::{CheckOptions, Diagnostic, Parse, Severity, SourceText};

use crate::LowerRequest;
use crate::site::{Fail, Site, nowhere};

pub(crate) use file::whole;
pub(crate) use from::{base_platform, default_names, platform_flag, undeclared_arguments};
pub use instruction::is_secret;
pub(crate) use instruction::{
    Said, copied_from_context, exposed_port, instruction, relative_workdir, secret_key,
    undefined_variables,
};
pub use rules::Rule;

/// What the rules have found so far, in a file and all of its platforms. Made before the outline and kept by the
/// caller, so findings are there also when something is wrong later (LINT-09).
#[derive(Debug)]
pub struct Findings {
    options: CheckOptions,
    found: RefCell<Vec<Diagnostic>>,
    /// How many of them are from other platforms, where the same would be found again.
    from_other_platforms: Cell<usize>,
}

impl Findings {
    /// Begins with what is found by reading alone. In a file with mistakes only what stands before the first one is
    /// looked at.
    ///
    /// # Errors
    /// The options of the `check` directive, or of the build argument BUILDKIT_DOCKERFILE_CHECK in its place (LINT-06),
    /// are not understood (LEX-54).
    pub fn new(
        parse: &Parse,
        source: &SourceText,
        request: &LowerRequest,
    ) -> Result<Findings, Vec<Diagnostic>> {
        let options = options(parse, source, request).map_err(|fail| vec![*fail])?;
        let findings =
            Findings { options, found: RefCell::default(), from_other_platforms: Cell::new(0) };
        findings.take_from_parser(&parse.diagnostics);
        file::read(&findings, parse, source);
        Ok(findings)
    }

    /// All findings from the top of the file to its end (CALL-03).
    pub fn into_list(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|finding| finding.labels.first().map(|label| label.span.start));
        found
    }

    /// The error that findings are where `check=error=true` asks for it (LINT-01).
    pub fn violation(&self) -> Option<Diagnostic> {
        let found = self.found.borrow();
        if !self.options.error || found.is_empty() {
            return None;
        }
        let mut rules: Vec<&str> = found.iter().map(|finding| finding.code).collect();
        rules.sort_unstable();
        rules.dedup();
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        let mut violation = *nowhere("lint-violation", message); // ERR-11
        // Only the first place: what else there is to see, the findings themselves say.
        let placed = found.iter().filter(|finding| finding.source.is_some());
        let first = placed
            .filter_map(|finding| Some((finding, finding.labels.first()?)))
            .min_by_key(|(_, label)| label.span.start);
        if let Some((finding, label)) = first {
            violation.source.clone_from(&finding.source);
            violation.labels = vec![label.clone()];
        }
        Some(violation)
    }

    /// From now on another platform is looked at: what it has in common with earlier ones is said once (LINT-10).
    pub(crate) fn next_platform(&self) {
        self.from_other_platforms.set(self.found.borrow().len());
    }

    /// Notes what a rule has found at an instruction, unless the file says that the rule is not wanted, or a comment
    /// above the instruction does (LEX-56).
    fn add(&self, rule: Rule, message: String, site: &Site) {
        // A comment that is no list of options is an ordinary comment.
        let own = site.check.as_deref().filter(|_| rule.is_about_one_instruction());
        let own = own.and_then(|text| CheckOptions::parse(text).ok());
        if !self.wants(rule, own.as_ref()) {
            return;
        }
        let finding = *site.error(rule.name(), message);
        self.push(Diagnostic { severity: Severity::Warning, ..finding });
    }

    fn wants(&self, rule: Rule, own: Option<&CheckOptions>) -> bool {
        let name = rule.name();
        let mut both = [Some(&self.options), own].into_iter().flatten();
        match rule.is_experimental() {
            true => both.any(|options| options.wants_experimental(name)), // LINT-05
            false => !both.any(|options| options.skips(name)),
        }
    }

    /// The parser has the one rule on what is no part of an instruction.
    fn take_from_parser(&self, diagnostics: &[Diagnostic]) {
        let warnings = diagnostics.iter().filter(|found| found.severity == Severity::Warning);
        for warning in warnings.filter(|warning| !self.options.skips(warning.code)) {
            self.push(warning.clone());
        }
    }

    fn push(&self, finding: Diagnostic) {
        let mut found = self.found.borrow_mut();
        if !found[..self.from_other_platforms.get()].contains(&finding) {
            found.push(finding);
        }
    }
}

/// What the `check` directive says, or the build argument in its place (LINT-06).
fn options(
    parse: &Parse,
    source: &SourceText,
    request: &LowerRequest,
) -> Result<CheckOptions, Fail> {
    const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";
    let known = "the options are skip=RULE,RULE… or skip=all, experimental=RULE,RULE… or \
                 experimental=all, error=true; a semicolon between them";
    let fail = |mut fail: Fail| {
        fail.help = Some(known.to_owned());
        fail
    };
    if let Some(text) = request.build_arg(ARGUMENT) {
        return CheckOptions::parse_argument(text).map_err(|error| {
            let message = format!("failed to parse build-arg:{ARGUMENT}: {error}");
            fail(nowhere("check-options", message))
        });
    }
    let Some(word) = &parse.dockerfile.directives.check else {
        return Ok(CheckOptions::default());
    };
    CheckOptions::parse(&word.text).map_err(|error| {
        let message = format!("failed to parse check options: {error}"); // ERR-10
        fail(Box::new(Diagnostic::error("check-options", message, source, word.span)))
    })
}
