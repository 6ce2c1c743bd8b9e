//! A step beside earlier results: which is nearest, and all that differs.
//!
//! Owns the choice and the differences. Refuses to word them in a phrase ([`super::phrase`] does).

use std::collections::HashMap;

use graph::{LayerId, StackIdentity, TreeDigest};
use oci::Digest;
use tree::{Change, Difference, Kind, What as FileWhat};

use super::candidate::{Candidate, Candidates};
use super::document::{Comparison, Different, FileDifference, FileList, InputKind, Same};
use super::inputs::{Files, Input, What, part_name};
use crate::remote;
use crate::work::Work;

/// More files that differ are only counted.
const FILES_MAX: usize = 10_000;

/// A comparison, and what of it only the phrase needs.
pub(crate) struct Compared {
    pub(crate) document: Comparison,
    /// How what lies below differs, if it does: `build:4 changed`.
    pub(crate) below: String,
    /// Whether the image at the bottom is the same, if that is known.
    has_same_base: Option<bool>,
}

/// Compares with the last build's, else with the candidate that has the fewest differences; of equal ones the first.
/// `None` without a candidate of which is known what it read.
pub(crate) fn with_nearest(
    work: &Work,
    inputs: &[Input],
    candidates: &Candidates,
    partial: bool,
) -> Option<Compared> {
    let known = || candidates.list.iter().filter(|candidate| !candidate.inputs.is_empty());
    let nearest = match candidates.has_last {
        true => known().next()?,
        false => nearest(work, inputs, &known().collect::<Vec<_>>(), partial)?,
    };
    let partial = partial || nearest.partial;
    let pairs = pairs(inputs, &nearest.inputs);
    let same = pairs.iter().filter(|pair| pair.is_known() && pair.old == pair.new);
    let different = pairs.iter().filter(|pair| pair.differs(partial));
    let old_below = old_below(work, nearest);
    let (below, how) = super::phrase::below(work, inputs, old_below.as_ref());
    let described = |pair: &Pair<'_>| match pair.kind() {
        InputKind::Below => Different { name: below.clone(), ..pair.described(work) },
        _ => pair.described(work),
    };
    let document = Comparison {
        step: nearest.step.clone(),
        created: nearest.created.clone(),
        candidates: known().count(),
        is_last: candidates.has_last,
        same: same.map(|pair| Same { name: pair.name(work), kind: pair.kind() }).collect(),
        different: different.map(described).collect(),
        partial,
    };
    let base = inputs.iter().find_map(|input| match &input.what {
        What::Below(Some(identity)) => Some(identity.base),
        _ => None,
    });
    let has_same_base = base.zip(old_below).map(|(base, then)| base == then.base);
    Some(Compared { document, below: format!("{below} {how}"), has_same_base })
}

/// So many results that are equally near are looked at more closely.
const CLOSE_LOOKS: usize = 4;

/// The one with the fewest differing inputs; of several the one with the most files that are the same, or the first.
fn nearest<'a>(
    work: &Work,
    inputs: &[Input],
    candidates: &[&'a Candidate],
    partial: bool,
) -> Option<&'a Candidate> {
    let count = |candidate: &Candidate| {
        let pairs = pairs(inputs, &candidate.inputs);
        pairs.iter().filter(|pair| pair.differs(partial)).count()
    };
    let counts: Vec<usize> = candidates.iter().map(|candidate| count(candidate)).collect();
    let least = counts.iter().min()?;
    let close = candidates.iter().zip(&counts).filter(|(_, count)| *count == least);
    let close: Vec<&'a Candidate> = close.map(|(candidate, _)| *candidate).collect();
    if close.len() == 1 || partial {
        return close.first().copied();
    }
    let same_files = |candidate: &Candidate| -> u64 {
        let pairs = pairs(inputs, &candidate.inputs);
        let lists = pairs.iter().filter(|pair| pair.differs(false));
        lists.filter_map(|pair| Some(pair.described(work).files?.same)).sum()
    };
    // The last of equal ones would win.
    close.into_iter().take(CLOSE_LOOKS).rev().max_by_key(|candidate| same_files(candidate))
}

impl Compared {
    /// Whether it can be believed that the earlier result is one of the same thing, when no log says so: other projects
    /// have the same instructions, too. Of files most are still there, else the base is the same.
    pub(crate) fn is_related(&self) -> bool {
        let mut lists =
            self.document.different.iter().filter_map(|one| one.files.as_ref()).peekable();
        if lists.peek().is_none() {
            return self.has_same_base != Some(false);
        }
        lists.any(|list| {
            let is = |entry: &FileDifference, what: &str| entry.how.iter().any(|how| how == what);
            let new = list.entries.iter().filter(|entry| is(entry, "new")).count() as u64;
            let gone = list.entries.iter().filter(|entry| is(entry, "gone")).count() as u64;
            let kept = list.total.saturating_sub(new + list.more);
            kept * 2 >= list.total.max(kept + gone)
        })
    }
}

/// What a label is now and what it was.
struct Pair<'a> {
    label: &'a str,
    input: Option<&'a Input>,
    old: Option<Digest>,
    new: Option<Digest>,
}

/// A label may come several times: the first is compared with the first.
fn pairs<'a>(inputs: &'a [Input], then: &'a [(String, String)]) -> Vec<Pair<'a>> {
    let mut old: HashMap<&str, Vec<Option<Digest>>> = HashMap::new();
    for (label, digest) in then.iter().rev() {
        old.entry(label.as_str()).or_default().push(digest.parse().ok());
    }
    let mut pairs: Vec<Pair<'_>> = inputs
        .iter()
        .map(|input| Pair {
            label: &input.label,
            input: Some(input),
            old: old.get_mut(input.label.as_str()).and_then(Vec::pop).flatten(),
            new: input.digest,
        })
        .collect();
    for (label, _) in then {
        if let Some(digest) = old.get_mut(label.as_str()).and_then(Vec::pop) {
            pairs.push(Pair { label, input: None, old: digest, new: None });
        }
    }
    pairs
}

impl Pair<'_> {
    /// Of a partial comparison only the instruction counts: the rest is not known yet.
    fn differs(&self, partial: bool) -> bool {
        let counts = !partial || self.kind() == InputKind::Instruction || self.label == "text";
        counts && self.is_known() && self.old != self.new
    }

    /// Not so of what cannot be read here.
    fn is_known(&self) -> bool {
        self.input.is_none_or(|input| input.digest.is_some())
    }

    fn kind(&self) -> InputKind {
        match self.label.split_once(": ").map_or(self.label, |(kind, _)| kind) {
            "instruction" => InputKind::Instruction,
            "text" => InputKind::Text,
            "below" => InputKind::Below,
            "remote" => InputKind::Remote,
            _ => InputKind::Files,
        }
    }

    fn name(&self, work: &Work) -> String {
        if let Some(name) = part_name(self.label) {
            return name.to_owned();
        }
        match (self.kind(), self.input.map(|input| &input.what)) {
            (InputKind::Text, _) => "its text".to_owned(),
            (InputKind::Below, _) => super::phrase::directly_below(work),
            (_, Some(What::Remote(name))) => name.clone(),
            (_, Some(What::Files(files))) => files.name.clone(),
            _ => self.label.split_once(": ").map_or(self.label, |(_, name)| name).to_owned(),
        }
    }

    fn described(&self, work: &Work) -> Different {
        let files = match self.input.map(|input| &input.what) {
            Some(What::Files(files)) => self.old.and_then(|old| file_list(work, files, old)),
            _ => None,
        };
        Different {
            name: self.name(work),
            kind: self.kind(),
            old: self.old.map(|digest| digest.to_string()),
            new: self.new.map(|digest| digest.to_string()),
            files,
        }
    }
}

/// The files that differ; `None` when what was selected then is not listed any more.
fn file_list(work: &Work, files: &Files, old: Digest) -> Option<FileList> {
    let old = TreeDigest(old);
    let here = work.session.lease.listing(&old).ok()?;
    let then = here.or_else(|| remote::listing(&work.session, &old))?;
    let (_, now) = files.listing(work)?;
    let found = tree::compare_listings(&then, now)?;
    let total = tree::parse_listing(now)?.len();
    let is_there = |one: &&Difference| !matches!(one.what, FileWhat::Gone);
    let same = total - found.iter().filter(is_there).count();
    let entries = found.iter().take(FILES_MAX).map(|one| entry(files, one)).collect();
    Some(FileList {
        same: same as u64,
        total: total as u64,
        place: files.place.clone(),
        entries,
        more: found.len().saturating_sub(FILES_MAX) as u64,
    })
}

fn entry(files: &Files, one: &Difference) -> FileDifference {
    let how = match &one.what {
        FileWhat::New => vec!["new".to_owned()],
        FileWhat::Gone => vec!["gone".to_owned()],
        FileWhat::Renamed(from) => vec![format!("renamed from {}", files.shown(from))],
        FileWhat::Changed(changes) => changes.iter().map(how).collect(),
    };
    FileDifference { path: files.shown(&one.path), directory: one.kind == Kind::Directory, how }
}

fn how(change: &Change) -> String {
    match change {
        Change::Content => "content".to_owned(),
        Change::Kind(old, new) => format!("{} -> {}", kind_name(*old), kind_name(*new)),
        Change::Mode(old, new) => format!("mode {old:04o} -> {new:04o}"),
        Change::Owner(old, new) => format!("owner {}:{} -> {}:{}", old.0, old.1, new.0, new.1),
        Change::Attributes => "extended attributes".to_owned(),
        Change::Links => "hard links".to_owned(),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File => "file",
        Kind::Symlink => "link",
        Kind::CharDevice | Kind::BlockDevice => "device",
        Kind::Fifo => "named pipe",
        Kind::Whiteout => "whiteout",
    }
}

/// What the earlier result was made on, if all of its layers are known.
fn old_below(work: &Work, candidate: &Candidate) -> Option<StackIdentity> {
    let (stack, own) = candidate.result.as_ref()?;
    let mut layers = stack.above_base();
    if own.is_some() && layers.last() == own.as_ref() {
        layers = &layers[..layers.len() - 1];
    }
    // Looked at without a hold: the earlier result is not used, and need not stay.
    let store = work.session.lease.store();
    let content = |layer: &LayerId| match store.layer_info(*layer).ok()? {
        Some(info) => info.content_id,
        None => remote::content_of(&work.session, *layer),
    };
    let contents = layers.iter().map(content).collect::<Option<Vec<_>>>()?;
    Some(StackIdentity { base: stack.base.map(|(chain, _)| chain), contents })
}
