//! The one event stream of a build. All that a person sees is made from it; nothing here writes to a screen.
//!
//! Owns the event types and the [`Emitter`] through which workers speak. Refuses to know terminals, colours and
//! files. Every started vertex ends exactly once.

#![forbid(unsafe_code)]

mod emitter;
mod event;

pub use emitter::{Emitter, Sink};
pub use event::{Event, EventKind, Outcome, Stream, VertexInfo};
