//! From the outline to the graph: stages in the order of the file, each folded instruction by instruction.
//!
//! Owns the walk over stages, the state that instructions change, and the vertices' names. What a single instruction
//! does is in the modules below. Only stages that the target needs are looked at (STG-05).

pub(crate) use add::http_source as add_http_source;
pub(crate) use copy::is_url;

mod add;
mod chmod;
mod commands;
mod copy;
mod display;
mod expose;
mod from;
mod mounts;
mod names;
mod onbuild;
mod run;
mod settings;
#[cfg(test)]
pub(crate) mod tests;
mod vertices;
mod workdir;

use std::rc::Rc;

use graph::{Graph, Op, Origin, PlannedHistory, Target, VertexId};
use oci::{ImageConfig, Platform};
use parser::ast::{Arg, Instruction, Kind, Word};
use parser::{Diagnostic, Span};

use crate::outline::{Outline, Variant, site, stage_name};
use crate::parameters::{self, Asked};
use crate::scope::{TextRoom, Variables};
use crate::site::{Fail, Site};
use crate::{Findings, LowerRequest, Parameters, Sources, lint};

use vertices::{NewVertex, Vertices};

pub(crate) use from::check_name;
pub use from::without_user;
pub(crate) use workdir::clean as clean_path;

/// What lowering gives.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The work and its targets.
    pub graph: Graph,
    /// What the target can be given, on the first platform.
    pub parameters: Parameters,
    /// SOURCE_DATE_EPOCH in seconds since 1970, if one holds (EPO-01).
    pub epoch: Option<i64>,
}

/// Makes the graph of a file for all platforms asked for; what checks have to say of it goes to `findings`.
///
/// # Errors
/// What is wrong with an instruction of a needed stage, or with a base image.
pub fn lower(
    outline: &Outline,
    sources: &dyn Sources,
    findings: &Findings,
) -> Result<Lowered, Vec<Diagnostic>> {
    let mut vertices = Vertices::default();
    let mut images = from::Images::default();
    let mut targets = Vec::new();
    let mut parameters = None;
    let mut epoch = None;
    for variant in &outline.variants {
        findings.next_platform();
        let own_epoch = variant.epoch.seconds(sources).map_err(|fail| vec![*fail])?;
        let mut lowering = Lowering {
            outline,
            variant,
            epoch: own_epoch,
            sources,
            findings,
            vertices,
            images,
            stages: vec![Progress::New; outline.file.stages.len()],
            replaced: vec![Progress::New; outline.file.stages.len()],
            asked: vec![Asked::default(); outline.file.stages.len()],
            room: TextRoom::new(),
        };
        targets.push(lowering.target().map_err(|fail| vec![*fail])?);
        parameters.get_or_insert_with(|| parameters::collect(outline, variant, &lowering.asked));
        vertices = lowering.vertices;
        images = lowering.images;
        epoch.get_or_insert(own_epoch);
    }
    let graph = vertices.into_graph(targets);
    let (parameters, epoch) = (parameters.unwrap_or_default(), epoch.flatten());
    Ok(Lowered { graph, parameters, epoch })
}

/// What a stage is after the instructions so far; a child stage starts with a copy of it (FROM-09).
#[derive(Clone, Debug)]
pub(crate) struct StageState {
    /// The config, but for history, rootfs and created, which stay the base image's.
    config: ImageConfig,
    /// ENV and ARG in order (EXP-70).
    variables: Variables,
    /// Declared ARGs with the values that they were given, for history texts (RUN-06).
    args: Vec<(String, Option<String>)>,
    /// The vertex whose stack is the file system.
    top: VertexId,
    history: Vec<PlannedHistory>,
    /// What programs in it are made for.
    platform: Platform,
    /// This stage or one below it had a WORKDIR (LINT-29).
    workdir_seen: bool,
}

impl StageState {
    /// Bytes of what grows with a stage.
    fn bytes(&self) -> usize {
        let said = self.history.iter().map(|entry| entry.created_by.len());
        let args = self.args.iter().map(|(_, value)| value.as_ref().map_or(0, String::len));
        self.variables.bytes() + said.chain(args).sum::<usize>()
    }
}

/// How far a stage is.
#[derive(Clone, Debug)]
enum Progress {
    New,
    Open,
    Done(Rc<StageState>),
}

/// The work on one target platform.
struct Lowering<'a> {
    outline: &'a Outline,
    variant: &'a Variant,
    /// SOURCE_DATE_EPOCH in seconds since 1970.
    epoch: Option<i64>,
    sources: &'a dyn Sources,
    findings: &'a Findings,
    vertices: Vertices,
    images: from::Images,
    stages: Vec<Progress>,
    /// Results of stages that a named context replaces, where another one names the stage itself (NCTX-11).
    replaced: Vec<Progress>,
    /// What each stage can be given.
    asked: Vec<Asked>,
    room: TextRoom,
}

impl<'a> Lowering<'a> {
    fn request(&self) -> &'a LowerRequest {
        &self.outline.request
    }

    fn target(&mut self) -> Result<Target, Fail> {
        // Needed stages come in file order, so only what triggers add is found by recursion.
        for number in self.outline.needed(self.variant) {
            let from = &self.outline.file.stages[number].from;
            self.stage(number, &site(&self.outline.file, &self.outline.source, from))?;
        }
        let Progress::Done(state) = &self.stages[self.outline.target] else {
            unreachable!("the target is among the stages that it needs");
        };
        let mut config = state.config.clone();
        set_platform(&mut config, self.request(), &self.variant.platform);
        if config.architecture.is_empty() {
            let message = "invalid image config for export: missing architecture"; // IMG-09
            let mut fail = site(&self.outline.file, &self.outline.source, self.target_from())
                .error("missing-architecture", message);
            fail.help =
                Some("the base image does not say its own; ask for one with --platform".to_owned());
            return Err(fail);
        }
        for (key, value) in &self.request().labels {
            config.config.labels.insert(key.clone(), value.clone()); // LABEL-03
        }
        Ok(Target {
            platform: config.platform(),
            top: state.top,
            config: config.into(),
            history: state.history.clone(),
        })
    }

    /// The FROM of the wanted stage.
    fn target_from(&self) -> &'a Instruction {
        &self.outline.file.stages[self.outline.target].from
    }

    /// The result of a stage, lowered now if it was not before. The site is whoever wants it.
    fn stage(&mut self, number: usize, wanted_by: &Site) -> Result<Rc<StageState>, Fail> {
        let Some(context) = self.outline.replacement(self.variant, number) else {
            return self.once(number, wanted_by, |own| &mut own.stages, Lowering::lower_stage);
        };
        let replace = |own: &mut Self, number: usize| {
            let from = &own.outline.file.stages[number].from;
            let from_site = site(&own.outline.file, &own.outline.source, from);
            let platform = own.variant.platform_of(number).clone();
            own.asked[number].stage();
            own.state_of_context(context, &platform, &from_site) // NCTX-17
        };
        self.once(number, wanted_by, |own| &mut own.stages, replace)
    }

    /// The result of a stage of the file, whether a named context replaces it for others or not (NCTX-10, NCTX-11).
    fn stage_itself(&mut self, number: usize, wanted_by: &Site) -> Result<Rc<StageState>, Fail> {
        match self.outline.replacement(self.variant, number) {
            None => self.stage(number, wanted_by),
            Some(_) => self.once(number, wanted_by, |own| &mut own.replaced, Lowering::lower_stage),
        }
    }

    /// Does the work on a stage at its first use.
    fn once(
        &mut self,
        number: usize,
        wanted_by: &Site,
        slots: fn(&mut Self) -> &mut Vec<Progress>,
        work: impl FnOnce(&mut Self, usize) -> Result<StageState, Fail>,
    ) -> Result<Rc<StageState>, Fail> {
        match &slots(self)[number] {
            Progress::Done(state) => return Ok(state.clone()),
            Progress::Open => {
                let name = self.outline.display_name(number);
                let message = format!("circular dependency detected on stage: {name}");
                return Err(wanted_by.error("circular-dependency", message));
            }
            Progress::New => slots(self)[number] = Progress::Open,
        }
        let state = Rc::new(work(self, number)?);
        slots(self)[number] = Progress::Done(state.clone());
        Ok(state)
    }

    fn lower_stage(&mut self, number: usize) -> Result<StageState, Fail> {
        self.asked[number].stage();
        let file = &self.outline.file;
        let stage = &file.stages[number];
        let from_site = site(file, &self.outline.source, &stage.from);
        let mut state = self.base_state(number, &from_site)?;
        self.room.take(state.bytes(), &from_site)?;
        let triggers =
            onbuild::parse(std::mem::take(&mut state.config.config.on_build), &from_site)?;
        let is_layer = |instruction: &&Instruction| makes_step(&instruction.kind);
        let own = stage.instructions.iter().filter(is_layer).count();
        let from_triggers = triggers.iter().map(|(i, _)| i).filter(is_layer).count();
        let first = usize::from(self.names_image(number));
        let request = self.request();
        let in_filter = stage_name(stage).is_some_and(|name| {
            request.no_cache_filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name))
        });
        let mut build = StageBuild {
            number,
            state,
            cmd_set: false,
            said: lint::Said::default(),
            no_cache: request.no_cache || in_filter,
            steps_done: first,
            steps: first + own + from_triggers,
            lowering: self,
        };
        for (instruction, site) in &triggers {
            build.instruction(instruction, site)?;
        }
        for instruction in &stage.instructions {
            build.instruction(
                instruction,
                &site(file, &build.lowering.outline.source, instruction),
            )?;
        }
        Ok(build.state)
    }
}

/// The platform of the result (PLAT-06).
fn set_platform(config: &mut ImageConfig, request: &LowerRequest, wanted: &Platform) {
    if request.platforms.is_empty() {
        if config.os.is_empty() {
            wanted.os.clone_into(&mut config.os);
        }
        return to_normal_form(config);
    }
    let same = config.os == wanted.os && config.architecture == wanted.architecture;
    wanted.os.clone_into(&mut config.os);
    wanted.architecture.clone_into(&mut config.architecture);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    if !wanted.variant.is_empty() || !same {
        config.variant = text(&wanted.variant);
    }
    if !wanted.os_version.is_empty() || !same {
        config.os_version = text(&wanted.os_version);
    }
    to_normal_form(config);
}

/// Names of the base's platform come out as those on the command line do (PLAT-02): arm64/v8 is arm64.
fn to_normal_form(config: &mut ImageConfig) {
    let variant = config.variant.as_deref().unwrap_or_default();
    let platform = Platform::new(&config.os, &config.architecture, variant);
    config.os = platform.os;
    config.architecture = platform.architecture;
    config.variant = Some(platform.variant).filter(|variant| !variant.is_empty());
}

/// Whether an instruction counts in `[stage i/n]` (INS-09).
fn makes_step(kind: &Kind) -> bool {
    matches!(kind, Kind::Run(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Workdir(_))
}

/// A stage in the making.
struct StageBuild<'l, 'a> {
    lowering: &'l mut Lowering<'a>,
    number: usize,
    state: StageState,
    /// This stage has a CMD of its own (ENTRY-02).
    cmd_set: bool,
    said: lint::Said,
    no_cache: bool,
    steps_done: usize,
    steps: usize,
}

impl<'a> StageBuild<'_, 'a> {
    fn request(&self) -> &'a LowerRequest {
        self.lowering.request()
    }

    fn instruction(&mut self, instruction: &Instruction, site: &Site) -> Result<(), Fail> {
        if makes_step(&instruction.kind) {
            self.steps_done += 1;
        }
        let said_before = self.state.history.len();
        let has_shell = self.state.config.config.shell.as_ref().is_some_and(|s| !s.is_empty());
        lint::instruction(self.lowering.findings, instruction, has_shell, &mut self.said, site);
        let text = format!(
            "{} {}",
            instruction.keyword.text.to_ascii_uppercase(),
            instruction.original.trim()
        );
        match &instruction.kind {
            Kind::From(_) => return Err(onbuild::forbidden("FROM", site)),
            Kind::Arg(arg) => {
                settings::arg(self, arg, site)?;
                self.note_arguments(instruction, arg, site);
            }
            Kind::Env(env) => settings::env(self, env, site)?,
            Kind::Label(label) => settings::label(self, label, site)?,
            Kind::Maintainer(text) => settings::maintainer(self, &text.text),
            Kind::User(user) => settings::user(self, user, site)?,
            Kind::Volume(paths) => settings::volume(self, paths, site)?,
            Kind::Stopsignal(signal) => settings::stopsignal(self, signal, site)?,
            Kind::Onbuild(trigger) => settings::onbuild(self, &trigger.text),
            Kind::Expose(ports) => expose::lower(self, ports, site)?,
            Kind::Cmd(command) => commands::cmd(self, command),
            Kind::Entrypoint(command) => commands::entrypoint(self, command),
            Kind::Shell(shell) => commands::shell(self, shell),
            Kind::Healthcheck(check) => commands::healthcheck(self, check),
            Kind::Workdir(path) => workdir::lower(self, path, &text, site)?,
            Kind::Run(run) => {
                run::lower(self, run, &text, site)?;
                self.note_mounts(site);
            }
            Kind::Copy(copy) => copy::lower(self, copy, &text, site)?,
            Kind::Add(add) => add::lower(self, add, &text, site)?,
        }
        let said = &self.state.history[said_before..];
        self.take_room(said.iter().map(|entry| entry.created_by.len()).sum(), site)
    }

    fn take_room(&self, bytes: usize, site: &Site) -> Result<(), Fail> {
        self.lowering.room.take(bytes, site)
    }

    fn note_arguments(&mut self, instruction: &Instruction, arg: &Arg, site: &Site) {
        let (request, globals) = (self.request(), &self.lowering.variant.globals);
        let is_inherited =
            |name: &str| request.build_arg(name).is_none() && globals.get(name).is_some();
        let values = &self.state.args[self.state.args.len() - arg.items.len()..];
        let asked = &mut self.lowering.asked[self.number];
        asked.arg(instruction, arg, values, &is_inherited, site.span);
    }

    fn note_mounts(&mut self, site: &Site) {
        if let Op::Run(run) = &self.lowering.vertices.get(self.state.top).op {
            self.lowering.asked[self.number].mounts(&run.mounts, site.span);
        }
    }

    /// Expands a word with the stage's variables.
    fn word(&self, word: &Word, site: &Site) -> Result<String, Fail> {
        self.expand(&word.text, word.span, site)
    }

    /// Expands a text that stands at a place of the instruction.
    fn expand(&self, text: &str, span: Span, site: &Site) -> Result<String, Fail> {
        let expanded = self.state.variables.text(text, span, site)?;
        self.take_room(expanded.text.len(), site)?;
        self.report_unset(&expanded.unset, site);
        Ok(expanded.text)
    }

    fn report_unset(&self, unset: &[String], site: &Site) {
        let state = &self.state;
        let declared = state.args.iter().map(|(name, _)| name.as_str());
        lint::undefined_variables(self.lowering.findings, unset, declared, &state.variables, site);
    }

    /// Adds a history entry without a layer (INS-01).
    fn note(&mut self, created_by: String) {
        self.state.history.push(PlannedHistory { created_by, vertex: None });
    }

    /// Puts a layer on the stage and adds its history entry.
    fn push_layer(&mut self, op: Op, name: &str, created_by: String, site: &Site) {
        let no_cache = self.no_cache && !matches!(op, Op::Mkdir(_)); // WDIR-13
        let vertex = self.lowering.vertices.add(NewVertex {
            op,
            platform: self.state.platform.clone(),
            below: Some(self.state.top),
            origin: self.origin(self.step_name(name, site), site),
            no_cache,
        });
        self.state.top = vertex;
        self.state.history.push(PlannedHistory { created_by, vertex: Some(vertex) });
    }

    fn origin(&self, name: String, site: &Site) -> Origin {
        Origin {
            name,
            stage: self.lowering.outline.display_name(self.number),
            step: u32::try_from(self.steps_done).ok(),
            span: Some((site.span.start, site.span.end)),
            trigger: site.trigger.clone(),
        }
    }

    /// `[stage i/n] RUN …` (INS-09, INS-10).
    fn step_name(&self, text: &str, site: &Site) -> String {
        let mut text = display::with_values(text, &self.state.variables);
        if text.starts_with("ADD ") {
            text = display::without_users(&text);
        }
        let onbuild = if site.trigger.is_some() { "ONBUILD " } else { "" };
        let place = self.lowering.place(self.number, self.steps_done, self.steps);
        format!("{place}{onbuild}{text}")
    }

    /// What to do about a name that is neither stage nor image, when there is a stage with nearly that name.
    fn stage_hint(&self, name: &str) -> Option<String> {
        let stages = &self.lowering.outline.file.stages[..self.number];
        let names: Vec<String> = stages.iter().filter_map(stage_name).collect();
        let best = parser::suggest(&name.to_lowercase(), names.iter().map(String::as_str));
        best.map(|best| format!("did you mean the stage {best}?"))
    }
}

impl Lowering<'_> {
    /// `[linux/arm64 stage 2/5] `: the parts that are needed to tell steps apart (INS-09).
    fn place(&self, number: usize, index: usize, count: usize) -> String {
        let mut parts = Vec::new();
        if self.request().is_index() == Ok(true) {
            let base = self.variant.bases[number].platform.as_ref();
            let target = &self.variant.platform;
            parts.push(match base {
                Some(own) if own != target => format!("{own}->{}", target.architecture),
                _ => target.to_string(),
            });
        }
        if self.outline.file.stages.len() > 1 {
            parts.push(self.outline.display_name(number));
        }
        let width = count.to_string().len();
        parts.push(format!("{index:>width$}/{count}"));
        format!("[{}] ", parts.join(" "))
    }
}
