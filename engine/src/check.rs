//! Checks without a build: what `--check` does (spec CALL-01 to CALL-07).

use parser::Diagnostic;
use planner::LowerRequest;
use progress::Emitter;
use sys::Cancel;

use crate::environment::{Environment, session};
use crate::error::{BuildError, BuildErrorKind};
use crate::plan;
use crate::request::BuildRequest;
use crate::stop::Stop;

/// What checking a Dockerfile gave.
#[derive(Debug)]
pub struct CheckReport {
    /// What the checks found, in the order of the file's lines (CALL-03); also what stands before an error.
    pub findings: Vec<Diagnostic>,
    /// Why the file cannot be built, as far as that shows without running anything.
    pub error: Option<BuildError>,
}

/// Looks at a Dockerfile as a build would, all its stages when no target is named (LINT-08), and runs nothing. Configs
/// of base images are asked for; layers are not. Needs no worker.
///
/// # Errors
/// The store cannot be used. What is wrong with the Dockerfile is in the report.
pub fn check(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<CheckReport, BuildError> {
    let wide = LowerRequest { all_stages: true, ..request.plan.clone() };
    let request = BuildRequest { plan: wide, ..request.clone() };
    let session = session(&request, environment, events, cancel)?;
    let error = match plan::make(&session) {
        // A violation (`check=error=true`) is no error beside its findings (CALL-07).
        Ok(_) => None,
        Err(Stop::Failed(error)) => Some(error),
        Err(Stop::NeedsWorker) => {
            let message = "the context cannot be read without running something";
            Some(BuildError::new(BuildErrorKind::Environment, message))
        }
    };
    Ok(CheckReport { findings: session.findings().to_vec(), error })
}
