//! Walks what is wanted of a picked directory, in order.

use layer::Entry;
use oci::Digest;
use pattern::Matched;

use crate::{Picked, Tree, TreeError, join};

/// One thing below a picked directory.
#[derive(Clone, Debug)]
pub struct Item {
    /// Path from the picked directory.
    pub relative: Vec<u8>,
    /// What it is; its path counts from the root of the tree.
    pub entry: Entry,
    /// Digest of a file's content, where the tree knows it without reading ([`Tree::list`]).
    pub known: Option<Digest>,
    /// A directory that is only there for something below it: it gets no times of its source (COPY-94, COPY-104).
    pub implied: bool,
}

/// Visits everything below a picked directory, parents first, each directory sorted by name. A picked file has
/// nothing below it. Links are not followed (COPY-14).
///
/// # Errors
/// What the visitor returns, and trees that cannot be read.
pub fn walk<E: From<TreeError>>(
    tree: &dyn Tree,
    picked: &Picked,
    visit: &mut dyn FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    if !picked.entry.is_dir() {
        return Ok(());
    }
    if picked.rules.include.is_none() {
        tree.prefetch(&picked.path);
    }
    let mut walk = Walk { tree, picked, visit, pending: Vec::new() };
    walk.run()
}

struct Walk<'a, E> {
    tree: &'a dyn Tree,
    picked: &'a Picked,
    visit: &'a mut dyn FnMut(Item) -> Result<(), E>,
    /// Directories on the way that nothing below has called for yet.
    pending: Vec<Item>,
}

/// A directory whose entries are being visited. They are kept in a list and not on the stack of the thread: how deep a
/// tree is is for others to say (security.md F3).
struct Level {
    relative: Vec<u8>,
    list: std::vec::IntoIter<(Entry, Option<Digest>)>,
    judged: Judged,
    /// So many directories were pending before this one.
    pending: usize,
}

impl<E: From<TreeError>> Walk<'_, E> {
    fn run(&mut self) -> Result<(), E> {
        let top = self.level(&self.picked.path, Vec::new(), Judged::default(), 0)?;
        let mut levels = vec![top];
        while let Some(level) = levels.last_mut() {
            let Some((entry, known)) = level.list.next() else {
                self.pending.truncate(level.pending);
                levels.pop();
                continue;
            };
            let relative = join(&level.relative, entry.name());
            let below = self.one(Item { relative, entry, known, implied: false }, &level.judged)?;
            levels.extend(below);
        }
        Ok(())
    }

    fn level(
        &self,
        path: &[u8],
        relative: Vec<u8>,
        judged: Judged,
        pending: usize,
    ) -> Result<Level, E> {
        let list = self.tree.list(path)?.into_iter();
        Ok(Level { relative, list, judged, pending })
    }

    /// Visits one thing if it is wanted. Returns the directory that is to be gone into.
    fn one(&mut self, item: Item, parent: &Judged) -> Result<Option<Level>, E> {
        let is_dir = item.entry.is_dir();
        let (verdict, judged) = parent.judge(self.picked, &item.relative, is_dir);
        if verdict == Verdict::Wanted {
            for item in std::mem::take(&mut self.pending) {
                (self.visit)(item)?;
            }
        }
        let below = is_dir.then(|| (item.entry.path.clone(), item.relative.clone()));
        let pending = self.pending.len();
        match verdict {
            Verdict::Wanted => (self.visit)(item)?,
            Verdict::Implied => self.pending.push(Item { implied: true, ..item }),
            Verdict::Unwanted => return Ok(None),
        }
        below.map(|(path, relative)| self.level(&path, relative, judged, pending)).transpose()
    }
}

/// What the rules of a selection said of a directory; needed to judge what lies in it.
#[derive(Default)]
pub(crate) struct Judged {
    include: Matched,
    exclude: Matched,
}

/// What becomes of one thing below a picked directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wanted,
    /// A directory that is there if something below it is wanted.
    Implied,
    Unwanted,
}

impl Judged {
    /// Judges a path in the directory that this is of; with what that means for the things below it.
    pub(crate) fn judge(&self, picked: &Picked, path: &[u8], is_dir: bool) -> (Verdict, Judged) {
        let rules = &picked.rules;
        let exclude = rules.exclude.judge(&self.exclude, path);
        let include = rules.include.as_ref().map(|rules| rules.judge(&self.include, path));
        let matched = include.as_ref().is_none_or(Matched::is_hidden);
        let judged = Judged { include: include.unwrap_or_default(), exclude };
        let verdict = match matched && !judged.exclude.is_hidden() {
            true => Verdict::Wanted,
            false if !is_dir || judged.is_hopeless(picked, path, matched) => Verdict::Unwanted,
            false => Verdict::Implied,
        };
        (verdict, judged)
    }

    /// Whether nothing below a directory that is not wanted itself can be wanted.
    fn is_hopeless(&self, picked: &Picked, path: &[u8], matched: bool) -> bool {
        let include = picked.rules.include.as_ref();
        let exclude = &picked.rules.exclude;
        let unmatched = !matched && include.is_some_and(|rules| !rules.may_match_below(path));
        unmatched || self.exclude.is_hidden() && !exclude.may_have_exception_below(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::memory_tree;

    #[test]
    fn f3_depth_costs_no_stack() {
        let deep = format!("{}f=x", "d/".repeat(3000));
        let visited = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            let tree = memory_tree(&deep);
            let entry = tree.entry(b"").expect("readable").expect("the root");
            let picked = Picked {
                path: Vec::new(),
                name: Vec::new(),
                parents: false,
                itself: false,
                entry,
                rules: Default::default(),
            };
            let mut visited = 0;
            walk::<TreeError>(&tree, &picked, &mut |_| {
                visited += 1;
                Ok(())
            })
            .expect("walked");
            visited
        });
        assert_eq!(visited.expect("a thread").join().expect("no overflow"), 3001);
    }
}
