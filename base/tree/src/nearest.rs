//! Names that look like one that is missing, for the error's help.

use crate::resolve::deepest;
use crate::{Tree, join};

/// How many are worth naming.
const NEAREST_MAX: usize = 3;

/// Names that are looked at; a directory of a million files must not slow an error down.
const NAMES_MAX: usize = 10_000;

/// Paths beside a missing one that differ by a few letters or only by case, best first.
pub(crate) fn nearest(tree: &dyn Tree, path: &[u8]) -> Vec<String> {
    let Some(dir) = deepest(tree, path) else { return Vec::new() };
    // The first component that is missing, below the deepest directory as it is written.
    let depth = path.split(|b| *b == b'/').count() - missing_components(tree, path);
    let Some(wanted) = path.split(|b| *b == b'/').nth(depth) else { return Vec::new() };
    let wanted = String::from_utf8_lossy(wanted).into_owned();
    let names = tree.children(&dir).unwrap_or_default();
    let mut near: Vec<(usize, String)> = names
        .iter()
        .take(NAMES_MAX)
        .filter_map(|name| {
            let text = String::from_utf8_lossy(name);
            let distance = distance(&wanted.to_lowercase(), &text.to_lowercase());
            let letters = wanted.chars().count();
            // Short of a whole word: any other letter would be near to `a`.
            let close = distance < letters && distance <= (letters / 3).clamp(1, 4);
            // The name itself is there when it is a link that leads nowhere: no help to name it.
            let other = text != wanted;
            (close && other)
                .then(|| (distance, String::from_utf8_lossy(&join(&dir, name)).into_owned()))
        })
        .collect();
    near.sort();
    near.truncate(NEAREST_MAX);
    near.into_iter().map(|(_, path)| path).collect()
}

fn missing_components(tree: &dyn Tree, path: &[u8]) -> usize {
    let dirs = crate::resolve::ancestors(path);
    let is_there = |dir: &&Vec<u8>| crate::resolve(tree, dir, true).ok().flatten().is_some();
    dirs.len() + 1 - dirs.iter().take_while(is_there).count()
}

/// Number of letters to add, drop, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > 4 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let above = &rows[i];
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(x != y));
            let swapped = i > 0 && j > 0 && a[i - 1] == *y && b[j - 1] == *x;
            if swapped {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        assert_eq!(distance("same", "same"), 0);
        assert_eq!(distance("mian", "main"), 1);
        assert_eq!(distance("pakage", "package"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "xyz"), 3);
    }
}
