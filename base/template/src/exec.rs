//! A template and its data to text.

use crate::functions;
use crate::node::{Branch, Command, Node, Pipe, Word, WordKind};
use crate::text::{OUTPUT_BYTES_MAX, printed};
use crate::value::Value;
use crate::{Rules, TemplateError};

/// How many parts are looked at before it is enough.
const STEPS_MAX: u64 = 2_000_000;
/// The largest number that a loop counts to.
const COUNT_MAX: i64 = 1_000_000;

/// Fills in a template.
pub(crate) fn render(
    text: &str,
    nodes: &[Node],
    data: &Value,
    rules: Rules,
) -> Result<String, TemplateError> {
    let variables = vec![("$".to_owned(), data.clone())];
    let mut state = State { text, rules, variables, out: String::new(), steps: 0 };
    state.list(nodes, data)?;
    Ok(state.out)
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct State<'t> {
    text: &'t str,
    rules: Rules,
    variables: Vec<(String, Value)>,
    out: String,
    steps: u64,
}

impl State<'_> {
    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, TemplateError> {
        for node in nodes {
            self.step()?;
            let flow = match node {
                Node::Text(text) => self.write(text)?,
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    match pipe.variables.is_empty() {
                        true => self.write(&printed(&value))?,
                        false => Flow::On,
                    }
                }
                Node::If(branch) => self.choice(branch, dot, false)?,
                Node::With(branch) => self.choice(branch, dot, true)?,
                Node::Range(branch) => self.range(branch, dot)?,
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn step(&mut self) -> Result<(), TemplateError> {
        self.steps += 1;
        match self.steps > STEPS_MAX {
            true => Err(TemplateError("template: : it goes on for too long".to_owned())),
            false => Ok(()),
        }
    }

    fn write(&mut self, text: &str) -> Result<Flow, TemplateError> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(TemplateError("template: : its text gets too long".to_owned()));
        }
        self.out.push_str(text);
        Ok(Flow::On)
    }

    fn choice(
        &mut self,
        branch: &Branch,
        dot: &Value,
        is_with: bool,
    ) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = match (value.is_true(), is_with) {
            (true, true) => self.list(&branch.body, &value),
            (true, false) => self.list(&branch.body, dot),
            (false, _) => self.list(&branch.otherwise, dot),
        };
        self.variables.truncate(known);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, TemplateError> {
        let known = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let pairs = self.pairs(&branch.pipe, value)?;
        let flow = if pairs.is_empty() {
            self.list(&branch.otherwise, dot)?
        } else {
            let declared = self.variables.len();
            for (key, item) in pairs {
                self.step()?;
                self.bind(&branch.pipe, key, &item);
                let flow = self.list(&branch.body, &item)?;
                self.variables.truncate(declared);
                if flow == Flow::Break {
                    break;
                }
            }
            Flow::On
        };
        self.variables.truncate(known);
        Ok(flow)
    }

    /// What a loop goes over, with indices or keys.
    fn pairs(&self, pipe: &Pipe, value: Value) -> Result<Vec<(Value, Value)>, TemplateError> {
        if let Some(items) = value.items() {
            let index = |at: usize| Value::Int(at as i64);
            return Ok(items.iter().enumerate().map(|(at, i)| (index(at), i.clone())).collect());
        }
        if let Some(entries) = value.entries() {
            return Ok(entries.into_iter().map(|(key, value)| (Value::Text(key), value)).collect());
        }
        match value {
            Value::Missing | Value::Null => Ok(Vec::new()),
            Value::Int(count) if count <= COUNT_MAX => {
                Ok((0..count).map(|at| (Value::Int(at), Value::Int(at))).collect())
            }
            other => {
                let what = format!("range can't iterate over {}", crate::text::shown(&other));
                Err(self.error(pipe.commands[0].at, &pipe.to_string(), &what))
            }
        }
    }

    /// Gives a loop's variables their values: one gets the item, two get index and item.
    fn bind(&mut self, pipe: &Pipe, key: Value, item: &Value) {
        match &pipe.variables[..] {
            [one] => self.set(one, item.clone(), pipe.is_assignment),
            [first, second] => {
                self.set(first, key, pipe.is_assignment);
                self.set(second, item.clone(), pipe.is_assignment);
            }
            _ => {}
        }
    }

    fn set(&mut self, name: &str, value: Value, is_assignment: bool) {
        let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
        match known {
            Some((_, known)) if is_assignment => *known = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in &pipe.commands {
            self.step()?;
            last = Some(self.command(command, dot, last)?);
        }
        let value = last.unwrap_or(Value::Missing);
        if let [name] = &pipe.variables[..] {
            self.set(name, value.clone(), pipe.is_assignment);
        }
        Ok(value)
    }

    /// A command; `last` is what comes out of the one before it.
    fn command(
        &mut self,
        command: &Command,
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let (first, others) = command.words.split_first().expect("no command is empty");
        if let WordKind::Function(name) = &first.kind {
            return self.call(name, command, others, dot, last);
        }
        if matches!(first.kind, WordKind::Nil) {
            return Err(self.error(first.at, "nil", "nil is not a command"));
        }
        if !others.is_empty() || last.is_some() {
            let what = match &first.kind {
                WordKind::Fields(names) | WordKind::Group(_, names) if !names.is_empty() => {
                    let name = names.last().expect("there is one");
                    // What is not there at all is said first.
                    self.word(first, dot)?;
                    format!("{name} is not a method but has arguments")
                }
                _ => format!("can't give argument to non-function {first}"),
            };
            return Err(self.error(first.at, &first.to_string(), &what));
        }
        self.word(first, dot)
    }

    fn word(&mut self, word: &Word, dot: &Value) -> Result<Value, TemplateError> {
        self.step()?;
        match &word.kind {
            WordKind::Dot => Ok(dot.clone()),
            WordKind::Nil => Ok(Value::Null),
            WordKind::Literal(value, _) => Ok(value.clone()),
            WordKind::Fields(names) => self.fields(dot, names, word),
            WordKind::Variable(name, names) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map_or(Value::Missing, |(_, value)| value.clone());
                self.fields(&value, names, word)
            }
            WordKind::Group(pipe, names) => {
                let value = self.pipe(pipe, dot)?;
                self.fields(&value, names, word)
            }
            WordKind::Function(name) => {
                let command = Command { at: word.at, words: Vec::new() };
                self.call(name, &command, &[], dot, None)
            }
        }
    }

    /// Goes down by names.
    fn fields(&self, top: &Value, names: &[String], word: &Word) -> Result<Value, TemplateError> {
        let mut value = top.clone();
        // Go knows no type of what is in a map of anything.
        let mut is_untyped = false;
        for name in names {
            let next = match &value {
                Value::Map(entries) => entries.get(name).cloned(),
                Value::Texts(entries) => entries.get(name).map(|text| text.as_str().into()),
                Value::NilMap => None,
                Value::Missing if self.rules.missing_is_error => {
                    let what = format!("nil data; no entry for key {name:?}");
                    return Err(self.error(word.at, &word.to_string(), &what));
                }
                Value::Missing => Some(Value::Missing),
                Value::Struct(fields) => match fields.fields.iter().find(|f| f.name == name) {
                    Some(field) => Some(field.value.clone()),
                    None => return Err(self.no_field(name, &value, word, false)),
                },
                Value::Null => {
                    let what = format!("nil pointer evaluating interface {{}}.{name}");
                    return Err(self.error(word.at, &word.to_string(), &what));
                }
                Value::NilPointer(type_name) => {
                    let what = format!("nil pointer evaluating {type_name}.{name}");
                    return Err(self.error(word.at, &word.to_string(), &what));
                }
                _ => return Err(self.no_field(name, &value, word, is_untyped)),
            };
            is_untyped = matches!(value, Value::Map(_));
            value = match next {
                None if self.rules.missing_is_error => {
                    let what = format!("map has no entry for key {name:?}");
                    return Err(self.error(word.at, &word.to_string(), &what));
                }
                next => next.unwrap_or(Value::Missing),
            };
        }
        Ok(value)
    }

    fn no_field(&self, name: &str, value: &Value, word: &Word, is_untyped: bool) -> TemplateError {
        let type_name = if is_untyped { "interface {}" } else { value.type_name() };
        let what = format!("can't evaluate field {name} in type {type_name}");
        self.error(word.at, &word.to_string(), &what)
    }

    fn call(
        &mut self,
        name: &str,
        command: &Command,
        words: &[Word],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        // These look at no more than they have to.
        if let "and" | "or" = name {
            return self.first_that(name, command, words, dot, last);
        }
        let mut values = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let value = self.word(word, dot)?;
            if !self.rules.is_heading
                && let Some(what) = functions::misfit(name, at, word, &value)
            {
                return Err(self.error(word.at, &word.to_string(), &what));
            }
            values.push(value);
        }
        values.extend(last);
        let called = functions::call(name, &values, self.rules.is_heading);
        if let Ok(Value::Text(text)) = &called
            && text.len() > OUTPUT_BYTES_MAX
        {
            return Err(TemplateError("template: : its text gets too long".to_owned()));
        }
        called.map_err(|what| {
            let is_count = what.starts_with("wrong number of args");
            let shown = match command.words.is_empty() || is_count {
                true => name.to_owned(),
                false => command.to_string(),
            };
            self.error(command.at, &shown, &what)
        })
    }

    /// `and` gives the first that is false, `or` the first that is true, else the last.
    fn first_that(
        &mut self,
        name: &str,
        command: &Command,
        words: &[Word],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, TemplateError> {
        let mut value = None;
        for word in words {
            let next = self.word(word, dot)?;
            if next.is_true() == (name == "or") {
                return Ok(next);
            }
            value = Some(next);
        }
        last.or(value).ok_or_else(|| {
            let what = format!("wrong number of args for {name}: want at least 1 got 0");
            self.error(command.at, name, &what)
        })
    }

    fn error(&self, at: usize, part: &str, what: &str) -> TemplateError {
        let before = &self.text[..at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1);
        TemplateError(format!("template: :{line}:{column}: executing \"\" at <{part}>: {what}"))
    }
}
