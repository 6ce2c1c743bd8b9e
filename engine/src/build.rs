//! One build from request to result: load, plan, solve, assemble, keep, hand out.

use std::sync::Arc;

use graph::{Graph, Stack, Target};
use layer::Encoding;
use oci::{Digest, ImageId, Platform, Reference};
use parser::{Diagnostic, SourceText};
use progress::Emitter;
use sys::Cancel;

use crate::assemble::{self, Built};
use crate::attest::{self, Attesting};
use crate::controls;
use crate::devices;
use crate::environment::{Environment, session};
use crate::error::BuildError;
use crate::facts::Facts;
use crate::foreign;
use crate::image;
use crate::keep;
use crate::output::{self, wanted};
use crate::plan::{self, Plan};
use crate::present;
use crate::push_lazily;
use crate::remote;
use crate::request::BuildRequest;
use crate::room;
use crate::session::Session;
use crate::solve;
use crate::stop::{Stop, lock};
use crate::stopper;
use crate::value::{StackValue, Value};

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
    /// The index over the images, if an output made one.
    pub index: Option<Digest>,
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
    room::watch(&session);
    let outcome = stopper::with(cancel, &environment.registry, || {
        let result = run(&session);
        // Whatever was started is waited for, also after a failure: nothing may outlive the build.
        let finished = session.background.join();
        let result = with_background(result, finished);
        let result = result.and_then(|(built, solved)| deliver(&session, built, solved));
        remote::end(&session);
        if !matches!(result, Err(Stop::NeedsWorker)) {
            session.journal.write(&session.request, &session.lease, result.is_ok());
            room::settle(&session);
        }
        result
    });
    match outcome {
        Ok(result) => Ok(BuildOutcome::Done(result)),
        Err(Stop::NeedsWorker) => {
            session.check_cancelled()?;
            remote::learn(&session);
            Ok(BuildOutcome::NeedsWorker(lock(&session.facts).clone()))
        }
        Err(Stop::Failed(error) | Stop::CacheLost(error)) => {
            Err(error.with_warnings(session.findings()))
        }
    }
}

/// What counts when both may have failed: the background's error if it alone knows the instruction that caused both.
fn with_background<T>(result: Result<T, Stop>, background: Result<(), Stop>) -> Result<T, Stop> {
    match (result, background) {
        (Err(Stop::Failed(late)), Err(Stop::Failed(cause)))
            if late.diagnostics().is_empty() && !cause.diagnostics().is_empty() =>
        {
            Err(Stop::Failed(cause))
        }
        (result, background) => result.and_then(|built| background.map(|()| built)),
    }
}

fn run(session: &Arc<Session>) -> Result<(Vec<Built>, Solved), Stop> {
    remote::open(session)?;
    remote::start(session);
    empty_trash(session);
    *lock(&session.left_to_worker) = Some(false);
    let mut plan = plan::make(session)?;
    if let Some(violation) = &plan.violation {
        return Err(BuildError::dockerfile(vec![violation.clone()]).into()); // LINT-01
    }
    if wanted::scans(session) {
        attest::extend_plan(session, &mut plan)?;
    }
    set_controls(session, &mut plan)?;
    devices::check(session, &plan.graph)?;
    foreign::check(session, &plan.graph)?;
    session.journal.plan(plan.graph.clone(), plan.source.clone());
    plan::announce(session, &plan);
    let mut result = solved(session, &plan);
    if let Err(Stop::CacheLost(error)) = &result {
        remote::lost(session, error);
        result = solved(session, &plan);
    }
    let filed = remote::file_records(session);
    let (built, values) = result?;
    filed?;
    Ok((built, Solved { plan, values }))
}

/// Finds out which steps the request's rules are about, and marks those that have to run.
fn set_controls(session: &Session, plan: &mut Plan) -> Result<(), BuildError> {
    let request = &session.request;
    for warning in controls::unknown_stages(&request.plan.no_cache_filter, &plan.source) {
        session.warn(warning);
    }
    let graph = Arc::make_mut(&mut plan.graph);
    let controls = controls::resolve(&request.cache_rules, graph, &plan.source)?;
    session.controls.set(controls).expect("a build has one plan");
    Ok(())
}

/// A plan with what came of it.
struct Solved {
    plan: Plan,
    values: Vec<Value>,
}

/// Solves the graph and puts the images together; ends when nothing works on it any more.
fn solved(session: &Arc<Session>, plan: &Plan) -> Result<(Vec<Built>, Vec<Value>), Stop> {
    let solved = solve::solve(session, &plan.graph).and_then(|values| {
        if remote::inline::is_wanted(session) {
            // What is still found out of steps that ran is part of the images' configs.
            session.background.join()?;
        }
        let targets = plan.graph.targets.iter();
        let built = targets.map(|target| assemble_target(session, &plan.graph, target, &values));
        Ok((built.collect::<Result<_, Stop>>()?, values))
    });
    let finished = session.background.join();
    with_background(solved, finished)
}

/// Deletes what was thrown away earlier, beside the build: only here files of other ids can be removed.
fn empty_trash(session: &Arc<Session>) {
    if session.worker.is_some() && session.lease.store().has_trash().unwrap_or(false) {
        let own = session.clone();
        session.background.spawn(move || {
            // What cannot be deleted now is tried again by the next build.
            let _ = own.lease.store().empty_trash();
            Ok(())
        });
    }
}

fn assemble_target(
    session: &Arc<Session>,
    graph: &Arc<Graph>,
    target: &Target,
    values: &[Value],
) -> Result<Built, Stop> {
    let value = values[target.top.0 as usize].stack();
    let stack = value.cloned().unwrap_or_else(|| StackValue::Present(Stack::default()));
    let base = image::Base::of(graph, target);
    let base_layers = target.config.rootfs.diff_ids.len();
    let platform = target.platform.clone();
    if let StackValue::Lazy(lazy) = &stack
        && push_lazily::fits(session, base.as_ref(), lazy)
    {
        let form = assemble::form(session, target, &stack, &Encoding::default(), (graph, values))?;
        let lazy = Some(lazy.clone());
        let stack = push_lazily::unfetched(&form);
        let is_kept = true;
        return Ok(Built {
            platform,
            stack,
            lazy,
            is_kept,
            base_layers,
            base,
            form,
            others: Vec::new(),
        });
    }
    let stack = match stack {
        // What lies in an imported cache may be gone from there when it is wanted: a result has its layers here.
        StackValue::Lazy(lazy) if lazy.is_imported() && wanted::keeps(session) => {
            let stack = present::ensure(session, &StackValue::Lazy(lazy), target.top.0)?;
            StackValue::Present(stack)
        }
        stack => stack,
    };
    let form =
        |encoding: &Encoding| assemble::form(session, target, &stack, encoding, (graph, values));
    let encodings = wanted::encodings(session);
    let mut forms = encodings.iter().map(form).collect::<Result<Vec<_>, _>>()?;
    let others = forms.split_off(1);
    let form = forms.remove(0);
    let stack = match stack {
        StackValue::Present(stack) => Some(stack),
        // An image that only changes metadata needs no byte of its base, until an output does.
        StackValue::Lazy(_) if session.worker.is_some() && wanted::needs_layers(session) => {
            Some(present::ensure(session, &stack, target.top.0)?)
        }
        StackValue::Lazy(lazy) => lazy.on_its_image(),
    };
    let is_kept = stack.is_some();
    let stack = stack.unwrap_or_default();
    Ok(Built { platform, stack, lazy: None, is_kept, base_layers, base, form, others })
}

/// Hands the result out; an imported layer that a registry wants may turn out to be gone only now.
fn deliver(session: &Arc<Session>, built: Vec<Built>, done: Solved) -> Result<BuildResult, Stop> {
    let Solved { plan, values } = done;
    match hand_out(session, &built, &plan, &values) {
        Err(Stop::CacheLost(error)) => {
            remote::lost(session, &error);
            let (built, values) = solved(session, &plan)?;
            hand_out(session, &built, &plan, &values)
        }
        result => result,
    }
}

fn hand_out(
    session: &Arc<Session>,
    built: &[Built],
    plan: &Plan,
    values: &[Value],
) -> Result<BuildResult, Stop> {
    session.check_cancelled()?;
    let attesting = Attesting::new(session, plan, values);
    let mut reports = output::write(session, built, &attesting)?;
    keep::images(session, built, &reports)?;
    remote::publish(session, &plan.graph, values)?;
    let reference = format!("shale/shale/{}", session.invocation_id);
    reports.metadata.insert("buildx.build.ref".to_owned(), reference.into());
    if let Some(mode) = session.request.attest.in_metadata {
        reports.metadata.extend(attesting.metadata(mode));
    }
    let images = built
        .iter()
        .map(|built| ResultImage { platform: built.platform.clone(), id: built.form.id });
    Ok(BuildResult {
        images: images.collect(),
        index: reports.index.as_ref().map(|index| index.digest),
        metadata: reports.metadata,
        names: session.request.tags.clone(),
        warnings: session.findings().to_vec(),
        source: plan.source.clone(),
    })
}
