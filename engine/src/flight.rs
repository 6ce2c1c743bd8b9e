//! Identical work of two processes is done once: who comes second waits, and finds the first one's record (design D6).
//!
//! Owns the names that they meet by. A step is named by its near key. A copy whose instruction has no record yet has
//! none, for nothing hashes its files before they are copied: it is named by what is known of it without them.

use graph::NearKey;
use oci::Digest;
use planner::key;
use store::FlightGuard;

use crate::error::BuildError;
use crate::keys;
use crate::lookup::{self, Found};
use crate::stop::Stop;
use crate::why::Because;
use crate::work::Work;

/// Keeps others out of a step that has to run, until the guard goes; or finds what another one has made meanwhile.
/// Waits for who is at it.
pub(crate) fn enter(work: &Work, mut found: Found) -> Result<(Found, Option<FlightGuard>), Stop> {
    let lease = &work.session.lease;
    let has_contents = !key::content_sources(&work.graph, work.vertex()).is_empty();
    loop {
        let Found::Run { because, contents } = &found else { return Ok((found, None)) };
        if *because == Because::Forced || work.session.worker.is_none() {
            return Ok((found, None));
        }
        if !has_contents {
            return alone(work, Vec::new());
        }
        if let Some(contents) = contents {
            return alone(work, contents.clone());
        }
        let name = name("copy", &keys::near_key(work, &[]));
        if let Some(guard) = lease.try_single_flight(&name).map_err(cannot_wait)? {
            found = lookup::find(work, None)?;
            match &found {
                Found::Run { contents: Some(_), .. } => continue,
                Found::Run { contents: None, .. } => return Ok((found, Some(guard))),
                Found::Hit { .. } => return Ok((found, None)),
            }
        }
        // Somebody copies by the same words, perhaps the same files: time to hash ours.
        let contents = keys::contents(work)?;
        drop(lease.single_flight(&name, &|| is_cancelled(work)).map_err(cannot_wait)?);
        found = lookup::find(work, Some(contents))?;
    }
}

fn alone(work: &Work, contents: Vec<Digest>) -> Result<(Found, Option<FlightGuard>), Stop> {
    let name = name("vertex", &keys::near_key(work, &contents));
    let guard = work.session.lease.single_flight(&name, &|| is_cancelled(work));
    let guard = guard.map_err(cannot_wait)?;
    Ok((lookup::find(work, Some(contents))?, Some(guard)))
}

fn name(kind: &str, key: &NearKey) -> String {
    format!("{kind} {key}")
}

fn is_cancelled(work: &Work) -> bool {
    work.session.cancel.is_cancelled()
}

fn cannot_wait(error: store::StoreError) -> BuildError {
    BuildError::store("cannot wait for another build of the same step", error)
}
