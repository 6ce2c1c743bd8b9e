//! The wildcard patterns of `${x#p}`, `${x%p}` and `${x/p/r}` (EXP-13 to EXP-18, EXP-24, EXP-25).
//!
//! `*` is any run and `?` one character, both without newlines; everything else stands for itself.
//! A pattern is cut at its stars; between two stars the earliest place is always right, so nothing
//! backtracks. The work is limited: patterns come from files that nobody has checked.

use std::cell::Cell;

/// Said when a match is given up.
pub(super) const TOO_SLOW: &str = "pattern and value are too long to match";

/// Comparisons of characters that one match may cost.
const WORK_MAX: u64 = 20_000_000;

/// What one place of a pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Char(char),
    AnyChar,
}

#[derive(Debug)]
pub(super) struct Pattern {
    /// The parts between the stars; one more than there are stars.
    parts: Vec<Vec<Token>>,
}

impl Pattern {
    /// Reads a pattern; gives back the escape sequence that is not allowed, if there is one. The escape character is a
    /// backslash in every file (EXP-17).
    pub(super) fn new(text: &str) -> Result<Pattern, String> {
        let mut parts = vec![Vec::new()];
        let mut after_star = false;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' if after_star => continue,
                '*' => {
                    parts.push(Vec::new());
                    after_star = true;
                    continue;
                }
                '?' => Token::AnyChar,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '}' | '/' | '\\')) => Token::Char(c),
                    Some(c) => return Err(format!("\\{c}")),
                    None => return Err("\\".to_owned()),
                },
                c => Token::Char(c),
            };
            after_star = false;
            parts.last_mut().expect("there is always a part").push(token);
        }
        Ok(Pattern { parts })
    }

    /// The value without the prefix that matches; `None` when that takes too long.
    pub(super) fn trim_prefix(&self, value: &str, longest: bool) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let end = Search::new(&self.parts, &chars).match_at(0, longest)?;
        Some(chars[end.unwrap_or(0)..].iter().collect())
    }

    /// The value without the suffix that matches; `None` when that takes too long.
    pub(super) fn trim_suffix(&self, value: &str, longest: bool) -> Option<String> {
        let chars: Vec<char> = value.chars().rev().collect();
        let mut parts = self.parts.clone();
        parts.reverse();
        parts.iter_mut().for_each(|part| part.reverse());
        let end = Search::new(&parts, &chars).match_at(0, longest)?;
        Some(chars[end.unwrap_or(0)..].iter().rev().collect())
    }

    /// The value with the first match or all matches replaced; `None` when that takes too long or
    /// gets too big.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        all: bool,
        bytes_max: usize,
    ) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let search = Search::new(&self.parts, &chars);
        let mut replaced = String::with_capacity(value.len());
        let (mut copied, mut from) = (0, 0);
        while from <= chars.len() {
            let Some((start, end)) = search.find(from)? else { break };
            replaced.extend(&chars[copied..start]);
            // An empty match directly behind another match does not count.
            if end > copied || start == 0 {
                replaced.push_str(replacement);
            }
            if replaced.len() > bytes_max {
                return None;
            }
            copied = end;
            from = end.max(from + 1);
            if !all {
                break;
            }
        }
        replaced.extend(&chars[copied..]);
        Some(replaced)
    }
}

/// A search in one value. The outer `Option` of its results is `None` when the work was given up.
struct Search<'a> {
    parts: &'a [Vec<Token>],
    value: &'a [char],
    /// For each place where the line ends that it is on.
    line_ends: Vec<usize>,
    work: Cell<u64>,
}

impl<'a> Search<'a> {
    fn new(parts: &'a [Vec<Token>], value: &'a [char]) -> Search<'a> {
        let mut line_ends = vec![value.len(); value.len() + 1];
        for at in (0..value.len()).rev() {
            line_ends[at] = if value[at] == '\n' { at } else { line_ends[at + 1] };
        }
        Search { parts, value, line_ends, work: Cell::new(0) }
    }

    /// The leftmost match from a place on, the longest one there.
    fn find(&self, from: usize) -> Option<Option<(usize, usize)>> {
        // Behind this place, on the same line, what follows the first star was not found.
        let mut hopeless_to = None;
        for start in from..=self.value.len() {
            let Some(end) = self.part_at(&self.parts[0], start)? else { continue };
            if hopeless_to.is_some_and(|to| end <= to) {
                continue;
            }
            match self.rest(end, true)? {
                Some(end) => return Some(Some((start, end))),
                None => hopeless_to = Some(self.line_ends[end]),
            }
        }
        Some(None)
    }

    /// Where a match ends that starts at this place.
    fn match_at(&self, start: usize, longest: bool) -> Option<Option<usize>> {
        match self.part_at(&self.parts[0], start)? {
            Some(end) => self.rest(end, longest),
            None => Some(None),
        }
    }

    /// Matches all parts but the first, each behind a star.
    fn rest(&self, mut at: usize, longest: bool) -> Option<Option<usize>> {
        let Some((last, middle)) = self.parts[1..].split_last() else { return Some(Some(at)) };
        for part in middle {
            match self.first_end(part, at..=self.line_ends[at])? {
                Some(end) => at = end,
                None => return Some(None),
            }
        }
        let starts = at..=self.line_ends[at];
        if longest { self.first_end(last, starts.rev()) } else { self.first_end(last, starts) }
    }

    fn first_end(
        &self,
        part: &[Token],
        starts: impl Iterator<Item = usize>,
    ) -> Option<Option<usize>> {
        for start in starts {
            if let Some(end) = self.part_at(part, start)? {
                return Some(Some(end));
            }
        }
        Some(None)
    }

    fn part_at(&self, part: &[Token], start: usize) -> Option<Option<usize>> {
        let mut work = self.work.get() + 1;
        let matches = part.len() <= self.value.len() - start
            && part.iter().zip(&self.value[start..]).all(|(token, c)| {
                work += 1;
                match token {
                    Token::Char(expected) => expected == c,
                    Token::AnyChar => *c != '\n',
                }
            });
        self.work.set(work);
        (work <= WORK_MAX).then_some(matches.then_some(start + part.len()))
    }
}
