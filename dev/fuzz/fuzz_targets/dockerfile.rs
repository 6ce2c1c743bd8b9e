//! Any text is read without a panic, every place lies in the text, and what was read expands or is
//! refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use parser::{Diagnostic, Expander, SourceText, Span, parse, parse_trigger};

fuzz_target!(|text: &str| {
    let source = SourceText::new("Dockerfile", text);
    let found = parse(&source);
    found.diagnostics.iter().for_each(|diagnostic| check_places(text, diagnostic));
    let file = &found.dockerfile;
    let stages = file.stages.iter().flat_map(|s| std::iter::once(&s.from).chain(&s.instructions));
    for instruction in file.global_args.iter().chain(stages) {
        check_place(text, instruction.span);
        let env = |name: &str| name.len().is_multiple_of(2).then(|| name.to_owned());
        let expander = Expander::new(file.directives.escape);
        let _ = expander.word(&instruction.original, &env);
        let _ = expander.words(&instruction.original, &env);
        let _ = parser::expand::heredoc_body(&instruction.original, &env);
    }
    if let Err(diagnostics) = parse_trigger(&source) {
        diagnostics.iter().for_each(|diagnostic| check_places(text, diagnostic));
    }
});

fn check_places(text: &str, diagnostic: &Diagnostic) {
    diagnostic.labels.iter().for_each(|label| check_place(text, label.span));
}

fn check_place(text: &str, span: Span) {
    assert!(text.get(span.start as usize..span.end as usize).is_some(), "{span:?} is no place");
}
