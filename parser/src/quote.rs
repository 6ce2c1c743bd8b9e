//! Go's quoting of strings, as BuildKit's messages and history texts have it.

use std::fmt::Write;

/// A text in double quotes with escapes, as Go's `%q` prints it: `a"b` gives `"a\"b"`.
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x80 && c.is_control() => {
                push(&mut quoted, format_args!("\\x{:02x}", c as u32))
            }
            c if is_printable(c) => quoted.push(c),
            c if (c as u32) < 0x1_0000 => push(&mut quoted, format_args!("\\u{:04x}", c as u32)),
            c => push(&mut quoted, format_args!("\\U{:08x}", c as u32)),
        }
    }
    quoted.push('"');
    quoted
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a string cannot fail");
}

/// Near enough to Go's idea: no controls, no blanks other than the space, no marks that cannot be
/// seen.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c as u32,
        0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff0..=0xfffb
        | 0xe000..=0xf8ff | 0xe0000..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

#[cfg(test)]
mod tests {
    use super::go_quote;

    #[test]
    fn quotes_as_go_does() {
        let cases = [
            ("", r#""""#),
            ("plain text", r#""plain text""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("line\nnext\t.", r#""line\nnext\t.""#),
            ("\u{1}\u{7f}", r#""\x01\x7f""#),
            ("é日", r#""é日""#),
            ("\u{200b}\u{a0}", r#""\u200b\u00a0""#),
        ];
        for (text, expect) in cases {
            assert_eq!(go_quote(text), expect, "{text:?}");
        }
    }
}
