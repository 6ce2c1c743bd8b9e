//! In-root resolution of paths: links and `..` never lead out (COPY-10 to COPY-13, COPY-36).

use std::collections::VecDeque;

use layer::EntryKind;
use rustix::io::Errno;

use crate::{Tree, TreeError, join};

/// Symbolic links that one path may lead through.
const LINKS_MAX: usize = 255;

/// What a literal path is, as far as resolution is concerned.
pub enum Step {
    /// Nothing is there.
    Missing,
    /// A symbolic link to this target.
    Link(Vec<u8>),
    /// Something else.
    Other,
}

/// A path without links and dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The literal path. What lies behind a missing component is taken as written.
    pub path: Vec<u8>,
    /// Whether something is there.
    pub exists: bool,
}

/// Resolves a path in a tree; `None` when nothing is there. With `follow_last` a link at the end is followed too.
///
/// # Errors
/// A tree that cannot be read, or more than 255 links (`ELOOP`).
pub fn resolve(
    tree: &dyn Tree,
    path: &[u8],
    follow_last: bool,
) -> Result<Option<Vec<u8>>, TreeError> {
    let resolved = resolve_with(path, follow_last, &mut |literal| {
        Ok(match tree.entry(literal)?.map(|entry| entry.kind) {
            None => Step::Missing,
            Some(EntryKind::Symlink { target }) => Step::Link(target),
            Some(_) => Step::Other,
        })
    });
    match resolved? {
        Some(resolved) => Ok(resolved.exists.then_some(resolved.path)),
        None => Err(TreeError::new("resolve", path, Errno::LOOP.into())),
    }
}

/// Resolves a path with any way to look at literal paths; `None` after 255 links.
pub fn resolve_with<E>(
    path: &[u8],
    follow_last: bool,
    look: &mut dyn FnMut(&[u8]) -> Result<Step, E>,
) -> Result<Option<Resolved>, E> {
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut rest: VecDeque<Vec<u8>> = components(path).collect();
    let mut links = 0;
    let mut exists = true;
    while let Some(part) = rest.pop_front() {
        if part == b".." {
            done.pop();
            exists = true;
            continue;
        }
        done.push(part);
        if !exists {
            continue;
        }
        match look(&done.join(&b'/'))? {
            Step::Other => {}
            Step::Missing => exists = false,
            Step::Link(_) if rest.is_empty() && !follow_last => {}
            Step::Link(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                done.pop();
                if target.first() == Some(&b'/') {
                    done.clear();
                }
                for part in components(&target).rev() {
                    rest.push_front(part);
                }
            }
        }
    }
    Ok(Some(Resolved { path: done.join(&b'/'), exists }))
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

/// All directories above a path, the root first.
pub(crate) fn ancestors(path: &[u8]) -> Vec<Vec<u8>> {
    let mut dirs = vec![Vec::new()];
    let mut parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    parts.pop();
    for part in parts {
        let dir = join(dirs.last().map_or(&[], Vec::as_slice), part);
        dirs.push(dir);
    }
    dirs
}

/// The deepest directory of a path that is there.
pub(crate) fn deepest(tree: &dyn Tree, path: &[u8]) -> Option<Vec<u8>> {
    ancestors(path).into_iter().rev().find_map(|dir| resolve(tree, &dir, true).ok().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::memory_tree;

    #[test]
    fn links_stay_inside() {
        let tree = memory_tree(
            "d/f=x d/up->../../../d/f d/abs->/d/f l->d ll->l loop->loop dangling->none out->/../e",
        );
        let check = |path: &str, want: Option<&str>| {
            let got = resolve(&tree, path.as_bytes(), true).expect(path);
            assert_eq!(got.map(|p| String::from_utf8_lossy(&p).into_owned()).as_deref(), want);
        };
        check("", Some(""));
        check("/../../d/f", Some("d/f")); // COPY-10
        check("d/up", Some("d/f")); // COPY-13
        check("d/abs", Some("d/f")); // COPY-12
        check("ll/f", Some("d/f"));
        check("ll/../d/f", Some("d/f"));
        check("dangling", None);
        check("out", None);
        check("d/f/x", None);
        check("nothing/../d", Some("d"));
        assert!(resolve(&tree, b"loop", true).is_err());
        assert_eq!(resolve(&tree, b"ll", false).expect("ll"), Some(b"ll".to_vec()));
    }

    #[test]
    fn ancestors_begin_at_the_root() {
        assert_eq!(ancestors(b"a/b/c"), [b"".to_vec(), b"a".to_vec(), b"a/b".to_vec()]);
        assert_eq!(ancestors(b"a"), [b"".to_vec()]);
    }
}
