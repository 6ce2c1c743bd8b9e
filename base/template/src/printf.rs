//! `print`, `println` and `printf`.

use crate::text::{OUTPUT_BYTES_MAX, float, shown};
use crate::value::Value;

/// Go refuses wider fields too.
const WIDTH_MAX: usize = 1_000_000;
/// No number has more digits that are not zeros behind them; the standard library prints no more than 65,535.
const DIGITS_MAX: usize = 1100;

/// Values one after the other, with a blank between two that are no texts.
pub(crate) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut was_text = true;
    for (at, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if at > 0 && !is_text && !was_text {
            out.push(' ');
        }
        was_text = is_text;
        out.push_str(&shown(value));
    }
    out
}

/// Values with blanks between them, and the end of the line.
pub(crate) fn println(values: &[Value]) -> String {
    let mut out = values.iter().map(shown).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// Flags, width and precision of a verb.
#[derive(Default)]
struct Form {
    is_left: bool,
    has_plus: bool,
    has_blank: bool,
    is_sharp: bool,
    has_zeros: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// A text with verbs.
pub(crate) fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut next = 0;
    let mut chars = format.chars().peekable();
    while let Some(char) = chars.next() {
        if out.len() > OUTPUT_BYTES_MAX {
            return Err("error calling printf: its text gets too long".to_owned());
        }
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut form = Form::default();
        while let Some(flag) = chars.next_if(|char| matches!(char, '-' | '+' | ' ' | '#' | '0')) {
            match flag {
                '-' => form.is_left = true,
                '+' => form.has_plus = true,
                ' ' => form.has_blank = true,
                '#' => form.is_sharp = true,
                _ => form.has_zeros = true,
            }
        }
        form.width = amount(&mut chars, values, &mut next);
        if chars.next_if_eq(&'.').is_some() {
            form.precision = Some(amount(&mut chars, values, &mut next).unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if form.width.take_if(|width| *width > WIDTH_MAX).is_some() {
            out.push_str("%!(BADWIDTH)");
        }
        if form.precision.take_if(|precision| *precision > WIDTH_MAX).is_some() {
            out.push_str("%!(BADPREC)");
        }
        match (verb, values.get(next)) {
            ('%', _) => out.push('%'),
            (verb, None) => out.push_str(&format!("%!{verb}(MISSING)")),
            (verb, Some(value)) => {
                out.push_str(&padded(&form, verb, value));
                next += 1;
            }
        }
    }
    if next < values.len() {
        let extra = values[next..].iter().map(|value| format!("{}={}", kind(value), shown(value)));
        out.push_str(&format!("%!(EXTRA {})", extra.collect::<Vec<_>>().join(", ")));
    }
    Ok(out)
}

/// A width or precision: digits, or the next value for `*`.
fn amount(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &[Value],
    next: &mut usize,
) -> Option<usize> {
    if chars.next_if_eq(&'*').is_some() {
        let value = values.get(*next);
        *next += 1;
        return match value {
            Some(Value::Int(amount)) => usize::try_from(*amount).ok(),
            _ => None,
        };
    }
    let mut amount: Option<usize> = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0) as usize;
        amount = Some(amount.unwrap_or(0).saturating_mul(10).saturating_add(digit));
    }
    amount
}

fn padded(form: &Form, verb: char, value: &Value) -> String {
    let Some(text) = formatted(form, verb, value) else {
        return format!("%!{verb}({}={})", kind(value), shown(value));
    };
    let missing = form.width.unwrap_or(0).saturating_sub(text.chars().count());
    if form.is_left {
        return text + &" ".repeat(missing);
    }
    let is_number = matches!(value, Value::Int(_) | Value::Float(_));
    if !form.has_zeros || (is_number && form.precision.is_some() && verb == 'd') {
        return " ".repeat(missing) + &text;
    }
    let (sign, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) if is_number => text.split_at(text.len() - digits.len()),
        _ => ("", &*text),
    };
    format!("{sign}{}{digits}", "0".repeat(missing))
}

/// `None` for a verb that does not fit the value.
fn formatted(form: &Form, verb: char, value: &Value) -> Option<String> {
    let text = match (verb, value) {
        ('T', value) => return Some(kind(value).to_owned()),
        ('v', Value::Int(number)) => signed(form, *number < 0, &number.unsigned_abs().to_string()),
        ('v', Value::Text(text)) if form.is_sharp => quoted(text),
        ('v', value) => shown(value),
        (verb, Value::List(items)) => {
            let inner = Form { width: None, ..Form::default() };
            let items: Vec<String> = items.iter().map(|item| padded(&inner, verb, item)).collect();
            format!("[{}]", items.join(" "))
        }
        ('t', Value::Bool(is)) => is.to_string(),
        ('s', Value::Text(text) | Value::Number(text)) => cut(form, text),
        ('q', Value::Text(text) | Value::Number(text)) => quoted(&cut(form, text)),
        ('x', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        (_, Value::Int(number)) => whole(form, verb, *number)?,
        (_, Value::Float(number)) => real(form, verb, *number)?,
        _ => return None,
    };
    Some(text)
}

fn cut(form: &Form, text: &str) -> String {
    match form.precision {
        Some(length) => text.chars().take(length).collect(),
        None => text.to_owned(),
    }
}

fn whole(form: &Form, verb: char, number: i64) -> Option<String> {
    let size = number.unsigned_abs();
    let digits = match verb {
        'd' => size.to_string(),
        'x' => format!("{}{size:x}", if form.is_sharp { "0x" } else { "" }),
        'X' => format!("{}{size:X}", if form.is_sharp { "0X" } else { "" }),
        'o' => format!("{}{size:o}", if form.is_sharp { "0" } else { "" }),
        'b' => format!("{size:b}"),
        'c' => return char::from_u32(u32::try_from(number).ok()?).map(String::from),
        'q' => {
            let char = char::from_u32(u32::try_from(number).ok()?)?;
            return Some(format!("'{char}'"));
        }
        'U' => return Some(format!("U+{size:04X}")),
        _ => return None,
    };
    let zeros = form.precision.unwrap_or(0).saturating_sub(digits.len());
    Some(signed(form, number < 0, &format!("{}{digits}", "0".repeat(zeros))))
}

fn real(form: &Form, verb: char, number: f64) -> Option<String> {
    let size = number.abs();
    let digits = match verb {
        'f' | 'F' => {
            let precision = form.precision.unwrap_or(6);
            zeros(precision, format!("{size:.*}", precision.min(DIGITS_MAX)))
        }
        'g' => match form.precision {
            Some(precision) => significant(size, precision),
            None => float(size),
        },
        'e' => {
            let precision = form.precision.unwrap_or(6);
            let text = format!("{size:.*e}", precision.min(DIGITS_MAX));
            let (digits, exponent) = text.split_once('e')?;
            let digits = zeros(precision, digits.to_owned());
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        _ => return None,
    };
    Some(signed(form, number < 0.0, &digits))
}

/// Digits with the zeros up to `precision` that [`DIGITS_MAX`] has left out.
fn zeros(precision: usize, digits: String) -> String {
    digits + &"0".repeat(precision.saturating_sub(DIGITS_MAX))
}

/// So many digits that count, without zeros at the end.
fn significant(size: f64, precision: usize) -> String {
    let precision = precision.clamp(1, DIGITS_MAX);
    let scaled = format!("{size:.*e}", precision - 1);
    let (digits, exponent) = scaled.split_once('e').unwrap_or((&scaled, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        let digits = trimmed(digits);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let decimals = usize::try_from(precision as i32 - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{size:.decimals$}")).to_owned()
}

fn trimmed(digits: &str) -> &str {
    match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    }
}

fn signed(form: &Form, is_negative: bool, digits: &str) -> String {
    let sign = match (is_negative, form.has_plus, form.has_blank) {
        (true, _, _) => "-",
        (_, true, _) => "+",
        (_, _, true) => " ",
        _ => "",
    };
    format!("{sign}{digits}")
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            char if (char as u32) < 0x20 || char as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", char as u32));
            }
            char if char.is_control() => out.push_str(&format!("\\u{:04x}", char as u32)),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// The name of a type between `%!` and `=`.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Missing | Value::Null => "<nil>",
        other => other.type_name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_width_or_precision_is_too_large() {
        let check = |format: &str, value: Value, length: usize, end: &str| {
            let text = printf(format, &[value]).expect("a text");
            assert_eq!((text.len(), text.ends_with(end)), (length, true), "{format}");
        };
        check("%.70000f", Value::Float(1.5), 70_002, "0");
        check("%.70000e", Value::Float(1.5), 70_006, "0e+00");
        check("%.70000g", Value::Float(1.5), 3, "1.5");
        check("%70000d", Value::Int(1), 70_000, " 1");
        check("%.99999999999d", Value::Int(1), 12, "%!(BADPREC)1");
        check("%.99999999999f", Value::Float(1.5), 19, "%!(BADPREC)1.500000");
        check("%99999999999.1f", Value::Float(1.5), 15, "%!(BADWIDTH)1.5");
    }
}
