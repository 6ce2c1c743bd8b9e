//! Copies a layer directory from one file system to another, overlay form and all.
//!
//! For stores on a file system that cannot hold an upper directory (design D13). Nobody else works on either tree.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};

/// Copies the insides and the attributes of `from` into the empty directory `to`.
///
/// # Errors
/// The first refusal.
pub(crate) fn copy_tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut links = BTreeMap::new();
    copy_dir(from, to, to, b"", &mut links)
}

/// Where the first name of a file with several names was put, by its inode.
type Links = BTreeMap<u64, Vec<u8>>;

fn copy_dir(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    path: &[u8],
    links: &mut Links,
) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let mut path = path.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            copy_entry(from, to, top, name, path, links)?;
        }
    }
    copy_attributes(from, to, &rustix::fs::fstat(from)?)
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    name: &[u8],
    path: Vec<u8>,
    links: &mut Links,
) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind != FileType::Directory && stat.st_nlink > 1 {
        if let Some(first) = links.get(&stat.st_ino) {
            rustix::fs::linkat(top, first.as_slice(), to, name, AtFlags::empty())?;
            return Ok(());
        }
        links.insert(stat.st_ino, path.clone());
    }
    let private = Mode::from_raw_mode(0o700);
    match kind {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, private)?;
            let (source, target) =
                (open(from, name, OFlags::DIRECTORY)?, open(to, name, OFlags::DIRECTORY)?);
            copy_dir(source.as_fd(), target.as_fd(), top, &path, links)
        }
        FileType::RegularFile => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let target = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            let source = open(from, name, OFlags::empty())?;
            let (mut reader, mut writer) = (
                std::fs::File::from(source.try_clone()?),
                std::fs::File::from(target.try_clone()?),
            );
            io::copy(&mut reader, &mut writer)?;
            copy_attributes(source.as_fd(), target.as_fd(), &stat)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
            copy_special_attributes(to, name, &stat, None)
        }
        FileType::CharacterDevice if stat.st_rdev == 0 => copy_whiteout(to, name),
        _ => {
            rustix::fs::mknodat(to, name, kind, private, stat.st_rdev)?;
            copy_special_attributes(to, name, &stat, Some(stat.st_mode))
        }
    }
}

/// Overlay refuses to hold the whiteouts of another overlay in their usual form; it takes the form with attributes
/// (Linux 6.8): an empty file that says so, in a directory that says that it has such.
fn copy_whiteout(to: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let private = Mode::from_raw_mode(0o600);
    match rustix::fs::mknodat(to, name, FileType::CharacterDevice, private, 0) {
        Err(rustix::io::Errno::PERM) => {}
        result => return Ok(result?),
    }
    let prefix = if sys::in_user_namespace() { "user" } else { "trusted" };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(to, name, flags, private)?;
    sys::xattr::set(&file, format!("{prefix}.overlay.whiteout").as_bytes(), b"y")?;
    sys::xattr::set(to, format!("{prefix}.overlay.opaque").as_bytes(), b"x")
}

fn open(dir: BorrowedFd<'_>, name: &[u8], extra: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    for name in sys::xattr::list(from)? {
        if let Some(value) = sys::xattr::get(from, &name)? {
            sys::xattr::set(to, &name, &value)?;
        }
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(to, &times(stat))?)
}

fn copy_special_attributes(
    dir: BorrowedFd<'_>,
    name: &[u8],
    stat: &Stat,
    mode: Option<u32>,
) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if let Some(mode) = mode {
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
    }
    Ok(rustix::fs::utimensat(dir, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn all_kinds_of_entries() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::create_dir_all(a.join("d/e")).unwrap();
        std::fs::create_dir(&b).unwrap();
        std::fs::write(a.join("d/f"), "text").unwrap();
        std::fs::set_permissions(a.join("d/f"), PermissionsExt::from_mode(0o4711)).unwrap();
        std::fs::hard_link(a.join("d/f"), a.join("d/e/g")).unwrap();
        symlink("nowhere", a.join("l")).unwrap();
        let (from, to) = (std::fs::File::open(&a).unwrap(), std::fs::File::open(&b).unwrap());
        rustix::fs::mknodat(&from, "p", FileType::Fifo, Mode::RUSR, 0).unwrap();
        let marked = std::fs::File::open(a.join("d")).unwrap();
        sys::xattr::set(&marked, b"user.overlay.opaque", b"y").unwrap();
        copy_tree(from.as_fd(), to.as_fd()).unwrap();
        for path in ["", "d", "d/e", "d/f", "d/e/g", "l", "p"] {
            let [a, b] = [&a, &b].map(|dir| std::fs::symlink_metadata(dir.join(path)).unwrap());
            assert_eq!((a.mode(), a.mtime_nsec()), (b.mode(), b.mtime_nsec()), "{path}");
        }
        let [f, g] = ["d/f", "d/e/g"].map(|path| std::fs::metadata(b.join(path)).unwrap().ino());
        assert_eq!(f, g);
        assert_eq!(std::fs::read(b.join("d/f")).unwrap(), b"text");
        let copied = std::fs::File::open(b.join("d")).unwrap();
        assert!(sys::xattr::get(&copied, b"user.overlay.opaque").unwrap().is_some());
    }
}
