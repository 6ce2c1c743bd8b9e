//! Files that are no layers: contexts, downloads, git repositories.
//!
//! Owns opening each context once for all that read it, and where fetched files are kept. How they are read and fetched
//! is the context crate's business.

mod credentials;
pub(crate) mod git;
pub(crate) mod http;

use std::path::Path;
use std::sync::Arc;

use context::{ContextError, LocalTree};
use pattern::IgnoreRules;
use tree::Tree;

use crate::error::{BuildError, BuildErrorKind};
use crate::session::Session;
use crate::stop::{Stop, lock};

/// The tree of a context: the main one has no name and was set when the Dockerfile was loaded.
pub(crate) fn local(session: &Session, name: &str) -> Result<Arc<dyn Tree>, Stop> {
    if let Some(tree) = session.contexts.get(name) {
        return Ok(tree);
    }
    let dir = session.request.context_dirs.get(name).ok_or_else(|| {
        BuildError::new(BuildErrorKind::Files, format!("there is no build context called {name}"))
    })?;
    if !dir.is_dir() {
        let text = format!("cannot read build context {name}: {} is no directory", dir.display());
        let hint = format!("--build-context {name}=DIRECTORY: name one that is there");
        return Err(BuildError::new(BuildErrorKind::Files, text).with_hint(hint).into());
    }
    let ignore = context::load_ignore(dir, None).map_err(|e| context_error(name, e))?;
    let rules = ignore.as_ref().map(|ignore| ignore.rules.clone());
    if let Some(ignore) = ignore {
        session.contexts.set_ignore(name, ignore);
    }
    let tree: Arc<dyn Tree> = Arc::new(directory(session, dir, rules)?);
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

/// What a failed download or fetch is to a build.
fn remote_error(session: &Session, error: ContextError) -> BuildError {
    if session.cancel.is_cancelled() {
        return BuildError::cancelled();
    }
    let needs_agent = error.kind() == context::ErrorKind::NoAgent;
    let failed = BuildError::of(BuildErrorKind::Registry, error);
    match needs_agent {
        true => failed.with_hint("give it with --ssh default, with an ssh-agent running"),
        false => failed,
    }
}

/// Asks about a remote place in turn: two steps that ask at once might get two answers in one build.
fn one_at_a_time<T>(session: &Session, place: &str, ask: impl FnOnce() -> T) -> T {
    let own = lock(&session.asking).entry(place.to_owned()).or_default().clone();
    let _turn = lock(&own);
    ask()
}

/// A directory of the store's file system for fetched files.
pub(crate) fn new_ingest(session: &Session) -> Result<store::Ingest, BuildError> {
    let ingest = session.lease.new_ingest();
    ingest.map_err(|e| BuildError::store("cannot make room for fetched files", e))
}
