//! What a build writes down of itself: the form of a build's log in the store.
//!
//! Owns the members and their names (`docs/why.md` describes them). Values of variables, secrets and file contents are
//! never in it: only names and digests.

use serde::{Deserialize, Serialize};

use crate::address::StepPlace;

/// Raised when a reader of the old form would misunderstand the new one.
pub(crate) const FORMAT: u32 = 1;

/// One build, for whoever asks why its steps ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildLog {
    /// The form, 1.
    pub format: u32,
    /// Names the build: a few hexadecimal digits.
    pub id: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// The main context as the command line names it.
    pub context: String,
    /// The Dockerfile as people know it.
    pub dockerfile: String,
    /// Whether the build came to its end.
    pub ok: bool,
    /// Its steps in the order of the file. A step that stands at several places is there several times.
    pub steps: Vec<LoggedStep>,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedStep {
    /// What the progress shows: `[build 2/5] RUN make`.
    pub name: String,
    /// Name of its stage, `stage-0` for an unnamed one.
    pub stage: String,
    /// Which step of the stage, counted from 1.
    pub number: u32,
    /// The instruction: `RUN make`.
    pub text: String,
    /// The first line of the instruction.
    pub line_first: u32,
    /// The last line of the instruction.
    pub line_last: u32,
    /// The platform that it is done for.
    pub platform: String,
    /// Digest of the instruction with all that it says and nothing that it reads; empty for FROM.
    pub instruction: String,
    /// What came of it.
    pub outcome: StepOutcome,
    /// How long it took, or took when it ran, in milliseconds.
    pub took_ms: u64,
    /// Why it ran, in a phrase.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub because: Option<String>,
    /// What it was compared with, if there was anything.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comparison: Option<Comparison>,
    /// What it read, as label and digest; of steps that ran only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub inputs: Vec<(String, String)>,
    /// They are those of the instruction alone: it ended before more was known.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub inputs_partial: bool,
    /// The layer in which its result is, as the store names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Its result was there.
    Cached,
    /// It ran and ended well.
    Ran,
    /// It ran, or was about to, and the build failed with it.
    Failed,
    /// It was stopped since something else failed.
    Canceled,
    /// It would have run, and was expected to be cached.
    Refused,
    /// The build ended before it.
    NotReached,
}

/// A step beside the earlier result that is most like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The earlier step: `RUN make`.
    pub step: String,
    /// When the earlier result was made, RFC 3339; empty when it never was.
    pub created: String,
    /// How many earlier results there were to choose from.
    pub candidates: usize,
    /// It is the one that the last build had, not the one that is most like this one.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub is_last: bool,
    /// What is the same.
    pub same: Vec<Same>,
    /// What is not.
    pub different: Vec<Different>,
    /// Not all that the step reads was compared: what is different decided before it was looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub partial: bool,
}

/// One thing that is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Same {
    /// What people call it.
    pub name: String,
    /// What it is.
    pub kind: InputKind,
}

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Different {
    /// What people call it: `ENV FOO`, `src`, `base image debian:12`, `build:4`.
    pub name: String,
    /// What it is.
    pub kind: InputKind,
    /// Digest of what it was; `None` when it was not there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub old: Option<String>,
    /// Digest of what it is; `None` when it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub new: Option<String>,
    /// For files: what is known of each.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub files: Option<FileList>,
}

/// What a thing is that a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputKind {
    /// A part of the instruction, variables and flags included.
    Instruction,
    /// The text of a heredoc.
    Text,
    /// Files of a context, a stage or an image.
    Files,
    /// What is at a URL, or a commit.
    Remote,
    /// What lies below: the base image or a step before.
    Below,
}

/// Files that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// How many are the same.
    pub same: u64,
    /// How many there are now.
    pub total: u64,
    /// Where they are, to be put behind a path: ` in stage build`; empty for the build context.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub place: String,
    /// Those that differ, the first ones.
    pub entries: Vec<FileDifference>,
    /// How many more differ.
    #[serde(default)]
    pub more: u64,
}

/// One file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDifference {
    /// Its path, as the Dockerfile would name it, in the list's place.
    pub path: String,
    /// Whether it is a directory.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub directory: bool,
    /// How it differs, each one phrase: `content`, `new`, `gone`, `renamed from a`, `mode 0644 -> 0664`.
    pub how: Vec<String>,
}

impl BuildLog {
    /// The document as it is stored.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a log is lists of texts and numbers")
    }

    /// Reads a stored document; `None` when it is none of this form.
    pub(crate) fn from_json(bytes: &[u8]) -> Option<BuildLog> {
        let log: BuildLog = serde_json::from_slice(bytes).ok()?;
        (log.format == FORMAT).then_some(log)
    }

    /// The steps as they can be named.
    pub fn places(&self) -> Vec<StepPlace> {
        let place = |step: &LoggedStep| StepPlace {
            stage: step.stage.clone(),
            number: step.number,
            text: step.text.clone(),
            file: self.dockerfile.clone(),
            lines: parser::LineRange { first: step.line_first, last: step.line_last },
        };
        self.steps.iter().map(place).collect()
    }
}
