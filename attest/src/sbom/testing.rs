//! A tree of files in a directory of its own, for tests.

use std::fs::File;

use layer::{Entry, EntryKind, Mtime};
use oci::Digest;
use tree::{Tree, TreeError};

struct Files {
    dir: tempfile::TempDir,
}

/// A tree with these files.
pub(super) fn files(list: &[(&str, &str)]) -> Box<dyn Tree> {
    let dir = tempfile::tempdir().expect("a directory");
    for (path, content) in list {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(path, content).expect("a file");
    }
    Box::new(Files { dir })
}

impl Files {
    fn path(&self, path: &[u8]) -> std::path::PathBuf {
        self.dir.path().join(String::from_utf8_lossy(path).as_ref())
    }
}

impl Tree for Files {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        let Ok(meta) = std::fs::symlink_metadata(self.path(path)) else { return Ok(None) };
        let kind = match meta.is_dir() {
            true => EntryKind::Directory { opaque: false },
            false => EntryKind::File { size_bytes: meta.len(), digest: None },
        };
        Ok(Some(Entry {
            path: path.to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            xattrs: Default::default(),
            link_group: None,
        }))
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        let read = std::fs::read_dir(self.path(dir)).map_err(|e| TreeError::new("list", dir, e))?;
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.expect("an entry").file_name().into_encoded_bytes()
        };
        let mut names: Vec<Vec<u8>> = read.map(name).collect();
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        File::open(self.path(path)).map_err(|e| TreeError::new("open", path, e))
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        let bytes = std::fs::read(self.path(path)).map_err(|e| TreeError::new("read", path, e))?;
        Ok(Digest::of(&bytes))
    }
}
