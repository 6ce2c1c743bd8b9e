//! Patterns for path names: `.dockerignore`, `--exclude` and the wildcards of COPY.
//!
//! Owns the two dialects that Dockerfiles know: rules with `**` and `!` ([`Rules`], as moby/patternmatcher has them)
//! and single patterns without ([`Wildcard`], Go's `filepath.Match`). Refuses to know files: it compares byte strings,
//! in time proportional to pattern times name, whatever the pattern is.

#![forbid(unsafe_code)]

mod clean;
mod program;
mod rules;
mod units;
mod wildcard;

pub use clean::clean;
pub use rules::{IgnoreFile, Matched, Rules};
pub use wildcard::{Wildcard, has_wildcards};

/// The rules of an ignore file.
pub type IgnoreRules = Rules;

/// The rules of `--exclude` flags.
pub type ExcludeRules = Rules;

/// A pattern could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Malformed brackets, a bad escape (IGN-18, COPY-25).
    #[error("pattern `{pattern}`: syntax error in pattern")]
    Syntax {
        /// The pattern, cleaned.
        pattern: String,
    },
    /// `!` with nothing behind it (IGN-16).
    #[error("illegal exclusion pattern: \"!\"")]
    EmptyException,
}

impl PatternError {
    pub(crate) fn syntax(pattern: &[u8]) -> PatternError {
        PatternError::Syntax { pattern: String::from_utf8_lossy(pattern).into_owned() }
    }
}
