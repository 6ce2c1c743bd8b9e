//! Where an instruction stands, for diagnostics and origins.

use parser::{Diagnostic, Severity, SourceText, Span};

/// What ends lowering: the one thing that is wrong. Boxed, since it is large and rare.
pub(crate) type Fail = Box<Diagnostic>;

/// An error that no line of the Dockerfile is to blame for.
pub(crate) fn nowhere(code: &'static str, message: impl Into<String>) -> Fail {
    Box::new(Diagnostic {
        code,
        severity: Severity::Error,
        message: message.into(),
        source: None,
        labels: Vec::new(),
        help: None,
    })
}

/// The place that an instruction's errors are reported at. A trigger has the place of the FROM line that set it off.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) source: SourceText,
    pub(crate) span: Span,
    /// Text of the ONBUILD trigger.
    pub(crate) trigger: Option<String>,
    /// The file's escape character. A trigger is split into words with a backslash, but its words are expanded with
    /// this one (ONB-09).
    pub(crate) escape: char,
    /// Value of the `# check=` comment above the instruction (LEX-56).
    pub(crate) check: Option<String>,
}

impl Site {
    /// An error at this place.
    pub(crate) fn error(&self, code: &'static str, message: impl Into<String>) -> Fail {
        let mut diagnostic = Diagnostic::error(code, message, &self.source, self.span);
        if let Some(trigger) = &self.trigger {
            diagnostic.labels[0].text = format!("in the base's trigger `ONBUILD {trigger}`");
        }
        Box::new(diagnostic)
    }

    /// An error with the part of the instruction that is wrong.
    pub(crate) fn error_in(
        &self,
        code: &'static str,
        message: impl Into<String>,
        part: Span,
    ) -> Fail {
        self.narrowed(self.error(code, message), part)
    }

    /// An error that is about a part of the instruction, unless it knows a part itself. A trigger's words stand in no
    /// file.
    pub(crate) fn narrowed(&self, fail: Fail, part: Span) -> Fail {
        match self.trigger.is_some() || part == Span::default() || fail.labels.len() != 1 {
            true => fail,
            false => Box::new(fail.with_label(part, "")),
        }
    }
}
