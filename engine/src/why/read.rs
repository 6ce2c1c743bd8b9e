//! Finds what an earlier build has written down.

use std::path::Path;

use store::Store;

use super::document::BuildLog;
use crate::error::BuildError;

/// The last build of a context, if that one was ever built here; else the last of all. `None` where nothing was built.
///
/// # Errors
/// The store cannot be read.
pub fn last_build(store: &Store, context: &Path) -> Result<Option<BuildLog>, BuildError> {
    use std::os::unix::ffi::OsStrExt as _;

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
