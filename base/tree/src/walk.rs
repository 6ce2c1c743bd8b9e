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

#[derive(Default)]
struct Judged {
    include: Matched,
    exclude: Matched,
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
        let rules = &self.picked.rules;
        let exclude = rules.exclude.judge(&parent.exclude, &item.relative);
        let judge = |rules: &pattern::Rules| rules.judge(&parent.include, &item.relative);
        let include = rules.include.as_ref().map(judge);
        let matched = include.as_ref().is_none_or(Matched::is_hidden);
        let wanted = matched && !exclude.is_hidden();
        if wanted {
            for item in std::mem::take(&mut self.pending) {
                (self.visit)(item)?;
            }
        }
        if !item.entry.is_dir() {
            if wanted {
                (self.visit)(item)?;
            }
            return Ok(None);
        }
        let below = Judged { include: include.unwrap_or_default(), exclude };
        let (path, relative) = (item.entry.path.clone(), item.relative.clone());
        let pending = self.pending.len();
        if wanted {
            (self.visit)(item)?;
        } else if self.hopeless(&relative, matched, &below) {
            return Ok(None);
        } else {
            self.pending.push(Item { implied: true, ..item });
        }
        self.level(&path, relative, below, pending).map(Some)
    }

    /// Whether nothing below a directory that is not wanted itself can be wanted.
    fn hopeless(&self, relative: &[u8], matched: bool, below: &Judged) -> bool {
        let rules = &self.picked.rules;
        let include = rules.include.as_ref();
        let unmatched = !matched && include.is_some_and(|rules| !rules.may_match_below(relative));
        let excluded =
            below.exclude.is_hidden() && !rules.exclude.may_have_exception_below(relative);
        unmatched || excluded
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
