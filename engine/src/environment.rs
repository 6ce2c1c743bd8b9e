//! What a build needs of this process, and a session made of it.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, Once, OnceLock};

use executor::Worker;
use progress::{Emitter, EventKind};
use registry::RegistryClient;
use store::Store;
use sys::Cancel;

use crate::agents::Agents;
use crate::background::Background;
use crate::cap::{CacheMax, Cap};
use crate::contexts::Contexts;
use crate::error::BuildError;
use crate::facts::Facts;
use crate::remote::state::{Exports, Hits, Imports, Travelling};
use crate::request::BuildRequest;
use crate::session::{Session, short_id};
use crate::slots::Slots;
use crate::why::journal::Journal;

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
    /// How much of the disk the store may take.
    pub cache_max: CacheMax,
}

pub(crate) fn session(
    request: &BuildRequest,
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Arc<Session>, BuildError> {
    let lease = environment.store.lease();
    let lease = lease.map_err(|e| BuildError::store("cannot open a lease on the store", e))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = request.jobs.unwrap_or(processors.max(JOBS_MIN));
    let told = events.clone();
    environment.registry.listen(move |text| {
        told.emit(EventKind::Warning { vertex: None, message: text.to_owned() });
    });
    let started_on = crate::request::now();
    Ok(Arc::new(Session {
        request: Arc::new(request.clone()),
        lease: Arc::new(lease),
        registry: environment.registry.clone(),
        worker: environment.worker.clone(),
        events: events.clone(),
        cancel: cancel.clone(),
        facts: environment.facts.clone().into(),
        background: Background::default(),
        cap: Cap::new(environment.cache_max),
        slots: Slots::new(jobs),
        jobs,
        networks_expected: Once::new(),
        contexts: Contexts::default(),
        content_ids: Mutex::default(),
        agents: Agents::default(),
        devices: OnceLock::new(),
        emptied: Mutex::default(),
        held: Mutex::default(),
        asking: Mutex::default(),
        source: OnceLock::new(),
        findings: OnceLock::new(),
        images_asked: AtomicU32::new(0),
        image_failed: Mutex::default(),
        left_to_worker: Mutex::default(),
        epoch: OnceLock::new(),
        invocation_id: short_id(
            format!("{started_on} {} {}", std::process::id(), crate::request::now_us()).as_bytes(),
        ),
        started_on,
        imports: Imports::default(),
        travelling: Travelling::default(),
        hits: Hits::default(),
        exports: Exports::default(),
        controls: OnceLock::new(),
        journal: Journal::new(),
    }))
}

/// Steps mostly wait (for networks, compilers' disks): fewer than this at a time would waste an evening.
const JOBS_MIN: usize = 4;

/// A lease and a session around work that is no build: pulling, pushing, running.
pub(crate) fn session_for(
    environment: &Environment,
    events: &Emitter,
    cancel: &Cancel,
) -> Result<Arc<Session>, BuildError> {
    session(&BuildRequest::nothing(), environment, events, cancel)
}
