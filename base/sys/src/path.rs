//! Paths below a root that others filled: nothing here can leave it. And small files, whoever filled them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Symbolic links that [`make_in_root`] follows at most.
const LINKS_MAX: u32 = 40;

/// A rename elsewhere in the tree makes openat2 give up; it is asked again so many times.
const TRIES: u32 = 64;

/// Opens a path as if `root` were `/`: links and `..` stay inside, the links of procfs lead nowhere (security.md A1).
///
/// # Errors
/// As openat2(2). An empty path is the root itself.
pub fn open_in_root(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    open_resolved(root, path, flags, mode, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// Opens a literal path below `root`: relative, no component is a symbolic link, `..` may not leave.
///
/// # Errors
/// As openat2(2): ELOOP for a symbolic link, EXDEV for an escape.
pub fn open_beneath(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open_resolved(root, path, flags, mode, resolve)
}

fn open_resolved(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Ok(fd) => return Ok(fd),
            Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Reads a whole small regular file of a tree that others filled, in-root (security.md A6). `None` when there is no
/// such path. Never blocks on a FIFO and never reads a device.
///
/// # Errors
/// `InvalidData` when it is not a regular file or longer than `size_max_bytes`; else as openat2(2) and read(2).
pub fn read_small(
    root: BorrowedFd<'_>,
    path: &[u8],
    size_max_bytes: u64,
) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open_in_root(root, path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => return Ok(None),
            Some(libc::ENXIO) => return Err(not_regular()),
            _ => return Err(error),
        },
    };
    read_regular(fd, size_max_bytes).map(Some)
}

/// Reads a whole small regular file that the user of this machine names. Never blocks on a FIFO and never reads a
/// device.
///
/// # Errors
/// As [`read_small`], and when there is no such file.
pub fn read_small_of_machine(path: &Path, size_max_bytes: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => read_regular(fd, size_max_bytes),
        Err(Errno::NXIO) => Err(not_regular()),
        Err(errno) => Err(errno.into()),
    }
}

fn read_regular(fd: OwnedFd, size_max_bytes: u64) -> io::Result<Vec<u8>> {
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(not_regular());
    }
    let mut content = Vec::new();
    File::from(fd).take(size_max_bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > size_max_bytes {
        let text = format!("too large: more than {size_max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(content)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}

/// What the last component of a made path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A directory.
    Directory,
    /// An empty regular file; an existing file of any kind but a directory will do.
    File,
}

/// Result of [`make_in_root`].
#[derive(Debug)]
pub struct MadePath {
    /// The last component, opened with `O_PATH`.
    pub fd: OwnedFd,
    /// Paths that were made, parents first: literal, relative to the root, links resolved. With each the descriptor
    /// of its parent (`O_PATH`) and the parent's modification time before, as (seconds, nanoseconds).
    pub created: Vec<CreatedEntry>,
}

/// One entry that [`make_in_root`] made.
#[derive(Debug)]
pub struct CreatedEntry {
    /// Literal path from the root.
    pub path: Vec<u8>,
    /// Its directory.
    pub parent: OwnedFd,
    /// The directory's modification time before.
    pub parent_mtime: (i64, u32),
}

/// Opens a path in-root and makes what is missing: directories with `mode`, and at the end what `last` says. Links
/// are followed inside the root, dangling ones are made true, as `mkdir -p` of a resolved path would.
///
/// Only sound against a tree in which nobody else works at the time: what a step has not yet touched.
///
/// # Errors
/// ELOOP after 40 links; ENOTDIR and EISDIR when what is there has the wrong kind; else as openat, mkdirat, open.
pub fn make_in_root(
    root: BorrowedFd<'_>,
    path: &[u8],
    last: Made,
    mode: Mode,
) -> io::Result<MadePath> {
    let mut walk = Walk {
        dirs: vec![(Vec::new(), root.try_clone_to_owned()?)],
        rest: components(path),
        links: 0,
        created: Vec::new(),
    };
    while let Some(name) = walk.rest.pop_front() {
        if name == b".." {
            if walk.dirs.len() > 1 {
                walk.dirs.pop();
            }
            continue;
        }
        let want = if walk.rest.is_empty() { last } else { Made::Directory };
        if let Some(file) = walk.enter(&name, want, mode)? {
            return Ok(MadePath { fd: file, created: walk.created });
        }
    }
    match (walk.dirs.pop(), last) {
        (Some((_, fd)), Made::Directory) => Ok(MadePath { fd, created: walk.created }),
        _ => Err(Errno::ISDIR.into()),
    }
}

struct Walk {
    /// Directories from the root to the current one.
    dirs: Vec<(Vec<u8>, OwnedFd)>,
    rest: VecDeque<Vec<u8>>,
    links: u32,
    created: Vec<CreatedEntry>,
}

impl Walk {
    /// Takes one component. A file at the end is returned, everything else changes the walk.
    fn enter(&mut self, name: &[u8], want: Made, mode: Mode) -> io::Result<Option<OwnedFd>> {
        let (_, here) = self.dirs.last().expect("the root is never popped");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(here, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                self.create(name, want, mode)?;
                let (_, here) = self.dirs.last().expect("the root is never popped");
                rustix::fs::openat(here, name, flags, Mode::empty())?
            }
            Err(errno) => return Err(errno.into()),
        };
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        match (kind, want) {
            (FileType::Symlink, _) => self.follow(fd.as_fd()).map(|()| None),
            (FileType::Directory, _) => {
                let mut literal = self.dirs.last().map(|(p, _)| p.clone()).unwrap_or_default();
                join(&mut literal, name);
                self.dirs.push((literal, fd));
                Ok(None)
            }
            (_, Made::File) if self.rest.is_empty() => Ok(Some(fd)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    fn follow(&mut self, link: BorrowedFd<'_>) -> io::Result<()> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        let target = rustix::fs::readlinkat(link, b"".as_slice(), Vec::new())?.into_bytes();
        if target.starts_with(b"/") {
            self.dirs.truncate(1);
        }
        let mut parts = components(&target);
        parts.append(&mut self.rest);
        self.rest = parts;
        Ok(())
    }

    fn create(&mut self, name: &[u8], want: Made, mode: Mode) -> io::Result<()> {
        let (literal, here) = self.dirs.last().expect("the root is never popped");
        let stat = rustix::fs::fstat(here)?;
        let made = match want {
            Made::Directory => rustix::fs::mkdirat(here, name, mode),
            Made::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                rustix::fs::openat(here, name, flags, mode).map(drop)
            }
        };
        match made {
            // Another step made it just now, in a cache that both have.
            Err(Errno::EXIST) => return Ok(()),
            made => made?,
        }
        let mut path = literal.clone();
        join(&mut path, name);
        self.created.push(CreatedEntry {
            path,
            parent: here.try_clone()?,
            parent_mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        });
        Ok(())
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .collect()
}

fn join(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn root_of(dir: &std::path::Path) -> OwnedFd {
        rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    #[test]
    fn a1_links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("passwd"), "inside").unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        symlink("/passwd", dir.path().join("etc/passwd")).unwrap();
        symlink("../../../../passwd", dir.path().join("up")).unwrap();
        symlink("/", dir.path().join("all")).unwrap();
        let root = root_of(dir.path());
        for path in ["etc/passwd", "/etc/passwd", "up", "all/up", "../../passwd"] {
            let text = read_small(root.as_fd(), path.as_bytes(), 100).unwrap();
            assert_eq!(text.as_deref(), Some(b"inside".as_slice()), "{path}");
        }
        for path in ["etc/passwd", "../passwd", "/passwd", "all/up"] {
            assert!(
                open_beneath(root.as_fd(), path.as_bytes(), OFlags::RDONLY, Mode::empty()).is_err(),
                "{path}"
            );
        }
        assert!(open_in_root(root.as_fd(), b"", OFlags::PATH, Mode::empty()).is_ok());
    }

    #[test]
    fn a6_only_small_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = root_of(dir.path());
        rustix::fs::mknodat(&root, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(dir.path().join("long"), vec![b'x'; 101]).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        let check = |path: &str, want: &str| {
            let got = match read_small(root.as_fd(), path.as_bytes(), 100) {
                Ok(None) => "absent".into(),
                Ok(Some(_)) => "read".into(),
                Err(error) => error.to_string(),
            };
            assert!(got.contains(want), "{path}: {got}");
        };
        check("fifo", "not a regular file");
        check(".", "not a regular file");
        check("long", "too large");
        check("loop", "symbolic links");
        check("nothing", "absent");
        check("long/x", "absent");
    }

    #[test]
    fn a4_makes_in_root_only() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/target/of", dir.path().join("dangling")).unwrap();
        symlink("../../../deep", dir.path().join("up")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let root = root_of(dir.path());
        let made = |path: &str, last| {
            make_in_root(root.as_fd(), path.as_bytes(), last, Mode::from_raw_mode(0o755)).map(|m| {
                m.created
                    .iter()
                    .map(|c| String::from_utf8(c.path.clone()).unwrap())
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(made("/a/../b/c", Made::Directory).unwrap(), "a b b/c");
        assert_eq!(made("/a/b/../x", Made::File).unwrap(), "a/b a/x");
        assert_eq!(made("dangling/x", Made::File).unwrap(), "target target/of target/of/x");
        assert_eq!(made("up/../../e", Made::Directory).unwrap(), "deep e");
        assert_eq!(made("file", Made::File).unwrap(), "");
        assert_eq!(made("/", Made::Directory).unwrap(), "");
        assert!(made("loop/x", Made::File).is_err());
        assert!(made("file/x", Made::File).is_err());
        assert!(made("a", Made::File).is_err());
    }
}
