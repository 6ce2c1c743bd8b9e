//! From a request to the graph of its work: load, parse, outline, lower, with what checks find on the way.
//!
//! Owns the order of these and what is told of them. Refuses to run anything.

use std::sync::Arc;

use graph::{Graph, VertexId};
use parser::{Diagnostic, Parse, Severity, SourceText};
use planner::{Findings, LowerRequest, Lowered, Parameters};
use progress::{EventKind, VertexInfo};

use crate::error::BuildError;
use crate::image::ImageSources;
use crate::load;
use crate::session::Session;
use crate::stop::{Stop, lock};

/// What is to be done.
pub(crate) struct Plan {
    pub(crate) graph: Arc<Graph>,
    pub(crate) source: SourceText,
    /// What the target can be given (CALL-08).
    pub(crate) parameters: Parameters,
    /// The error that a build ends with, since the file wants findings to be errors (LINT-01).
    pub(crate) violation: Option<Diagnostic>,
    /// The scanner's step for each target, when there is a scanner.
    pub(crate) scans: Vec<VertexId>,
}

/// Makes the plan. What checks have found is in the session then, also when this fails (LINT-09).
pub(crate) fn make(session: &Arc<Session>) -> Result<Plan, Stop> {
    let (parse, source, request) = read(session)?;
    let findings = Findings::new(&parse, &source, &request).map_err(BuildError::dockerfile)?;
    let lowered = lower(session, &parse, &source, &request, &findings);
    let violation = findings.violation();
    let _ = session.findings.set(findings.into_list());
    if *lock(&session.left_to_worker) == Some(true) {
        return Err(Stop::NeedsWorker);
    }
    let lowered = lowered?;
    let _ = session.epoch.set(lowered.epoch);
    let graph = Arc::new(lowered.graph);
    Ok(Plan { graph, source, parameters: lowered.parameters, violation, scans: Vec::new() })
}

/// Finds the Dockerfile and reads it; mistakes in it are in what comes back.
pub(crate) fn parse(session: &Arc<Session>) -> Result<(Parse, SourceText), Stop> {
    read(session).map(|(parse, source, _)| (parse, source))
}

fn read(session: &Arc<Session>) -> Result<(Parse, SourceText, LowerRequest), Stop> {
    let loaded = load::dockerfile(session)?;
    let source = loaded.source.clone();
    let _ = session.source.set(source.clone());
    let request = load::plan_request(session, &loaded);
    let parse = parser::parse(&source);
    planner::check_frontend(&parse, &source, &request).map_err(BuildError::dockerfile)?;
    Ok((parse, source, request))
}

fn lower(
    session: &Session,
    parse: &Parse,
    source: &SourceText,
    request: &LowerRequest,
    findings: &Findings,
) -> Result<Lowered, BuildError> {
    fail_on_errors(&parse.diagnostics)?;
    let outline = planner::outline(&parse.dockerfile, source, request, findings)
        .map_err(BuildError::dockerfile)?;
    planner::lower(&outline, &ImageSources { session }, findings)
        .map_err(|diagnostics| image_errors(session, diagnostics))
}

/// Ends with all mistakes that a file has, if it has any.
pub(crate) fn fail_on_errors(diagnostics: &[Diagnostic]) -> Result<(), BuildError> {
    let errors: Vec<Diagnostic> =
        diagnostics.iter().filter(|d| d.severity == Severity::Error).cloned().collect();
    if errors.is_empty() { Ok(()) } else { Err(BuildError::dockerfile(errors)) }
}

/// A Dockerfile that names an image which cannot be had is right as a file: the registry's answer is the reason.
fn image_errors(session: &Session, diagnostics: Vec<Diagnostic>) -> BuildError {
    let error = BuildError::dockerfile(diagnostics);
    match *lock(&session.image_failed) {
        Some(kind) => error.of_kind(kind),
        None => error,
    }
}

/// Tells all vertices before the first one starts. Contexts and `scratch` are not shown.
pub(crate) fn announce(session: &Session, plan: &Plan) {
    for vertex in &plan.graph.vertices {
        if vertex.origin.name.is_empty() {
            continue;
        }
        let line = vertex.origin.span.map(|(start, _)| plan.source.position(start).0);
        let mut inputs: Vec<u32> = vertex.op.inputs().iter().map(|id| id.0).collect();
        inputs.extend(vertex.below.map(|id| id.0));
        let info = VertexInfo {
            name: vertex.origin.name.clone(),
            stage: vertex.origin.stage.clone(),
            file: plan.source.name.clone(),
            line,
            inputs,
        };
        session.events.emit(EventKind::Planned { vertex: vertex.id.0, info: Arc::new(info) });
    }
}

/// Whether a vertex's layer is part of an image that gets a config.
pub(crate) fn is_in_result(graph: &Graph, id: VertexId) -> bool {
    graph.targets.iter().any(|target| {
        let mut chain = std::iter::successors(Some(target.top), |id| graph.vertex(*id).below);
        chain.any(|below| below == id)
    })
}
