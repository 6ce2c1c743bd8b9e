//! Work that is no instruction but is shown like one: loading the Dockerfile, exporting (INS-13).

use std::sync::Arc;

use progress::{Emitter, EventKind, Outcome, VertexInfo};

use crate::error::BuildErrorKind;
use crate::stop::Stop;

/// Kinds of internal work, with their vertex numbers: counted down from the top, where no graph gets to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Internal {
    LoadDockerfile,
    ResolveImages,
    Export,
}

impl Internal {
    /// The vertex number in the event stream.
    pub(crate) fn vertex(self) -> u32 {
        u32::MAX - self as u32
    }
}

/// Does a piece of internal work and tells its begin and end.
pub(crate) fn step<T>(
    events: &Emitter,
    what: Internal,
    name: &str,
    work: impl FnOnce() -> Result<T, Stop>,
) -> Result<T, Stop> {
    let vertex = what.vertex();
    let info =
        VertexInfo { name: name.to_owned(), stage: String::new(), line: None, inputs: Vec::new() };
    events.emit(EventKind::Planned { vertex, info: Arc::new(info) });
    events.emit(EventKind::Started { vertex, because: None });
    let result = work();
    let outcome = match &result {
        Ok(_) => Outcome::Done,
        Err(Stop::Failed(error)) if error.kind() != BuildErrorKind::Cancelled => {
            Outcome::Failed(error.to_string())
        }
        Err(_) => Outcome::Canceled,
    };
    events.emit(EventKind::Finished { vertex, outcome });
    result
}
