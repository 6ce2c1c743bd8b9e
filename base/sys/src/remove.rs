//! Removal of a tree that others filled (security.md A11).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Descriptors that are open at once; what lies deeper is moved up first.
const DEPTH_MAX: usize = 64;

/// Removes `name` in `parent`, whatever it is, with everything below. There may be none.
///
/// Works by unlinkat below held descriptors alone: no link is followed, no mount is entered (EXDEV, and the mount's
/// content stays). Directories that may not be read or changed are made so first.
///
/// # Errors
/// The first refusal that the rest did not get around; what could be removed is gone.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match unlink(parent, name)? {
        Unlinked::Gone => return Ok(()),
        Unlinked::Directory => {}
    }
    let top = open_dir(parent, name)?;
    let mut moved = 0;
    loop {
        let before = moved;
        empty(top.as_fd(), top.as_fd(), 0, &mut moved)?;
        if before == moved {
            break;
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

enum Unlinked {
    Gone,
    Directory,
}

fn unlink(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<Unlinked> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Unlinked::Gone),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::ACCESS) => {
            allow(parent)?;
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(Unlinked::Gone),
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(errno) => return Err(errno.into()),
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(Unlinked::Gone),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Unlinked::Directory),
        Err(errno) => Err(errno.into()),
    }
}

/// Empties a directory. Whatever lies too deep is moved into `top` under a new name, counted in `moved`.
fn empty(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    depth: usize,
    moved: &mut u64,
) -> io::Result<()> {
    for name in names(dir)? {
        match unlink(dir, &name)? {
            Unlinked::Gone => continue,
            Unlinked::Directory => {}
        }
        if depth >= DEPTH_MAX {
            move_up(top, dir, &name, moved)?;
            continue;
        }
        let child = open_dir(dir, &name)?;
        empty(top, child.as_fd(), depth + 1, moved)?;
        rustix::fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

fn move_up(
    top: BorrowedFd<'_>,
    dir: BorrowedFd<'_>,
    name: &[u8],
    moved: &mut u64,
) -> io::Result<()> {
    drop(open_dir(dir, name)?); // not a mount, and ours to change
    loop {
        *moved += 1;
        let new = format!(".deep-{moved}");
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(dir, name, top, new.as_str(), flags) {
            Ok(()) => return Ok(()),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// Opens a directory that is on the same mount as its parent, and makes it readable and changeable when need be.
fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |extra| rustix::fs::openat2(parent, name, flags | extra, Mode::empty(), resolve);
    match open(OFlags::RDONLY) {
        Ok(fd) => Ok(fd),
        Err(Errno::ACCESS) => {
            allow(open(OFlags::PATH)?.as_fd())?;
            Ok(open(OFlags::RDONLY)?)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn allow(dir: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::RWXU)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a11_nothing_outside_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let canary = dir.path().join("canary");
        std::fs::create_dir(&canary).unwrap();
        std::fs::write(canary.join("file"), "x").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("a/b/c")).unwrap();
        symlink(&canary, tree.join("a/link")).unwrap();
        symlink(&canary, tree.join("link")).unwrap();
        std::fs::write(tree.join("a/b/c/file"), "x").unwrap();
        for mode in [0o000, 0o500] {
            let dir = tree.join(format!("closed{mode}"));
            std::fs::create_dir_all(dir.join("inside")).unwrap();
            std::fs::write(dir.join("inside/file"), "x").unwrap();
            std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let parent = std::fs::File::open(dir.path()).unwrap();
        remove_tree(parent.as_fd(), b"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read(canary.join("file")).unwrap(), b"x");
        remove_tree(parent.as_fd(), b"tree").unwrap();
    }

    #[test]
    fn a11_deep_trees() {
        let dir = tempfile::tempdir().unwrap();
        let mut here = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..2000 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "d", OFlags::PATH, Mode::empty()).unwrap();
        }
        let parent = std::fs::File::open(dir.path()).unwrap();
        remove_tree(parent.as_fd(), b"d").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
