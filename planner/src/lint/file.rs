//! Rules that look at words as they stand in the file, in stages that nobody needs too (LINT-08).

use parser::ast::{Dockerfile, From, Instruction, Kind, Stage};
use parser::{Parse, Severity, SourceText};

use super::{Findings, Rule};
use crate::outline::{site, stage_name};
use crate::site::Site;

/// Rules on single instructions, up to the first mistake in the file (LINT-09).
pub(super) fn read(findings: &Findings, parse: &Parse, source: &SourceText) {
    let errors = parse.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let first = errors.flat_map(|error| &error.labels).map(|label| label.span.start).min();
    let is_read = |instruction: &&Instruction| first.is_none_or(|at| instruction.span.start < at);
    let file = &parse.dockerfile;
    let in_stages = file.stages.iter().flat_map(instructions);
    for instruction in file.global_args.iter().chain(in_stages).filter(is_read) {
        let site = site(file, source, instruction);
        match &instruction.kind {
            Kind::From(from) => {
                stage_name_casing(findings, from, &site);
                from_as_casing(findings, instruction, from, &site);
            }
            Kind::Maintainer(_) => {
                let message = "Maintainer instruction is deprecated in favor of using label";
                findings.add(Rule::MaintainerDeprecated, message.to_owned(), &site); // LINT-27
            }
            _ => {}
        }
        definition_description(findings, instruction, &site);
    }
}

/// Rules that need the whole file.
pub(crate) fn whole(findings: &Findings, file: &Dockerfile, source: &SourceText) {
    stage_names(findings, file, source);
    instruction_casing(findings, file, source);
}

fn instructions(stage: &Stage) -> impl Iterator<Item = &Instruction> {
    std::iter::once(&stage.from).chain(&stage.instructions)
}

/// LINT-20.
fn stage_name_casing(findings: &Findings, from: &From, site: &Site) {
    let Some(name) = &from.name else { return };
    if name.text != name.text.to_lowercase() {
        let message = format!("Stage name '{}' should be lowercase", name.text);
        findings.add(Rule::StageNameCasing, message, site);
    }
}

/// LINT-21.
fn from_as_casing(findings: &Findings, instruction: &Instruction, from: &From, site: &Site) {
    let Some(word) = &from.as_keyword else { return };
    let keyword = &instruction.keyword.text;
    let Some(is_lower) = is_lower(keyword) else { return };
    if !has_case(&word.text, is_lower) {
        let message = format!("'{}' and '{keyword}' keywords' casing do not match", word.text);
        findings.add(Rule::FromAsCasing, message, site);
    }
}

/// LINT-24, LINT-25.
fn stage_names(findings: &Findings, file: &Dockerfile, source: &SourceText) {
    let mut seen = Vec::new();
    for stage in &file.stages {
        let Some(name) = stage_name(stage) else { continue };
        let site = site(file, source, &stage.from);
        if matches!(&*name, "scratch" | "context") {
            let message =
                format!("Stage name should not use the same name as reserved stage {name:?}");
            findings.add(Rule::ReservedStageName, message, &site);
        }
        if seen.contains(&name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            findings.add(Rule::DuplicateStageName, message, &site);
        }
        seen.push(name);
    }
}

/// LINT-23.
fn instruction_casing(findings: &Findings, file: &Dockerfile, source: &SourceText) {
    let all = || file.stages.iter().flat_map(instructions);
    let count = |lower: bool| {
        all().filter(|instruction| is_lower(&instruction.keyword.text) == Some(lower)).count()
    };
    let lower_wins = count(true) > count(false);
    let wanted = if lower_wins { "lowercase" } else { "uppercase" };
    for instruction in all() {
        let keyword = &instruction.keyword.text;
        if !has_case(keyword, lower_wins) {
            let message = format!(
                "Command '{keyword}' should match the case of the command majority ({wanted})"
            );
            let site = site(file, source, instruction);
            findings.add(Rule::ConsistentInstructionCasing, message, &site);
        }
    }
}

/// LINT-39.
fn definition_description(findings: &Findings, instruction: &Instruction, site: &Site) {
    let (names, shown) = match &instruction.kind {
        Kind::From(From { name: Some(name), .. }) => (vec![name.text.to_lowercase()], "FROM"),
        Kind::Arg(arg) => (arg.items.iter().map(|(name, _)| name.text.clone()).collect(), "ARG"),
        _ => return,
    };
    let Some(comment) = instruction.comments.last() else { return };
    let described = comment.split(' ').next().unwrap_or_default();
    if names.iter().any(|name| name == described) {
        return;
    }
    let example = if names.len() > 1 { "<arg_key>" } else { &names[0] };
    let message =
        format!("Comment for {shown} should follow the format: `# {example} <description>`");
    findings.add(Rule::InvalidDefinitionDescription, message, site);
}

/// Whether a keyword is all lower case or all upper case; nothing when it is mixed.
fn is_lower(keyword: &str) -> Option<bool> {
    [true, false].into_iter().find(|lower| has_case(keyword, *lower))
}

fn has_case(word: &str, lower: bool) -> bool {
    let other = |c: char| if lower { c.is_uppercase() } else { c.is_lowercase() };
    !word.contains(other)
}
