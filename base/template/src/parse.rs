//! Pieces to a tree.

use crate::TemplateError;
use crate::functions;
use crate::lex::{self, Piece, Token, TokenKind};
use crate::node::{Branch, Command, Node, Pipe, Word, WordKind};
use crate::value::Value;

/// How deeply branches and parentheses may be nested.
const DEPTH_MAX: usize = 100;

/// Reads a whole template.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = lex::pieces(text)?;
    let mut parser =
        Parser { text, pieces: pieces.into_iter(), variables: vec!["$".to_owned()], ranges: 0 };
    match parser.list(0)? {
        (nodes, Ending::Text) => Ok(nodes),
        (_, Ending::End(at)) => Err(lex::error(text, at, "unexpected {{end}}")),
        (_, Ending::Else { at, .. }) => Err(lex::error(text, at, "unexpected {{else}}")),
    }
}

/// What ended a list of nodes.
enum Ending {
    Text,
    End(usize),
    /// With the words behind it.
    Else {
        at: usize,
        words: Vec<Token>,
        end: usize,
    },
}

struct Parser<'t> {
    text: &'t str,
    pieces: std::vec::IntoIter<Piece>,
    /// Names that are known here.
    variables: Vec<String>,
    /// Loops around here.
    ranges: usize,
}

impl Parser<'_> {
    fn list(&mut self, depth: usize) -> Result<(Vec<Node>, Ending), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let (words, end) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { words, end } => (words, end),
            };
            let at = words.first().map_or(end, |word| word.at);
            if depth > DEPTH_MAX {
                return Err(lex::error(self.text, at, "template is nested too deeply"));
            }
            match keyword(&words) {
                Some("end") => {
                    self.nothing_behind(&words, "end")?;
                    return Ok((nodes, Ending::End(at)));
                }
                Some("else") => {
                    return Ok((nodes, Ending::Else { at, words: words[1..].to_vec(), end }));
                }
                Some(word @ ("if" | "with" | "range")) => {
                    nodes.push(self.branch(word, &words[1..], end, depth)?);
                }
                Some(word @ ("break" | "continue")) => nodes.push(self.jump(word, &words)?),
                Some(word @ ("define" | "template" | "block")) => {
                    let what = format!("{{{{{word}}}}} is not supported: a format is one template");
                    return Err(lex::error(self.text, at, &what));
                }
                _ => {
                    let pipe = self.pipe(&words, end, "command", depth)?;
                    nodes.push(Node::Action(pipe));
                }
            }
        }
        Ok((nodes, Ending::Text))
    }

    fn nothing_behind(&self, words: &[Token], what: &str) -> Result<(), TemplateError> {
        words.get(1).map_or(Ok(()), |word| Err(self.unexpected(word, what)))
    }

    fn unexpected(&self, token: &Token, context: &str) -> TemplateError {
        let what = format!("unexpected {} in {context}", written(&token.kind));
        lex::error(self.text, token.at, &what)
    }

    fn jump(&self, word: &str, words: &[Token]) -> Result<Node, TemplateError> {
        self.nothing_behind(words, &format!("{{{{{word}}}}}"))?;
        if self.ranges == 0 {
            let what = format!("{{{{{word}}}}} outside {{{{range}}}}");
            return Err(lex::error(self.text, words[0].at, &what));
        }
        Ok(if word == "break" { Node::Break } else { Node::Continue })
    }

    fn branch(
        &mut self,
        word: &str,
        words: &[Token],
        end: usize,
        depth: usize,
    ) -> Result<Node, TemplateError> {
        let known = self.variables.len();
        let pipe = self.pipe(words, end, word, depth)?;
        self.ranges += usize::from(word == "range");
        let (body, ending) = self.list(depth + 1)?;
        self.ranges -= usize::from(word == "range");
        let otherwise = match ending {
            Ending::Text => return Err(self.no_end()),
            Ending::End(_) => Vec::new(),
            Ending::Else { words, end, .. } => self.otherwise(word, &words, end, depth)?,
        };
        self.variables.truncate(known);
        let branch = Branch { pipe, body, otherwise };
        Ok(match word {
            "if" => Node::If(branch),
            "with" => Node::With(branch),
            _ => Node::Range(branch),
        })
    }

    /// What stands behind `{{else}}`, or `{{else if}}` as a branch of its own.
    fn otherwise(
        &mut self,
        word: &str,
        words: &[Token],
        end: usize,
        depth: usize,
    ) -> Result<Vec<Node>, TemplateError> {
        match (keyword(words), words) {
            (Some(next), _) if next == word && word != "range" => {
                Ok(vec![self.branch(word, &words[1..], end, depth + 1)?])
            }
            (_, [first, ..]) => Err(self.unexpected(first, "else")),
            (_, []) => match self.list(depth + 1)? {
                (nodes, Ending::End(_)) => Ok(nodes),
                (_, Ending::Else { at, .. }) => {
                    Err(lex::error(self.text, at, "expected end; found {{else}}"))
                }
                (_, Ending::Text) => Err(self.no_end()),
            },
        }
    }

    fn no_end(&self) -> TemplateError {
        lex::error(self.text, self.text.len(), "unexpected EOF")
    }

    /// A pipeline with its variables; `end` is where its text ends.
    fn pipe(
        &mut self,
        words: &[Token],
        end: usize,
        context: &str,
        depth: usize,
    ) -> Result<Pipe, TemplateError> {
        let (variables, is_assignment, begin) = declared(words);
        if variables.len() > if context == "range" { 2 } else { 1 } {
            let what = format!("too many declarations in {context}");
            return Err(lex::error(self.text, words[0].at, &what));
        }
        if is_assignment {
            for variable in &variables {
                self.known(variable, words[0].at)?;
            }
        }
        let mut commands = Vec::new();
        let mut reader = Reader { words: &words[begin..], at: 0 };
        loop {
            let command = self.command(&mut reader, context, depth)?;
            if command.words.is_empty() {
                match (reader.peek(), commands.is_empty()) {
                    (Some(token), _) => return Err(self.unexpected(token, context)),
                    (None, true) => {
                        let what = format!("missing value for {context}");
                        return Err(lex::error(self.text, end, &what));
                    }
                    // Go takes a pipeline with nothing behind its last sign.
                    (None, false) => break,
                }
            }
            commands.push(command);
            match reader.next() {
                None => break,
                Some(Token { kind: TokenKind::Sign("|"), .. }) => {}
                Some(token) => return Err(self.unexpected(token, context)),
            }
        }
        let literal = commands[1..].iter().find(|command| {
            matches!(command.words[0].kind, WordKind::Dot | WordKind::Nil | WordKind::Literal(..))
        });
        if let Some(command) = literal {
            let place = commands.iter().position(|other| std::ptr::eq(other, command));
            let place = place.unwrap_or_default() + 1;
            let what = format!("non executable command in pipeline stage {place}");
            return Err(lex::error(self.text, command.at, &what));
        }
        if !is_assignment {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, is_assignment, commands })
    }

    /// The words up to the next `|`, `)` or the end.
    fn command(
        &mut self,
        reader: &mut Reader<'_>,
        context: &str,
        depth: usize,
    ) -> Result<Command, TemplateError> {
        let mut words: Vec<Word> = Vec::new();
        while let Some(token) = reader.peek() {
            if matches!(token.kind, TokenKind::Sign("|" | ")")) {
                break;
            }
            if !words.is_empty() && !token.is_apart {
                return Err(self.unexpected(token, "operand"));
            }
            words.push(self.word(reader, context, depth)?);
        }
        Ok(Command { at: words.first().map_or(0, |word| word.at), words })
    }

    fn word(
        &mut self,
        reader: &mut Reader<'_>,
        context: &str,
        depth: usize,
    ) -> Result<Word, TemplateError> {
        let token = reader.next().expect("the caller has seen one").clone();
        let at = token.at;
        let kind = match token.kind {
            TokenKind::Dot => WordKind::Dot,
            TokenKind::Literal(value, text) => WordKind::Literal(value, text),
            TokenKind::Field(name) => WordKind::Fields(vec![name]),
            TokenKind::Variable(name) => {
                self.known(&name, at)?;
                WordKind::Variable(name, Vec::new())
            }
            TokenKind::Word(name) => self.named(name, at)?,
            TokenKind::Sign("(") => self.group(reader, at, depth)?,
            TokenKind::Sign(_) => return Err(self.unexpected(&token, context)),
        };
        self.chained(reader, Word { at, kind })
    }

    /// The fields that follow a word without white space.
    fn chained(&self, reader: &mut Reader<'_>, word: Word) -> Result<Word, TemplateError> {
        let Word { mut at, mut kind } = word;
        let mut is_first = true;
        while let Some(Token { kind: TokenKind::Field(name), is_apart: false, at: place }) =
            reader.peek()
        {
            // Go's errors point at the first field behind the first word.
            if std::mem::take(&mut is_first) {
                at = *place;
            }
            match &mut kind {
                WordKind::Fields(names)
                | WordKind::Variable(_, names)
                | WordKind::Group(_, names) => names.push(name.clone()),
                _ => {
                    let what =
                        format!("unexpected . after term {:?}", Word { at, kind }.to_string());
                    return Err(lex::error(self.text, *place, &what));
                }
            }
            reader.next();
        }
        Ok(Word { at, kind })
    }

    fn named(&self, name: String, at: usize) -> Result<WordKind, TemplateError> {
        Ok(match &*name {
            "true" | "false" => WordKind::Literal(Value::Bool(name == "true"), name),
            "nil" => WordKind::Nil,
            "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" => {
                let what = format!("unexpected <{name}> in operand");
                return Err(lex::error(self.text, at, &what));
            }
            _ if functions::is_known(&name) => WordKind::Function(name),
            _ => {
                let what = format!("function {name:?} not defined");
                return Err(lex::error(self.text, at, &what));
            }
        })
    }

    fn group(
        &mut self,
        reader: &mut Reader<'_>,
        at: usize,
        depth: usize,
    ) -> Result<WordKind, TemplateError> {
        if depth > DEPTH_MAX {
            return Err(lex::error(self.text, at, "template is nested too deeply"));
        }
        let begin = reader.at;
        let mut open = 1;
        while open > 0 {
            match reader.next().map(|token| &token.kind) {
                Some(TokenKind::Sign("(")) => open += 1,
                Some(TokenKind::Sign(")")) => open -= 1,
                Some(_) => {}
                None => return Err(lex::error(self.text, at, "unclosed left paren")),
            }
        }
        let inner = &reader.words[begin..reader.at - 1];
        let end = reader.words[reader.at - 1].at;
        let pipe = self.pipe(inner, end, "parenthesized pipeline", depth + 1)?;
        Ok(WordKind::Group(Box::new(pipe), Vec::new()))
    }

    fn known(&self, variable: &str, at: usize) -> Result<(), TemplateError> {
        match self.variables.iter().any(|known| known == variable) {
            true => Ok(()),
            false => {
                let what = format!("undefined variable {variable:?}");
                Err(lex::error(self.text, at, &what))
            }
        }
    }
}

struct Reader<'w> {
    words: &'w [Token],
    at: usize,
}

impl<'w> Reader<'w> {
    fn peek(&self) -> Option<&'w Token> {
        self.words.get(self.at)
    }

    fn next(&mut self) -> Option<&'w Token> {
        let token = self.words.get(self.at);
        self.at += usize::from(token.is_some());
        token
    }
}

/// The variables that a pipeline begins with, whether they were there before, and where its commands begin.
fn declared(words: &[Token]) -> (Vec<String>, bool, usize) {
    let mut variables = Vec::new();
    for pair in words.chunks(2) {
        let [Token { kind: TokenKind::Variable(name), .. }, sign] = pair else { break };
        variables.push(name.clone());
        match sign.kind {
            TokenKind::Sign(",") => {}
            TokenKind::Sign(sign @ (":=" | "=")) => {
                let begin = variables.len() * 2;
                return (variables, sign == "=", begin);
            }
            _ => break,
        }
    }
    (Vec::new(), false, 0)
}

fn keyword(words: &[Token]) -> Option<&str> {
    match words.first().map(|token| &token.kind) {
        Some(TokenKind::Word(word)) => Some(word),
        _ => None,
    }
}

/// A token as errors show it: what has a meaning of its own, or the beginning of what was written.
fn written(kind: &TokenKind) -> String {
    const KEYWORDS: [&str; 10] =
        ["if", "else", "end", "range", "with", "define", "template", "block", "break", "continue"];
    let text = match kind {
        TokenKind::Dot => return "<.>".to_owned(),
        TokenKind::Word(name) if name == "nil" || KEYWORDS.contains(&name.as_str()) => {
            return format!("<{name}>");
        }
        TokenKind::Field(name) => format!(".{name}"),
        TokenKind::Variable(text) | TokenKind::Word(text) | TokenKind::Literal(_, text) => {
            text.clone()
        }
        TokenKind::Sign(sign) => (*sign).to_owned(),
    };
    match text.chars().nth(10) {
        Some(_) => format!("{:?}...", text.chars().take(10).collect::<String>()),
        None => format!("{text:?}"),
    }
}
