//! Words of a case file's lines: as a shell splits and quotes them, and words that may be JSON strings.
//!
//! Knows nothing of what the words mean.

use serde_json::Value;

/// Splits a line as a shell does, with single quotes, double quotes and backslashes; expands nothing.
pub(super) fn shell(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' => words.extend(word.take()),
            '$' if chars.as_str().starts_with('\'') => {
                chars.next();
                ansi(&mut chars, word.get_or_insert_default())?;
            }
            '\'' => single(&mut chars, word.get_or_insert_default())?,
            '"' => double(&mut chars, word.get_or_insert_default())?,
            '\\' => {
                let next = chars.next().ok_or("a backslash at the end of the line")?;
                word.get_or_insert_default().push(next);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err("a single quote is not closed".to_owned())
}

/// `$'…'`: the one quote that can say a line break in a line.
fn ansi(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            '\'' => return Ok(()),
            '\\' => match chars.next() {
                Some('n') => word.push('\n'),
                Some('t') => word.push('\t'),
                Some(c @ ('\\' | '\'' | '"')) => word.push(c),
                _ => return Err("only \\n, \\t, \\\\ and quotes are known in $'…'".to_owned()),
            },
            other => word.push(other),
        }
    }
    Err("a single quote is not closed".to_owned())
}

fn double(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            other => word.push(other),
        }
    }
    Err("a double quote is not closed".to_owned())
}

/// A word of a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// As it stands.
    Bare(String),
    /// Written as a JSON string.
    Quoted(String),
}

impl Word {
    /// The text, however it was written.
    pub(super) fn text(&self) -> &str {
        match self {
            Word::Bare(text) | Word::Quoted(text) => text,
        }
    }
}

/// Takes the first word, a bare one or a JSON string; returns what follows it too.
pub(super) fn take(line: &str) -> Result<Option<(Word, &str)>, String> {
    let line = line.trim_start_matches([' ', '\t']);
    if line.is_empty() {
        return Ok(None);
    }
    if !line.starts_with('"') {
        let end = line.find([' ', '\t']).unwrap_or(line.len());
        return Ok(Some((Word::Bare(line[..end].to_owned()), &line[end..])));
    }
    let mut stream = serde_json::Deserializer::from_str(line).into_iter::<Value>();
    match stream.next() {
        Some(Ok(Value::String(text))) => {
            let rest = &line[stream.byte_offset()..];
            if rest.is_empty() || rest.starts_with([' ', '\t']) {
                return Ok(Some((Word::Quoted(text), rest)));
            }
            Err(format!("no blank behind a JSON string: {line}"))
        }
        Some(Err(error)) => Err(format!("not a JSON string ({error}): {line}")),
        _ => Err(format!("not a JSON string: {line}")),
    }
}

/// All words of a line, bare or JSON strings.
pub(super) fn all(mut line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    while let Some((word, rest)) = take(line)? {
        words.push(word);
        line = rest;
    }
    Ok(words)
}

/// The bytes that a JSON string of a `bytes` section stands for: `\u00XX` is a byte, what lies above is UTF-8.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for c in text.chars() {
        match u8::try_from(u32::from(c)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shell_s_quotes() {
        let words = shell(r#" a 'b  c' "d \" \n $" e\ f  '' x"y"z "#).unwrap();
        assert_eq!(words, ["a", "b  c", "d \" \\n $", "e f", "", "xyz"]);
        assert_eq!(shell(r"A=$'x\n\'y' $'' $z").unwrap(), ["A=x\n'y", "", "$z"]);
        for bad in ["'a", "\"a", "a\\", "$'a", r"$'\q'"] {
            assert!(shell(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn json_words() {
        let words = all(r#" /a "b \u00e9" c"d"#).unwrap();
        let text: Vec<&str> = words.iter().map(Word::text).collect();
        assert_eq!(text, ["/a", "b é", "c\"d"]);
        assert!(all("\"a\"b").is_err());
        assert!(all("\"a").is_err());
        assert_eq!(bytes("\u{ff}a\u{20ac}"), [0xff, b'a', 0xe2, 0x82, 0xac]);
    }
}
