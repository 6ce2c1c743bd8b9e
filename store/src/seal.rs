//! The one form of all small files: a first line with kind, format and checksum, then the body.
//!
//! The checksum covers kind, name and body, so a torn file and a file under another's name are both seen, and both
//! count as absent: losing a record costs a step, believing a wrong one costs an image.

use oci::{Digest, Hasher};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// `body` with its first line. `name` is the path below the store's root.
pub(crate) fn seal(kind: &str, name: &str, body: &[u8]) -> Vec<u8> {
    let mut out = format!("shale {kind} 1 {}\n", checksum(kind, name, body).hex()).into_bytes();
    out.extend_from_slice(body);
    out
}

/// The body of a sealed file; `None` when it is not whole or not what it should be.
pub(crate) fn unseal<'a>(kind: &str, name: &str, file: &'a [u8]) -> Option<&'a [u8]> {
    let end = file.iter().position(|b| *b == b'\n')?;
    let (line, body) = (&file[..end], &file[end + 1..]);
    let line = std::str::from_utf8(line).ok()?;
    let sum = line.strip_prefix("shale ")?.strip_prefix(kind)?.strip_prefix(" 1 ")?;
    (Digest::from_hex(sum).ok()? == checksum(kind, name, body)).then_some(body)
}

/// A sealed JSON document.
pub(crate) fn seal_json(kind: &str, name: &str, value: &impl Serialize) -> Vec<u8> {
    let mut body = serde_json::to_vec(value)
        .expect("the store's documents hold only strings, numbers, lists and string-keyed maps");
    body.push(b'\n');
    seal(kind, name, &body)
}

/// The document in a sealed file; `None` when it is not whole or not what it should be.
pub(crate) fn unseal_json<T: DeserializeOwned>(kind: &str, name: &str, file: &[u8]) -> Option<T> {
    serde_json::from_slice(unseal(kind, name, file)?).ok()
}

fn checksum(kind: &str, name: &str, body: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(kind.as_bytes());
    hasher.update(b"\n");
    hasher.update(name.as_bytes());
    hasher.update(b"\n");
    hasher.update(body);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_torn_or_renamed_file_is_absent() {
        let file = seal("record", "records/near/aa", b"{}\n");
        assert_eq!(unseal("record", "records/near/aa", &file), Some(&b"{}\n"[..]));
        assert_eq!(unseal("record", "records/near/ab", &file), None);
        assert_eq!(unseal("image", "records/near/aa", &file), None);
        for length in 0..file.len() {
            assert_eq!(unseal("record", "records/near/aa", &file[..length]), None, "{length}");
        }
        for at in 0..file.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 1;
            assert_eq!(unseal("record", "records/near/aa", &flipped), None, "{at}");
        }
    }
}
