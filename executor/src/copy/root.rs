//! The file system that a copy or WORKDIR changes: layers below, an upper directory, and paths resolved in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use layer::{LayerError, Mtime, Toc};
use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tree::{Resolved, Step, resolve_with};

use super::{CopyError, Notes};
use crate::rootfs::{self, DIFF, Rootfs};
use crate::{ExecError, Level};

/// A mounted stack with its upper directory, or that directory alone when nothing is below.
pub(crate) struct Root {
    ingest: PathBuf,
    below: Below,
    level: Level,
}

enum Below {
    /// The new layer's own directory.
    Nothing(OwnedFd),
    /// The mount is gone when its descriptor is closed, before the result is taken out.
    Layers { rootfs: Rootfs, mount: OwnedFd },
}

impl Root {
    /// Makes the new layer's directory in the ingest directory and mounts the layers, lowest first, below it.
    pub(crate) fn open(layers: &[OwnedFd], ingest: &Path, level: Level) -> Result<Root, ExecError> {
        let below = match layers.is_empty() {
            true => {
                let dir = open_dir(ingest).map_err(prepare("open the ingest directory"))?;
                Below::Nothing(rootfs::make_dir(&dir, DIFF)?)
            }
            false => {
                let (rootfs, mount) = rootfs::mount(layers, ingest, level)?;
                Below::Layers { rootfs, mount }
            }
        };
        Ok(Root { ingest: ingest.to_owned(), below, level })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match &self.below {
            Below::Nothing(dir) => dir.as_fd(),
            Below::Layers { mount, .. } => mount.as_fd(),
        }
    }

    /// Whether there was nothing below.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.below, Below::Nothing(_))
    }

    /// Whether files can have owners other than the one id that a poor user namespace maps.
    pub(crate) fn gives_owners(&self) -> bool {
        self.level != Level::UserNsSingle
    }

    /// Whether the kernel may refuse device nodes.
    pub(crate) fn may_lack_devices(&self) -> bool {
        self.level.is_user_namespace()
    }

    /// Unmounts and lists what was changed, with what was noted on the way.
    pub(crate) fn finish(self, notes: &Notes) -> Result<Toc, ExecError> {
        if let Below::Layers { rootfs, mount } = self.below {
            drop(mount);
            rootfs.commit()?;
        }
        let diff = open_dir(&self.ingest.join(DIFF)).map_err(prepare("open the new layer"))?;
        let toc = layer::scan_upper(diff.as_fd(), self.level.is_user_namespace());
        let toc = toc.map_err(|source| CopyError::Layer { source })?;
        Ok(notes.complete(toc))
    }

    /// Resolves a path, links included, in the root (COPY-36).
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Resolved, CopyError> {
        let resolved = resolve_with(path, true, &mut |literal| {
            let flags = OFlags::PATH | OFlags::NOFOLLOW;
            let fd = match sys::open_beneath(self.fd(), literal, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(error) => {
                    return match Errno::from_io_error(&error) {
                        Some(Errno::NOENT | Errno::NOTDIR) => Ok(Step::Missing),
                        _ => Err(CopyError::file("look up", literal)(error)),
                    };
                }
            };
            let stat = rustix::fs::fstat(&fd).map_err(CopyError::file("look up", literal))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                return Ok(Step::Other);
            }
            let target = rustix::fs::readlinkat(&fd, "", Vec::new());
            let target = target.map_err(CopyError::file("read link", literal))?;
            Ok(Step::Link(target.into_bytes()))
        })?;
        resolved.ok_or_else(|| CopyError::file("resolve", path)(Errno::LOOP))
    }

    /// The status of a literal path; `None` when nothing is there.
    pub(crate) fn stat(&self, path: &[u8]) -> Result<Option<Stat>, CopyError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        match sys::open_beneath(self.fd(), path, flags, Mode::empty()) {
            Ok(fd) => rustix::fs::fstat(fd).map(Some).map_err(CopyError::file("look up", path)),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT | Errno::NOTDIR) => Ok(None),
                _ => Err(CopyError::file("look up", path)(error)),
            },
        }
    }

    pub(crate) fn is_dir(&self, path: &[u8]) -> Result<bool, CopyError> {
        let stat = self.stat(path)?;
        Ok(stat.is_some_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory))
    }

    /// Opens a literal directory and makes what is missing of it. Also returns the paths that were made.
    pub(crate) fn make_dirs(
        &self,
        path: &[u8],
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Result<(OwnedFd, Vec<Vec<u8>>), CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A mount's own descriptor only names a place: the root has to be opened as well, for it gets a time too.
        let root = rustix::fs::openat(self.fd(), ".", flags, Mode::empty());
        let mut here = root.map_err(CopyError::file("open", b""))?;
        let mut made = Vec::new();
        let mut so_far: Vec<u8> = Vec::new();
        for name in path.split(|b| *b == b'/').filter(|name| !name.is_empty()) {
            so_far = tree::join(&so_far, name);
            let open = || rustix::fs::openat(&here, name, flags, Mode::empty());
            let next = match open() {
                Err(Errno::NOENT) => {
                    check_name(name, &so_far)?;
                    let create = || {
                        rustix::fs::mkdirat(&here, name, Mode::RWXU)?;
                        let fd = open()?;
                        if self.gives_owners() {
                            set_owner(&fd, uid, gid)?;
                        }
                        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
                        Ok::<OwnedFd, Errno>(fd)
                    };
                    made.push(so_far.clone());
                    create().map_err(CopyError::file("mkdir", &so_far))?
                }
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(CopyError::InTheWay { path: so_far });
                }
                other => other.map_err(CopyError::file("open", &so_far))?,
            };
            here = next;
        }
        Ok((here, made))
    }

    /// Sets the modification time of a literal path that is no link.
    pub(crate) fn date(&self, path: &[u8], mtime: Mtime) -> Result<(), CopyError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = sys::open_beneath(self.fd(), path, flags, Mode::empty());
        let fd = fd.map_err(CopyError::file("open", path))?;
        let times = timestamps(Some(mtime));
        rustix::fs::futimens(fd, &times).map_err(CopyError::file("set times of", path))
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn prepare(operation: &'static str) -> impl FnOnce(Errno) -> ExecError {
    ExecError::prepare(operation)
}

/// Gives an open file to somebody; -1 has no meaning in images.
pub(crate) fn set_owner(fd: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

/// A modification time for utimensat, the access time too; `None` leaves both.
pub(crate) fn timestamps(mtime: Option<Mtime>) -> Timestamps {
    let time = match mtime {
        Some(time) => Timespec { tv_sec: time.secs, tv_nsec: time.nanos.into() },
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
    };
    Timestamps { last_access: time, last_modification: time }
}

/// A name that means a deletion in an image's layer cannot be a file's (ADD-23).
pub(super) fn check_name(name: &[u8], path: &[u8]) -> Result<(), CopyError> {
    match name.starts_with(b".wh.") {
        true => Err(CopyError::Layer { source: LayerError::ReservedName { path: path.to_vec() } }),
        false => Ok(()),
    }
}
