//! Errors as people and tools read them: our sentence, the place with its source line underlined, BuildKit's excerpt,
//! the causes, a hint (design D10, spec CALL-04 and section 11).

use std::borrow::Cow;
use std::error::Error;

use annotate_snippets::{Annotation, AnnotationKind, Level, Renderer, Snippet};
use parser::{Diagnostic, LineRange, Severity, SourceText, Span};

use super::advice::advice;
use super::escape::plain_text;
use super::mask::{masked, masked_in_place};

/// An error, ready to be laid out.
pub(crate) struct Report<'a> {
    /// The sentence, without `error:`.
    pub(crate) message: String,
    /// Places it is about. The first one's message is the sentence or adds to it.
    pub(crate) diagnostics: &'a [Diagnostic],
    /// What caused it, from near to far.
    pub(crate) causes: Vec<String>,
    /// What to do next.
    pub(crate) hint: Option<String>,
}

/// How a report looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Colours may be used.
    pub(crate) colours: bool,
    /// BuildKit's excerpt is added for tools that look for it.
    pub(crate) excerpt: bool,
}

impl<'a> Report<'a> {
    /// A report on an error without a place: its sentence and its causes.
    pub(crate) fn of(error: &dyn Error) -> Report<'a> {
        let causes = causes(error);
        Report { message: error.to_string(), diagnostics: &[], causes, hint: None }
    }
}

/// The sentences behind an error, from near to far; one that only repeats what was said is left out.
pub(crate) fn causes(error: &dyn Error) -> Vec<String> {
    let mut said = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !said.iter().any(|said| said.contains(&text)) {
            said.push(text);
        }
        next = cause.source();
    }
    said.split_off(1)
}

/// Lays a report out, with a line break at its end.
pub(crate) fn render_report(report: &Report<'_>, style: Style) -> String {
    let mut text = String::new();
    let mut hints = Vec::new();
    match report.diagnostics {
        [] => text.push_str(&title_alone(&report.message, style)),
        [only] => {
            text.push_str(&finding(only, &report.message, style));
            hints.extend(advice(only));
        }
        [first, others @ ..] => {
            text.push_str(&finding(first, &report.message, style));
            text.extend(advice(first).map(|help| hint(&help)));
            for other in others {
                text.push_str(&finding(other, &other.message, style));
                text.extend(advice(other).map(|help| hint(&help)));
            }
        }
    }
    for cause in &report.causes {
        text.push_str(&format!("  caused by: {}\n", plain_text(&masked(cause))));
    }
    text.extend(hints.iter().chain(&report.hint).map(|help| hint(help)));
    text
}

fn hint(text: &str) -> String {
    format!("hint: {}\n", plain_text(&masked(text)))
}

/// One finding with its place underlined and, if wanted, BuildKit's excerpt.
fn finding(diagnostic: &Diagnostic, message: &str, style: Style) -> String {
    let (Some(source), Some(whole)) = (&diagnostic.source, diagnostic.labels.first()) else {
        return title_alone(message, style);
    };
    let mut text = underlined(diagnostic, source, message, style);
    if style.excerpt {
        text.push_str(&excerpt(source, source.lines(whole.span)));
    }
    text
}

fn title_alone(message: &str, style: Style) -> String {
    let group = annotate_snippets::Group::with_title(Level::ERROR.primary_title(sentence(message)));
    format!("{}\n", renderer(style).render(&[group]))
}

fn underlined(diagnostic: &Diagnostic, source: &SourceText, message: &str, style: Style) -> String {
    // The last label is the narrowest; the whole instruction's only matters when it is the only one.
    let primary = diagnostic.labels.len() - 1;
    let shown = masked_in_place(&source.text);
    let mut snippet = Snippet::source(&*shown).path(&*source.name);
    for (at, label) in diagnostic.labels.iter().enumerate() {
        let more = diagnostic.message != message && !message.contains(&diagnostic.message);
        let text = match (label.text.as_str(), at == primary && more) {
            ("", true) => diagnostic.message.clone(),
            (text, _) => text.to_owned(),
        };
        if at != primary && text.is_empty() {
            continue;
        }
        let kind = if at == primary { AnnotationKind::Primary } else { AnnotationKind::Context };
        snippet = snippet.annotation(annotation(kind, source, label.span, text));
    }
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let report = [level.primary_title(sentence(message)).element(snippet)];
    format!("{}\n", renderer(style).render(&report))
}

/// Underlines a span, never a line break at its end or a half character. Of very many or long lines only the first.
fn annotation<'a>(
    kind: AnnotationKind,
    source: &SourceText,
    span: Span,
    text: String,
) -> Annotation<'a> {
    let all = &*source.text;
    let mut start = (span.start as usize).min(all.len());
    while !all.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = (span.end as usize).clamp(start, all.len());
    while !all.is_char_boundary(end) {
        end += 1;
    }
    let marked = all[start..end].trim_end();
    let first_line = marked.split('\n').next().unwrap_or_default().trim_end();
    let shown = first_line.char_indices().nth(UNDERLINE_MAX).map_or(first_line.len(), |(at, _)| at);
    let is_small = marked.lines().count() <= LINES_MAX
        && marked.lines().all(|line| line.chars().count() <= UNDERLINE_MAX);
    let annotation = kind.span(start..start + if is_small { marked.len() } else { shown });
    if text.is_empty() {
        annotation
    } else {
        annotation.label(plain_text(&masked(&text)).into_owned())
    }
}

/// Most lines that are shown as one place.
const LINES_MAX: usize = 12;

/// Most characters of a line that are underlined; what is around them is cut to fit.
const UNDERLINE_MAX: usize = 120;

/// Most characters of a source line in an excerpt.
const LINE_MAX: usize = 500;

/// A message longer than this many characters, which has a step's whole script in it, is shown without its middle.
const MESSAGE_MAX: usize = 4000;

/// A message of several lines keeps them; nothing else in it can steer a terminal. What went wrong is at the end of
/// one, so a long one keeps that.
fn sentence(message: &str) -> String {
    let message = masked(message);
    let text = message.lines().map(plain_text).collect::<Vec<_>>().join("\n");
    let count = text.chars().count();
    if count <= MESSAGE_MAX {
        return text;
    }
    let half = MESSAGE_MAX / 2;
    let (head, tail): (String, String) =
        (text.chars().take(half).collect(), text.chars().skip(count - half).collect());
    format!("{head} [...] {tail}")
}

/// The beginning of a line that is too long for people.
fn cut(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(LINE_MAX) {
        Some((at, _)) => format!("{} [...]", &line[..at]).into(),
        None => line.into(),
    }
}

fn renderer(style: Style) -> Renderer {
    if style.colours { Renderer::styled() } else { Renderer::plain() }
}

/// BuildKit's excerpt (CALL-04): the marked lines, and two lines around a single one or one around several.
pub(crate) fn excerpt(source: &SourceText, marked: LineRange) -> String {
    let shown = masked_in_place(&source.text);
    let lines: Vec<&str> = shown.split('\n').collect();
    let count = lines.len() as u32;
    if marked.first > count {
        return String::new();
    }
    let around = if marked.first == marked.last { 2 } else { 1 };
    let first = marked.first.saturating_sub(around).max(1);
    let last = marked.last.saturating_add(around).min(count);
    let rule = "-".repeat(20);
    let mut text = format!("{}:{}\n{rule}\n", plain_text(&source.name), marked.first);
    for number in first..=last {
        let inside = (marked.first..=marked.last).contains(&number);
        let mark = if inside { ">>>" } else { "   " };
        let line = lines[number as usize - 1].trim_end_matches('\r');
        text.push_str(format!("{number:4} | {mark} {}", plain_text(&cut(line))).trim_end());
        text.push('\n');
    }
    text + &rule + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FROM debian:12\nRUN apt-get update && \\\n    apt-get install -y gcc\n\
                        RUN <<EOF\nmake\nmake install\nEOF\nRNU foo\nCMD [\"x\"]\n";

    fn check(start: &str, end: &str, message: &str) -> String {
        let source = SourceText::new("docker/Dockerfile", TEXT);
        let from = TEXT.find(start).expect("in the text");
        let to = from + TEXT[from..].find(end).expect("in the text") + end.len();
        let diagnostic = Diagnostic::error("test", message, &source, Span::new(from, to));
        let report = Report {
            message: format!("failed to solve: {message}"),
            diagnostics: &[diagnostic],
            causes: vec!["exit\x07".into()],
            hint: Some("look again".into()),
        };
        render_report(&report, Style { colours: false, excerpt: true })
    }

    #[test]
    fn an_error_shows_its_place() {
        insta::assert_snapshot!(check("RNU", "RNU", "unknown instruction: RNU"), @r#"
        error: failed to solve: unknown instruction: RNU
         --> docker/Dockerfile:8:1
          |
        8 | RNU foo
          | ^^^
        docker/Dockerfile:8
        --------------------
           6 |     make install
           7 |     EOF
           8 | >>> RNU foo
           9 |     CMD ["x"]
          10 |
        --------------------
          caused by: exit\x07
        hint: look again
        "#);
        insta::assert_snapshot!(check("RUN apt", "gcc", "process did not complete"), @r"
        error: failed to solve: process did not complete
         --> docker/Dockerfile:2:1
          |
        2 | / RUN apt-get update && \
        3 | |     apt-get install -y gcc
          | |__________________________^
        docker/Dockerfile:2
        --------------------
           1 |     FROM debian:12
           2 | >>> RUN apt-get update && \
           3 | >>>     apt-get install -y gcc
           4 |     RUN <<EOF
        --------------------
          caused by: exit\x07
        hint: look again
        ");
    }

    #[test]
    fn places_outside_of_the_text_do_no_harm() {
        for (text, start, end) in
            [("", 0, 0), ("", 5, 9), ("é", 1, 1), ("a\n", 1, 2), ("a\n", 2, 2), ("a", 0, 900)]
        {
            let source = SourceText::new("Dockerfile", text);
            let span = Span { start, end };
            let diagnostic = Diagnostic::error("test", "no", &source, span).with_label(span, "x");
            let report = Report {
                message: "no".into(),
                diagnostics: &[diagnostic],
                causes: vec![],
                hint: None,
            };
            let shown = render_report(&report, Style { colours: false, excerpt: true });
            assert!(shown.starts_with("error: no\n"), "{shown}");
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("FROM a\nRUN x{}y\nENV {}\n", "é".repeat(70_000), "z".repeat(70_000));
        let source = SourceText::new("Dockerfile", &text);
        let span =
            Span::new(text.find("RUN").expect("there"), text.find("y\n").expect("there") + 1);
        let message = format!("process \"{}\": exit code: 3", "é".repeat(70_000));
        let diagnostic = Diagnostic::error("test", message.clone(), &source, span);
        let report = Report { message, diagnostics: &[diagnostic], causes: vec![], hint: None };
        let shown = render_report(&report, Style { colours: false, excerpt: true });
        assert!(shown.chars().count() < 8000, "{}", shown.chars().count());
        assert!(shown.contains("\": exit code: 3\n"), "{shown}");
        assert!(shown.contains("\n   2 | >>> RUN xé") && shown.contains(" --> Dockerfile:2:1\n"));
    }

    #[test]
    fn several_findings_have_their_hints_beside_them() {
        let source = SourceText::new("Dockerfile", "a\nb\n");
        let finding = |at, help: &str| {
            Diagnostic::error("test", format!("no {help}"), &source, Span::new(at, at + 1))
                .with_help(help)
        };
        let diagnostics = [finding(0, "one"), finding(2, "two")];
        let report = Report {
            message: "no one".into(),
            diagnostics: &diagnostics,
            causes: vec![],
            hint: Some("last".into()),
        };
        let shown = render_report(&report, Style { colours: false, excerpt: false });
        let order = ["error: no one", "hint: one", "error: no two", "hint: two", "hint: last"];
        let found = order.map(|part| shown.find(part).unwrap_or_else(|| panic!("{part}: {shown}")));
        assert!(found.is_sorted(), "{shown}");
    }

    #[test]
    fn a_cause_that_was_said_is_not_repeated() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Level(&'static str, #[source] Option<Box<Level>>);
        let inner = Level("no space left on device (os error 28)", None);
        let middle = Level("no space left", Some(Box::new(inner)));
        let outer = Level("write blob: no space left", Some(Box::new(middle)));
        assert_eq!(causes(&outer), ["no space left on device (os error 28)"]);
    }
}
