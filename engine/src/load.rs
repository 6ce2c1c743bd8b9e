//! Finds the Dockerfile and the main context (spec section 5.1).

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parser::SourceText;
use planner::{LowerRequest, without_user};
use tree::Tree;

use crate::error::{BuildError, BuildErrorKind};
use crate::facts::Download;
use crate::internal::{self, Internal};
use crate::request::{BuildRequest, ContextInput, DockerfileInput};
use crate::session::Session;
use crate::source;
use crate::stop::{Stop, Stoppable};

/// Longest Dockerfile.
const DOCKERFILE_MAX_BYTES: u64 = 64 << 20;

/// What was found.
pub(crate) struct Loaded {
    /// The Dockerfile.
    pub(crate) source: SourceText,
    /// The time that `SOURCE_DATE_EPOCH=context` means (EPO-04).
    pub(crate) context_epoch: Option<i64>,
}

/// The Dockerfile's name for people, before it is read. It gets into progress and logs: no password may be in it.
fn shown_name(request: &BuildRequest) -> String {
    match &request.dockerfile {
        DockerfileInput::File { shown, .. } => shown.clone(),
        DockerfileInput::InContext(path) => path.clone(),
        DockerfileInput::Default | DockerfileInput::Text(_) => "Dockerfile".to_owned(),
        DockerfileInput::Http(url) => without_user(url),
    }
}

/// The plan's part of the request with what loading has found.
pub(crate) fn plan_request(session: &Session, loaded: &Loaded) -> LowerRequest {
    let mut request = session.request.plan.clone();
    request.context_epoch = request.context_epoch.or(loaded.context_epoch);
    request
}

/// Reads the Dockerfile and opens the main context.
pub(crate) fn dockerfile(session: &Arc<Session>) -> Result<Loaded, Stop> {
    let mut context = match &session.request.context {
        ContextInput::Directory(dir) => Context::Directory(dir),
        other => Context::Elsewhere(open_context(session, other)?),
    };
    let name = shown_name(&session.request);
    let step = format!("[internal] load build definition from {name}");
    let bytes = internal::step(&session.events, Internal::LoadDockerfile, &step, || {
        definition(session, &mut context, &name)
    })?;
    let (tree, context_epoch) = match context {
        Context::Directory(dir) => (open_directory(session, dir)?, None),
        Context::Elsewhere(found) => (found.tree, found.epoch),
    };
    session.contexts.set("", tree);
    let text = String::from_utf8_lossy(&bytes);
    Ok(Loaded { source: SourceText::new(&name, &text), context_epoch })
}

/// The main context, before its ignore file is known.
enum Context<'a> {
    /// A directory of this machine.
    Directory(&'a Path),
    /// Anything else.
    Elsewhere(Found),
}

/// A context that is no directory of this machine.
struct Found {
    tree: Arc<dyn Tree>,
    /// The context was no tree but the Dockerfile itself.
    dockerfile: Option<Vec<u8>>,
    epoch: Option<i64>,
}

/// The bytes of the Dockerfile.
fn definition(
    session: &Session,
    context: &mut Context<'_>,
    name: &str,
) -> Result<Vec<u8>, BuildError> {
    let directory = match context {
        Context::Directory(dir) if !dir.is_dir() => {
            // CTX-02
            let text = format!("unable to prepare context: path \"{}\" not found", dir.display());
            return Err(BuildError::new(BuildErrorKind::Files, text));
        }
        Context::Directory(dir) => Some(*dir),
        Context::Elsewhere(_) => None,
    };
    match &session.request.dockerfile {
        DockerfileInput::Text(bytes) => Ok(bytes.to_vec()),
        DockerfileInput::File { path, .. } => read_named(directory, path, name),
        DockerfileInput::Http(url) => read_file(&download(session, url)?.path, name),
        DockerfileInput::InContext(path) => {
            let is_stream = matches!(session.request.context, ContextInput::Stream(_));
            if let Context::Elsewhere(Found { dockerfile: Some(_), .. }) = context
                && is_stream
            {
                // CTX-09
                let text =
                    "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles";
                let hint = "give a directory or an archive as the context, or leave out -f";
                let error = BuildError::new(BuildErrorKind::Dockerfile, text);
                return Err(error.with_hint(hint));
            }
            in_context(context, path)
        }
        DockerfileInput::Default => in_context(context, "Dockerfile"),
    }
}

/// A file of the context, or the context itself where that is the Dockerfile (CTX-12). No rule hides it (CTX-21).
fn in_context(context: &mut Context<'_>, path: &str) -> Result<Vec<u8>, BuildError> {
    match context {
        Context::Directory(dir) => read_in_context(dir, Path::new(path), path),
        Context::Elsewhere(found) => match found.dockerfile.take() {
            Some(bytes) => Ok(bytes),
            None => in_tree(found, path),
        },
    }
}

/// A context from elsewhere; what has to be fetched is a step of its own (INS-13).
fn open_context(session: &Arc<Session>, input: &ContextInput) -> Result<Found, Stop> {
    let name = match input {
        ContextInput::Git(text) => format!("[internal] load git source {}", without_user(text)),
        ContextInput::Http(_) => "[internal] load remote build context".to_owned(),
        _ => return open(session, input),
    };
    internal::step(&session.events, Internal::LoadContext, &name, || open(session, input))
}

fn open(session: &Arc<Session>, input: &ContextInput) -> Result<Found, Stop> {
    match input {
        ContextInput::Nothing | ContextInput::Directory(_) => Ok(empty(session, None)?),
        ContextInput::Stream(file) => {
            let mut file =
                file.try_clone().map_err(|e| BuildError::io("cannot read standard input", e))?;
            let rewound = file.seek(SeekFrom::Start(0));
            rewound.map_err(|e| BuildError::io("cannot read standard input", e))?;
            Ok(from_stream(session, file)?)
        }
        ContextInput::Git(text) => {
            let source = planner::parse_git_context(text, &session.request.plan);
            let source = source.ok_or_else(|| {
                BuildError::new(BuildErrorKind::Dockerfile, format!("{text} is no git reference"))
            })?;
            let source =
                source.map_err(|e| BuildError::new(BuildErrorKind::Dockerfile, e.to_string()))?;
            session.request.plan.policy.git(&source).map_err(refused)?;
            let checkout = source::git::checkout(session, &source)?;
            let epoch = Some(checkout.commit_time.secs);
            Ok(Found { tree: Arc::new(checkout.tree), dockerfile: None, epoch })
        }
        ContextInput::Http(url) => {
            let got = download(session, url)?;
            let file = std::fs::File::open(&got.path);
            let file = file.map_err(|e| BuildError::io("cannot read the downloaded context", e))?;
            let mut found = from_stream(session, file)?;
            if let Some(dockerfile) = &found.dockerfile {
                found.tree = alone(session, dockerfile, got.file.mtime)?;
            }
            let epoch = got.file.mtime.map(|mtime| mtime.secs).or(found.epoch);
            Ok(Found { epoch, ..found })
        }
    }
}

/// What a URL of the command line gives, if the policy lets it be used (NCTX-15).
fn download(session: &Session, url: &str) -> Result<Download, BuildError> {
    let wanted = session.request.plan.policy.url(url).map_err(refused)?;
    source::http::download(session, &wanted.url, wanted.checksum)
}

fn refused(message: String) -> BuildError {
    BuildError::new(BuildErrorKind::Dockerfile, message)
}

fn open_directory(session: &Session, dir: &Path) -> Result<Arc<dyn Tree>, BuildError> {
    let beside = match &session.request.dockerfile {
        DockerfileInput::Default => Some(dir.join("Dockerfile")),
        DockerfileInput::File { path, .. } => Some(path.clone()),
        _ => None,
    };
    let rules = match context::load_ignore(dir, beside.as_deref()) {
        Ok(None) => None,
        // A file that is not there is no step.
        read => internal::step(
            &session.events,
            Internal::LoadIgnoreFile,
            "[internal] load .dockerignore",
            || read.map_err(|e| source::context_error("", e)),
        )?,
    };
    let rules = rules.map(|ignore| {
        let rules = ignore.rules.clone();
        session.contexts.set_ignore("", ignore);
        rules
    });
    Ok(Arc::new(source::directory(session, dir, rules)?))
}

/// CTX-08, CTX-12: an archive is the context, anything else is the Dockerfile.
fn from_stream(session: &Session, mut file: std::fs::File) -> Result<Found, BuildError> {
    let unreadable = |e| BuildError::io("cannot read the context", e);
    let mut head = vec![0; ARCHIVE_HEAD_BYTES];
    let mut length = 0;
    while length < head.len() {
        match file.read(&mut head[length..]).map_err(unreadable)? {
            0 => break,
            count => length += count,
        }
    }
    head.truncate(length);
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if !context::looks_like_archive(&head) {
        let bytes = read_whole(file).map_err(|e| unreadable_dockerfile("-", e))?;
        return empty(session, Some(bytes));
    }
    let ingest = source::new_ingest(session)?;
    let into = ingest.path().join("context-files");
    std::fs::create_dir(&into).map_err(unreadable)?;
    // A few bytes can be an archive without end.
    let tree = context::unpack_context(Stoppable { inner: file, cancel: &session.cancel }, &into);
    if session.cancel.is_cancelled() {
        return Err(BuildError::cancelled());
    }
    let tree = tree.map_err(|e| source::context_error("", e))?;
    session.contexts.keep(ingest);
    let epoch = tree.newest().map(|mtime| mtime.secs);
    Ok(Found { tree: Arc::new(tree), dockerfile: None, epoch })
}

/// Enough for a compressed stream's beginning and one tar header in it.
const ARCHIVE_HEAD_BYTES: usize = 64 << 10;

fn empty(session: &Session, dockerfile: Option<Vec<u8>>) -> Result<Found, BuildError> {
    let ingest = source::new_ingest(session)?;
    let dir = ingest.path().join("empty");
    std::fs::create_dir(&dir).map_err(|e| BuildError::io("cannot make an empty context", e))?;
    let tree = context::LocalTree::open(&dir, None, None);
    let tree = tree.map_err(|e| source::context_error("", e))?;
    session.contexts.keep(ingest);
    Ok(Found { tree: Arc::new(tree), dockerfile, epoch: None })
}

/// The context of a Dockerfile from the web: the download itself, called `context` (CTX-12, NCTX-09).
fn alone(
    session: &Session,
    dockerfile: &[u8],
    mtime: Option<layer::Mtime>,
) -> Result<Arc<dyn Tree>, BuildError> {
    let failed = |e| BuildError::io("cannot make the context", e);
    let ingest = source::new_ingest(session)?;
    let dir = ingest.path().join("download");
    std::fs::create_dir(&dir).map_err(failed)?;
    let mut file = std::fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(dir.join("context"));
    let mut file = file.map_err(failed)?;
    file.write_all(dockerfile).map_err(failed)?;
    let secs = mtime.map_or(0, |mtime| u64::try_from(mtime.secs).unwrap_or(0));
    file.set_modified(UNIX_EPOCH + Duration::from_secs(secs)).map_err(failed)?;
    let tree = context::LocalTree::open(&dir, None, None);
    let tree = tree.map_err(|e| source::context_error("", e))?;
    session.contexts.keep(ingest);
    Ok(Arc::new(tree))
}

/// A Dockerfile inside a context that is no directory of this machine; links are followed inside it.
fn in_tree(found: &Found, path: &str) -> Result<Vec<u8>, BuildError> {
    let missing = || not_found(path);
    let open = |path: &str| {
        let resolved = tree::resolve(&*found.tree, path.as_bytes(), true).map_err(|e| {
            BuildError::new(BuildErrorKind::Files, "cannot read the context").because(e)
        })?;
        let Some(resolved) = resolved else { return Ok(None) };
        let file = found.tree.open(&resolved);
        let file = file.map_err(|e| missing().because(e))?;
        read_whole(file).map(Some).map_err(|e| unreadable_dockerfile(path, e))
    };
    if let Some(bytes) = open(path)? {
        return Ok(bytes);
    }
    let lower = path.strip_suffix("Dockerfile").map(|dir| format!("{dir}dockerfile"));
    match lower {
        Some(lower) => open(&lower)?.ok_or_else(missing),
        None => Err(missing()),
    }
}

/// The Dockerfile at a path of this machine. One that lies in the context's directory is the context's: it may be a
/// link (CTX-06) but leads nowhere else, for whoever filled the context may not be who builds it (security.md A6, A13).
/// Any other was named by the user.
fn read_named(context: Option<&Path>, path: &Path, shown: &str) -> Result<Vec<u8>, BuildError> {
    let Some(dir) = context else { return read_file(path, shown) };
    if let Ok(below) = path.strip_prefix(dir)
        && !below.components().any(|part| part == Component::ParentDir)
    {
        return read_in_context(dir, below, shown);
    }
    // Another way to write the same directory.
    let resolved = path.parent().zip(path.file_name()).and_then(|(parent, name)| {
        let below = parent.canonicalize().ok()?.join(name);
        Some(below.strip_prefix(dir.canonicalize().ok()?).ok()?.to_owned())
    });
    match resolved {
        Some(below) => read_in_context(dir, &below, shown),
        None => read_file(path, shown),
    }
}

fn read_in_context(dir: &Path, below: &Path, shown: &str) -> Result<Vec<u8>, BuildError> {
    let failed = |e| unreadable_dockerfile(shown, e);
    let root = std::fs::File::open(dir).map_err(failed)?;
    let read = |path: &Path| {
        sys::read_small(root.as_fd(), path.as_os_str().as_bytes(), DOCKERFILE_MAX_BYTES)
    };
    let mut found = read(below).map_err(|error| match dir.join(below).is_dir() {
        true => unreadable_dockerfile(shown, std::io::ErrorKind::IsADirectory.into()),
        false => failed(error),
    })?;
    if found.is_none() && below.file_name().is_some_and(|name| name == "Dockerfile") {
        found = read(&below.with_file_name("dockerfile")).map_err(failed)?; // CTX-04
    }
    found.ok_or_else(|| not_found(shown))
}

fn read_file(path: &Path, shown: &str) -> Result<Vec<u8>, BuildError> {
    let lower = path
        .file_name()
        .is_some_and(|name| name == "Dockerfile")
        .then(|| path.with_file_name("dockerfile"));
    let path = match lower {
        Some(lower) if !path.exists() && lower.exists() => lower, // CTX-04
        _ => path.to_owned(),
    };
    let failed = |e| unreadable_dockerfile(shown, e);
    let file = match std::fs::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not_found(shown)),
        file => file.map_err(failed)?,
    };
    read_whole(file).map_err(failed)
}

/// All of a Dockerfile; a part of one would be another one.
fn read_whole(file: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(DOCKERFILE_MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > DOCKERFILE_MAX_BYTES {
        true => Err(rustix::io::Errno::FBIG.into()),
        false => Ok(bytes),
    }
}

/// A directory is no failure of files: the command line names the wrong thing.
fn unreadable_dockerfile(shown: &str, error: std::io::Error) -> BuildError {
    let text = format!("failed to read dockerfile: open {shown}");
    match error.kind() {
        std::io::ErrorKind::IsADirectory => {
            BuildError::new(BuildErrorKind::Dockerfile, text + ": is a directory")
                .with_hint("name the file in it with -f")
        }
        _ => BuildError::io(text, error),
    }
}

/// CTX-05, ERR-71
fn not_found(shown: &str) -> BuildError {
    let text = format!("failed to read dockerfile: open {shown}: no such file or directory");
    BuildError::new(BuildErrorKind::Dockerfile, text)
        .with_hint("name it with -f, or give the directory it is in as the context")
}
