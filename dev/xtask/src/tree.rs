//! Reads the files that are the project's own: what git would take, text only.

use std::io;
use std::path::Path;

use ignore::WalkBuilder;

/// A text file of the project.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Path below the top, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl SourceFile {
    /// Whether it is Rust source.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it belongs to tests: a test directory, or a file of tests.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.starts_with("dev/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }
}

/// All text files below `top` but for what .gitignore leaves out and test data.
pub(crate) fn read(top: &Path) -> io::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let mut walk = WalkBuilder::new(top);
    walk.hidden(false).require_git(false).filter_entry(|entry| {
        let name = entry.file_name();
        name != ".git" && name != "target" && !(name == "testdata" && entry.depth() == 1)
    });
    for entry in walk.build() {
        let entry = entry.map_err(io::Error::other)?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        // What is not UTF-8 is no text of ours.
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        let below = entry.path().strip_prefix(top).unwrap_or(entry.path());
        files.push(SourceFile { path: below.to_string_lossy().into_owned(), text });
    }
    Ok(files)
}
