//! Physical lines to logical ones: comments, continuations, heredoc bodies (LEX-01 to LEX-38).
//!
//! Owns where lines begin and end and remembers for each byte of a joined line where it came from.
//! Refuses to know what instructions mean: which heredocs a line has is for its caller to find, who
//! then asks for the bodies.

use std::borrow::Cow;
use std::ops::Range;

use crate::Span;

/// The longest physical line in bytes, without its newline (LEX-04).
pub(crate) const LINE_BYTES_MAX: usize = 65535;

/// Reads a text line by line.
pub(crate) struct Reader<'s> {
    text: &'s str,
    at: usize,
    lines_read: u32,
    /// The escape character; may be changed between two lines.
    pub(crate) escape: char,
    /// Lines that are longer than allowed, in order.
    pub(crate) too_long: Vec<PhysicalLine<'s>>,
}

/// A line as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhysicalLine<'s> {
    /// Its text without the line end.
    pub(crate) text: &'s str,
    /// Offset of its first byte.
    pub(crate) start: usize,
    /// Its number, counted from 1.
    pub(crate) number: u32,
}

/// An instruction's line with its continuations joined.
#[derive(Debug)]
pub(crate) struct LogicalLine<'s> {
    /// The joined text, without white space at both ends (LEX-11). Empty when there are only escape characters up to
    /// the end of the file.
    pub(crate) text: Cow<'s, str>,
    /// The white space that was taken away at its end.
    pub(crate) trailing: String,
    /// From the first byte to the end of the last physical line.
    pub(crate) span: Span,
    /// Number of the first physical line.
    pub(crate) first_line: u32,
    /// Place of the last physical line.
    pub(crate) last_line_span: Span,
    /// Has a blank line between its continuations (LEX-33).
    pub(crate) has_empty_continuation: bool,
    /// The comments above it, newest last (LEX-25).
    pub(crate) comments: Vec<PhysicalLine<'s>>,
    pieces: Vec<Piece>,
}

/// A run of bytes that stands in one physical line.
#[derive(Clone, Copy, Debug)]
struct Piece {
    joined: usize,
    source: usize,
}

/// The lines between a heredoc's line and its terminator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'s> {
    /// The text with all its line ends (LEX-03).
    pub(crate) text: &'s str,
    /// End of the terminator line.
    pub(crate) end: usize,
}

impl<'s> Reader<'s> {
    /// Starts behind the byte-order mark (LEX-01).
    pub(crate) fn new(text: &'s str) -> Reader<'s> {
        let at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        Reader { text, at, lines_read: 0, escape: '\\', too_long: Vec::new() }
    }

    /// The next instruction's line; comments and blank lines before it are passed over.
    pub(crate) fn next_logical(&mut self) -> Option<LogicalLine<'s>> {
        let mut comments = Vec::new();
        loop {
            let line = self.next_physical()?;
            let trimmed = line.text.trim_start();
            if trimmed.starts_with('#') {
                note_comment(&mut comments, line);
            } else if !trimmed.is_empty() {
                return Some(self.join(line, comments));
            }
        }
    }

    /// The lines up to a heredoc's terminator, which is passed over (LEX-106). `Err` when the file
    /// ends before it.
    pub(crate) fn body(
        &mut self,
        name: &str,
        tabs_stripped: bool,
    ) -> Result<Body<'s>, Unterminated> {
        let start = self.at;
        while let Some(line) = self.next_physical() {
            let candidate =
                if tabs_stripped { line.text.trim_start_matches('\t') } else { line.text };
            if candidate.trim_end_matches('\r') == name {
                let text = &self.text[start..line.start];
                return Ok(Body { text, end: line.end() });
            }
        }
        Err(Unterminated)
    }

    /// The next line as it stands; carriage returns before the line end stay in its text.
    pub(crate) fn next_physical(&mut self) -> Option<PhysicalLine<'s>> {
        let start = self.at;
        let rest = &self.text[start..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n');
        let end = length.map_or(self.text.len(), |length| start + length);
        self.at = end + usize::from(length.is_some());
        self.lines_read += 1;
        let line = PhysicalLine { text: &self.text[start..end], start, number: self.lines_read };
        if line.text.len() > LINE_BYTES_MAX {
            self.too_long.push(line);
        }
        Some(line)
    }

    fn join(
        &mut self,
        first: PhysicalLine<'s>,
        comments: Vec<PhysicalLine<'s>>,
    ) -> LogicalLine<'s> {
        let indent = first.text.len() - first.text.trim_start().len();
        let (text, mut continues) = self.cut_continuation(&first.text[indent..]);
        let mut text = Cow::Borrowed(text);
        let start = first.start + indent;
        let mut pieces = vec![Piece { joined: 0, source: start }];
        let mut has_empty_continuation = false;
        let mut last = first;
        while continues {
            let Some(line) = self.next_physical() else { break };
            last = line;
            let trimmed = line.text.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                has_empty_continuation = true;
                continue;
            }
            let (more, goes_on) = self.cut_continuation(line.text);
            pieces.push(Piece { joined: text.len(), source: line.start });
            text.to_mut().push_str(more);
            continues = goes_on;
        }
        let mut joined = LogicalLine {
            text,
            trailing: String::new(),
            span: Span::new(start, last.end().max(last.touched(self.text.len()))),
            first_line: first.number,
            last_line_span: Span::new(last.start, last.end()),
            has_empty_continuation,
            comments,
            pieces,
        };
        joined.trim();
        joined
    }

    /// Cuts a carriage return and a continuation mark off; tells whether there was a mark (LEX-30,
    /// LEX-32).
    fn cut_continuation<'t>(&self, line: &'t str) -> (&'t str, bool) {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }
}

/// The file ended before a heredoc's terminator.
#[derive(Debug)]
pub(crate) struct Unterminated;

/// A bare `#` forgets what was collected (LEX-26).
fn note_comment<'s>(comments: &mut Vec<PhysicalLine<'s>>, line: PhysicalLine<'s>) {
    if line.text.trim_end() == "#" {
        comments.clear();
    } else {
        comments.push(line);
    }
}

impl PhysicalLine<'_> {
    /// Offset behind its last byte, carriage return not counted.
    pub(crate) fn end(&self) -> usize {
        self.start + self.text.strip_suffix('\r').unwrap_or(self.text).len()
    }

    /// The end of a place that has something of the line in it even if it is blank.
    fn touched(&self, text_length: usize) -> usize {
        (self.start + 1).min(text_length)
    }

    /// The place of the whole line.
    pub(crate) fn span(&self) -> Span {
        Span::new(self.start, self.end())
    }
}

impl LogicalLine<'_> {
    /// The place in the file of a range of the joined text.
    pub(crate) fn place(&self, range: &Range<usize>) -> Span {
        let start = self.source_offset(range.start);
        if range.is_empty() {
            return Span::new(start, start);
        }
        Span::new(start, self.source_offset(range.end - 1) + 1)
    }

    fn source_offset(&self, joined: usize) -> usize {
        let next = self.pieces.partition_point(|piece| piece.joined <= joined);
        let piece = self.pieces[next.saturating_sub(1)];
        piece.source + joined.saturating_sub(piece.joined)
    }

    fn trim(&mut self) {
        let end = self.text.trim_end().len();
        self.trailing = self.text[end..].to_owned();
        let start = self.text[..end].len() - self.text[..end].trim_start().len();
        match &mut self.text {
            Cow::Borrowed(text) => *text = &text[start..end],
            Cow::Owned(text) => {
                text.truncate(end);
                text.drain(..start);
            }
        }
        if start > 0 {
            let source = self.source_offset(start);
            self.pieces.retain(|piece| piece.joined > start);
            self.pieces.iter_mut().for_each(|piece| piece.joined -= start);
            self.pieces.insert(0, Piece { joined: 0, source });
        }
    }
}
