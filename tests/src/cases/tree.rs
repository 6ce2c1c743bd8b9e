//! A file tree as layers make it: entries of archives applied over each other, whiteouts and opaque directories
//! heeded. Also read from a directory.
//!
//! Owns what an entry is and when two are the same. Knows no images.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use super::tar::{self, TarEntry};

/// Paths without the first `/`, to what is there. Names of one file share their node.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(pub(super) BTreeMap<Vec<u8>, Arc<Node>>);

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: i64,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
    Socket,
}

/// A layer, read.
#[derive(Debug)]
pub(super) struct Layer {
    entries: Vec<(Vec<u8>, LayerEntry)>,
}

#[derive(Debug)]
enum LayerEntry {
    Node(Arc<Node>),
    /// Another name of the file at this path.
    HardLink(Vec<u8>),
    Whiteout,
    Opaque,
}

impl Node {
    /// Whether nothing but the time differs.
    pub(super) fn is_same_but_time(&self, other: &Node) -> bool {
        let numbers = |n: &Node| (n.mode, n.uid, n.gid);
        let same = numbers(self) == numbers(other) && self.xattrs == other.xattrs;
        same && self.kind == other.kind
    }

    /// One word for messages.
    pub(super) fn kind_name(&self) -> &'static str {
        match self.kind {
            NodeKind::File(_) => "file",
            NodeKind::Directory => "dir",
            NodeKind::Link(_) => "link",
            NodeKind::Fifo => "fifo",
            NodeKind::Char(..) => "char",
            NodeKind::Block(..) => "block",
            NodeKind::Socket => "socket",
        }
    }
}

impl Layer {
    /// Reads an uncompressed layer.
    ///
    /// # Errors
    /// What makes it no layer.
    pub(super) fn read(archive: &[u8]) -> Result<Layer, String> {
        let mut entries = Vec::new();
        for entry in tar::read(archive)? {
            let path = clean(&entry.name)?;
            let slash = path.iter().rposition(|byte| *byte == b'/');
            let (parent, name) = match slash {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&path[..0], &path[..]),
            };
            if name == b".wh..wh..opq" {
                entries.push((parent.to_vec(), LayerEntry::Opaque));
            } else if let Some(hidden) = name.strip_prefix(b".wh.") {
                let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
                entries.push(([parent, slash, hidden].concat(), LayerEntry::Whiteout));
            } else if entry.kind == b'1' {
                entries.push((path, LayerEntry::HardLink(clean(&entry.link)?)));
            } else {
                entries.push((path, LayerEntry::Node(Arc::new(node(archive, entry)?))));
            }
        }
        Ok(Layer { entries })
    }

    /// Paths of all entries, whiteouts as `.wh.x`, sorted; the archive's own root is left out.
    pub(super) fn paths(&self) -> Vec<Vec<u8>> {
        let named = |path: &Vec<u8>, entry: &LayerEntry| match entry {
            LayerEntry::Opaque => [&path[..], b"/.wh..wh..opq"].concat(),
            LayerEntry::Whiteout => {
                let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
                [&path[..name], b".wh.", &path[name..]].concat()
            }
            _ => path.clone(),
        };
        let mut paths: Vec<Vec<u8>> = self.entries.iter().map(|(p, e)| named(p, e)).collect();
        paths.retain(|path| !path.is_empty());
        paths.sort();
        paths
    }
}

impl Tree {
    /// Puts a layer on top.
    ///
    /// # Errors
    /// An entry for which there is no place.
    pub(super) fn apply(&mut self, layer: &Layer) -> Result<(), String> {
        for (path, entry) in &layer.entries {
            match entry {
                LayerEntry::Opaque => self.remove_below(path),
                LayerEntry::Whiteout => self.remove(path),
                _ => {}
            }
        }
        for (path, entry) in &layer.entries {
            let node = match entry {
                LayerEntry::Node(node) => node.clone(),
                LayerEntry::HardLink(target) => self.link_target(path, target)?,
                LayerEntry::Opaque | LayerEntry::Whiteout => continue,
            };
            if path.is_empty() {
                continue;
            }
            self.check_parents(path)?;
            if node.kind != NodeKind::Directory {
                self.remove_below(path);
            }
            self.0.insert(path.clone(), node);
        }
        Ok(())
    }

    /// What is at an absolute path as a case writes it: in UTF-8, or one byte for each character.
    pub(super) fn get(&self, path: &str) -> Option<&Arc<Node>> {
        let below = &path[1..];
        self.0.get(below.as_bytes()).or_else(|| self.0.get(&super::words::bytes(below)))
    }

    /// Groups of names of one file, absolute.
    pub(super) fn hard_links(&self) -> Vec<Vec<Vec<u8>>> {
        let mut groups: BTreeMap<*const Node, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, node) in &self.0 {
            groups.entry(Arc::as_ptr(node)).or_default().push([b"/", &path[..]].concat());
        }
        groups.into_values().filter(|names| names.len() > 1).collect()
    }

    fn remove_below(&mut self, path: &[u8]) {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let inside = self.0.range(prefix.clone()..).take_while(|(p, _)| p.starts_with(&prefix));
        let paths: Vec<Vec<u8>> = inside.map(|(path, _)| path.clone()).collect();
        for path in paths {
            self.0.remove(&path);
        }
    }

    fn remove(&mut self, path: &[u8]) {
        self.remove_below(path);
        self.0.remove(path);
    }

    fn link_target(&self, path: &[u8], target: &[u8]) -> Result<Arc<Node>, String> {
        match self.0.get(target) {
            Some(node) if node.kind != NodeKind::Directory => Ok(node.clone()),
            _ => Err(format!("hard link {} to {}, which is no file", shown(path), shown(target))),
        }
    }

    /// Directories that no entry names are made.
    fn check_parents(&mut self, path: &[u8]) -> Result<(), String> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (at, _) in slashes {
            let parent = &path[..at];
            let known = self.0.entry(parent.to_vec()).or_insert_with(|| Arc::new(bare_directory()));
            if known.kind != NodeKind::Directory {
                return Err(format!("{} lies below what is no directory", shown(path)));
            }
        }
        Ok(())
    }

    /// The tree of one uncompressed archive.
    ///
    /// # Errors
    /// What is wrong with the archive.
    pub(super) fn of_archive(archive: &[u8]) -> Result<Tree, String> {
        let mut tree = Tree::default();
        tree.apply(&Layer::read(archive)?)?;
        Ok(tree)
    }

    /// The tree below a directory.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn of_directory(top: &Path) -> std::io::Result<Tree> {
        let mut tree = Tree::default();
        let mut seen = BTreeMap::new();
        let mut pending = vec![top.to_owned()];
        while let Some(directory) = pending.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                let meta = path.symlink_metadata()?;
                let fresh = || file_node(&path, &meta).map(Arc::new);
                let node = match seen.get(&(meta.dev(), meta.ino())) {
                    Some(known) if !meta.is_dir() => Arc::clone(known),
                    _ => fresh()?,
                };
                seen.insert((meta.dev(), meta.ino()), node.clone());
                let below = path.strip_prefix(top).unwrap_or(&path);
                tree.0.insert(below.as_os_str().as_encoded_bytes().to_vec(), node);
                if meta.is_dir() {
                    pending.push(path);
                }
            }
        }
        Ok(tree)
    }
}

fn bare_directory() -> Node {
    let kind = NodeKind::Directory;
    Node { kind, mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
}

fn file_node(path: &Path, meta: &std::fs::Metadata) -> std::io::Result<Node> {
    let kind = meta.file_type();
    let device = || (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    let kind = if kind.is_file() {
        NodeKind::File(std::fs::read(path)?)
    } else if kind.is_dir() {
        NodeKind::Directory
    } else if kind.is_symlink() {
        NodeKind::Link(std::fs::read_link(path)?.into_os_string().into_encoded_bytes())
    } else if kind.is_fifo() {
        NodeKind::Fifo
    } else if kind.is_char_device() {
        NodeKind::Char(device().0, device().1)
    } else if kind.is_block_device() {
        NodeKind::Block(device().0, device().1)
    } else {
        NodeKind::Socket
    };
    Ok(Node {
        kind,
        mode: meta.mode() & 0o7777,
        uid: u64::from(meta.uid()),
        gid: u64::from(meta.gid()),
        mtime: meta.mtime(),
        xattrs: BTreeMap::new(),
    })
}

fn node(archive: &[u8], entry: TarEntry) -> Result<Node, String> {
    let (major, minor) = entry.device;
    let kind = match entry.kind {
        b'0' | 0 | b'7' => NodeKind::File(archive[entry.content].to_vec()),
        b'5' => NodeKind::Directory,
        b'2' => NodeKind::Link(entry.link),
        b'6' => NodeKind::Fifo,
        b'3' => NodeKind::Char(major, minor),
        b'4' => NodeKind::Block(major, minor),
        other => return Err(format!("{} has the type {other}", shown(&entry.name))),
    };
    // A link's mode means nothing.
    let mode = if matches!(kind, NodeKind::Link(_)) { 0o777 } else { entry.mode };
    let TarEntry { uid, gid, mtime, xattrs, .. } = entry;
    Ok(Node { kind, mode, uid, gid, mtime, xattrs })
}

/// Without `.`, empty parts and the first `/`.
fn clean(name: &[u8]) -> Result<Vec<u8>, String> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let parts: Vec<&[u8]> = parts.collect();
    if parts.contains(&&b".."[..]) {
        return Err(format!("an entry with ..: {}", shown(name)));
    }
    Ok(parts.join(&b'/'))
}

/// For messages.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
