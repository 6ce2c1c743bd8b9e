//! What a build is made of: a DAG of vertices with typed operations, and the ids and keys that name results.
//!
//! Data only. The planner makes a [`Graph`], the engine walks it, the executor gets single operations. Nothing here
//! reads a file, and no vertex knows how it is run.

#![forbid(unsafe_code)]

mod keys;
mod op;
mod plan;

pub use keys::{
    CacheKey, ContentId, InstructionDigest, LayerId, NearKey, OperationDigest, ParseLayerIdError,
    Stack, StackIdentity, TreeDigest,
};
pub use op::{
    CacheSharing, Copy, CopySource, DeviceName, GitSource, HttpSource, ImageOrigin, ImageSource,
    InlineFile, Limits, LocalSource, Mkdir, Mode, ModeChange, Mount, MountKind, Network, Op, Run,
    Security, Selection, Ulimit, Unpack, Who,
};
pub use plan::{Graph, Origin, PlannedHistory, Target, Vertex, VertexId};
