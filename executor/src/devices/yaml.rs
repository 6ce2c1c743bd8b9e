//! YAML as far as descriptions of devices need it: one document of maps, lists and scalars, as a JSON value.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Deepest nesting, as in JSON: values are given up by functions that call themselves.
const DEPTH_MAX: usize = 128;

/// A collection that is being read.
enum Open {
    List(Vec<Value>),
    /// With the key that waits for its value.
    Map(Map<String, Value>, Option<String>),
}

/// Reads a document.
///
/// # Errors
/// No YAML, aliases, keys that are no scalars, deep nesting.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        if open.len() > DEPTH_MAX {
            return Err("it is nested too deeply".to_owned());
        }
        let done = match event {
            Event::Scalar(text, style, ..) => {
                scalar(&text, matches!(style, ScalarStyle::Plain), &open)
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Value::Array(list),
                Some(Open::Map(map, _)) => Value::Object(map),
                None => return Err("an end without a beginning".to_owned()),
            },
            Event::Alias(_) => return Err("aliases are not supported".to_owned()),
            _ => continue,
        };
        match open.last_mut() {
            None => return Ok(done),
            Some(Open::List(list)) => list.push(done),
            Some(Open::Map(map, key)) => match key.take() {
                Some(key) => {
                    map.insert(key, done);
                }
                None => match done {
                    Value::String(text) => *key = Some(text),
                    _ => return Err("a key is no word".to_owned()),
                },
            },
        }
    }
    Err("there is no document".to_owned())
}

/// A key is always a word.
fn scalar(text: &str, plain: bool, open: &[Open]) -> Value {
    let is_key = matches!(open.last(), Some(Open::Map(_, None)));
    if is_key || !plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    // As older YAML has it: file modes are written so.
    let octal = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    let octal = octal.filter(|digits| !digits.is_empty());
    if let Some(number) = octal.and_then(|digits| u64::from_str_radix(digits, 8).ok()) {
        return number.into();
    }
    match text.parse::<i64>() {
        Ok(number) => number.into(),
        Err(_) => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_values() {
        let check = |text: &str, want: &str| {
            let got = parse(text).map_or_else(|error| error, |value| value.to_string());
            assert_eq!(got, want, "{text}");
        };
        check("a: 1\nb:\n- x\n- 'y'\n", r#"{"a":1,"b":["x","y"]}"#);
        check("{1: \"2\", a: [true, null, -5]}", r#"{"1":"2","a":[true,null,-5]}"#);
        check("m: 0660\nn: 0o17\nv: 0.6.0\nz: 0\n", r#"{"m":432,"n":15,"v":"0.6.0","z":0}"#);
        check("a: &x 1\nb: *x\n", "aliases are not supported");
        check("", "there is no document");
        check("[a]: b\n", "a key is no word");
    }

    #[test]
    fn deep_nesting_ends_early() {
        for one in ["[", "- ", "{a: "] {
            assert!(parse(&one.repeat(100_000)).is_err(), "{one}");
            let error = parse(&one.repeat(DEPTH_MAX + 50)).expect_err(one);
            assert_eq!(error, "it is nested too deeply", "{one}");
        }
    }
}
