//! Finds what earlier builds have written down.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use store::{Project, Store};

use super::document::BuildLog;
use crate::error::BuildError;
use crate::request::{BuildRequest, ContextInput, DockerfileInput};

/// Earlier builds that are looked into.
const LOGS_MAX: usize = 8;

/// The last build of a context, if that one was ever built here; else the last of all. `None` where nothing was built.
///
/// # Errors
/// The store cannot be read.
pub fn last_build(store: &Store, context: &Path) -> Result<Option<BuildLog>, BuildError> {
    let failed = |e| BuildError::store("cannot read what builds have written down", e);
    let names = store.build_logs().map_err(failed)?;
    let context = context.canonicalize().unwrap_or_else(|_| context.to_owned());
    let is_own =
        |name: &store::BuildLogName| name.project.is_of_context(context.as_os_str().as_bytes());
    let (own, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_own);
    for name in own.iter().chain(&others) {
        let bytes = store.build_log(name).map_err(failed)?;
        if let Some(log) = bytes.and_then(|bytes| BuildLog::from_json(&bytes)) {
            return Ok(Some(log));
        }
    }
    Ok(None)
}

/// The last builds of the same Dockerfile and context, the newest first.
pub(super) fn earlier_builds(request: &BuildRequest, store: &Store) -> Vec<BuildLog> {
    let (_, project) = project(request);
    // What cannot be read only makes an answer less exact.
    let names = store.build_logs().unwrap_or_default();
    let own = names.into_iter().filter(|name| name.project == project).take(LOGS_MAX);
    own.filter_map(|name| BuildLog::from_json(&store.build_log(&name).ok()??)).collect()
}

/// What names the context of a build, and what names it together with the Dockerfile.
pub(super) fn project(request: &BuildRequest) -> (Vec<u8>, Project) {
    let context = match &request.context {
        ContextInput::Nothing => b"-".to_vec(),
        ContextInput::Directory(dir) => {
            let dir = dir.canonicalize().unwrap_or_else(|_| dir.clone());
            dir.as_os_str().as_bytes().to_vec()
        }
        ContextInput::Stream(_) => b"standard input".to_vec(),
        ContextInput::Git(text) => planner::without_user(text).into_bytes(),
        ContextInput::Http(url) => planner::without_user(url).into_bytes(),
    };
    let dockerfile = match &request.dockerfile {
        DockerfileInput::Default => b"Dockerfile".to_vec(),
        DockerfileInput::File { path, .. } => {
            let in_context = match &request.context {
                ContextInput::Directory(dir) => path.strip_prefix(dir).ok(),
                _ => None,
            };
            in_context.unwrap_or(path).as_os_str().as_bytes().to_vec()
        }
        DockerfileInput::InContext(path) => path.clone().into_bytes(),
        DockerfileInput::Text(_) => b"-".to_vec(),
        DockerfileInput::Http(url) => url.clone().into_bytes(),
    };
    let project = Project::new(&context, &dockerfile);
    (context, project)
}
