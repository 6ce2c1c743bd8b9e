//! Extended attributes by descriptor. Names are bytes; a value that grows while it is read is read again.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Names of an open file's attributes.
///
/// # Errors
/// As flistxattr(2). A file system without attributes has none.
pub fn list(fd: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let fd = fd.as_fd();
    names(grow(|buffer| rustix::fs::flistxattr(fd, buffer)))
}

/// An attribute of an open file; `None` when it has none of that name.
///
/// # Errors
/// As fgetxattr(2).
pub fn get(fd: impl AsFd, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let fd = fd.as_fd();
    absent(grow(|buffer| rustix::fs::fgetxattr(fd, name, buffer)))
}

/// Sets an attribute of an open file.
///
/// # Errors
/// As fsetxattr(2).
pub fn set(fd: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())?)
}

/// Removes an attribute of an open file; there may be none.
///
/// # Errors
/// As fremovexattr(2).
pub fn remove(fd: impl AsFd, name: &[u8]) -> io::Result<()> {
    gone(rustix::fs::fremovexattr(fd, name))
}

/// [`list`] for a descriptor opened with `O_PATH`, which may be a symbolic link, a device or unreadable.
///
/// # Errors
/// As listxattr(2).
pub fn list_path(fd: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let path = magic(&fd);
    names(grow(|buffer| rustix::fs::listxattr(&path, buffer)))
}

/// [`get`] for a descriptor opened with `O_PATH`.
///
/// # Errors
/// As getxattr(2).
pub fn get_path(fd: impl AsFd, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let path = magic(&fd);
    absent(grow(|buffer| rustix::fs::getxattr(&path, name, buffer)))
}

/// [`set`] for a descriptor opened with `O_PATH`.
///
/// # Errors
/// As setxattr(2).
pub fn set_path(fd: impl AsFd, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::setxattr(magic(&fd), name, value, XattrFlags::empty())?)
}

/// [`remove`] for a descriptor opened with `O_PATH`.
///
/// # Errors
/// As removexattr(2).
pub fn remove_path(fd: impl AsFd, name: &[u8]) -> io::Result<()> {
    gone(rustix::fs::removexattr(magic(&fd), name))
}

fn magic(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn grow(mut ask: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match ask(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 20 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn names(list: Result<Vec<u8>, Errno>) -> io::Result<Vec<Vec<u8>>> {
    match list {
        Ok(list) => Ok(list
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()),
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}

fn absent(value: Result<Vec<u8>, Errno>) -> io::Result<Option<Vec<u8>>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn gone(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NODATA) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    #[test]
    fn both_kinds_of_descriptors() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = dir.path().join("f");
        let file = std::fs::File::create(&path).unwrap();
        let by_path = rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap();
        let value = vec![7u8; 1000];
        set(&file, b"user.a", &value).unwrap();
        set_path(&by_path, b"user.b", b"x").unwrap();
        assert_eq!(get_path(&by_path, b"user.a").unwrap(), Some(value));
        assert_eq!(get(&file, b"user.b").unwrap().as_deref(), Some(b"x".as_slice()));
        let mut names = list(&file).unwrap();
        names.sort();
        assert_eq!(names, [b"user.a".to_vec(), b"user.b".to_vec()]);
        remove(&file, b"user.a").unwrap();
        remove_path(&by_path, b"user.b").unwrap();
        remove(&file, b"user.b").unwrap();
        assert!(list_path(&by_path).unwrap().is_empty());
        assert_eq!(get(&file, b"user.a").unwrap(), None);
    }
}
