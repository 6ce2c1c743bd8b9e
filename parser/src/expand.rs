//! Variable expansion of words and heredoc bodies (EXP-01 to EXP-63).
//!
//! Owns the little language of `$x`, `${x:-w}`, quotes and escapes. Refuses to know where values
//! come from: the caller's function is the environment. The subtle thing: a modifier's word is
//! always worked out, even when it is not used (EXP-23), so errors and unset names in it count.

mod pattern;

use std::collections::HashSet;

use crate::quote::go_quote;
use pattern::Pattern;

/// How deep modifier words may nest (EXP-20); more is an error, since the stack is finite.
const DEPTH_MAX: usize = 200;

/// The longest word in bytes: ENV lines that double a value must not eat all memory. No program can be started with
/// more than 128 KiB in one variable.
const WORD_BYTES_MAX: usize = 4 << 20;

/// The longest heredoc body in bytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// How many times the longest result may be looked up and put together on the way, in parts that are not used, too.
const WORK_FACTOR: usize = 4;

/// Expands words with a certain escape character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expander {
    /// The escape character of the file (EXP-34).
    pub escape: char,
}

/// Where values come from: `None` for a variable that is not set.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// An expanded word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The word with values put in, quotes and escapes removed.
    pub text: String,
    /// Names that had a value, in order of first use.
    pub used: Vec<String>,
    /// Names that had no value, in order of first use, also where a default stepped in (LINT-30).
    pub unset: Vec<String>,
}

/// A word expanded and then split at blanks that were not quoted (EXP-45).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpandedWords {
    /// The words; none when everything was blank.
    pub words: Vec<String>,
    /// As [`Expanded::used`].
    pub used: Vec<String>,
    /// As [`Expanded::unset`].
    pub unset: Vec<String>,
}

/// Why a word cannot be expanded; prints like BuildKit (EXP-07).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {}: {reason}", go_quote(.word))]
pub struct ExpandError {
    word: String,
    reason: String,
    offset: usize,
}

impl ExpandError {
    /// The reason alone, such as `X: is not allowed to be unset`.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Offset in the word, in bytes, of what is wrong.
    pub fn offset(&self) -> usize {
        self.offset
    }
}

impl Expander {
    /// An expander for files with this escape character.
    pub fn new(escape: char) -> Expander {
        Expander { escape }
    }

    /// Expands one word, which stays one word (EXP-37).
    ///
    /// # Errors
    /// A substitution that is not allowed, an unclosed quote or brace, `${x:?}` without a value.
    pub fn word(&self, text: &str, env: &Environment<'_>) -> Result<Expanded, ExpandError> {
        let mut out = Output::default();
        let walk = self.walk(text, env, WORD, &mut out)?;
        Ok(Expanded { text: out.text, used: walk.used, unset: walk.unset })
    }

    /// Expands a word and splits the result at blanks that are neither quoted nor escaped.
    ///
    /// # Errors
    /// As [`Expander::word`].
    pub fn words(&self, text: &str, env: &Environment<'_>) -> Result<ExpandedWords, ExpandError> {
        let mut out = Output { split: Some(Split::default()), ..Output::default() };
        let walk = self.walk(text, env, WORD, &mut out)?;
        let words = out.split.map(Split::finish).unwrap_or_default();
        Ok(ExpandedWords { words, used: walk.used, unset: walk.unset })
    }

    fn walk<'a>(
        &self,
        text: &'a str,
        env: &'a Environment<'a>,
        rules: Rules,
        out: &mut Output,
    ) -> Result<Walk<'a>, ExpandError> {
        let mut walk = Walk {
            text,
            at: 0,
            escape: self.escape,
            rules,
            env,
            depth: 0,
            work: 0,
            seen: HashSet::new(),
            used: Vec::new(),
            unset: Vec::new(),
        };
        match walk.until(None, Escapes::Remove, out) {
            Ok(()) => Ok(walk),
            Err(fault) => Err(ExpandError {
                word: shorten(text),
                reason: fault.reason,
                offset: fault.at.min(text.len()),
            }),
        }
    }
}

/// Expands the body of a COPY or ADD heredoc with an unquoted name: quotes are ordinary characters,
/// the escape character is always a backslash (EXP-60 to EXP-62).
///
/// # Errors
/// As [`Expander::word`].
pub fn heredoc_body(body: &str, env: &Environment<'_>) -> Result<Expanded, ExpandError> {
    let mut out = Output::default();
    let walk = Expander::new('\\').walk(body, env, BODY, &mut out)?;
    Ok(Expanded { text: out.text, used: walk.used, unset: walk.unset })
}

/// An error message quotes the word; of a heredoc body a part is enough.
fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 1000;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// What happens to escape characters: patterns keep them, since they mean something there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Remove,
    Keep,
}

/// What is different in words and in bodies.
#[derive(Clone, Copy)]
struct Rules {
    /// Quotes mean something.
    quotes: bool,
    bytes_max: usize,
}

const WORD: Rules = Rules { quotes: true, bytes_max: WORD_BYTES_MAX };
const BODY: Rules = Rules { quotes: false, bytes_max: BODY_BYTES_MAX };

struct Fault {
    at: usize,
    reason: String,
}

/// One pass over a word.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    escape: char,
    rules: Rules,
    env: &'a Environment<'a>,
    depth: usize,
    /// Bytes of values and results so far.
    work: usize,
    seen: HashSet<String>,
    used: Vec<String>,
    unset: Vec<String>,
}

impl<'a> Walk<'a> {
    /// Reads up to the stop character, which is consumed, or to the end when there is none.
    fn until(
        &mut self,
        stop: Option<char>,
        escapes: Escapes,
        out: &mut Output,
    ) -> Result<(), Fault> {
        while let Some(c) = self.next() {
            if Some(c) == stop {
                return Ok(());
            }
            match c {
                '$' => {
                    let value = self.dollar()?;
                    out.push_value(&value);
                }
                '\'' if self.rules.quotes => self.single_quoted(out)?,
                '"' if self.rules.quotes => self.double_quoted(escapes, out)?,
                c if c == self.escape => {
                    if escapes == Escapes::Keep {
                        out.push_literal(c);
                    }
                    // At the very end it is dropped (EXP-33).
                    if let Some(c) = self.next() {
                        out.push_literal(c);
                    }
                }
                c => out.push_plain(c),
            }
            if out.text.len() > self.rules.bytes_max {
                return Err(self.fault(self.at, TOO_LONG));
            }
        }
        match stop {
            None => Ok(()),
            Some(stop) => Err(self.fault(self.at, &missing(stop))),
        }
    }

    fn single_quoted(&mut self, out: &mut Output) -> Result<(), Fault> {
        let start = self.at;
        let Some(length) = self.text[start..].find('\'') else {
            self.at = self.text.len();
            return Err(self.fault(start - 1, &unclosed("single-quote")));
        };
        out.push_literals(&self.text[start..start + length]);
        self.at = start + length + 1;
        Ok(())
    }

    fn double_quoted(&mut self, escapes: Escapes, out: &mut Output) -> Result<(), Fault> {
        let start = self.at - 1;
        out.push_literals("");
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(()),
                '$' => {
                    let value = self.dollar()?;
                    out.push_literals(&value);
                }
                c if c == self.escape => {
                    if escapes == Escapes::Keep {
                        out.push_literal(c);
                    }
                    match self.peek() {
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            self.at += next.len_utf8();
                            out.push_literal(next);
                        }
                        Some(_) => out.push_literal(c),
                        None => {}
                    }
                }
                c => out.push_literal(c),
            }
        }
        Err(self.fault(start, &unclosed("double-quote")))
    }

    /// Behind a `$`: the value that takes its place.
    fn dollar(&mut self) -> Result<String, Fault> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name {
                "" => "$".to_owned(),
                name => self.value(name)?.unwrap_or_default(),
            });
        }
        let start = self.at - 1;
        if self.depth == DEPTH_MAX {
            return Err(self.fault(start, "substitutions are nested too deep"));
        }
        self.depth += 1;
        self.at += 1;
        let value = self.braces(start)?;
        self.depth -= 1;
        self.spend(value.len())?;
        Ok(value)
    }

    /// Behind `${`, up to and with the closing brace.
    fn braces(&mut self, start: usize) -> Result<String, Fault> {
        match self.peek() {
            None => return Err(self.fault(start, "syntax error: missing '}'")),
            Some('{' | '}' | ':') => {
                return Err(self.fault(start, "syntax error: bad substitution"));
            }
            // No name at all is a variable that is never set, as in `${+x}`.
            Some(_) => {}
        }
        let name = self.name();
        let modifier_at = self.at;
        match self.next() {
            None => Err(self.fault(start, "syntax error: missing '}'")),
            Some('}') => Ok(self.value(name)?.unwrap_or_default()),
            Some('/') => self.replace(start, name),
            Some(sign @ ('#' | '%')) => self.trim(start, name, sign),
            Some(sign @ ('-' | '+' | '?')) => self.choose(start, name, sign, false),
            Some(':') => match self.next() {
                Some(sign @ ('-' | '+' | '?')) => self.choose(start, name, sign, true),
                Some(sign) => {
                    let fault = self.unsupported(start, modifier_at);
                    // What is wrong in its word comes first.
                    if !matches!(sign, '#' | '%') {
                        self.word_until('}', Escapes::Remove)?;
                    }
                    Err(fault)
                }
                None => Err(self.fault(start, "syntax error: missing '}'")),
            },
            Some(_) => Err(self.unsupported(start, modifier_at)),
        }
    }

    /// Called behind the modifier.
    fn unsupported(&self, start: usize, modifier_at: usize) -> Fault {
        if !self.text[modifier_at..].contains('}') {
            return self.fault(start, "syntax error: missing '}'");
        }
        let modifier = &self.text[modifier_at..self.at];
        self.fault(modifier_at, &format!("unsupported modifier ({modifier}) in substitution"))
    }

    /// `-`, `+` and `?`, with a colon or without (EXP-10 to EXP-12).
    fn choose(
        &mut self,
        start: usize,
        name: &str,
        sign: char,
        empty_is_unset: bool,
    ) -> Result<String, Fault> {
        let word = self.word_until('}', Escapes::Remove)?;
        let value = self.value(name)?;
        let is_set = value.is_some();
        let value = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (sign, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', Some(_)) => Ok(word),
            ('+', None) => Ok(String::new()),
            (_, Some(value)) => Ok(value),
            (_, None) => {
                let reason = match word.as_str() {
                    "" if is_set => "is not allowed to be empty",
                    "" => "is not allowed to be unset",
                    word => word,
                };
                Err(self.fault(start, &format!("{name}: {reason}")))
            }
        }
    }

    /// `#`, `##`, `%` and `%%` (EXP-13, EXP-14).
    fn trim(&mut self, start: usize, name: &str, sign: char) -> Result<String, Fault> {
        let word = self.word_until('}', Escapes::Keep)?;
        let (text, longest) = match word.strip_prefix(sign) {
            Some(rest) => (rest, true),
            None => (word.as_str(), false),
        };
        let pattern = self.pattern(start, text)?;
        let value = self.value(name)?.unwrap_or_default();
        let trimmed = match sign {
            '#' => pattern.trim_prefix(&value, longest),
            _ => pattern.trim_suffix(&value, longest),
        };
        trimmed.ok_or_else(|| self.fault(start, pattern::TOO_SLOW))
    }

    /// `/` and `//` (EXP-15, EXP-16); the replacement is literal in both (EXP-19).
    fn replace(&mut self, start: usize, name: &str) -> Result<String, Fault> {
        let all = self.peek() == Some('/');
        if all {
            self.at += 1;
        }
        let pattern_text = self.word_until('/', Escapes::Keep)?;
        let replacement = self.word_until('}', Escapes::Keep)?;
        let pattern = self.pattern(start, &pattern_text)?;
        let value = self.value(name)?.unwrap_or_default();
        let replaced = pattern.replace(&value, &replacement, all, self.rules.bytes_max);
        replaced.ok_or_else(|| self.fault(start, pattern::TOO_SLOW))
    }

    fn pattern(&self, start: usize, text: &str) -> Result<Pattern, Fault> {
        Pattern::new(text).map_err(|bad| {
            let reason =
                format!("invalid pattern ({text}) in substitution: invalid escape '{bad}'");
            self.fault(start, &reason)
        })
    }

    fn word_until(&mut self, stop: char, escapes: Escapes) -> Result<String, Fault> {
        let mut out = Output::default();
        match self.until(Some(stop), escapes, &mut out) {
            Ok(()) => Ok(out.text),
            // Whatever is open in it: first of all the end is missing.
            Err(fault) if self.at == self.text.len() => Err(self.fault(fault.at, &missing(stop))),
            Err(fault) => Err(fault),
        }
    }

    /// A name at this place; empty when there is none.
    fn name(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let length = name_length(rest);
        self.at += length;
        &rest[..length]
    }

    fn value(&mut self, name: &str) -> Result<Option<String>, Fault> {
        let value = (self.env)(name);
        self.spend(value.as_ref().map_or(0, String::len))?;
        if !self.seen.contains(name) {
            self.seen.insert(name.to_owned());
            match value {
                Some(_) => self.used.push(name.to_owned()),
                None => self.unset.push(name.to_owned()),
            }
        }
        Ok(value)
    }

    /// Counts bytes: nested substitutions grow fast even where little comes out.
    fn spend(&mut self, bytes: usize) -> Result<(), Fault> {
        self.work = self.work.saturating_add(bytes);
        let is_enough = self.work <= self.rules.bytes_max * WORK_FACTOR;
        is_enough.then_some(()).ok_or_else(|| self.fault(self.at, TOO_LONG))
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn fault(&self, at: usize, reason: &str) -> Fault {
        Fault { at, reason: reason.to_owned() }
    }
}

/// The length of the variable's name at the start of a text: a word, digits, or one special character (EXP-01, EXP-03).
pub(crate) fn name_length(text: &str) -> usize {
    match text.chars().next() {
        Some(c) if c.is_ascii_digit() => length_while(text, |c| c.is_ascii_digit()),
        Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
        _ => length_while(text, |c| c.is_alphanumeric() || c == '_'),
    }
}

fn length_while(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

const TOO_LONG: &str = "result is too long";

fn missing(stop: char) -> String {
    match stop {
        '/' => "syntax error: missing '/' in ${}".to_owned(),
        stop => format!("syntax error: missing '{stop}'"),
    }
}

fn unclosed(quote: &str) -> String {
    format!("unexpected end of statement while looking for matching {quote}")
}

/// What has been put out so far; `split` is there when words are wanted.
#[derive(Default)]
struct Output {
    text: String,
    split: Option<Split>,
}

impl Output {
    /// A character that was not quoted: blanks separate words.
    fn push_plain(&mut self, c: char) {
        self.text.push(c);
        if let Some(split) = &mut self.split {
            split.push_plain(c);
        }
    }

    /// A quoted or escaped character: part of a word, whatever it is.
    fn push_literal(&mut self, c: char) {
        self.text.push(c);
        if let Some(split) = &mut self.split {
            split.word.push(c);
        }
    }

    fn push_literals(&mut self, text: &str) {
        self.text.push_str(text);
        if let Some(split) = &mut self.split {
            split.word.push_str(text);
        }
    }

    /// A value put in outside of quotes: it splits like plain text.
    fn push_value(&mut self, text: &str) {
        self.text.push_str(text);
        if let Some(split) = &mut self.split {
            text.chars().for_each(|c| split.push_plain(c));
        }
    }
}

#[derive(Default)]
struct Split {
    words: Vec<String>,
    word: String,
}

impl Split {
    fn push_plain(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

#[cfg(test)]
mod tests;
