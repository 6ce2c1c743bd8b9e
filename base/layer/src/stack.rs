//! Layers on each other: what a path means in a stack of tables of contents.
//!
//! Owns the meaning of whiteouts, opaque directories and of names that change their kind from layer to layer. Refuses
//! to touch a file. Stacks are given top first.

use std::collections::BTreeMap;

use crate::toc::DirRange;
use crate::{Entry, EntryKind, Toc};

/// Finds a path in a stack, top first: the layer's index and its entry. Takes the path literally: no symlink is
/// followed, and below anything but a directory there is nothing.
pub fn lookup<'a>(stack: &[&'a Toc], path: &[u8]) -> Option<(usize, &'a Entry)> {
    let mut view = View::of(stack);
    let mut names = path.split(|b| *b == b'/').peekable();
    while let Some(name) = names.next() {
        let (found, inside) = view.child(name);
        match names.peek() {
            None => return found,
            Some(_) => view = inside,
        }
    }
    None
}

/// The children of a directory in a stack, top first, sorted by name. Empty when the path is no directory.
pub fn children<'a>(stack: &[&'a Toc], dir: &[u8]) -> Vec<(usize, &'a Entry)> {
    let view = match dir {
        [] => View::of(stack),
        dir => dir.split(|b| *b == b'/').fold(View::of(stack), |view, name| view.child(name).1),
    };
    view.children()
}

/// One directory of a stack: its part in every layer that shows through, top first.
#[derive(Clone, Default)]
pub(crate) struct View<'a> {
    parts: Vec<(usize, DirRange<'a>)>,
}

impl<'a> View<'a> {
    /// The root of a stack, top first.
    pub(crate) fn of(stack: &[&'a Toc]) -> View<'a> {
        View { parts: stack.iter().map(|toc| DirRange::root(toc)).enumerate().collect() }
    }

    /// What one name in the directory is, and the directory that it is (an empty one when it is none).
    pub(crate) fn child(&self, name: &[u8]) -> (Option<(usize, &'a Entry)>, View<'a>) {
        let mut top = None;
        let mut inside = View::default();
        for (layer, part) in &self.parts {
            let Some((entry, range)) = part.find(name) else { continue };
            let EntryKind::Directory { opaque } = entry.kind else {
                if top.is_none() && entry.kind != EntryKind::Whiteout {
                    top = Some((*layer, entry));
                }
                break;
            };
            top = top.or(Some((*layer, entry)));
            inside.parts.push((*layer, range));
            if opaque {
                break;
            }
        }
        (top, inside)
    }

    /// All names in the directory, sorted.
    pub(crate) fn children(&self) -> Vec<(usize, &'a Entry)> {
        let mut names: BTreeMap<&[u8], (usize, &Entry)> = BTreeMap::new();
        for (layer, part) in &self.parts {
            for entry in part.children() {
                names.entry(&entry.path[part.prefix()..]).or_insert((*layer, entry));
            }
        }
        names.into_values().filter(|(_, entry)| entry.kind != EntryKind::Whiteout).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{dir, file, link, of_kind, whiteout};

    #[test]
    fn upper_layers_hide_lower_ones() {
        let low = Toc::from_entries(vec![
            dir("d"),
            file("d/kept", b"1"),
            file("d/gone", b"1"),
            dir("d/sub"),
            file("d/sub/deep", b"1"),
            dir("o"),
            file("o/hidden", b"1"),
            dir("now-link"),
            file("now-link/x", b"1"),
            file("now-dir", b"1"),
        ]);
        let mid = Toc::from_entries(vec![
            dir("d"),
            whiteout("d/gone"),
            whiteout("d/sub"),
            of_kind("o", EntryKind::Directory { opaque: true }),
            file("o/new", b"2"),
            link("now-link", "d"),
            dir("now-dir"),
            file("now-dir/x", b"2"),
        ]);
        let top = Toc::from_entries(vec![dir("d"), dir("d/sub"), file("d/sub/fresh", b"3")]);
        let stack = [&top, &mid, &low];
        let found = |path: &str| lookup(&stack, path.as_bytes()).map(|(layer, _)| layer);
        let cases: &[(&str, Option<usize>)] = &[
            ("d", Some(0)),
            ("d/kept", Some(2)),
            ("d/gone", None),
            ("d/sub", Some(0)),
            ("d/sub/fresh", Some(0)),
            ("d/sub/deep", None),
            ("o/hidden", None),
            ("o/new", Some(1)),
            ("now-link", Some(1)),
            ("now-link/x", None),
            ("now-dir/x", Some(1)),
            ("missing/x", None),
        ];
        for (path, layer) in cases {
            assert_eq!(found(path), *layer, "{path}");
        }
        let names = |dir: &str| -> Vec<String> {
            children(&stack, dir.as_bytes())
                .iter()
                .map(|(_, e)| String::from_utf8_lossy(e.name()).into_owned())
                .collect()
        };
        assert_eq!(names(""), ["d", "now-dir", "now-link", "o"]);
        assert_eq!(names("d"), ["kept", "sub"]);
        assert_eq!(names("d/sub"), ["fresh"]);
        assert_eq!(names("o"), ["new"]);
        assert_eq!(names("now-link"), [""; 0]);
    }
}
