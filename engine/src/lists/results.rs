//! What builds leave behind about their results: --metadata-file, --iidfile, and empty files named by a digest.

use std::io;
use std::path::Path;

use oci::{Digest, Reference};
use serde_json::Value;

use super::join::Part;
use crate::error::{BuildError, BuildErrorKind};

/// Directories in directories: services that keep files of a run often give each upload one of its own.
const DEPTH_MAX: usize = 3;
/// A result is a page of JSON at most; this is one with much in it.
const FILE_MAX_BYTES: u64 = 16 << 20;

/// The parts that the files of a directory tell of, in the order of their names. Hidden files are left alone.
///
/// # Errors
/// The directory cannot be read or holds no result, or a file is no result: parts are not to be lost silently.
pub fn parts_in(dir: &Path) -> Result<Vec<Part>, BuildError> {
    let mut parts = Vec::new();
    collect(dir, DEPTH_MAX, &mut parts)?;
    if parts.is_empty() {
        let text = format!("there are no results in {}", dir.display());
        return Err(BuildError::new(BuildErrorKind::Files, text).with_hint(
            "put there what `shale build --metadata-file FILE` has written on each machine",
        ));
    }
    Ok(parts)
}

fn collect(dir: &Path, depth: usize, parts: &mut Vec<Part>) -> Result<(), BuildError> {
    let failed = |error| BuildError::io(format!("cannot read {}", dir.display()), error);
    let entries = std::fs::read_dir(dir).map_err(failed)?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(failed)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            match depth {
                0 => return Err(no_result(&path, "it lies too deep")),
                depth => collect(&path, depth - 1, parts)?,
            }
            continue;
        }
        let text = read(&path)?;
        parts.extend(parts_of(&name, &text).map_err(|why| no_result(&path, &why))?);
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, BuildError> {
    use std::io::Read as _;
    let failed = |error| BuildError::io(format!("cannot read {}", path.display()), error);
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn no_result(path: &Path, why: &str) -> BuildError {
    let text = format!("{} is no result of a build: {why}", path.display());
    BuildError::new(BuildErrorKind::Files, text).with_hint(
        "a file is what --metadata-file or --iidfile has written, or is empty and named by a digest",
    )
}

/// The parts that a file of this name and content tells of.
fn parts_of(name: &str, text: &str) -> Result<Vec<Part>, String> {
    let digest = |text: &str| text.parse::<Digest>().or_else(|_| Digest::from_hex(text));
    let text = text.trim();
    if text.is_empty() {
        let digest = digest(name).map_err(|_| "it is empty, and its name is no digest")?;
        return Ok(vec![Part::Digest(digest)]);
    }
    if let Ok(digest) = digest(text) {
        return Ok(vec![Part::Digest(digest)]);
    }
    let document: Value =
        serde_json::from_str(text).map_err(|_| "it is neither JSON nor a digest")?;
    let members = document.as_object().ok_or("it is JSON of another kind")?;
    if let Some(part) = part_of(&document)? {
        return Ok(vec![part]);
    }
    // One result for each of several targets.
    let parts: Vec<Part> =
        members.values().filter_map(|one| part_of(one).transpose()).collect::<Result<_, _>>()?;
    match parts.is_empty() {
        true => Err("it has no containerimage.digest: was the result pushed?".to_owned()),
        false => Ok(parts),
    }
}

/// The part that a document of --metadata-file tells of (OUT-41).
fn part_of(document: &Value) -> Result<Option<Part>, String> {
    let Some(text) = document.get("containerimage.digest").and_then(Value::as_str) else {
        return Ok(None);
    };
    let digest: Digest = text.parse().map_err(|_| format!("{text} is no digest"))?;
    let names = document.get("image.name").and_then(Value::as_str).unwrap_or_default();
    let Some(name) = names.split(',').find(|name| !name.is_empty()) else {
        return Ok(Some(Part::Digest(digest)));
    };
    let name: Reference = name.parse().map_err(|error| format!("image.name: {error}"))?;
    Ok(Some(Part::Named(name.with_digest(digest))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_kinds_are_read() {
        let digest = Digest::of(b"");
        let check = |name: &str, text: &str, want: &[Part]| {
            assert_eq!(parts_of(name, text).as_deref(), Ok(want), "{name} {text}");
        };
        let (named, bare) = (
            Part::Named(format!("r.test/a@{digest}").parse().expect("a name")),
            Part::Digest(digest),
        );
        let file = format!(
            r#"{{"containerimage.digest":"{digest}","image.name":"r.test/a:1,r.test/b:1"}}"#
        );
        check("x.json", &file, std::slice::from_ref(&named));
        check("bake.json", &format!(r#"{{"one":{file},"two":{file}}}"#), &[named.clone(), named]);
        let file = format!(r#"{{"containerimage.digest":"{digest}"}}"#);
        check("x.json", &file, std::slice::from_ref(&bare));
        check("iid", &digest.to_string(), std::slice::from_ref(&bare));
        check(&digest.hex(), "", &[bare]);
    }

    #[test]
    fn what_is_no_result_is_said_to_be_none() {
        let check = |name: &str, text: &str, want: &str| {
            let why = parts_of(name, text).expect_err(text);
            assert!(why.contains(want), "{why}");
        };
        check("notes.txt", "", "no digest");
        check("notes.txt", "hello", "neither JSON");
        check("x.json", "[]", "another kind");
        check("x.json", "{}", "no containerimage.digest");
        check("x.json", r#"{"containerimage.digest":"md5:1"}"#, "is no digest");
    }

    #[test]
    fn directories_are_gone_through() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(parts_in(dir.path()).is_err(), "nothing is there");
        let digest = Digest::of(b"");
        std::fs::create_dir(dir.path().join("amd64")).expect("a new directory");
        std::fs::write(dir.path().join("amd64/iid"), digest.to_string()).expect("a new file");
        std::fs::write(dir.path().join(".DS_Store"), "?").expect("a new file");
        assert_eq!(parts_in(dir.path()).expect("one result"), [Part::Digest(digest)]);
        std::fs::write(dir.path().join("readme"), "?").expect("a new file");
        let error = parts_in(dir.path()).expect_err("no result").to_string();
        assert!(error.contains("readme is no result of a build"), "{error}");
    }
}
