//! Text to pieces: what is outside of `{{ }}`, and the words inside.

use std::iter::Peekable;
use std::str::CharIndices;

use crate::TemplateError;
use crate::value::Value;

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Piece {
    Text(String),
    /// The words of an action, which ends at `end`.
    Action {
        words: Vec<Token>,
        end: usize,
    },
}

/// A word or sign of an action.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// Place in the text, in bytes.
    pub(crate) at: usize,
    /// Whether white space stands before it.
    pub(crate) is_apart: bool,
    pub(crate) kind: TokenKind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    /// `.Name`, without the dot.
    Field(String),
    Dot,
    /// `$` or `$name`.
    Variable(String),
    /// A function, a keyword, `true`, `nil`.
    Word(String),
    /// A number, a text or a character, and how it is written.
    Literal(Value, String),
    /// `|`, `(`, `)`, `,`, `=` or `:=`.
    Sign(&'static str),
}

/// An error at a line, as Go words it.
pub(crate) fn error(text: &str, at: usize, what: &str) -> TemplateError {
    let line = text[..at.min(text.len())].matches('\n').count() + 1;
    TemplateError(format!("template: :{line}: {what}"))
}

/// Takes a template apart.
pub(crate) fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest_at = 0;
    let mut trims = false;
    loop {
        let rest = &text[rest_at..];
        let found = rest.find("{{");
        let mut plain = &rest[..found.unwrap_or(rest.len())];
        let begin = found.map(|found| rest_at + found + 2);
        let trims_before = begin.is_some_and(|at| is_trim_marker(&text[at..]));
        if trims {
            plain = plain.trim_start_matches(WHITE);
        }
        if trims_before {
            plain = plain.trim_end_matches(WHITE);
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.to_owned()));
        }
        let Some(mut at) = begin else { return Ok(pieces) };
        at += if trims_before { 1 } else { 0 };
        let end;
        (end, rest_at, trims) = match comment(text, at)? {
            Some((rest_at, trims)) => (None, rest_at, trims),
            None => {
                let mut lexer = Lexer::new(text, at);
                let words = lexer.action()?;
                let end = lexer.at;
                (Some((words, end)), lexer.after, lexer.trims)
            }
        };
        pieces.extend(end.map(|(words, end)| Piece::Action { words, end }));
    }
}

const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];

/// Whether what follows `{{` takes away the white space before it.
fn is_trim_marker(text: &str) -> bool {
    text.strip_prefix('-').is_some_and(|rest| rest.starts_with(WHITE))
}

/// The end of a comment that begins here, and whether it takes away the white space behind it.
fn comment(text: &str, at: usize) -> Result<Option<(usize, bool)>, TemplateError> {
    let rest = text[at..].trim_start_matches(WHITE);
    let begin = text.len() - rest.len();
    // Only a trim marker may stand before it.
    if !rest.starts_with("/*") || (begin > at && !text[..at].ends_with('-')) {
        return Ok(None);
    }
    let Some(length) = rest.find("*/") else {
        return Err(error(text, begin, "unclosed comment"));
    };
    let after = begin + length + 2;
    let tail = &text[after..];
    if tail.starts_with("}}") {
        return Ok(Some((after + 2, false)));
    }
    let trimmed = tail.trim_start_matches(WHITE);
    match trimmed.strip_prefix("-}}") {
        Some(rest) if trimmed.len() < tail.len() => Ok(Some((text.len() - rest.len(), true))),
        _ => Err(error(text, after, "comment ends before closing delimiter")),
    }
}

struct Lexer<'t> {
    text: &'t str,
    /// The place of what comes next.
    at: usize,
    /// Behind the action's end, once that was seen.
    after: usize,
    trims: bool,
    open: usize,
}

impl<'t> Lexer<'t> {
    fn new(text: &'t str, at: usize) -> Lexer<'t> {
        Lexer { text, at, after: at, trims: false, open: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fail(&self, what: &str) -> TemplateError {
        error(self.text, self.at, what)
    }

    fn action(&mut self) -> Result<Vec<Token>, TemplateError> {
        let mut tokens = Vec::new();
        loop {
            let before = self.at;
            let rest = self.rest().trim_start_matches(WHITE);
            self.at = self.text.len() - rest.len();
            let is_apart = self.at > before;
            if let Some(length) = closing(rest, is_apart) {
                if self.open > 0 {
                    return Err(self.fail("unclosed left paren"));
                }
                (self.trims, self.after) = (length == 3, self.at + length);
                return Ok(tokens);
            }
            if rest.is_empty() {
                return Err(self.fail("unclosed action"));
            }
            let at = self.at;
            let kind = self.token(rest)?;
            tokens.push(Token { at, is_apart, kind });
        }
    }

    fn token(&mut self, rest: &'t str) -> Result<TokenKind, TemplateError> {
        for sign in [":=", "|", "(", ")", ",", "="] {
            if rest.starts_with(sign) {
                self.count(sign)?;
                self.at += sign.len();
                return Ok(TokenKind::Sign(sign));
            }
        }
        let first = rest.chars().next().unwrap_or_default();
        let second = rest.chars().nth(1).unwrap_or_default();
        match first {
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.character(),
            '.' if second.is_ascii_digit() => self.number(),
            '0'..='9' | '+' | '-' => self.number(),
            '.' if !is_name(second) => {
                self.at += 1;
                Ok(TokenKind::Dot)
            }
            '.' => self.name(1).map(TokenKind::Field),
            '$' => self.name(1).map(|name| TokenKind::Variable(format!("${name}"))),
            char if is_name(char) => self.name(0).map(TokenKind::Word),
            char => Err(self.fail(&format!("unrecognized character in action: {}", point(char)))),
        }
    }

    fn count(&mut self, sign: &str) -> Result<(), TemplateError> {
        match sign {
            "(" => self.open += 1,
            ")" if self.open == 0 => return Err(self.fail("unexpected right paren")),
            ")" => self.open -= 1,
            _ => {}
        }
        Ok(())
    }

    /// A name behind `skip` bytes, which something that may end a name has to follow.
    fn name(&mut self, skip: usize) -> Result<String, TemplateError> {
        let rest = &self.rest()[skip..];
        let length = rest.find(|char| !is_name(char)).unwrap_or(rest.len());
        self.at += skip + length;
        match rest[length..].chars().next() {
            Some(char) if !ends_name(char) && !rest[length..].starts_with("}}") => {
                Err(self.fail(&format!("bad character {}", point(char))))
            }
            _ => Ok(rest[..length].to_owned()),
        }
    }

    fn quoted(&mut self) -> Result<TokenKind, TemplateError> {
        let (text, length) = self.unquoted('"', "unterminated quoted string")?;
        let written = self.rest()[..length].to_owned();
        self.at += length;
        Ok(TokenKind::Literal(Value::Text(text), written))
    }

    fn raw(&mut self) -> Result<TokenKind, TemplateError> {
        let rest = self.rest();
        let Some(length) = rest[1..].find('`') else {
            return Err(self.fail("unterminated raw quoted string"));
        };
        self.at += length + 2;
        let value = Value::Text(rest[1..=length].to_owned());
        Ok(TokenKind::Literal(value, rest[..length + 2].to_owned()))
    }

    fn character(&mut self) -> Result<TokenKind, TemplateError> {
        let (text, length) = self.unquoted('\'', "unterminated character constant")?;
        let written = self.rest()[..length].to_owned();
        let mut chars = text.chars();
        let (Some(char), None) = (chars.next(), chars.next()) else {
            return Err(self.fail(&format!("malformed character constant: {written}")));
        };
        self.at += length;
        Ok(TokenKind::Literal(Value::Int(i64::from(u32::from(char))), written))
    }

    /// The text between two quotes, and the length of it all as it is written.
    fn unquoted(&self, quote: char, unclosed: &str) -> Result<(String, usize), TemplateError> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().peekable();
        chars.next();
        while let Some((at, char)) = chars.next() {
            match char {
                '\n' => break,
                '\\' => {
                    let escaped = escaped(&mut chars);
                    text.push(escaped.ok_or_else(|| self.fail("invalid syntax"))?);
                }
                char if char == quote => return Ok((text, at + 1)),
                char => text.push(char),
            }
        }
        Err(self.fail(unclosed))
    }

    fn number(&mut self) -> Result<TokenKind, TemplateError> {
        let rest = self.rest();
        let sign = rest.starts_with(['+', '-']) as usize;
        let body = &rest[sign..];
        let is_hex = body.starts_with("0x") || body.starts_with("0X");
        let mut previous = ' ';
        let length = body.find(|char: char| {
            let after_exponent = matches!(previous, 'e' | 'E') && !is_hex;
            let is_part = char.is_ascii_alphanumeric()
                || matches!(char, '.' | '_')
                || (matches!(char, '+' | '-') && after_exponent);
            previous = char;
            !is_part
        });
        let length = sign + length.unwrap_or(body.len());
        let written = rest[..length].to_owned();
        let value = number(&written);
        let value = value.ok_or_else(|| {
            let digits = written.trim_start_matches(['+', '-']).to_ascii_lowercase();
            let is_begun = ["0x", "0o", "0b"].contains(&digits.as_str());
            let what = if is_begun { "illegal" } else { "bad" };
            self.fail(&format!("{what} number syntax: {written:?}"))
        })?;
        self.at += length;
        Ok(TokenKind::Literal(value, written))
    }
}

fn number(written: &str) -> Option<Value> {
    let plain = written.replace('_', "");
    let (sign, body) = match plain.strip_prefix('-') {
        Some(body) => (-1, body),
        None => (1, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let radix = match body.get(..2) {
        Some("0x" | "0X") => 16,
        Some("0o" | "0O") => 8,
        Some("0b" | "0B") => 2,
        _ => {
            let whole = body.parse::<i64>().ok().map(|whole| Value::Int(sign * whole));
            let other = || body.parse::<f64>().ok().map(|other| Value::Float(sign as f64 * other));
            let is_number = body.starts_with(|char: char| char.is_ascii_digit() || char == '.');
            return whole.or_else(other).filter(|_| is_number);
        }
    };
    i64::from_str_radix(&body[2..], radix).ok().map(|whole| Value::Int(sign * whole))
}

/// The character that an escape behind `\` means.
fn escaped(chars: &mut Peekable<CharIndices<'_>>) -> Option<char> {
    let (_, char) = chars.next()?;
    let mut digits = |count: usize, radix: u32, first: u32| {
        let mut code = first;
        for _ in 0..count {
            code = code * radix + chars.next()?.1.to_digit(radix)?;
        }
        char::from_u32(code)
    };
    match char {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '\\' | '\'' | '"' => Some(char),
        'x' => digits(2, 16, 0),
        'u' => digits(4, 16, 0),
        'U' => digits(8, 16, 0),
        '0'..='7' => digits(2, 8, char.to_digit(8)?),
        _ => None,
    }
}

/// The length of what ends an action.
fn closing(rest: &str, is_apart: bool) -> Option<usize> {
    if rest.starts_with("}}") {
        return Some(2);
    }
    (is_apart && rest.starts_with("-}}")).then_some(3)
}

fn is_name(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

fn ends_name(char: char) -> bool {
    WHITE.contains(&char) || matches!(char, '.' | ',' | '|' | ':' | ')' | '(')
}

fn point(char: char) -> String {
    format!("U+{:04X} '{char}'", char as u32)
}
