//! Makes bytes from elsewhere safe to print: no step's output may move a cursor, set a title or hide text.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One line of a step's output as it may be shown.
///
/// Colour sequences go, every other control character is shown as its escape, and what a carriage return would have
/// overwritten is left out, as on a terminal.
pub(crate) fn output_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\r');
    let visible = text.rsplit('\r').next().unwrap_or(text);
    plain_text(&without_colours(visible)).into_owned()
}

/// Text for one line: control characters, and those that change the direction of writing, are shown as escapes.
pub(crate) fn plain_text(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if !is_unsafe(c) {
            safe.push(c);
        } else if c.is_ascii() {
            let _ = write!(safe, "\\x{:02x}", c as u32);
        } else {
            let _ = write!(safe, "\\u{{{:x}}}", c as u32);
        }
    }
    Cow::Owned(safe)
}

fn is_unsafe(c: char) -> bool {
    let direction =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let separator = matches!(c, '\u{2028}' | '\u{2029}');
    (c.is_control() && c != '\t') || direction || separator
}

/// Takes out `ESC [ … m`, which says nothing once colours are not ours to set.
fn without_colours(text: &str) -> Cow<'_, str> {
    if !text.contains("\x1b[") {
        return Cow::Borrowed(text);
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        kept.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence.find(|c: char| !matches!(c, '0'..='9' | ';' | ':'));
        match end.map(|end| (end, sequence.as_bytes()[end])) {
            Some((end, b'm')) => rest = &sequence[end + 1..],
            _ => {
                kept.push_str("\x1b[");
                rest = sequence;
            }
        }
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_become_visible() {
        let check = |bytes: &[u8], want: &str| assert_eq!(output_line(bytes), want, "{bytes:?}");
        check(b"plain\ttext", "plain\ttext");
        check(b"dos\r", "dos");
        check(b" 10%\r 20%\r 30%", " 30%");
        check(b"\x1b[1;31mred\x1b[0m", "red");
        check(b"\x1b]0;title\x07", "\\x1b]0;title\\x07");
        check(b"\x1b[2Jgone", "\\x1b[2Jgone");
        check(b"\x1b[31", "\\x1b[31");
        check("\u{9b}31m".as_bytes(), "\\u{9b}31m");
        check("a\u{202e}b".as_bytes(), "a\\u{202e}b");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
        check(b"nul\0", "nul\\x00");
    }
}
