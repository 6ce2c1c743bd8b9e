//! `shale cache` and `shale prune`: what is kept for later builds, and how to be rid of it. All of it runs in an
//! engine: only there can files of other ids be measured and removed.

use std::collections::BTreeMap;

use engine::BuildError;
use serde_json::{Value, json};
use store::{GcPolicy, GcReport, Holder, Item, ItemKind, Store, StoreError, Usage};

use super::transfer::NO_STEPS;
use super::{Done, Failure, Process, mounts, print, verify, warn};
use crate::args::{
    CacheArgs, CacheCommand, DockerConfig, DuArgs, LsArgs, PruneAllArgs, gc_filter,
    prune_all_policy, prune_policy,
};
use crate::render::{
    Table, moment, plain_text, shortened, shown_date, shown_seconds, shown_time, size,
};

/// Characters of an id that lists show.
const SHORT_ID: usize = 12;
/// Characters of a step that lists show.
const SHORT_STEP: usize = 60;
/// Lines of `du` about single steps.
const LARGEST: usize = 10;

/// One of its commands.
pub(crate) fn run(process: &mut Process, typed: &CacheArgs) -> Done {
    match &typed.command {
        CacheCommand::Ls(typed) => {
            gc_filter(&typed.filter)?;
            in_engine(process, |store| ls(store, typed))
        }
        CacheCommand::Du(typed) => du(process, typed),
        CacheCommand::Prune(typed) => {
            let policy = prune_policy(typed)?;
            in_engine(process, |store| prune(store, &policy))
        }
        CacheCommand::Mounts(typed) => mounts::run(process, typed),
        CacheCommand::Verify(typed) => verify::run(process, typed),
    }
}

/// `shale prune`.
pub(crate) fn prune_all(process: &mut Process, typed: &PruneAllArgs) -> Done {
    in_engine(process, |store| prune(store, &prune_all_policy(typed)))
}

fn in_engine(process: &mut Process, work: impl FnOnce(&Store) -> Done) -> Done {
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    // The worker goes with it at the end, as after a build.
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    work(&environment.store)
}

fn failed(what: &'static str) -> impl Fn(StoreError) -> Failure {
    move |error| Failure::Engine(BuildError::store(what, error))
}

fn usage(store: &Store) -> Result<Usage, Failure> {
    store.usage().map_err(failed("cannot count what is in the store"))
}

fn ls(store: &Store, typed: &LsArgs) -> Done {
    let filter = gc_filter(&typed.filter)?;
    let mut items = store.matching(&filter).map_err(failed("cannot list the cache"))?;
    if !typed.all && !typed.filter.iter().any(|filter| filter.starts_with("type=")) {
        items.retain(|item| item.kind == ItemKind::Step);
    }
    items.sort_by(|a, b| b.used_secs.cmp(&a.used_secs).then_with(|| a.id.cmp(&b.id)));
    if typed.quiet {
        let ids = items.iter().map(|item| format!("{}\n", shown_id(item, typed.no_trunc)));
        return print(&ids.collect::<String>());
    }
    if typed.format == "json" {
        return print(
            &items.iter().map(|item| format!("{}\n", document(item))).collect::<String>(),
        );
    }
    let headings = ["ID", "TYPE", "STEP", "SIZE", "CREATED", "LAST USED", "SAVES", "NEEDED BY"];
    let mut table = Table::new(&headings);
    for item in &items {
        table.row(&[
            &shown_id(item, typed.no_trunc),
            kind(item.kind),
            &shown_text(item, typed.no_trunc),
            &size(item.bytes),
            &shown_date(&item.created),
            &shown_time(item.used_secs),
            &saves(item),
            needed_by(item.holder),
        ]);
    }
    print(&table.to_string())
}

fn du(process: &mut Process, typed: &DuArgs) -> Done {
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    let max = environment.cache_max.bytes(&environment.store);
    let max = max.map_err(failed("cannot tell the limit"))?;
    let usage = usage(&environment.store)?;
    if typed.format == "json" {
        return print(&format!("{:#}\n", usage_document(&usage, max, typed.verbose)));
    }
    let mut text = by_kind(&usage).to_string();
    if typed.verbose {
        text.push_str(&format!("\n{}", by_item(&usage)));
    } else {
        text.push_str(&by_step(&usage));
    }
    let limit = match max {
        Some(max) if usage.total_bytes > max => format!("over the limit of {}", size(max)),
        Some(max) => format!("of {}", size(max)),
        None => "without a limit".to_owned(),
    };
    print(&format!("{text}\nTotal: {} {limit}\n", size(usage.total_bytes)))
}

/// Sums of items: number, bytes, and bytes that a collection could take.
#[derive(Clone, Copy, Default)]
struct Sum {
    number: usize,
    bytes: u64,
    reclaimable: u64,
}

impl Sum {
    fn add(&mut self, item: &Item) {
        self.number += 1;
        self.bytes += item.bytes;
        self.reclaimable += if is_reclaimable(item) { item.bytes } else { 0 };
    }
}

fn is_reclaimable(item: &Item) -> bool {
    matches!(item.holder, Holder::Nobody | Holder::Image)
}

fn sums(usage: &Usage) -> BTreeMap<ItemKind, Sum> {
    let mut sums: BTreeMap<ItemKind, Sum> = BTreeMap::new();
    usage.items.iter().for_each(|item| sums.entry(item.kind).or_default().add(item));
    sums
}

/// What the directories of a store are to people; `None` for locks and lists that only the store itself knows.
fn other_kind(directory: &str) -> &'static str {
    match directory {
        "records" | "chains" | "layer-blobs" | "listings" => "records",
        "images" | "tags" => "images",
        "ingest" => "unfinished work",
        "trash" => "trash",
        "logs" | "failed" => "logs",
        _ => "the store itself",
    }
}

fn others(usage: &Usage) -> BTreeMap<&'static str, u64> {
    let mut others = BTreeMap::new();
    for (directory, bytes) in &usage.others {
        *others.entry(other_kind(directory)).or_default() += bytes;
    }
    others
}

fn by_kind(usage: &Usage) -> Table {
    let mut table = Table::new(&["TYPE", "TOTAL", "SIZE", "RECLAIMABLE"]);
    for (kind_of, sum) in sums(usage) {
        let number = sum.number.to_string();
        table.row(&[kind(kind_of), &number, &size(sum.bytes), &size(sum.reclaimable)]);
    }
    for (name, bytes) in others(usage) {
        table.row(&[name, "", &size(bytes), ""]);
    }
    table
}

/// Steps of the same text together, the largest first.
fn step_sums(usage: &Usage) -> Vec<(&str, Sum)> {
    let mut steps: BTreeMap<&str, Sum> = BTreeMap::new();
    for item in usage.items.iter().filter(|item| item.kind == ItemKind::Step) {
        steps.entry(&item.text).or_default().add(item);
    }
    let mut steps: Vec<(&str, Sum)> = steps.into_iter().collect();
    steps.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.bytes));
    steps
}

fn by_step(usage: &Usage) -> String {
    let steps = step_sums(usage);
    if steps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["SIZE", "RECLAIMABLE", "RESULTS", "STEP"]);
    for (text, sum) in steps.iter().take(LARGEST) {
        let (bytes, number) = (size(sum.bytes), sum.number.to_string());
        table.row(&[&bytes, &size(sum.reclaimable), &number, &cut(text, false)]);
    }
    let rest = match steps.len().saturating_sub(LARGEST) {
        0 => String::new(),
        rest => format!("and {rest} more, all with -v\n"),
    };
    format!("\n{table}{rest}")
}

fn by_item(usage: &Usage) -> Table {
    let mut items: Vec<&Item> = usage.items.iter().collect();
    items.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.id.cmp(&b.id)));
    let mut table =
        Table::new(&["ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED", "TYPE", "DESCRIPTION"]);
    for item in items {
        table.row(&[
            &shown_id(item, false),
            if is_reclaimable(item) { "true" } else { "false" },
            &size(item.bytes),
            &shown_time(item.used_secs),
            kind(item.kind),
            &shown_text(item, false),
        ]);
    }
    table
}

fn usage_document(usage: &Usage, max: Option<u64>, with_items: bool) -> Value {
    let sum = |sum: &Sum| json!({"number": sum.number, "bytes": sum.bytes, "reclaimable_bytes": sum.reclaimable});
    let kinds: serde_json::Map<String, Value> =
        sums(usage).iter().map(|(of, sums)| (kind(*of).to_owned(), sum(sums))).collect();
    let steps: Vec<Value> = step_sums(usage)
        .iter()
        .map(|(text, sums)| json!({"step": text, "number": sums.number, "bytes": sums.bytes, "reclaimable_bytes": sums.reclaimable}))
        .collect();
    let mut whole = json!({
        "total_bytes": usage.total_bytes,
        "max_bytes": max,
        "images": usage.images,
        "types": kinds,
        "others": others(usage),
        "steps": steps,
    });
    if with_items {
        whole["items"] = usage.items.iter().map(document).collect();
    }
    whole
}

fn document(item: &Item) -> Value {
    json!({
        "id": item.id,
        "type": kind(item.kind),
        "step": item.text,
        "bytes": item.bytes,
        "created": item.created,
        "last_used": moment(item.used_secs),
        "took_ms": item.took_ms,
        "needed_by": needed_by(item.holder),
    })
}

/// Removes, says what, and gives the space back.
fn prune(store: &Store, policy: &GcPolicy) -> Done {
    let what = failed("cannot prune the cache");
    // What could not be deleted earlier counts nothing here: nobody was told of it then either.
    let report = store.gc(policy).map_err(&what)?;
    if !policy.dry_run {
        let left = store.empty_trash().map_err(&what)?.left;
        for (name, error) in left.iter().filter(|(name, _)| store.is_in_trash(name)) {
            warn(&format!("cannot delete trash/{name} of the store: {error}"));
        }
    }
    print(&pruned(&report, policy.dry_run))
}

/// The lines on what was removed of the cache, if anything was, or would be.
pub(super) fn removed_items(report: &GcReport, dry_run: bool) -> String {
    if report.removed.is_empty() {
        return String::new();
    }
    let verb = if dry_run { "Would delete" } else { "Deleted" };
    let mut table = Table::new(&["ID", "TYPE", "SIZE", "STEP"]);
    for item in &report.removed {
        let (id, text) = (shown_id(item, false), shown_text(item, false));
        table.row(&[&id, kind(item.kind), &size(item.bytes), &text]);
    }
    format!("{verb} build cache objects:\n{table}\n")
}

/// What `docker builder prune` says, with what the ids are.
fn pruned(report: &GcReport, dry_run: bool) -> String {
    let mut text = String::new();
    if report.images > 0 {
        let verb = if dry_run { "Would delete" } else { "Deleted" };
        text.push_str(&format!("{verb} images without a name: {}\n\n", report.images));
    }
    text.push_str(&removed_items(report, dry_run));
    let verb = if dry_run { "Would reclaim" } else { "Total reclaimed space" };
    format!("{text}{verb}: {}\n", size(report.bytes))
}

pub(super) fn kind(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Step => "step",
        ItemKind::Base => "base",
        ItemKind::Blob => "blob",
        ItemKind::Mount => "mount",
        ItemKind::Source => "source",
        ItemKind::Partial => "download",
    }
}

fn needed_by(holder: Holder) -> &'static str {
    match holder {
        Holder::Nobody => "",
        Holder::Image => "image",
        Holder::Process => "running build",
        Holder::Tag => "named image",
    }
}

/// The beginning of an id; of a cache mount, whose several directories share it, with the directory's number.
pub(super) fn shown_id(item: &Item, whole: bool) -> String {
    if whole {
        return item.id.clone();
    }
    match item.id.split_once('/') {
        Some((id, number)) => {
            format!("{}/{number}", id.chars().take(SHORT_ID).collect::<String>())
        }
        None => item.id.chars().take(SHORT_ID).collect(),
    }
}

pub(super) fn shown_text(item: &Item, whole: bool) -> String {
    match (item.text.as_str(), item.kind) {
        ("", ItemKind::Base) => "(layer of an image)".to_owned(),
        ("", ItemKind::Partial) => "(the beginning of a layer)".to_owned(),
        ("", ItemKind::Source) => "(what is remembered of a source)".to_owned(),
        ("", ItemKind::Blob) => "(compressed layer or manifest)".to_owned(),
        ("", _) => String::new(),
        (text, _) => cut(text, whole),
    }
}

fn cut(text: &str, whole: bool) -> String {
    let line = plain_text(text).replace('\n', " ");
    if whole { line } else { shortened(&line, SHORT_STEP) }
}

/// What a hit saves.
fn saves(item: &Item) -> String {
    match item.took_ms {
        0 => String::new(),
        ms => shown_seconds(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, text: &str, bytes: u64) -> Item {
        Item {
            kind: ItemKind::Step,
            id: id.to_owned(),
            text: text.to_owned(),
            bytes,
            created: "2026-11-21T10:00:00.5Z".to_owned(),
            used_secs: 1_795_255_200,
            took_ms: 61_250,
            holder: Holder::Nobody,
        }
    }

    #[test]
    fn what_was_removed_is_said_as_docker_does() {
        let removed = vec![item("0123456789abcdef", "RUN make", 4096), item("cd", "", 0)];
        let report = GcReport { removed, bytes: 1_500_000, images: 2, ..GcReport::default() };
        let text = pruned(&report, false);
        assert!(
            text.starts_with("Deleted images without a name: 2\n\nDeleted build cache objects:\n")
        );
        assert!(text.contains("\n0123456789ab   step   4.1kB   RUN make\n"), "{text}");
        assert!(text.ends_with("\n\nTotal reclaimed space: 1.5MB\n"), "{text}");
        assert_eq!(pruned(&GcReport::default(), true), "Would reclaim: 0B\n");
    }

    #[test]
    fn steps_of_the_same_text_are_summed() {
        let mut tagged = item("2", "RUN make", 10);
        tagged.holder = Holder::Tag;
        let items = vec![item("1", "RUN make", 5), tagged, item("3", "COPY . .", 12)];
        let usage = Usage { items, ..Usage::default() };
        let steps = step_sums(&usage);
        let plain = |(text, sum): &(&str, Sum)| (text.to_string(), sum.bytes, sum.reclaimable);
        let steps: Vec<_> = steps.iter().map(plain).collect();
        assert_eq!(steps, [("RUN make".to_owned(), 15, 5), ("COPY . .".to_owned(), 12, 12)]);
    }

    #[test]
    fn cells_are_short_and_plain() {
        assert_eq!(cut(&"x".repeat(61), false).chars().count(), 60);
        assert!(!cut("RUN \u{1b}[31m\necho", true).contains(['\u{1b}', '\n']));
        assert_eq!(saves(&item("1", "", 0)), "61.2s");
    }
}
