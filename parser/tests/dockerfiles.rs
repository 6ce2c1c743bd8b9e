//! Every directory of `testdata/dockerfiles` is a case: `Dockerfile`, what it shows (`case.txt`,
//! with the IDs of the specification) and what the parser must make of it (`expect.txt`).
//!
//! `UPDATE_EXPECT=1` writes the results; read every changed line before you keep it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod dump;

use std::fs;
use std::path::{Path, PathBuf};

use parser::{SourceText, parse};

#[test]
fn cases() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    let mut cases: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "cases are missing");
    let failures: Vec<String> = cases.iter().filter_map(|case| failure(case)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn failure(case: &Path) -> Option<String> {
    let name = case.file_name().unwrap().to_string_lossy();
    assert!(case.join("case.txt").exists(), "{name} has no case.txt");
    let text = fs::read_to_string(case.join("Dockerfile")).unwrap();
    let source = SourceText::new("Dockerfile", &text);
    let found = dump::dump(&source, &parse(&source), true);
    let path = case.join("expect.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &found).unwrap();
        return None;
    }
    let expect = fs::read_to_string(&path).unwrap_or_default();
    (found != expect).then(|| format!("--- {name}: expected\n{expect}--- {name}: found\n{found}"))
}
