//! Where in the Dockerfile something failed.

use graph::{Origin, Vertex};
use parser::Diagnostic;

use crate::error::{BuildError, BuildErrorKind};
use crate::session::Session;
use crate::stop::Stop;
use crate::work::Work;

/// A failure with the place of its instruction.
pub(crate) fn located(work: &Work, stop: Stop) -> Stop {
    let Stop::Failed(error) = stop else { return stop };
    if !error.diagnostics().is_empty() || error.kind() == BuildErrorKind::Cancelled {
        return Stop::Failed(error);
    }
    Stop::Failed(at_origin(&work.session, &place(work).origin, error))
}

/// An error with the place of an instruction.
pub(crate) fn at_origin(session: &Session, origin: &Origin, error: BuildError) -> BuildError {
    let (Some(source), Some((start, end))) = (session.source.get(), origin.span) else {
        return error;
    };
    let span = parser::Span { start, end };
    let mut place = Diagnostic::error("step-failed", error.to_string(), source, span);
    if let Some(trigger) = &origin.trigger {
        place = place.with_help(format!("the base image's trigger says: ONBUILD {trigger}"));
    }
    error.at(place)
}

/// The vertex itself, or, for a source that no instruction stands for, the first one that reads it.
fn place(work: &Work) -> &Vertex {
    let mut vertex = work.vertex();
    for later in &work.graph.vertices[work.id.0 as usize..] {
        if vertex.origin.span.is_some() {
            break;
        }
        if later.below == Some(vertex.id) || later.op.inputs().contains(&vertex.id) {
            vertex = later;
        }
    }
    vertex
}
