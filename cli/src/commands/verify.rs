//! `shale cache verify`: proof that the store is sound. Changes nothing.

use engine::BuildError;
use store::VerifyDepth;

use super::{Done, Process, print};
use crate::args::VerifyArgs;
use crate::exit::Exit;
use crate::render::plain_text;

/// Names all that is not as it should be; the exit code says whether there is anything.
pub(crate) fn run(process: &mut Process, typed: &VerifyArgs) -> Done {
    if process.engine.is_none() {
        // Files of a step's other users can be read where these users are.
        return process.in_engine(None, None, false);
    }
    let depth = if typed.quick { VerifyDepth::Records } else { VerifyDepth::Contents };
    let problems = process.store()?.verify(depth);
    let problems = problems.map_err(|e| BuildError::store("cannot check the store", e))?;
    let lines = problems
        .iter()
        .map(|problem| format!("{}: {}\n", plain_text(&problem.path), plain_text(&problem.what)));
    print(&lines.collect::<String>())?;
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Failed }.into())
}
