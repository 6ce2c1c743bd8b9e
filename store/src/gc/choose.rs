//! Which items a collection takes, and in what order: what is worth least first.
//!
//! The worth of an item is what it saves for the room that it takes, and it fades with every hour in which nobody uses
//! it: (milliseconds to make it again + 100) / (KiB on the disk + 4) / (hours since its last use + 1). A step's layer
//! costs what the step took; what was fetched costs its bytes at 10 MB/s. A layer is worth no less than the best of
//! what stands on it. Blobs that can be encoded again from a layer which is here go before everything else.

use std::collections::HashSet;

use super::GcPolicy;
use super::inventory::Inventory;
use super::item::{Holder, Item, ItemKind};
use crate::partial;

/// Milliseconds that even the quickest thing costs: a step has to be started, a server asked.
const COST_MIN_MS: f64 = 100.0;
/// What a fetched byte costs: a network that brings 10 MB a second.
const FETCHED_BYTES_PER_MS: f64 = 10_000.0;
/// Room that even the smallest thing takes.
const ROOM_MIN_KIB: f64 = 4.0;
const HOUR_SECS: f64 = 3600.0;

/// Indices of the nodes to take, in order; `now_secs` is the present time.
pub(super) fn choose(found: &Inventory, policy: &GcPolicy, now_secs: i64) -> Vec<usize> {
    let mut choice = Choice::new(found, policy);
    if policy.filter.is_empty() {
        for (at, node) in found.nodes.iter().enumerate() {
            let item = &node.item;
            let is_given_up =
                item.kind == ItemKind::Partial && partial::is_given_up(item.used_secs, now_secs);
            if node.is_garbage || is_given_up {
                choice.take(at);
            }
        }
    }
    let is_asked = policy.all || policy.max_bytes.is_some();
    let kept_bytes = found.kept_bytes();
    if !is_asked || kept_bytes - choice.bytes <= policy.above_bytes {
        return choice.chosen;
    }
    for at in by_worth(found, now_secs) {
        if policy.max_bytes.is_some_and(|max| kept_bytes - choice.bytes <= max) {
            break;
        }
        let is_kept = policy.keep_results && is_of_step(found, at);
        if !is_kept && policy.filter.matches(&found.nodes[at].item, now_secs) {
            choice.take(at);
        }
    }
    choice.chosen
}

/// Whether the result of a step needs it.
fn is_of_step(found: &Inventory, at: usize) -> bool {
    found.nodes[at].users.iter().any(|user| found.users[*user].path.starts_with("records/"))
}

/// What is worth least first; of equals what stands on others before these.
fn by_worth(found: &Inventory, now_secs: i64) -> Vec<usize> {
    let worths = worths(found, now_secs);
    let mut order: Vec<usize> = (0..found.nodes.len()).collect();
    order.sort_by(|a, b| {
        let (one, other) = (&found.nodes[*a], &found.nodes[*b]);
        let first = other.is_encodable.cmp(&one.is_encodable);
        let worth = || worths[*a].total_cmp(&worths[*b]);
        first.then_with(worth).then_with(|| one.users.len().cmp(&other.users.len()))
    });
    order
}

fn worths(found: &Inventory, now_secs: i64) -> Vec<f64> {
    let own: Vec<f64> = found.nodes.iter().map(|node| worth(&node.item, now_secs)).collect();
    let mut worths = own.clone();
    for user in &found.users {
        // A record is worth what its step has made, a chain its best part, an image without a name nothing.
        let best = match user.own {
            Some(at) => own[at],
            None if user.path.starts_with("chains/") => {
                user.needs.iter().map(|at| own[*at]).fold(0.0, f64::max)
            }
            None => continue,
        };
        for at in &user.needs {
            worths[*at] = worths[*at].max(best);
        }
    }
    worths
}

/// See the head of the module.
fn worth(item: &Item, now_secs: i64) -> f64 {
    let cost_ms = match item.kind {
        ItemKind::Step => item.took_ms as f64,
        _ => item.bytes as f64 / FETCHED_BYTES_PER_MS,
    };
    let room_kib = item.bytes as f64 / 1024.0 + ROOM_MIN_KIB;
    let idle_hours = (now_secs - item.used_secs).max(0) as f64 / HOUR_SECS;
    (cost_ms + COST_MIN_MS) / room_kib / (idle_hours + 1.0)
}

struct Choice<'a> {
    found: &'a Inventory,
    keep_images: bool,
    chosen: Vec<usize>,
    taken: HashSet<usize>,
    /// Indices of the files that go with what is taken.
    gone: HashSet<usize>,
    bytes: u64,
}

impl<'a> Choice<'a> {
    fn new(found: &'a Inventory, policy: &GcPolicy) -> Choice<'a> {
        Choice {
            found,
            keep_images: policy.keep_images,
            chosen: Vec::new(),
            taken: HashSet::new(),
            gone: HashSet::new(),
            bytes: 0,
        }
    }

    /// Takes a node, the files that need it, and the layers which then nothing needs.
    fn take(&mut self, at: usize) {
        let mut pending = vec![at];
        while let Some(at) = pending.pop() {
            let node = &self.found.nodes[at];
            if !self.may_go(node.item.holder) || !self.taken.insert(at) {
                continue;
            }
            self.chosen.push(at);
            self.bytes += node.item.bytes;
            for user in &node.users {
                if self.gone.insert(*user) {
                    let needs = &self.found.users[*user].needs;
                    pending.extend(needs.iter().filter(|at| self.is_left_alone(**at)));
                }
            }
        }
    }

    fn may_go(&self, holder: Holder) -> bool {
        match holder {
            Holder::Nobody => true,
            Holder::Image => !self.keep_images,
            Holder::Process | Holder::Tag => false,
        }
    }

    /// A layer whose last user is gone. Blobs may still be what an output wants.
    fn is_left_alone(&self, at: usize) -> bool {
        let node = &self.found.nodes[at];
        matches!(node.item.kind, ItemKind::Step | ItemKind::Base)
            && node.users.iter().all(|user| self.gone.contains(user))
    }
}
