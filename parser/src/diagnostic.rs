//! What the parser and the planner have to say about a Dockerfile.

use crate::{SourceText, Span};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A build check's finding; the build goes on.
    Warning,
    /// The build cannot be made.
    Error,
}

/// A finding about a user's file, with the places it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable name: `unknown-instruction`, or a build check's name such as `JSONArgsRecommended`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// One sentence with BuildKit's key words, lower case, no full stop.
    pub message: String,
    /// The text that the labels point into; `None` when there is no file to show.
    pub source: Option<SourceText>,
    /// Places; the first one is where the problem is. The lines of the *first* label's span are
    /// what BuildKit would name (whole instruction); narrower labels follow.
    pub labels: Vec<Label>,
    /// What to do next.
    pub help: Option<String>,
}

/// A place and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; may be empty.
    pub text: String,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(
        code: &'static str,
        message: impl Into<String>,
        source: &SourceText,
        span: Span,
    ) -> Diagnostic {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            source: Some(source.clone()),
            labels: vec![Label { span, text: String::new() }],
            help: None,
        }
    }

    /// The same finding with a word on what to do.
    pub fn with_help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// The same finding with one more place, put first into the underlining but not first in the
    /// list.
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }
}
