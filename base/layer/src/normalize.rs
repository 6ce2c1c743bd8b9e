//! From what an upper directory says to what it means: the form that its tar has (design D3).
//!
//! Owns the rule by which two entries are equal. Refuses to know where a listing comes from. Work is in proportion to
//! the changes; the layers below are asked name by name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::{Digest, Hasher};
use rayon::prelude::*;

use crate::content::open_file;
use crate::overlay::whiteout;
use crate::stack::View;
use crate::{Entry, EntryKind, LayerError, Toc};

/// Makes the table of contents that a layer is known by.
///
/// `raw` is the listing of `dir`; `below` the tables of the layers below it, top first, and `dirs` opens their
/// directories by the same index (`None`: not present; then a file that could be equal counts as changed).
///
/// An entry equal to what it covers is left out: same kind, mode, owner, kept attributes, target or device numbers,
/// and, except for directories (their times follow what happens inside, as BuildKit has it), same size and time; a
/// file with all that equal is compared byte by byte. The parents of a kept entry stay. Opaque directories become
/// whiteouts by name, whiteouts of nothing go, hard-link groups are those that are left.
pub fn normalize(
    raw: Toc,
    dir: BorrowedFd<'_>,
    below: &[&Toc],
    dirs: &dyn Fn(usize) -> Option<OwnedFd>,
) -> Result<Toc, LayerError> {
    let Walked { mut verdicts, parents, whiteouts } = walk(&raw, below)?;
    let mut learned = Vec::new();
    for (at, same, digest) in compare_contents(&raw, &verdicts, dir, dirs)? {
        verdicts[at] = if same { Verdict::Equal } else { Verdict::Changed };
        learned.extend(digest.map(|digest| (at, digest)));
    }
    let mut keep: Vec<bool> =
        verdicts.iter().map(|verdict| matches!(verdict, Verdict::Changed)).collect();
    for (parent, _) in &whiteouts {
        keep[*parent] = true;
    }
    for at in (0..keep.len()).rev() {
        if let (true, Some(parent)) = (keep[at], parents[at]) {
            keep[parent] = true;
        }
    }
    let mut raw = raw;
    raw.learn(&learned);
    Ok(assemble(raw, &keep, whiteouts))
}

/// As [`normalize`], but entries equal to what they cover stay: for what a tar said. A tar made here has none, but for
/// files whose times differ by less than the second that a tar keeps; so the machine that ran a step and the one that
/// unpacked its layer have the same table.
pub(crate) fn normalize_unpacked(raw: Toc, below: &[&Toc]) -> Result<Toc, LayerError> {
    let Walked { verdicts, whiteouts, .. } = walk(&raw, below)?;
    let keep: Vec<bool> = raw
        .entries()
        .iter()
        .zip(&verdicts)
        .map(|(entry, verdict)| {
            entry.kind != EntryKind::Whiteout || matches!(verdict, Verdict::Changed)
        })
        .collect();
    Ok(assemble(raw, &keep, whiteouts))
}

fn assemble(raw: Toc, keep: &[bool], whiteouts: Vec<(usize, Entry)>) -> Toc {
    let kept =
        raw.into_entries().into_iter().zip(keep).filter_map(|(entry, keep)| keep.then_some(entry));
    let mut entries: Vec<Entry> = kept.chain(whiteouts.into_iter().map(|(_, gone)| gone)).collect();
    for entry in &mut entries {
        if let EntryKind::Directory { opaque } = &mut entry.kind {
            *opaque = false;
        }
    }
    let mut entries = Toc::from_entries(entries).into_entries();
    regroup(&mut entries);
    Toc::from_entries(entries)
}

enum Verdict<'a> {
    Changed,
    Equal,
    /// Equal if its bytes are those of this file of that layer.
    IfBytesEqual(usize, &'a Entry),
}

struct Walked<'a> {
    /// One for each entry of the listing.
    verdicts: Vec<Verdict<'a>>,
    /// Index of each entry's directory; `None` in the root.
    parents: Vec<Option<usize>>,
    /// Names that opaque directories hide, each with the index of its directory.
    whiteouts: Vec<(usize, Entry)>,
}

/// A directory of the listing that the walk is in.
struct Frame<'a> {
    index: Option<usize>,
    path: &'a [u8],
    /// The same directory in the layers below.
    view: View<'a>,
    /// Nothing of the layers below shows through, by its own mark or one above.
    opaque: bool,
}

fn walk<'a>(raw: &'a Toc, below: &[&'a Toc]) -> Result<Walked<'a>, LayerError> {
    let count = raw.entries().len();
    let mut walked = Walked {
        verdicts: Vec::with_capacity(count),
        parents: Vec::with_capacity(count),
        whiteouts: Vec::new(),
    };
    let root = Frame { index: None, path: &[], view: View::of(below), opaque: false };
    let mut frames = vec![root];
    for (at, entry) in raw.entries().iter().enumerate() {
        while frames.last().is_some_and(|frame| frame.path != entry.parent()) {
            frames.pop();
        }
        let Some(frame) = frames.last() else {
            return Err(LayerError::BadToc { reason: "an entry stands without its directory" });
        };
        let (covered, inside) = frame.view.child(entry.name());
        let opaque_above = frame.opaque;
        walked.parents.push(frame.index);
        walked.verdicts.push(verdict(entry, covered));
        if let EntryKind::Directory { opaque } = entry.kind {
            let opaque = opaque || opaque_above;
            if opaque {
                walked.whiteouts.extend(hidden_names(raw, entry, &inside).map(|gone| (at, gone)));
            }
            frames.push(Frame { index: Some(at), path: &entry.path, view: inside, opaque });
        }
    }
    Ok(walked)
}

/// Whiteouts for what an opaque directory hides and does not have itself.
fn hidden_names<'a>(
    raw: &'a Toc,
    dir: &'a Entry,
    below: &View<'a>,
) -> impl Iterator<Item = Entry> + 'a {
    let own: Vec<&[u8]> = raw.children(&dir.path).map(Entry::name).collect();
    below.children().into_iter().filter_map(move |(_, entry)| {
        let hidden = own.binary_search(&entry.name()).is_err();
        hidden.then(|| whiteout([&dir.path[..], b"/", entry.name()].concat()))
    })
}

fn verdict<'a>(entry: &Entry, covered: Option<(usize, &'a Entry)>) -> Verdict<'a> {
    match covered {
        None if entry.kind == EntryKind::Whiteout => Verdict::Equal,
        Some((layer, lower)) if is_same(entry, lower) => match entry.kind {
            EntryKind::File { size_bytes: 1.., .. } => Verdict::IfBytesEqual(layer, lower),
            _ => Verdict::Equal,
        },
        _ => Verdict::Changed,
    }
}

/// Whether all is equal but perhaps a file's bytes.
fn is_same(upper: &Entry, lower: &Entry) -> bool {
    let same_kind = match (&upper.kind, &lower.kind) {
        (EntryKind::Directory { .. }, EntryKind::Directory { .. }) => true,
        (EntryKind::File { size_bytes: a, .. }, EntryKind::File { size_bytes: b, .. }) => a == b,
        (a, b) => a == b,
    };
    same_kind
        && (upper.mode, upper.uid, upper.gid) == (lower.mode, lower.uid, lower.gid)
        && upper.xattrs == lower.xattrs
        && (upper.is_dir() || upper.mtime == lower.mtime)
}

/// Reads the files that only their bytes can tell apart: index, whether equal, digest when it was found.
fn compare_contents(
    raw: &Toc,
    verdicts: &[Verdict<'_>],
    dir: BorrowedFd<'_>,
    dirs: &dyn Fn(usize) -> Option<OwnedFd>,
) -> Result<Vec<(usize, bool, Option<Digest>)>, LayerError> {
    let mut lower_dirs: BTreeMap<usize, Option<OwnedFd>> = BTreeMap::new();
    let mut pairs = Vec::new();
    for (at, verdict) in verdicts.iter().enumerate() {
        let Verdict::IfBytesEqual(layer, lower) = verdict else { continue };
        pairs.push((at, *layer, *lower));
        if known_digest(lower).is_none() {
            lower_dirs.entry(*layer).or_insert_with(|| dirs(*layer));
        }
    }
    pairs
        .par_iter()
        .map(|(at, layer, lower)| {
            let upper = &raw.entries()[*at];
            let lower_dir = lower_dirs.get(layer).and_then(Option::as_ref).map(AsFd::as_fd);
            let (same, digest) = is_same_content(upper, dir, lower, lower_dir)?;
            Ok((*at, same, digest))
        })
        .collect()
}

fn known_digest(entry: &Entry) -> Option<Digest> {
    match entry.kind {
        EntryKind::File { digest, .. } => digest,
        _ => None,
    }
}

fn is_same_content(
    upper: &Entry,
    dir: BorrowedFd<'_>,
    lower: &Entry,
    lower_dir: Option<BorrowedFd<'_>>,
) -> Result<(bool, Option<Digest>), LayerError> {
    let digest_of = |dir, entry: &Entry| -> Result<Digest, LayerError> {
        let mut hasher = Hasher::new();
        std::io::copy(&mut open_file(dir, &entry.path)?, &mut hasher)
            .map_err(|source| LayerError::file("read", &entry.path, source))?;
        Ok(hasher.finish())
    };
    match (known_digest(upper), known_digest(lower), lower_dir) {
        (Some(a), Some(b), _) => Ok((a == b, Some(a))),
        (None, Some(b), _) => {
            let a = digest_of(dir, upper)?;
            Ok((a == b, Some(a)))
        }
        (known, None, None) => Ok((false, known)),
        (Some(a), None, Some(lower_dir)) => Ok((a == digest_of(lower_dir, lower)?, Some(a))),
        (None, None, Some(lower_dir)) => {
            let files = (open_file(dir, &upper.path)?, open_file(lower_dir, &lower.path)?);
            let same = have_same_bytes(files.0, files.1)
                .map_err(|source| LayerError::file("compare", &upper.path, source))?;
            Ok((same, None))
        }
    }
}

fn have_same_bytes(mut a: File, mut b: File) -> std::io::Result<bool> {
    const CHUNK_BYTES: u64 = 128 * 1024;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(CHUNK_BYTES).read_to_end(&mut left)?;
        b.by_ref().take(CHUNK_BYTES).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}

/// Numbers the hard-link groups anew; a name whose others are gone is a file of its own.
fn regroup(entries: &mut [Entry]) {
    let mut names: HashMap<u32, u32> = HashMap::new();
    for group in entries.iter().filter_map(|entry| entry.link_group) {
        *names.entry(group).or_default() += 1;
    }
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    for entry in entries {
        let next = numbers.len() as u32;
        entry.link_group = entry
            .link_group
            .filter(|group| names[group] > 1)
            .map(|group| *numbers.entry(group).or_insert(next));
    }
}
