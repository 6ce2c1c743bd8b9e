//! Whether a store at a path can be trusted: nobody else may be able to write to it or to swap it for another
//! (security.md G1). Knows nothing of what is in a store.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::error::{Failure, StoreError, at};

const LINKS_MAX: usize = 40;

/// Resolves `path` step by step and refuses it when a component could be changed by another user. Components that do
/// not exist yet are appended as they are.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    let absolute =
        std::path::absolute(path).map_err(at("find the path of", path.display().to_string()))?;
    let mut pending = components(&absolute);
    let mut current = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            current.pop();
            continue;
        }
        let next = current.join(&name);
        let stat = match rustix::fs::lstat(&next) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                current = next;
                current.extend(pending);
                return Ok(current);
            }
            Err(e) => return Err(at("look at", next.display().to_string())(e.into())),
        };
        check_owner(&next, &stat)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink if links == LINKS_MAX => {
                return Err(untrusted(&next, "is one of too many symbolic links"));
            }
            FileType::Symlink => {
                links += 1;
                let target = std::fs::read_link(&next)
                    .map_err(at("read the link", next.display().to_string()))?;
                if target.is_absolute() {
                    current = PathBuf::from("/");
                }
                pending = components(&target).into_iter().chain(pending).collect();
            }
            FileType::Directory => {
                check_writers(&next, &stat)?;
                current = next;
            }
            _ => return Err(untrusted(&next, "is not a directory")),
        }
    }
    Ok(current)
}

/// The store's own root must be ours alone.
pub(crate) fn check_root(path: &Path, stat: &Stat) -> Result<(), StoreError> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        let reason = format!("belongs to user {}, not to user {user}", stat.st_uid);
        return Err(untrusted(path, &reason));
    }
    if stat.st_mode & 0o077 != 0 {
        let reason = format!(
            "is open to other users (mode {:04o}); `chmod 700` it if nobody has changed it",
            stat.st_mode & 0o7777
        );
        return Err(untrusted(path, &reason));
    }
    Ok(())
}

/// A component belongs to us or to root. Inside a user namespace root of the host is unmapped and shows as the
/// overflow id; whoever started us there has checked the path from outside.
fn check_owner(path: &Path, stat: &Stat) -> Result<(), StoreError> {
    const OVERFLOW_ID: u32 = 65534;
    let user = rustix::process::geteuid().as_raw();
    let unmapped = stat.st_uid == OVERFLOW_ID && sys::in_user_namespace();
    if stat.st_uid == user || stat.st_uid == 0 || unmapped {
        return Ok(());
    }
    Err(untrusted(path, &format!("belongs to user {}", stat.st_uid)))
}

/// Nobody else may add or rename names in it: not writable by others, unless sticky (where only owners rename). A group
/// may write if it is root's or the user's private one.
fn check_writers(path: &Path, stat: &Stat) -> Result<(), StoreError> {
    let user = rustix::process::geteuid().as_raw();
    let sticky = stat.st_mode & 0o1000 != 0;
    let private_group = stat.st_gid == 0 || stat.st_gid == user;
    let others = stat.st_mode & 0o002 != 0 || (stat.st_mode & 0o020 != 0 && !private_group);
    if others && !sticky {
        return Err(untrusted(path, "can be written by other users"));
    }
    Ok(())
}

fn untrusted(path: &Path, reason: &str) -> StoreError {
    Failure::Untrusted { path: path.to_owned(), reason: reason.to_owned() }.into()
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
