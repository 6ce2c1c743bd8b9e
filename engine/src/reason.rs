//! Why a step is not taken from the cache, in a phrase.

use std::collections::BTreeMap;
use std::fmt;

use graph::{CopySource, Graph, InlineFile, Op, StackIdentity, Vertex, VertexId};
use oci::{Digest, Hasher};
use planner::key::{self, ContentSource};
use store::CacheRecord;

use crate::finish;
use crate::work::Work;

/// The reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// A flag says so.
    Forced,
    /// There is no earlier result of this instruction.
    FirstBuild,
    /// This differs from every earlier result.
    Changed(String),
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Forced => f.write_str("--no-cache"),
            Because::FirstBuild => f.write_str("first build"),
            Because::Changed(what) => write!(f, "{what} changed"),
        }
    }
}

/// The difference to the record of this instruction that is nearest: the one with the fewest differing inputs.
pub(crate) fn of(work: &Work, contents: &[Digest], earlier: &[CacheRecord]) -> Because {
    let now = inputs(work, contents);
    let differing = |record: &CacheRecord| {
        let then: BTreeMap<&str, &str> =
            record.inputs.iter().map(|(label, digest)| (label.as_str(), digest.as_str())).collect();
        let changed = |(label, digest): &&(String, String)| {
            then.get(label.as_str()).is_none_or(|old| *old != digest.as_str())
        };
        now.iter().filter(changed).map(|(label, _)| label.clone()).collect::<Vec<_>>()
    };
    let known = earlier.iter().filter(|record| !record.inputs.is_empty());
    let nearest = known.map(differing).min_by_key(Vec::len).unwrap_or_default();
    Because::Changed(nearest.into_iter().next().unwrap_or_else(|| "an input".to_owned()))
}

/// What a record says of its inputs, for people: a label and a digest each.
pub(crate) fn inputs(work: &Work, contents: &[Digest]) -> Vec<(String, String)> {
    let sources = key::content_sources(&work.graph, work.vertex());
    let named = sources.iter().zip(contents).map(|(source, digest)| {
        let label = match source {
            ContentSource::Local { input, selection } => {
                path_in(&work.graph, *input, &selection.path)
            }
            ContentSource::Http { input } | ContentSource::Git { input } => {
                source_name(&work.graph.vertex(*input).origin.name).to_owned()
            }
        };
        (label, digest.to_string())
    });
    let mut inputs: Vec<_> = named.collect();
    inputs.extend(own_text(work.vertex()).map(|text| ("its text".to_owned(), text.to_string())));
    if let Some(below) = work.below()
        && key::counts_below(work.vertex())
    {
        let name = work.vertex().below.map(|id| source_name(&work.graph.vertex(id).origin.name));
        let name = name.filter(|name| !name.is_empty()).unwrap_or("the base").to_owned();
        let dated = |stack| key::dated(&work.graph, work.vertex(), stack);
        let below = finish::identity(&work.session, below).ok();
        inputs.extend(below.map(|stack| (name, one_digest(&dated(stack)))));
    }
    for one in key::input_uses(&work.graph, work.vertex()) {
        let label = path_in(&work.graph, one.input, &one.selection.path);
        let stack = work.value(one.input).stack();
        let identity = stack.and_then(|stack| finish::identity(&work.session, stack).ok());
        inputs.extend(identity.map(|stack| (label, one_digest(&stack))));
    }
    inputs
}

/// Digest of the heredocs of a step, if it has any.
fn own_text(vertex: &Vertex) -> Option<Digest> {
    let files: Vec<&InlineFile> = match &vertex.op {
        Op::Run(run) => run.scripts.iter().collect(),
        Op::Copy(copy) => {
            let inline = copy.sources.iter().filter_map(|source| match source {
                CopySource::Inline(file) => Some(file),
                CopySource::Tree { .. } | CopySource::Http { .. } => None,
            });
            inline.collect()
        }
        _ => Vec::new(),
    };
    if files.is_empty() {
        return None;
    }
    let mut hasher = Hasher::new();
    for file in files {
        hasher.update(Digest::of(&file.content).as_bytes());
    }
    Some(hasher.finish())
}

/// How people call a path that a step reads: of a context as they wrote it, else with the stage or image it is in.
fn path_in(graph: &Graph, input: VertexId, path: &str) -> String {
    let vertex = graph.vertex(input);
    // A context is mounted as a copy, and is a base or a stage as another one: people know neither.
    if let Op::Copy(copy) = &vertex.op
        && vertex.below.is_none()
        && vertex.origin.stage.is_empty()
        && let [CopySource::Tree { input, selection, .. }] = &copy.sources[..]
    {
        let path = if copy.dest == "/" { path } else { &selection.path };
        return path_in(graph, *input, path);
    }
    let (shown, place) = match &vertex.op {
        Op::Local(local) => {
            let shown = path.trim_matches('/');
            let shown = if shown == "." { "" } else { shown };
            match (&*local.name, shown) {
                ("", "") => return "the build context".to_owned(),
                ("", shown) => return shown.to_owned(),
                (name, shown) => (shown, format!("context {name}")),
            }
        }
        _ if vertex.origin.stage.is_empty() => (path, source_name(&vertex.origin.name).to_owned()),
        _ => (path, format!("stage {}", vertex.origin.stage)),
    };
    match shown {
        "" | "/" => place,
        shown => format!("{shown} in {place}"),
    }
}

/// What a vertex is called where no step is meant: `context lay` of `[context lay] oci-layout://dir`, an image's name.
fn source_name(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((place, _)) if place.starts_with("context ") => place,
        _ => without_place(name),
    }
}

/// A step's name without `[stage i/n] `: another instruction in the file must not make it another label.
pub(crate) fn without_place(name: &str) -> &str {
    match name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((place, text)) if place.contains('/') => text,
        _ => name,
    }
}

/// One digest for a whole stack.
fn one_digest(identity: &StackIdentity) -> String {
    let mut hasher = Hasher::new();
    if let Some(chain) = identity.base {
        hasher.update(chain.0.as_bytes());
    }
    for content in &identity.contents {
        hasher.update(content.0.as_bytes());
    }
    hasher.finish().to_string()
}
