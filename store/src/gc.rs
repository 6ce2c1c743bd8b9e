//! Collection: removes what nobody needs, and on request what is worth least. Nothing that a live lease names or a tag
//! reaches is removed, and nobody waits longer than one batch.

mod choose;
mod inventory;
mod item;
mod protect;
mod remove;

use std::collections::HashSet;
use std::fs::File;

use oci::ImageId;
use rustix::fs::FlockOperation;

use crate::boot;
use crate::disk;
use crate::error::{StoreError, at};
use crate::layout::Store;
use crate::lease::Lease;
use inventory::Inventory;

pub use item::{Holder, Item, ItemKind, Usage};

const GC_LOCK: &str = "gc.lock";

/// What a collection may take. What nothing leads to is always taken.
#[derive(Clone, Debug, Default)]
pub struct GcPolicy {
    /// Also take what is worth least, until the whole store takes at most this much of the disk.
    pub max_bytes: Option<u64>,
    /// With `max_bytes`: only when the store takes more than this.
    pub above_bytes: u64,
    /// Also take everything that no tag and no running process needs; with `max_bytes` only until that is reached.
    pub all: bool,
    /// Leave images without a name, and what they need.
    pub keep_images: bool,
    /// Leave what the result of a step needs, or is.
    pub keep_results: bool,
    /// Also forget steps whose layers stay because an image needs them.
    pub forget_shared: bool,
    /// Only take what matches.
    pub filter: GcFilter,
    /// Say what would be taken, and take nothing.
    pub dry_run: bool,
    /// With `dry_run`: as if these images were gone, and the names that mean only them.
    pub as_if_gone: HashSet<ImageId>,
}

impl GcPolicy {
    /// Images without a name go even when their layers stay.
    fn takes_all_images(&self) -> bool {
        self.all && self.max_bytes.is_none() && !self.keep_images && self.filter.is_empty()
    }
}

/// Which items a collection may take. An item has to match each of these; of several values of one of them, one.
/// What stands on a matching layer goes with it.
#[derive(Clone, Debug, Default)]
pub struct GcFilter {
    /// Not used for this long, in seconds.
    pub unused_secs: Option<i64>,
    /// Of one of these kinds; empty for any.
    pub kinds: Vec<ItemKind>,
    /// The step's text, or the cache mount's name, has one of these in it; empty for any.
    pub texts: Vec<String>,
    /// The id begins with one of these; empty for any.
    pub ids: Vec<String>,
}

impl GcFilter {
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        let GcFilter { unused_secs, kinds, texts, ids } = self;
        unused_secs.is_none() && kinds.is_empty() && texts.is_empty() && ids.is_empty()
    }

    fn matches(&self, item: &Item, now_secs: i64) -> bool {
        let any = |values: &[String], has: &dyn Fn(&str) -> bool| {
            values.is_empty() || values.iter().any(|value| has(value))
        };
        self.unused_secs.is_none_or(|secs| item.used_secs <= now_secs.saturating_sub(secs))
            && (self.kinds.is_empty() || self.kinds.contains(&item.kind))
            && any(&self.texts, &|text| item.text.contains(text))
            && any(&self.ids, &|id| item.id.starts_with(id))
    }
}

/// What a collection has moved to trash; [`Store::empty_trash`] gives the space back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// The things, in the order of their removal.
    pub removed: Vec<Item>,
    /// What they took on the disk.
    pub bytes: u64,
    /// Images without a name that are gone.
    pub images: usize,
    /// What the store takes on the disk after it, the trash not counted.
    pub left_bytes: u64,
    /// Of this what images with a name need.
    pub tagged_bytes: u64,
    /// Of this what running processes need.
    pub running_bytes: u64,
}

impl GcReport {
    /// How many things of a kind were removed.
    pub fn count(&self, kind: ItemKind) -> usize {
        self.removed.iter().filter(|item| item.kind == kind).count()
    }
}

impl Store {
    /// Moves to trash what `policy` allows. Waits for another collection, never for a build. Layers whose files belong
    /// to other ids can only be measured in the namespace in which they were made.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn gc(&self, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        let _alone = self.lock_out_gc()?;
        self.collect(policy)
    }

    /// [`Store::gc`] unless somebody else collects right now.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn try_gc(&self, policy: &GcPolicy) -> Result<Option<GcReport>, StoreError> {
        let file = self.disk().open_lock(GC_LOCK).map_err(at("open", GC_LOCK))?;
        let operation = FlockOperation::NonBlockingLockExclusive;
        if !disk::try_lock(&file, operation).map_err(at("lock", GC_LOCK))? {
            return Ok(None);
        }
        self.collect(policy).map(Some)
    }

    /// Counts what is in the store.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        Ok(inventory::take(self, &HashSet::new())?.into_usage())
    }

    /// What of the store matches.
    ///
    /// # Errors
    /// The store cannot be read, or no lease be made.
    pub fn matching(&self, filter: &GcFilter) -> Result<Vec<Item>, StoreError> {
        let now_secs = self.lease()?.inner.started_secs;
        let mut items = self.usage()?.items;
        items.retain(|item| filter.matches(item, now_secs));
        Ok(items)
    }

    /// Under `gc.lock`.
    fn collect(&self, policy: &GcPolicy) -> Result<GcReport, StoreError> {
        let lease = self.lease()?;
        let now_secs = lease.inner.started_secs;
        let told_length = self.told_length()?;
        let as_if_gone = match policy.dry_run {
            true => policy.as_if_gone.clone(),
            false => HashSet::new(),
        };
        let found = inventory::take(self, &as_if_gone)?;
        let chosen = choose::choose(&found, policy, now_secs);
        let mut report = match policy.dry_run {
            true => self.foretell(&lease, &found, &chosen, policy)?,
            false => self.remove(&lease, &found, &chosen, policy)?,
        };
        report.left_bytes = found.kept_bytes().saturating_sub(report.bytes);
        let held = |holder| {
            let nodes = found.nodes.iter().filter(move |node| node.item.holder == holder);
            nodes.map(|node| node.item.bytes).sum()
        };
        report.tagged_bytes = held(Holder::Tag);
        report.running_bytes = held(Holder::Process);
        let mut counted = found.counted();
        if !policy.dry_run {
            counted.total_bytes = report.left_bytes;
        }
        lease.put_counted(&counted, told_length)?;
        Ok(report)
    }

    /// What [`Store::remove`] would do.
    fn foretell(
        &self,
        lease: &Lease,
        found: &Inventory,
        chosen: &[usize],
        policy: &GcPolicy,
    ) -> Result<GcReport, StoreError> {
        let removed: Vec<Item> = chosen.iter().map(|at| found.nodes[*at].item.clone()).collect();
        let bytes = removed.iter().map(|item| item.bytes).sum();
        let mut report = GcReport { removed, bytes, ..GcReport::default() };
        if policy.forget_shared {
            remove::shared_records(lease, found, policy, &mut report)?;
        }
        report.images = match policy.takes_all_images() {
            true => remove::untagged(self)?.len(),
            false => remove::images_of(found, chosen),
        };
        Ok(report)
    }

    fn remove(
        &self,
        lease: &Lease,
        found: &Inventory,
        chosen: &[usize],
        policy: &GcPolicy,
    ) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        remove::nodes(lease, found, chosen, policy, &mut report)?;
        if policy.forget_shared {
            remove::shared_records(lease, found, policy, &mut report)?;
        }
        if policy.takes_all_images() {
            report.images += remove::untagged_images(self)?;
        }
        remove::dangling(self)?;
        boot::remove_orphans(self.disk())?;
        remove::notes(lease)?;
        Ok(report)
    }

    /// One collection or verification at a time.
    pub(crate) fn lock_out_gc(&self) -> Result<File, StoreError> {
        let file = self.disk().open_lock(GC_LOCK).map_err(at("open", GC_LOCK))?;
        disk::lock(&file, FlockOperation::LockExclusive).map_err(at("lock", GC_LOCK))?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
