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
pub struct TarBuilder(tar::Builder<Vec<u8>>);

impl Default for TarBuilder {
    fn default() -> TarBuilder {
        TarBuilder::new()
    }
}

impl TarBuilder {
    /// An empty archive.
    pub fn new() -> TarBuilder {
        TarBuilder(tar::Builder::new(Vec::new()))
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
        self.0.into_inner().unwrap()
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
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        match target {
            Some(target) => self.0.append_link(&mut header, path, target).unwrap(),
            None => self.0.append_data(&mut header, path, content).unwrap(),
        }
        self
    }
}
