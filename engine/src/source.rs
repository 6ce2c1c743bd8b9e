//! Files that are no layers: contexts, downloads, git repositories.
//!
//! Owns opening each context once for all that read it, and where fetched files are kept. How they are read and fetched
//! is the context crate's business.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use context::{ContextError, GitRequest, HttpRequest, LocalTree};
use graph::{GitSource, HttpSource};
use pattern::IgnoreRules;
use tree::Tree;

use crate::error::{BuildError, BuildErrorKind};
use crate::session::{Session, Stop, lock};
use crate::value::{GitTree, HttpFile, Value};
use crate::work::Work;

/// Longest download of an ADD or a context.
const DOWNLOAD_MAX_BYTES: u64 = 64 << 30;

/// The contexts of a build, each opened once (design D5), and the directories that are theirs until its end.
#[derive(Default)]
pub(crate) struct Contexts {
    trees: Mutex<HashMap<String, Arc<dyn Tree>>>,
    kept: Mutex<Vec<store::Ingest>>,
}

impl Contexts {
    /// Gives a context its tree.
    pub(crate) fn set(&self, name: &str, tree: Arc<dyn Tree>) {
        lock(&self.trees).insert(name.to_owned(), tree);
    }

    /// Keeps a directory until the build ends.
    pub(crate) fn keep(&self, ingest: store::Ingest) {
        lock(&self.kept).push(ingest);
    }
}

/// The tree of a context: the main one has no name and was set when the Dockerfile was loaded.
pub(crate) fn local(session: &Session, name: &str) -> Result<Arc<dyn Tree>, Stop> {
    let mut trees = lock(&session.contexts.trees);
    if let Some(tree) = trees.get(name) {
        return Ok(tree.clone());
    }
    let dir = session.request.context_dirs.get(name).ok_or_else(|| {
        BuildError::new(BuildErrorKind::Files, format!("there is no build context called {name}"))
    })?;
    let ignore = context::load_ignore(dir, None).map_err(|e| context_error(name, e))?;
    let tree: Arc<dyn Tree> = Arc::new(directory(session, dir, ignore)?);
    trees.insert(name.to_owned(), tree.clone());
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
    let session = &work.session;
    let ingest = new_ingest(session)?;
    let path = ingest.path().join("download");
    let file = download(session, &source.url, source.checksum, &path)?;
    let mtime = file.mtime;
    let tree = context::FileTree::new(
        source.file_name.as_bytes(),
        path,
        (file.size_bytes, file.digest),
        mtime,
    );
    let name = tree.file().path.clone();
    session.contexts.keep(ingest);
    let last_modified = mtime.map(|mtime| mtime.secs);
    let digest = file.digest;
    Ok(Value::Http(Arc::new(HttpFile { tree: Arc::new(tree), name, digest, last_modified })))
}

/// Downloads a URL into a new file.
pub(crate) fn download(
    session: &Session,
    url: &str,
    checksum: Option<oci::Digest>,
    into: &Path,
) -> Result<context::HttpFile, BuildError> {
    let request = HttpRequest {
        url,
        checksum,
        auth: None,
        known_etag: None,
        size_max_bytes: DOWNLOAD_MAX_BYTES,
    };
    let agent = session.registry.download_agent(url);
    let agent = agent.map_err(|e| BuildError::of(BuildErrorKind::Registry, e))?;
    let file = context::fetch_http(&agent, &request, into);
    let file = file.map_err(|e| BuildError::of(BuildErrorKind::Registry, e))?;
    Ok(file.expect("without a known ETag there is always an answer with content"))
}

/// Checks out the commit of an ADD or a context.
pub(crate) fn git(work: &Work, source: &GitSource) -> Result<Value, Stop> {
    let checkout = checkout(&work.session, source)?;
    let tree = Arc::new(checkout.tree);
    Ok(Value::Git(Arc::new(GitTree { tree, commit: checkout.commit })))
}

/// Fetches a repository into a directory that lasts as long as the build.
pub(crate) fn checkout(
    session: &Session,
    source: &GitSource,
) -> Result<context::GitCheckout, BuildError> {
    let failed = |e: ContextError| BuildError::of(BuildErrorKind::Registry, e);
    let request = GitRequest { source, auth: None, env: &session.request.tool_env };
    let commit = context::resolve_git(&request).map_err(failed)?;
    let ingest = new_ingest(session)?;
    let into: PathBuf = ingest.path().join("git");
    std::fs::create_dir(&into).map_err(|e| BuildError::io("cannot prepare a git checkout", e))?;
    let checkout = context::fetch_git(&request, &commit, &into).map_err(failed)?;
    session.contexts.keep(ingest);
    Ok(checkout)
}

/// A directory of the store's file system for fetched files.
pub(crate) fn new_ingest(session: &Session) -> Result<store::Ingest, BuildError> {
    let ingest = session.lease.new_ingest();
    ingest.map_err(|e| BuildError::store("cannot make room for fetched files", e))
}
