//! The JSON form is exactly what another reader of JSON takes for an array of strings.

#![no_main]

use fuzz::timed;
use libfuzzer_sys::fuzz_target;
use parser::ast::{Command, Kind};
use parser::{SourceText, parse};

fuzz_target!(|text: &str| {
    if text.contains(['\n', '\r']) || text.trim() != text || text.len() > 60_000 {
        return;
    }
    // An escape character at the end would continue the line, so the last word is one more.
    let array = format!("[{text}]");
    let file = format!("FROM a\nCMD {array}\n");
    let source = SourceText::new("Dockerfile", &file);
    let found = timed(text, || parse(&source));
    let stage = &found.dockerfile.stages[0];
    let ours = match stage.instructions.first().map(|instruction| &instruction.kind) {
        Some(Kind::Cmd(Command::Exec(strings))) => Some(strings.clone()),
        Some(Kind::Cmd(Command::Shell(shell))) => {
            assert_eq!(*shell, array);
            None
        }
        other => {
            assert!(other.is_none() && found.has_errors());
            None
        }
    };
    let other: Result<Vec<String>, _> = serde_json::from_str(&array);
    // The other reader refuses halves of surrogate pairs, which stand for a replacement character here.
    if other.is_ok() || !text.to_ascii_lowercase().contains("\\ud") {
        assert_eq!(ours, other.ok(), "{array}");
    }
});
