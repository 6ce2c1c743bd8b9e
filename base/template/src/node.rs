//! The tree of a template, and each part of it as errors show it.

use std::fmt;

use crate::value::Value;

/// A part of a template.
#[derive(Debug)]
pub(crate) enum Node {
    /// Text as it is.
    Text(String),
    /// `{{pipeline}}`.
    Action(Pipe),
    /// `{{if}}`.
    If(Branch),
    /// `{{with}}`.
    With(Branch),
    /// `{{range}}`.
    Range(Branch),
    /// `{{break}}`.
    Break,
    /// `{{continue}}`.
    Continue,
}

/// What depends on a pipeline.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) pipe: Pipe,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// Commands whose results go on to the next one.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Variables that get the result.
    pub(crate) variables: Vec<String>,
    /// Whether they are there already.
    pub(crate) is_assignment: bool,
    pub(crate) commands: Vec<Command>,
}

/// A word with its arguments; never empty.
#[derive(Debug)]
pub(crate) struct Command {
    /// Place in the text, in bytes.
    pub(crate) at: usize,
    pub(crate) words: Vec<Word>,
}

/// A word and its place.
#[derive(Debug)]
pub(crate) struct Word {
    /// Place in the text, in bytes.
    pub(crate) at: usize,
    pub(crate) kind: WordKind,
}

/// What a word is.
#[derive(Debug)]
pub(crate) enum WordKind {
    Dot,
    Nil,
    /// A value, and how it was written.
    Literal(Value, String),
    /// `.A.B`.
    Fields(Vec<String>),
    /// `$x.A`.
    Variable(String, Vec<String>),
    Function(String),
    /// `(pipeline)`, with the fields behind it.
    Group(Box<Pipe>, Vec<String>),
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.is_assignment { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (at, command) in self.commands.iter().enumerate() {
            write!(f, "{}{command}", if at > 0 { " | " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, word) in self.words.iter().enumerate() {
            write!(f, "{}{word}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, names: &[String]| {
            names.iter().try_for_each(|name| write!(f, ".{name}"))
        };
        match &self.kind {
            WordKind::Dot => f.write_str("."),
            WordKind::Nil => f.write_str("nil"),
            WordKind::Literal(_, text) | WordKind::Function(text) => f.write_str(text),
            WordKind::Fields(names) => fields(f, names),
            WordKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            WordKind::Group(pipe, names) => {
                write!(f, "({pipe})")?;
                fields(f, names)
            }
        }
    }
}
