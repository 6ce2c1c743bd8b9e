//! What can happen in a build.

use std::sync::Arc;
use std::time::Duration;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Time since the build started.
    pub at: Duration,
    /// Counts events from 0, without gaps.
    pub seq: u64,
    /// What happened.
    pub kind: EventKind,
}

/// Facts on a vertex that stay the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VertexInfo {
    /// What people call it: `[build 2/5] RUN make`.
    pub name: String,
    /// Name of its stage; empty for internal work.
    pub stage: String,
    /// The Dockerfile that its instruction is in; empty for internal work.
    pub file: Arc<str>,
    /// First line of its instruction in the Dockerfile, counted from 1.
    pub line: Option<u32>,
    /// Vertices that it waits for.
    pub inputs: Vec<u32>,
}

/// What happened.
///
/// `vertex` numbers are given by the engine: the graph's vertices first, internal work (loading the Dockerfile,
/// exporting) after them.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A vertex is known and will start and end, or be cached.
    Planned {
        /// The vertex.
        vertex: u32,
        /// Its facts.
        info: Arc<VertexInfo>,
    },
    /// Work on a vertex begins.
    Started {
        /// The vertex.
        vertex: u32,
        /// Why it is not taken from the cache, in a phrase: `src/api.ts changed`, `first build`.
        because: Option<String>,
    },
    /// A vertex's result was found; it neither starts nor ends.
    Cached {
        /// The vertex.
        vertex: u32,
        /// Of a step, how long it took when it ran; `None` for an image that is there.
        saved_ms: Option<u64>,
    },
    /// A step wrote something.
    Output {
        /// The vertex.
        vertex: u32,
        /// Where it wrote.
        stream: Stream,
        /// The bytes as written; not escaped, not split into lines.
        bytes: Arc<[u8]>,
    },
    /// Bytes moved for a vertex: a layer pulled, a blob pushed, a file written. What is done at once and moves none,
    /// such as naming an image, has 0 of 0.
    Transfer {
        /// The vertex.
        vertex: u32,
        /// What is moved, short.
        item: String,
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all, when known.
        total_bytes: Option<u64>,
    },
    /// Work on a vertex has ended.
    Finished {
        /// The vertex.
        vertex: u32,
        /// How.
        outcome: Outcome,
    },
    /// One line for people that belongs to a vertex or to the whole build: a fallback, a deprecated form.
    Warning {
        /// The vertex, if it is about one.
        vertex: Option<u32>,
        /// The line.
        message: String,
    },
    /// The build has ended. Always the last event.
    BuildFinished {
        /// Whether all went well.
        ok: bool,
    },
}

/// Where a step wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How work on a vertex ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// Not well; the message is one line.
    Failed(String),
    /// Not at all: something else failed or the user stopped the build.
    Canceled,
}
