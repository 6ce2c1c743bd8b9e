//! The shape of a file before anything is asked of the world: stages, their bases, the target, global variables.
//!
//! Owns the checks that cover the whole file, reached or not (FROM lines, circular dependencies, stage indexes).
//! Refuses to look into instructions beyond the names that they refer to.

use std::collections::BTreeSet;

use oci::{Platform, Reference};
use parser::ast::{Dockerfile, From, Instruction, Kind, Stage, Word};
use parser::{Diagnostic, SourceText, did_you_mean};

use crate::epoch::Epoch;
use crate::lower::check_name;
use crate::scope::{TextRoom, Variables};
use crate::site::{Fail, Site, nowhere};
use crate::{ContextValue, EngineName, Findings, LowerRequest, NamedContext};
use crate::{context_value, epoch, lint, scope};

/// A file's stages and what each starts from, for every platform asked for.
#[derive(Clone, Debug)]
pub struct Outline {
    pub(crate) file: Dockerfile,
    pub(crate) source: SourceText,
    pub(crate) request: LowerRequest,
    /// Number of the stage that is wanted.
    pub(crate) target: usize,
    pub(crate) variants: Vec<Variant>,
}

/// What depends on the target platform.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) platform: Platform,
    /// Predefined and global arguments (EXP-74).
    pub(crate) globals: Variables,
    pub(crate) bases: Vec<Base>,
    pub(crate) epoch: Epoch,
}

/// What a FROM line says.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// The word behind FROM, expanded.
    pub(crate) name: String,
    /// `--platform`.
    pub(crate) platform: Option<Platform>,
    pub(crate) kind: BaseKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BaseKind {
    Scratch,
    Stage(usize),
    Image,
}

/// What a name of `--from` or `from=` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Stage(usize),
    Nothing,
    BadIndex,
}

impl Variant {
    /// The platform that a stage's base is wanted for (PLAT-03).
    pub(crate) fn platform_of(&self, number: usize) -> &Platform {
        self.bases[number].platform.as_ref().unwrap_or(&self.platform)
    }
}

/// Reads the shape of a file; what checks have to say of it goes to `findings`.
///
/// # Errors
/// What is wrong with the file as a whole, with FROM lines, or with the request's target.
pub fn outline(
    file: &Dockerfile,
    source: &SourceText,
    request: &LowerRequest,
    findings: &Findings,
) -> Result<Outline, Vec<Diagnostic>> {
    read(file, source, request, findings).map_err(|fail| vec![*fail])
}

impl Outline {
    /// The images that the target names, as far as the file alone tells, with the platform each is wanted for; to be
    /// fetched ahead. Triggers of base images may want more.
    pub fn images(&self) -> Vec<(Reference, Platform)> {
        let mut images = Vec::new();
        for variant in &self.variants {
            for number in self.needed(variant) {
                self.collect_images(variant, number, &mut images);
            }
        }
        images
    }

    /// Name of a stage for people: `stage-N` when it has none.
    pub(crate) fn display_name(&self, number: usize) -> String {
        stage_name(&self.file.stages[number]).unwrap_or_else(|| format!("stage-{number}"))
    }

    /// Finds the stage that a name or an index means, seen from a stage: the last earlier one, else any.
    pub(crate) fn find(&self, name: &str, from: usize, index_allowed: bool) -> Found {
        find_stage(&self.file, name, from, index_allowed)
    }

    /// The stages that the target needs, as far as the file alone tells (STG-05, STG-06).
    pub(crate) fn needed(&self, variant: &Variant) -> BTreeSet<usize> {
        if self.request.all_stages && self.request.wanted_target().is_none() {
            return (0..self.file.stages.len()).collect();
        }
        let mut needed = BTreeSet::new();
        let mut work = vec![self.target];
        while let Some(number) = work.pop() {
            if needed.insert(number) && self.replacement(variant, number).is_none() {
                let others = dependencies(&self.file, &variant.bases, number);
                work.extend(others.iter().map(|(other, _)| *other).filter(|other| *other < number));
            }
        }
        needed
    }

    /// What a stage is made of: its base, then the stages that it copies from or mounts.
    pub(crate) fn stages_below(&self, variant: &Variant, number: usize) -> Vec<usize> {
        match self.replacement(variant, number) {
            Some(_) => Vec::new(),
            None => {
                let found = dependencies(&self.file, &variant.bases, number);
                found.into_iter().map(|(other, _)| other).collect()
            }
        }
    }

    /// The stage that a target's name means, as `--target` takes it; else what to say behind the name.
    pub(crate) fn target_named(&self, target: &str) -> Result<usize, String> {
        find_named(&self.file, target)
    }

    /// The named context that stands in for a stage's result (NCTX-17).
    pub(crate) fn replacement(&self, variant: &Variant, number: usize) -> Option<&NamedContext> {
        let name = stage_name(&self.file.stages[number])?;
        context_value::find(&self.request.contexts, &name, variant.platform_of(number))
    }

    fn collect_images(
        &self,
        variant: &Variant,
        number: usize,
        images: &mut Vec<(Reference, Platform)>,
    ) {
        if let Some(context) = self.replacement(variant, number) {
            return add_context(&context.value, variant.platform_of(number), images);
        }
        let mut add = |name: &str, platform: &Platform| match context_value::find(
            &self.request.contexts,
            name,
            platform,
        ) {
            Some(context) => add_context(&context.value, platform, images),
            None if EngineName::parse(name).is_some() => {}
            None => add_image(name.parse().ok(), platform, images),
        };
        let base = &variant.bases[number];
        if base.kind == BaseKind::Image {
            add(&base.name, variant.platform_of(number));
        }
        for (name, index_allowed, _) in references(&self.file.stages[number]) {
            let found = self.find(name, number, index_allowed);
            if found == Found::Nothing && !name.contains('$') && name != "scratch" {
                add(name, &variant.platform);
            }
        }
    }
}

fn add_context(value: &ContextValue, platform: &Platform, images: &mut Vec<(Reference, Platform)>) {
    if let ContextValue::Image(reference) = value {
        add_image(Some(reference.clone()), platform, images);
    }
}

fn add_image(
    reference: Option<Reference>,
    platform: &Platform,
    images: &mut Vec<(Reference, Platform)>,
) {
    if let Some(reference) = reference {
        let image = (reference, platform.clone());
        if !images.contains(&image) {
            images.push(image);
        }
    }
}

fn read(
    file: &Dockerfile,
    source: &SourceText,
    request: &LowerRequest,
    findings: &Findings,
) -> Result<Outline, Fail> {
    if file.stages.is_empty() {
        return Err(nowhere("no-stages", "dockerfile contains no stages to build")); // LEX-08
    }
    if request.build_arg("BUILDKIT_DISABLE_FILEOP").is_some() {
        return Err(nowhere(
            "unsupported-argument",
            "build argument BUILDKIT_DISABLE_FILEOP is not supported", // EXP-102
        ));
    }
    request.is_index().map_err(|message| nowhere("invalid-argument", message))?; // PLAT-08
    lint::whole(findings, file, source);
    let mut variants = Vec::new();
    for platform in request.targets() {
        findings.next_platform();
        variants.push(read_variant(file, source, request, &platform, findings)?);
    }
    let target = find_target(file, request)?;
    check_references(file, source)?;
    check_cycles(file, source, &variants[0].bases)?;
    check_image_names(file, source, &variants[0].bases)?;
    Ok(Outline {
        file: file.clone(),
        source: source.clone(),
        request: request.clone(),
        target,
        variants,
    })
}

/// STG-02 to STG-04.
fn find_target(file: &Dockerfile, request: &LowerRequest) -> Result<usize, Fail> {
    let Some(wanted) = request.wanted_target() else {
        return Ok(file.stages.len() - 1);
    };
    find_named(file, wanted).map_err(|hint| {
        let message = format!("target stage {wanted:?} could not be found{hint}");
        let mut fail = nowhere("unknown-target", message);
        let names: Vec<String> = file.stages.iter().filter_map(stage_name).collect();
        fail.help = Some(match names.is_empty() {
            true => "no stage has a name: write FROM IMAGE AS NAME".to_owned(),
            false => format!("the stages are {}", names.join(", ")),
        });
        fail
    })
}

/// The last stage of a name, in whatever case; else a hint at one that looks like it.
fn find_named(file: &Dockerfile, wanted: &str) -> Result<usize, String> {
    let names: Vec<Option<String>> = file.stages.iter().map(stage_name).collect();
    let lower = wanted.to_lowercase();
    let found = names.iter().rposition(|name| name.as_ref() == Some(&lower));
    found.ok_or_else(|| did_you_mean(&lower, names.iter().flatten().map(String::as_str)))
}

fn read_variant(
    file: &Dockerfile,
    source: &SourceText,
    request: &LowerRequest,
    platform: &Platform,
    findings: &Findings,
) -> Result<Variant, Fail> {
    let stage = match request.wanted_target() {
        Some(target) => target.to_owned(),
        None => file.stages.last().and_then(stage_name).unwrap_or_else(|| "default".to_owned()),
    };
    let predefined = scope::predefined(request, platform, &stage);
    if let Ok(defaults) = read_globals(file, source, predefined.clone(), &|_| None) {
        lint::default_names(findings, file, source, &defaults);
    }
    let globals = read_globals(file, source, predefined, &|name| request.build_arg(name))?;
    let mut bases = Vec::new();
    let room = TextRoom::new();
    for (number, stage) in file.stages.iter().enumerate() {
        let base = read_base(file, source, number, &globals, findings)?;
        room.take(base.name.len(), &site(file, source, &stage.from))?;
        bases.push(base);
    }
    let epoch = epoch::read(request, &globals, file, source, platform)?;
    Ok(Variant { platform: platform.clone(), globals, bases, epoch })
}

/// The variables behind the last ARG before the first FROM, with the values that build arguments give.
fn read_globals<'a>(
    file: &Dockerfile,
    source: &SourceText,
    mut globals: Variables,
    given: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<Variables, Fail> {
    let room = TextRoom::new();
    for instruction in &file.global_args {
        let site = site(file, source, instruction);
        read_global((&mut globals, &room), instruction, &site, given)?;
    }
    Ok(globals)
}

fn read_global<'a>(
    (globals, room): (&mut Variables, &TextRoom),
    instruction: &Instruction,
    site: &Site,
    given: &dyn Fn(&str) -> Option<&'a str>,
) -> Result<(), Fail> {
    let Kind::Arg(arg) = &instruction.kind else { return Ok(()) };
    for (name, default) in &arg.items {
        let value = match (given(&name.text), default) {
            (Some(value), _) => Some(value.to_owned()),
            (None, Some(default)) => Some(globals.word(default, site)?),
            (None, None) => None,
        };
        if let Some(value) = value {
            room.take(value.len(), site)?;
            globals.set(&name.text, &value);
        }
    }
    Ok(())
}

fn read_base(
    file: &Dockerfile,
    source: &SourceText,
    number: usize,
    globals: &Variables,
    findings: &Findings,
) -> Result<Base, Fail> {
    let instruction = &file.stages[number].from;
    let site = site(file, source, instruction);
    let Kind::From(from) = &instruction.kind else {
        return Err(site.error("no-from", "a stage must begin with FROM"));
    };
    let expanded = globals.text(&from.image.text, from.image.span, &site)?;
    lint::undeclared_arguments(findings, file, globals, &expanded, &site);
    let name = expanded.text;
    if name.is_empty() {
        let message = format!("base name ({}) should not be blank", from.image.text); // FROM-12
        let mut fail = site.error_in("blank-base", message, from.image.span);
        let help =
            "give its variables a value: `ARG NAME=value` above the first FROM, or --build-arg";
        fail.help = Some(help.to_owned());
        return Err(fail);
    }
    let platform = match &from.platform {
        None => None,
        Some(word) => Some(read_platform(file, from, word, globals, findings, &site)?),
    };
    // As written against lower-cased names of earlier stages (FROM-03, FROM-04).
    let earlier =
        (0..number).rev().find(|other| stage_name(&file.stages[*other]).as_ref() == Some(&name));
    let kind = match earlier {
        Some(other) => BaseKind::Stage(other),
        None if name == "scratch" => BaseKind::Scratch,
        None => BaseKind::Image,
    };
    Ok(Base { name, platform, kind })
}

/// What `--platform` says (FROM-13, ERR-18).
fn read_platform(
    file: &Dockerfile,
    from: &From,
    word: &Word,
    globals: &Variables,
    findings: &Findings,
    site: &Site,
) -> Result<Platform, Fail> {
    let expanded = globals.text(&word.text, word.span, site)?;
    lint::undeclared_arguments(findings, file, globals, &expanded, site);
    lint::platform_flag(findings, from, &expanded, globals, site);
    let (text, written) = (&expanded.text, &word.text);
    let hints = expanded.unset.iter().map(|name| did_you_mean(name, globals.names()));
    let hint = hints.into_iter().find(|hint| !hint.is_empty()).unwrap_or_default();
    if text.is_empty() {
        let message = format!("empty platform value from expression {written}{hint}");
        return Err(site.error_in("empty-platform", message, word.span));
    }
    text.parse::<Platform>().map_err(|error| {
        let got = if text == written { String::new() } else { format!("{text:?}: ") };
        let message = format!("failed to parse platform {written}: {got}{}{hint}", error.reason());
        site.error_in("invalid-platform", message, word.span)
    })
}

/// Checks of names that hold for unreached stages too: COPY-71, MNT's `from` without variables (EXP-52).
fn check_references(file: &Dockerfile, source: &SourceText) -> Result<(), Fail> {
    for (number, stage) in file.stages.iter().enumerate() {
        for (name, index_allowed, instruction) in references(stage) {
            let site = site(file, source, instruction);
            if !index_allowed && name.contains('$') {
                return Err(site.error(
                    "variable-in-from",
                    "'from' doesn't support variable expansion, define alias stage instead",
                ));
            }
            if find_stage(file, name, number, index_allowed) == Found::BadIndex {
                return Err(
                    site.error("invalid-stage-index", format!("invalid stage index {name}"))
                );
            }
        }
    }
    Ok(())
}

/// Names of images must be such, also where no target needs them (ERR-16, ERR-50).
fn check_image_names(file: &Dockerfile, source: &SourceText, bases: &[Base]) -> Result<(), Fail> {
    for (number, stage) in file.stages.iter().enumerate() {
        if let (BaseKind::Image, Kind::From(from)) = (bases[number].kind, &stage.from.kind) {
            let site = site(file, source, &stage.from);
            check_name(&bases[number].name, &site)
                .map_err(|fail| site.narrowed(fail, from.image.span))?;
        }
        for (name, index_allowed, instruction) in references(stage) {
            let is_image = find_stage(file, name, number, index_allowed) == Found::Nothing
                && !matches!(name, "" | "scratch")
                && !name.contains('$');
            if is_image {
                let site = site(file, source, instruction);
                let part = match &instruction.kind {
                    Kind::Copy(copy) => copy.from.as_ref().map(|from| from.span),
                    _ => None,
                };
                check_name(name, &site)
                    .map_err(|fail| site.narrowed(fail, part.unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}

/// STG-07: looks for a way from a stage to itself.
fn check_cycles(file: &Dockerfile, source: &SourceText, bases: &[Base]) -> Result<(), Fail> {
    // 0: not seen, 1: on the way that is being followed, 2: leads to no cycle.
    let mut marks = vec![0_u8; file.stages.len()];
    let mut way: Vec<(usize, Vec<(usize, usize)>)> = Vec::new();
    for start in 0..file.stages.len() {
        if marks[start] == 0 {
            marks[start] = 1;
            way.push((start, dependencies(file, bases, start)));
        }
        while let Some((number, open)) = way.last_mut() {
            let Some((other, line)) = open.pop() else {
                marks[*number] = 2;
                way.pop();
                continue;
            };
            match marks[other] {
                0 => {
                    marks[other] = 1;
                    way.push((other, dependencies(file, bases, other)));
                }
                1 => return Err(cycle(file, source, *number, line)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn cycle(file: &Dockerfile, source: &SourceText, number: usize, line: usize) -> Fail {
    let stage = &file.stages[number];
    let name = stage_name(stage).unwrap_or_else(|| format!("stage-{number}"));
    let at = stage.instructions.get(line).unwrap_or(&stage.from);
    let message = format!("circular dependency detected on stage: {name}");
    site(file, source, at).error("circular-dependency", message)
}

/// The stages that a stage needs, each with the position of the instruction that names it.
fn dependencies(file: &Dockerfile, bases: &[Base], number: usize) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    if let BaseKind::Stage(below) = bases[number].kind {
        found.push((below, usize::MAX));
    }
    let stage = &file.stages[number];
    for (line, instruction) in stage.instructions.iter().enumerate() {
        for (name, index_allowed) in instruction_references(instruction) {
            if let Found::Stage(other) = find_stage(file, name, number, index_allowed) {
                found.push((other, line));
            }
        }
    }
    found
}

fn find_stage(file: &Dockerfile, name: &str, from: usize, index_allowed: bool) -> Found {
    if index_allowed && let Ok(index) = name.parse::<i64>() {
        return match usize::try_from(index) {
            Ok(index) if index < file.stages.len() => Found::Stage(index), // COPY-73
            _ => Found::BadIndex,
        };
    }
    let lower = name.to_lowercase();
    let is_it = |number: &usize| stage_name(&file.stages[*number]).as_ref() == Some(&lower);
    let earlier = (0..from).rev().find(is_it);
    match earlier.or_else(|| (from..file.stages.len()).find(is_it)) {
        Some(number) => Found::Stage(number),
        None => Found::Nothing,
    }
}

/// Names of other trees in a stage: the name, whether it may be an index, and where it stands.
fn references(stage: &Stage) -> impl Iterator<Item = (&str, bool, &Instruction)> {
    stage.instructions.iter().flat_map(|instruction| {
        instruction_references(instruction)
            .into_iter()
            .map(move |(name, index_allowed)| (name, index_allowed, instruction))
    })
}

fn instruction_references(instruction: &Instruction) -> Vec<(&str, bool)> {
    match &instruction.kind {
        Kind::Copy(copy) => copy.from.iter().map(|from| (from.text.as_str(), true)).collect(),
        Kind::Run(run) => {
            let options = run.mounts.iter().flat_map(|mount| &mount.options);
            let from = options.filter(|(key, _)| key == "from");
            // No index here (MNT-14).
            from.filter_map(|(_, value)| value.as_deref().map(|name| (name, false))).collect()
        }
        _ => Vec::new(),
    }
}

/// A stage's name in lower case (FROM-02).
pub(crate) fn stage_name(stage: &Stage) -> Option<String> {
    match &stage.from.kind {
        Kind::From(from) => from.name.as_ref().map(|name| name.text.to_lowercase()),
        _ => None,
    }
}

/// The place of an instruction of the file.
pub(crate) fn site(file: &Dockerfile, source: &SourceText, instruction: &Instruction) -> Site {
    Site {
        source: source.clone(),
        span: instruction.span,
        trigger: None,
        escape: file.directives.escape,
        check: instruction.check.as_ref().map(|word| word.text.clone()),
    }
}
