//! Whole files to configs, histories, vertices and errors. Expected values come from the specification and from what
//! BuildKit makes of the same files.

mod config;
mod errors;
mod stages;
mod vertices;

use std::sync::Arc;

use graph::{Copy, CopySource, ImageOrigin, Mode, Mount, MountKind, Op, Unpack, Vertex};
use oci::{Digest, ImageConfig, Platform, Reference};
use parser::{Diagnostic, Severity, SourceText};

use super::{Lowered, lower};
use crate::{
    EngineName, Findings, LowerRequest, NamedContext, OciLayout, ResolvedImage, SourceError,
    SourceErrorKind, Sources, TimedSource, outline,
};

/// A few images, each for any platform unless it says so itself.
pub(crate) struct FakeSources;

const IMAGES: [(&str, &str); 10] = [
    ("plain", r#"{"config":{"Env":["PATH=/bin"],"Cmd":["sh"]}}"#),
    ("nopath", r#"{"config":{"Env":["ONLY=this"]}}"#),
    (
        "full",
        concat!(
            r#"{"author":"A","config":{"User":"app","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","B=b c"],"#,
            r#""Entrypoint":["/e"],"Cmd":["x"],"Volumes":{"/v":{}},"WorkingDir":"/srv","Labels":{"a":"1"},"#,
            r#""StopSignal":"SIGQUIT","Healthcheck":{"Test":["CMD","true"]},"Shell":["/bin/ash","-c"]}}"#
        ),
    ),
    (
        "trigger",
        concat!(
            r#"{"config":{"Env":["PATH=/bin"],"OnBuild":["ENV T=yes","COPY --from=parts /p /p","#,
            r#""RUN echo $T $V"]}}"#
        ),
    ),
    ("badtrigger", r#"{"config":{"OnBuild":["RUN --nope x"]}}"#),
    (
        "arm",
        concat!(
            r#"{"architecture":"arm64","os":"linux","variant":"v8","config":{"Env":["PATH=/bin"]},"#,
            r#""rootfs":{"type":"layers","diff_ids":["sha256:"#,
            "1111111111111111111111111111111111111111111111111111111111111111",
            r#""]}}"#
        ),
    ),
    ("legacy", r#"{"config":{"Env":["PATH=/bin"],"OnBuild":["ENV a b"]}}"#),
    ("nest", r#"{"config":{"OnBuild":["ONBUILD RUN x"]}}"#),
    ("taking", r#"{"config":{"OnBuild":["COPY --from=docker-daemon:app:1 / /"]}}"#),
    (
        "mounting",
        r#"{"config":{"OnBuild":["RUN --mount=from=containers-storage:app,target=/x true"]}}"#,
    ),
];

impl Sources for FakeSources {
    fn source_time(&self, source: &TimedSource) -> Result<Option<i64>, SourceError> {
        let at = match source {
            TimedSource::Http(http) => &http.url,
            TimedSource::Git(git) => &git.remote,
        };
        match at.rsplit_once('/').and_then(|(_, time)| time.trim_end_matches(".git").parse().ok()) {
            Some(seconds) => Ok(Some(seconds)),
            None if at.ends_with("/none") => Ok(None),
            None => {
                Err(SourceError { message: format!("{at} is gone"), kind: SourceErrorKind::Other })
            }
        }
    }

    fn resolve_image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        let name = reference.familiar_name();
        let Some((_, text)) = IMAGES.iter().find(|(known, _)| *known == name) else {
            let message = "no such repository".to_owned();
            return Err(SourceError { message, kind: SourceErrorKind::NotFound });
        };
        let mut config = ImageConfig::from_json(text.as_bytes()).expect("the text is a config");
        if config.os.is_empty() {
            config.os.clone_from(&platform.os);
            config.architecture.clone_from(&platform.architecture);
        }
        Ok(ResolvedImage {
            reference: reference.clone(),
            origin: ImageOrigin::Registry,
            manifest: Some(Digest::of(format!("{name} {platform}").as_bytes())),
            config: Arc::new(config),
        })
    }

    fn is_ignored(&self, path: &str) -> bool {
        path == "ignored" || path.starts_with("ignored/")
    }

    fn resolve_layout(
        &self,
        layout: &OciLayout,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        let reference = layout.path.parse().expect("a name");
        self.resolve_image(&reference, platform)
    }

    fn resolve_in_engine(
        &self,
        name: &EngineName,
        platform: &Platform,
    ) -> Result<ResolvedImage, SourceError> {
        let found = self.resolve_image(&name.reference().expect("a name"), platform)?;
        Ok(ResolvedImage { origin: ImageOrigin::Engine { name: name.to_string() }, ..found })
    }
}

pub(crate) fn request() -> LowerRequest {
    LowerRequest { build_platform: Platform::new("linux", "amd64", ""), ..LowerRequest::default() }
}

pub(crate) fn with_args(args: &[(&str, &str)]) -> LowerRequest {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    LowerRequest { build_args: args.iter().map(pair).collect(), ..request() }
}

fn with_contexts(contexts: &[&str]) -> LowerRequest {
    let parse = |text: &&str| NamedContext::parse(text).expect("a context");
    LowerRequest { contexts: contexts.iter().map(parse).collect(), ..request() }
}

pub(crate) fn with_target(target: &str) -> LowerRequest {
    LowerRequest { target: Some(target.to_owned()), ..request() }
}

pub(crate) fn with_platforms(platforms: &[&str]) -> LowerRequest {
    let platforms = platforms.iter().map(|text| text.parse().expect("a platform")).collect();
    LowerRequest { platforms, ..request() }
}

fn build(text: &str, request: &LowerRequest) -> Result<Lowered, Vec<Diagnostic>> {
    let source = SourceText::new("Dockerfile", text);
    let parse = parser::parse(&source);
    let is_error = |d: &Diagnostic| d.severity == Severity::Error;
    if parse.diagnostics.iter().any(is_error) {
        return Err(parse.diagnostics.into_iter().filter(is_error).collect());
    }
    let findings = Findings::new(&parse, &source, request)?;
    let outline = outline(&parse.dockerfile, &source, request, &findings)?;
    outline.images();
    lower(&outline, &FakeSources, &findings)
}

fn lowered(text: &str, request: &LowerRequest) -> Lowered {
    build(text, request).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"))
}

/// The result's config as JSON without PATH, and its history: entries without a layer are in parentheses.
#[track_caller]
fn check(text: &str, request: &LowerRequest, config: &str, history: &[&str]) {
    let lowered = lowered(text, request);
    let target = &lowered.graph.targets[0];
    let mut got = target.config.config.clone();
    got.env.retain(|entry| !entry.starts_with("PATH="));
    let got = serde_json::to_string(&got).expect("a config is JSON");
    assert_eq!(got, config, "{text}");
    let entry = |entry: &graph::PlannedHistory| match entry.vertex {
        Some(_) => entry.created_by.clone(),
        None => format!("({})", entry.created_by),
    };
    let got: Vec<String> = target.history.iter().map(entry).collect();
    assert_eq!(got, history, "{text}");
}

/// The history alone.
#[track_caller]
fn check_history(text: &str, request: &LowerRequest, history: &[&str]) {
    let lowered = lowered(text, request);
    let entries = lowered.graph.targets[0].history.iter();
    let got: Vec<&str> = entries.map(|entry| entry.created_by.as_str()).collect();
    assert_eq!(got, history, "{text}");
}

/// The first error as `first-last: message`, lines left out when there is no place.
#[track_caller]
fn check_error(text: &str, request: &LowerRequest, want: &str) {
    let errors = build(text, request).map(|_| ()).expect_err(text);
    let error = &errors[0];
    let place = error.source.as_ref().zip(error.labels.first()).map(|(source, label)| {
        let lines = source.lines(label.span);
        format!("{}-{}: ", lines.first, lines.last)
    });
    assert_eq!(format!("{}{}", place.unwrap_or_default(), error.message), want, "{text}");
}

/// All vertices, one a line: number, name, what is below, what is done.
#[track_caller]
fn check_vertices(text: &str, request: &LowerRequest, want: &[&str]) {
    let lowered = lowered(text, request);
    let got: Vec<String> = lowered.graph.vertices.iter().map(dump).collect();
    assert_eq!(got, want, "{text}\n{got:#?}");
    for vertex in &lowered.graph.vertices {
        let inputs = vertex.op.inputs().into_iter().chain(vertex.below);
        assert!(inputs.into_iter().all(|input| input < vertex.id), "inputs come first");
    }
}

fn dump(vertex: &Vertex) -> String {
    let below = vertex.below.map(|id| format!(" on {}", id.0)).unwrap_or_default();
    let no_cache = if vertex.no_cache { " no-cache" } else { "" };
    let op = dump_op(&vertex.op);
    format!("{} {}{below}{no_cache}: {op}", vertex.id.0, vertex.origin.name)
}

fn dump_op(op: &Op) -> String {
    match op {
        Op::Scratch => "scratch".to_owned(),
        Op::Image(image) => format!("image {}", image.reference.familiar_name()),
        Op::Local(local) => format!("local {:?}", local.name),
        Op::Http(http) => format!("http {} {}", http.url, http.file_name),
        Op::Git(git) => format!("git {}", git.remote),
        Op::Run(run) => {
            let mounts = run.mounts.iter().map(dump_mount);
            let parts = std::iter::once(format!("run {:?}", run.argv)).chain(mounts);
            parts.collect::<Vec<_>>().join(" ")
        }
        Op::Copy(copy) => dump_copy(copy),
        Op::Mkdir(mkdir) => format!("mkdir {} {:?}", mkdir.path, mkdir.owner.user),
    }
}

fn dump_copy(copy: &Copy) -> String {
    let sources = copy.sources.iter().map(|source| match source {
        CopySource::Tree { input, selection, unpack } => {
            let mut text = format!("{}:{}", input.0, selection.path);
            for (word, on) in [
                ("*", selection.wildcards),
                ("^", selection.parents),
                ("!", !selection.exclude.is_empty()),
                ("~", *unpack == Unpack::Archives),
            ] {
                text += if on { word } else { "" };
            }
            text
        }
        CopySource::Http { input, .. } => format!("{}:", input.0),
        CopySource::Inline(file) => {
            format!("<<{} {:?}", file.name, String::from_utf8_lossy(&file.content))
        }
    });
    let mut parts: Vec<String> = std::iter::once("copy".to_owned()).chain(sources).collect();
    let slash = if copy.dest_is_dir { "/" } else { "" };
    parts.push(format!("to {}{slash}", copy.dest));
    if let Some(who) = &copy.chown {
        parts.push(format!("chown {} {:?}", who.user, who.group));
    }
    match &copy.chmod {
        Some(Mode::Octal(mode)) => parts.push(format!("chmod {mode:o}")),
        Some(Mode::Symbolic(changes)) => parts.push(format!("chmod {} changes", changes.len())),
        None => {}
    }
    if copy.link {
        parts.push("link".to_owned());
    }
    parts.join(" ")
}

fn dump_mount(mount: &Mount) -> String {
    let access = if mount.read_only { "ro" } else { "rw" };
    let kind = match &mount.kind {
        MountKind::Bind { input, source } => format!("bind {}:{source}", input.0),
        MountKind::Cache { namespace, id, sharing, input, source, mode, uid, gid } => {
            let input = input.map(|id| format!(" {}:{source}", id.0)).unwrap_or_default();
            let owner = match (uid, gid, mode) {
                (None, None, None) => String::new(),
                owner => format!(" {owner:?}"),
            };
            format!("cache {namespace}:{id}{owner} {sharing:?}{input}")
        }
        MountKind::Tmpfs { size_bytes } => format!("tmpfs {size_bytes:?}"),
        MountKind::Secret { id, env, mode, required, .. } => {
            format!("secret {id} {env:?} {mode:o} {required}")
        }
        MountKind::Ssh { id, mode, .. } => format!("ssh {id} {mode:o}"),
    };
    format!("[{} {access} {kind}]", mount.target)
}
