//! What a step reads, as label and digest, and what people call it.
//!
//! Owns the labels that records carry: `instruction: ENV FOO`, `files: src`, `remote: URL`, `text`, `below`. A record
//! of one machine is compared with a step of another by them, so they name no number of a step and no host path.

use std::cell::OnceCell;

use graph::{
    CopySource, Graph, InlineFile, Op, Origin, Selection, StackIdentity, TreeDigest, Vertex,
    VertexId,
};
use oci::{Digest, Hasher};
use planner::key::{self, ContentSource};
use tree::Tree;

use crate::finish;
use crate::stack_tree;
use crate::stop::Stop;
use crate::value::Value;
use crate::work::Work;

/// One thing that a step reads.
pub(crate) struct Input {
    pub(crate) label: String,
    /// `None` for what cannot be read here: it is neither the same nor different.
    pub(crate) digest: Option<Digest>,
    pub(crate) what: What,
}

/// What kind of thing it is.
pub(crate) enum What {
    /// A part of the instruction.
    Part,
    /// Heredocs.
    Text,
    /// Selected files.
    Files(Files),
    /// What is at a URL, or a commit.
    Remote(String),
    /// What lies below, with its digest taken apart.
    Below(Option<StackIdentity>),
}

/// Selected files and how their paths are shown.
pub(crate) struct Files {
    input: VertexId,
    selection: Selection,
    /// What is put before each path.
    prefix: Prefix,
    /// What people call all of it: `src`, `/part in stage lib`.
    pub(crate) name: String,
    /// Where it is, to be put behind a path: ` in stage build`; empty for the build context.
    pub(crate) place: String,
    /// Made once, when somebody asks.
    listing: OnceCell<Option<(TreeDigest, Vec<u8>)>>,
}

enum Prefix {
    /// A directory, before the name that was picked.
    Before(Vec<u8>),
    /// A path, instead of the name that was picked.
    Instead(Vec<u8>),
}

/// All that a step reads. `contents` are as [`key::content_sources`] says, or not known yet.
pub(crate) fn of(work: &Work, contents: Option<&[Digest]>) -> Vec<Input> {
    let mut inputs = parts(work.vertex());
    if let Some(contents) = contents {
        inputs.extend(outside(work, contents));
        inputs.extend(inside(work));
    }
    inputs
}

/// As records have them.
pub(crate) fn labelled(inputs: &[Input]) -> Vec<(String, String)> {
    let known = |input: &Input| Some((input.label.clone(), input.digest?.to_string()));
    inputs.iter().filter_map(known).collect()
}

/// The name of a part from the label of an input that is one.
pub(crate) fn part_name(label: &str) -> Option<&str> {
    label.strip_prefix("instruction: ")
}

fn parts(vertex: &Vertex) -> Vec<Input> {
    let parts = key::instruction_parts(vertex).into_iter();
    let mut inputs: Vec<Input> = parts
        .map(|part| Input {
            label: format!("instruction: {}", part.name),
            digest: Some(part.digest),
            what: What::Part,
        })
        .collect();
    let text = own_text(vertex);
    inputs.extend(text.map(|digest| Input {
        label: "text".to_owned(),
        digest: Some(digest),
        what: What::Text,
    }));
    inputs
}

/// Contexts, URLs and commits.
fn outside(work: &Work, contents: &[Digest]) -> Vec<Input> {
    let sources = key::content_sources(&work.graph, work.vertex());
    let input = |(source, digest): (ContentSource, &Digest)| match source {
        ContentSource::Local { input, selection } => {
            files(&work.graph, input, selection, Some(*digest))
        }
        ContentSource::Http { input } | ContentSource::Git { input } => {
            let name = source_name(&work.graph.vertex(input).origin).to_owned();
            Input {
                label: format!("remote: {name}"),
                digest: Some(*digest),
                what: What::Remote(name),
            }
        }
    };
    sources.into_iter().zip(contents).map(input).collect()
}

/// Stacks: what is copied or mounted from elsewhere, and what is below.
fn inside(work: &Work) -> Vec<Input> {
    let uses = key::input_uses(&work.graph, work.vertex());
    let mut inputs: Vec<Input> = uses
        .into_iter()
        .map(|one| {
            let tree = tree_of(work, one.input);
            let digest = tree.and_then(|tree| tree::digest_selection(&*tree, &one.selection).ok());
            files(&work.graph, one.input, one.selection, digest.map(|digest| digest.0))
        })
        .collect();
    if let Some(below) = work.below()
        && key::counts_below(work.vertex())
    {
        let identity = finish::identity(&work.session, below).ok();
        let dated = |stack: &StackIdentity| key::dated(&work.graph, work.vertex(), stack.clone());
        let digest = identity.as_ref().map(|stack| one_digest(&dated(stack)));
        let what = What::Below(identity);
        inputs.push(Input { label: "below".to_owned(), digest, what });
    }
    inputs
}

fn files(graph: &Graph, input: VertexId, selection: Selection, digest: Option<Digest>) -> Input {
    let named = Named::of(graph, input, &selection);
    let name = named.whole();
    let Named { prefix, place, .. } = named;
    let files = Files { input, selection, prefix, place, name, listing: OnceCell::new() };
    Input { label: format!("files: {}", files.name), digest, what: What::Files(files) }
}

impl Files {
    /// The listing of what is selected now.
    pub(crate) fn listing(&self, work: &Work) -> Option<&(TreeDigest, Vec<u8>)> {
        let make = || tree::list_selection(&*tree_of(work, self.input)?, &self.selection).ok();
        self.listing.get_or_init(make).as_ref()
    }

    /// A path of the listing as people know it; not made safe to print.
    pub(crate) fn shown(&self, path: &[u8]) -> String {
        let path = match &self.prefix {
            Prefix::Before(dir) => tree::join(dir, path),
            Prefix::Instead(name) => {
                let below = path.iter().position(|b| *b == b'/').map(|at| &path[at + 1..]);
                tree::join(name, below.unwrap_or_default())
            }
        };
        match path.is_empty() {
            true => ".".to_owned(),
            false => String::from_utf8_lossy(&path).into_owned(),
        }
    }
}

fn tree_of(work: &Work, input: VertexId) -> Option<std::sync::Arc<dyn Tree>> {
    let opened: Result<_, Stop> = match work.value(input) {
        Value::Stack(stack) => stack_tree::open(&work.session, stack, work.number()),
        Value::Tree(tree) => Ok(tree.clone()),
        Value::Git(_) | Value::Http(_) => return None,
    };
    opened.ok()
}

/// How people call a path that a step reads: of a context as they wrote it, else with the stage or image it is in.
struct Named {
    path: String,
    prefix: Prefix,
    place: String,
    /// The place when all of it is meant.
    all: String,
}

impl Named {
    fn of(graph: &Graph, input: VertexId, selection: &Selection) -> Named {
        let vertex = graph.vertex(input);
        // A context is mounted as a copy, and is a base or a stage as another one: people know neither.
        if let Op::Copy(copy) = &vertex.op
            && vertex.below.is_none()
            && vertex.origin.stage.is_empty()
            && let [CopySource::Tree { input, selection: copied, .. }] = &copy.sources[..]
        {
            if copy.dest == "/" {
                return Named::of(graph, *input, selection);
            }
            let inner = Named::of(graph, *input, copied);
            let path = clean(&copied.path);
            return Named { prefix: Prefix::Instead(path.into_bytes()), ..inner };
        }
        let (place, all) = match &vertex.op {
            Op::Local(local) if local.name.is_empty() => {
                (String::new(), "the build context".to_owned())
            }
            Op::Local(local) => {
                (format!(" in context {}", local.name), format!("context {}", local.name))
            }
            _ => {
                let name = match &vertex.op {
                    Op::Image(image) => image.reference.familiar(),
                    _ if vertex.origin.stage.is_empty() => source_name(&vertex.origin).to_owned(),
                    _ => format!("stage {}", vertex.origin.stage),
                };
                (format!(" in {name}"), name)
            }
        };
        // With --parents the names below count from where the kept path begins.
        let picked = match selection.parents {
            true => selection.path.split_once("/./").map_or("", |(base, _)| base),
            false => &selection.path,
        };
        let picked = clean(picked);
        let dir = picked.rsplit_once('/').map_or("", |(dir, _)| dir);
        let prefix = Prefix::Before(dir.as_bytes().to_vec());
        Named { path: clean(&selection.path), prefix, place, all }
    }

    fn whole(&self) -> String {
        match self.path.is_empty() {
            true => self.all.clone(),
            false => format!("{}{}", self.path, self.place),
        }
    }
}

/// A path cleaned as the copy cleans it, without the leading slash; empty for the root.
fn clean(path: &str) -> String {
    let cleaned = pattern::clean(&[b"/", path.as_bytes()].concat());
    String::from_utf8_lossy(&cleaned[1..]).into_owned()
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

/// What a vertex is called where no step is meant: `context lay` of `[context lay] oci-layout://dir`, an image's name.
pub(crate) fn source_name(origin: &Origin) -> &str {
    match origin.name.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((place, _)) if place.starts_with("context ") => place,
        _ => origin.text(),
    }
}

/// One digest for a whole stack.
fn one_digest(identity: &StackIdentity) -> Digest {
    let mut hasher = Hasher::new();
    if let Some(chain) = identity.base {
        hasher.update(chain.0.as_bytes());
    }
    for content in &identity.contents {
        hasher.update(content.0.as_bytes());
    }
    hasher.finish()
}
