//! Questions about a Dockerfile that need no build: what checks find, what a target can be given, which stages there
//! are (spec CALL-01 to CALL-14). Configs of base images may be asked for; layers are not, and nothing runs.

use std::sync::Arc;

use parser::{Diagnostic, SourceText};
use planner::{Entitlement, Parameters, TargetFacts};
use progress::Emitter;
use sys::Cancel;

use crate::environment::{Environment, session};
use crate::error::BuildError;
use crate::plan;
use crate::request::BuildRequest;
use crate::session::Session;
use crate::stop::Stop;

/// What checking a Dockerfile gave.
#[derive(Debug)]
pub struct CheckReport {
    /// What the checks found, in the order of the file's lines (CALL-03); also what stands before an error.
    pub findings: Vec<Diagnostic>,
    /// Why the file cannot be built, as far as that shows without running anything.
    pub error: Option<BuildError>,
    /// What a build would end with because of the findings (LINT-01). No error beside them (CALL-07).
    pub violation: Option<Diagnostic>,
    /// The Dockerfile, if it could be read.
    pub source: Option<SourceText>,
}

/// An answer with the Dockerfile that it is about.
#[derive(Debug)]
pub struct Answer<T> {
    /// The answer.
    pub facts: T,
    /// The Dockerfile.
    pub source: SourceText,
}

/// Looks at a Dockerfile as a build would, all its stages when no target is named (LINT-08). Needs no worker.
///
/// # Errors
/// The store cannot be used. What is wrong with the Dockerfile is in the report.
pub fn check(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<CheckReport, BuildError> {
    let session = session(&question(request, true), environment, events, cancel)?;
    let (error, violation) = match plan::make(&session) {
        Ok(plan) => (None, plan.violation),
        Err(stop) => (Some(error_of(stop)), None),
    };
    let findings = session.findings().to_vec();
    Ok(CheckReport { findings, error, violation, source: session.source.get().cloned() })
}

/// What the target can be given, by the file and the build arguments of the request (CALL-08).
///
/// # Errors
/// The Dockerfile cannot be built, or the store cannot be used.
pub fn parameters(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Answer<Parameters>, BuildError> {
    let session = session(&question(request, false), environment, events, cancel)?;
    let with_warnings = |error: BuildError| error.with_warnings(session.findings());
    let plan = plan::make(&session).map_err(|stop| with_warnings(error_of(stop)))?;
    match plan.violation {
        Some(violation) => Err(with_warnings(BuildError::dockerfile(vec![violation]))),
        None => Ok(Answer { facts: plan.parameters, source: plan.source }),
    }
}

/// The stages of the file (CALL-11). No image is asked for.
///
/// # Errors
/// The Dockerfile cannot be read or parsed, or the store cannot be used.
pub fn targets(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Answer<Vec<TargetFacts>>, BuildError> {
    let session: Arc<Session> = session(request, environment, events, cancel)?;
    let (parse, source) = plan::parse(&session).map_err(error_of)?;
    plan::fail_on_errors(&parse.diagnostics)?;
    Ok(Answer { facts: planner::targets(&parse.dockerfile, &source), source })
}

/// The request of a question: what only a running step needs a right for is no fault of the file (RUN-21, RUN-24).
fn question(request: &BuildRequest, all_stages: bool) -> BuildRequest {
    let mut request = request.clone();
    request.plan.all_stages = all_stages;
    request.plan.allow.extend([Entitlement::NetworkHost, Entitlement::SecurityInsecure]);
    request
}

fn error_of(stop: Stop) -> BuildError {
    stop.into_error("the context cannot be read without running something")
}
