//! Any text is read without a panic and in time, every place lies in the text, and an instruction printed from the tree
//! is read back the same.

#![no_main]

use fuzz::{timed, without_places};
use libfuzzer_sys::fuzz_target;
use parser::ast::{Instruction, Kind};
use parser::{Diagnostic, SourceText, Span, parse, parse_trigger};

/// A printed instruction is one line, and lines have a limit.
const PRINTED_BYTES_MAX: usize = 65_000;

fuzz_target!(|text: &str| {
    let source = SourceText::new("Dockerfile", text);
    let found = timed(text, || parse(&source));
    found.diagnostics.iter().for_each(|diagnostic| check_places(text, diagnostic));
    let file = &found.dockerfile;
    let stages = file.stages.iter().flat_map(|s| std::iter::once(&s.from).chain(&s.instructions));
    for instruction in file.global_args.iter().chain(stages) {
        check_place(text, instruction.span);
        check_printed(instruction, file.directives.escape);
    }
    assert!(!file.stages.is_empty() || found.has_errors(), "a file without stages is accepted");
    if let Err(diagnostics) = timed(text, || parse_trigger(&source)) {
        diagnostics.iter().for_each(|diagnostic| check_places(text, diagnostic));
    }
});

fn check_printed(instruction: &Instruction, escape: char) {
    let has_heredoc = match &instruction.kind {
        Kind::Run(run) => !run.heredocs.is_empty(),
        Kind::Copy(copy) => !copy.transfer.heredocs.is_empty(),
        Kind::Add(add) => !add.transfer.heredocs.is_empty(),
        // Kept with the blanks at its end, which the printed form has not.
        Kind::Onbuild(_) | Kind::From(_) => true,
        _ => false,
    };
    let line = format!("{} {}", instruction.keyword.text, instruction.original);
    // An escape character before white space that was taken away would now continue the line.
    if has_heredoc || line.ends_with(escape) || line.len() > PRINTED_BYTES_MAX {
        return;
    }
    let text = format!("# escape={escape}\nFROM a\n{line}\n");
    let source = SourceText::new("Dockerfile", &text);
    let again = parse(&source);
    let kind = again.dockerfile.stages.first().and_then(|stage| stage.instructions.first());
    let again = kind.map(|instruction| without_places(&instruction.kind));
    // A stage index may be wrong in a file with one stage only.
    if again.is_some() {
        assert_eq!(again, Some(without_places(&instruction.kind)), "{text:?}");
    }
}

fn check_places(text: &str, diagnostic: &Diagnostic) {
    diagnostic.labels.iter().for_each(|label| check_place(text, label.span));
}

fn check_place(text: &str, span: Span) {
    assert!(text.get(span.start as usize..span.end as usize).is_some(), "{span:?} is no place");
}
