//! `shale image prune` and `shale system prune`. Nobody is asked whether he is sure: a script would say yes anyway.

use std::collections::HashSet;

use store::{GcPolicy, GcReport, ItemKind};

use super::filter::{Listed, listed, retain};
use super::remove::{Gone, Lines, foretell, forget, remove};
use super::{Shelf, store_error};
use crate::args::{ImageFilter, ImagePruneArgs, SystemPruneArgs, prune_filter};
use crate::commands::{Done, Failure, Process, cache, print};
use crate::render::{human_size, now_secs};

/// `shale image prune`.
pub(super) fn images(process: &mut Process, typed: &ImagePruneArgs) -> Done {
    let filter = prune_filter(&typed.filter, now_secs())?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let all = filter.dangling.map_or(typed.all, |dangling| !dangling);
    let pruned = prune(process, &filter, all, typed.dry_run)?;
    give_back(process)?;
    print(&told(&pruned.lines, "", pruned.report.bytes, typed.dry_run))
}

/// `shale system prune`: images first, then what nothing needs any more.
pub(super) fn system(process: &mut Process, typed: &SystemPruneArgs) -> Done {
    let now = now_secs();
    let filter = prune_filter(&typed.filter, now)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let Pruned { lines, report, gone } = prune(process, &filter, typed.all, typed.dry_run)?;
    let mut policy = GcPolicy {
        all: true,
        keep_images: true,
        dry_run: typed.dry_run,
        as_if_gone: gone.ids(),
        ..GcPolicy::default()
    };
    policy.filter.unused_secs = filter.until_secs.map(|until| now.saturating_sub(until).max(0));
    // Results of steps have no labels.
    let mut cache = match filter.labels.is_empty() {
        true => process.store()?.gc(&policy).map_err(store_error("cannot prune the cache"))?,
        false => GcReport::default(),
    };
    // What goes with the images does not go a second time.
    let known: HashSet<(ItemKind, String)> =
        report.removed.into_iter().map(|item| (item.kind, item.id)).collect();
    cache.removed.retain(|item| !known.contains(&(item.kind, item.id.clone())));
    give_back(process)?;
    let bytes = report.bytes + cache.removed.iter().map(|item| item.bytes).sum::<u64>();
    let objects = cache::removed_items(&cache, typed.dry_run);
    print(&told(&lines, &objects, bytes, typed.dry_run))
}

fn told(lines: &Lines, objects: &str, bytes: u64, dry_run: bool) -> String {
    let (head, total) = match dry_run {
        true => ("Would delete images", "Would reclaim"),
        false => ("Deleted Images", "Total reclaimed space"),
    };
    let images = match lines.is_empty() {
        true => String::new(),
        false => format!("{head}:\n{}\n", lines.text("untagged", "deleted")),
    };
    format!("{images}{objects}{total}: {}\n", human_size(bytes, 4))
}

/// Images that are gone, or would be, and what went with them.
struct Pruned {
    lines: Lines,
    gone: Gone,
    report: GcReport,
}

fn prune(
    process: &mut Process,
    filter: &ImageFilter,
    all: bool,
    dry_run: bool,
) -> Result<Pruned, Failure> {
    let shelf = Shelf::open(process)?;
    let mut victims = listed(&shelf, false)?;
    retain(&shelf, &mut victims, filter)?;
    let (mut lines, mut gone) = (Lines::default(), Gone::default());
    let victims: Vec<&Listed> =
        victims.iter().filter(|victim| all || victim.names.is_empty()).collect();
    if dry_run {
        gone = foretell(&shelf, &victims, &mut lines)?;
    }
    for victim in victims.iter().filter(|_| !dry_run) {
        match (&victim.names[..], &victim.images[..]) {
            // One that has got a name meanwhile keeps it.
            ([], [image]) => forget(&shelf, &image.id, &mut lines, &mut gone)?,
            _ => remove(&shelf, &victim.id, true, &mut lines, &mut gone)?,
        }
    }
    let Shelf { environment, lease } = shelf;
    drop(lease);
    let report = gone.collect(&environment.store, dry_run)?;
    Ok(Pruned { lines, gone, report })
}

fn give_back(process: &Process) -> Result<(), Failure> {
    let failed = store_error("cannot delete what was removed");
    process.store()?.empty_trash().map(drop).map_err(failed)
}
