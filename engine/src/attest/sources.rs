//! What a target is made of: what it takes from elsewhere, what its steps mount, and whether they have a network.

use std::collections::BTreeMap;

use ::attest::{Dependency, Given, image_purl, mask_urls};
use graph::{Graph, ImageOrigin, ImageSource, MountKind, Network, Op, Target, Vertex, VertexId};
use oci::Reference;

use crate::request::{ContextInput, DockerfileInput};
use crate::session::Session;
use crate::stop::lock;
use crate::value::Value;

/// The vertices that a target is made of, in the graph's order: inputs first.
pub(super) fn reached<'a>(graph: &'a Graph, target: &Target) -> Vec<&'a Vertex> {
    let mut is_reached = vec![false; graph.vertices.len()];
    let mut todo: Vec<VertexId> = vec![target.top];
    while let Some(id) = todo.pop() {
        let seen = &mut is_reached[id.0 as usize];
        if std::mem::replace(seen, true) {
            continue;
        }
        let vertex = graph.vertex(id);
        todo.extend(vertex.op.inputs());
        todo.extend(vertex.below);
    }
    graph.vertices.iter().filter(|vertex| is_reached[vertex.id.0 as usize]).collect()
}

/// What steps mount.
pub(super) struct Mounted {
    pub(super) secrets: Vec<Given>,
    pub(super) ssh: Vec<Given>,
}

/// Secrets and agents by id; one that any step needs is not optional (ATT-13).
pub(super) fn mounted(graph: &Graph, target: &Target) -> Mounted {
    let (mut secrets, mut ssh) = (BTreeMap::new(), BTreeMap::new());
    let runs = reached(graph, target).into_iter().filter_map(|vertex| match &vertex.op {
        Op::Run(run) => Some(run),
        _ => None,
    });
    for mount in runs.flat_map(|run| &run.mounts) {
        let (list, id, required) = match &mount.kind {
            MountKind::Secret { id, required, .. } => (&mut secrets, id, *required),
            MountKind::Ssh { id, required, .. } => (&mut ssh, id, *required),
            _ => continue,
        };
        let optional = list.entry(id.clone()).or_insert(true);
        *optional &= !required;
    }
    let list = |ids: BTreeMap<String, bool>| {
        ids.into_iter().map(|(id, optional)| Given { id, optional }).collect()
    };
    Mounted { secrets: list(secrets), ssh: list(ssh) }
}

/// Whether no step had a network.
pub(super) fn is_hermetic(graph: &Graph, target: &Target) -> bool {
    let has_network = |vertex: &&Vertex| match &vertex.op {
        Op::Run(run) => run.network != Network::None,
        _ => false,
    };
    !reached(graph, target).iter().any(has_network)
}

/// Names of the directories of this machine that were read.
pub(super) fn locals(session: &Session, graph: &Graph, target: &Target) -> Vec<String> {
    let request = &session.request;
    let is_local = matches!(request.context, ContextInput::Directory(_) | ContextInput::Stream(_));
    let mut names: Vec<String> = Vec::new();
    for vertex in reached(graph, target) {
        match &vertex.op {
            Op::Local(local) if !local.name.is_empty() => names.push(local.name.clone()),
            Op::Local(_) if is_local => names.push("context".to_owned()),
            _ => {}
        }
    }
    let is_remote = matches!(request.context, ContextInput::Git(_) | ContextInput::Http(_));
    let dockerfile = match &request.dockerfile {
        DockerfileInput::Default | DockerfileInput::InContext(_) => !is_remote,
        DockerfileInput::File { .. } | DockerfileInput::Text(_) => true,
        DockerfileInput::Http(_) => false,
    };
    names.extend(dockerfile.then(|| "dockerfile".to_owned()));
    names.sort();
    names.dedup();
    names
}

type ConfigUri = Option<(String, Option<(String, String)>)>;

/// A context that is no local directory: as the document's source, and as something that was taken from elsewhere.
pub(super) fn context(session: &Session) -> (ConfigUri, Option<Dependency>) {
    let (uri, digest) = match &session.request.context {
        ContextInput::Git(text) => {
            let source = planner::parse_git_context(text, &session.request.plan);
            let source = source.and_then(Result::ok);
            let known = source.and_then(|source| {
                lock(&session.facts).resolved(&source).map(|git| git.commit.clone())
            });
            (mask_urls(text), known.map(|commit| commit_digest(&commit)))
        }
        ContextInput::Http(url) => {
            let facts = lock(&session.facts);
            let file = facts.download(url).map(|download| &download.file);
            let digest = file.or(facts.unchanged(url)).map(|file| file.digest);
            (mask_urls(url), digest.map(|digest| ("sha256".to_owned(), digest.hex())))
        }
        ContextInput::Nothing | ContextInput::Directory(_) | ContextInput::Stream(_) => {
            return (None, None);
        }
    };
    let dependency = Dependency { uri: uri.clone(), digest: digest.clone() };
    (Some((uri, digest)), Some(dependency))
}

/// Everything that a target takes from elsewhere (ATT-12).
pub(super) fn dependencies(graph: &Graph, target: &Target, values: &[Value]) -> Vec<Dependency> {
    let one = |vertex: &Vertex| match (&vertex.op, values.get(vertex.id.0 as usize)) {
        (Op::Image(image), _) => Some(image_dependency(image, vertex)),
        (Op::Git(source), Some(Value::Git(git))) => {
            let reference = source.reference.as_ref();
            let uri = match reference.filter(|reference| !reference.is_empty()) {
                Some(reference) => format!("{}#{reference}", source.remote),
                None => source.remote.clone(),
            };
            let digest = Some(commit_digest(&git.resolved.commit));
            Some(Dependency { uri: mask_urls(&uri), digest })
        }
        (Op::Http(source), Some(Value::Http(file))) => {
            let digest = lock(&file.seen).digest.hex();
            let digest = Some(("sha256".to_owned(), digest));
            Some(Dependency { uri: mask_urls(&source.url), digest })
        }
        _ => None,
    };
    reached(graph, target).into_iter().filter_map(one).collect()
}

fn image_dependency(image: &ImageSource, vertex: &Vertex) -> Dependency {
    let kind = match image.origin {
        ImageOrigin::OciLayout { .. } => "oci",
        ImageOrigin::Store | ImageOrigin::Registry | ImageOrigin::Engine { .. } => "docker",
    };
    let uri = image_purl(kind, &as_written(&image.reference), Some(&vertex.platform));
    let digest = image.manifest.map(|digest| ("sha256".to_owned(), digest.hex()));
    Dependency { uri, digest }
}

/// A name without the digest that its tag was resolved to: that stands beside it, and whether the store or a registry
/// resolved it is not to be seen.
fn as_written(reference: &Reference) -> Reference {
    let tagged = reference.tag().map(|tag| format!("{}:{tag}", reference.name()));
    tagged.and_then(|text| text.parse().ok()).unwrap_or_else(|| reference.clone())
}

fn commit_digest(commit: &str) -> (String, String) {
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    (algorithm.to_owned(), commit.to_owned())
}
