//! What a target can be given: build arguments, secrets, ssh agents, caches (CALL-08 to CALL-10).
//!
//! Owns which of them count: those of the target and of the stages that it depends on, each once, the target's own
//! first. Lowering notes what its instructions ask for; the rest is read from the outline.

use std::collections::{BTreeMap, BTreeSet};

use graph::{Mount, MountKind};
use parser::ast::{Arg, Instruction, Kind};
use parser::{LineRange, SourceText, Span};

use crate::outline::{Outline, Variant, site, stage_name};
use crate::scope::{self, Variables};
use crate::targets::description;

/// What can be given to a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The target's name in lower case.
    pub target: Option<String>,
    /// From the comment above it (CALL-14).
    pub description: Option<String>,
    /// Build arguments, in the order of the file.
    pub arguments: Vec<Argument>,
    /// Secrets by id.
    pub secrets: Vec<Access>,
    /// Ssh agents by id.
    pub agents: Vec<Access>,
    /// Cache mounts by what tells them apart.
    pub caches: Vec<Access>,
}

/// A build argument with an ARG line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// The value that it has in this build; empty without one.
    pub value: String,
    /// From the comment above the line (CALL-14).
    pub description: Option<String>,
    /// The lines of the ARG.
    pub lines: LineRange,
}

/// Something that steps mount by an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The id.
    pub id: String,
    /// A step fails without it.
    pub is_required: bool,
    /// The lines of the first RUN that has it.
    pub lines: LineRange,
}

/// What the instructions of a stage ask for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    is_lowered: bool,
    arguments: Vec<Declared>,
    mounts: Vec<(Mount, Span)>,
}

/// An ARG.
#[derive(Clone, Debug)]
struct Declared {
    name: String,
    value: String,
    /// What it says of itself; a global one's when it only lets that in.
    facts: Facts,
    deps: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Facts {
    Own { description: Option<String>, span: Span },
    Inherited,
}

impl Asked {
    /// Notes an ARG of a stage with the values that it got; `is_inherited` are names whose value is a global one's.
    pub(crate) fn arg(
        &mut self,
        instruction: &Instruction,
        arg: &Arg,
        values: &[(String, Option<String>)],
        is_inherited: &dyn Fn(&str) -> bool,
        span: Span,
    ) {
        for ((name, default), (_, value)) in arg.items.iter().zip(values) {
            let name = &name.text;
            let facts = match default.is_none() && is_inherited(name) {
                true => Facts::Inherited,
                false => Facts::Own { description: description(&instruction.comments, name), span },
            };
            let value = value.clone().unwrap_or_default();
            let deps = BTreeSet::new();
            self.arguments.push(Declared { name: name.clone(), value, facts, deps });
        }
    }

    /// Notes the mounts of a RUN.
    pub(crate) fn mounts(&mut self, mounts: &[Mount], span: Span) {
        self.mounts.extend(mounts.iter().map(|mount| (mount.clone(), span)));
    }

    /// Notes that the stage was looked at.
    pub(crate) fn stage(&mut self) {
        self.is_lowered = true;
    }
}

/// Puts together what the target of a platform can be given. `asked` is by stage.
pub(crate) fn collect(outline: &Outline, variant: &Variant, asked: &[Asked]) -> Parameters {
    let stage = &outline.file.stages[outline.target];
    let name = stage_name(stage);
    let mut collector = Collector {
        source: &outline.source,
        parameters: Parameters {
            description: name.as_deref().and_then(|name| description(&stage.from.comments, name)),
            target: name,
            ..Parameters::default()
        },
    };
    let globals = globals(outline, variant);
    for number in order(outline, variant, asked) {
        let from = used_by_from(outline, variant, number);
        collector.arguments(&globals, &asked[number].arguments, from);
        for (mount, span) in &asked[number].mounts {
            collector.mount(mount, *span);
        }
    }
    let mut parameters = collector.parameters;
    parameters.arguments.sort_by_key(|argument| argument.lines.first);
    for list in [&mut parameters.secrets, &mut parameters.agents, &mut parameters.caches] {
        list.sort_by_key(|access| access.lines.first);
    }
    parameters
}

/// The target, what it stands on, what that and the target copy from; then what triggers have added.
fn order(outline: &Outline, variant: &Variant, asked: &[Asked]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut work = vec![outline.target];
    while let Some(number) = work.pop() {
        if order.contains(&number) || !asked[number].is_lowered {
            continue;
        }
        order.push(number);
        let mut next = outline.stages_below(variant, number);
        next.reverse();
        work.extend(next);
    }
    let others = (0..asked.len()).filter(|number| asked[*number].is_lowered);
    let others: Vec<usize> = others.filter(|number| !order.contains(number)).collect();
    order.extend(others);
    order
}

/// The ARGs above the first FROM, the last one of each name.
fn globals(outline: &Outline, variant: &Variant) -> BTreeMap<String, Declared> {
    let request = &outline.request;
    let mut variables = scope::predefined(request, &variant.platform, "");
    let mut known: BTreeMap<String, Declared> = BTreeMap::new();
    for instruction in &outline.file.global_args {
        let Kind::Arg(arg) = &instruction.kind else { continue };
        let site = site(&outline.file, &outline.source, instruction);
        for (name, default) in &arg.items {
            let name = &name.text;
            let default = match (request.build_arg(name), default) {
                (None, Some(default)) => variables.text(&default.text, default.span, &site).ok(),
                _ => None,
            };
            let given = request.build_arg(name).map(str::to_owned);
            let value = given.or_else(|| default.as_ref().map(|d| d.text.clone()));
            let mut deps: BTreeSet<String> = default.into_iter().flat_map(|d| d.used).collect();
            if deps.remove(name)
                && let Some(old) = known.get(name)
            {
                deps.extend(old.deps.iter().cloned());
            }
            if let Some(value) = &value {
                variables.set(name, value);
            }
            let value = value.unwrap_or_default();
            let description = description(&instruction.comments, name);
            let facts = Facts::Own { description, span: instruction.span };
            known.insert(name.clone(), Declared { name: name.clone(), value, facts, deps });
        }
    }
    known
}

/// Variables of a stage's FROM line that have a value.
fn used_by_from(outline: &Outline, variant: &Variant, number: usize) -> BTreeSet<String> {
    let instruction = &outline.file.stages[number].from;
    let Kind::From(from) = &instruction.kind else { return BTreeSet::new() };
    if outline.replacement(variant, number).is_some() {
        return BTreeSet::new();
    }
    let site = site(&outline.file, &outline.source, instruction);
    let globals: &Variables = &variant.globals;
    let words = std::iter::once(&from.image).chain(&from.platform);
    let expanded = words.filter_map(|word| globals.text(&word.text, word.span, &site).ok());
    expanded.flat_map(|expanded| expanded.used).collect()
}

struct Collector<'a> {
    source: &'a SourceText,
    parameters: Parameters,
}

impl Collector<'_> {
    /// Adds the arguments that a stage uses: declared in it, or named by its FROM, and what their defaults name.
    fn arguments(
        &mut self,
        globals: &BTreeMap<String, Declared>,
        own: &[Declared],
        mut used: BTreeSet<String>,
    ) {
        let mut known = globals.clone();
        for declared in own {
            used.insert(declared.name.clone());
            if matches!(declared.facts, Facts::Own { .. }) {
                known.insert(declared.name.clone(), declared.clone());
            }
        }
        let mut all = BTreeSet::new();
        while let Some(name) = used.pop_first() {
            if all.insert(name.clone())
                && let Some(declared) = known.get(&name)
            {
                used.extend(declared.deps.iter().cloned());
            }
        }
        for declared in all.iter().filter_map(|name| known.get(name)) {
            self.argument(declared);
        }
    }

    fn argument(&mut self, declared: &Declared) {
        let Facts::Own { description, span } = &declared.facts else { return };
        let arguments = &mut self.parameters.arguments;
        if arguments.iter().all(|known| known.name != declared.name) {
            arguments.push(Argument {
                name: declared.name.clone(),
                value: declared.value.clone(),
                description: description.clone(),
                lines: self.source.lines(*span),
            });
        }
    }

    fn mount(&mut self, mount: &Mount, span: Span) {
        let parameters = &mut self.parameters;
        let (list, id, is_required) = match &mount.kind {
            MountKind::Secret { id, required, .. } => (&mut parameters.secrets, id, *required),
            MountKind::Ssh { id, required, .. } => (&mut parameters.agents, id, *required),
            MountKind::Cache { id, .. } => (&mut parameters.caches, id, false),
            MountKind::Bind { .. } | MountKind::Tmpfs { .. } => return,
        };
        match list.iter_mut().find(|known| known.id == *id) {
            Some(known) => known.is_required |= is_required, // CALL-10
            None => {
                let lines = self.source.lines(span);
                list.push(Access { id: id.to_owned(), is_required, lines });
            }
        }
    }
}

#[cfg(test)]
mod tests;
