//! Steps for other platforms than this machine's: told before anything runs when they cannot.
//!
//! Owns which steps that is about. How the kernel is asked is the executor's business.

use graph::{Graph, Op, Vertex};
use oci::Platform;
use planner::key;

use crate::error::{BuildError, BuildErrorKind};
use crate::place;
use crate::session::Session;
use crate::stop::Stop;

/// Fails if a step that will surely run is for a platform whose programs do not start here. One that ran before may
/// be a hit and need nothing; whether it is turns out when its turn comes.
pub(crate) fn check(session: &Session, graph: &Graph) -> Result<(), Stop> {
    let mut known = Vec::new();
    for step in graph.vertices.iter().filter(|vertex| matches!(vertex.op, Op::Run(_))) {
        if known.contains(&&step.platform) {
            continue;
        }
        let Some(failed) = refusal(&step.platform) else {
            known.push(&step.platform);
            continue;
        };
        if will_run(session, step)? {
            return Err(place::at_origin(session, &step.origin, failed).into());
        }
    }
    Ok(())
}

/// Why programs of a platform cannot run here, if they cannot.
pub(crate) fn refusal(platform: &Platform) -> Option<BuildError> {
    let error = executor::interpreter(platform).err()?;
    let text = format!("this machine cannot run programs for {platform}");
    let hint = error.hint();
    Some(BuildError::new(BuildErrorKind::Environment, text).because(error).with_hint(hint))
}

fn will_run(session: &Session, vertex: &Vertex) -> Result<bool, BuildError> {
    if vertex.no_cache {
        return Ok(true);
    }
    let earlier = session.lease.records_of(&key::instruction_digest(vertex));
    Ok(earlier.map_err(|e| BuildError::store("cannot look up cache records", e))?.is_empty())
}
