//! Trees of files for tests: real layers, in a directory of their own.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use layer::Entry;
use oci::Digest;
use tree::{LayerDir, StackTree, Tree, TreeError};

use super::Inventory;
use super::elf::Numbers;

/// A tree with these files; those that begin like a program can be executed.
pub(super) fn files<C: AsRef<[u8]>>(list: &[(&str, C)]) -> Box<dyn Tree> {
    linked_files(list, &[])
}

/// The same with further names: hard links to the second path, or where that begins with `->` symbolic ones.
pub(super) fn linked_files<C: AsRef<[u8]>>(
    list: &[(&str, C)],
    links: &[(&str, &str)],
) -> Box<dyn Tree> {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |path: &str| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        path
    };
    for (path, content) in list {
        let content = content.as_ref();
        let mode = if content.starts_with(b"\x7fELF") { 0o755 } else { 0o644 };
        std::fs::write(place(path), content).expect("a file");
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place(path), permissions).expect("a mode");
    }
    for (path, target) in links {
        match target.strip_prefix("->") {
            Some(target) => std::os::unix::fs::symlink(target, place(path)).expect("a link"),
            None => std::fs::hard_link(place(target), place(path)).expect("a link"),
        }
    }
    let opened = std::fs::File::open(dir.path()).expect("the directory");
    let toc = layer::scan_upper(opened.as_fd(), true).expect("a layer");
    let stack = StackTree::new(vec![(Arc::new(toc), Arc::new(Opened(opened.into())))]);
    Box::new(Files { stack, _dir: dir })
}

/// Looks through files; exactly these package URLs are found.
pub(super) fn check<C: AsRef<[u8]>>(list: &[(&str, C)], want: &[&str]) -> Inventory {
    let found = super::scan(&*files(list)).expect("readable");
    let mut purls: Vec<&str> = found.packages.iter().map(|p| p.purl.as_str()).collect();
    purls.sort_unstable();
    assert_eq!(purls, want);
    found
}

/// Where the bytes of the sections begin in a program of [`elf`].
pub(super) const SECTIONS_AT: usize = 128;
/// The address that the beginning of such a file is loaded to.
pub(super) const IMAGE_BASE: u64 = 0x10_0000;

/// A program with these sections, behind each other, and all of the file as data that can be written.
pub(super) fn elf(numbers: Numbers, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; SECTIONS_AT];
    let mut names = b"\0.shstrtab\0".to_vec();
    let mut rows = vec![(0, 0, 0)];
    for (name, bytes) in sections {
        rows.push((names.len(), file.len(), bytes.len()));
        names.extend_from_slice(name.as_bytes());
        names.push(0);
        file.extend_from_slice(bytes);
        file.resize(file.len().next_multiple_of(16), 0);
    }
    rows.push((1, file.len(), names.len()));
    file.extend_from_slice(&names);
    let table = file.len();
    let row_bytes = if numbers.is_64 { 64 } else { 40 };
    file.resize(table + rows.len() * row_bytes, 0);
    let end = file.len() as u64;
    let mut put = |start: usize, wide: (usize, usize), narrow: (usize, usize), value: u64| {
        let (at, len) = if numbers.is_64 { wide } else { narrow };
        let place = &mut file[start + at..start + at + len];
        match numbers.is_big {
            true => place.copy_from_slice(&value.to_be_bytes()[8 - len..]),
            false => place.copy_from_slice(&value.to_le_bytes()[..len]),
        }
    };
    for (number, (name, at, len)) in rows.iter().enumerate() {
        let row = table + number * row_bytes;
        put(row, (0, 4), (0, 4), *name as u64);
        put(row, (4, 4), (4, 4), 1);
        put(row, (24, 8), (16, 4), *at as u64);
        put(row, (32, 8), (20, 4), *len as u64);
    }
    let segment = if numbers.is_64 { 64 } else { 52 };
    put(segment, (0, 4), (0, 4), 1);
    put(segment, (4, 4), (24, 4), 6);
    put(segment, (16, 8), (8, 4), IMAGE_BASE);
    put(segment, (32, 8), (16, 4), end);
    put(0, (32, 8), (28, 4), segment as u64);
    put(0, (40, 8), (32, 4), table as u64);
    let counts = [if numbers.is_64 { 56 } else { 32 }, 1, row_bytes, rows.len(), rows.len() - 1];
    for (at, count) in counts.iter().enumerate() {
        put(0, (54 + 2 * at, 2), (42 + 2 * at, 2), *count as u64);
    }
    let kinds = [1 + u8::from(numbers.is_64), 1 + u8::from(numbers.is_big)];
    file[..4].copy_from_slice(b"\x7fELF");
    file[4..6].copy_from_slice(&kinds);
    file.resize(file.len().max(600), 0);
    file
}

struct Opened(OwnedFd);

impl LayerDir for Opened {
    fn open(&self) -> std::io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

struct Files {
    stack: StackTree,
    _dir: tempfile::TempDir,
}

impl Tree for Files {
    fn entry(&self, path: &[u8]) -> Result<Option<Entry>, TreeError> {
        self.stack.entry(path)
    }

    fn children(&self, dir: &[u8]) -> Result<Vec<Vec<u8>>, TreeError> {
        self.stack.children(dir)
    }

    fn open(&self, path: &[u8]) -> Result<std::fs::File, TreeError> {
        self.stack.open(path)
    }

    fn digest(&self, path: &[u8]) -> Result<Digest, TreeError> {
        self.stack.digest(path)
    }
}
