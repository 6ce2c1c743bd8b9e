//! Percent-encoding of paths and queries (RFC 3986, 2.3): all but the unreserved characters.

use std::fmt::Write as _;

/// Encodes a name or value.
pub fn encode(text: &str) -> String {
    encode_but(text, b"-._~")
}

/// Encodes a path: slashes stay.
pub fn encode_path(text: &str) -> String {
    encode_but(text, b"-._~/")
}

fn encode_but(text: &str, also_kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || also_kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slashes_of_paths_stay() {
        assert_eq!(encode("a/b c~\u{e4}+"), "a%2Fb%20c~%C3%A4%2B");
        assert_eq!(encode_path("a/b:c"), "a/b%3Ac");
    }
}
