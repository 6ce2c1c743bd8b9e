//! Ordered rules with exceptions: ignore files and `--exclude` (IGN-04 to IGN-24, COPY-100 to COPY-105).

use crate::clean::clean;
use crate::program::{Program, compile};
use crate::{PatternError, Wildcard};

/// States that counts like `{1000}` may make in all patterns together: each costs time at each byte of each path. Text
/// without counts makes no more states than it is long.
const REPEATED_MAX: usize = 1 << 14;

/// An ordered list of patterns; the last one that matches a path, or a directory above it, decides (IGN-13).
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    /// `!`: paths that match are not hidden.
    exception: bool,
    program: Program,
    /// The cleaned text without `!`.
    text: Vec<u8>,
}

/// What the rules said of a directory; needed to judge what lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// For each rule whether it matched the directory or one above it; empty at the root.
    rules: Vec<bool>,
    hidden: bool,
}

impl Matched {
    /// Whether the path itself is hidden. A hidden directory may have visible things below (IGN-14).
    pub fn is_hidden(&self) -> bool {
        self.hidden
    }
}

/// Reader of ignore files.
pub struct IgnoreFile;

impl IgnoreFile {
    /// Reads an ignore file: one pattern in a line, `#` in the first column for comments (IGN-04, IGN-05).
    pub fn parse(text: &[u8]) -> Result<Rules, PatternError> {
        Rules::new(lines(text).map(|(_, line)| normal_line(line)))
    }

    /// The line that hides a path: its number, counted from 1, and what it says. `None` when the path is not hidden, or
    /// the text is no ignore file.
    pub fn hiding_line<'t>(text: &'t [u8], path: &[u8]) -> Option<(usize, &'t [u8])> {
        let rule = IgnoreFile::parse(text).ok()?.hiding_rule(path)?;
        lines(text).nth(rule)
    }
}

/// The lines that are patterns, with their numbers.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|b| *b == b'\n').enumerate();
    let lines = lines.filter(|(_, line)| !line.starts_with(b"#"));
    lines.map(|(at, line)| (at + 1, trim(line))).filter(|(_, line)| !line.is_empty())
}

/// Cleans the pattern of an ignore file's line behind its `!`, and makes it relative (IGN-06, IGN-16).
fn normal_line(line: &[u8]) -> Vec<u8> {
    let (mark, pattern) = match line.strip_prefix(b"!") {
        Some(rest) => (b"!".as_slice(), trim(rest)),
        None => (b"".as_slice(), line),
    };
    if pattern.is_empty() {
        return mark.to_vec();
    }
    let pattern = clean(pattern);
    let relative = match pattern.strip_prefix(b"/") {
        Some(rest) if !rest.is_empty() => rest,
        _ => &pattern,
    };
    [mark, relative].concat()
}

/// White space at both ends goes, Unicode's included.
fn trim(line: &[u8]) -> &[u8] {
    match std::str::from_utf8(line) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => line.trim_ascii(),
    }
}

impl Rules {
    /// Reads patterns as `--exclude` has them: cleaned, but a leading slash stays and matches nothing (COPY-101).
    pub fn new<P: AsRef<[u8]>>(
        patterns: impl IntoIterator<Item = P>,
    ) -> Result<Rules, PatternError> {
        let mut rules = Vec::new();
        let mut room = REPEATED_MAX;
        for pattern in patterns {
            let pattern = trim(pattern.as_ref());
            if pattern.is_empty() {
                continue;
            }
            let pattern = clean(pattern);
            let (exception, text) = match pattern.strip_prefix(b"!") {
                Some(b"") => return Err(PatternError::EmptyException),
                Some(rest) => (true, rest.to_vec()),
                None => (false, pattern),
            };
            Wildcard::new(&text)?;
            let program = compile(&text, &mut room).ok_or_else(|| PatternError::syntax(&text))?;
            rules.push(Rule { exception, program, text });
        }
        Ok(Rules(rules))
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some rule is an exception.
    pub fn has_exceptions(&self) -> bool {
        self.0.iter().any(|rule| rule.exception)
    }

    /// Whether a rule hides the root with all that is in it: `*`, `**` or `**/*` (LINT-38).
    pub fn hide_everything(&self) -> bool {
        let names_all = |rule: &Rule| matches!(&*rule.text, b"*" | b"**" | b"**/*");
        self.0.iter().any(|rule| !rule.exception && names_all(rule))
    }

    /// Judges a path of which the directory above has been judged. The root is judged by `Matched::default()`.
    pub fn judge(&self, parent: &Matched, path: &[u8]) -> Matched {
        let mut judged = Matched { rules: vec![false; self.0.len()], hidden: false };
        for (index, rule) in self.0.iter().enumerate() {
            let inherited = parent.rules.get(index).copied().unwrap_or(false);
            // A rule that could not change the answer is not asked, and then does not count below either.
            let asked = rule.exception == judged.hidden;
            if inherited || (asked && rule.program.matches(path)) {
                judged.rules[index] = true;
                judged.hidden = !rule.exception;
            }
        }
        judged
    }

    /// Whether a path is hidden, judged from the root on.
    pub fn is_ignored(&self, path: &[u8]) -> bool {
        self.judge_whole(path).hidden
    }

    /// The number of the rule that hides a path, counted from 0: the last one that counted.
    fn hiding_rule(&self, path: &[u8]) -> Option<usize> {
        let judged = self.judge_whole(path);
        judged.rules.iter().rposition(|matched| *matched).filter(|_| judged.hidden)
    }

    fn judge_whole(&self, path: &[u8]) -> Matched {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let parent = ends.fold(Matched::default(), |parent, end| self.judge(&parent, &path[..end]));
        self.judge(&parent, path)
    }

    /// Whether an exception could match something below a directory; if not, a hidden directory need not be read.
    pub fn may_have_exception_below(&self, dir: &[u8]) -> bool {
        self.0.iter().filter(|rule| rule.exception).any(|rule| may_match_below(&rule.text, dir))
    }

    /// Whether any rule, exception or not, could match something below a directory.
    pub fn may_match_below(&self, dir: &[u8]) -> bool {
        self.0.iter().any(|rule| may_match_below(&rule.text, dir))
    }
}

/// Compares component by component; wildcards may stand for anything. A side of a bar may match anywhere, and classes,
/// those written with a letter included, match slashes, too.
fn may_match_below(pattern: &[u8], dir: &[u8]) -> bool {
    if pattern.contains(&b'|') {
        return true;
    }
    let mut patterns = pattern.split(|b| *b == b'/');
    for component in dir.split(|b| *b == b'/').filter(|c| !c.is_empty()) {
        match patterns.next() {
            None => return false,
            Some(pattern) if pattern.windows(2).any(|pair| pair == b"**") => return true,
            Some(pattern) if pattern.iter().any(|b| b"[\\".contains(b)) => return true,
            Some(pattern) if pattern.iter().any(|b| b"*?^{".contains(b)) => {}
            Some(pattern) if pattern != component => return false,
            Some(_) => {}
        }
    }
    patterns.next().is_some()
}

#[cfg(test)]
mod tests;
