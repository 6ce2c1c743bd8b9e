//! Room on the store's disk: watched while a build adds to it, made at its end.
//!
//! Owns when a collection is due and what is said when it is not enough. What goes, and in which order, is `store`'s.

use std::sync::Arc;

use store::{GcPolicy, GcReport, StoreError};

use crate::session::Session;

/// A collection makes room for more than it has to, so that the next step does not need one too.
const ROOM_SHARE: u64 = 10;
/// A build looks at the estimate each time that it has added this part of the limit, within bounds.
const LOOK_SHARE: u64 = 32;
const LOOK_MIN_BYTES: u64 = 256 << 10;
const LOOK_MAX_BYTES: u64 = 256 << 20;

/// What a build without work may add untold.
const SMALL_BYTES: u64 = 1 << 20;

/// Collects beside the build whenever it has added so much that the limit is passed. Only in a process that can remove
/// every file.
pub(crate) fn watch(session: &Arc<Session>) {
    let Some(max) = limit(session).filter(|_| session.worker.is_some()) else { return };
    let watched = Arc::downgrade(session);
    let step_bytes = (max / LOOK_SHARE).clamp(LOOK_MIN_BYTES, LOOK_MAX_BYTES);
    session.lease.watch_growth(step_bytes, move || {
        let Some(session) = watched.upgrade() else { return };
        if !session.cap.begin() {
            return;
        }
        let own = session.clone();
        session.background.spawn(move || {
            keep(&own, max);
            own.cap.end();
            Ok(())
        });
    });
}

/// At the end: nothing for a build that has added nothing.
pub(crate) fn settle(session: &Arc<Session>) {
    // A collection that is at work would keep the last one out.
    let _ = session.background.join();
    if session.cancel.is_cancelled() {
        // Whoever stopped it does not want to wait; the next build makes room.
        let _ = session.lease.tell_added();
    } else {
        make_room(session);
    }
    // A collection that the last bytes have started.
    let _ = session.background.join();
}

fn make_room(session: &Arc<Session>) {
    // A directory that cannot be measured is measured by the next census.
    let _ = session.lease.count_mounts();
    let untold_bytes = match session.worker {
        Some(_) => 0,
        None => SMALL_BYTES,
    };
    if session.lease.added_bytes() > untold_bytes
        && let Some(max) = limit(session)
    {
        keep(session, max);
    }
}

fn limit(session: &Session) -> Option<u64> {
    session.cap.bytes(session.lease.store())
}

/// Brings the store below the limit if it has passed it.
fn keep(session: &Arc<Session>, max: u64) {
    let store = session.lease.store();
    let is_due = session.lease.tell_added().and_then(|_| store.estimated_bytes());
    match is_due {
        Ok(Some(estimate)) if estimate <= max => return,
        // Nobody has counted yet, and this process cannot look into every layer.
        Ok(None) if session.worker.is_none() => return,
        Ok(_) => {}
        Err(error) => return session.warn(format!("cannot tell how full the cache is: {error}")),
    }
    match collect(session, max) {
        Ok(Some(report)) if report.left_bytes > max => {
            if session.cap.is_news() {
                session.warn(too_full(&report, max));
            }
        }
        Ok(_) => {}
        Err(error) => session.warn(format!("cannot make room in the cache: {error}")),
    }
}

/// `None` when another process is at it.
fn collect(session: &Session, max: u64) -> Result<Option<GcReport>, StoreError> {
    let store = session.lease.store();
    let policy = GcPolicy {
        max_bytes: Some(max - max / ROOM_SHARE),
        above_bytes: max,
        ..GcPolicy::default()
    };
    // What waits to be deleted takes room too. What cannot be deleted here, the next build with a worker deletes.
    store.empty_trash()?;
    let report = store.try_gc(&policy)?;
    store.empty_trash()?;
    Ok(report)
}

fn too_full(report: &GcReport, max: u64) -> String {
    let GcReport { left_bytes, tagged_bytes, running_bytes, .. } = report;
    let [left, max, tagged, running] = [*left_bytes, max, *tagged_bytes, *running_bytes].map(shown);
    format!(
        "the cache takes {left}, more than its limit of {max}: images with a name need {tagged}, running builds {running}; \
         `shale cache du` shows what takes how much, `shale rmi` removes names, --cache-max sets the limit"
    )
}

/// With less than this, a step that failed may have found no room.
const FULL_BYTES: u64 = 16 << 20;
/// What a full disk may seem to have left.
const NOTHING_BYTES: u64 = 128 << 10;

/// What to say to a step's failure when the disk of the store is as good as full.
pub(crate) fn full_disk(session: &Session) -> Option<String> {
    let free = session.lease.store().free_bytes().ok().filter(|free| *free < FULL_BYTES)?;
    let state = match free < NOTHING_BYTES {
        true => "is full".to_owned(),
        false => format!("has only {} left", shown(free)),
    };
    Some(format!(
        "the disk of the store {state}: `shale cache prune` frees what no image needs, --root \
         names a store on another disk"
    ))
}

/// `1.2GB`
fn shown(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}
