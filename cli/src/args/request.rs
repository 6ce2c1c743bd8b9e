//! From what was typed to what is needed: the one conversion of `shale build`'s flags.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::sync::Arc;

use engine::{
    Attestations, BuildRequest, CacheRules, ContextInput, DockerfileInput, Output, OutputDest,
    OutputKind, ProvenanceMode,
};
use graph::Limits;
use planner::{ContextValue, GitForm, LowerRequest, NamedContext, SourcePolicy, parse_git};
use remotecache::{CacheExport, CacheImport, ExportPlace};

use super::call::{self, Call};
use super::values;
use super::{BuildArgs, DockerConfig, Surroundings, UsageError};
use crate::render::Display;

/// What `shale build` is asked to do.
#[derive(Debug)]
pub(crate) struct BuildCommand {
    /// For the engine.
    pub(crate) request: BuildRequest,
    /// Build, or only look at the Dockerfile.
    pub(crate) call: Call,
    /// The progress on standard error.
    pub(crate) display: Display,
    /// Print the image id and nothing else (OUT-42).
    pub(crate) quiet: bool,
    /// Where the image id goes (OUT-40).
    pub(crate) iidfile: Option<PathBuf>,
    /// Where the result's facts go (OUT-41).
    pub(crate) metadata_file: Option<PathBuf>,
    /// What checks have found is to be in that, too.
    pub(crate) metadata_warnings: bool,
    /// Fail rather than run a step in this machine's network (`--network=sandbox`).
    pub(crate) require_network: bool,
    /// Standard input, if it was read: it can be read only once, so the engine's own process gets it handed on.
    pub(crate) stdin: Option<Arc<File>>,
    /// What was asked for and has no effect, a line each.
    pub(crate) warnings: Vec<String>,
}

/// Converts. Reads standard input if it is the context or the Dockerfile; nothing else is read.
pub(crate) fn build_command(
    typed: &BuildArgs,
    config: &DockerConfig,
    around: &Surroundings,
) -> Result<BuildCommand, UsageError> {
    let mut warnings = accepted_without_effect(typed)?;
    warnings.extend(config.warning.clone());
    let mut outputs = outputs(typed, around, &mut warnings)?;
    let (context, dockerfile, stdin) = sources(typed, around)?;
    let (plan, context_dirs) = plan(typed, config, around, &outputs.epoch)?;
    if outputs.outputs.is_empty() && plan.is_index() == Ok(true) {
        // Its id is that of an index, which the build has to make (OUT-40).
        outputs.outputs.push(values::parse_output("type=image", around)?.output);
    }
    check_archives(&outputs.outputs, &plan)?;
    let mut ssh = collect("--ssh", &typed.ssh, |text| values::parse_ssh(text, around))?;
    if typed.ssh.is_empty() && needs_ssh(&context, &plan) && around.raw("SSH_AUTH_SOCK").is_some() {
        // As buildx does it: who names such a repository wants it read. Steps of its Dockerfile that mount the agent
        // get it, too.
        ssh.extend([values::parse_ssh("default", around)?]);
    }
    let cache = caches(typed, &plan, around, &mut warnings)?;
    let attest = attestations(typed, &plan, around)?;
    keep_attested(&attest, &mut outputs, around, &mut warnings)?;
    warnings.extend(left_out(&attest, &outputs.outputs));
    let request = BuildRequest {
        context,
        dockerfile,
        plan,
        context_dirs,
        pull: typed.pull,
        tags: outputs.tags,
        outputs: outputs.outputs,
        secrets: collect("--secret", &typed.secret, |t| values::parse_secret(t, around))?,
        ssh,
        device_dirs: device_dirs(typed, around),
        jobs: typed.jobs.filter(|jobs| *jobs > 0),
        require_isolation: typed.require_isolation,
        engines: super::engine_places(around),
        cache_from: cache.0,
        cache_to: cache.1,
        cache_rules: cache_rules(typed)?,
        attest,
        tool_env: tool_env(around),
    };
    Ok(BuildCommand {
        request,
        call: call::call(typed)?,
        display: display(typed, around)?,
        quiet: typed.quiet,
        iidfile: typed.iidfile.as_ref().map(|path| around.absolute(path)),
        metadata_file: typed.metadata_file.as_ref().map(|path| around.absolute(path)),
        metadata_warnings: around
            .text("BUILDX_METADATA_WARNINGS")
            .is_some_and(|text| values::go_bool(text) == Ok(true)),
        require_network: values::network(typed.network.as_deref().unwrap_or_default())?.1,
        stdin,
        warnings,
    })
}

fn cache_rules(typed: &BuildArgs) -> Result<CacheRules, UsageError> {
    Ok(CacheRules {
        no_cache_from: values::steps("--no-cache-from", &typed.no_cache_from)?,
        max_age: values::max_ages(&typed.max_age)?,
        expect_cached: values::steps("--expect-cached", &typed.expect_cached)?,
    })
}

/// What is to be said of the result, and what the metadata file says of the build (ATT-01, OUT-41).
fn attestations(
    typed: &BuildArgs,
    plan: &LowerRequest,
    around: &Surroundings,
) -> Result<Attestations, UsageError> {
    let short = (typed.provenance.as_deref(), typed.sbom.as_deref());
    let mut wanted = values::attestations(&typed.attest, short, &plan.build_args)?;
    let mode = around.text("BUILDX_METADATA_PROVENANCE").unwrap_or_default();
    wanted.in_metadata = match mode {
        _ if typed.metadata_file.is_none() => None,
        "max" => Some(ProvenanceMode::Max),
        "disabled" => None,
        other => (values::go_bool(other) != Ok(false)).then_some(ProvenanceMode::Min),
    };
    Ok(wanted)
}

/// A name that is to have attestations is one of an index, which the build has to make (OUT-40).
fn keep_attested(
    wanted: &Attestations,
    outputs: &mut Outputs,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<(), UsageError> {
    let is_wanted = wanted.provenance.is_some() || wanted.sbom.is_some();
    match is_wanted && outputs.outputs.is_empty() {
        false => {}
        true if outputs.tags.is_empty() => warnings.push(
            "attestations are kept with an image's name: without -t or --output there are none"
                .to_owned(),
        ),
        true => outputs.outputs.push(values::parse_output("type=image", around)?.output),
    }
    Ok(())
}

/// Outputs that cannot hold what is asked for.
fn left_out(wanted: &Attestations, outputs: &[Output]) -> Option<String> {
    let is_wanted = wanted.sbom.is_some()
        || wanted.provenance.as_ref().is_some_and(|provenance| !provenance.inline_only);
    let mut kinds = outputs.iter().map(|output| output.kind);
    let cannot = kinds.any(|kind| matches!(kind, OutputKind::Docker | OutputKind::Engine));
    (is_wanted && cannot)
        .then(|| "what goes to docker is an image alone, without its attestations".to_owned())
}

/// `--cache-from` and `--cache-to`; BUILDKIT_INLINE_CACHE as a build argument asks for an inline one (CIO-06).
fn caches(
    typed: &BuildArgs,
    plan: &LowerRequest,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<(Vec<CacheImport>, Vec<CacheExport>), UsageError> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for text in typed.cache_from.iter().filter(|text| !text.is_empty()) {
        from.extend(values::parse_cache_from(text, around, warnings)?);
    }
    for text in typed.cache_to.iter().filter(|text| !text.is_empty()) {
        to.extend(values::parse_cache_to(text, around, warnings)?);
    }
    let argument = plan.build_args.iter().rfind(|(name, _)| name == "BUILDKIT_INLINE_CACHE");
    let asked = argument.is_some_and(|(_, value)| values::go_bool(value) == Ok(true));
    if asked && !to.iter().any(|export| matches!(export.place, ExportPlace::Inline)) {
        to.push(CacheExport::new(ExportPlace::Inline));
    }
    Ok((from, to))
}

fn collect<T>(
    flag: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<(String, T), UsageError>,
) -> Result<BTreeMap<String, T>, UsageError> {
    texts.iter().map(|text| parse(text).map_err(|error| error.of_flag(flag, text))).collect()
}

/// Where descriptions of devices lie; the second place is for those made at run time.
fn device_dirs(typed: &BuildArgs, around: &Surroundings) -> Vec<PathBuf> {
    match &typed.cdi_spec_dir[..] {
        [] => ["/etc/cdi", "/var/run/cdi"].map(PathBuf::from).to_vec(),
        given => given.iter().map(|dir| around.absolute(dir)).collect(),
    }
}

/// Flags that are taken for docker build's sake (CLI-46 to CLI-51, CLI-70), and those that come later.
fn accepted_without_effect(typed: &BuildArgs) -> Result<Vec<String>, UsageError> {
    if !typed.policy.is_empty() {
        return Err(UsageError::new("--policy is not supported yet"));
    }
    if !typed.skip_unused_stages {
        let message = "--skip-unused-stages=false: stages that nothing needs are not built"; // CLI-70
        return Err(UsageError::new(message).with_hint("--target STAGE builds one"));
    }
    let ignored = [
        (typed.isolation.is_some(), "--isolation is for Windows and has no effect"),
        (!typed.security_opt.is_empty(), "--security-opt has no effect"),
        (typed.squash, "--squash has no effect: layers stay as they are"),
        (!typed.layers, "--layers=false has no effect: layers are kept"),
    ];
    let said = ignored.into_iter().filter(|(given, _)| *given);
    Ok(said.map(|(_, line)| line.to_owned()).collect())
}

fn display(typed: &BuildArgs, around: &Surroundings) -> Result<Display, UsageError> {
    let asked = typed.progress.as_deref().or(around.text("BUILDKIT_PROGRESS")).unwrap_or("auto");
    let quiet = |display| if typed.quiet { Display::Quiet } else { display };
    match asked {
        "auto" | "" if around.stderr_terminal => Ok(quiet(Display::Tty)),
        "auto" | "" | "plain" => Ok(quiet(Display::Plain)),
        "tty" if around.stderr_terminal => Ok(quiet(Display::Tty)),
        "tty" => Err(UsageError::new("--progress=tty needs a terminal on standard error")),
        "quiet" | "none" => Ok(Display::Quiet),
        "rawjson" => Ok(quiet(Display::RawJson)),
        other => Err(UsageError::new(format!("invalid progress {other:?}"))
            .with_hint("use auto, plain, tty, quiet, none or rawjson")),
    }
}

/// An archive for docker holds one platform; said before anything is built (ERR-73).
fn check_archives(outputs: &[Output], plan: &LowerRequest) -> Result<(), UsageError> {
    let is_for_docker =
        |output: &Output| matches!(output.kind, OutputKind::Docker | OutputKind::Engine);
    let has_several = plan.platforms.iter().any(|platform| *platform != plan.platforms[0]);
    match has_several && outputs.iter().any(is_for_docker) {
        true => Err(UsageError::new(
            "docker exporter does not currently support exporting manifest lists",
        )
        .with_hint("name one platform, or take --output type=oci")),
        false => Ok(()),
    }
}

struct Outputs {
    outputs: Vec<Output>,
    tags: Vec<oci::Reference>,
    epoch: Option<i64>,
}

fn outputs(
    typed: &BuildArgs,
    around: &Surroundings,
    warnings: &mut Vec<String>,
) -> Result<Outputs, UsageError> {
    let mut tags = Vec::new();
    for text in &typed.tag {
        tags.push(values::tag_name(text)?);
    }
    let (mut outputs, mut epoch) = (Vec::new(), None);
    for text in &typed.output {
        let value = values::parse_output(text, around);
        let value = value.map_err(|error| error.of_flag("--output", text))?;
        warnings.extend(value.warnings);
        epoch = epoch.or(value.epoch);
        tags.extend(value.tags);
        outputs.push(value.output);
    }
    if typed.push {
        push_outputs(&mut outputs, around)?;
    }
    if typed.load && !outputs.iter().any(|output| output.kind == OutputKind::Engine) {
        outputs.push(values::parse_output("type=docker", around)?.output);
    }
    if outputs.is_empty() && !typed.annotation.is_empty() {
        outputs.push(values::parse_output("type=image", around)?.output);
    }
    for output in &mut outputs {
        let into = &mut output.annotations;
        typed.annotation.iter().try_for_each(|text| values::add_annotation(text, into))?;
    }
    let pushes = |o: &Output| o.kind == OutputKind::Registry && o.names.is_empty();
    if tags.is_empty() && outputs.iter().any(pushes) {
        return Err(UsageError::new("tag is needed when pushing to registry") // ERR-74
            .with_hint("name the result with -t registry/name:tag"));
    }
    let to_stdout = |o: &&Output| o.dest == Some(OutputDest::Stdout);
    if outputs.iter().filter(to_stdout).count() > 1 {
        return Err(UsageError::new("multiple outputs to standard output")); // OUT-05
    }
    let mut known = BTreeSet::new();
    tags.retain(|tag: &oci::Reference| known.insert(tag.to_string()));
    Ok(Outputs { outputs, tags, epoch })
}

/// `--push`: image outputs are pushed, or there is one more output (OUT-04).
fn push_outputs(outputs: &mut Vec<Output>, around: &Surroundings) -> Result<(), UsageError> {
    let mut pushed = false;
    for output in outputs.iter_mut() {
        if matches!(output.kind, OutputKind::Image | OutputKind::Registry) {
            output.kind = OutputKind::Registry;
            pushed = true;
        }
    }
    if !pushed {
        outputs.push(values::parse_output("type=registry", around)?.output);
    }
    Ok(())
}

/// What decides the graph, and the directories of named contexts.
fn plan(
    typed: &BuildArgs,
    config: &DockerConfig,
    around: &Surroundings,
    epoch: &Option<i64>,
) -> Result<(LowerRequest, BTreeMap<String, PathBuf>), UsageError> {
    if typed.no_cache && !typed.no_cache_filter.is_empty() {
        let message = "--no-cache and --no-cache-filter cannot currently be used together";
        return Err(UsageError::new(message) // CACHE-41
            .with_hint("--no-cache alone is for all stages"));
    }
    let (contexts, context_dirs) = named_contexts(typed, around)?;
    let mut platforms = values::platforms(&typed.platform)?;
    if let (true, Some(default)) = (platforms.is_empty(), around.text("DOCKER_DEFAULT_PLATFORM")) {
        platforms = values::platforms(&[default])?;
    }
    let label = |text: &String| {
        let (name, value) = values::pair(text);
        (name, value.unwrap_or_default())
    };
    let mut allow = Vec::new();
    for text in &typed.allow {
        allow.extend(values::entitlement(text)?);
    }
    let policy = match around.raw("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY") {
        Some(path) => values::read_policy(&around.absolute(path))?,
        None => SourcePolicy::default(),
    };
    let plan = LowerRequest {
        target: typed.target.clone().filter(|target| !target.is_empty()),
        build_args: build_args(typed, config, around),
        platforms,
        labels: typed.label.iter().map(label).collect(),
        no_cache: typed.no_cache,
        no_cache_filter: typed.no_cache_filter.clone(),
        contexts,
        network: values::network(typed.network.as_deref().unwrap_or_default())?.0,
        add_hosts: typed.add_host.iter().map(|t| values::add_host(t)).collect::<Result<_, _>>()?,
        shm_size_bytes: typed.shm_size.as_deref().map(values::size_bytes).transpose()?,
        ulimits: typed.ulimit.iter().map(|t| values::ulimit(t)).collect::<Result<_, _>>()?,
        cgroup_parent: typed.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        limits: limits(typed)?,
        allow,
        epoch: *epoch,
        policy,
        ..LowerRequest::default()
    };
    Ok((plan, context_dirs))
}

/// `--build-arg`, the client's epoch and its proxies (CLI-14, EPO-01, CLI-61).
fn build_args(
    typed: &BuildArgs,
    config: &DockerConfig,
    around: &Surroundings,
) -> Vec<(String, String)> {
    let mut arguments = Vec::new();
    for text in &typed.build_arg {
        let (name, value) = values::pair(text);
        let from_env = || {
            let value = around.vars.get(std::ffi::OsStr::new(&name))?;
            Some(value.to_string_lossy().into_owned())
        };
        if let Some(value) = value.or_else(from_env) {
            arguments.push((name, value));
        }
    }
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    if let Some(epoch) = around.text(EPOCH)
        && !typed.build_arg.iter().any(|text| values::pair(text).0 == EPOCH)
    {
        arguments.push((EPOCH.to_owned(), epoch.to_owned()));
    }
    let proxies = config.proxy_arguments(&arguments);
    arguments.extend(proxies);
    arguments
}

/// `--resource` and the older spellings (CLI-38, CLI-47).
fn limits(typed: &BuildArgs) -> Result<Limits, UsageError> {
    let mut limits = Limits::default();
    let older = [
        ("memory", &typed.memory),
        ("memory-swap", &typed.memory_swap),
        ("cpu-shares", &typed.cpu_shares),
        ("cpu-period", &typed.cpu_period),
        ("cpu-quota", &typed.cpu_quota),
        ("cpuset-cpus", &typed.cpuset_cpus),
        ("cpuset-mems", &typed.cpuset_mems),
    ];
    for (name, value) in older {
        // docker's default of these is zero, which scripts pass on.
        if let Some(value) = value.as_deref().filter(|value| !matches!(*value, "" | "0")) {
            values::limit(&mut limits, name, value)?;
        }
    }
    for text in &typed.resource {
        let (name, value) = values::pair(text);
        let value = value.ok_or_else(|| UsageError::new(format!("invalid resource {text:?}")))?;
        values::limit(&mut limits, &name, &value)?;
    }
    Ok(limits)
}

/// `--build-context`; the last of a name wins. Directories must exist, though they are read when needed (NCTX-12).
fn named_contexts(
    typed: &BuildArgs,
    around: &Surroundings,
) -> Result<(Vec<NamedContext>, BTreeMap<String, PathBuf>), UsageError> {
    let mut contexts: Vec<NamedContext> = Vec::new();
    let mut directories = BTreeMap::new();
    for text in &typed.build_context {
        let context = NamedContext::parse(text).map_err(|error| {
            let causes = crate::render::causes(&error);
            let why = causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
            UsageError::new(format!("{error}{why}")).of_flag("--build-context", text)
        })?;
        directories.remove(&context.name);
        if let ContextValue::Local(path) = &context.value {
            let path = around.absolute(path);
            if let Some(problem) = not_a_directory(&path) {
                let shown = path.display();
                let message =
                    format!("failed to get build context {}: {shown} {problem}", context.name);
                return Err(UsageError::new(message)
                    .of_flag("--build-context", text)
                    .with_hint(CONTEXT_FORMS));
            }
            directories.insert(context.name.clone(), path);
        }
        contexts.retain(|other| other.name != context.name);
        contexts.push(context);
    }
    for context in &mut contexts {
        if let ContextValue::OciLayout(layout) = &mut context.value {
            layout.path = around.absolute(&layout.path).to_string_lossy().into_owned();
        }
    }
    Ok((contexts, directories))
}

/// What a named context may be.
const CONTEXT_FORMS: &str = "name a directory, docker-image://IMAGE, docker-daemon:IMAGE, containers-storage:IMAGE, oci-layout://DIRECTORY, \
     target:STAGE or a URL";

/// Why a path is no directory that can be read; `None` for one.
fn not_a_directory(path: &std::path::Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(facts) if facts.is_dir() => None,
        Ok(_) => Some("is not a directory".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some("does not exist".to_owned())
        }
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

/// The variables that helper programs such as git get, and no others.
fn tool_env(around: &Surroundings) -> Vec<(OsString, OsString)> {
    const NAMES: [&str; 16] = [
        "PATH",
        "HOME",
        "TMPDIR",
        "SSH_AUTH_SOCK",
        "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ];
    let given = NAMES.iter().filter_map(|name| Some((name, around.raw(name)?)));
    given.map(|(name, value)| (name.into(), value.to_owned())).collect()
}

/// Where the context and the Dockerfile come from (spec 5.1), and standard input if one of them does.
fn sources(
    typed: &BuildArgs,
    around: &Surroundings,
) -> Result<(ContextInput, DockerfileInput, Option<Arc<File>>), UsageError> {
    let file = typed.file.as_deref().filter(|file| !file.is_empty());
    if typed.context == "-" && file == Some("-") {
        let message = "invalid argument: can't use stdin for both build context and dockerfile";
        return Err(UsageError::new(message)); // CTX-09
    }
    let stdin = match typed.context == "-" || file == Some("-") {
        true => Some(standard_input(around)?),
        false => None,
    };
    let context = match &stdin {
        Some(stdin) if typed.context == "-" => ContextInput::Stream(stdin.clone()),
        _ => context(&typed.context, around)?,
    };
    let dockerfile = match (file, &context, &stdin) {
        (None, ..) => DockerfileInput::Default,
        (Some("-"), _, Some(stdin)) => DockerfileInput::Text(read_text(stdin)?.into()),
        (Some(url), ..) if is_http(url) => DockerfileInput::Http(url.to_owned()),
        (Some(file), ContextInput::Directory(_), _) => {
            DockerfileInput::File { path: around.absolute(file), shown: file.to_owned() }
        }
        (Some(file), ..) => DockerfileInput::InContext(file.to_owned()), // CTX-15
    };
    Ok((context, dockerfile, stdin))
}

fn context(text: &str, around: &Surroundings) -> Result<ContextInput, UsageError> {
    let path = around.absolute(text);
    if !text.is_empty() && path.is_dir() {
        return Ok(ContextInput::Directory(path));
    }
    match parse_git(text, GitForm::Context).filter(|_| !path.exists()) {
        Some(Ok(_)) => return Ok(ContextInput::Git(text.to_owned())), // CTX-13
        Some(Err(error)) => {
            return Err(UsageError::new(format!("unable to prepare context: {text}: {error}")));
        }
        None => {}
    }
    if is_http(text) {
        return Ok(ContextInput::Http(text.to_owned()));
    }
    let problem =
        |what: &str| UsageError::new(format!("unable to prepare context: path {text:?} {what}"));
    if path.exists() {
        let archive = "to build from an archive, give it on standard input and name the context -";
        return Err(problem("is not a directory").with_hint(archive));
    }
    Err(problem("not found")) // CTX-02
}

fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Whether a context is a repository that is reached by ssh.
fn needs_ssh(context: &ContextInput, plan: &LowerRequest) -> bool {
    let by_ssh = |remote: &str| remote.starts_with("ssh://") || !remote.contains("://");
    let main = match context {
        ContextInput::Git(text) => parse_git(text, GitForm::Context).and_then(Result::ok),
        _ => None,
    };
    let named = plan.contexts.iter().filter_map(|context| match &context.value {
        ContextValue::Git(git) => Some(git),
        _ => None,
    });
    main.iter().chain(named).any(|git| by_ssh(&git.remote))
}

/// All of standard input as a file that can be read again; in the engine's own process the one that it was handed.
fn standard_input(around: &Surroundings) -> Result<Arc<File>, UsageError> {
    let failed =
        |error: std::io::Error| UsageError::new(format!("cannot read standard input: {error}"));
    let file = match &around.stdin_copy {
        Some(copy) => copy.clone(),
        None => {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let memory = rustix::fs::memfd_create("standard input", flags);
            let mut file = File::from(memory.map_err(|errno| failed(errno.into()))?);
            std::io::copy(&mut std::io::stdin().lock(), &mut file).map_err(failed)?;
            Arc::new(file)
        }
    };
    (&*file).rewind().map_err(failed)?;
    Ok(file)
}

fn read_text(mut file: &File) -> Result<Vec<u8>, UsageError> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(|error| UsageError::new(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests;
