//! What differs between two listings, thing by thing.
//!
//! Owns what counts as new, gone, renamed and changed. Refuses to word it.

use std::collections::{HashMap, HashSet};

use oci::Digest;

use crate::listing::{Content, Kind, Listed, parse_listing};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Name of the picked path and the path below it; empty for the root of a tree.
    pub path: Vec<u8>,
    /// What it is now, or was when it is gone.
    pub kind: Kind,
    /// How it differs.
    pub what: What,
}

/// How a thing differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It was not there.
    New,
    /// It is not there any more.
    Gone,
    /// It is what was at this path, under another name.
    Renamed(Vec<u8>),
    /// It is there in both; at least one of these differs.
    Changed(Vec<Change>),
}

/// What of a thing differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its bytes, where a link leads, or a device's numbers.
    Content,
    /// What it is.
    Kind(Kind, Kind),
    /// Its permission bits, old and new.
    Mode(u32, u32),
    /// Owner and group, old and new.
    Owner((u32, u32), (u32, u32)),
    /// Extended attributes.
    Attributes,
    /// With which other files it is one.
    Links,
}

/// Compares two listings; `None` when one of them is none. What is new or changed comes in the new one's order, then
/// what is gone.
pub fn compare_listings(old: &[u8], new: &[u8]) -> Option<Vec<Difference>> {
    let (old, new) = (parse_listing(old)?, parse_listing(new)?);
    let (old_keys, new_keys) = (keys(&old), keys(&new));
    let then: HashMap<&Key<'_>, &Listed<'_>> = old_keys.iter().zip(&old).collect();
    let mut found = Vec::new();
    let mut added = Vec::new();
    for (key, now) in new_keys.iter().zip(&new) {
        match then.get(key) {
            Some(then) => {
                let changes = changes(then, now);
                if !changes.is_empty() {
                    found.push(difference(now, What::Changed(changes)));
                }
            }
            None => {
                added.push((found.len(), now));
                found.push(difference(now, What::New));
            }
        }
    }
    let now: HashSet<&Key<'_>> = new_keys.iter().collect();
    let gone: Vec<&Listed<'_>> =
        old_keys.iter().zip(&old).filter(|(key, _)| !now.contains(key)).map(|(_, t)| t).collect();
    let renamed = find_renamed(&gone, &added);
    for (at, from) in &renamed {
        found[*at].what = What::Renamed(full_path(gone[*from]));
    }
    let moved: HashSet<usize> = renamed.into_iter().map(|(_, from)| from).collect();
    let gone = gone.iter().enumerate().filter(|(at, _)| !moved.contains(at));
    found.extend(gone.map(|(_, thing)| difference(thing, What::Gone)));
    Some(found)
}

/// A wildcard may pick several paths of one name: they are told apart by their order.
type Key<'a> = (&'a [u8], u32, &'a [u8]);

fn keys<'a>(things: &[Listed<'a>]) -> Vec<Key<'a>> {
    let mut seen: HashMap<&[u8], u32> = HashMap::new();
    let mut last: Option<(u32, u32)> = None;
    let mut keys = Vec::with_capacity(things.len());
    for thing in things {
        let occurrence = match last {
            Some((picked, occurrence)) if picked == thing.picked => occurrence,
            _ => {
                let count = seen.entry(thing.name).or_default();
                *count += 1;
                *count - 1
            }
        };
        last = Some((thing.picked, occurrence));
        keys.push((thing.name, occurrence, thing.below));
    }
    keys
}

fn difference(thing: &Listed<'_>, what: What) -> Difference {
    Difference { path: full_path(thing), kind: thing.kind, what }
}

fn full_path(thing: &Listed<'_>) -> Vec<u8> {
    crate::join(thing.name, thing.below)
}

fn changes(then: &Listed<'_>, now: &Listed<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    if then.kind != now.kind {
        changes.push(Change::Kind(then.kind, now.kind));
    } else if then.content != now.content {
        changes.push(Change::Content);
    }
    if then.mode != now.mode && then.kind == now.kind {
        changes.push(Change::Mode(then.mode, now.mode));
    }
    if (then.uid, then.gid) != (now.uid, now.gid) {
        changes.push(Change::Owner((then.uid, then.gid), (now.uid, now.gid)));
    }
    if then.xattrs != now.xattrs {
        changes.push(Change::Attributes);
    }
    // The groups are numbered by first use: another number alone says that something before it differs.
    if (then.links == 0) != (now.links == 0) {
        changes.push(Change::Links);
    }
    changes
}

/// Pairs of a new file's place in the result and a gone file's index: of equal content, and the only ones of it.
fn find_renamed(gone: &[&Listed<'_>], added: &[(usize, &Listed<'_>)]) -> Vec<(usize, usize)> {
    let content = |thing: &Listed<'_>| match thing.content {
        Content::Bytes(digest) if digest != Digest::of(b"") => Some((digest, thing.mode)),
        _ => None,
    };
    let mut by_content: HashMap<(Digest, u32), (Vec<usize>, Vec<usize>)> = HashMap::new();
    for (at, thing) in gone.iter().enumerate() {
        if let Some(content) = content(thing) {
            by_content.entry(content).or_default().0.push(at);
        }
    }
    for (at, thing) in added {
        if let Some(content) = content(thing) {
            by_content.entry(content).or_default().1.push(*at);
        }
    }
    let pairs = by_content.into_values().filter_map(|(old, new)| match (&old[..], &new[..]) {
        ([old], [new]) => Some((*new, *old)),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use graph::Selection;
    use layer::Entry;

    use super::*;
    use crate::list_selection;
    use crate::memory::memory_tree;

    fn listing(
        text: &str,
        path: &str,
        change: impl FnOnce(&mut dyn FnMut(&str, &dyn Fn(&mut Entry))),
    ) -> Vec<u8> {
        let mut tree = memory_tree(text);
        change(&mut |path, change| change(tree.entry_mut(path)));
        let selection =
            Selection { path: path.to_owned(), wildcards: true, ..Selection::default() };
        list_selection(&tree, &selection).expect(path).1
    }

    fn differ(old: &[u8], new: &[u8]) -> Vec<(String, What)> {
        let found = compare_listings(old, new).expect("two listings");
        found
            .into_iter()
            .map(|one| (String::from_utf8(one.path).expect("a name"), one.what))
            .collect()
    }

    fn plain(text: &str, path: &str) -> Vec<u8> {
        listing(text, path, |_| {})
    }

    #[test]
    fn each_kind_of_difference_is_told() {
        let old = plain("d/a=a d/b=b d/c=c d/l->a d/k=k d/run=x", "d");
        assert_eq!(differ(&old, &old), []);
        let new = listing("d/a=A d/b=b d/n=n d/l->b d/k->a d/run=x", "d", |entry| {
            entry("d/b", &|entry| entry.mode = 0o600);
            entry("d/run", &|entry| entry.uid = 7);
        });
        let changed = |change| What::Changed(vec![change]);
        let old_mode = 0o644;
        assert_eq!(
            differ(&old, &new),
            [
                ("d/a".to_owned(), changed(Change::Content)),
                ("d/b".to_owned(), changed(Change::Mode(old_mode, 0o600))),
                ("d/k".to_owned(), changed(Change::Kind(Kind::File, Kind::Symlink))),
                ("d/l".to_owned(), changed(Change::Content)),
                ("d/n".to_owned(), What::New),
                ("d/run".to_owned(), changed(Change::Owner((0, 0), (7, 0)))),
                ("d/c".to_owned(), What::Gone),
            ]
        );
    }

    #[test]
    fn a_file_with_another_name_is_renamed() {
        let old = plain("d/a=one d/e=", "d");
        let new = plain("d/b=one d/f=", "d");
        assert_eq!(
            differ(&old, &new),
            [
                ("d/b".to_owned(), What::Renamed(b"d/a".to_vec())),
                ("d/f".to_owned(), What::New),
                ("d/e".to_owned(), What::Gone),
            ]
        );
        // Nobody can tell which of two became the third.
        let new = plain("d/b=one d/c=one", "d");
        let whats: Vec<What> = differ(&old, &new).into_iter().map(|(_, what)| what).collect();
        assert_eq!(whats, [What::New, What::New, What::Gone, What::Gone]);
    }

    #[test]
    fn one_of_many_is_found() {
        let files = |changed: usize| {
            let file = |at: usize| {
                let content = if at == changed { 0 } else { at };
                format!("d/s{}/f{at}={content} ", at % 200)
            };
            plain(&(0..5_000).map(file).collect::<String>(), "d")
        };
        let changed = What::Changed(vec![Change::Content]);
        assert_eq!(differ(&files(0), &files(3_123)), [("d/s123/f3123".to_owned(), changed)]);
    }

    #[test]
    fn paths_of_one_name_are_told_apart() {
        let old = plain("a/f=1 b/f=2", "*/f");
        let new = plain("a/f=1 b/f=3", "*/f");
        assert_eq!(differ(&old, &new), [("f".to_owned(), What::Changed(vec![Change::Content]))]);
        assert_eq!(compare_listings(b"nothing", &new), None);
    }
}
