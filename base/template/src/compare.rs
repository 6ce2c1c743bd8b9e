//! `eq`, `ne`, `lt`, `le`, `gt` and `ge`.

use std::cmp::Ordering;

use crate::text::shown;
use crate::value::Value;

/// Compares the first value with the second; `eq` with any of the others.
pub(crate) fn compare(name: &str, values: &[Value]) -> Result<Value, String> {
    let (first, others) = values.split_first().expect("the number was looked at");
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    let mut is = false;
    for other in others {
        is |= holds(name, first, other)?;
    }
    Ok(Value::Bool(is))
}

fn holds(name: &str, one: &Value, other: &Value) -> Result<bool, String> {
    if let "eq" | "ne" = name {
        return Ok(is_equal(one, other)? == (name == "eq"));
    }
    let ordering = order(one, other)?;
    Ok(match name {
        "lt" => ordering == Ordering::Less,
        "le" => ordering != Ordering::Greater,
        "gt" => ordering == Ordering::Greater,
        _ => ordering != Ordering::Less,
    })
}

fn is_equal(one: &Value, other: &Value) -> Result<bool, String> {
    if is_nothing(one) || is_nothing(other) {
        return Ok(is_nothing(one) && is_nothing(other));
    }
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => Ok(one == other),
        _ => order(one, other).map(|ordering| ordering == Ordering::Equal),
    }
}

fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Missing | Value::Null | Value::NilPointer(_))
}

fn order(one: &Value, other: &Value) -> Result<Ordering, String> {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => Ok(one.cmp(other)),
        (Value::Float(one), Value::Float(other)) => {
            Ok(one.partial_cmp(other).unwrap_or(Ordering::Greater))
        }
        // A number of a JSON document is a text to Go.
        (Value::Text(one) | Value::Number(one), Value::Text(other) | Value::Number(other)) => {
            Ok(one.cmp(other))
        }
        (Value::Bool(_), Value::Bool(_)) => Err("invalid type for comparison".to_owned()),
        _ => {
            let what = |value: &Value| {
                format!("non-comparable type {}: {}", shown(value), value.type_name())
            };
            match [one, other].into_iter().find(|value| !is_basic(value)) {
                Some(value) => Err(what(value)),
                None => Err("incompatible types for comparison".to_owned()),
            }
        }
    }
}

fn is_basic(value: &Value) -> bool {
    matches!(
        value,
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) | Value::Number(_)
    )
}
