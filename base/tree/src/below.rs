//! What is below a picked directory, on its way into the digest: each directory is listed and encoded by itself, many
//! at once, and all are put one into the other at the end.
//!
//! Owns that order. Refuses to know how a thing is encoded. What is held is the encoded things, never a file.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use layer::{Entry, EntryKind};
use oci::Digest;
use rayon::Scope;
use rayon::prelude::*;

use crate::digest::{Sink, content_digest, put_item};
use crate::walk::{Judged, Verdict};
use crate::{Picked, Tree, TreeError};

/// Encodes everything that [`crate::walk`] visits, in the same order.
pub(crate) fn put_below(
    sink: &mut impl Sink,
    tree: &dyn Tree,
    picked: &Picked,
) -> Result<(), TreeError> {
    let reader = Reader { tree, picked, blocks: Mutex::new(vec![None]) };
    rayon::scope(|scope| reader.read(scope, 0, &picked.path, &Judged::default()));
    let blocks = reader.blocks.into_inner().unwrap_or_else(|lock| lock.into_inner());
    let blocks = blocks.into_iter().flatten().collect::<Result<Vec<Block>, TreeError>>()?;
    put_blocks(sink, &blocks);
    Ok(())
}

/// The things of one directory. Blocks name each other by number and are in no boxes in boxes: how deep a tree is is
/// for others to say (security.md F3).
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    /// Where in `bytes` a hard-link group is to be written, and which the tree says it is.
    links: Vec<(usize, u32)>,
    below: Vec<Below>,
}

/// A directory in a block's directory.
struct Below {
    /// Where in the bytes of the block its things belong.
    at: usize,
    /// Itself, if it is there only for what is below it.
    implied: Vec<u8>,
    block: usize,
}

/// A thing ends with the number of its hard-link group.
const GROUP_BYTES: usize = 4;

/// What most things take besides their path.
const ITEM_BYTES: usize = 66;

struct Reader<'a> {
    tree: &'a dyn Tree,
    picked: &'a Picked,
    /// One for each directory that was found; its place is filled in when it was read.
    blocks: Mutex<Vec<Option<Result<Block, TreeError>>>>,
}

impl Reader<'_> {
    fn read<'s>(&'s self, scope: &Scope<'s>, number: usize, dir: &[u8], judged: &Judged) {
        let block = self.block(scope, dir, judged);
        self.blocks.lock().unwrap_or_else(|lock| lock.into_inner())[number] = Some(block);
    }

    fn block<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: &[u8],
        judged: &Judged,
    ) -> Result<Block, TreeError> {
        let mut list = self.tree.list(dir)?;
        self.read_contents(&mut list, judged)?;
        let mut block = Block::default();
        block.bytes.reserve(list.iter().map(|(entry, _)| ITEM_BYTES + entry.path.len()).sum());
        for (entry, digest) in &list {
            let relative = self.relative(entry);
            let (verdict, judged) = judged.judge(self.picked, relative, entry.is_dir());
            if verdict == Verdict::Unwanted {
                continue;
            }
            let mut bytes = Vec::new();
            let is_implied = verdict == Verdict::Implied;
            let target = if is_implied { &mut bytes } else { &mut block.bytes };
            put_item(target, relative, is_implied, entry, *digest);
            if let Some(group) = entry.link_group {
                block.links.push((target.len() - GROUP_BYTES, group));
            }
            if entry.is_dir() {
                let (number, path) = (self.reserve(), entry.path.clone());
                block.below.push(Below { at: block.bytes.len(), implied: bytes, block: number });
                scope.spawn(move |scope| self.read(scope, number, &path, &judged));
            }
        }
        Ok(block)
    }

    /// Completes the digests of the files that are wanted.
    fn read_contents(
        &self,
        list: &mut [(Entry, Option<Digest>)],
        judged: &Judged,
    ) -> Result<(), TreeError> {
        let is_unread = |(entry, digest): &&mut (Entry, Option<Digest>)| {
            let has_content = matches!(entry.kind, EntryKind::File { .. } | EntryKind::Socket);
            let verdict = || judged.judge(self.picked, self.relative(entry), false).0;
            digest.is_none() && has_content && verdict() == Verdict::Wanted
        };
        let unread: Vec<_> = list.iter_mut().filter(is_unread).collect();
        unread.into_par_iter().try_for_each(|(entry, digest)| {
            content_digest(self.tree, entry).map(|read| *digest = read)
        })
    }

    fn relative<'e>(&self, entry: &'e Entry) -> &'e [u8] {
        let above = self.picked.path.len();
        &entry.path[if above == 0 { 0 } else { above + 1 }..]
    }

    fn reserve(&self) -> usize {
        let mut blocks = self.blocks.lock().unwrap_or_else(|lock| lock.into_inner());
        blocks.push(None);
        blocks.len() - 1
    }
}

/// All blocks in their order, parents first.
fn put_blocks(sink: &mut impl Sink, blocks: &[Block]) {
    let mut output = Output { sink, implied: Vec::new(), links: LinkNumbers::new(blocks) };
    let mut levels = vec![Level { block: &blocks[0], at: 0, next: 0, implied: 0 }];
    while let Some(level) = levels.last_mut() {
        let below = level.block.below.get(level.next);
        let end = below.map_or(level.block.bytes.len(), |below| below.at);
        output.put(level.block, level.at..end);
        (level.at, level.next) = (end, level.next + 1);
        let Some(below) = below else {
            output.implied.truncate(level.implied);
            levels.pop();
            continue;
        };
        let implied = output.implied.len();
        output.implied.extend((!below.implied.is_empty()).then_some(&*below.implied));
        levels.push(Level { block: &blocks[below.block], at: 0, next: 0, implied });
    }
}

/// How far a block has come.
struct Level<'a> {
    block: &'a Block,
    at: usize,
    /// Which of the directories in it is next.
    next: usize,
    /// So many implied directories were waiting before this one.
    implied: usize,
}

struct Output<'a, S> {
    sink: &'a mut S,
    /// Directories that nothing below has called for yet.
    implied: Vec<&'a [u8]>,
    links: LinkNumbers,
}

impl<S: Sink> Output<'_, S> {
    fn put(&mut self, block: &Block, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.implied.drain(..).for_each(|bytes| self.sink.update(bytes));
        let mut from = range.start;
        let first = block.links.partition_point(|(at, _)| *at < range.start);
        for (at, group) in block.links[first..].iter().take_while(|(at, _)| *at < range.end) {
            self.sink.update(&block.bytes[from..*at]);
            self.sink.update(&self.links.number(*group).to_le_bytes());
            from = at + GROUP_BYTES;
        }
        self.sink.update(&block.bytes[from..range.end]);
    }
}

/// Numbers of hard-link groups by first use; 0 for a thing that is the only one of its group.
struct LinkNumbers {
    counts: HashMap<u32, usize>,
    numbers: HashMap<u32, u32>,
}

impl LinkNumbers {
    fn new(blocks: &[Block]) -> LinkNumbers {
        let mut counts = HashMap::new();
        for (_, group) in blocks.iter().flat_map(|block| &block.links) {
            *counts.entry(*group).or_default() += 1;
        }
        LinkNumbers { counts, numbers: HashMap::new() }
    }

    fn number(&mut self, group: u32) -> u32 {
        if self.counts.get(&group).is_none_or(|count| *count < 2) {
            return 0;
        }
        let next = self.numbers.len() as u32 + 1;
        *self.numbers.entry(group).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use graph::Selection;

    use crate::memory::memory_tree;
    use crate::{list_selection, parse_listing, select, walk};

    /// What a step's key counts is what its copy copies.
    #[test]
    fn the_digest_has_what_a_walk_visits_in_its_order() {
        let tree = memory_tree("a/x=1 a/y/z=2 a-b=3 b/c/d/keep=4 b/c/d/e/f=5 b/c/g=6 b/h=7 c l->a");
        let check = |path: &str, parents: bool, exclude: &[&str], count: usize| {
            let selection = Selection {
                path: path.to_owned(),
                wildcards: true,
                parents,
                exclude: exclude.iter().map(|rule| rule.to_string()).collect(),
                itself: false,
            };
            let mut walked = Vec::new();
            for picked in select(&tree, &selection).expect(path).iter().filter(|p| p.entry.is_dir())
            {
                let visit = &mut |item: crate::Item| {
                    walked.push(item.relative);
                    Ok::<(), crate::TreeError>(())
                };
                walk(&tree, picked, visit).expect("walked");
            }
            let (_, listing) = list_selection(&tree, &selection).expect("listed");
            let listed = parse_listing(&listing).expect("a listing");
            let listed = listed.iter().filter(|thing| !thing.below.is_empty());
            let listed: Vec<Vec<u8>> = listed.map(|thing| thing.below.to_vec()).collect();
            assert_eq!(listed, walked, "{path} {exclude:?}");
            assert_eq!(listed.len(), count, "{path} {exclude:?}");
        };
        check("/", false, &[], 15);
        check("/", false, &["b", "!b/c/d/keep"], 11);
        check("/", false, &["b", "!b/c/d/keep", "!b/h"], 12);
        check("/", false, &["**", "!**/f"], 5);
        check("/", false, &["b/c/d", "!b/nothing"], 11);
        check("**/d/**", true, &[], 6);
        check("*", false, &["**/e"], 11);
    }
}
