//! The functions: Go's own, and those that docker adds. An error is what stands behind the place.

use crate::compare;
use crate::node::{Word, WordKind};
use crate::printf;
use crate::text::{json, shown};
use crate::value::Value;

/// How many blanks `pad` adds at most.
const PAD_MAX: i64 = 1 << 20;

const NAMES: [&str; 22] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate",
];

pub(crate) fn is_known(name: &str) -> bool {
    NAMES.contains(&name) || name == "upper"
}

/// Calls a function. Of headings texts stay as they are.
pub(crate) fn call(name: &str, values: &[Value], is_heading: bool) -> Result<Value, String> {
    let (least, most) = counts(name);
    if values.len() < least || most.is_some_and(|most| values.len() > most) {
        let want = match most {
            Some(most) if most == least => least.to_string(),
            _ => format!("at least {least}"),
        };
        return Err(format!("wrong number of args for {name}: want {want} got {}", values.len()));
    }
    if is_heading
        && matches!(name, "json" | "split" | "join" | "title" | "lower" | "upper" | "truncate")
    {
        return Ok(values[0].clone());
    }
    let called = match name {
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare::compare(name, values),
        "not" => Ok(Value::Bool(!values[0].is_true())),
        "index" => index(&values[0], &values[1..]),
        "slice" => slice(&values[0], &values[1..]),
        "len" => length(&values[0]).map(|length| Value::Int(length as i64)),
        "print" => Ok(printf::print(values).into()),
        "println" => Ok(printf::println(values).into()),
        "printf" => return printf::printf(text(values, 0)?, &values[1..]).map(Value::Text),
        "json" => Ok(in_json(&values[0])),
        "join" => join(&values[0], text(values, 1)?),
        _ => return texts(name, values),
    };
    called.map_err(|what| format!("error calling {name}: {what}"))
}

/// Least and most arguments.
fn counts(name: &str) -> (usize, Option<usize>) {
    match name {
        "print" | "println" => (0, None),
        "index" | "slice" | "printf" | "eq" => (1, None),
        "len" | "not" | "json" | "title" | "lower" | "upper" => (1, Some(1)),
        "pad" => (3, Some(3)),
        _ => (2, Some(2)),
    }
}

/// Functions of texts.
fn texts(name: &str, values: &[Value]) -> Result<Value, String> {
    let subject = text(values, 0)?;
    Ok(match name {
        "lower" => Value::Text(subject.to_lowercase()),
        "upper" => Value::Text(subject.to_uppercase()),
        "title" => Value::Text(title(subject)),
        "split" => split(subject, text(values, 1)?),
        "pad" => {
            let (before, after) = (number(values, 1)?, number(values, 2)?);
            let blanks = |count: i64| match usize::try_from(count.min(PAD_MAX)) {
                Ok(count) => Ok(" ".repeat(count)),
                Err(_) => Err(format!("error calling {name}: strings: negative Repeat count")),
            };
            match subject.is_empty() {
                true => Value::Text(String::new()),
                false => Value::Text(format!("{}{subject}{}", blanks(before)?, blanks(after)?)),
            }
        }
        // Lengths are bytes; what would be half a character is left out.
        _ => match usize::try_from(number(values, 1)?) {
            Ok(length) => Value::Text(subject[..floor(subject, length)].to_owned()),
            Err(_) => {
                let what = "runtime error: slice bounds out of range";
                return Err(format!("error calling {name}: {what}"));
            }
        },
    })
}

fn floor(text: &str, length: usize) -> usize {
    (0..=length.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn title(text: &str) -> String {
    let mut previous = ' ';
    let upper = |char: char| {
        let is_first = !(previous.is_alphanumeric() || matches!(previous, '_' | '\''));
        previous = char;
        if is_first { char.to_uppercase().collect::<String>() } else { char.to_string() }
    };
    text.chars().map(upper).collect()
}

fn split(text: &str, by: &str) -> Value {
    let parts: Vec<String> = match by {
        "" => text.chars().map(String::from).collect(),
        by => text.split(by).map(str::to_owned).collect(),
    };
    parts.into()
}

fn in_json(value: &Value) -> Value {
    let mut out = String::new();
    json(value, false, &mut out);
    Value::Text(out)
}

fn join(value: &Value, by: &str) -> Result<Value, String> {
    if let Some(items) = value.items() {
        return Ok(items.iter().map(shown).collect::<Vec<_>>().join(by).into());
    }
    if let Some(entries) = value.entries() {
        let mut texts: Vec<String> = entries.iter().map(|(_, value)| shown(value)).collect();
        texts.sort();
        return Ok(texts.join(by).into());
    }
    match value {
        Value::Missing | Value::Null => Ok("".into()),
        other => Err(format!("expected slice, got {}", other.type_name())),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    if let Some(items) = value.items() {
        return Ok(items.len());
    }
    match value {
        Value::Text(text) | Value::Number(text) => Ok(text.len()),
        Value::Map(entries) => Ok(entries.len()),
        Value::Texts(entries) => Ok(entries.len()),
        Value::NilMap => Ok(0),
        Value::Missing | Value::Null => Err("len of nil pointer".to_owned()),
        other => Err(format!("len of type {}", other.type_name())),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = item(&value, key)?;
    }
    Ok(value)
}

fn item(value: &Value, key: &Value) -> Result<Value, String> {
    if let Some(items) = value.items() {
        let at = position(key, items.len(), false)?;
        return Ok(items[at].clone());
    }
    let name = |key: &Value| match key {
        Value::Text(name) => Ok(name.clone()),
        Value::Null => Err("value is nil; should be string".to_owned()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    };
    match value {
        Value::Text(text) => {
            let at = position(key, text.len(), false)?;
            Ok(Value::Int(i64::from(text.as_bytes()[at])))
        }
        Value::Map(entries) => Ok(entries.get(&name(key)?).cloned().unwrap_or(Value::Missing)),
        Value::Texts(entries) => Ok(entries.get(&name(key)?).map_or("", String::as_str).into()),
        Value::NilMap => name(key).map(|_| "".into()),
        Value::Missing | Value::Null => Err("index of untyped nil".to_owned()),
        Value::NilPointer(_) => Err("index of nil pointer".to_owned()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

/// An index that is in range; `is_end` for one that may be the length.
fn position(key: &Value, length: usize, is_end: bool) -> Result<usize, String> {
    let at = match key {
        Value::Int(at) => *at,
        Value::Missing | Value::Null => return Err("cannot index slice/array with nil".to_owned()),
        other => {
            let name = other.type_name();
            return Err(format!("cannot index slice/array with type {name}"));
        }
    };
    let limit = if is_end { length + 1 } else { length };
    let position = usize::try_from(at).ok().filter(|at| *at < limit);
    position.ok_or_else(|| format!("index out of range: {at}"))
}

fn slice(value: &Value, keys: &[Value]) -> Result<Value, String> {
    if keys.len() > 3 {
        return Err(format!("too many slice indexes: {}", keys.len()));
    }
    let length = match value {
        Value::Text(_) | Value::Number(_) | Value::List(_) | Value::NilList => length(value)?,
        Value::Missing | Value::Null => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let bound = |at: usize, none: usize| match keys.get(at) {
        Some(key) => position(key, length, true),
        None => Ok(none),
    };
    let (begin, end) = (bound(0, 0)?, bound(1, length)?);
    if begin > end {
        return Err(format!("invalid slice index: {begin} > {end}"));
    }
    Ok(match value {
        Value::Text(text) | Value::Number(text) => {
            Value::Text(text[floor(text, begin)..floor(text, end)].to_owned())
        }
        other => Value::List(other.items().unwrap_or_default()[begin..end].to_vec()),
    })
}

/// What an argument has to be.
#[derive(Clone, Copy)]
enum Want {
    Text,
    Number,
    List,
}

/// What the argument at a place has to be; `None` for anything.
fn want(name: &str, at: usize) -> Option<Want> {
    match (name, at) {
        ("pad", 1 | 2) | ("truncate", 1) => Some(Want::Number),
        ("join", 0) => Some(Want::List),
        ("printf", 0) | ("join", 1) => Some(Want::Text),
        ("split" | "title" | "lower" | "upper" | "pad" | "truncate", _) => Some(Want::Text),
        _ => None,
    }
}

/// What is wrong with an argument at its place, if something is.
pub(crate) fn misfit(name: &str, at: usize, word: &Word, value: &Value) -> Option<String> {
    let want = want(name, at)?;
    let (type_name, literal) = match want {
        Want::Text => ("string", "string"),
        Want::Number => ("int", "integer"),
        Want::List => ("[]string", "[]string"),
    };
    let fits = match want {
        Want::Text => matches!(value, Value::Text(_) | Value::Number(_)),
        Want::Number => matches!(value, Value::Int(_)),
        // Newer versions of docker take maps, and nothing, too.
        Want::List => {
            value.items().is_some() || value.entries().is_some() || *value == Value::Missing
        }
    };
    if fits {
        return None;
    }
    Some(match (&word.kind, value) {
        (WordKind::Literal(..), _) => format!("expected {literal}; found {word}"),
        (WordKind::Nil, _) => format!("cannot assign nil to {type_name}"),
        (_, Value::Missing | Value::Null) => format!("invalid value; expected {type_name}"),
        (_, other) => {
            format!("wrong type for value; expected {type_name}; got {}", other.type_name())
        }
    })
}

/// An argument that has to be a text: one from a pipeline was not looked at before.
fn text(values: &[Value], at: usize) -> Result<&str, String> {
    match &values[at] {
        Value::Text(text) | Value::Number(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

/// An argument that has to be a whole number.
fn number(values: &[Value], at: usize) -> Result<i64, String> {
    match &values[at] {
        Value::Int(number) => Ok(*number),
        other => Err(format!("wrong type for value; expected int; got {}", other.type_name())),
    }
}
