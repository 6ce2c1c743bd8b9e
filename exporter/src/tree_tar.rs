//! The file system of the result as one tar (OUT-32, OUT-36).

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};

use layer::{Entry, EntryKind, Mtime, TarWriter};
use oci::Platform;
use tree::Tree;

use crate::ExportError;
use crate::error::write_tar;
use crate::job::Job;
use crate::merge::{each_entry, places};

const WHAT: &str = "the tar of the file system";

/// Writes trees as a tar with owners and modes as they are. With an epoch that is every entry's time (EPO-14).
pub fn write_tree_tar(
    trees: &[(Platform, &dyn Tree)],
    split: Option<bool>,
    epoch: Option<i64>,
    out: &mut dyn Write,
    job: Job,
) -> Result<(), ExportError> {
    let places = places(trees, split)?;
    let mut tar = TarWriter::new(out);
    let mut written: HashSet<Vec<u8>> = HashSet::new();
    for ((_, tree), place) in trees.iter().zip(&places) {
        if !place.is_empty() {
            let entry = place_entry(place, epoch);
            tar.entry(&entry, None).map_err(write_tar(WHAT))?;
        }
        let mut first_names: HashMap<u32, Vec<u8>> = HashMap::new();
        each_entry(*tree, &mut |mut entry| {
            job.check()?;
            if entry.kind == EntryKind::Socket {
                return Ok(());
            }
            let source = entry.path.clone();
            entry.path = tree::join(place.as_bytes(), &source);
            if !written.insert(entry.path.clone()) {
                return Ok(());
            }
            if let Some(secs) = epoch {
                entry.mtime = Mtime { secs, nanos: 0 };
            }
            if let Some(group) = entry.link_group {
                if let Some(first) = first_names.get(&group) {
                    return tar.hard_link(&entry, first).map_err(write_tar(WHAT));
                }
                first_names.insert(group, entry.path.clone());
            }
            put(&mut tar, *tree, &source, &entry, job)
        })?;
    }
    tar.finish().map_err(write_tar(WHAT))
}

fn put(
    tar: &mut TarWriter,
    tree: &dyn Tree,
    source: &[u8],
    entry: &Entry,
    job: Job,
) -> Result<(), ExportError> {
    let EntryKind::File { size_bytes: 1.., .. } = entry.kind else {
        return tar.entry(entry, None).map_err(write_tar(WHAT));
    };
    let mut content = Stoppable { file: tree.open(source)?, job };
    tar.entry(entry, Some(&mut content)).map_err(write_tar(WHAT))
}

/// A file that stops when the user wants it.
struct Stoppable<'a> {
    file: std::fs::File,
    job: Job<'a>,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.job.check().map_err(std::io::Error::other)?;
        self.file.read(buffer)
    }
}

/// The directory that a platform's tree goes into.
fn place_entry(place: &str, epoch: Option<i64>) -> Entry {
    let mtime = Mtime { secs: epoch.unwrap_or(0), nanos: 0 };
    Entry { mtime, ..Entry::plain(place.as_bytes(), EntryKind::Directory { opaque: false }) }
}
