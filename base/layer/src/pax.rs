//! PAX extended header records: `LENGTH KEY=VALUE\n`, where the length counts itself.
//!
//! Owns the record form, read by length first (a value may hold newlines), and the forms of numbers in it. Refuses what
//! readers of tars disagree on: a key that comes twice (security.md B4).

use std::collections::BTreeMap;

use crate::Mtime;

/// Bytes that all records of one header may have.
pub(crate) const SIZE_MAX_BYTES: u64 = 1 << 20;

/// Records by key.
pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Appends one record.
pub(crate) fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + digits(rest);
    if rest + digits(len) != len {
        len = rest + digits(len);
    }
    out.extend_from_slice(len.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Reads all records. An empty value is kept; it means "as if the record were not there".
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Records, &'static str> {
    const BAD: &str = "malformed PAX record";
    let mut records = Records::new();
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|b| *b == b' ').ok_or(BAD)?;
        let len = parse_decimal(&bytes[..space]).ok_or(BAD)?;
        let len = usize::try_from(len).map_err(|_| BAD)?;
        if len <= space + 1 || len > bytes.len() {
            return Err(BAD);
        }
        let (record, rest) = bytes.split_at(len);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or(BAD)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or(BAD)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err(BAD);
        }
        let is_text = !key.starts_with(b"SCHILY.xattr.") && !key.starts_with(b"LIBARCHIVE.");
        if is_text && value.contains(&0) {
            return Err("PAX record with a zero byte in its value");
        }
        if records.insert(key.to_vec(), value.to_vec()).is_some() {
            return Err("PAX record given twice");
        }
        bytes = rest;
    }
    Ok(records)
}

/// Digits only, no sign and no spaces.
pub(crate) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Seconds with an optional fraction; digits after the ninth are cut off.
pub(crate) fn parse_time(text: &[u8]) -> Option<Mtime> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|b| *b == b'.');
    let (whole, fraction) = match dot {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let secs = i64::try_from(parse_decimal(whole)?).ok()?;
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    let nanos = (0..9).fold(0, |nanos, at| nanos * 10 + digit(at));
    Some(match (negative, nanos) {
        (false, nanos) => Mtime { secs, nanos },
        (true, 0) => Mtime { secs: -secs, nanos: 0 },
        (true, nanos) => Mtime { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_count_themselves() {
        for len in [0, 1, 89, 90, 91, 92, 93, 94, 985, 986, 987, 988, 989, 990, 9983, 9984, 9985] {
            let mut bytes = Vec::new();
            put_record(&mut bytes, b"k", &vec![b'v'; len]);
            let written = bytes.split(|b| *b == b' ').next().unwrap();
            assert_eq!(parse_decimal(written), Some(bytes.len() as u64), "value of {len}");
        }
        let mut bytes = Vec::new();
        put_record(&mut bytes, b"mtime", b"1350244992.023960108");
        assert_eq!(bytes, b"30 mtime=1350244992.023960108\n");
    }

    #[test]
    fn malformed_records_are_refused() {
        let bad: &[&[u8]] = &[
            b"x",
            b"5 k=v",
            b"5 k=v\n\n",
            b"6 k=v\n6 k=w\n6",
            b"6 k=v\n6 k=w\n",
            b"4 =v\n",
            b"5 kv\n",
            b"99999999999999999999 k=v\n",
            b"9223372036854775808 k=v\n",
            b"3 \n",
            b" 6 k=v\n",
            b"-6 k=v\n",
            b"+6 k=v\n",
            b"7 k=\0v\n",
            b"0 k=v\n",
            b"2 k=v\n",
        ];
        for bytes in bad {
            assert!(parse(bytes).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn times() {
        let at = |secs, nanos| Some(Mtime { secs, nanos });
        let cases: &[(&str, Option<Mtime>)] = &[
            ("0", at(0, 0)),
            ("12.5", at(12, 500_000_000)),
            ("12.", at(12, 0)),
            ("12.0000000019", at(12, 1)),
            ("-1", at(-1, 0)),
            ("-1.25", at(-2, 750_000_000)),
            ("", None),
            (".5", None),
            ("1.2.3", None),
            ("--1", None),
            ("+1", None),
            ("1e3", None),
            ("9223372036854775808", None),
        ];
        for (text, time) in cases {
            assert_eq!(parse_time(text.as_bytes()), *time, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_put_is_parsed(
            records in proptest::collection::btree_map(
                "SCHILY\\.xattr\\.[a-z.]{1,60}",
                proptest::collection::vec(any::<u8>(), 0..2000),
                0..6,
            )
        ) {
            let mut bytes = Vec::new();
            let records: Records =
                records.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            for (key, value) in &records {
                put_record(&mut bytes, key, value);
            }
            prop_assert_eq!(parse(&bytes), Ok(records));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse_time(&bytes);
        }
    }
}
