//! A single file as a tree: what a URL gives.

use std::fs::File;
use std::path::PathBuf;

use layer::{Entry, EntryKind, Mtime};
use oci::Digest;
use rustix::io::Errno;
use tree::{Tree, TreeError};

/// A directory with one file in it, 0600 and owned by 0:0 (ADD-33).
pub struct FileTree {
    file: Entry,
    digest: Digest,
    content: PathBuf,
}

impl FileTree {
    /// The file `name`, whose bytes are in the file `content` of this machine. A name that could lead elsewhere is
    /// taken for `__unnamed__` (security.md A8). No `mtime` is 1970 (ADD-34).
    pub fn new(
        name: &[u8],
        content: PathBuf,
        (size_bytes, digest): (u64, Digest),
        mtime: Option<Mtime>,
    ) -> FileTree {
        let odd = matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0);
        let file = Entry {
            path: if odd { b"__unnamed__".to_vec() } else { name.to_vec() },
            kind: EntryKind::File { size_bytes, digest: Some(digest) },
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: mtime.unwrap_or_default(),
            xattrs: Default::default(),
            link_group: None,
        };
        FileTree { file, digest, content }
    }

    /// The only entry besides the root.
    pub fn file(&self) -> &Entry {
        &self.file
    }

    fn known(&self, operation: &'static str, path: &[u8]) -> Result<(), TreeError> {
        match path == self.file.path {
            true => Ok(()),
            false => Err(TreeError::new(operation, path, Errno::NOENT.into())),
        }
    }
}

impl Tree for FileTree {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        if path.is_empty() {
            let kind = EntryKind::Directory { opaque: false };
            let root = Entry { path: Vec::new(), kind, mode: 0o755, ..self.file.clone() };
            return Ok(Some(root));
        }
        Ok((path == self.file.path).then(|| self.file.clone()))
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        match dir.is_empty() {
            true => Ok(vec![self.file.path.clone()]),
            false => Err(TreeError::new("read directory", dir, Errno::NOTDIR.into())),
        }
    }

    fn open(&self, path: &[u8]) -> Result<File, TreeError> {
        self.known("open", path)?;
        File::open(&self.content).map_err(|e| TreeError::new("open", path, e))
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        self.known("read", path)?;
        Ok(self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names() {
        let check = |name: &str, want: &str| {
            let known = (0, Digest::of(b""));
            let tree = FileTree::new(name.as_bytes(), "/dev/null".into(), known, None);
            assert_eq!(tree.children(b"").expect("root"), [want.as_bytes().to_vec()]);
        };
        check("file.txt", "file.txt");
        check("with blank", "with blank");
        for odd in ["", ".", "..", "a/b", "/abs", "../x", "a\0b"] {
            check(odd, "__unnamed__"); // ADD-31
        }
    }
}
