//! Files that are no layers: contexts, downloads, git repositories.
//!
//! Owns opening each context once for all that read it, and where fetched files are kept. How they are read and fetched
//! is the context crate's business.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use context::{ContextError, GitRequest, HttpRequest, LocalTree};
use graph::{GitSource, HttpSource};
use pattern::IgnoreRules;
use tree::Tree;

use crate::error::{BuildError, BuildErrorKind};
use crate::facts::Download;
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{GitTree, HttpFile, Value};
use crate::work::Work;

/// Longest download of an ADD or a context.
const DOWNLOAD_MAX_BYTES: u64 = 64 << 30;

/// The tree of a context: the main one has no name and was set when the Dockerfile was loaded.
pub(crate) fn local(session: &Session, name: &str) -> Result<Arc<dyn Tree>, Stop> {
    if let Some(tree) = session.contexts.get(name) {
        return Ok(tree);
    }
    let dir = session.request.context_dirs.get(name).ok_or_else(|| {
        BuildError::new(BuildErrorKind::Files, format!("there is no build context called {name}"))
    })?;
    let ignore = context::load_ignore(dir, None).map_err(|e| context_error(name, e))?;
    let tree: Arc<dyn Tree> = Arc::new(directory(session, dir, ignore)?);
    session.contexts.set(name, tree.clone());
    Ok(tree)
}

/// A directory of this machine with what is remembered of it.
pub(crate) fn directory(
    session: &Session,
    dir: &Path,
    ignore: Option<IgnoreRules>,
) -> Result<LocalTree, BuildError> {
    let cache = session.lease.store().area("stat").join(context::stat_cache_name(dir));
    LocalTree::open(dir, ignore, Some(cache)).map_err(|e| context_error("", e))
}

/// The sentence for a context's failure.
pub(crate) fn context_error(name: &str, error: ContextError) -> BuildError {
    let what = match name {
        "" => "cannot read the build context".to_owned(),
        name => format!("cannot read build context {name}"),
    };
    let kind = match error.kind() {
        context::ErrorKind::Remote => BuildErrorKind::Registry,
        context::ErrorKind::Invalid => BuildErrorKind::Dockerfile,
        _ => BuildErrorKind::Files,
    };
    BuildError::new(kind, what).because(error)
}

/// Downloads the file of an ADD.
pub(crate) fn http(work: &Work, source: &HttpSource) -> Result<Value, Stop> {
    let Download { path, file } = download(&work.session, &source.url, source.checksum)?;
    let tree = context::FileTree::new(
        source.file_name.as_bytes(),
        path,
        (file.size_bytes, file.digest),
        file.mtime,
    );
    let name = tree.file().path.clone();
    let last_modified = file.mtime.map(|mtime| mtime.secs);
    let digest = file.digest;
    Ok(Value::Http(Arc::new(HttpFile { tree: Arc::new(tree), name, digest, last_modified })))
}

/// Downloads a URL, once in a build: the process that does the work gets the file of the one that looked up.
pub(crate) fn download(
    session: &Session,
    url: &str,
    checksum: Option<oci::Digest>,
) -> Result<Download, BuildError> {
    if let Some(known) = lock(&session.facts).download(url)
        && checksum.is_none_or(|checksum| checksum == known.file.digest)
    {
        return Ok(known.clone());
    }
    let ingest = new_ingest(session)?;
    let path = ingest.path().join("download");
    let request = HttpRequest {
        url,
        checksum,
        auth: None,
        known_etag: None,
        size_max_bytes: DOWNLOAD_MAX_BYTES,
    };
    let agent = session.registry.download_agent(url);
    let agent = agent.map_err(|e| BuildError::of(BuildErrorKind::Registry, e))?;
    let file = context::fetch_http(&agent, &request, &path);
    let file = file.map_err(|e| BuildError::of(BuildErrorKind::Registry, e))?;
    let file = file.expect("without a known ETag there is always an answer with content");
    let download = Download { path, file };
    lock(&session.facts).learn_download(url, download.clone(), Arc::new(ingest));
    Ok(download)
}

/// Finds the commit of an ADD.
pub(crate) fn git(work: &Work, source: &GitSource) -> Result<Value, Stop> {
    let commit = commit(&work.session, source)?;
    let files = Mutex::default();
    Ok(Value::Git(Arc::new(GitTree { source: source.clone(), commit, files })))
}

/// The files of a commit, fetched at the first need.
pub(crate) fn git_files(session: &Session, git: &GitTree) -> Result<Arc<dyn Tree>, Stop> {
    let mut files = lock(&git.files);
    if let Some(files) = &*files {
        return Ok(files.clone());
    }
    session.worker()?;
    let tree: Arc<dyn Tree> = Arc::new(checkout(session, &git.source)?.tree);
    *files = Some(tree.clone());
    Ok(tree)
}

/// Which commit a reference means; the remote is asked once in a build (ADD-61).
fn commit(session: &Session, source: &GitSource) -> Result<String, BuildError> {
    if let Some(commit) = lock(&session.facts).commit(source) {
        return Ok(commit.to_owned());
    }
    let commit = context::resolve_git(&git_request(session, source));
    let commit = commit.map_err(|e| BuildError::of(BuildErrorKind::Registry, e))?;
    lock(&session.facts).learn_commit(source, &commit);
    Ok(commit)
}

fn git_request<'a>(session: &'a Session, source: &'a GitSource) -> GitRequest<'a> {
    GitRequest { source, auth: None, env: &session.request.tool_env }
}

/// Fetches a repository into a directory that lasts as long as the build.
pub(crate) fn checkout(
    session: &Session,
    source: &GitSource,
) -> Result<context::GitCheckout, BuildError> {
    let commit = commit(session, source)?;
    let ingest = new_ingest(session)?;
    let into: PathBuf = ingest.path().join("git");
    std::fs::create_dir(&into).map_err(|e| BuildError::io("cannot prepare a git checkout", e))?;
    let checkout = context::fetch_git(&git_request(session, source), &commit, &into);
    let checkout = checkout.map_err(|e| BuildError::of(BuildErrorKind::Registry, e))?;
    session.contexts.keep(ingest);
    Ok(checkout)
}

/// A directory of the store's file system for fetched files.
pub(crate) fn new_ingest(session: &Session) -> Result<store::Ingest, BuildError> {
    let ingest = session.lease.new_ingest();
    ingest.map_err(|e| BuildError::store("cannot make room for fetched files", e))
}
