//! One folder on a web server, for tests that are no cases.
//!
//! Owns nothing but the wiring; what is served and how is `web`'s.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::format::Answer;
use super::web::Web;

/// Folders served below `http://ADDRESS/NAME`.
pub struct Site(Web);

impl Site {
    /// Starts a server without a folder.
    pub fn start() -> Site {
        Site(Web::start())
    }

    /// Serves a folder, `.git` directories in it as repositories. A file `answers` in it says which headers are sent
    /// otherwise, a line each: `PATH Name: value`. Called again, it reads them again.
    pub fn serve(&self, name: &str, root: &Path) -> String {
        let mut answers: HashMap<String, Answer> = HashMap::new();
        let told = std::fs::read_to_string(root.join("answers")).unwrap_or_default();
        for line in told.lines() {
            let (path, header) = line.split_once(' ').unwrap();
            let (header, value) = header.split_once(": ").unwrap();
            let answer = answers.entry(path.to_owned()).or_default();
            answer.headers.push((header.to_owned(), value.to_owned()));
        }
        self.0.open(name, PathBuf::from(root), answers);
        format!("http://{}/{name}", self.0.address())
    }
}
