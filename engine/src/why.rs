//! Why a step is not taken from the cache: in a phrase while it runs, and written down with all that differs.
//!
//! Owns the comparison of a step with earlier results of its own, the files of both included. Decides no hit, and is
//! asked only when it is decided that a step runs. Nothing of it can fail a build.

mod candidate;
mod compare;
mod document;
mod history;
mod inputs;
pub(crate) mod journal;
mod phrase;
mod read;

use graph::TreeDigest;
use oci::Digest;
use planner::key;
use store::CacheRecord;

use crate::remote;
use crate::work::Work;
use candidate::{Candidate, Candidates};
use compare::Compared;
use history::{History, Predecessor};
use inputs::{Input, What};

pub use document::{
    BuildLog, Comparison, Different, FileDifference, FileList, InputKind, LoggedStep, Same,
    StepOutcome,
};
pub use read::last_build;

/// What the look-up of a step that runs ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// A flag says so.
    Forced,
    /// There is no earlier result of this instruction.
    NoRecord,
    /// What there is was made longer ago than `--max-age` allows.
    TooOld,
    /// There are earlier results, the oldest first, and none fits.
    Changed(Vec<CacheRecord>),
}

/// Says why a step runs, and notes it with all that differs. `contents` are the digests that its keys were made with,
/// if they were made.
pub(crate) fn explain(work: &Work, because: &Because, contents: Option<&[Digest]>) -> String {
    let controls = work.session.controls();
    let explained = match because {
        Because::Forced => {
            Explained::plain(controls.forced_by(work.id, &work.session.request.plan))
        }
        Because::TooOld => Explained::plain(controls.too_old(work.id)),
        Because::NoRecord => without_record(work),
        Because::Changed(records) => changed(work, records, contents),
    };
    let Explained { phrase, comparison, inputs, pending } = explained;
    let is_partial = contents.is_none();
    let said = phrase.clone();
    work.session.journal.note(work.id, |note| {
        note.because = Some(said);
        note.comparison = comparison;
        note.inputs = inputs;
        note.is_partial = is_partial;
        note.pending = pending;
    });
    phrase
}

/// What earlier builds say of the steps of this one.
fn history(work: &Work) -> &History {
    let session = &work.session;
    session.journal.history(&session.request, session.lease.store())
}

struct Explained {
    phrase: String,
    comparison: Option<Comparison>,
    inputs: Vec<(String, String)>,
    pending: Option<Candidates>,
}

impl Explained {
    fn plain(phrase: impl Into<String>) -> Explained {
        let phrase = phrase.into();
        Explained { phrase, comparison: None, inputs: Vec::new(), pending: None }
    }
}

/// Nothing was made by just this instruction: it is new, it was edited, it failed, or its result is gone.
fn without_record(work: &Work) -> Explained {
    let inputs = inputs::of(work, None);
    let history = history(work);
    let Some(earlier) = history.predecessor(work.id) else {
        let phrase = match remote::is_imported(&work.session) {
            true => "not in the imported cache",
            false if history.is_new(work.id) => "new step",
            false => "first build",
        };
        return Explained { inputs: inputs::labelled(&inputs), ..Explained::plain(phrase) };
    };
    let candidates = of_predecessor(work, earlier);
    let is_same = earlier.step.instruction == key::instruction_digest(work.vertex()).0.hex();
    let partial = compare::with_nearest(work, &inputs, &candidates, true);
    let phrase = match is_same {
        true => unfinished(earlier).unwrap_or("result was pruned").to_owned(),
        false => {
            let said = partial.as_ref().and_then(in_words);
            said.unwrap_or_else(|| "instruction changed".to_owned())
        }
    };
    Explained {
        phrase,
        comparison: partial.map(|compared| compared.document),
        inputs: inputs::labelled(&inputs),
        pending: Some(candidates),
    }
}

fn in_words(compared: &Compared) -> Option<String> {
    phrase::of(&compared.document.different, &compared.below)
}

/// Why a step of an earlier build has no result, if it has none.
fn unfinished(earlier: &Predecessor) -> Option<&'static str> {
    match earlier.step.outcome {
        StepOutcome::Failed => Some("it failed in the last build"),
        StepOutcome::Canceled => Some("it did not end in the last build"),
        StepOutcome::Cached | StepOutcome::Ran | StepOutcome::Refused | StepOutcome::NotReached => {
            None
        }
    }
}

/// There are results of this instruction, of other files or on another base.
fn changed(work: &Work, records: &[CacheRecord], contents: Option<&[Digest]>) -> Explained {
    let inputs = inputs::of(work, contents);
    let earlier = history(work).predecessor(work.id);
    let instruction = key::instruction_digest(work.vertex()).0.hex();
    let last = earlier.filter(|earlier| earlier.step.instruction == instruction);
    let candidates = ordered(records, last, false);
    let compared = compare::with_nearest(work, &inputs, &candidates, contents.is_none());
    let is_related = |compared: &Compared| {
        last.is_some() || remote::is_imported(&work.session) || compared.is_related()
    };
    if !compared.as_ref().is_none_or(is_related) {
        return without_record(work);
    }
    let without_difference = || {
        let unfinished = last.filter(|_| candidates.has_last).and_then(unfinished);
        let labelled = inputs::labelled(&inputs);
        unfinished.map_or_else(|| not_usable(work, records, &labelled), str::to_owned)
    };
    let phrase = match &compared {
        None => "an input changed".to_owned(),
        Some(compared) => in_words(compared).unwrap_or_else(without_difference),
    };
    Explained {
        phrase,
        comparison: compared.map(|compared| compared.document),
        inputs: inputs::labelled(&inputs),
        pending: None,
    }
}

/// Nothing differs from a record that is there: its layers are not, or are of no use.
fn not_usable(work: &Work, records: &[CacheRecord], inputs: &[(String, String)]) -> String {
    let same = records.iter().filter(|record| record.inputs == inputs);
    let mut layers = same.map(|record| &record.stack.layers);
    // Looked at without a hold: what is not used must not count as used.
    let store = work.session.lease.store();
    let is_there = layers.any(|layers| store.has_layers(layers).unwrap_or(false));
    if is_there { "result is damaged" } else { "result was pruned" }.to_owned()
}

/// What is known of a step of an earlier build, and of its results.
fn of_predecessor(work: &Work, earlier: &Predecessor) -> Candidates {
    let digest = Digest::from_hex(&earlier.step.instruction).ok().map(graph::InstructionDigest);
    let records = digest.and_then(|digest| work.session.lease.records_of(&digest).ok());
    ordered(&records.unwrap_or_default(), Some(earlier), true)
}

/// Records as candidates: the last build's first, then the newest. Where there is none of the last build, what that one
/// has written down of the step takes its place; `partial` allows it to be about the instruction only.
fn ordered(records: &[CacheRecord], last: Option<&Predecessor>, partial: bool) -> Candidates {
    let is_last = |record: &&CacheRecord| {
        let layer = record.layer.map(|layer| layer.to_string());
        last.is_some_and(|last| layer.is_some() && last.step.result == layer)
    };
    let (own, others): (Vec<&CacheRecord>, Vec<&CacheRecord>) =
        records.iter().rev().partition(is_last);
    let mut has_last = own.iter().any(|record| !record.inputs.is_empty());
    let mut list: Vec<Candidate> = own.into_iter().map(Candidate::of_record).collect();
    if let Some(last) = last.filter(|_| !has_last)
        && !last.step.inputs.is_empty()
        && (partial || !last.step.inputs_partial)
    {
        list.insert(0, Candidate::of_step(last));
        has_last = true;
    }
    list.extend(others.into_iter().map(Candidate::of_record));
    Candidates { list, has_last }
}

/// Notes what a step that has run has read, and compares what could not be compared before it ran. Gives it as records
/// have it. Takes its time; nothing waits for it but the end of the build.
pub(crate) fn complete(work: &Work, contents: &[Digest]) -> Vec<(String, String)> {
    let inputs = inputs::of(work, Some(contents));
    let labelled = inputs::labelled(&inputs);
    let mut pending = None;
    work.session.journal.note(work.id, |note| {
        note.inputs = labelled.clone();
        note.is_partial = false;
        pending = note.pending.take();
    });
    let compared =
        pending.and_then(|candidates| compare::with_nearest(work, &inputs, &candidates, false));
    if let Some(compared) = compared {
        work.session.journal.note(work.id, |note| note.comparison = Some(compared.document));
    }
    keep_listings(work, &inputs);
    labelled
}

/// Keeps what the digests of files were made of. That it cannot be kept only makes later answers less exact.
fn keep_listings(work: &Work, inputs: &[Input]) {
    let lease = &work.session.lease;
    for input in inputs {
        let (What::Files(files), Some(digest)) = (&input.what, input.digest) else { continue };
        let digest = TreeDigest(digest);
        if lease.has_listing(&digest).unwrap_or(true) {
            continue;
        }
        if let Some((made, listing)) = files.listing(work)
            && *made == digest
        {
            let _ = lease.put_listing(&digest, listing);
        }
    }
}

/// Notes that the result of a step was there.
pub(crate) fn cached(work: &Work, layer: Option<graph::LayerId>, took_ms: u64) {
    work.session.journal.note(work.id, |note| {
        note.outcome = Some(StepOutcome::Cached);
        note.took_ms = took_ms;
        note.result = layer;
    });
}

/// Notes how a step ended that ran.
pub(crate) fn ended(work: &Work, outcome: StepOutcome, took_ms: u64) {
    work.session.journal.note(work.id, |note| {
        note.outcome = Some(outcome);
        note.took_ms = took_ms;
    });
}

/// Notes the layer that a step has made.
pub(crate) fn made(work: &Work, layer: graph::LayerId) {
    work.session.journal.note(work.id, |note| note.result = Some(layer));
}
