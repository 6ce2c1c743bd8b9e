//! Dockerfile text to a tree, with the place of every part.
//!
//! Owns the language's syntax: lines, comments, directives, heredocs, flags, words, and the rules
//! of expansion. Refuses to know files, registries and what a stage means; it does no I/O and
//! returns a tree and diagnostics for every input.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod ast;
mod diagnostic;
mod directives;
pub mod expand;
mod json;
mod lines;
mod lint;
mod parse;
mod quote;
mod span;
mod suggest;
mod syntax;

pub use diagnostic::{Diagnostic, Label, Severity};
pub use expand::{ExpandError, Expanded, ExpandedWords, Expander};
pub use lint::{CheckError, CheckOptions};
pub use parse::{Parse, parse, parse_trigger};
pub use quote::go_quote;
pub use span::{LineRange, SourceText, Span};
pub use suggest::{did_you_mean, suggest};
pub use syntax::{CsvError, csv_fields};
