//! Words of a line as the search for heredocs sees them.
//!
//! The escape character is always a backslash (LEX-47), values mean nothing (LEX-111), and blanks behind `<<` do not
//! end a word (LEX-112). Substitutions are read all the same: one that the expander would refuse ends the search.

use std::ops::Range;

use crate::expand::name_length;

/// How deep substitutions may nest; more end the search.
const DEPTH_MAX: usize = 200;

/// The words of a line that could be heredocs; `None` when a quote or a substitution is broken (LEX-109).
///
/// Words with a substitution that has a modifier are left out: they are never heredocs.
pub(super) fn words(line: &str) -> Option<Vec<Range<usize>>> {
    let mut scan = Scan { text: line, at: 0, has_modifier: false };
    let mut words = Vec::new();
    loop {
        let rest = &line[scan.at..];
        scan.at = line.len() - rest.trim_start().len();
        if scan.at == line.len() {
            return Some(words);
        }
        let start = scan.at;
        scan.has_modifier = false;
        while scan.peek().is_some_and(|c| !c.is_whitespace()) {
            scan.unit(0)?;
        }
        if !scan.has_modifier {
            words.push(start..scan.at);
        }
    }
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    /// The word has a substitution with a modifier.
    has_modifier: bool,
}

impl Scan<'_> {
    /// Passes over what cannot be cut: a quoted part, an escaped character, a substitution, `<<` with the blanks behind
    /// it, or one character.
    fn unit(&mut self, depth: usize) -> Option<()> {
        match self.next()? {
            '\'' => self.at += self.text[self.at..].find('\'')? + 1,
            '"' => self.double_quoted(depth)?,
            '\\' => {
                self.next();
            }
            '$' => self.dollar(depth)?,
            '<' if self.peek() == Some('<') => {
                let rest = &self.text[self.at + 1..];
                self.at = self.text.len() - rest.trim_start_matches([' ', '\t', '\r']).len();
            }
            _ => {}
        }
        Some(())
    }

    fn double_quoted(&mut self, depth: usize) -> Option<()> {
        loop {
            match self.next()? {
                '"' => return Some(()),
                '$' => self.dollar(depth)?,
                '\\' if matches!(self.peek(), Some('"' | '$' | '\\')) => self.at += 1,
                _ => {}
            }
        }
    }

    /// Behind a `$`.
    fn dollar(&mut self, depth: usize) -> Option<()> {
        if self.peek() != Some('{') {
            self.name();
            return Some(());
        }
        self.at += 1;
        if depth == DEPTH_MAX || matches!(self.peek()?, '{' | '}' | ':') {
            return None;
        }
        self.name();
        match self.next()? {
            '}' => return Some(()),
            '+' | '-' | '?' | '#' | '%' => self.until('}', depth + 1)?,
            ':' if !matches!(self.next()?, '#' | '%') => self.until('}', depth + 1)?,
            '/' => {
                if self.peek() == Some('/') {
                    self.at += 1;
                }
                self.until('/', depth + 1)?;
                self.until('}', depth + 1)?;
            }
            _ => return None,
        }
        self.has_modifier = true;
        Some(())
    }

    fn until(&mut self, stop: char, depth: usize) -> Option<()> {
        while self.peek()? != stop {
            self.unit(depth)?;
        }
        self.at += stop.len_utf8();
        Some(())
    }

    fn name(&mut self) {
        self.at += name_length(&self.text[self.at..]);
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
}
