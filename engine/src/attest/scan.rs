//! What is in a result's file system: by our own look at package databases, or by a scanner's image that the caller
//! names (ATT-17 to ATT-19).
//!
//! A scanner is a step like any other: in the sandbox, on a file system of its own, with the result mounted for
//! reading, found in the cache when nothing has changed. What it writes is read within bounds.

use std::io::Read as _;
use std::sync::Arc;

use ::attest::{Inventory, SPDX_TYPE, SpdxDocument};
use exporter::Attestation;
use graph::{
    Copy, CopySource, ImageSource, Limits, LocalSource, Mkdir, Mount, MountKind, Network, Op,
    Origin, Run, Security, Selection, Target, Unpack, Vertex, VertexId, Who,
};
use layer::Toc;
use oci::{Descriptor, Digest, Platform};
use parser::ast::{Instruction, Kind};
use planner::Sources as _;
use serde_json::Value as Json;

use super::sources::reached;
use super::{Attesting, TOOL, failed};
use crate::error::{BuildError, BuildErrorKind};
use crate::finish;
use crate::image::ImageSources;
use crate::internal::Internal;
use crate::plan::Plan;
use crate::present;
use crate::request::SbomRequest;
use crate::session::Session;
use crate::stack_tree;
use crate::stop::Stop;
use crate::value::StackValue;

/// The result itself, among what is scanned.
const CORE: &str = "sbom";
const SOURCES: &str = "/run/src";
const OUT: &str = "/run/out";
const END: &str = ".spdx.json";
/// A larger document of a scanner is refused.
const DOCUMENT_MAX_BYTES: u64 = 40 << 20;
/// More than this in all of its documents, too.
const DOCUMENTS_MAX_BYTES: u64 = 160 << 20;

/// What was found for one target.
pub(super) struct Found {
    scans: Vec<Scan>,
    /// Tables of contents of the result's layers, the topmost first.
    tocs: Vec<Arc<Toc>>,
}

enum Scan {
    /// By our own look: the name of what was looked at, and what is there.
    Own(String, Inventory),
    /// By a scanner: name of its file, and the document.
    Document(String, Json),
}

/// Something besides the result that is scanned.
enum Extra {
    Context,
    Stage(VertexId),
}

/// Looks at the file system of a target and at what else is to be scanned.
pub(super) fn look(
    attesting: &Attesting<'_>,
    at: usize,
    request: &SbomRequest,
) -> Result<Found, Stop> {
    let session = attesting.session;
    let target = &attesting.graph().targets[at];
    let empty = StackValue::Present(graph::Stack::default());
    let value = attesting.values[target.top.0 as usize].stack().unwrap_or(&empty);
    let stack = present::ensure(session, value, Internal::Export.vertex())?;
    let mut tocs = finish::tocs(session, &stack.layers)?;
    tocs.reverse();
    let scans = match (&request.generator, attesting.plan.scans.get(at)) {
        (Some(generator), Some(scan)) => {
            let value = attesting.values[scan.0 as usize].stack().unwrap_or(&empty);
            written(session, value, &generator.familiar())?
        }
        _ => own(attesting, value, target)?,
    };
    Ok(Found { scans, tocs })
}

fn own(attesting: &Attesting<'_>, value: &StackValue, target: &Target) -> Result<Vec<Scan>, Stop> {
    let session = attesting.session;
    let open = |value: &StackValue| stack_tree::open(session, value, Internal::Export.vertex());
    let scan = |name: String, tree: &dyn tree::Tree| {
        let inventory = ::attest::scan(tree).map_err(failed)?;
        for unlisted in &inventory.unlisted {
            session.warn(format!("the SBOM does not list {unlisted}"));
        }
        Ok::<_, Stop>(Scan::Own(name, inventory))
    };
    let mut scans = vec![scan(CORE.to_owned(), &*open(value)?)?];
    for (name, extra) in extras(session, attesting.plan, target) {
        let tree = match extra {
            Extra::Context => session.contexts.get(""),
            Extra::Stage(vertex) => {
                let value = attesting.values[vertex.0 as usize].stack();
                value.map(open).transpose()?
            }
        };
        if let Some(tree) = tree {
            scans.push(scan(format!("{CORE}-{name}"), &*tree)?);
        }
    }
    Ok(scans)
}

/// The documents that a scanner has written.
fn written(session: &Arc<Session>, value: &StackValue, name: &str) -> Result<Vec<Scan>, Stop> {
    let tree = stack_tree::open(session, value, Internal::Export.vertex())?;
    let dir = OUT.trim_start_matches('/').as_bytes();
    let unreadable = |what: String| {
        let text = format!("scanner {name} has written {what}");
        Stop::Failed(BuildError::new(BuildErrorKind::Files, text))
    };
    let mut scans = Vec::new();
    let mut all_bytes = 0;
    for (entry, _) in tree.list(dir).map_err(failed)? {
        let file = String::from_utf8_lossy(entry.name()).into_owned();
        let is_file = matches!(entry.kind, layer::EntryKind::File { .. });
        if !is_file || !file.ends_with(END) {
            continue;
        }
        let mut bytes = Vec::new();
        let content = tree.open(&entry.path).map_err(failed)?;
        content.take(DOCUMENT_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > DOCUMENT_MAX_BYTES {
            return Err(unreadable(format!("{file}, which has more than 40 MiB")));
        }
        all_bytes += bytes.len() as u64;
        if all_bytes > DOCUMENTS_MAX_BYTES {
            return Err(unreadable("documents of more than 160 MiB".to_owned()));
        }
        match serde_json::from_slice::<Json>(&bytes) {
            Ok(document) if ::attest::is_spdx(&document) => {
                scans.push(Scan::Document(file, document));
            }
            Ok(_) => return Err(unreadable(format!("{file}, which is no SPDX document"))),
            Err(error) => return Err(unreadable(format!("{file}, which is no JSON: {error}"))),
        }
    }
    match scans.is_empty() {
        true => Err(unreadable(format!("no {OUT}/*{END}"))),
        false => Ok(scans),
    }
}

/// The attestations of what was found, with the layers as they are in one image (ATT-21).
pub(super) fn documents(
    attesting: &Attesting<'_>,
    found: &Found,
    layers: &[Descriptor],
) -> Result<Vec<Attestation>, Stop> {
    let top_first: Vec<&Toc> = found.tocs.iter().map(|toc| &**toc).collect();
    let layer_of = |path: &str| -> Option<Digest> {
        let (index, _) = layer::lookup(&top_first, path.as_bytes())?;
        let place = layers.len().checked_sub(index + 1)?;
        (layers.len() == top_first.len()).then(|| layers[place].digest)
    };
    let none = |_: &str| None;
    let session = attesting.session;
    let name = session.request.tags.first().map(oci::Reference::familiar).unwrap_or_default();
    let one = |scan: &Scan| {
        let (file_name, predicate) = match scan {
            Scan::Own(scanned, inventory) => {
                let is_core = scanned == CORE;
                let shown = if is_core { name.clone() } else { scanned.clone() };
                let document = ::attest::spdx(
                    inventory,
                    &SpdxDocument {
                        name: &shown,
                        created: &attesting.finished_on,
                        tool: TOOL,
                        layer_of: if is_core { &layer_of } else { &none },
                    },
                );
                (format!("{scanned}{END}"), document)
            }
            Scan::Document(file, document) => {
                let mut document = document.clone();
                if file.split('.').next() == Some(CORE) {
                    ::attest::supplement(&mut document, TOOL, &layer_of);
                }
                (file.clone(), document)
            }
        };
        Attestation { predicate_type: SPDX_TYPE.to_owned(), predicate, file_name }
    };
    Ok(found.scans.iter().map(one).collect())
}

/// Puts a scanner's steps into the plan, one for each target.
pub(crate) fn extend_plan(session: &Arc<Session>, plan: &mut Plan) -> Result<(), Stop> {
    let Some(SbomRequest { generator: Some(generator), parameters }) = &session.request.attest.sbom
    else {
        return Ok(());
    };
    let host = Platform::host();
    let resolved = ImageSources { session }.resolve_image(generator, &host).map_err(|error| {
        let text = format!("cannot use scanner {}: {error}", generator.familiar());
        BuildError::new(BuildErrorKind::Registry, text)
    })?;
    let image = ImageSource {
        reference: resolved.reference,
        origin: resolved.origin,
        manifest: resolved.manifest,
        config: resolved.config,
    };
    let targets = plan.graph.targets.clone();
    for target in &targets {
        let extras = extras(session, plan, target);
        let scanner = Scanner { image: &image, name: generator.familiar(), parameters };
        let id = scanner.add(Arc::make_mut(&mut plan.graph), target, extras)?;
        plan.scans.push(id);
    }
    Ok(())
}

struct Scanner<'a> {
    image: &'a ImageSource,
    name: String,
    parameters: &'a [(String, String)],
}

impl Scanner<'_> {
    /// Adds the steps of one scan; gives the one whose file system has the documents.
    fn add(
        &self,
        graph: &mut graph::Graph,
        target: &Target,
        extras: Vec<(String, Extra)>,
    ) -> Result<VertexId, BuildError> {
        let config = &self.image.config.config;
        let words = config.entrypoint.iter().chain(&config.cmd).flatten();
        let argv: Vec<String> = words.cloned().collect();
        if argv.is_empty() {
            let text = format!("scanner {} does not have cmd", self.name);
            return Err(BuildError::new(BuildErrorKind::Dockerfile, text));
        }
        let core = format!("{SOURCES}/core/{CORE}");
        let mut mounts = vec![
            bind(target.top, "/", &core),
            Mount {
                target: "/tmp".to_owned(),
                read_only: false,
                kind: MountKind::Tmpfs { size_bytes: None },
            },
        ];
        let has_extras = !extras.is_empty();
        for (name, extra) in extras {
            let (input, source) = match extra {
                Extra::Stage(vertex) => (vertex, "/"),
                Extra::Context => (context_copy(graph), "/src"),
            };
            mounts.push(bind(input, source, &format!("{SOURCES}/extras/{CORE}-{name}")));
        }
        let mut env: Vec<(String, String)> = Vec::new();
        for pair in &config.env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            env.push((name.to_owned(), value.to_owned()));
        }
        let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.to_owned()));
        set("BUILDKIT_SCAN_DESTINATION", &format!("{OUT}/"));
        set("BUILDKIT_SCAN_SOURCE", &core);
        if has_extras {
            set("BUILDKIT_SCAN_SOURCE_EXTRAS", &format!("{SOURCES}/extras"));
        }
        for (name, value) in self.parameters {
            set(&format!("BUILDKIT_SCAN_{name}"), value);
        }
        let owner = Who { user: config.user.clone(), group: None };
        let image = add(graph, Op::Image(self.image.clone()), None, "");
        let out = Mkdir { path: OUT.to_owned(), owner, epoch: Some(0) };
        let out = add(graph, Op::Mkdir(out), Some(image), "");
        let run = run(argv, env, &config.working_dir, &config.user, mounts);
        let name = format!("[{}] generating sbom using {}", target.platform, self.name);
        Ok(add(graph, Op::Run(run), Some(out), &name))
    }
}

fn run(
    argv: Vec<String>,
    env: Vec<(String, String)>,
    workdir: &str,
    user: &str,
    mounts: Vec<Mount>,
) -> Run {
    Run {
        argv,
        env,
        workdir: if workdir.is_empty() { "/".to_owned() } else { workdir.to_owned() },
        user: user.to_owned(),
        mounts,
        scripts: Vec::new(),
        network: Network::Default,
        security: Security::Sandbox,
        devices: Vec::new(),
        hostname: None,
        extra_hosts: Vec::new(),
        ulimits: Vec::new(),
        shm_size_bytes: None,
        cgroup_parent: None,
        proxy_env: Vec::new(),
        limits: Limits::default(),
    }
}

fn bind(input: VertexId, source: &str, target: &str) -> Mount {
    let kind = MountKind::Bind { input, source: source.to_owned() };
    Mount { target: target.to_owned(), read_only: true, kind }
}

/// The files of the build context as a layer that can be mounted.
fn context_copy(graph: &mut graph::Graph) -> VertexId {
    let local = LocalSource { name: String::new() };
    let known = graph.vertices.iter().find(|v| v.op == Op::Local(local.clone())).map(|v| v.id);
    let input = known.unwrap_or_else(|| add(graph, Op::Local(local), None, ""));
    let selection = Selection { path: "/".to_owned(), itself: true, ..Selection::default() };
    let copy = Copy {
        sources: vec![CopySource::Tree { input, selection, unpack: Unpack::No }],
        dest: "/src".to_owned(),
        dest_is_dir: false,
        chown: None,
        chmod: None,
        link: false,
    };
    add(graph, Op::Copy(copy), None, "[internal] copy / for a scan")
}

fn add(graph: &mut graph::Graph, op: Op, below: Option<VertexId>, name: &str) -> VertexId {
    let id = VertexId(u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX));
    let origin = Origin { name: name.to_owned(), ..Origin::default() };
    let platform = Platform::host();
    graph.vertices.push(Vertex { id, op, platform, below, origin, no_cache: false });
    id
}

/// The context and the stages that the arguments name (ATT-19).
fn extras(session: &Session, plan: &Plan, target: &Target) -> Vec<(String, Extra)> {
    let dockerfile = parser::parse(&plan.source).dockerfile;
    let vertices = reached(&plan.graph, target);
    let own_stage = &plan.graph.vertex(target.top).origin.stage;
    let args = &session.request.plan.build_args;
    let given = |name: &str| args.iter().rfind(|(known, _)| known == name).map(|(_, v)| v.clone());
    let value = |name: &str, instructions: &[Instruction]| {
        let declared = declared(instructions, name)?;
        given(name).or(declared)
    };
    let mut out: Vec<(String, Extra)> = Vec::new();
    for (number, stage) in dockerfile.stages.iter().enumerate() {
        let Kind::From(from) = &stage.from.kind else { continue };
        let named = from.name.as_ref().map(|name| name.text.to_lowercase());
        let stage_name = named.unwrap_or_else(|| format!("stage-{number}"));
        let is_on = |name: &str| {
            let own = value(name, &stage.instructions);
            let global = given(name).or(declared(&dockerfile.global_args, name).flatten());
            own.or(global).is_some_and(|value| is_enabled(&stage_name, &value))
        };
        if *own_stage == stage_name {
            if is_on("BUILDKIT_SBOM_SCAN_CONTEXT") {
                out.push(("context".to_owned(), Extra::Context));
            }
            continue;
        }
        let also = |id: VertexId| {
            let mut others = plan.graph.also.iter();
            others.any(|(other, origin)| *other == id && origin.stage == stage_name)
        };
        let of_stage = vertices.iter().filter(|v| v.origin.stage == stage_name || also(v.id));
        let is_tree = |v: &&&Vertex| v.op.makes_layer() || matches!(v.op, Op::Image(_));
        if let Some(top) = of_stage.filter(is_tree).map(|v| v.id).max_by_key(|id| id.0)
            && is_on("BUILDKIT_SBOM_SCAN_STAGE")
        {
            out.push((stage_name, Extra::Stage(top)));
        }
    }
    out
}

/// Whether an argument is declared, and with which default.
fn declared(instructions: &[Instruction], name: &str) -> Option<Option<String>> {
    let items = instructions.iter().filter_map(|instruction| match &instruction.kind {
        Kind::Arg(arg) => Some(&arg.items),
        _ => None,
    });
    let found = items.flatten().rfind(|(word, _)| word.text == name)?;
    let plain = |word: &parser::ast::Word| word.text.trim_matches(['"', '\'']).to_owned();
    Some(found.1.as_ref().map(plain))
}

/// A switch, or a list of stages.
fn is_enabled(stage: &str, value: &str) -> bool {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
        list => list.split(',').any(|name| name.trim().eq_ignore_ascii_case(stage)),
    }
}
