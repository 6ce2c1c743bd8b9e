//! The parts of an instruction, under names that people know. [`crate::key::instruction_parts`] makes them.
//!
//! Refuses to show a value: a part is its name and a digest, since values may be nobody's business (passwords in ENV).

use oci::Digest;

/// A part of an instruction: `command`, `ENV FOO`, `--mount /cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What people call it.
    pub name: String,
    /// Digest of what it says.
    pub digest: Digest,
}

/// The part that says by which rules keys are made: it changes with shale, not with the Dockerfile.
pub const FORMAT: &str = "shale's cache format";
/// The part that people see as the text of an instruction.
pub const COMMAND: &str = "command";
