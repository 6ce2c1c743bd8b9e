//! A root file system small enough for every test: a static busybox and the files that programs expect.

use std::path::PathBuf;

/// The static busybox of this machine (package busybox-static).
pub fn busybox() -> Option<PathBuf> {
    crate::need::program("busybox")
}

/// Commands that the tiny system has links for.
const COMMANDS: &[&str] = &[
    "sh",
    "cat",
    "cp",
    "rm",
    "mv",
    "ls",
    "ln",
    "mkdir",
    "touch",
    "echo",
    "test",
    "true",
    "false",
    "id",
    "env",
    "chmod",
    "chown",
    "sleep",
    "sha256sum",
    "stat",
    "find",
    "grep",
    "wget",
    "mount",
];

/// An uncompressed layer tar with busybox, its links, users root and web, and the usual directories; all owned by
/// root, all times 1. `None` without busybox.
pub fn busybox_tar() -> Option<Vec<u8>> {
    let program = std::fs::read(busybox()?).ok()?;
    let mut tar = TarBuilder::new();
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "usr", "var"] {
        tar = tar.dir(dir, 0o755);
    }
    tar = tar.dir("tmp", 0o1777).file("bin/busybox", 0o755, &program);
    for command in COMMANDS {
        tar = tar.symlink(&format!("bin/{command}"), "busybox");
    }
    tar = tar
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n")
        .file("etc/group", 0o644, b"root:x:0:\nweb:x:1000:\nextra:x:2000:web\n");
    Some(tar.finish())
}

/// Makes tars for tests.
pub struct TarBuilder {
    tar: tar::Builder<Vec<u8>>,
    owner: (u64, u64),
    mtime: u64,
}

impl Default for TarBuilder {
    fn default() -> TarBuilder {
        TarBuilder::new()
    }
}

impl TarBuilder {
    /// An empty archive.
    pub fn new() -> TarBuilder {
        TarBuilder { tar: tar::Builder::new(Vec::new()), owner: (0, 0), mtime: 1 }
    }

    /// Sets user and group of what is added from now on; root at first.
    pub fn owned_by(mut self, uid: u64, gid: u64) -> TarBuilder {
        self.owner = (uid, gid);
        self
    }

    /// Sets the time of what is added from now on, in seconds since the epoch; 1 at first.
    pub fn at(mut self, mtime: u64) -> TarBuilder {
        self.mtime = mtime;
        self
    }

    /// Adds a directory.
    pub fn dir(self, path: &str, mode: u32) -> TarBuilder {
        self.entry(tar::EntryType::Directory, &format!("{path}/"), mode, None, &[])
    }

    /// Adds a regular file.
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> TarBuilder {
        self.entry(tar::EntryType::Regular, path, mode, None, content)
    }

    /// Adds a symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> TarBuilder {
        self.entry(tar::EntryType::Symlink, path, 0o777, Some(target), &[])
    }

    /// Adds a hard link to an earlier entry; unpacking gives the file this mode too.
    pub fn hard_link(self, path: &str, mode: u32, target: &str) -> TarBuilder {
        self.entry(tar::EntryType::Link, path, mode, Some(target), &[])
    }

    /// The bytes of the archive.
    pub fn finish(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }

    fn entry(
        mut self,
        kind: tar::EntryType,
        path: &str,
        mode: u32,
        target: Option<&str>,
        content: &[u8],
    ) -> TarBuilder {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        header.set_size(content.len() as u64);
        match target {
            Some(target) => self.tar.append_link(&mut header, path, target).unwrap(),
            None => self.tar.append_data(&mut header, path, content).unwrap(),
        }
        self
    }
}
