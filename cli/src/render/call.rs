//! Answers about a Dockerfile in the layouts of docker buildx: tables, and the JSON documents of the same (spec 9.3).
//!
//! The documents have structs of their own; members that are empty are left out where the reference leaves them out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parser::{Diagnostic, LineRange, SourceText};
use planner::{Parameters, Rule, TargetFacts};
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use super::plain_text;

/// What the target can be given, as tables (CALL-08). A table without rows is left out.
pub(crate) fn outline_text(parameters: &Parameters) -> String {
    let mut text = String::new();
    let about = parameters.description.as_deref();
    if parameters.target.is_some() || about.is_some() {
        let name = parameters.target.as_deref().unwrap_or("(default)");
        let mut rows = vec![vec!["TARGET:", name]];
        rows.extend(about.map(|about| vec!["DESCRIPTION:", about]));
        text.push_str(&columns(&rows, 1));
        text.push('\n');
    }
    let arguments = parameters.arguments.iter();
    let arguments = arguments.map(|argument| {
        vec![&*argument.name, &*argument.value, argument.description.as_deref().unwrap_or_default()]
    });
    text.push_str(&section(&["BUILD ARG", "VALUE", "DESCRIPTION"], arguments));
    for (heading, list) in [("SECRET", &parameters.secrets), ("SSH", &parameters.agents)] {
        let required = |is_required| if is_required { "true" } else { "" };
        let rows = list.iter().map(|access| vec![&*access.id, required(access.is_required)]);
        text.push_str(&section(&[heading, "REQUIRED"], rows));
    }
    text
}

/// The same as a document (CALL-10).
pub(crate) fn outline_json(parameters: &Parameters, source: &SourceText) -> String {
    let access = |list: &[planner::Access]| list.iter().map(Access::of).collect();
    let caches = parameters
        .caches
        .iter()
        .map(|cache| Cache { id: cache.id.clone(), location: Location::of(cache.lines) });
    let arguments = parameters.arguments.iter().map(|argument| Argument {
        name: argument.name.clone(),
        description: argument.description.clone(),
        value: Some(argument.value.clone()).filter(|value| !value.is_empty()),
        location: Location::of(argument.lines),
    });
    json(&Outline {
        name: parameters.target.clone(),
        description: parameters.description.clone(),
        args: arguments.collect(),
        secrets: access(&parameters.secrets),
        ssh: access(&parameters.agents),
        cache: caches.collect(),
        sources: vec![STANDARD.encode(&*source.text)],
    })
}

/// The stages as a table (CALL-11).
pub(crate) fn targets_text(targets: &[TargetFacts]) -> String {
    let names: Vec<String> = targets.iter().map(shown_name).collect();
    let mut rows = vec![vec!["TARGET", "DESCRIPTION"]];
    rows.extend(names.iter().zip(targets).map(|(name, target)| {
        vec![name.as_str(), target.description.as_deref().unwrap_or_default()]
    }));
    columns(&rows, 1)
}

fn shown_name(target: &TargetFacts) -> String {
    match (&target.name, target.is_default) {
        (None, true) => "(default)".to_owned(),
        (Some(name), true) => format!("{name} (default)"),
        (name, false) => name.clone().unwrap_or_default(),
    }
}

/// The same as a document (CALL-11).
pub(crate) fn targets_json(targets: &[TargetFacts], source: &SourceText) -> String {
    let targets = targets.iter().map(|target| Target {
        name: target.name.clone(),
        default: target.is_default,
        description: target.description.clone(),
        base: target.base.clone(),
        platform: target.platform.clone(),
        location: Location::of(target.lines),
    });
    json(&Targets { targets: targets.collect(), sources: vec![STANDARD.encode(&*source.text)] })
}

/// Findings of checks as a document, with the error that the file has besides (CALL-06).
pub(crate) fn check_json(
    findings: &[Diagnostic],
    error: Option<(&str, &[Diagnostic])>,
    source: Option<&SourceText>,
) -> String {
    let warnings: Vec<Warning> = findings.iter().map(Warning::of).collect();
    let build_error = error.map(|(message, places)| CheckError {
        message: message.to_owned(),
        location: places.first().and_then(location).unwrap_or_default(),
    });
    let sources = source.into_iter().map(|source| Source {
        filename: source.name.to_string(),
        data: STANDARD.encode(&*source.text),
        language: "Dockerfile",
    });
    json(&Check {
        // The reference writes `null` when there are none.
        warnings: Some(warnings).filter(|warnings| !warnings.is_empty()),
        sources: sources.collect(),
        build_error,
    })
}

/// The methods that there are (CALL-13).
pub(crate) fn describe_text() -> String {
    let mut rows = vec![vec!["NAME", "VERSION", "DESCRIPTION"]];
    rows.extend(METHODS.iter().map(|(name, description, _)| vec![*name, VERSION, *description]));
    columns(&rows, 1)
}

/// The same as a document (CALL-13).
pub(crate) fn describe_json() -> String {
    let named = |name, description| Named { name, description };
    let methods = METHODS.iter().map(|(name, description, options)| Request {
        name: format!("frontend.{name}"),
        version: VERSION,
        kind: "rpc",
        description,
        opts: Some(options.iter().map(|(name, about)| named(name, about)).collect::<Vec<_>>())
            .filter(|options| !options.is_empty() || *name == "targets"),
        inputs: None,
        metadata: vec![named("result.json", ""), named("result.txt", "")],
        refs: None,
    });
    json(&methods.collect::<Vec<_>>())
}

/// Version of the answers' layouts.
const VERSION: &str = "1.0.0";

/// A name with what it is.
type About = (&'static str, &'static str);

/// Names, descriptions and options of the methods, as the reference lists them.
const METHODS: [(&str, &str, &[About]); 3] = [
    (
        "outline",
        "List all parameters current build target supports",
        &[("target", "Target build stage")],
    ),
    ("targets", "List all targets current build supports", &[]),
    ("subrequests.describe", "List available subrequest types", &[]),
];

fn section<'a>(headings: &[&'a str], rows: impl Iterator<Item = Vec<&'a str>>) -> String {
    let mut all = vec![headings.to_vec()];
    all.extend(rows);
    match all.len() {
        1 => String::new(),
        _ => columns(&all, 3) + "\n",
    }
}

/// Rows in columns, the last one ragged; so many blanks between them. A row may end in blanks, as the reference's do.
fn columns(rows: &[Vec<&str>], gap: usize) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain_text(cell).into_owned()).collect())
        .collect();
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let (last, cells) = row.split_last().expect("a row has cells");
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(cell);
            text.push_str(&" ".repeat(width - cell.width() + gap));
        }
        text.push_str(last);
        text.push('\n');
    }
    text
}

fn json(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("strings and numbers can be written") + "\n"
}

fn location(finding: &Diagnostic) -> Option<Location> {
    let (source, label) = (finding.source.as_ref()?, finding.labels.first()?);
    Some(Location::of(source.lines(label.span)))
}

#[derive(Serialize)]
struct Outline {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<Access>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ssh: Vec<Access>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cache: Vec<Cache>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Argument {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    location: Location,
}

#[derive(Serialize)]
struct Access {
    name: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    required: bool,
    location: Location,
}

#[derive(Serialize)]
struct Cache {
    #[serde(rename = "ID")]
    id: String,
    location: Location,
}

#[derive(Serialize)]
struct Targets {
    targets: Vec<Target>,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Target {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    default: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    base: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    location: Location,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    warnings: Option<Vec<Warning>>,
    sources: Vec<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_error: Option<CheckError>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Warning {
    rule_name: &'static str,
    description: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<Location>,
}

#[derive(Serialize)]
struct CheckError {
    message: String,
    location: Location,
}

#[derive(Serialize)]
struct Source {
    filename: String,
    data: String,
    language: &'static str,
}

/// Lines, each a range of its own; columns are not told.
#[derive(Default, Serialize)]
struct Location {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Serialize)]
struct Position {
    line: u32,
}

#[derive(Serialize)]
struct Request {
    name: String,
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
    opts: Option<Vec<Named>>,
    inputs: Option<Vec<Named>>,
    metadata: Vec<Named>,
    refs: Option<Vec<Named>>,
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    description: &'static str,
}

impl Location {
    fn of(lines: LineRange) -> Location {
        let range = |line| Range { start: Position { line }, end: Position { line } };
        Location { ranges: (lines.first..=lines.last).map(range).collect() }
    }
}

impl Access {
    fn of(access: &planner::Access) -> Access {
        let (name, required) = (access.id.clone(), access.is_required);
        Access { name, required, location: Location::of(access.lines) }
    }
}

impl Warning {
    fn of(finding: &Diagnostic) -> Warning {
        let rule = Rule::named(finding.code);
        Warning {
            rule_name: finding.code,
            description: rule.map_or("", Rule::description),
            url: rule.and_then(Rule::url),
            detail: finding.message.clone(),
            location: location(finding),
        }
    }
}

#[cfg(test)]
mod tests;
