//! Runs the cases of testdata/cases through the built program, against real servers.
//!
//! Owns the format of the cases and what its facts mean (testdata/cases/README.md); each room has its module. Shares
//! no code with shale, so that it shares no mistake.

mod agent;
mod bases;
mod fact;
mod format;
mod image;
mod judge;
mod push;
mod report;
mod run;
mod site;
mod stage;
mod tar;
mod tree;
mod web;
mod words;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use format::{Case, Mistake, parse};
pub use site::Site;

use crate::{Registry, World};
use fact::{Across, AcrossFact, Build};
use format::Kind;
use judge::{Failure, Scene};
use run::Ran;
use stage::{Placeholders, Stage};

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many passed.
    pub passed: usize,
    /// Of each that failed, what is to be said, not too long.
    pub failed: Vec<String>,
    /// Names of those that need something that is not there.
    pub skipped: Vec<String>,
}

/// The servers of a run, and what its cases share.
struct Grounds<'a> {
    world: &'a World,
    registry: String,
    bases: bases::Bases,
    web: web::Web,
    agent: PathBuf,
    cache: image::Cache,
}

/// A build waits for the disk as long as it computes.
const BUILDS_PER_PROCESSOR: usize = 2;

/// Runs the cases below `directory` whose names begin with one of `prefixes` (all, when there are none). The names of
/// behaviours are in `ids`.
pub fn run_all(world: &World, directory: &Path, ids: &Path, prefixes: &[String]) -> Summary {
    let ids = known_ids(ids);
    let (cases, mut summary) = read_all(directory, &ids, prefixes);
    if cases.is_empty() {
        return summary;
    }
    let registry = Registry::start(world);
    let cache = image::Cache::default();
    let grounds = Grounds {
        world,
        registry: registry.address(),
        bases: bases::push(&registry.address(), &cache),
        web: web::Web::start(),
        agent: agent::start(&world.path("agent.sock")),
        cache,
    };
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors * BUILDS_PER_PROCESSOR {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = grounds.run_if_possible(case);
                    results.lock().expect("no holder panics").push((&case.name, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no holder panicked");
    results.sort_by_key(|(name, _)| *name);
    for (name, result) in results {
        match result {
            None => summary.skipped.push(name.clone()),
            Some(Ok(())) => summary.passed += 1,
            Some(Err(text)) => summary.failed.push(text),
        }
    }
    summary
}

/// What a case needs and this machine does not have.
fn missing(case: &Case) -> Vec<&str> {
    let is_there = |need: &str| match need.strip_prefix("tool:") {
        Some(program) => testkit::need::program(program).is_some(),
        None => testkit::need::is_root(),
    };
    case.needs.iter().map(String::as_str).filter(|need| !is_there(need)).collect()
}

/// First words of the lines of ids.txt.
fn known_ids(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Parses all case files; mistakes in them are failures.
fn read_all(directory: &Path, ids: &BTreeSet<String>, prefixes: &[String]) -> (Vec<Case>, Summary) {
    let mut summary = Summary::default();
    let mut cases: Vec<Case> = Vec::new();
    for path in case_files(directory) {
        let below = path.strip_prefix(directory).unwrap_or(&path).to_string_lossy().into_owned();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if !prefixes.is_empty() && !prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
        {
            continue;
        }
        let text = std::fs::read_to_string(&path);
        let text = text.map_err(|error| Mistake { line: 0, message: error.to_string() });
        let parsed = text.and_then(|text| parse(&below, &text)).and_then(|case| {
            let twice = cases.iter().any(|other| other.name == case.name);
            let unknown = case.ids.iter().find(|id| !ids.contains(*id));
            match (twice, unknown) {
                (true, _) => Err(Mistake::new(1, "another case has this name")),
                (_, Some(id)) => Err(Mistake::new(1, format!("{id} is not in ids.txt"))),
                _ => Ok(case),
            }
        });
        match parsed {
            Ok(case) => cases.push(case),
            Err(Mistake { line, message }) => {
                summary.failed.push(format!("FAIL {name}\n  {below}:{line}: {message}\n"));
            }
        }
    }
    (cases, summary)
}

fn case_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "case") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

impl Grounds<'_> {
    /// Runs one case; `None` when it needs what is not there, which is a failure where all tests have to run.
    fn run_if_possible(&self, case: &Case) -> Option<Result<(), String>> {
        let missing = missing(case);
        if missing.is_empty() {
            return Some(self.run(case));
        }
        let all_must_run = std::env::var_os("SHALE_TEST_ALL").is_some();
        all_must_run
            .then(|| Err(format!("FAIL {}\n  it needs {}\n", case.name, missing.join(", "))))
    }

    /// Runs one case. The error is what is to be said.
    fn run(&self, case: &Case) -> Result<(), String> {
        let web = self.web.address();
        let words = Placeholders::new(&case.name, &self.registry, &web, &self.agent);
        let top = self.world.path(&format!("cases/{}", case.name));
        let stage =
            Stage::new(top, words).map_err(|error| format!("FAIL {}: {error}", case.name))?;
        let mut progress = Progress { case, stage: &stage, ran: Vec::new(), failures: Vec::new() };
        let broken = self.sections(&mut progress).err();
        self.web.close(&case.name);
        stage.remove();
        let Progress { ran, mut failures, .. } = progress;
        failures.extend(broken);
        if failures.is_empty() { Ok(()) } else { Err(told(case, &failures, ran.last())) }
    }

    /// Does the sections in their order; stops at the first build whose facts do not hold.
    fn sections(&self, progress: &mut Progress<'_>) -> Result<(), Failure> {
        let case = progress.case;
        self.set_up(progress)?;
        let across = |kind: &'_ Kind| matches!(kind, Kind::All(_));
        for section in case.sections.iter().filter(|section| !across(&section.kind)) {
            let broken = |message: String| Failure { line: section.line, message };
            match &section.kind {
                Kind::Change(script) => {
                    progress.stage.script("the change", script).map_err(broken)?;
                }
                Kind::Build(build) => {
                    self.build(progress, section.line, build).map_err(broken)?;
                    if !progress.failures.is_empty() {
                        return Ok(());
                    }
                }
                Kind::Stdout(want) => {
                    let got = progress.ran.last().map_or("", |ran| ran.stdout.as_str());
                    if want != got {
                        return Err(broken(format!("standard output is not this but\n{got}")));
                    }
                }
                _ => {}
            }
        }
        let all = case.sections.iter().filter_map(|section| match &section.kind {
            Kind::All(facts) => Some(facts),
            _ => None,
        });
        for facts in all {
            progress.failures.extend(judge::across(facts, &progress.ran));
        }
        Ok(())
    }

    /// Everything before the first build.
    fn set_up(&self, progress: &Progress<'_>) -> Result<(), Failure> {
        let stage = progress.stage;
        let mut answers = HashMap::new();
        for section in &progress.case.sections {
            let io =
                |error: std::io::Error| Failure { line: section.line, message: error.to_string() };
            match &section.kind {
                Kind::File { path, mode, content } => {
                    stage.file(path, *mode, content).map_err(io)?
                }
                Kind::Http { path, content } => stage.http_file(path, content).map_err(io)?,
                Kind::Answer { path, answer } => {
                    let mut answer = answer.clone();
                    for (_, value) in &mut answer.headers {
                        *value = stage.placeholders().outward(value);
                    }
                    answers.insert(path.clone(), answer);
                }
                _ => {}
            }
        }
        self.web.open(&progress.case.name, stage.http(), answers);
        let settled = stage.settle_all();
        settled.map_err(|error| Failure { line: 1, message: error.to_string() })?;
        for section in &progress.case.sections {
            if let Kind::Setup(script) = &section.kind {
                let broken = |message| Failure { line: section.line, message };
                stage.script("the setup", script).map_err(broken)?;
            }
        }
        Ok(())
    }

    fn build(&self, progress: &mut Progress<'_>, line: usize, build: &Build) -> Result<(), String> {
        let Progress { case, stage, .. } = *progress;
        let number = progress.ran.len() + 1;
        self.web.take_log(&case.name);
        let mut ran = run::run(self.world, stage, number, build, &self.agent, &self.cache)?;
        ran.requests = self.web.take_log(&case.name);
        let named = named_across(case);
        let (bases, placeholders) = (&self.bases, stage.placeholders());
        let scene = Scene { line, build, ran: &ran, bases, placeholders, named: &named };
        progress.failures = judge::build(&scene);
        progress.ran.push(ran);
        Ok(())
    }
}

struct Progress<'a> {
    case: &'a Case,
    stage: &'a Stage,
    ran: Vec<Ran>,
    failures: Vec<Failure>,
}

/// Paths of facts over all builds.
fn named_across(case: &Case) -> BTreeSet<String> {
    let all = case.sections.iter().filter_map(|section| match &section.kind {
        Kind::All(facts) => Some(facts),
        _ => None,
    });
    let path = |line: &Across| match &line.fact {
        AcrossFact::Pattern(path, _) => Some(path.clone()),
        _ => None,
    };
    all.flatten().filter_map(path).collect()
}

/// A failed case in at most 30 lines.
fn told(case: &Case, failures: &[Failure], ran: Option<&Ran>) -> String {
    const FAILURES_MAX: usize = 6;
    const LINES_MAX: usize = 28;
    let mut lines = vec![format!("FAIL {}", case.name)];
    for failure in failures.iter().take(FAILURES_MAX) {
        let mut message = failure.message.lines();
        let first = message.next().unwrap_or_default();
        let fact = fact_text(case, failure.line).map_or(String::new(), |text| format!("{text}: "));
        lines.push(format!(
            "  {}:{}: {}",
            case.path,
            failure.line,
            shortened(&format!("{fact}{first}"))
        ));
        lines.extend(message.take(8).map(|line| format!("    {}", shortened(line))));
    }
    if failures.len() > FAILURES_MAX {
        lines.push(format!("  and {} more facts", failures.len() - FAILURES_MAX));
    }
    lines.extend(case.surprise.iter().map(|why| format!("  the reference surprises: {why}")));
    if let Some(ran) = ran {
        lines.push(format!("  $ {}", shortened(&ran.line)));
        let said = ran.said();
        let said: Vec<&str> = said.lines().filter(|line| !report::is_noise(line)).collect();
        let room = LINES_MAX.saturating_sub(lines.len());
        let tail = &said[said.len().saturating_sub(room)..];
        lines.extend(tail.iter().map(|line| format!("  | {}", shortened(line))));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The fact that stands in a line of the case file.
fn fact_text(case: &Case, number: usize) -> Option<&str> {
    case.sections.iter().find_map(|section| match &section.kind {
        Kind::Build(build) => {
            build.facts.iter().find(|line| line.number == number).map(|line| line.text.as_str())
        }
        Kind::All(facts) => {
            facts.iter().find(|line| line.number == number).map(|line| line.text.as_str())
        }
        _ => None,
    })
}

fn shortened(line: &str) -> String {
    const LENGTH_MAX: usize = 900;
    match line.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
