//! The root file system of a step: layers below, a new upper directory on top (design D3, D13).
//!
//! Mounted by the engine, in whose namespace the directories were opened, and given to the step as a detached mount.
//! It is gone when its last descriptor is closed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use sys::mount::{self, Attributes};
use sys::{SysError, overlay_mount};

use crate::transplant;
use crate::{ExecError, Level};

/// Name of the new layer in an ingest directory.
pub(crate) const DIFF: &str = "diff";

/// Lowers of one overlay; the oldest ones beyond are folded into one (design D13: each costs at mount and look-up).
const LOWERS_MOST: usize = 120;

/// What belongs to a mounted root.
#[derive(Debug)]
pub(crate) struct Rootfs {
    /// The upper directory.
    pub(crate) upper: OwnedFd,
    ingest: OwnedFd,
    /// Attached mounts of ours, to be detached at the end.
    attached: Vec<OwnedFd>,
    /// The upper directory is on memory, as the store's file system cannot hold one.
    on_memory: bool,
}

/// Mounts the layers (lowest first) with a new upper directory in `ingest`. The mount is detached: it is gone with its
/// last descriptor.
///
/// # Errors
/// What the kernel or the file system refuses.
pub(crate) fn mount(
    layers: &[OwnedFd],
    ingest: &Path,
    level: Level,
) -> Result<(Rootfs, OwnedFd), ExecError> {
    let failed = |operation: &str| ExecError::prepare::<rustix::io::Errno>(operation.to_owned());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let ingest = rustix::fs::open(ingest, flags, Mode::empty())
        .map_err(failed("open the step's directory"))?;
    let mut rootfs_attached = Vec::new();
    let on_memory =
        sys::probe::is_on_overlay(&ingest)
            .map_err(ExecError::prepare::<std::io::Error>("look at the store's file system"))?;
    let holder = if on_memory {
        let memory = memory_for_upper(&ingest, level)?;
        rootfs_attached.push(memory.try_clone().map_err(ExecError::prepare("dup"))?);
        memory
    } else {
        ingest.try_clone().map_err(ExecError::prepare("dup"))?
    };
    let upper = make_dir(&holder, DIFF)?;
    let work = make_dir(&holder, "work")?;
    if let Some(top) = layers.last() {
        copy_root(top.as_fd(), upper.as_fd())?;
    }
    let lowers = lowers(layers, &ingest, level, &mut rootfs_attached)?;
    let mounted = overlay_mount(
        &lowers,
        Some((upper.as_fd(), work.as_fd())),
        level.is_user_namespace(),
        true,
    )
    .map_err(ExecError::setup("mount the layers"))?;
    Ok((Rootfs { upper, ingest, attached: rootfs_attached, on_memory }, mounted))
}

/// Mounts layers read-only, or with an upper directory that nobody will look at (security.md A10).
///
/// # Errors
/// As [`mount`].
pub(crate) fn mount_view(
    layers: &[OwnedFd],
    ingest: &Path,
    name: &str,
    writable: bool,
    level: Level,
) -> Result<(Rootfs, OwnedFd), ExecError> {
    let failed = |operation: &str| ExecError::prepare::<rustix::io::Errno>(operation.to_owned());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let outer = rustix::fs::open(ingest, flags, Mode::empty())
        .map_err(failed("open the step's directory"))?;
    let own = make_dir(&outer, name)?;
    if writable {
        let path = ingest.join(name);
        return mount(layers, &path, level);
    }
    let mut attached = Vec::new();
    let mut lowers = lowers(layers, &own, level, &mut attached)?;
    if lowers.len() == 1 {
        lowers.push(make_dir(&own, "empty2")?); // without an upper directory two are the least
    }
    let mounted = overlay_mount(&lowers, None, level.is_user_namespace(), true)
        .map_err(ExecError::setup("mount the layers of a bind mount"))?;
    let upper = own.try_clone().map_err(ExecError::prepare("dup"))?;
    Ok((Rootfs { upper, ingest: own, attached, on_memory: false }, mounted))
}

/// The directories of the layers, top first; an empty one when there is no layer.
fn lowers(
    layers: &[OwnedFd],
    ingest: &OwnedFd,
    level: Level,
    attached: &mut Vec<OwnedFd>,
) -> Result<Vec<OwnedFd>, ExecError> {
    let mut lowers = Vec::with_capacity(layers.len().max(1));
    for layer in layers.iter().rev() {
        lowers.push(layer.try_clone().map_err(ExecError::prepare("dup"))?);
    }
    if lowers.is_empty() {
        lowers.push(make_dir(ingest, "empty")?);
    }
    if lowers.len() <= LOWERS_MOST {
        return Ok(lowers);
    }
    let at = make_dir(ingest, "below")?;
    let mut attach = |mounted: OwnedFd| -> Result<OwnedFd, SysError> {
        mount::attach(mounted.as_fd(), at.as_fd())?;
        let copy = mounted.try_clone().map_err(|e| SysError::from_io("dup", &e))?;
        attached.push(copy);
        Ok(mounted)
    };
    sys::fold_lowers(lowers, LOWERS_MOST, level.is_user_namespace(), &mut attach)
        .map_err(ExecError::setup("fold the oldest layers"))
}

/// A tmpfs for the upper directory, attached: an overlay takes no directory of a detached mount.
fn memory_for_upper(ingest: &OwnedFd, level: Level) -> Result<OwnedFd, ExecError> {
    let what = "make an upper directory on memory";
    if level.is_user_namespace() && sys::probe::kernel_version() < (6, 6) {
        let problem = "the store lies on an overlay file system, and this kernel's tmpfs cannot \
                       hold a layer in a user namespace (Linux 6.6 can)";
        return Err(ExecError::NeedsIsolation { problem: problem.into() });
    }
    let at = make_dir(ingest, "memory")?;
    let tmpfs = mount::new_filesystem(
        c"tmpfs",
        &[(c"mode", c"700")],
        Attributes::NOSUID | Attributes::NODEV,
    )
    .map_err(ExecError::setup(what))?;
    mount::attach(tmpfs.as_fd(), at.as_fd()).map_err(ExecError::setup(what))?;
    Ok(tmpfs)
}

/// Makes a directory and opens it.
pub(crate) fn make_dir(dir: &OwnedFd, name: &str) -> Result<OwnedFd, ExecError> {
    let failed = || ExecError::prepare::<rustix::io::Errno>(format!("make the directory {name}"));
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(errno) => return Err(failed()(errno)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(failed())
}

/// A new upper directory is like the root of the topmost layer: owner, mode, and time, so that an unchanged root
/// leaves no trace.
fn copy_root(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), ExecError> {
    let failed = || ExecError::prepare::<rustix::io::Errno>("copy the root directory's attributes");
    let stat = rustix::fs::fstat(from).map_err(failed())?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid)).map_err(failed())?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode)).map_err(failed())?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    rustix::fs::futimens(to, &times).map_err(failed())
}

impl Rootfs {
    /// A detached mount of one path inside, links resolved within; and whether that is a directory. Asks the file
    /// system once, so nothing can change between the look and the mount (security.md A1).
    ///
    /// # Errors
    /// The path is not there.
    pub(crate) fn subtree(
        &mut self,
        mounted: &OwnedFd,
        path: &[u8],
    ) -> Result<(OwnedFd, bool), SubtreeError> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = sys::open_in_root(mounted.as_fd(), path, flags, Mode::empty())
            .map_err(SubtreeError::Open)?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| SubtreeError::Open(e.into()))?;
        let is_dir =
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
        match mount::clone_tree(fd.as_fd(), false) {
            Ok(tree) => return Ok((tree, is_dir)),
            Err(error) if error.errno() == rustix::io::Errno::INVAL.raw_os_error() => {}
            Err(error) => return Err(SubtreeError::Clone(error)),
        }
        // Before Linux 6.15 only an attached mount can be cloned.
        let at = make_dir(&self.ingest, "view").map_err(|e| SubtreeError::Attach(Box::new(e)))?;
        mount::attach(mounted.as_fd(), at.as_fd()).map_err(SubtreeError::Clone)?;
        let copy = mounted.try_clone().map_err(SubtreeError::Open)?;
        self.attached.push(copy);
        mount::clone_tree(fd.as_fd(), false).map(|tree| (tree, is_dir)).map_err(SubtreeError::Clone)
    }

    /// Takes the result out of memory when it is there. Call when no process of the step is left.
    ///
    /// # Errors
    /// What the file system refuses.
    pub(crate) fn commit(&self) -> Result<(), ExecError> {
        if !self.on_memory {
            return Ok(());
        }
        let to = make_dir(&self.ingest, DIFF)?;
        transplant::copy_tree(self.upper.as_fd(), to.as_fd()).map_err(ExecError::prepare::<
            std::io::Error,
        >(
            "copy the layer out of memory",
        ))
    }
}

impl Drop for Rootfs {
    fn drop(&mut self) {
        for attached in &self.attached {
            // In a private namespace: what stays for some reason goes with the process.
            let _ = mount::detach(attached.as_fd());
        }
    }
}

/// Why a path of a view could not be mounted.
#[derive(Debug)]
pub(crate) enum SubtreeError {
    /// It could not be opened: mostly, it is not there.
    Open(std::io::Error),
    /// The kernel refused.
    Clone(SysError),
    /// A mount point of ours could not be made.
    Attach(Box<ExecError>),
}

/// Makes the working directory in a root, owned by the user, when it is missing (RUN-12).
///
/// # Errors
/// Something else than a directory is in the way.
pub(crate) fn make_workdir(
    root: BorrowedFd<'_>,
    path: &str,
    uid: u32,
    gid: u32,
) -> std::io::Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    let made = sys::make_in_root(root, path.as_bytes(), sys::Made::Directory, mode)?;
    for created in made.created {
        let name = created.path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        rustix::fs::chownat(
            &created.parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}
