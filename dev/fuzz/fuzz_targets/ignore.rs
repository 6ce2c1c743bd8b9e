//! Any ignore file is read or refused, judges any path in time, and never promises too much about what lies below a
//! directory. The input is an ignore file, an empty line, and paths.

#![no_main]

use fuzz::timed;
use libfuzzer_sys::fuzz_target;
use pattern::{IgnoreFile, Matched, Rules, Wildcard};

fuzz_target!(|text: &str| {
    let (file, paths) = text.split_once("\n\n").unwrap_or((text, "a\na/b\na/b/c.txt\nx.go"));
    let Ok(rules) = timed(file, || IgnoreFile::parse(file.as_bytes())) else { return };
    for path in paths.lines().take(8).map(|path| path.trim_matches('/')) {
        if !path.is_empty() && !path.contains("//") {
            timed(text, || check(&rules, path));
        }
    }
    for line in file.lines() {
        let Ok(wildcard) = Wildcard::new(line.as_bytes()) else { continue };
        timed(text, || wildcard.matches(paths.as_bytes()));
        let escaped: String = line.chars().flat_map(|c| ['\\', c]).collect();
        let literal = Wildcard::new(escaped.as_bytes()).expect("all is escaped");
        assert!(literal.matches(line.as_bytes()), "{line:?}");
    }
});

/// Judges a path step by step and compares with what was said of the directories above.
fn check(rules: &Rules, path: &str) {
    let path = path.as_bytes();
    let mut judged = Matched::default();
    // What was last said of a directory below which no rule, or no exception, matches.
    let mut settled: Option<bool> = None;
    let mut hidden_for_good = false;
    let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    for end in ends.chain([path.len()]) {
        let part = &path[..end];
        judged = rules.judge(&judged, part);
        if let Some(settled) = settled {
            assert_eq!(judged.is_hidden(), settled, "no rule was to match below");
        }
        assert!(!hidden_for_good || judged.is_hidden(), "no exception was to match below");
        if !rules.may_match_below(part) {
            settled = Some(judged.is_hidden());
        }
        hidden_for_good |= judged.is_hidden() && !rules.may_have_exception_below(part);
    }
    assert_eq!(rules.is_ignored(path), judged.is_hidden());
}
