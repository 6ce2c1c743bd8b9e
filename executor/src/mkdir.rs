//! WORKDIR: a directory that is there afterwards (WDIR-04 to WDIR-10).

use layer::Mtime;
use sys::Cancel;

use crate::copy::{CopyError, Notes, Root, owner};
use crate::{ExecError, Level, MkdirStep, NewLayer};

const DIR_MODE: u32 = 0o755;

/// Makes the directory and its missing parents for the given owner. One that is there stays as it is.
///
/// # Errors
/// [`ExecError::Files`] when something else is in the way, [`ExecError::User`] for an owner that is not found.
pub(crate) fn mkdir(
    step: &MkdirStep<'_>,
    level: Level,
    cancel: &Cancel,
) -> Result<NewLayer, ExecError> {
    if cancel.is_cancelled() {
        return Err(ExecError::Cancelled);
    }
    let root = Root::open(step.layers, step.ingest, level)?;
    let owner = owner(&step.mkdir.owner, &root)?;
    let path = root.resolve(step.mkdir.path.as_bytes())?;
    if path.exists && !root.is_dir(&path.path)? {
        return Err(CopyError::InTheWay { path: path.path }.into()); // WDIR-07
    }
    let (_, made) = root.make_dirs(&path.path, DIR_MODE, owner)?;
    if let Some(secs) = step.mkdir.epoch {
        root.date(&path.path, Mtime { secs, nanos: 0 })?; // WDIR-10
    }
    let notes = match root.gives_owners() {
        true => Notes::default(),
        false => Notes::of_owners(made, owner),
    };
    Ok(NewLayer { toc: Some(root.finish(&notes)?) })
}

#[cfg(test)]
mod tests;
