//! The steps of a target as provenance lists them: what each does in BuildKit's words for it, its lines in the
//! Dockerfile, and the layers that make its result (ATT-14, ATT-21).

use std::collections::HashMap;

use ::attest::Step;
use graph::{
    Copy, CopySource, Graph, Mount, MountKind, Network, Op, Run, Security, Target, Vertex,
};
use oci::{Descriptor, Platform};
use parser::SourceText;
use serde_json::{Value, json};

use super::request::told;
use super::sources::reached;

pub(super) fn steps(
    graph: &Graph,
    target: &Target,
    source: &SourceText,
    layers: &[Descriptor],
) -> Vec<Step> {
    let vertices = reached(graph, target);
    let places: HashMap<u32, usize> =
        vertices.iter().enumerate().map(|(at, vertex)| (vertex.id.0, at)).collect();
    let heights = heights(graph, target, layers.len());
    let step = |vertex: &&Vertex| {
        let inputs = vertex.below.into_iter().chain(vertex.op.inputs());
        let lines = vertex.origin.span.map(|(start, end)| {
            (source.position(start).0, source.position(end.saturating_sub(1).max(start)).0)
        });
        let height = heights.get(&vertex.id.0).copied().unwrap_or(0);
        Step {
            inputs: inputs.filter_map(|id| places.get(&id.0).copied()).collect(),
            op: json!({ "Op": op(vertex), "platform": platform(&vertex.platform) }),
            lines,
            layers: layers.get(..height).unwrap_or_default().to_vec(),
        }
    };
    vertices.iter().map(step).collect()
}

/// How many of the image's layers make the result of each vertex that it stands on.
fn heights(graph: &Graph, target: &Target, count: usize) -> HashMap<u32, usize> {
    let mut heights = HashMap::new();
    let (mut at, mut height) = (Some(target.top), count);
    while let Some(id) = at {
        let vertex = graph.vertex(id);
        heights.insert(id.0, height);
        height = height.saturating_sub(usize::from(vertex.op.makes_layer()));
        at = vertex.below;
    }
    heights
}

fn platform(platform: &Platform) -> Value {
    let mut out = json!({ "Architecture": platform.architecture, "OS": platform.os });
    if !platform.variant.is_empty() {
        out["Variant"] = platform.variant.as_str().into();
    }
    out
}

fn op(vertex: &Vertex) -> Value {
    match &vertex.op {
        Op::Scratch => source_op("scratch://"),
        Op::Image(image) => {
            let digest = image.manifest.map(|digest| format!("@{digest}")).unwrap_or_default();
            let name = image.reference.to_string();
            let name = name.split('@').next().unwrap_or(&name);
            source_op(&format!("docker-image://{name}{digest}"))
        }
        Op::Local(local) if local.name.is_empty() => source_op("local://context"),
        Op::Local(local) => source_op(&format!("local://{}", local.name)),
        Op::Http(http) => source_op(&http.url),
        Op::Git(git) => source_op(&format!("git://{}", git.remote)),
        Op::Run(run) => json!({ "exec": exec(run) }),
        Op::Copy(copy) => json!({ "file": { "actions": copies(copy) } }),
        Op::Mkdir(mkdir) => json!({
            "file": { "actions": [{ "Action": { "mkdir": {
                "path": mkdir.path, "mode": 0o755, "makeParents": true,
            } } }] }
        }),
    }
}

fn source_op(identifier: &str) -> Value {
    json!({ "source": { "identifier": identifier } })
}

fn exec(run: &Run) -> Value {
    let variables = run.env.iter().filter(|(name, _)| !planner::is_proxy(name));
    let env: Vec<String> =
        variables.map(|(name, value)| format!("{name}={}", told(name, value))).collect();
    let mut meta = json!({
        "args": run.argv,
        "env": env,
        "cwd": run.workdir,
    });
    if !run.user.is_empty() {
        meta["user"] = run.user.as_str().into();
    }
    if !run.extra_hosts.is_empty() {
        let hosts = run.extra_hosts.iter();
        meta["extraHosts"] = hosts.map(|(name, address)| format!("{name}:{address}")).collect();
    }
    let mounts: Vec<Value> = run.mounts.iter().map(mount).collect();
    let mut out = json!({ "meta": meta, "mounts": mounts });
    match run.network {
        Network::Default => {}
        Network::Host => out["network"] = 1.into(),
        Network::None => out["network"] = 2.into(),
    }
    if run.security == Security::Insecure {
        out["security"] = 1.into();
    }
    out
}

/// Names and places; a secret's value is not even known here (ATT-13).
fn mount(mount: &Mount) -> Value {
    let mut out = json!({ "dest": mount.target, "readonly": mount.read_only });
    match &mount.kind {
        MountKind::Bind { source, .. } => out["selector"] = source.as_str().into(),
        MountKind::Cache { id, .. } => out["cacheOpt"] = json!({ "ID": id }),
        MountKind::Tmpfs { size_bytes } => out["tmpfsOpt"] = json!({ "size": size_bytes }),
        MountKind::Secret { id, required, .. } => {
            out["secretOpt"] = json!({ "ID": id, "optional": !required });
        }
        MountKind::Ssh { id, required, .. } => {
            out["sshOpt"] = json!({ "ID": id, "optional": !required });
        }
    }
    out
}

fn copies(copy: &Copy) -> Vec<Value> {
    let one = |source: &CopySource| match source {
        CopySource::Tree { selection, .. } => {
            json!({ "copy": { "src": selection.path, "dest": copy.dest } })
        }
        CopySource::Http { .. } => json!({ "copy": { "dest": copy.dest } }),
        CopySource::Inline(file) => json!({ "mkfile": { "path": file.name, "dest": copy.dest } }),
    };
    copy.sources.iter().map(|source| json!({ "Action": one(source) })).collect()
}
