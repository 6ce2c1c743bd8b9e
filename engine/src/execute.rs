//! Runs one vertex: layers and mounts in, a committed layer and its records out.
//!
//! Owns the translation from a vertex to a step of the executor and the filing of its result. Refuses to know how a
//! step is run.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use executor::{CopyStep, ExecError, ExecErrorKind, MkdirStep, NewLayer, OutputSink, RunStep};
use graph::{CopySource, Op, Stack};
use oci::Digest;
use planner::key;
use progress::{EventKind, Stream};
use store::{CacheRecord, Ingest, RecordKeys};
use tree::SelectError;

use crate::devices;
use crate::error::{BuildError, BuildErrorKind, sources};
use crate::finish::{self, Unfinished};
use crate::foreign;
use crate::keys::{self, Form};
use crate::mounts;
use crate::place;
use crate::plan;
use crate::present;
use crate::remote;
use crate::request::Stopwatch;
use crate::room;
use crate::source;
use crate::stack_tree;
use crate::stop::Stop;
use crate::value::{StackValue, Value};
use crate::why;
use crate::work::Work;

/// How often a copy is made again when its files change meanwhile (design D5).
const COPY_TRIES_MAX: u32 = 3;

/// Does what a vertex says. `contents` are the digests that its keys were made with so far, if they were made.
pub(crate) fn run(work: &Work, contents: Option<Vec<Digest>>) -> Result<StackValue, Stop> {
    let session = &work.session;
    let below = below(work)?;
    let mut known = contents;
    for _ in 0..COPY_TRIES_MAX {
        session.check_cancelled()?;
        let is_torn = Arc::default();
        let own = work.with_own_contexts(&is_torn);
        let step = {
            let caches = mounts::caches(work)?;
            let _slot = session.slots.take();
            execute(&own, &below, &caches)?
        };
        // A copy hashed what it stored; these digests, not those of the look-up, are the truth.
        let now = keys::contents(&own)?;
        let is_torn = is_torn.load(Ordering::Relaxed);
        if !is_torn && known.as_ref().is_none_or(|known| *known == now) {
            return commit(&own, &below, step, now);
        }
        known = (!is_torn).then_some(now);
    }
    let text = format!(
        "{}: files that it copies kept changing while they were read",
        work.vertex().origin.name
    );
    Err(BuildError::new(BuildErrorKind::Files, text)
        .with_hint("stop what writes to the build context, or list it in .dockerignore")
        .into())
}

/// The layers that the vertex stands on; none for a linked copy.
fn below(work: &Work) -> Result<Stack, Stop> {
    match work.below() {
        Some(stack) if !work.is_linked() => present::ensure(&work.session, stack, work.number()),
        _ => Ok(Stack::default()),
    }
}

/// What a step left in its ingest directory.
struct Step {
    ingest: Ingest,
    layer: executor::NewLayer,
    took_ms: u64,
}

fn execute(work: &Work, below: &Stack, caches: &mounts::Caches) -> Result<Step, Stop> {
    let session = &work.session;
    let worker = session.worker()?;
    let ingest = session.lease.new_ingest();
    let ingest = ingest.map_err(|e| BuildError::store("cannot prepare a step", e))?;
    let layers = mounts::layer_dirs(session, &below.layers)?;
    let cancel = &session.cancel;
    let watch = Stopwatch::start();
    let layer = match &work.vertex().op {
        Op::Run(run) => run_step(work, run, (&layers, caches), &ingest)?,
        Op::Copy(copy) => {
            let sources = copy_sources(work, copy)?;
            let step = CopyStep { layers: &layers, ingest: ingest.path(), copy, sources: &sources };
            worker.copy(&step, cancel).map_err(|e| exec_error(work, e))?
        }
        Op::Mkdir(mkdir) => {
            let step = MkdirStep { layers: &layers, ingest: ingest.path(), mkdir };
            worker.mkdir(&step, cancel).map_err(|e| exec_error(work, e))?
        }
        Op::Scratch | Op::Image(_) | Op::Local(_) | Op::Http(_) | Op::Git(_) => {
            unreachable!("sources make no layers")
        }
    };
    Ok(Step { ingest, layer, took_ms: watch.took_ms() })
}

fn run_step(
    work: &Work,
    run: &graph::Run,
    (layers, caches): (&[OwnedFd], &mounts::Caches),
    ingest: &Ingest,
) -> Result<NewLayer, Stop> {
    let session = &work.session;
    if let Some(refused) = foreign::refusal(&work.vertex().platform) {
        return Err(refused.into());
    }
    let mounts = mounts::of(work, run, caches)?;
    let platform = &work.vertex().platform;
    let devices = devices::of(&work.session, run)?;
    let step = RunStep { layers, ingest: ingest.path(), run, mounts, devices, platform };
    let mut output = Output { work };
    let end = session.worker()?.run(&step, &mut output, &session.cancel);
    let end = end.map_err(|e| exec_error(work, e))?;
    match (end.exit.code(), end.layer) {
        (0, Some(layer)) => Ok(layer),
        (code, _) => {
            session.check_cancelled()?;
            let command = run.argv.join(" ");
            let text =
                format!("process \"{command}\" did not complete successfully: exit code: {code}");
            let failed = BuildError::new(BuildErrorKind::Step, text); // RUN-04
            let memory = "the memory limit of the step was reached, raise it with --memory"; // ERR-35
            let hint = match end.out_of_memory {
                true => Some(memory.to_owned()),
                false => room::full_disk(session),
            };
            Err(failed.with_hint_if(hint).into())
        }
    }
}

/// The trees of a copy's sources, in their order.
fn copy_sources(work: &Work, copy: &graph::Copy) -> Result<Vec<executor::StepSource>, Stop> {
    let read = |one: &CopySource| {
        let Some(input) = one.input() else { return Ok(executor::StepSource::Inline) };
        Ok(match work.value(input) {
            Value::Stack(stack) => {
                executor::StepSource::Tree(stack_tree::open(&work.session, stack, work.number())?)
            }
            Value::Tree(tree) => executor::StepSource::Tree(tree.clone()),
            Value::Git(git) => executor::StepSource::Tree(source::git::files(&work.session, git)?),
            Value::Http(file) => source::http::file(&work.session, file)?,
        })
    };
    copy.sources.iter().map(read).collect()
}

/// Names the layer, starts its completion and files its records. The near key is filed at once, keys by content when
/// their digests are there.
fn commit(
    work: &Work,
    below: &Stack,
    step: Step,
    contents: Vec<Digest>,
) -> Result<StackValue, Stop> {
    let session = &work.session;
    let store = |e| BuildError::store("cannot commit a layer", e);
    let created = crate::request::now();
    let layer = session.lease.commit_layer(step.ingest, "diff", &created).map_err(store)?;
    why::made(work, layer);
    let new = Unfinished {
        layer,
        below: below.layers.clone(),
        raw: step.layer.toc,
        wants_diff_id: plan::is_in_result(&work.graph, work.id),
    };
    let own = work.clone();
    finish::start(session, new, move |stop| place::located(&own, stop));
    let (own, result) = if work.is_linked() {
        (Stack { base: None, layers: vec![layer] }, work.linked_on_below(layer))
    } else {
        let stack = below.with(layer);
        (stack.clone(), StackValue::Present(stack))
    };
    let record = CacheRecord {
        stack: own,
        layer: Some(layer),
        created,
        took_ms: step.took_ms,
        step: work.vertex().origin.text().to_owned(),
        inputs: Vec::new(),
    };
    remote::note_contents(work, &contents);
    file_records(work, record, contents)?;
    Ok(result)
}

fn file_records(work: &Work, record: CacheRecord, contents: Vec<Digest>) -> Result<(), Stop> {
    let store = |e| BuildError::store("cannot file a cache record", e);
    let keys = RecordKeys {
        instruction: key::instruction_digest(work.vertex()),
        operation: Some(key::operation_digest(work.vertex(), &contents)),
        cache: Vec::new(),
        near: Some(keys::near_key(work, &contents)),
    };
    work.session.lease.put_record(&keys, &record).map_err(store)?;
    let later = work.clone();
    work.session.background.spawn(move || {
        let inputs = why::complete(&later, &contents);
        let record = CacheRecord { inputs, ..record };
        let mut cache = Vec::new();
        for form in [Form::Weak, Form::Strong] {
            cache.extend(keys::cache_key(&later, &contents, form)?);
        }
        later.session.lease.put_record(&RecordKeys { cache, ..keys }, &record).map_err(store)?;
        Ok(())
    });
    Ok(())
}

/// Hands a step's output on as events.
struct Output<'a> {
    work: &'a Work,
}

impl OutputSink for Output<'_> {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let vertex = self.work.number();
        self.work.session.events.emit(EventKind::Output { vertex, stream, bytes: bytes.into() });
    }

    fn warn(&mut self, message: &str) {
        let vertex = Some(self.work.number());
        self.work.session.events.emit(EventKind::Warning { vertex, message: message.to_owned() });
    }
}

/// Whose turn it is, as the kind that decides the exit code.
pub(crate) fn kind_of(error: &ExecError) -> BuildErrorKind {
    match error.kind() {
        ExecErrorKind::Environment => BuildErrorKind::Environment,
        ExecErrorKind::Cancelled => BuildErrorKind::Cancelled,
        ExecErrorKind::DiskFull => BuildErrorKind::DiskFull,
        _ => BuildErrorKind::Step,
    }
}

/// What the executor could not do, in BuildKit's words where people grep for them.
fn exec_error(work: &Work, error: ExecError) -> BuildError {
    if work.session.cancel.is_cancelled() {
        return BuildError::cancelled();
    }
    let missing = sources(&error).find_map(|cause| cause.downcast_ref::<SelectError>());
    if let Some(failed) = missing.and_then(|error| keys::of_selection(work, error)) {
        return failed;
    }
    let kind = kind_of(&error);
    let text = match &work.vertex().op {
        // ERR-36, ERR-37, ERR-76
        Op::Run(run) => {
            let command = run.argv.join(" ");
            format!("process \"{command}\" did not complete successfully: {error}")
        }
        _ => error.to_string(),
    };
    let hint = match &error {
        ExecError::ProgramNotFound { .. } => {
            "the program has to be in the stage's file system, and what it needs; scratch has none"
        }
        ExecError::User(_) if matches!(work.vertex().op, Op::Run(_)) => {
            "make the user in a RUN above, or give a number"
        }
        _ => return BuildError::of(kind, error).saying(text),
    };
    BuildError::of(kind, error).saying(text).with_hint(hint)
}
