//! Files that nobody writes by hand are read in time proportional to their size.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use parser::{Parse, SourceText, parse};

/// Far more than a debug build needs on a busy machine, far less than anything that is not linear.
const TIME_MAX: Duration = Duration::from_secs(20);

fn read(text: &str) -> Parse {
    let source = SourceText::new("Dockerfile", text);
    let start = Instant::now();
    let found = parse(&source);
    // Places are asked for by whoever shows what was found.
    for finding in &found.diagnostics {
        finding.labels.iter().for_each(|label| assert!(source.lines(label.span).first > 0));
    }
    let stages = found.dockerfile.stages.iter();
    stages.for_each(|stage| assert!(source.lines(stage.from.span).first > 0));
    assert!(start.elapsed() < TIME_MAX, "{} bytes took {:?}", text.len(), start.elapsed());
    found
}

#[test]
fn many_lines() {
    let found = read(&format!("FROM a\nENV A=1{}\n", " \\\n B=1".repeat(100_000)));
    assert!(!found.has_errors());
    assert_eq!(found.dockerfile.stages[0].instructions.len(), 1);
    let found = read(&format!("{}FROM a\n", "# c\n".repeat(200_000)));
    assert_eq!(found.dockerfile.stages[0].from.comments.len(), 200_000);
    let found = read(&format!("FROM a\n{}", "ENV A=1 \\\n\n B=1\n".repeat(20_000)));
    assert_eq!(found.diagnostics.len(), 20_000);
    let mut stages = String::new();
    (0..20_000).for_each(|number| writeln!(stages, "FROM scratch AS s{number}").unwrap());
    assert_eq!(read(&stages).dockerfile.stages.len(), 20_000);
}

#[test]
fn many_heredocs() {
    let (mut line, mut bodies) = ("COPY".to_owned(), String::new());
    for number in 0..5_000 {
        write!(line, " <<E{number}").unwrap();
        writeln!(bodies, "x\nE{number}").unwrap();
    }
    let found = read(&format!("FROM a\n{line} /d/\n{bodies}ENV A=1\n"));
    assert!(!found.has_errors());
    assert_eq!(found.dockerfile.stages[0].instructions.len(), 2);
    let big = "The quick brown fox.\n".repeat(250_000);
    assert!(!read(&format!("FROM a\nCOPY <<-E /d\n{big}E\n")).has_errors());
}

#[test]
fn deep_words() {
    for line in [
        format!("ENV A={}", "${a:-".repeat(12_000)),
        format!("RUN x {} <<E", "${a:-".repeat(12_000)),
        format!("RUN x {} <<E", "\"${a:-".repeat(9_000)),
        format!("CMD {}", "[".repeat(60_000)),
        format!("RUN --mount={} x", "\"".repeat(60_000)),
        format!("COPY {} b", "--exclude=\"x\" ".repeat(4_000)),
        format!("ENV {}", "A='".repeat(20_000)),
        format!("ONBUILD {}RUN x", "ONBUILD ".repeat(7_000)),
    ] {
        read(&format!("FROM a\n{line}\n"));
    }
}
