//! What a build's output says: the lines that errors point at, the warnings.
//!
//! Owns how shale spells them. Knows nothing of what a case wants.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

fn fixed(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a fixed pattern is right")
}

/// ` --> Dockerfile:3:1`, the place of an error.
static PLACE: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^\s*-->\s+.*?:(\d+):\d+\s*$"));
/// `3 | >>> RUN x`, the lines of the instruction.
static MARK: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^\s*(\d+) \| >>>"));
/// `warning: Rule: text (line 3)`, of a build.
static WARNING: LazyLock<Regex> =
    LazyLock::new(|| fixed(r"(?m)^warning: ([A-Z]\w+): .*?(?:\(line (\d+)\))?$"));
/// `WARNING: Rule`, of a check; the place follows.
static CHECKED: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^WARNING: (\w+)"));
static CHECKED_PLACE: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^[^\s:]+:(\d+)\s*$"));
/// The first of errors.
static ERROR: LazyLock<Regex> = LazyLock::new(|| fixed(r"(?m)^(?:error|ERROR): "));

/// Lines of the Dockerfile that the error points at: its place and all of the instruction.
pub(super) fn error_lines(output: &str) -> Vec<usize> {
    // A check lists warnings with places of their own before the error.
    let error = ERROR.find(output).map_or(output, |found| &output[found.start()..]);
    let found = [&PLACE, &MARK].into_iter().flat_map(|pattern| pattern.captures_iter(error));
    let mut lines: Vec<usize> = found.filter_map(|found| found[1].parse().ok()).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
}

/// Whether lines are among those wanted; no range at all wants none.
pub(super) fn points_at(lines: &[usize], wanted: &[RangeInclusive<usize>]) -> bool {
    if wanted.is_empty() {
        return lines.is_empty();
    }
    lines.iter().any(|line| wanted.iter().any(|range| range.contains(line)))
}

/// Rules and lines of all warnings, sorted. Line 0 for one without a place.
pub(super) fn warnings(output: &str) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = Vec::new();
    for warning in WARNING.captures_iter(output) {
        let line = warning.get(2).and_then(|line| line.as_str().parse().ok()).unwrap_or(0);
        found.push((warning[1].to_owned(), line));
    }
    let starts: Vec<_> = CHECKED.captures_iter(output).collect();
    for (index, warning) in starts.iter().enumerate() {
        let whole = |captures: &regex::Captures<'_>| captures.get(0).map_or(0, |all| all.start());
        let end = starts.get(index + 1).map_or(output.len(), whole);
        let block = &output[whole(warning)..end];
        let place = CHECKED_PLACE.captures(block).and_then(|place| place[1].parse().ok());
        found.push((warning[1].to_owned(), place.unwrap_or(0)));
    }
    found.sort();
    found
}

/// `#3 DONE 0.1s` and other lines of progress that explain no failure.
static NOISE: LazyLock<Regex> = LazyLock::new(|| {
    fixed(r"^\s*$|^#\d+ (?:DONE|CACHED|because|exporting|[0-9a-f]{12} |\[internal\] load)")
});

/// Whether a line of output can be left out of a report.
pub(super) fn is_noise(line: &str) -> bool {
    NOISE.is_match(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_errors() {
        let error = "#1 [x] y\nerror: failed\n --> a/Dockerfile:2:5\n  |\n2 | RUN \\\n\
                     a/Dockerfile:2\n-----\n   1 |     FROM x\n   2 | >>> RUN \\\n   3 | >>>  x\n-----\n";
        assert_eq!(error_lines(error), [2, 3]);
        let is = |ranges: &[RangeInclusive<usize>]| points_at(&error_lines(error), ranges);
        assert!(is(&[3..=3]) && is(&[1..=1, 2..=9]));
        assert!(!is(&[1..=1]) && !is(&[4..=9]) && !is(&[]));
        assert!(points_at(&error_lines("error: no such file\nhint: 3 | x\n"), &[]));
        let check =
            "WARNING: A - x\ny\nDockerfile:1\n---\n   1 | >>> FROM\n---\nerror: z\n --> D:7:1\n";
        assert_eq!(error_lines(check), [7]);
    }

    #[test]
    fn warnings_of_both_kinds() {
        let build = "#3 DONE\nwarning: FromAsCasing: 'as' and 'FROM' (line 1)\nwarning: b: c\nwarning: Odd: x\n";
        assert_eq!(warnings(build), [("FromAsCasing".to_owned(), 1), ("Odd".to_owned(), 0)]);
        let check = "\nWARNING: B - http://x\ntext\nDockerfile:12\n---\n  12 | >>> x\n---\n\nWARNING: A\ny\n";
        assert_eq!(warnings(check), [("A".to_owned(), 0), ("B".to_owned(), 12)]);
        assert!(warnings("Check complete, no warnings found.\n").is_empty());
    }
}
