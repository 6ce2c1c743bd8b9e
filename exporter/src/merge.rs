//! What outputs of the flattened file system share: walking trees, one directory for each platform, merging several
//! into one (OUT-33).

use std::collections::HashMap;

use layer::{Entry, EntryKind};
use oci::{Digest, Platform};
use tree::Tree;

use crate::ExportError;
use crate::error::{Failure, show};

/// Where each platform's tree goes below the output; empty for the output itself. Several platforms get a directory
/// each unless `split` forbids it; then files of one name must be equal.
pub(crate) fn places(
    trees: &[(Platform, &dyn Tree)],
    split: Option<bool>,
) -> Result<Vec<String>, ExportError> {
    if split.unwrap_or(trees.len() > 1) {
        return Ok(trees.iter().map(|(platform, _)| directory_name(platform)).collect());
    }
    check_merge(trees)?;
    Ok(vec![String::new(); trees.len()])
}

/// `linux_arm_v7`.
fn directory_name(platform: &Platform) -> String {
    let mut name = format!("{}_{}", platform.os, platform.architecture);
    if !platform.variant.is_empty() {
        name.push('_');
        name.push_str(&platform.variant);
    }
    // Platforms of images come from others; their words are no path.
    name.replace(['/', '\\', '\0'], "_").replace("..", "_")
}

/// Visits every entry of a tree but the root, parents first, each directory sorted by name.
pub(crate) fn each_entry(
    tree: &dyn Tree,
    visit: &mut dyn FnMut(Entry) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    tree.prefetch(b"");
    // A list of what is still to come instead of recursion: a tree may be deeper than a stack.
    let mut todo: Vec<Vec<u8>> = Vec::new();
    let push_children = |dir: &[u8], todo: &mut Vec<Vec<u8>>| -> Result<(), ExportError> {
        let mut names = tree.children(dir)?;
        names.reverse();
        todo.extend(names.iter().map(|name| tree::join(dir, name)));
        Ok(())
    };
    push_children(b"", &mut todo)?;
    while let Some(path) = todo.pop() {
        let Some(entry) = tree.entry(&path)? else { continue };
        let is_dir = entry.is_dir();
        visit(entry)?;
        if is_dir {
            push_children(&path, &mut todo)?;
        }
    }
    Ok(())
}

/// What must be equal when two platforms have a file of one name.
#[derive(PartialEq)]
struct Look {
    mode: u32,
    uid: u32,
    gid: u32,
    kind: EntryKind,
    digest: Option<Digest>,
}

fn check_merge(trees: &[(Platform, &dyn Tree)]) -> Result<(), ExportError> {
    if trees.len() < 2 {
        return Ok(());
    }
    let mut seen: HashMap<Vec<u8>, (&Platform, Look)> = HashMap::new();
    for (platform, tree) in trees {
        each_entry(*tree, &mut |entry| {
            let look = look(*tree, &entry)?;
            match seen.get(&entry.path) {
                Some((first, other)) if *other != look => Err(Failure::Overwrite {
                    path: format!("/{}", show(&entry.path)),
                    first: directory_name(platform),
                    second: directory_name(first),
                }
                .into()),
                Some(_) => Ok(()),
                None => {
                    seen.insert(entry.path, (platform, look));
                    Ok(())
                }
            }
        })?;
    }
    Ok(())
}

fn look(tree: &dyn Tree, entry: &Entry) -> Result<Look, ExportError> {
    let Entry { mode, uid, gid, ref kind, .. } = *entry;
    let (kind, digest) = match kind {
        EntryKind::File { size_bytes, .. } => (
            EntryKind::File { size_bytes: *size_bytes, digest: None },
            Some(tree.digest(&entry.path)?),
        ),
        other => (other.clone(), None),
    };
    Ok(Look { mode, uid, gid, kind, digest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_by_platform() {
        let check = |text: &str, expect: &str| {
            let platform: Platform = text.parse().expect(text);
            assert_eq!(directory_name(&platform), expect);
        };
        check("linux/amd64", "linux_amd64"); // OUT-33
        check("linux/arm/v7", "linux_arm_v7");
        let hostile = Platform { os: "../x".to_owned(), ..Platform::host() };
        assert!(!directory_name(&hostile).contains(['/', '.']));
    }
}
