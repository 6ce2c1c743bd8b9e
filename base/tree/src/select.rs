//! Which paths of a tree a selection means (COPY-10 to COPY-27, COPY-90 to COPY-97, COPY-100 to COPY-105).

use std::sync::Arc;

use graph::Selection;
use layer::Entry;
use pattern::{PatternError, Rules, Wildcard, clean, has_wildcards};

use crate::nearest::nearest;
use crate::{Tree, TreeError, join, resolve};

/// One source: a path that was named, or one that a wildcard matched.
#[derive(Clone, Debug)]
pub struct Picked {
    /// Literal path, links resolved.
    pub path: Vec<u8>,
    /// What is there; never a link, except nowhere a link can be followed.
    pub entry: Entry,
    /// Name that a file gets in a directory: the last component as written or matched (COPY-15). Empty for the root.
    pub name: Vec<u8>,
    /// The directory's things are placed with the directories above them (COPY-90): the destination is a directory.
    pub parents: bool,
    /// A directory's own mode, owner and attributes are wanted too.
    pub itself: bool,
    pub(crate) rules: Arc<Filter>,
}

/// What is wanted of a picked directory.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    /// Only what matches (`--parents`).
    pub(crate) include: Option<Rules>,
    /// Not what matches (`--exclude`).
    pub(crate) exclude: Rules,
}

/// A selection means nothing in this tree.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// A path that was named is not there (COPY-05).
    #[error("\"/{}\": not found", String::from_utf8_lossy(.path))]
    NotFound {
        /// The path, cleaned, without leading slash.
        path: Vec<u8>,
        /// Paths that are there and look like it, best first.
        nearest: Vec<String>,
    },
    /// A pattern cannot be read (COPY-25).
    #[error("read a source pattern")]
    BadPattern(#[source] PatternError),
    /// The tree cannot be read.
    #[error("read the source tree")]
    Tree(#[source] TreeError),
}

impl SelectError {
    /// Whether a named path is missing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, SelectError::NotFound { .. })
    }
}

/// Finds what a selection means, in the order in which it is copied. A wildcard may match nothing (COPY-23).
///
/// # Errors
/// A named path or a matched link's target that is missing, a malformed pattern, a tree that cannot be read.
pub fn select(tree: &dyn Tree, selection: &Selection) -> Result<Vec<Picked>, SelectError> {
    let exclude = Rules::new(&selection.exclude).map_err(SelectError::BadPattern)?;
    if selection.parents {
        return select_parents(tree, selection, exclude);
    }
    let rules = Arc::new(Filter { include: None, exclude });
    let path = clean_root(selection.path.as_bytes());
    let paths = match selection.wildcards && has_wildcards(&path) {
        true => expand(tree, &path)?,
        false => vec![path],
    };
    let picked = paths.iter().map(|path| pick(tree, path, &rules));
    picked.map(|one| Ok(Picked { itself: selection.itself, ..one? })).collect()
}

/// Cleans a path against the root and drops the leading slash (COPY-10, COPY-16, COPY-17).
fn clean_root(path: &[u8]) -> Vec<u8> {
    clean(&[b"/", path].concat())[1..].to_vec()
}

fn pick(tree: &dyn Tree, path: &[u8], rules: &Arc<Filter>) -> Result<Picked, SelectError> {
    let resolved = resolve(tree, path, true).map_err(SelectError::Tree)?;
    let Some(resolved) = resolved else { return Err(not_found(tree, path)) };
    let entry = tree.entry(&resolved).map_err(SelectError::Tree)?;
    let entry = entry.ok_or_else(|| not_found(tree, path))?;
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
    let rules = Arc::clone(rules);
    Ok(Picked { path: resolved, entry, name, parents: false, itself: false, rules })
}

fn not_found(tree: &dyn Tree, path: &[u8]) -> SelectError {
    SelectError::NotFound { path: path.to_vec(), nearest: nearest(tree, path) }
}

/// Paths that a pattern matches, component by component, sorted. Links are not followed on the way (COPY-20, COPY-27).
fn expand(tree: &dyn Tree, pattern: &[u8]) -> Result<Vec<Vec<u8>>, SelectError> {
    let parts: Vec<&[u8]> = pattern.split(|b| *b == b'/').collect();
    let literal = parts.iter().take_while(|part| !has_wildcards(part)).count();
    let (literal, parts) = parts.split_at(literal);
    let wildcards = parts.iter().map(|part| Wildcard::new(part)).collect::<Result<Vec<_>, _>>();
    let wildcards = wildcards.map_err(SelectError::BadPattern)?;
    let base = resolve(tree, &literal.join(&b'/'), true).map_err(SelectError::Tree)?;
    let mut found: Vec<Vec<u8>> = base.into_iter().collect();
    for wildcard in &wildcards {
        let mut deeper = Vec::new();
        for dir in &found {
            let is_dir = tree.entry(dir).map_err(SelectError::Tree)?.is_some_and(|e| e.is_dir());
            if !is_dir {
                continue;
            }
            let names = tree.children(dir).map_err(SelectError::Tree)?;
            deeper.extend(names.iter().filter(|n| wildcard.matches(n)).map(|n| join(dir, n)));
        }
        found = deeper;
    }
    Ok(found)
}

/// `--parents`: the part before the first `/./` is the directory, the rest a pattern in it (COPY-90 to COPY-96).
fn select_parents(
    tree: &dyn Tree,
    selection: &Selection,
    exclude: Rules,
) -> Result<Vec<Picked>, SelectError> {
    let text = selection.path.as_bytes();
    let pivot = text.windows(3).position(|three| three == b"/./");
    let (base, pattern) = match pivot {
        Some(at) => (&text[..at], &text[at + 3..]),
        None => (&b""[..], text),
    };
    let (base_pattern, pattern) = (clean_root(base), clean_root(pattern));
    let bases = match selection.wildcards && has_wildcards(&base_pattern) {
        true => expand(tree, &base_pattern)?,
        false => vec![base_pattern.clone()],
    };
    let include = match pattern.is_empty() {
        true => None,
        false => Some(Rules::new([&pattern]).map_err(SelectError::BadPattern)?),
    };
    // A wildcard on either side of the pivot makes it a pattern that may match nothing (COPY-93).
    let is_pattern =
        selection.wildcards && (has_wildcards(&base_pattern) || has_wildcards(&pattern));
    let rules = Arc::new(Filter { include, exclude });
    let mut picked = Vec::new();
    for base in bases {
        let one = Picked { parents: true, ..pick(tree, &base, &rules)? };
        if !pattern.is_empty() && !is_pattern {
            let path = join(&one.path, &pattern);
            if tree.entry(&path).map_err(SelectError::Tree)?.is_none() {
                return Err(not_found(tree, &path));
            }
        }
        picked.push(one);
    }
    Ok(picked)
}

#[cfg(test)]
mod tests;
