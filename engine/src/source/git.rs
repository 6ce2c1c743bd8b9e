//! Git repositories: the remote is asked once in a build, and fetched when files of a commit are needed.

use std::sync::{Arc, Mutex};

use context::{GitCheckout, GitRequest, HttpAuth, ResolvedGit};
use graph::GitSource;
use tree::Tree;

use super::{credentials, new_ingest, one_at_a_time, remote_error};
use crate::error::BuildError;
use crate::facts::Checkout;
use crate::session::Session;
use crate::stop::{Stop, lock};
use crate::value::{GitTree, Value};

/// The agent that git is given (ADD-63).
const SSH_AGENT: &str = "default";

/// Finds the commit of an ADD.
pub(crate) fn look(session: &Session, source: &GitSource) -> Result<Value, Stop> {
    let resolved = resolve(session, source)?;
    let files = Mutex::default();
    Ok(Value::Git(Arc::new(GitTree { source: source.clone(), resolved, files })))
}

/// The files of a commit, fetched at the first need.
pub(crate) fn files(session: &Session, git: &GitTree) -> Result<Arc<dyn Tree>, Stop> {
    let mut files = lock(&git.files);
    if let Some(files) = &*files {
        return Ok(files.clone());
    }
    session.worker()?;
    let tree: Arc<dyn Tree> = Arc::new(checkout(session, &git.source)?.tree);
    *files = Some(tree.clone());
    Ok(tree)
}

/// When the commit was made (EPO-04).
pub(crate) fn time(session: &Session, source: &GitSource) -> Result<Option<i64>, BuildError> {
    Ok(Some(checkout(session, source)?.commit_time.secs))
}

/// Which commit a reference means; the remote is asked once in a build (ADD-61).
fn resolve(session: &Session, source: &GitSource) -> Result<ResolvedGit, BuildError> {
    one_at_a_time(session, &source.remote, || {
        if let Some(known) = lock(&session.facts).resolved(source) {
            return Ok(known.clone());
        }
        let home = new_ingest(session)?;
        let ask = |request: &GitRequest<'_>| context::resolve_git(request, home.path());
        let resolved = with_request(session, source, ask)?;
        lock(&session.facts).learn_resolved(source, resolved.clone());
        Ok(resolved)
    })
}

fn with_request<T>(
    session: &Session,
    source: &GitSource,
    work: impl FnOnce(&GitRequest<'_>) -> Result<T, context::ContextError>,
) -> Result<T, BuildError> {
    let auth: Option<HttpAuth> = credentials::of_remote(session, &source.remote)?;
    let agent = session.request.ssh.get(SSH_AGENT);
    let socket = |agent| session.agents.socket(SSH_AGENT, agent, || new_ingest(session));
    let agent = agent.map(socket).transpose()?;
    let request = GitRequest {
        source,
        auth: auth.as_ref(),
        ssh_agent: agent.as_deref(),
        env: &session.request.tool_env,
        cancel: &session.cancel,
    };
    work(&request).map_err(|error| remote_error(session, error))
}

/// Fetches a repository into a directory that lasts as long as the build; the process that does the work gets the
/// directory of the one that looked up.
pub(crate) fn checkout(session: &Session, source: &GitSource) -> Result<GitCheckout, BuildError> {
    let known = lock(&session.facts).checkout(source).cloned();
    if let Some(Checkout { path, commit_time }) = known {
        return context::open_git(source, commit_time, &path).map_err(|e| remote_error(session, e));
    }
    let resolved = resolve(session, source)?;
    let ingest = new_ingest(session)?;
    let into = ingest.path().join("git");
    std::fs::create_dir(&into).map_err(|e| BuildError::io("cannot prepare a git checkout", e))?;
    let checkout =
        with_request(session, source, |request| context::fetch_git(request, &resolved, &into))?;
    let known = Checkout { path: into, commit_time: checkout.commit_time };
    lock(&session.facts).learn_checkout(source, known, Arc::new(ingest));
    Ok(checkout)
}
