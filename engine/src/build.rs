//! One build from request to result: load, plan, solve, assemble, keep, hand out.

use std::sync::{Arc, Mutex, Once, OnceLock};

use executor::Worker;
use graph::{Graph, Stack, Target};
use oci::{Descriptor, ImageId, Platform, Reference};
use parser::{Diagnostic, Severity, SourceText};
use progress::{Emitter, EventKind, VertexInfo};
use registry::RegistryClient;
use store::Store;
use sys::Cancel;

use crate::error::{BuildError, BuildErrorKind};
use crate::facts::Facts;
use crate::finish::Finisher;
use crate::image::{self, ImageSources};
use crate::internal::{self, Internal};
use crate::keep;
use crate::output;
use crate::request::BuildRequest;
use crate::session::{Session, Slots, Stop, lock};
use crate::solve;
use crate::source::Contexts;
use crate::value::{StackValue, Value};
use crate::{assemble, load};

/// What a build needs of this process.
pub struct Environment {
    /// Where layers, records and images live.
    pub store: Store,
    /// Talks to registries.
    pub registry: Arc<RegistryClient>,
    /// Runs steps. `None` in the process that only looks up: it ends with [`BuildOutcome::NeedsWorker`] as soon as
    /// something has to run or a layer has to be opened (design D1).
    pub worker: Option<Arc<dyn Worker>>,
    /// What an earlier process of the same build has learnt.
    pub facts: Facts,
}

/// How a build ended, when it did not fail.
#[derive(Debug)]
pub enum BuildOutcome {
    /// With a result.
    Done(BuildResult),
    /// A process with a worker has to do it again, with these facts.
    NeedsWorker(Facts),
}

/// What was built.
#[derive(Debug)]
pub struct BuildResult {
    /// One image for each platform, in the order asked.
    pub images: Vec<ResultImage>,
    /// What a name of the result points to, a manifest or an index, when an output made one.
    pub target: Option<Descriptor>,
    /// Members of --metadata-file (OUT-13), when an output made a manifest.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// The tags that name the result now.
    pub names: Vec<Reference>,
    /// What build checks found.
    pub warnings: Vec<Diagnostic>,
    /// The Dockerfile.
    pub source: SourceText,
}

/// One image of a result.
#[derive(Clone, Debug)]
pub struct ResultImage {
    /// The platform it is for.
    pub platform: Platform,
    /// Digest of its config.
    pub id: ImageId,
}

/// An image before it is handed out.
pub(crate) struct Built {
    pub(crate) platform: Platform,
    pub(crate) config: oci::ImageConfig,
    pub(crate) id: ImageId,
    pub(crate) stack: Stack,
    /// How many of its layers, the lowest ones, are those of the base image.
    pub(crate) base_layers: usize,
    /// Times in the tars of its own layers that are later are this one (EPO-12).
    pub(crate) clamp_to: Option<i64>,
}

/// Builds.
///
/// # Errors
/// Everything that can go wrong; nothing is tagged or left half-made then.
pub fn build(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<BuildOutcome, BuildError> {
    let session = session(request, environment, events, cancel)?;
    let result = run(&session);
    // Whatever was started is waited for, also after a failure: nothing may outlive the build.
    let finished = session.finisher.join();
    let result = result.and_then(|built| finished.map(|()| built));
    let outcome = result.and_then(|(built, planned)| hand_out(&session, built, planned));
    match outcome {
        Ok(result) => Ok(BuildOutcome::Done(result)),
        Err(Stop::NeedsWorker) => Ok(BuildOutcome::NeedsWorker(lock(&session.facts).clone())),
        Err(Stop::Failed(error)) => Err(error),
    }
}

fn session(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Arc<Session>, BuildError> {
    let lease = environment.store.lease();
    let lease = lease.map_err(|e| BuildError::store("cannot open a lease on the store", e))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = request.jobs.unwrap_or(processors.max(JOBS_MIN));
    Ok(Arc::new(Session {
        request: Arc::new(request.clone()),
        lease: Arc::new(lease),
        registry: environment.registry.clone(),
        worker: environment.worker.clone(),
        events: events.clone(),
        cancel: cancel.clone(),
        facts: environment.facts.clone().into(),
        finisher: Finisher::default(),
        slots: Slots::new(jobs),
        jobs,
        networks_expected: Once::new(),
        contexts: Contexts::default(),
        emptied: Mutex::default(),
        source: OnceLock::new(),
        registry_failed: Mutex::default(),
        epoch: OnceLock::new(),
    }))
}

/// Steps mostly wait (for networks, compilers' disks): fewer than this at a time would waste an evening.
const JOBS_MIN: usize = 4;

/// What the plan said, for the result.
struct Planned {
    graph: Arc<Graph>,
    warnings: Vec<Diagnostic>,
    source: SourceText,
}

fn run(session: &Arc<Session>) -> Result<(Vec<Built>, Planned), Stop> {
    empty_trash(session);
    let planned = plan(session)?;
    let values = solve::solve(session, &planned.graph)?;
    let targets = planned.graph.targets.iter();
    let built = targets.map(|target| assemble_target(session, target, &values));
    Ok((built.collect::<Result<_, Stop>>()?, planned))
}

/// Deletes what was thrown away earlier, beside the build: only here files of other ids can be removed.
fn empty_trash(session: &Arc<Session>) {
    if session.worker.is_some() && session.lease.store().has_trash().unwrap_or(false) {
        session.finisher.spawn(session, |session| {
            // What cannot be deleted now is tried again by the next build.
            let _ = session.lease.store().empty_trash();
            Ok(())
        });
    }
}

fn plan(session: &Arc<Session>) -> Result<Planned, Stop> {
    let loaded = internal::step(
        &session.events,
        Internal::LoadDockerfile,
        &format!("[internal] load build definition from {}", load::shown_name(&session.request)),
        || load::dockerfile(session),
    )?;
    let source = loaded.source.clone();
    let _ = session.source.set(source.clone());
    let parsed = parser::parse(&source);
    fail_on_errors(&parsed.diagnostics)?;
    let request = load::plan_request(session, &loaded);
    let outline =
        planner::outline(&parsed.dockerfile, &source, &request).map_err(BuildError::dockerfile)?;
    let lowered = planner::lower(&outline, &ImageSources { session })
        .map_err(|diagnostics| image_errors(session, diagnostics))?;
    let _ = session.epoch.set(lowered.epoch);
    announce(session, &source, &lowered.graph);
    let warnings = parsed.diagnostics.into_iter().chain(lowered.warnings).collect();
    Ok(Planned { graph: Arc::new(lowered.graph), warnings, source })
}

fn fail_on_errors(diagnostics: &[Diagnostic]) -> Result<(), BuildError> {
    let errors: Vec<Diagnostic> =
        diagnostics.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
    if errors.is_empty() { Ok(()) } else { Err(BuildError::dockerfile(errors)) }
}

/// A Dockerfile that names an image which cannot be had is right as a file: the registry's answer is the reason.
fn image_errors(session: &Session, diagnostics: Vec<Diagnostic>) -> BuildError {
    let error = BuildError::dockerfile(diagnostics);
    match *lock(&session.registry_failed) {
        true => error.of_kind(BuildErrorKind::Registry),
        false => error,
    }
}

/// Tells all vertices before the first one starts. Contexts and `scratch` are not shown.
fn announce(session: &Session, source: &SourceText, graph: &Graph) {
    for vertex in &graph.vertices {
        if vertex.origin.name.is_empty() {
            continue;
        }
        let line = vertex.origin.span.map(|(start, _)| source.position(start).0);
        let mut inputs: Vec<u32> = vertex.op.inputs().iter().map(|id| id.0).collect();
        inputs.extend(vertex.below.map(|id| id.0));
        let info = VertexInfo {
            name: vertex.origin.name.clone(),
            stage: vertex.origin.stage.clone(),
            line,
            inputs,
        };
        session.events.emit(EventKind::Planned { vertex: vertex.id.0, info: Arc::new(info) });
    }
}

fn assemble_target(
    session: &Arc<Session>,
    target: &Target,
    values: &[Value],
) -> Result<Built, Stop> {
    let value = values[target.top.0 as usize].stack();
    let stack = value.cloned().unwrap_or_else(|| StackValue::Present(Stack::default()));
    let rewrites = session.request.outputs.iter().any(|output| output.rewrite_timestamp);
    let clamp_to = session.epoch().filter(|_| rewrites);
    let config = assemble::config(session, target, &stack.named(), clamp_to)?;
    let id = config.id();
    let base_layers = target.config.rootfs.diff_ids.len();
    let stack = match stack {
        // An image that only changes metadata needs no byte of its base, until an output does.
        StackValue::Lazy { .. } if session.worker.is_some() && output::needs_layers(session) => {
            image::ensure(session, &stack, target.top.0)?
        }
        stack => stack.named(),
    };
    let platform = target.platform.clone();
    Ok(Built { platform, config, id, stack, base_layers, clamp_to })
}

fn hand_out(
    session: &Arc<Session>,
    built: Vec<Built>,
    planned: Planned,
) -> Result<BuildResult, Stop> {
    session.check_cancelled()?;
    let reports = output::write(session, &built)?;
    keep::images(session, &built, &reports.manifests)?;
    let images =
        built.iter().map(|built| ResultImage { platform: built.platform.clone(), id: built.id });
    Ok(BuildResult {
        images: images.collect(),
        target: reports.target,
        metadata: reports.metadata,
        names: session.request.tags.clone(),
        warnings: planned.warnings,
        source: planned.source,
    })
}

/// A lease and a session around work that is no build: pulling, pushing, running.
pub(crate) fn session_for(
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Arc<Session>, BuildError> {
    session(&BuildRequest::nothing(), environment, events, cancel)
}
