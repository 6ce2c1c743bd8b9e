//! What a program did.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A program that has ended.
#[derive(Debug)]
pub struct Run {
    /// The command line, for messages.
    pub line: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Run {
    /// Runs a command to its end.
    pub fn new(command: &mut Command) -> Run {
        let line = format!("{command:?}");
        let started = Instant::now();
        let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
        Run::from_output(line, output, started.elapsed())
    }

    pub(crate) fn from_output(line: String, output: Output, took: Duration) -> Run {
        Run {
            line,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took,
        }
    }

    /// It must have ended well. Returns its standard output without the last line break.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout.trim_end_matches('\n')
    }

    /// It must have failed with this exit code, and said all of these words on standard error, in any case.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> &Run {
        assert_eq!(self.code, Some(code), "{self}");
        for word in words {
            let said = self.stderr.to_lowercase().contains(&word.to_lowercase());
            assert!(said, "no {word:?} in the error\n{self}");
        }
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }

    /// The steps that ran, by their names: the plain progress gives each a line that says why.
    pub fn ran(&self) -> Vec<String> {
        let mut ran = Vec::new();
        for line in self.stderr.lines() {
            let Some((number, "because")) = line
                .split_once(' ')
                .map(|(n, rest)| (n, rest.split(' ').next().unwrap_or_default()))
            else {
                continue;
            };
            let heading = format!("{number} [");
            let name = self
                .stderr
                .lines()
                .find_map(|l| l.strip_prefix(&heading).map(|name| format!("[{name}")));
            ran.extend(name.filter(|name| !name.starts_with("[internal]")));
        }
        ran
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "$ {}\nexit code {:?} after {:?}", self.line, self.code, self.took)?;
        write!(f, "--- standard output\n{}\n--- standard error\n{}", self.stdout, self.stderr)
    }
}
