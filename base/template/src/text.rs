//! Values as text: what Go's `%v` prints, and JSON.

use std::fmt::Write as _;

use crate::value::Value;

/// How long a text may get.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// A value as an action prints it.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Missing | Value::Null => "<no value>".to_owned(),
        _ => shown(value),
    }
}

/// A value inside of others, or as `print` has it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Missing | Value::Null | Value::NilPointer(_) => "<nil>".to_owned(),
        Value::Bool(is) => is.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => float(*number),
        Value::Number(text) | Value::Text(text) => text.clone(),
        Value::List(items) => format!("[{}]", spaced(items.iter().map(shown))),
        Value::NilList => "[]".to_owned(),
        Value::NilMap => "map[]".to_owned(),
        Value::Map(_) | Value::Texts(_) => {
            let entries = value.entries().unwrap_or_default();
            let entry = |(key, value): &(String, Value)| format!("{key}:{}", shown(value));
            format!("map[{}]", spaced(entries.iter().map(entry)))
        }
        Value::Struct(fields) => {
            format!("{{{}}}", spaced(fields.fields.iter().map(|field| shown(&field.value))))
        }
    }
}

fn spaced(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(" ")
}

/// The shortest text of a number, with an exponent where Go has one.
pub(crate) fn float(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    number.to_string()
}

/// A value as JSON without white space.
pub(crate) fn json(value: &Value, escapes_html: bool, out: &mut String) {
    match value {
        Value::Struct(fields) => {
            let escapes_html = escapes_html || fields.escapes_html;
            let members = fields.shown().map(|field| (field.json, &field.value));
            object(members, escapes_html, out);
        }
        Value::Map(entries) => {
            object(entries.iter().map(|(key, value)| (key.as_str(), value)), escapes_html, out);
        }
        Value::Texts(entries) => {
            let values: Vec<_> = entries.iter().map(|(k, v)| (k, Value::Text(v.clone()))).collect();
            object(values.iter().map(|(key, value)| (key.as_str(), value)), escapes_html, out);
        }
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                json(item, escapes_html, out);
            }
            out.push(']');
        }
        Value::Text(text) => json_text(text, escapes_html, out),
        Value::Number(text) => out.push_str(text),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Int(number) => drop(write!(out, "{number}")),
        Value::Bool(is) => drop(write!(out, "{is}")),
        Value::Missing | Value::Null | Value::NilPointer(_) | Value::NilList | Value::NilMap => {
            out.push_str("null")
        }
    }
}

fn object<'a>(
    members: impl Iterator<Item = (&'a str, &'a Value)>,
    escapes_html: bool,
    out: &mut String,
) {
    out.push('{');
    for (at, (key, value)) in members.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json_text(key, escapes_html, out);
        out.push(':');
        json(value, escapes_html, out);
    }
    out.push('}');
}

fn json_text(text: &str, escapes_html: bool, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' if escapes_html => drop(write!(out, "\\u{:04x}", char as u32)),
            '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", char as u32)),
            char if (char as u32) < 0x20 => drop(write!(out, "\\u{:04x}", char as u32)),
            char => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_short_as_go_s() {
        let all = [0.0, 1.5, 100.0, 1e20, 1e21, 1.5e-5, 0.0001, f64::INFINITY];
        let texts: Vec<String> = all.iter().map(|number| float(*number)).collect();
        let want =
            ["0", "1.5", "100", "100000000000000000000", "1e+21", "1.5e-05", "0.0001", "+Inf"];
        assert_eq!(texts, want);
    }
}
