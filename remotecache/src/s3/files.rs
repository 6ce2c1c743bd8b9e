//! Amazon's shared files, and the small ones that variables name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use registry::ServiceError;

/// Profiles and credentials files are not longer than this.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// A small text file; `None` when it is not there.
pub(super) fn read_file(file: &Path) -> Result<Option<String>, ServiceError> {
    let fail =
        |reason: String| ServiceError::configuration(&format!("file {}", file.display()), &reason);
    let mut text = String::new();
    match File::open(file) {
        Ok(opened) => match opened.take(FILE_MAX_BYTES).read_to_string(&mut text) {
            Ok(_) => Ok(Some(text)),
            Err(error) => Err(fail(error.to_string())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(error.to_string())),
    }
}

/// Keys and values of the sections whose titles are wanted.
pub(super) fn section(text: &str, is_wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let mut inside = false;
    let mut out = BTreeMap::new();
    for line in text.lines() {
        // Nested settings are indented; none of them is a credential.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(title) = line.trim().strip_prefix('[') {
            inside = is_wanted(title.split(']').next().unwrap_or_default().trim());
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            out.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_like_amazons_tools_do() {
        let text = "# c\n[default]\naws_access_key_id = A\n s3 =\n  x = y\n[profile b]\nAWS_ACCESS_KEY_ID=B\n; d\n";
        let got = section(text, |title| title == "profile b");
        assert_eq!(got.into_iter().collect::<Vec<_>>(), [("aws_access_key_id".into(), "B".into())]);
        assert_eq!(section(text, |title| title == "default").len(), 1);
        assert!(section(text, |title| title == "c").is_empty());
    }
}
