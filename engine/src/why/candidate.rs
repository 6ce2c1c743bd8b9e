//! Earlier results as a step that runs is compared with them.
//!
//! Owns what is known of each. Refuses to know which one is nearest (`compare` does).

use graph::{LayerId, Stack};
use store::CacheRecord;

use super::history::Predecessor;

/// An earlier result, or a step that was tried before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidate {
    pub(crate) step: String,
    /// Empty when it has no result.
    pub(crate) created: String,
    pub(crate) inputs: Vec<(String, String)>,
    /// They are those of the instruction alone.
    pub(super) partial: bool,
    /// The stack of the result and the layer of its own.
    pub(crate) result: Option<(Stack, Option<LayerId>)>,
}

impl Candidate {
    pub(crate) fn of_record(record: &CacheRecord) -> Candidate {
        Candidate {
            step: record.step.clone(),
            created: record.created.clone(),
            inputs: record.inputs.clone(),
            partial: false,
            result: Some((record.stack.clone(), record.layer)),
        }
    }

    /// A step of an earlier build of which there is no record.
    pub(crate) fn of_step(earlier: &Predecessor) -> Candidate {
        Candidate {
            step: earlier.step.text.clone(),
            created: earlier.started.clone(),
            inputs: earlier.step.inputs.clone(),
            partial: earlier.step.inputs_partial,
            result: None,
        }
    }
}

/// Earlier results, and which of them the comparison is with.
#[derive(Clone, Default)]
pub(crate) struct Candidates {
    pub(crate) list: Vec<Candidate>,
    /// The first is that of the last build: no other is wanted.
    pub(crate) has_last: bool,
}
