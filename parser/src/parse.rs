//! A whole file to its tree.
//!
//! Owns the order of things: directives, stages, which errors stand where. An instruction with a
//! mistake is left out of the tree and reading goes on, so one run shows all mistakes.

use crate::ast::{Dockerfile, Instruction, Kind, Stage, Word};
use crate::directives;
use crate::lines::{LINE_BYTES_MAX, LogicalLine, PhysicalLine, Reader};
use crate::syntax::{self, Fault, FoundHeredoc, Place};
use crate::{Diagnostic, Label, Severity, SourceText, Span};

/// Reading ends after so many errors: a file that is no Dockerfile has one in each line.
const ERRORS_MAX: usize = 100;

/// What became of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parse {
    /// The tree, as far as it is known when there are errors.
    pub dockerfile: Dockerfile,
    /// Errors and warnings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parse {
    /// Whether the text cannot be built.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads a Dockerfile. Never fails: what is wrong is in the diagnostics (LEX-15).
///
/// Instructions with mistakes are missing in the tree. Messages have BuildKit's words, with its
/// `dockerfile parse error on line N: ` where it has it. The first label of a finding is the whole
/// instruction, the second one the place in it.
pub fn parse(source: &SourceText) -> Parse {
    let mut file = File::new(source);
    if source.text.is_empty() {
        file.report_without_place("empty-file", "the Dockerfile cannot be empty");
        return file.finish();
    }
    let top = directives::read(&source.text);
    for (fault, line) in top.faults {
        file.report(fault, line.span(), line.number, None);
    }
    file.dockerfile.directives = top.directives;
    let mut reader = Reader::new(&source.text);
    reader.escape = file.dockerfile.directives.escape;
    let mut is_empty = true;
    while let Some(mut logical) = reader.next_logical() {
        is_empty = false;
        logical.comments.retain(|comment| comment.number > top.lines);
        file.take(&mut reader, &logical);
        if file.errors >= ERRORS_MAX {
            break;
        }
    }
    file.report_long_lines(&reader.too_long);
    file.check_whole(is_empty);
    file.finish()
}

/// Reads one ONBUILD trigger, with the default escape character (ONB-08, ONB-09). Places are in the
/// trigger's text, messages have no line number (ERR-67).
///
/// # Errors
/// What is wrong with it; at least one finding.
pub fn parse_trigger(source: &SourceText) -> Result<Instruction, Vec<Diagnostic>> {
    let mut file = File::new(source);
    file.is_trigger = true;
    let mut reader = Reader::new(&source.text);
    let Some(logical) = reader.next_logical() else {
        file.report_without_place("no-instructions", "file with no instructions");
        return Err(file.finish().diagnostics);
    };
    let instruction = file.instruction(&mut reader, &logical);
    file.report_long_lines(&reader.too_long);
    if let Some(second) = reader.next_logical() {
        let message = "onbuild trigger should be a single expression";
        file.report(Fault::new("onbuild", message), second.span, second.first_line, Some(&second));
    }
    if matches!(&instruction, Some(Instruction { kind: Kind::From(_), .. })) {
        let message = "FROM isn't allowed as an ONBUILD trigger";
        file.report(Fault::new("onbuild", message), logical.span, 1, Some(&logical));
    }
    let parse = file.finish();
    match instruction {
        Some(instruction) if !parse.has_errors() => Ok(instruction),
        _ => Err(parse.diagnostics),
    }
}

/// A file being read.
struct File<'s> {
    source: &'s SourceText,
    dockerfile: Dockerfile,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    is_trigger: bool,
    /// There was a FROM, perhaps one with mistakes.
    had_from: bool,
    /// A FROM had mistakes, so the stages are not known.
    stages_unknown: bool,
}

impl<'s> File<'s> {
    fn new(source: &'s SourceText) -> File<'s> {
        File {
            source,
            dockerfile: Dockerfile::default(),
            diagnostics: Vec::new(),
            errors: 0,
            is_trigger: false,
            had_from: false,
            stages_unknown: false,
        }
    }

    /// Takes the next instruction into the tree.
    fn take(&mut self, reader: &mut Reader<'s>, logical: &LogicalLine<'s>) {
        let is_from = syntax::keyword(logical).eq_ignore_ascii_case("FROM");
        let instruction = self.instruction(reader, logical);
        self.had_from |= is_from;
        self.stages_unknown |= is_from && instruction.is_none();
        let Some(instruction) = instruction else { return };
        if is_from {
            self.dockerfile.stages.push(Stage { from: instruction, instructions: Vec::new() });
        } else if let Some(stage) = self.dockerfile.stages.last_mut() {
            stage.instructions.push(instruction);
        } else if matches!(instruction.kind, Kind::Arg(_)) {
            self.dockerfile.global_args.push(instruction);
        } else if !self.had_from {
            let fault = Fault::plain("no-stage", "no build stage in current context")
                .help("write a FROM instruction above");
            self.report(fault, instruction.span, logical.first_line, None);
            self.had_from = true; // Once is enough.
            self.stages_unknown = true;
        }
    }

    /// Reads an instruction with its heredoc bodies; reports its mistakes.
    fn instruction(
        &mut self,
        reader: &mut Reader<'s>,
        logical: &LogicalLine<'s>,
    ) -> Option<Instruction> {
        let line = syntax::cut(logical, reader.escape);
        let mut span = logical.span;
        let mut heredocs = Vec::new();
        for word in line.heredocs() {
            let Ok(body) = reader.body(&word.name, word.chomp) else {
                span.end = Span::new(0, self.source.text.len()).end;
                let help = format!("its last line must be {} alone", word.name);
                let fault = Fault::plain("heredoc", "unterminated heredoc");
                let fault = fault.at(word.range, "starts here").help(help);
                self.report(fault, span, logical.first_line, Some(logical));
                return None;
            };
            span.end = Span::new(0, body.end).end;
            heredocs.push(FoundHeredoc { word, body });
        }
        let (comments, check) = comments(&logical.comments);
        if logical.has_empty_continuation {
            self.warn_empty_continuation(logical);
        }
        match line.kind(&heredocs) {
            Ok(kind) => {
                let (keyword, original) = (line.keyword(), line.original().to_owned());
                Some(Instruction { span, keyword, comments, check, original, kind })
            }
            Err(fault) => {
                self.report(fault, span, logical.first_line, Some(logical));
                None
            }
        }
    }

    /// What can be said only when everything was read.
    fn check_whole(&mut self, is_empty: bool) {
        if is_empty && self.errors == 0 {
            let last = last_line(&self.source.text);
            self.report(
                Fault::plain("no-instructions", "file with no instructions"),
                last,
                1,
                None,
            );
        } else if self.dockerfile.stages.is_empty() && self.errors == 0 {
            self.report_without_place("no-stages", "dockerfile contains no stages to build");
        }
        if !self.stages_unknown {
            self.check_stage_indexes();
        }
    }

    /// `COPY --from=N` must name a stage, in every stage of the file (COPY-71).
    fn check_stage_indexes(&mut self) {
        let count = self.dockerfile.stages.len() as i64;
        let mut faults = Vec::new();
        for instruction in self.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            let Kind::Copy(copy) = &instruction.kind else { continue };
            let Some(from) = &copy.from else { continue };
            let Ok(index) = from.text.parse::<i64>() else { continue };
            if !(0..count).contains(&index) {
                let message = format!("invalid stage index {index}");
                let help = format!("the stages of this file are 0 to {}", count - 1);
                let fault = Fault::plain("stage-index", message).at(from.span, "").help(help);
                faults.push((fault, instruction.span));
            }
        }
        for (fault, span) in faults {
            self.report(fault, span, 0, None);
        }
    }

    /// Check NoEmptyContinuation (LEX-33, LINT-22), located at the instruction's last line. Whether
    /// it is wanted is for whoever has the build arguments (LINT-06).
    fn warn_empty_continuation(&mut self, logical: &LogicalLine<'_>) {
        const RULE: &str = "NoEmptyContinuation";
        if self.is_trigger {
            return;
        }
        let message = "Empty continuation line";
        let warning = Diagnostic::error(RULE, message, self.source, logical.last_line_span);
        self.diagnostics.push(Diagnostic { severity: Severity::Warning, ..warning });
    }

    fn report_long_lines(&mut self, lines: &[PhysicalLine<'_>]) {
        for line in lines {
            let message =
                format!("dockerfile line greater than max allowed size of {LINE_BYTES_MAX}");
            self.report(Fault::plain("line-too-long", message), line.span(), line.number, None);
        }
    }

    fn report(
        &mut self,
        fault: Fault,
        span: Span,
        line_number: u32,
        logical: Option<&LogicalLine<'_>>,
    ) {
        self.errors += 1;
        let message = match fault.is_plain || self.is_trigger {
            true => fault.message,
            false => format!("dockerfile parse error on line {line_number}: {}", fault.message),
        };
        let mut diagnostic = Diagnostic::error(fault.code, message, self.source, span);
        diagnostic.help = fault.help;
        let place = match (fault.label, logical) {
            (Some((Place::File(span), text)), _) => Some((span, text)),
            (Some((Place::Joined(range), text)), Some(line)) => Some((line.place(&range), text)),
            _ => None,
        };
        diagnostic.labels.extend(place.map(|(span, text)| Label { span, text }));
        self.diagnostics.push(diagnostic);
    }

    fn report_without_place(&mut self, code: &'static str, message: &str) {
        self.errors += 1;
        self.diagnostics.push(Diagnostic {
            code,
            severity: Severity::Error,
            message: message.to_owned(),
            source: None,
            labels: Vec::new(),
            help: None,
        });
    }

    fn finish(mut self) -> Parse {
        self.diagnostics.sort_by_key(|found| found.labels.first().map(|label| label.span.start));
        Parse { dockerfile: self.dockerfile, diagnostics: self.diagnostics }
    }
}

/// The texts of comments, and the value of a `check` one among them (LEX-25, LEX-28, LEX-56).
fn comments(lines: &[PhysicalLine<'_>]) -> (Vec<String>, Option<Word>) {
    let mut texts = Vec::with_capacity(lines.len());
    let mut check = None;
    for line in lines {
        // With blanks before it the sign stays, and no name will match.
        let text = line.text.strip_prefix('#').unwrap_or(line.text).trim();
        texts.push(text.to_owned());
        let Some((name, value)) = directives::name_and_value(text) else { continue };
        if name.eq_ignore_ascii_case("check") && check.is_none() {
            let start = line.start + (value.as_ptr() as usize - line.text.as_ptr() as usize);
            let span = Span::new(start, start + value.len());
            check = Some(Word { text: value.to_owned(), span });
        }
    }
    (texts, check)
}

/// The last line, which may be a blank one (LEX-07).
fn last_line(text: &str) -> Span {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let start = text.rfind('\n').map_or(0, |at| at + 1);
    Span::new(start, text.trim_end_matches('\r').len().max(start))
}

#[cfg(test)]
mod tests;
