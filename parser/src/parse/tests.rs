use std::fmt::Write;
use std::time::{Duration, Instant};

use super::*;
use crate::ast::Command;

fn source(text: &str) -> SourceText {
    SourceText::new("Dockerfile", text)
}

#[test]
fn triggers_are_one_instruction_with_the_default_escape() {
    let instruction = parse_trigger(&source("RUN a \\\n b")).unwrap();
    let Kind::Run(run) = instruction.kind else { panic!("no RUN") };
    assert_eq!(run.command, Command::Shell("a  b".to_owned()));
    // LEX-122, ONB-11: as ONBUILD stores it.
    let instruction = parse_trigger(&source("COPY <<E /x\nbody\nE")).unwrap();
    let Kind::Copy(copy) = instruction.kind else { panic!("no COPY") };
    assert_eq!(copy.transfer.heredocs[0].body, "body\n");
}

#[test]
fn bad_triggers_are_told_without_a_line_number() {
    let cases = [
        ("FOO x", "unknown instruction: FOO (did you mean FROM?)"), // ONB-02, ERR-67
        ("RUN a\nRUN b", "onbuild trigger should be a single expression"), // ONB-08
        ("FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ENV A", "ENV must have two arguments"),
        ("# nothing", "file with no instructions"),
        ("", "file with no instructions"),
    ];
    for (text, expect) in cases {
        let found = parse_trigger(&source(text)).unwrap_err();
        assert_eq!(found[0].message, expect, "{text}");
    }
}

#[test]
fn stored_triggers_read_back_as_they_were() {
    let text = "FROM a\nONBUILD RUN <<-E cat\n\tx\n\tE\n\
                ONBUILD COPY --chmod=1 <<'A' <<B f /x\n1\nA\n2\nB\n";
    let parse = parse(&source(text));
    assert_eq!(parse.diagnostics, []);
    for instruction in &parse.dockerfile.stages[0].instructions {
        let Kind::Onbuild(trigger) = &instruction.kind else { panic!("no ONBUILD") };
        let inner = parse_trigger(&source(&trigger.text)).unwrap();
        let heredocs = match inner.kind {
            Kind::Run(run) => run.heredocs,
            Kind::Copy(copy) => copy.transfer.heredocs,
            other => panic!("{other:?}"),
        };
        let bodies: String = heredocs.into_iter().map(|heredoc| heredoc.body).collect();
        assert!(["x\n", "1\n2\n"].contains(&bodies.as_str()), "{bodies:?}");
    }
}

#[test]
fn reading_ends_after_many_errors() {
    let parse = parse(&source(&"FOO\n".repeat(10_000)));
    assert_eq!(parse.diagnostics.len(), ERRORS_MAX);
    assert!(parse.has_errors());
}

/// Each text is small work for a linear reader and minutes for a quadratic one.
#[test]
fn big_files_take_linear_time() {
    let mut many = String::from("FROM a\n");
    for number in 0..50_000 {
        writeln!(many, "ENV a{number}=b \\\n  c=\"d e\"").unwrap();
    }
    let body = "line of a heredoc body\n".repeat(250_000);
    let texts = [
        many,
        format!("FROM a\nCOPY <<E /x\n{body}E\n"),
        format!("FROM a\nRUN x {}\n", "\\\n  word".repeat(200_000)),
        format!("FROM a\nRUN {}\n", "\\\n --mount=x".repeat(50_000)),
        format!("FROM a\nCOPY {}\n", "\\\n<<A ".repeat(20_000)),
        format!("FROM a\nCOPY {} /x\n{}", "\\\n<<A ".repeat(20_000), "A\n".repeat(20_000)),
        format!("FROM a\nRUN [{}\n", "[".repeat(60_000)),
        format!("FROM a\nENV {}", "\\\n a='".repeat(100_000)),
        "\\\n".repeat(500_000),
        "#\n".repeat(1_000_000),
        "RUN <<A\n".repeat(200_000),
    ];
    for text in texts {
        let start = Instant::now();
        parse(&source(&text));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?} for {:.40}", text);
    }
}
