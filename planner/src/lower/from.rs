//! What a stage starts from: nothing, another stage, an image, a named context (FROM-07 to FROM-18).

use std::borrow::Cow;
use std::rc::Rc;

use graph::{Copy, CopySource, GitSource, HttpSource, LocalSource, Op, Origin, Selection, Unpack};
use graph::{ImageOrigin, ImageSource, PlannedHistory, VertexId};
use oci::{ImageConfig, Platform, Reference};
use parser::Span;
use parser::ast::Kind;

use super::vertices::NewVertex;
use super::{Lowering, StageState, onbuild};
use crate::outline::BaseKind;
use crate::scope::{DEFAULT_PATH, Variables};
use crate::site::{Fail, Site};
use crate::{
    ContextValue, EngineName, LocalEngine, NamedContext, OciLayout, SourceErrorKind, context_value,
    lint,
};

/// Images asked for so far: a tag means one image during a build (FROM-17).
#[derive(Default)]
pub(super) struct Images {
    named: Vec<(Reference, Platform, ImageSource)>,
    of_engines: Vec<(EngineName, Platform, ImageSource)>,
}

/// How the vertex of an image is called.
pub(super) enum Shown {
    /// By its place as the first step of a stage.
    Stage(usize),
    /// By its name alone.
    Plain,
    /// So.
    Text(String),
}

impl Shown {
    /// As a named context.
    fn image_of(context: &NamedContext, image: &ImageSource) -> Shown {
        let reference = format!("docker-image://{}", image.reference);
        Shown::Text(shown_context(&context.name, &reference))
    }

    fn layout_of(context: &NamedContext, layout: &OciLayout) -> Shown {
        let place = format!("oci-layout://{}", layout.given);
        Shown::Text(shown_context(&context.name, &place))
    }
}

/// A tree that can be read by its vertex.
pub(super) enum Tree {
    /// A vertex with a stack.
    Stack(VertexId),
    /// A context or a repository, which have no layers.
    Source(VertexId),
}

impl Lowering<'_> {
    /// Whether FROM names something outside of the file, which counts as a step (INS-09).
    pub(super) fn names_image(&self, number: usize) -> bool {
        self.variant.bases[number].kind == BaseKind::Image
    }

    /// The state before the first instruction; its triggers are still in the config.
    pub(super) fn base_state(&mut self, number: usize, site: &Site) -> Result<StageState, Fail> {
        let base = self.variant.bases[number].clone();
        let platform = self.variant.platform_of(number).clone();
        match base.kind {
            BaseKind::Stage(below) => {
                let mut state = self.stage(below, site)?.as_ref().clone();
                state.variables.set_all(&state.config);
                Ok(state)
            }
            BaseKind::Scratch => {
                let platform = self.variant.platform.clone(); // PLAT-03: its own flag means nothing
                Ok(empty_state(self.scratch(&platform), &platform))
            }
            BaseKind::Image => {
                let contexts = &self.outline.request.contexts;
                if let Some(context) = context_value::find(contexts, &base.name, &platform) {
                    return self.state_of_context(context, &platform, site);
                }
                let word = self.image_word(number);
                let at_word = |fail: Fail| Box::new(fail.with_label(word, ""));
                let hint = self.hint(&base.name, number);
                let image = self.image_called(&base.name, &platform, site);
                let image = image.map_err(|mut fail| {
                    fail.help = hint.or(fail.help.take()); // FROM-15
                    at_word(fail)
                })?;
                lint::base_platform(self.findings, &base.name, &platform, &image.config, site);
                Ok(self.state_of_image(image, &platform, site, Shown::Stage(number)))
            }
        }
    }

    /// Where the image's name stands in a stage's FROM.
    fn image_word(&self, number: usize) -> Span {
        match &self.outline.file.stages[number].from.kind {
            Kind::From(from) => from.image.span,
            _ => unreachable!("a stage starts with FROM"),
        }
    }

    fn hint(&self, name: &str, number: usize) -> Option<String> {
        let names =
            self.outline.file.stages[..number].iter().filter_map(crate::outline::stage_name);
        let names: Vec<String> = names.collect();
        let known = names.iter().map(String::as_str).chain(["scratch"]);
        parser::suggest(name, known).map(|best| match best {
            "scratch" => "did you mean scratch?".to_owned(),
            stage => format!("did you mean the stage {stage}?"),
        })
    }

    /// The state that a named context is as a base, or instead of a stage (NCTX-05 to NCTX-09).
    pub(super) fn state_of_context(
        &mut self,
        context: &NamedContext,
        platform: &Platform,
        site: &Site,
    ) -> Result<StageState, Fail> {
        let context = &self.by_policy(context, site)?;
        match &context.value {
            ContextValue::Image(reference) => {
                let image = self.image(reference, &context.name, platform, site)?;
                let shown = Shown::image_of(context, &image);
                Ok(self.state_of_image(image, platform, site, shown))
            }
            ContextValue::OciLayout(layout) => {
                let image = self.layout_image(context, layout, platform, site)?;
                let shown = Shown::layout_of(context, layout);
                Ok(self.state_of_image(image, platform, site, shown))
            }
            ContextValue::Engine(name) => {
                let image = self.engine_image(name, platform, site)?;
                let shown = Shown::Text(shown_context(&context.name, &name.to_string()));
                Ok(self.state_of_image(image, platform, site, shown))
            }
            ContextValue::Scratch => Ok(empty_state(self.scratch(platform), platform)),
            ContextValue::Target(target) => {
                let result = self.target_of_context(target, &context.name, site)?;
                Ok(result_as_base(&result))
            }
            ContextValue::Local(_) | ContextValue::Git(_) | ContextValue::Http(_) => {
                let tree = self.tree_of_context(context, platform, site)?;
                let top = self.whole(tree, &context.name);
                self.vertices.locate(top, (site.span.start, site.span.end));
                let mut state = empty_state(top, platform);
                // Every layer has an entry; no instruction stands for this one.
                let created_by = described(context);
                state.history.push(PlannedHistory { created_by, vertex: Some(top) });
                Ok(state)
            }
        }
    }

    /// The tree of a named context for COPY --from and mounts.
    pub(super) fn tree_of_context(
        &mut self,
        context: &NamedContext,
        platform: &Platform,
        site: &Site,
    ) -> Result<Tree, Fail> {
        let context = &self.by_policy(context, site)?;
        match &context.value {
            ContextValue::Image(reference) => {
                let image = self.image(reference, &context.name, platform, site)?;
                let shown = Shown::image_of(context, &image);
                Ok(Tree::Stack(self.image_vertex(image, platform, site, shown)))
            }
            ContextValue::OciLayout(layout) => {
                let image = self.layout_image(context, layout, platform, site)?;
                let shown = Shown::layout_of(context, layout);
                Ok(Tree::Stack(self.image_vertex(image, platform, site, shown)))
            }
            ContextValue::Engine(name) => {
                let image = self.engine_image(name, platform, site)?;
                let shown = Shown::Text(shown_context(&context.name, &name.to_string()));
                Ok(Tree::Stack(self.image_vertex(image, platform, site, shown)))
            }
            ContextValue::Scratch => Ok(Tree::Stack(self.scratch(platform))),
            ContextValue::Target(target) => {
                Ok(Tree::Stack(self.target_of_context(target, &context.name, site)?.top))
            }
            ContextValue::Local(_) => Ok(Tree::Source(self.local(&context.name))),
            ContextValue::Git(git) => {
                let shown = format!("load git source {}", git_name(git));
                let shown = shown_context(&context.name, &shown);
                Ok(Tree::Source(self.named_git(git.clone(), shown, site)?))
            }
            ContextValue::Http(url) => Ok(Tree::Stack(self.http_tree(url, &context.name, site)?)),
        }
    }

    /// A context with what the policy puts in its image's place, which need not be an image (NCTX-15).
    fn by_policy<'c>(
        &self,
        context: &'c NamedContext,
        site: &Site,
    ) -> Result<Cow<'c, NamedContext>, Fail> {
        let ContextValue::Image(reference) = &context.value else {
            return Ok(Cow::Borrowed(context));
        };
        let fail = |message: String| site.error("source-policy", message);
        let Some(new) = self.request().policy.image(reference).map_err(fail)? else {
            return Ok(Cow::Borrowed(context));
        };
        if let Some(name) = new.strip_prefix("local://") {
            let contexts = &self.outline.request.contexts;
            let local = contexts.iter().find(|context| context.name == name);
            let local = local.filter(|local| matches!(local.value, ContextValue::Local(_)));
            let missing = || fail(format!("source policy: there is no directory called {name}"));
            return local.cloned().map(Cow::Owned).ok_or_else(missing);
        }
        let value = ContextValue::parse(&context.name, &new).map_err(|e| fail(e.to_string()))?;
        Ok(Cow::Owned(NamedContext { name: context.name.clone(), value }))
    }

    /// The result of the stage that a context names (NCTX-10).
    fn target_of_context(
        &mut self,
        target: &str,
        context: &str,
        site: &Site,
    ) -> Result<Rc<StageState>, Fail> {
        let number = self.outline.target_named(target).map_err(|hint| {
            let message = format!("failed to find target {target} for context {context}{hint}");
            site.error("unknown-target", message)
        })?;
        self.stage_itself(number, site)
    }

    /// Asks for an image, once in a build.
    pub(super) fn image(
        &mut self,
        reference: &Reference,
        name: &str,
        platform: &Platform,
        site: &Site,
    ) -> Result<ImageSource, Fail> {
        let reference = &self.image_by_policy(reference, site)?;
        let known = self.images.named.iter().find(|(r, p, _)| r == reference && p == platform);
        if let Some((_, _, image)) = known {
            return Ok(image.clone());
        }
        let resolved = self.sources.resolve_image(reference, platform).map_err(|error| {
            let message = resolve_message(name, &reference.to_string(), &error);
            let mut fail = site.error("image-not-resolved", message); // ERR-19
            fail.help = next_step(error.kind, reference.registry());
            fail
        })?;
        let image = resolved.into_source();
        self.images.named.push((reference.clone(), platform.clone(), image.clone()));
        Ok(image)
    }

    /// The image of a name in the Dockerfile: an engine's, else one of the store or a registry.
    pub(super) fn image_called(
        &mut self,
        name: &str,
        platform: &Platform,
        site: &Site,
    ) -> Result<ImageSource, Fail> {
        // Names that variables or a base's triggers make were looked at by nobody yet.
        check_name(name, site)?;
        match EngineName::parse(name) {
            // Whoever made the base would choose what of this machine goes into the image.
            Some(_) if site.trigger.is_some() => {
                let message = format!("a trigger of the base cannot use {name}");
                let help = "engines of this machine are asked for what the Dockerfile and \
                            --build-context name, not for what a base names: write the \
                            instruction into the Dockerfile";
                let fail = site.error("onbuild-trigger", message);
                Err(Box::new(fail.with_help(help)))
            }
            Some(engine) => self.engine_image(&engine, platform, site),
            None => self.image(&parse_name(name, site)?, name, platform, site),
        }
    }

    /// Asks an engine of this machine for an image, once in a build.
    fn engine_image(
        &mut self,
        name: &EngineName,
        platform: &Platform,
        site: &Site,
    ) -> Result<ImageSource, Fail> {
        let shown = name.to_string();
        if let Some(reference) = name.reference() {
            // Rules are on images, wherever they come from (NCTX-15).
            if self.image_by_policy(&reference, site)? != reference {
                let message = format!("source policy: {shown} cannot become another image");
                return Err(site.error("source-policy", message));
            }
        }
        let known = self.images.of_engines.iter().find(|(n, p, _)| n == name && p == platform);
        if let Some((_, _, image)) = known {
            return Ok(image.clone());
        }
        let resolved = self.sources.resolve_in_engine(name, platform).map_err(|error| {
            let mut fail = site.error("image-not-resolved", format!("{shown}: {error}"));
            fail.help = engine_next_step(error.kind, name);
            fail
        })?;
        let image = resolved.into_source();
        self.images.of_engines.push((name.clone(), platform.clone(), image.clone()));
        Ok(image)
    }

    /// The image that the policy lets be used (NCTX-15).
    fn image_by_policy(&self, reference: &Reference, site: &Site) -> Result<Reference, Fail> {
        let fail = |message: String| site.error("source-policy", message);
        let Some(new) = self.request().policy.image(reference).map_err(fail)? else {
            return Ok(reference.clone());
        };
        let image = new.strip_prefix("docker-image://").and_then(|image| image.parse().ok());
        image.ok_or_else(|| {
            fail(format!("source policy: {reference} cannot become {new}, which is no image"))
        })
    }

    fn layout_image(
        &mut self,
        context: &NamedContext,
        layout: &OciLayout,
        platform: &Platform,
        site: &Site,
    ) -> Result<ImageSource, Fail> {
        let resolved = self.sources.resolve_layout(layout, platform).map_err(|error| {
            let message = resolve_message(&context.name, &layout.path, &error);
            let fail = site.error("image-not-resolved", message);
            Box::new(fail.with_help(layout_next_step(error.kind, context, layout)))
        })?;
        Ok(resolved.into_source())
    }

    /// The vertex of an image.
    pub(super) fn image_vertex(
        &mut self,
        image: ImageSource,
        wanted: &Platform,
        site: &Site,
        shown: Shown,
    ) -> VertexId {
        let platform = platform_of(&image.config, wanted);
        let name = match &shown {
            Shown::Stage(number) => {
                let number = *number;
                let own = &self.outline.file.stages[number].instructions;
                let own = own.iter().filter(|i| super::makes_step(&i.kind)).count();
                let triggers = &image.config.config.on_build;
                let triggers = triggers.iter().filter(|text| onbuild::makes_step(text)).count();
                let place = self.place(number, 1, 1 + triggers + own);
                format!("{place}FROM {}", shown_image(&image))
            }
            Shown::Plain => format!("FROM {}", shown_image(&image)),
            Shown::Text(name) => name.clone(),
        };
        let stage = match shown {
            Shown::Stage(number) => self.outline.display_name(number),
            Shown::Plain | Shown::Text(_) => String::new(),
        };
        let origin = Origin {
            name,
            step: (!stage.is_empty()).then_some(1),
            stage,
            span: Some((site.span.start, site.span.end)),
            trigger: site.trigger.clone(),
        };
        let op = Op::Image(image);
        self.vertices.add(NewVertex { op, platform, below: None, origin, no_cache: false })
    }

    fn state_of_image(
        &mut self,
        image: ImageSource,
        wanted: &Platform,
        site: &Site,
        shown: Shown,
    ) -> StageState {
        let mut config = image.config.as_ref().clone();
        let platform = platform_of(&config, wanted);
        let has_path = config.config.env.iter().any(|entry| entry.starts_with("PATH="));
        if !has_path {
            add_path(&mut config);
        }
        if !config.config.working_dir.is_empty() {
            config.config.working_dir = super::workdir::join("/", &config.config.working_dir);
        }
        let variables = Variables::of_config(&config);
        let top = self.image_vertex(image, wanted, site, shown);
        StageState {
            config,
            variables,
            args: Vec::new(),
            top,
            history: Vec::new(),
            platform,
            workdir_seen: false,
        }
    }

    pub(super) fn scratch(&mut self, platform: &Platform) -> VertexId {
        self.vertices.add(NewVertex {
            op: Op::Scratch,
            platform: platform.clone(),
            below: None,
            origin: Origin { name: "FROM scratch".to_owned(), ..Origin::default() },
            no_cache: false,
        })
    }

    /// The build context, or a named directory.
    pub(super) fn local(&mut self, name: &str) -> VertexId {
        let shown = match name {
            "" => "[internal] load build context".to_owned(), // INS-13
            name => shown_context(name, "load from client"),
        };
        self.source(Op::Local(LocalSource { name: name.to_owned() }), shown)
    }

    pub(super) fn git(&mut self, git: GitSource, site: &Site) -> Result<VertexId, Fail> {
        let name = git_name(&git);
        self.named_git(git, name, site)
    }

    fn named_git(&mut self, git: GitSource, name: String, site: &Site) -> Result<VertexId, Fail> {
        let policy = &self.request().policy;
        policy.git(&git).map_err(|message| site.error("source-policy", message))?;
        Ok(self.source(Op::Git(git), name))
    }

    pub(super) fn http(&mut self, http: HttpSource, site: &Site) -> Result<VertexId, Fail> {
        let policy = &self.request().policy;
        let http = policy.http(http).map_err(|message| site.error("source-policy", message))?;
        let name = without_user(&http.url);
        Ok(self.source(Op::Http(http), name))
    }

    /// Sources are the same for every platform.
    fn source(&mut self, op: Op, name: String) -> VertexId {
        self.vertices.add(NewVertex {
            op,
            platform: self.outline.request.build_platform.clone(),
            below: None,
            origin: Origin { name, ..Origin::default() },
            no_cache: false,
        })
    }

    /// A URL as a tree: one file called `context` (NCTX-09).
    fn http_tree(&mut self, url: &str, name: &str, site: &Site) -> Result<VertexId, Fail> {
        let file_name = "context".to_owned();
        let http = HttpSource { url: url.to_owned(), checksum: None, file_name };
        let input = self.http(http, site)?;
        let source = CopySource::Http { input, unpack: Unpack::No };
        let shown = without_user(url);
        let name = shown_context(name, &format!("load {shown}"));
        Ok(self.onto_nothing(source, "/context", name))
    }

    /// All of a tree as a stack.
    fn whole(&mut self, tree: Tree, name: &str) -> VertexId {
        match tree {
            Tree::Stack(vertex) => vertex,
            Tree::Source(input) => {
                let source = tree_source(input, "/");
                self.onto_nothing(source, "/", shown_context(name, "copy"))
            }
        }
    }

    /// A path of a tree for a mount: the vertex with a stack and the path in it. Contexts are read through a copy of
    /// what the mount shows, never in place (design D5).
    pub(super) fn mountable(&mut self, tree: Tree, path: &str) -> (VertexId, String) {
        match tree {
            Tree::Stack(vertex) => (vertex, path.to_owned()),
            Tree::Source(input) => {
                let name = format!("[internal] copy {path} for a mount");
                let vertex = self.onto_nothing(tree_source(input, path), "/src", name);
                (vertex, "/src".to_owned())
            }
        }
    }

    fn onto_nothing(&mut self, source: CopySource, dest: &str, name: String) -> VertexId {
        let copy = Copy {
            sources: vec![source],
            dest: dest.to_owned(),
            dest_is_dir: dest == "/",
            chown: None,
            chmod: None,
            link: false,
        };
        self.source(Op::Copy(copy), name)
    }
}

/// What the history says of a layer that is a named context, in BuildKit's words.
fn described(context: &NamedContext) -> String {
    match &context.value {
        ContextValue::Git(git) => {
            format!("git snapshot for {}", git_name(git))
        }
        ContextValue::Http(url) => format!("http url {}", without_user(url)),
        _ => format!("local source for {}", context.name),
    }
}

/// A remote and its reference, as it may be printed.
fn git_name(git: &GitSource) -> String {
    let remote = without_user(&git.remote);
    match &git.reference {
        Some(reference) => format!("{remote}#{reference}"),
        None => remote,
    }
}

/// A URL without the user and password in it.
pub fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// A finished result as a base: what is in its config stays, its build's own variables do not.
fn result_as_base(result: &StageState) -> StageState {
    StageState {
        variables: Variables::of_config(&result.config),
        args: Vec::new(),
        workdir_seen: false,
        ..result.clone()
    }
}

/// FROM-18. Windows has a PATH of its own.
fn add_path(config: &mut ImageConfig) {
    if config.os != "windows" {
        config.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
}

/// The state without an image (FROM-07).
fn empty_state(top: VertexId, platform: &Platform) -> StageState {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let mut config = ImageConfig {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: text(&platform.variant),
        os_version: text(&platform.os_version),
        ..ImageConfig::default()
    };
    add_path(&mut config);
    config.config.working_dir = "/".to_owned();
    StageState {
        variables: Variables::of_config(&config),
        config,
        args: Vec::new(),
        top,
        history: Vec::new(),
        platform: platform.clone(),
        workdir_seen: false,
    }
}

fn tree_source(input: VertexId, path: &str) -> CopySource {
    let selection = Selection { path: path.to_owned(), ..Selection::default() };
    CopySource::Tree { input, selection, unpack: Unpack::No }
}

/// What an image is made for, if it says so; that is what its programs need.
fn platform_of(config: &ImageConfig, wanted: &Platform) -> Platform {
    match config.os.is_empty() || config.architecture.is_empty() {
        true => wanted.clone(),
        false => config.platform(),
    }
}

/// An image's name in progress.
fn shown_image(image: &ImageSource) -> String {
    match &image.origin {
        ImageOrigin::Engine { name } => name.clone(),
        _ => image.reference.to_string(),
    }
}

/// Reads the name of an image of any kind.
pub(crate) fn check_name(name: &str, site: &Site) -> Result<(), Fail> {
    match EngineName::parse(name) {
        Some(engine) if engine.is_valid() => Ok(()),
        Some(_) => {
            let message = format!("failed to parse stage name {name:?}: invalid reference format");
            Err(site.error("invalid-reference", message))
        }
        None => parse_name(name, site).map(drop),
    }
}

/// Reads the name of an image (FROM-12, ERR-50).
pub(crate) fn parse_name(name: &str, site: &Site) -> Result<Reference, Fail> {
    name.parse().map_err(|error: oci::ParseReferenceError| {
        site.error("invalid-reference", format!("failed to parse stage name {name:?}: {error}"))
    })
}

fn resolve_message(name: &str, full: &str, error: &crate::SourceError) -> String {
    let message = &error.message;
    let tail = match error.kind {
        SourceErrorKind::NotAsked => ": not found",
        SourceErrorKind::NotFound | SourceErrorKind::PassedOver { is_absent: true }
            if !message.ends_with("not found") =>
        {
            ": not found"
        }
        _ => "",
    };
    format!("{name}: failed to resolve source metadata for {full}: {message}{tail}")
}

/// What to do when an image is not to be had, where that depends on the reason.
fn next_step(kind: SourceErrorKind, registry: &str) -> Option<String> {
    match kind {
        SourceErrorKind::Unreachable => Some(format!(
            "look whether {registry} is the right name, whether it runs, and at the network and \
             the proxies of this machine"
        )),
        SourceErrorKind::Untrusted => Some(format!(
            "look at the certificate of {registry}, and at this machine's clock; where its authority is \
                 to be trusted: `shale registry explain {registry}/NAME` shows which files are read"
        )),
        SourceErrorKind::NotAllowed => Some(format!(
            "log in as a user who may have it: `shale login {registry}`; is the name right?"
        )),
        SourceErrorKind::Blocked => {
            Some("`shale registry explain IMAGE` shows which files speak of it".to_owned())
        }
        SourceErrorKind::NotAsked => {
            Some("bring it with `shale pull`, or leave out --pull=never".to_owned())
        }
        SourceErrorKind::PassedOver { .. } => Some(
            "the store has an image of this name: leave out --pull to use it, or take --pull=newer"
                .to_owned(),
        ),
        SourceErrorKind::NotFound | SourceErrorKind::NoDirectory | SourceErrorKind::Other => None,
    }
}

/// The same for an image of an engine.
fn engine_next_step(kind: SourceErrorKind, name: &EngineName) -> Option<String> {
    let (program, variable) = match name.engine {
        LocalEngine::Docker => ("docker", "DOCKER_HOST"),
        LocalEngine::Podman => ("podman", "CONTAINER_HOST"),
    };
    match kind {
        SourceErrorKind::NotFound => Some(format!("`{program} images` lists what is there")),
        SourceErrorKind::Unreachable => {
            Some(format!("start the engine, or name its socket in {variable} (unix:///path)"))
        }
        // No registry is asked: its rights and names do not help here.
        SourceErrorKind::Other => Some(format!(
            "`{program} image inspect {}` shows what the engine says of it",
            name.name
        )),
        _ => None,
    }
}

/// The same for a layout's directory, which the command line names.
fn layout_next_step(kind: SourceErrorKind, context: &NamedContext, layout: &OciLayout) -> String {
    let (name, path, given) = (&context.name, &layout.path, &layout.given);
    match kind {
        SourceErrorKind::NoDirectory => format!(
            "--build-context {name}=oci-layout://{given} names no directory; a relative path starts \
             where shale was called"
        ),
        _ => format!(
            "look at --build-context {name}=oci-layout://DIRECTORY[:TAG][@DIGEST] and at what \
             {path}/index.json lists"
        ),
    }
}

/// A named context as progress shows it (INS-13).
fn shown_context(name: &str, what: &str) -> String {
    format!("[context {name}] {what}")
}
