//! What developers run on the source itself. Owns the rules that a program can check; knows nothing of building images.

#![forbid(unsafe_code)]

mod coverage;
mod crates;
mod lines;
mod tree;
mod walk;

use std::path::Path;

pub use coverage::write as coverage;
pub use tree::SourceFile;
pub use walk::walk;

/// A rule that the source breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path below the top of the tree.
    pub path: String,
    /// Line, counted from 1; 0 for the whole file.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks the whole tree below `top`: sizes, words, order of crates (rules of ARCHITECTURE.md and CONTRIBUTING.md),
/// and that each behaviour has its case.
///
/// # Errors
/// When the tree cannot be read or cargo does not answer.
pub fn tidy(top: &Path) -> std::io::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in tree::read(top)? {
        findings.extend(lines::check(&file));
    }
    findings.extend(crates::check(top)?);
    findings.extend(coverage::check(top)?);
    findings.sort();
    Ok(findings)
}
