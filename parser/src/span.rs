//! Places in a source text.

use std::fmt;
use std::sync::{Arc, OnceLock};

/// A text that people wrote, with its name.
#[derive(Clone)]
pub struct SourceText {
    /// Name as people know it, for example `Dockerfile` or `docker/app.Dockerfile`.
    pub name: Arc<str>,
    /// The text. Bytes that are not UTF-8 were replaced when it was read.
    pub text: Arc<str>,
    /// Offsets of the first bytes of all lines but the first, found when they are first asked for.
    line_starts: Arc<OnceLock<Vec<u32>>>,
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
        SourceText { name: name.into(), text: text.into(), line_starts: Arc::default() }
    }

    /// Line and column of a byte, both counted from 1; the column counts characters.
    pub fn position(&self, offset: u32) -> (u32, u32) {
        let offset = (offset as usize).min(self.text.len());
        let starts = self.line_starts();
        let lines_before = starts.partition_point(|start| *start as usize <= offset);
        let line_start = lines_before.checked_sub(1).map_or(0, |last| starts[last] as usize);
        let before = &self.text.as_bytes()[line_start..offset];
        let column = String::from_utf8_lossy(before).chars().count() as u32 + 1;
        (lines_before as u32 + 1, column)
    }

    fn line_starts(&self) -> &[u32] {
        self.line_starts
            .get_or_init(|| self.text.match_indices('\n').map(|(at, _)| at as u32 + 1).collect())
    }

    /// The lines that a span touches.
    pub fn lines(&self, span: Span) -> LineRange {
        let first = self.position(span.start).0;
        let last = self.position(span.end.max(span.start + 1) - 1).0;
        LineRange { first, last: last.max(first) }
    }
}

impl PartialEq for SourceText {
    fn eq(&self, other: &SourceText) -> bool {
        (&self.name, &self.text) == (&other.name, &other.text)
    }
}

impl Eq for SourceText {}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceText { name, text, .. } = self;
        f.debug_struct("SourceText").field("name", name).field("text", text).finish()
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
