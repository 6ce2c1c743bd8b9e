//! The graph itself.

use std::sync::Arc;

use oci::{ImageConfig, Platform};

use crate::Op;

/// Index of a vertex in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VertexId(pub u32);

/// Everything that has to be made for the wanted targets. Vertices come after their inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The vertices; equal ones are one vertex (STG-11).
    pub vertices: Vec<Vertex>,
    /// What is wanted: one for each platform, in the order asked.
    pub targets: Vec<Target>,
    /// Other places of the file that a vertex stands for: steps that are equal are one vertex, whose origin is the
    /// first one's.
    pub also: Vec<(VertexId, Origin)>,
}

impl Graph {
    /// The vertex with this id.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.0 as usize]
    }
}

/// One unit of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Vertex {
    /// Its own index.
    pub id: VertexId,
    /// What is done.
    pub op: Op,
    /// The platform that it is done for: programs of this platform run.
    pub platform: Platform,
    /// The vertex on whose stack this one puts its layer; `None` for sources and for a copy onto nothing.
    pub below: Option<VertexId>,
    /// Where it comes from.
    pub origin: Origin,
    /// Existing results must not be used (CACHE-40). Never set for WORKDIR and sources.
    pub no_cache: bool,
}

/// Where a vertex comes from, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// What the progress shows: `[build 2/5] RUN make` (INS-09, INS-10).
    pub name: String,
    /// Name of the stage, `stage-0` for an unnamed one; empty for what belongs to no stage.
    pub stage: String,
    /// Which step of its stage it is, counted from 1 as in the name; `None` for what is no step of a stage.
    pub step: Option<u32>,
    /// Bytes of the instruction in the Dockerfile, start and end; `None` for what has no instruction.
    pub span: Option<(u32, u32)>,
    /// Text of the ONBUILD trigger, when the vertex comes from one; the span is then the FROM line's.
    pub trigger: Option<String>,
}

impl Origin {
    /// The step's name without `[stage i/n] `: `RUN make`. Another instruction in the file does not change it.
    pub fn text(&self) -> &str {
        match self.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
            Some((place, text)) if place.contains('/') => text,
            _ => &self.name,
        }
    }
}

/// What the build is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The platform of the result.
    pub platform: Platform,
    /// The vertex whose stack is the result's file system.
    pub top: VertexId,
    /// The config without `created`, `history` and `rootfs` of its own: these three are the base image's, as a start.
    pub config: Arc<ImageConfig>,
    /// One entry for each instruction since the base image, in order.
    pub history: Vec<PlannedHistory>,
}

/// A history entry whose time is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHistory {
    /// The instruction's text (INS-02, INS-03).
    pub created_by: String,
    /// The vertex that makes the layer; `None` for an entry without one.
    pub vertex: Option<VertexId>,
}
