//! What the parts of one build share: where results live, who works, who listens.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, Once, OnceLock};

use executor::{Devices, Worker};
use graph::{ContentId, LayerId};
use oci::Digest;
use parser::{Diagnostic, SourceText};
use progress::{Emitter, EventKind};
use registry::RegistryClient;
use store::Lease;
use sys::Cancel;

use crate::agents::Agents;
use crate::background::Background;
use crate::cap::Cap;
use crate::contexts::Contexts;
use crate::controls::Controls;
use crate::error::{BuildError, BuildErrorKind};
use crate::facts::Facts;
use crate::remote::state::{Exports, Hits, Imports, Travelling};
use crate::request::BuildRequest;
use crate::slots::Slots;
use crate::stop::Stop;
use crate::why::journal::Journal;

/// One build's surroundings. Shared by its threads.
pub(crate) struct Session {
    pub(crate) request: Arc<BuildRequest>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) registry: Arc<RegistryClient>,
    /// `None` in the process that only looks up (design D1).
    pub(crate) worker: Option<Arc<dyn Worker>>,
    pub(crate) events: Emitter,
    pub(crate) cancel: Cancel,
    pub(crate) facts: Mutex<Facts>,
    /// Remote places that somebody asks about.
    pub(crate) asking: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    pub(crate) background: Background,
    pub(crate) cap: Cap,
    pub(crate) slots: Slots,
    /// How many slots there are.
    pub(crate) jobs: usize,
    pub(crate) networks_expected: Once,
    pub(crate) contexts: Contexts,
    /// Content ids that were made or read.
    pub(crate) content_ids: Mutex<HashMap<LayerId, ContentId>>,
    pub(crate) agents: Agents,
    /// The machine's devices, once a step wanted some.
    pub(crate) devices: OnceLock<Devices>,
    /// Keys of the cache mounts that were emptied for this build.
    pub(crate) emptied: Mutex<HashSet<Digest>>,
    /// Keys of the cache mounts that steps of this build have open.
    pub(crate) held: Mutex<Vec<Digest>>,
    /// The Dockerfile, once it was read.
    pub(crate) source: OnceLock<SourceText>,
    /// What checks have found, once the plan was made or could not be.
    pub(crate) findings: OnceLock<Vec<Diagnostic>>,
    /// How many images were looked up at registries.
    pub(crate) images_asked: AtomicU32,
    /// What kind of failure it was when an image could not be resolved, where the Dockerfile is not to blame.
    pub(crate) image_failed: Mutex<Option<BuildErrorKind>>,
    /// Planning met work that is to be seen, and so is left to the process with a worker: false where there is none.
    pub(crate) left_to_worker: Mutex<Option<bool>>,
    pub(crate) epoch: OnceLock<Option<i64>>,
    /// When the build began, RFC 3339.
    pub(crate) started_on: String,
    /// Names this build.
    pub(crate) invocation_id: String,
    pub(crate) imports: Imports,
    pub(crate) travelling: Travelling,
    pub(crate) hits: Hits,
    pub(crate) exports: Exports,
    /// Rules for single steps on the use of the cache; none before the plan.
    pub(crate) controls: OnceLock<Controls>,
    /// What is to be written down of the build.
    pub(crate) journal: Journal,
}

/// A name for something with these bytes.
pub(crate) fn short_id(bytes: &[u8]) -> String {
    Digest::of(bytes).hex()[..25].to_owned()
}

impl Session {
    /// The worker, or the reason to start the process that has one.
    pub(crate) fn worker(&self) -> Result<&Arc<dyn Worker>, Stop> {
        self.worker.as_ref().ok_or(Stop::NeedsWorker)
    }

    /// Whether this process can give files no owner but its own: those of images are then only noted.
    pub(crate) fn maps_one_id(&self) -> bool {
        self.worker.as_ref().is_some_and(|worker| worker.level() == executor::Level::UserNsSingle)
    }

    /// SOURCE_DATE_EPOCH in seconds since 1970, if one holds (EPO-01). Known once the plan is made.
    pub(crate) fn epoch(&self) -> Option<i64> {
        self.epoch.get().copied().flatten()
    }

    /// The rules for single steps. Nobody asks before the plan is made.
    pub(crate) fn controls(&self) -> &Controls {
        self.controls.get_or_init(Controls::default)
    }

    /// What checks have found; nothing before the plan.
    pub(crate) fn findings(&self) -> &[Diagnostic] {
        self.findings.get().map_or(&[], Vec::as_slice)
    }

    /// Tells a warning that is about no step.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.events.emit(EventKind::Warning { vertex: None, message: message.into() });
    }

    /// Fails when the build was stopped.
    pub(crate) fn check_cancelled(&self) -> Result<(), BuildError> {
        if self.cancel.is_cancelled() { Err(BuildError::cancelled()) } else { Ok(()) }
    }

    /// What work came to. When it was stopped that is the reason of whatever broke.
    pub(crate) fn unless_cancelled<T, E: From<BuildError>>(
        &self,
        result: Result<T, E>,
    ) -> Result<T, E> {
        result.map_err(|error| self.check_cancelled().map_or_else(E::from, |()| error))
    }
}
