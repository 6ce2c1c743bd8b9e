//! Places in a source text.

use std::sync::Arc;

/// A text that people wrote, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Name as people know it, for example `Dockerfile` or `docker/app.Dockerfile`.
    pub name: Arc<str>,
    /// The text. Bytes that are not UTF-8 were replaced when it was read.
    pub text: Arc<str>,
}

/// A half-open range of bytes in a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

/// First and last line of something, counted from 1, both included (LEX-13, LEX-14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineRange {
    /// First line.
    pub first: u32,
    /// Last line.
    pub last: u32,
}

impl SourceText {
    /// Names a text.
    pub fn new(name: &str, text: &str) -> SourceText {
        SourceText { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte, both counted from 1; the column counts characters.
    pub fn position(&self, offset: u32) -> (u32, u32) {
        let offset = (offset as usize).min(self.text.len());
        let before = &self.text.as_bytes()[..offset];
        let line = before.iter().filter(|b| **b == b'\n').count() as u32 + 1;
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() as u32 + 1;
        (line, column)
    }

    /// The lines that a span touches.
    pub fn lines(&self, span: Span) -> LineRange {
        let first = self.position(span.start).0;
        let last = self.position(span.end.max(span.start + 1) - 1).0;
        LineRange { first, last: last.max(first) }
    }
}

impl Span {
    /// Makes a span from byte offsets.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}
