//! Order and choice, on inventories made by hand.

use std::collections::HashSet;

use super::choose::choose;
use super::inventory::{Inventory, Node, User};
use super::item::{Holder, Item, ItemKind};
use super::{GcFilter, GcPolicy};

const NOW_SECS: i64 = 100 * 3600;
const MIB: u64 = 1 << 20;

/// An item that was last used `hours` ago.
fn item(kind: ItemKind, mib: u64, took_ms: u64, hours: i64) -> Item {
    Item {
        kind,
        id: String::new(),
        text: String::new(),
        bytes: mib * MIB,
        created: String::new(),
        used_secs: NOW_SECS - hours * 3600,
        took_ms,
        holder: Holder::Nobody,
    }
}

/// `records`: the layers of each, whose last is its own.
fn inventory(items: Vec<Item>, records: &[&[usize]]) -> Inventory {
    let mut found = Inventory::default();
    for (at, item) in items.into_iter().enumerate() {
        found.total_bytes += item.bytes;
        found.nodes.push(Node {
            item: Item { id: at.to_string(), ..item },
            path: at.to_string(),
            used: (0, 0),
            users: Vec::new(),
            is_garbage: false,
            is_encodable: false,
        });
    }
    for (number, needs) in records.iter().enumerate() {
        for at in *needs {
            found.nodes[*at].users.push(number);
        }
        let own = needs.last().copied();
        let path = format!("records/near/{number}");
        found.users.push(User { path, needs: needs.to_vec(), own });
    }
    found
}

fn chosen(found: &Inventory, policy: &GcPolicy) -> Vec<usize> {
    choose(found, policy, NOW_SECS)
}

fn set(chosen: Vec<usize>) -> HashSet<usize> {
    chosen.into_iter().collect()
}

/// Each takes the rest of the store with it, one after the other.
fn order(found: &Inventory) -> Vec<usize> {
    chosen(found, &GcPolicy { max_bytes: Some(0), ..GcPolicy::default() })
}

#[test]
fn what_is_worth_least_goes_first() {
    use ItemKind::{Base, Mount, Step};
    let items = vec![
        item(Step, 10, 600_000, 1),  // ten minutes of work in little room
        item(Step, 10, 600_000, 48), // the same, long unused
        item(Step, 1000, 2_000, 1),  // much room for two seconds
        item(Base, 100, 0, 1),       // ten seconds of download
        item(Mount, 100, 0, 24),     // as costly, unused for a day
        item(Step, 10, 1_000, 1),    // a second of work
    ];
    let records: &[&[usize]] = &[&[0], &[1], &[2], &[5]];
    assert_eq!(order(&inventory(items, records)), [2, 4, 3, 5, 1, 0]);
}

#[test]
fn blobs_that_a_layer_gives_again_go_before_everything() {
    let mut found =
        inventory(vec![item(ItemKind::Step, 10, 0, 90), item(ItemKind::Blob, 10, 0, 0)], &[&[0]]);
    found.nodes[1].is_encodable = true;
    assert_eq!(order(&found), [1, 0]);
    found.nodes[1].is_encodable = false;
    assert_eq!(order(&found), [0, 1]);
}

#[test]
fn a_layer_is_worth_what_stands_on_it() {
    // 0 is cheap, but the precious 1 stands on it; 2 is worth more than 0 alone, less than 1.
    let items = vec![
        item(ItemKind::Step, 100, 100, 50),
        item(ItemKind::Step, 1, 600_000, 1),
        item(ItemKind::Step, 10, 5_000, 1),
    ];
    let found = inventory(items, &[&[0], &[0, 1], &[2]]);
    // Of equals the child goes before its parent.
    assert_eq!(order(&found), [2, 1, 0]);
}

#[test]
fn only_as_much_goes_as_must() {
    let items = (0..4).map(|n| item(ItemKind::Step, 10, 1000 * (n + 1), 1)).collect();
    let found = inventory(items, &[&[0], &[1], &[2], &[3]]);
    let keep = |mib: u64| GcPolicy { max_bytes: Some(mib * MIB), ..GcPolicy::default() };
    assert_eq!(chosen(&found, &keep(40)), [0usize; 0]);
    assert_eq!(chosen(&found, &keep(39)), [0]);
    assert_eq!(chosen(&found, &keep(20)), [0, 1]);
    assert_eq!(chosen(&found, &GcPolicy::default()), [0usize; 0]);
}

#[test]
fn what_waits_in_the_trash_makes_nobody_else_go() {
    let items = (0..4).map(|n| item(ItemKind::Step, 10, 1000 * (n + 1), 1)).collect();
    let mut found = inventory(items, &[&[0], &[1], &[2], &[3]]);
    found.others.insert("trash".to_owned(), 25 * MIB);
    found.total_bytes += 25 * MIB;
    let keep = |mib: u64| GcPolicy { max_bytes: Some(mib * MIB), ..GcPolicy::default() };
    assert_eq!(chosen(&found, &keep(40)), [0usize; 0]);
    assert_eq!(chosen(&found, &keep(30)), [0]);
    let above = GcPolicy { above_bytes: 40 * MIB, ..keep(0) };
    assert_eq!(chosen(&found, &above), [0usize; 0]);
}

#[test]
fn what_is_held_stays_and_its_users_too() {
    let items = (0..5).map(|_| item(ItemKind::Step, 10, 1000, 1)).collect();
    let mut found = inventory(items, &[&[0], &[0, 1], &[0, 2], &[3]]);
    let holders = [Holder::Tag, Holder::Tag, Holder::Nobody, Holder::Image, Holder::Process];
    for (node, holder) in found.nodes.iter_mut().zip(holders) {
        node.item.holder = holder;
    }
    let all = GcPolicy { all: true, ..GcPolicy::default() };
    assert_eq!(set(chosen(&found, &all)), HashSet::from([2, 3]));
    assert_eq!(chosen(&found, &GcPolicy { keep_images: true, ..all }), [2]);
}

#[test]
fn a_child_goes_with_its_parent_and_garbage_always() {
    let items = (0..4).map(|_| item(ItemKind::Step, 10, 1000, 1)).collect();
    let mut found = inventory(items, &[&[0], &[0, 1], &[2]]);
    found.nodes[3].is_garbage = true;
    assert_eq!(chosen(&found, &GcPolicy::default()), [3]);
    let only = |filter| GcPolicy { all: true, filter, ..GcPolicy::default() };
    let of_id = |id: &str| only(GcFilter { ids: vec![id.to_owned()], ..GcFilter::default() });
    assert_eq!(set(chosen(&found, &of_id("0"))), HashSet::from([0, 1]));
    assert_eq!(chosen(&found, &of_id("1")), [1]);
}

#[test]
fn filters_narrow_each_other() {
    let mut filter = GcFilter::default();
    let old = Item { text: "RUN make".to_owned(), ..item(ItemKind::Step, 1, 0, 30) };
    assert!(filter.is_empty() && filter.matches(&old, NOW_SECS));
    filter.unused_secs = Some(24 * 3600);
    assert!(
        filter.matches(&old, NOW_SECS)
            && !filter.matches(&item(ItemKind::Step, 1, 0, 23), NOW_SECS)
    );
    filter.kinds = vec![ItemKind::Mount, ItemKind::Step];
    filter.texts = vec!["make".to_owned(), "npm".to_owned()];
    assert!(filter.matches(&old, NOW_SECS) && !filter.is_empty());
    assert!(!filter.matches(&Item { text: "RUN go".to_owned(), ..old.clone() }, NOW_SECS));
    assert!(!filter.matches(&Item { kind: ItemKind::Base, ..old }, NOW_SECS));
}
