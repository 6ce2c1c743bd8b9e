//! A tree with a few files more: attestations in outputs of files (OUT-34).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::sync::Arc;

use ::attest::{Statement, Subject};
use exporter::Attestation;
use layer::{Entry, EntryKind, Mtime};
use oci::Digest;
use rustix::fs::MemfdFlags;
use tree::{Tree, TreeError};

use crate::error::{BuildError, BuildErrorKind};
use crate::stop::Stop;

/// The tree with a file at its root for each attestation, `prefix` in front of the name and `platform` in it, where
/// several platforms share the root.
pub(crate) fn with_files(
    tree: Arc<dyn Tree>,
    list: &[Attestation],
    (prefix, platform): (&str, Option<&str>),
    mtime: Mtime,
) -> Result<Arc<dyn Tree>, Stop> {
    if list.is_empty() {
        return Ok(tree);
    }
    let subjects = subjects(&*tree)?;
    let mut files = BTreeMap::new();
    for one in list {
        let Attestation { predicate_type, predicate, file_name } = one;
        let name = match (platform, file_name.rsplit_once('.')) {
            (Some(platform), Some((stem, end))) => format!("{prefix}{stem}.{platform}.{end}"),
            (Some(platform), None) => format!("{prefix}{file_name}.{platform}"),
            (None, _) => format!("{prefix}{file_name}"),
        };
        let is_there = tree.entry(name.as_bytes()).map_err(unreadable)?.is_some();
        if is_there || files.contains_key(name.as_bytes()) {
            let text = format!("the result has a file /{name}, which an attestation is to have");
            let error = BuildError::new(BuildErrorKind::Files, text);
            return Err(error.with_hint("put attestation-prefix=NAME in the output").into());
        }
        let statement = Statement { predicate_type, predicate, subjects: &subjects };
        files.insert(name.into_bytes(), statement.to_json_pretty());
    }
    Ok(Arc::new(WithFiles { tree, files, mtime }))
}

/// Every regular file with its digest (ATT-08).
fn subjects(tree: &dyn Tree) -> Result<Vec<Subject>, Stop> {
    let mut subjects = Vec::new();
    let mut todo: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(dir) = todo.pop() {
        for (entry, known) in tree.list(&dir).map_err(unreadable)? {
            match &entry.kind {
                EntryKind::Directory { .. } => todo.push(entry.path),
                EntryKind::File { digest, .. } => {
                    let digest = match known.or(*digest) {
                        Some(digest) => digest,
                        None => tree.digest(&entry.path).map_err(unreadable)?,
                    };
                    let name = String::from_utf8_lossy(&entry.path).into_owned();
                    subjects.push(Subject { name, digest });
                }
                _ => {}
            }
        }
    }
    subjects.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(subjects)
}

fn unreadable(error: TreeError) -> BuildError {
    BuildError::new(BuildErrorKind::Files, "cannot read the image's files").because(error)
}

struct WithFiles {
    tree: Arc<dyn Tree>,
    /// Content by name.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    mtime: Mtime,
}

impl WithFiles {
    fn own(&self, path: &[u8]) -> Option<Entry> {
        let bytes = self.files.get(path)?;
        let digest = Some(Digest::of(bytes));
        let kind = EntryKind::File { size_bytes: bytes.len() as u64, digest };
        Some(Entry { mode: 0o600, mtime: self.mtime, ..Entry::plain(path, kind) })
    }
}

impl Tree for WithFiles {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        match self.own(path) {
            Some(entry) => Ok(Some(entry)),
            None => self.tree.entry(path),
        }
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut names = self.tree.children(dir)?;
        if dir.is_empty() {
            names.extend(self.files.keys().cloned());
            names.sort();
        }
        Ok(names)
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        let Some(bytes) = self.files.get(path) else { return self.tree.open(path) };
        let open = || {
            let memory = rustix::fs::memfd_create("attestation", MemfdFlags::CLOEXEC)?;
            let mut file = File::from(memory);
            file.write_all(bytes)?;
            file.rewind()?;
            Ok(file)
        };
        open().map_err(|error| TreeError::new("open", path, error))
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        match self.files.get(path) {
            Some(bytes) => Ok(Digest::of(bytes)),
            None => self.tree.digest(path),
        }
    }

    fn prefetch(&self, dir: &[u8]) {
        self.tree.prefetch(dir);
    }
}
