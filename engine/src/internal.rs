//! Work that is no instruction but is shown like one: loading the Dockerfile, asking registries, exporting (INS-13).

use std::sync::Arc;

use progress::{Emitter, EventKind, Outcome, VertexInfo};

use crate::error::{BuildError, BuildErrorKind};
use crate::stop::Stop;

/// Kinds of internal work, with their vertex numbers: counted down from the top, where no graph gets to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Internal {
    LoadDockerfile,
    LoadIgnoreFile,
    /// A context from elsewhere.
    LoadContext,
    ResolveImages,
    Export,
    /// The store gets the result.
    Keep,
    /// A cache that is read, by its place among those that are named.
    ImportCache(u32),
    /// A cache that is written, by its place among those that are named.
    ExportCache(u32),
    /// A cache mount that comes from a cache, by the order of coming.
    ImportMount(u32),
    /// What a registry says of an image, by the order of asking.
    LoadMetadata(u32),
}

impl Internal {
    /// The vertex number in the event stream.
    pub(crate) fn vertex(self) -> u32 {
        u32::MAX
            - match self {
                Internal::LoadDockerfile => 0,
                Internal::LoadIgnoreFile => 1,
                Internal::ResolveImages => 2,
                Internal::Export => 3,
                Internal::LoadContext => 4,
                Internal::ImportMount(number) => 1 << 28 | number,
                Internal::ImportCache(number) => 1 << 29 | number,
                Internal::ExportCache(number) => 1 << 30 | number,
                Internal::Keep => 5,
                Internal::LoadMetadata(number) => 6 + number,
            }
    }
}

/// Does a piece of internal work and tells its begin and end.
pub(crate) fn step<T, E: End>(
    events: &Emitter,
    what: Internal,
    name: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let vertex = what.vertex();
    begin(events, vertex, name);
    let result = work();
    let outcome = match &result {
        Ok(_) => Outcome::Done,
        Err(end) => end.outcome(),
    };
    events.emit(EventKind::Finished { vertex, outcome });
    result
}

/// Tells the begin of a piece of internal work.
pub(crate) fn begin(events: &Emitter, vertex: u32, name: &str) {
    let info = VertexInfo {
        name: name.to_owned(),
        stage: String::new(),
        file: "".into(),
        line: None,
        inputs: Vec::new(),
    };
    events.emit(EventKind::Planned { vertex, info: Arc::new(info) });
    events.emit(EventKind::Started { vertex, because: None });
}

/// How work ended that gave no result.
pub(crate) trait End {
    /// As it is told.
    fn outcome(&self) -> Outcome;
}

impl End for BuildError {
    fn outcome(&self) -> Outcome {
        match self.kind() {
            BuildErrorKind::Cancelled => Outcome::Canceled,
            _ => Outcome::Failed(self.to_string()),
        }
    }
}

impl End for Stop {
    fn outcome(&self) -> Outcome {
        match self {
            Stop::Failed(error) => error.outcome(),
            Stop::NeedsWorker | Stop::CacheLost(_) => Outcome::Canceled,
        }
    }
}
