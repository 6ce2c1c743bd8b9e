//! Lexical clean-up of paths, as Go's `path.Clean` does it.

/// Removes doubled slashes, `.`, and `..` with what stands before it. An absolute path stays absolute and never has
/// `..`; a relative one may begin with `..`. The empty path is `.`.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let absolute = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(last) if *last != b".." => {
                    parts.pop();
                }
                _ if absolute => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (absolute, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        let check = |path: &str, want: &str| {
            assert_eq!(String::from_utf8_lossy(&clean(path.as_bytes())), want, "{path}");
        };
        check("", ".");
        check(".", ".");
        check("./a//b/", "a/b");
        check("a/../b", "b");
        check("a/../..", "..");
        check("../a", "../a");
        check("/../a/.", "/a");
        check("/", "/");
        check("!./a", "!./a");
    }
}
