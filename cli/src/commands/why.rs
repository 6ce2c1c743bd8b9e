//! `shale why`: why a step of the last build ran, against the earlier result that it is compared with.
//!
//! Owns the wording. All that is told comes from what the build has written down; nothing is looked up again.

use engine::{
    Address, AddressError, BuildError, BuildErrorKind, BuildLog, Comparison, Different,
    FileDifference, FileList, InputKind, LoggedStep, Same, StepOutcome, StepPlace, shown_address,
};
use serde_json::{Value, json};

use super::{Done, Process, print};
use crate::args::{UsageError, WhyArgs};
use crate::render::{Table, plain_text, shortened, shown_seconds};

/// Differing files that are listed without `--all`.
const FILES_SHOWN: usize = 100;
/// More files than this that differ in the same way are one line without `--all`.
const ALIKE_SHOWN: usize = 10;
/// Characters of an instruction in the table.
const SHORT_STEP: usize = 60;
/// Width of the first column.
const LABEL: usize = 15;

/// Tells.
pub(crate) fn run(process: &mut Process, typed: &WhyArgs) -> Done {
    let store = process.store()?;
    let Some(log) = engine::last_build(&store, &process.around.directory)? else {
        let text = "no build has left anything in this store that could be explained";
        let failed = BuildError::new(BuildErrorKind::Files, text);
        return Err(failed.with_hint("build something first: shale build .").into());
    };
    let places = log.places();
    let asked = match &typed.step {
        Some(text) => Some(find(text, &places)?),
        None => None,
    };
    if typed.json {
        return print(&document(&log, &places, asked.as_deref()));
    }
    let mut text = headline(&log);
    match asked {
        Some(steps) => {
            for at in steps {
                text.push('\n');
                text.push_str(&detail(&log, at, &places, typed.all));
            }
        }
        None => {
            text.push('\n');
            text.push_str(&table(&log, &places));
            let ran = log.steps.iter().position(|step| step.because.is_some());
            text.push('\n');
            text.push_str(&match ran {
                Some(at) => detail(&log, at, &places, typed.all),
                None => "Every step was cached.\n".to_owned(),
            });
        }
    }
    print(&text)
}

fn find(text: &str, places: &[StepPlace]) -> Result<Vec<usize>, UsageError> {
    let usage = |error: AddressError| {
        let failed = UsageError::new(error.to_string());
        match error.hint() {
            Some(hint) => failed.with_hint(hint),
            None => failed,
        }
    };
    text.parse::<Address>().and_then(|address| address.find(places)).map_err(usage)
}

fn headline(log: &BuildLog) -> String {
    let BuildLog { id, started, context, dockerfile, ok, .. } = log;
    let end = if *ok { "" } else { ", failed" };
    let line = format!("build {id} of {context}, {dockerfile}, {}{end}", date(started));
    format!("{}\n", plain_text(&line))
}

/// `2026-11-21 15:04:05 UTC` of a time as logs have it.
fn date(time: &str) -> String {
    let seconds: String = time.chars().take(19).collect();
    format!("{} UTC", seconds.replace('T', " "))
}

fn table(log: &BuildLog, places: &[StepPlace]) -> String {
    let mut table = Table::new(&["STEP", "OUTCOME", "TIME", "INSTRUCTION", ""]);
    let platforms: std::collections::BTreeSet<&str> =
        log.steps.iter().map(|step| step.platform.as_str()).collect();
    for (step, place) in log.steps.iter().zip(places) {
        let address = match platforms.len() {
            0 | 1 => shown_address(place, places),
            _ => format!("{} {}", step.platform, shown_address(place, places)),
        };
        let text = shortened(step.text.lines().next().unwrap_or_default(), SHORT_STEP);
        let because = step.because.as_ref().map(|because| format!("because {because}"));
        table.row(&[
            &plain_text(&address),
            outcome(step.outcome),
            &took(step),
            &plain_text(&text),
            &plain_text(&because.unwrap_or_default()),
        ]);
    }
    table.to_string()
}

fn outcome(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Cached => "cached",
        StepOutcome::Ran => "ran",
        StepOutcome::Failed => "failed",
        StepOutcome::Canceled => "canceled",
        StepOutcome::Refused => "refused",
        StepOutcome::NotReached => "not reached",
    }
}

/// How long it took; of a cached step nothing, it did not.
fn took(step: &LoggedStep) -> String {
    match step.outcome {
        StepOutcome::Cached | StepOutcome::Refused | StepOutcome::NotReached => String::new(),
        _ => shown_seconds(step.took_ms),
    }
}

/// All that is known of one step.
fn detail(log: &BuildLog, at: usize, places: &[StepPlace], all: bool) -> String {
    let step = &log.steps[at];
    let mut lines = Lines::default();
    let lines_of = match (step.line_first, step.line_last) {
        (first, last) if first == last => format!("{}:{first}", log.dockerfile),
        (first, last) => format!("{}:{first}-{last}", log.dockerfile),
    };
    let address = shown_address(&places[at], places);
    lines.add(&address, &format!("{}   {lines_of}", step.text.lines().next().unwrap_or_default()));
    let took = match step.outcome {
        StepOutcome::Cached if step.took_ms > 0 => {
            format!("cached (took {} when it ran)", shown_seconds(step.took_ms))
        }
        StepOutcome::Cached => "cached".to_owned(),
        other => format!("{} {}", outcome(other), took(step)),
    };
    lines.add("outcome", took.trim_end());
    if let Some(because) = &step.because {
        lines.add("because", because);
    }
    if let Some(comparison) = &step.comparison {
        compared(&mut lines, comparison, all);
    } else if step.because.is_some() {
        lines.add("compared with", nothing(step.because.as_deref().unwrap_or_default()));
    }
    lines.0
}

/// Why there is no comparison.
fn nothing(because: &str) -> &'static str {
    match because.starts_with("--no-cache") || because.starts_with("older than ") {
        true => "nothing: the flag alone decided",
        false => "nothing: there is no earlier result to compare with",
    }
}

/// Lines with a label, all of them safe to print.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, label: &str, text: &str) {
        let (label, text) = (plain_text(label), plain_text(text));
        let line = format!("{label:<LABEL$} {text}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// Several lines under one label.
    fn list(&mut self, label: &str, lines: &[(String, String)]) {
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(60);
        for (at, (name, how)) in lines.iter().enumerate() {
            let label = if at == 0 { label } else { "" };
            self.add(label, &format!("{name:<width$}   {how}"));
        }
    }
}

fn compared(lines: &mut Lines, comparison: &Comparison, all: bool) {
    let Comparison { step, created, candidates, is_last, same, different, partial } = comparison;
    let choice = match (is_last, candidates) {
        (_, 0 | 1) => "the only earlier result".to_owned(),
        (true, count) => format!("the last build's, of {count} results"),
        (false, count) => format!("nearest of {count} results"),
    };
    lines.add("compared with", &format!("{step}, {} ({choice})", date(created)));
    lines.add("same", &same_things(same, different));
    let mut rows = Vec::new();
    for one in different {
        match &one.files {
            Some(list) => files(&mut rows, list, all),
            None => rows.push((one.name.clone(), digests(one))),
        }
    }
    if rows.is_empty() {
        let what = if *partial { "the instruction" } else { "all that the step reads" };
        rows.push(("nothing".to_owned(), format!("{what} is what it was")));
    }
    lines.list("different", &rows);
    if *partial {
        lines.add("not compared", "what it reads: the instruction alone decided");
    }
}

/// What is the same, the parts of the instruction as one word.
fn same_things(same: &[Same], different: &[Different]) -> String {
    let mut things = Vec::new();
    let parts = different.iter().any(|one| one.kind == InputKind::Instruction);
    if same.iter().any(|one| one.kind == InputKind::Instruction) {
        things.push(if parts { "all else of the instruction" } else { "instruction" }.to_owned());
    }
    let others = same.iter().filter(|one| one.kind != InputKind::Instruction);
    things.extend(others.map(|one| one.name.clone()));
    for one in different {
        if let Some(list) = one.files.as_ref().filter(|list| list.same > 0) {
            things.push(format!("{} of {} files of {}", list.same, list.total, one.name));
        }
    }
    if things.is_empty() { "nothing".to_owned() } else { things.join(", ") }
}

/// Old and new digest, shortened.
fn digests(one: &Different) -> String {
    let short = |digest: &Option<String>| match digest {
        Some(digest) => {
            let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
            hex.chars().take(12).collect::<String>()
        }
        None => "not there".to_owned(),
    };
    format!("{} -> {}", short(&one.old), short(&one.new))
}

fn files(rows: &mut Vec<(String, String)>, list: &FileList, all: bool) {
    let mut shown = 0;
    let mut grouped: Vec<(String, usize)> = Vec::new();
    for entry in &list.entries {
        let how = entry.how.join(", ");
        let is_alike = |other: &&FileDifference| other.how == entry.how;
        let is_grouped = !all
            && (grouped.iter().any(|(other, _)| *other == how)
                || how.starts_with("mode ")
                    && list.entries.iter().filter(is_alike).count() > ALIKE_SHOWN);
        if is_grouped {
            match grouped.iter_mut().find(|(other, _)| *other == how) {
                Some((_, count)) => *count += 1,
                None => grouped.push((how, 1)),
            }
        } else if all || shown < FILES_SHOWN {
            shown += 1;
            let slash = if entry.directory && entry.path != "." { "/" } else { "" };
            rows.push((format!("{}{slash}{}", entry.path, list.place), how));
        } else {
            shown += 1;
        }
    }
    rows.extend(grouped.into_iter().map(|(how, count)| (format!("{count} files"), how)));
    let more = list.more + if all { 0 } else { shown.saturating_sub(FILES_SHOWN) as u64 };
    if more > 0 {
        let hint = if all { "" } else { "--all lists them" };
        rows.push((format!("{more} more files"), hint.to_owned()));
    }
}

/// The document of `--json` (docs/why.md).
fn document(log: &BuildLog, places: &[StepPlace], asked: Option<&[usize]>) -> String {
    let BuildLog { id, started, context, dockerfile, ok, steps, .. } = log;
    let is_asked = |at: &usize| asked.is_none_or(|asked| asked.contains(at));
    let steps = (0..steps.len()).filter(is_asked);
    let steps: Vec<Value> =
        steps.map(|at| step_json(&log.steps[at], &shown_address(&places[at], places))).collect();
    let document = json!({
        "build": {
            "id": id, "started": started, "context": context, "dockerfile": dockerfile, "ok": ok,
        },
        "steps": steps,
    });
    format!("{document:#}\n")
}

fn step_json(step: &LoggedStep, address: &str) -> Value {
    let LoggedStep {
        name,
        stage,
        number,
        text,
        line_first,
        line_last,
        platform,
        instruction: _,
        outcome,
        took_ms,
        because,
        comparison,
        inputs: _,
        inputs_partial: _,
        result: _,
    } = step;
    json!({
        "step": address,
        "name": name,
        "stage": stage,
        "number": number,
        "instruction": text,
        "lines": [line_first, line_last],
        "platform": platform,
        "outcome": self::outcome(*outcome).replace(' ', "-"),
        "took_ms": took_ms,
        "because": because,
        "compared": comparison.as_ref().map(comparison_json),
    })
}

fn comparison_json(comparison: &Comparison) -> Value {
    let Comparison { step, created, candidates, is_last, same, different, partial } = comparison;
    let same = same.iter().map(|one| json!({ "name": one.name, "kind": kind(one.kind) }));
    json!({
        "with": { "instruction": step, "created": created, "last_build": is_last, "of": candidates },
        "partial": partial,
        "same": same.collect::<Vec<_>>(),
        "different": different.iter().map(different_json).collect::<Vec<_>>(),
    })
}

fn different_json(one: &Different) -> Value {
    let Different { name, kind, old, new, files } = one;
    let files = files.as_ref().map(|list| {
        let entries = list.entries.iter().map(
            |entry| json!({ "path": entry.path, "directory": entry.directory, "how": entry.how }),
        );
        let different = entries.collect::<Vec<_>>();
        json!({ "same": list.same, "total": list.total, "different": different, "more": list.more })
    });
    json!({ "name": name, "kind": self::kind(*kind), "old": old, "new": new, "files": files })
}

fn kind(kind: InputKind) -> &'static str {
    match kind {
        InputKind::Instruction => "instruction",
        InputKind::Text => "text",
        InputKind::Files => "files",
        InputKind::Remote => "remote",
        InputKind::Below => "below",
    }
}
