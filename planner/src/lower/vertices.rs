//! The graph in the making: equal work is one vertex (STG-11).

use std::collections::HashMap;

use graph::{Graph, InstructionDigest, Op, Origin, Target, Vertex, VertexId};
use oci::Platform;

use crate::key;

/// A vertex without its index.
pub(super) struct NewVertex {
    pub(super) op: Op,
    pub(super) platform: Platform,
    pub(super) below: Option<VertexId>,
    pub(super) origin: Origin,
    pub(super) no_cache: bool,
}

/// Vertices, each after its inputs.
#[derive(Default)]
pub(super) struct Vertices {
    list: Vec<Vertex>,
    /// Candidates for being equal: the digest does not see which vertices are read.
    known: HashMap<(InstructionDigest, Option<VertexId>), Vec<VertexId>>,
    /// Steps that are another one's equal.
    also: Vec<(VertexId, Origin)>,
}

impl Vertices {
    /// Adds a vertex, or finds the equal one that is there: same work, platform, place, and use of the cache. The
    /// origin is the first one's.
    pub(super) fn add(&mut self, new: NewVertex) -> VertexId {
        let NewVertex { op, platform, below, origin, no_cache } = new;
        let id = VertexId(u32::try_from(self.list.len()).expect("a file has fewer instructions"));
        let vertex = Vertex { id, op, platform, below, origin, no_cache };
        let candidates = self.known.entry((key::instruction_digest(&vertex), below)).or_default();
        let equal = |id: &&VertexId| {
            let known = &self.list[id.0 as usize];
            known.op == vertex.op
                && known.platform == vertex.platform
                && known.no_cache == vertex.no_cache
        };
        if let Some(id) = candidates.iter().find(equal) {
            if vertex.origin.step.is_some() && self.list[id.0 as usize].origin != vertex.origin {
                self.also.push((*id, vertex.origin));
            }
            return *id;
        }
        candidates.push(id);
        self.list.push(vertex);
        id
    }

    /// Gives a vertex that no instruction made the place of the one that wants it.
    pub(super) fn locate(&mut self, id: VertexId, span: (u32, u32)) {
        self.list[id.0 as usize].origin.span.get_or_insert(span);
    }

    /// A vertex that was added.
    pub(super) fn get(&self, id: VertexId) -> &Vertex {
        &self.list[id.0 as usize]
    }

    /// The graph for what is wanted of it.
    pub(super) fn into_graph(self, targets: Vec<Target>) -> Graph {
        Graph { vertices: self.list, targets, also: self.also }
    }
}
