//! Overlay file systems with the options of design D13.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::SysError;
use crate::mount::{Attributes, NewFilesystem};

/// Lower directories that the kernel takes in one overlay.
pub const LOWERS_MAX: usize = 500;

const OPTIONS: [(&CStr, &CStr); 4] =
    [(c"redirect_dir", c"nofollow"), (c"metacopy", c"off"), (c"index", c"off"), (c"xino", c"off")];

/// Mounts an overlay, detached: the result is a descriptor of its root. Without an upper directory it is read-only,
/// and there must be two lower ones at least.
///
/// `userxattr` is for mounts in a user namespace, `nodev` makes device nodes dead. Descriptors go to the kernel where
/// it takes them (6.13 and later), else names below `/proc/self/fd`.
///
/// # Errors
/// EINVAL for an upper directory on a file system that cannot be one (overlay itself), E2BIG for too many lowers.
pub fn overlay_mount(
    lowers: &[OwnedFd],
    upper: Option<(BorrowedFd<'_>, BorrowedFd<'_>)>,
    userxattr: bool,
    nodev: bool,
) -> Result<OwnedFd, SysError> {
    if lowers.len() > LOWERS_MAX {
        return Err(SysError::new(format!("overlay of {} layers", lowers.len()), libc::E2BIG));
    }
    let fs = NewFilesystem::open(c"overlay")?;
    let upper_and_work = upper.map(|(upper, work)| [(c"upperdir", upper), (c"workdir", work)]);
    for lower in lowers {
        set_dir(&fs, c"lowerdir+", lower.as_fd())?;
    }
    for (key, fd) in upper_and_work.into_iter().flatten() {
        set_dir(&fs, key, fd)?;
    }
    for (key, value) in OPTIONS {
        fs.set(key, value)?;
    }
    if upper.is_some() {
        fs.flag(c"volatile")?;
    }
    if userxattr {
        fs.flag(c"userxattr")?;
    }
    let nodev = if nodev { Attributes::NODEV } else { Attributes::NONE };
    let ro = if upper.is_none() { Attributes::RDONLY } else { Attributes::NONE };
    fs.create(nodev | ro)
}

fn set_dir(fs: &NewFilesystem, key: &CStr, fd: BorrowedFd<'_>) -> Result<(), SysError> {
    match fs.set_fd(key, fd) {
        Err(error) if error.errno() == libc::EINVAL => {}
        result => return result,
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs.set(key, &CString::new(path).expect("a number has no NUL"))
}

/// Folds the oldest of many lower directories into read-only overlays below the rest, so that no overlay has more
/// than `most`; attached ones are asked for by `attach`, as old kernels take no detached mount as a lower.
///
/// # Errors
/// As [`overlay_mount`] and `attach`.
pub fn fold_lowers(
    mut lowers: Vec<OwnedFd>,
    most: usize,
    userxattr: bool,
    attach: &mut dyn FnMut(OwnedFd) -> Result<OwnedFd, SysError>,
) -> Result<Vec<OwnedFd>, SysError> {
    if lowers.len() <= most {
        return Ok(lowers);
    }
    // One overlay of the oldest: two levels are the limit, so its own number is bounded by the kernel's.
    let oldest = lowers.split_off(most - 1);
    let folded = overlay_mount(&oldest, None, userxattr, true)?;
    lowers.push(attach(folded)?);
    Ok(lowers)
}
