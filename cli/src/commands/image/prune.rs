//! `shale image prune` and `shale system prune`. Nobody is asked whether he is sure: a script would say yes anyway.

use store::{GcPolicy, GcReport};

use super::filter::{listed, retain};
use super::remove::{Gone, Lines, forget, remove};
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
    let (lines, report) = remove_images(process, &filter, all)?;
    give_back(process)?;
    let text = deleted(&lines);
    print(&format!("{text}Total reclaimed space: {}\n", human_size(report.bytes, 4)))
}

/// `shale system prune`: images first, then what nothing needs any more.
pub(super) fn system(process: &mut Process, typed: &SystemPruneArgs) -> Done {
    let now = now_secs();
    let filter = prune_filter(&typed.filter, now)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let (lines, report) = remove_images(process, &filter, typed.all)?;
    let mut policy = GcPolicy { all: true, keep_images: true, ..GcPolicy::default() };
    policy.filter.unused_secs = filter.until_secs.map(|until| now.saturating_sub(until).max(0));
    // Results of steps have no labels.
    let cache = match filter.labels.is_empty() {
        true => process.store()?.gc(&policy).map_err(store_error("cannot prune the cache"))?,
        false => GcReport::default(),
    };
    give_back(process)?;
    let bytes = report.bytes + cache.bytes;
    let (images, objects) = (deleted(&lines), cache::removed_table(&cache));
    print(&format!("{images}{objects}Total reclaimed space: {}\n", human_size(bytes, 4)))
}

fn deleted(lines: &Lines) -> String {
    match lines.is_empty() {
        true => String::new(),
        false => format!("Deleted Images:\n{}\n", lines.text("untagged", "deleted")),
    }
}

fn remove_images(
    process: &mut Process,
    filter: &ImageFilter,
    all: bool,
) -> Result<(Lines, GcReport), Failure> {
    let shelf = Shelf::open(process)?;
    let mut victims = listed(&shelf, false)?;
    retain(&shelf, &mut victims, filter)?;
    let (mut lines, mut gone) = (Lines::default(), Gone::default());
    for victim in victims.iter().filter(|victim| all || victim.names.is_empty()) {
        match (&victim.names[..], &victim.images[..]) {
            // One that has got a name meanwhile keeps it.
            ([], [image]) => forget(&shelf, &image.id, &mut lines, &mut gone)?,
            _ => remove(&shelf, &victim.id, true, &mut lines, &mut gone)?,
        }
    }
    let Shelf { environment, lease } = shelf;
    drop(lease);
    Ok((lines, gone.collect(&environment.store)?))
}

fn give_back(process: &Process) -> Result<(), Failure> {
    let failed = store_error("cannot delete what was removed");
    process.store()?.empty_trash().map(drop).map_err(failed)
}
