//! Git repositories at a commit (ADD-50 to ADD-61), with the installed `git` command.
//!
//! Everything that git could be talked into is closed (security.md C12): only http, https, ssh and git remotes, no
//! configuration but ours, no hooks, no prompts, no argument that could be an option, credentials in the environment
//! and never among the arguments.

mod command;

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use graph::GitSource;
use layer::Mtime;
use rustix::fs::{Mode, OFlags};

use command::Git;

use crate::error::Failure;
use crate::{ContextError, HttpAuth, LocalTree, View};

/// A repository and how git is run for it.
#[derive(Clone, Debug)]
pub struct GitRequest<'a> {
    /// What is wanted.
    pub source: &'a GitSource,
    /// Credentials for the remote's host (ADD-60).
    pub auth: Option<&'a HttpAuth>,
    /// Variables that git gets: PATH, SSH_AUTH_SOCK, proxies. Nothing else of the environment reaches it.
    pub env: &'a [(OsString, OsString)],
}

/// A repository that was checked out.
pub struct GitCheckout {
    /// The wanted directory of the repository.
    pub tree: LocalTree,
    /// The commit's full id.
    pub commit: String,
    /// When it was made.
    pub commit_time: Mtime,
}

/// The commit that the wanted branch, tag, commit or default branch is now; the remote is asked, unless the reference
/// is a full commit id.
///
/// # Errors
/// A malformed remote or reference, one that is not there, a commit other than the checksum says, git's own failures.
pub fn resolve_git(request: &GitRequest<'_>) -> Result<String, ContextError> {
    let commit = resolve(request)?.0;
    check_commit(request.source, &commit)?;
    Ok(commit)
}

/// Fetches a commit that [`resolve_git`] found, and checks it out below `into`, an empty directory.
///
/// # Errors
/// As [`resolve_git`], and a directory that the repository has not.
pub fn fetch_git(
    request: &GitRequest<'_>,
    commit: &str,
    into: &Path,
) -> Result<GitCheckout, ContextError> {
    let source = request.source;
    check_commit(source, commit)?;
    let git = Git::new(request, into)?;
    let dir = into.join("checkout");
    fetch(&git, source, commit, &dir)?;
    git.run("checkout", &dir, &["checkout", "--quiet", "--detach", commit])?;
    let time = git.run("log", &dir, &["log", "-1", "--format=%ct", commit])?;
    let commit_time = Mtime { secs: time.trim().parse().unwrap_or(0), nanos: 0 };
    if source.submodules && dir.join(".gitmodules").is_file() {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
        git.run("submodule update", &dir, &update)?;
    }
    let root = open_dir(&dir, source)?;
    if !source.keep_git_dir {
        sys::remove_tree(root.as_fd(), b".git").map_err(ContextError::file("remove", &dir))?;
    }
    let view = View { plain_modes: true, mtime: source.commit_times.then_some(commit_time) };
    let subdir = open_subdir(root, source)?;
    let tree = LocalTree::new(subdir, None, None, view);
    Ok(GitCheckout { tree, commit: commit.to_owned(), commit_time })
}

/// The commit and, if it was looked up, the full name of its reference.
fn resolve(request: &GitRequest<'_>) -> Result<(String, Option<String>), ContextError> {
    let source = request.source;
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    if is_commit(reference) {
        return Ok((reference.to_owned(), None));
    }
    check_reference(source, reference)?;
    let dir = tempfile::tempdir().map_err(ContextError::file("create", Path::new("/tmp")))?;
    let git = Git::new(request, dir.path())?;
    let peeled = format!("{reference}^{{}}");
    let ask = ["ls-remote", "--quiet", "--", git.remote(), reference, &peeled];
    let listed = git.run("ls-remote", dir.path(), &ask)?;
    let found = choose(&listed, reference).filter(|(commit, _)| is_commit(commit));
    found.ok_or_else(|| {
        let (remote, reference) = (git.remote().to_owned(), reference.to_owned());
        ContextError(Failure::NoReference { remote, reference })
    })
}

/// Picks the line of ls-remote that a short name means: a branch before a tag, a tag's commit before the tag.
fn choose(listed: &str, reference: &str) -> Option<(String, Option<String>)> {
    let strip = |prefix| reference.strip_prefix(prefix).unwrap_or(reference);
    let full = format!("refs/{}", strip("refs/"));
    let head = format!("refs/heads/{}", strip("refs/heads/"));
    let tag = format!("refs/tags/{}", strip("refs/tags/"));
    let peeled = format!("{tag}^{{}}");
    let find = |name: &str| {
        let lines = listed.lines().filter_map(|line| line.split_once('\t'));
        let commit = lines.filter(|(_, found)| *found == name).map(|(commit, _)| commit).next();
        commit.map(str::to_owned)
    };
    if reference == "HEAD" {
        return find("HEAD").map(|commit| (commit, Some("HEAD".to_owned())));
    }
    let named = |name: &str, fetched: &str| find(name).map(|c| (c, Some(fetched.to_owned())));
    let full_peeled = format!("{full}^{{}}");
    named(&full_peeled, &full)
        .or_else(|| named(&full, &full))
        .or_else(|| named(&head, &head))
        .or_else(|| named(&peeled, &tag))
        .or_else(|| named(&tag, &tag))
}

/// Brings the commit into a new repository: alone if the remote can do that, else with its history.
fn fetch(git: &Git, source: &GitSource, commit: &str, dir: &Path) -> Result<(), ContextError> {
    std::fs::create_dir(dir).map_err(ContextError::file("create", dir))?;
    let format = if commit.len() == 64 { "--object-format=sha256" } else { "--object-format=sha1" };
    git.run("init", dir, &["init", "--quiet", "--template=", "--initial-branch=main", format])?;
    git.run("remote", dir, &["remote", "add", "origin", git.remote()])?;
    let has_commit = |()| git.run("cat-file", dir, &["cat-file", "-e", commit]).is_ok();
    let alone = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", "origin", commit];
    if git.run("fetch", dir, &alone).is_ok() && has_commit(()) {
        return Ok(());
    }
    if let Some(reference) = source.reference.as_deref().filter(|r| !is_commit(r)) {
        let by_name = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", "origin", reference];
        if git.run("fetch", dir, &by_name).is_ok() && has_commit(()) {
            return Ok(());
        }
    }
    let all = [
        "fetch",
        "--quiet",
        "--tags",
        "--force",
        "--",
        "origin",
        "+refs/heads/*:refs/remotes/origin/*",
    ];
    git.run("fetch", dir, &all)?;
    match has_commit(()) {
        true => Ok(()),
        false => Err(ContextError(Failure::NoReference {
            remote: git.remote().to_owned(),
            reference: commit.to_owned(),
        })),
    }
}

fn open_dir(dir: &Path, source: &GitSource) -> Result<OwnedFd, ContextError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fail = |errno: rustix::io::Errno| Failure::NoSubdir {
        remote: Git::printable(&source.remote),
        subdir: String::new(),
        source: errno.into(),
    };
    rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| ContextError(fail(errno)))
}

/// Opens the wanted directory without following any link.
fn open_subdir(root: OwnedFd, source: &GitSource) -> Result<OwnedFd, ContextError> {
    let subdir = pattern::clean(format!("/{}", source.subdir).as_bytes());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let fail = |error| Failure::NoSubdir {
        remote: Git::printable(&source.remote),
        subdir: source.subdir.clone(),
        source: error,
    };
    sys::open_beneath(root.as_fd(), &subdir[1..], flags, Mode::empty())
        .map_err(|error| ContextError(fail(error)))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn check_commit(source: &GitSource, commit: &str) -> Result<(), ContextError> {
    let remote = || Git::printable(&source.remote);
    if !is_commit(commit) {
        let reason = format!("`{commit}` is no full commit id");
        return Err(ContextError(Failure::BadGit { remote: remote(), reason }));
    }
    match &source.checksum {
        Some(want) if !commit.starts_with(&want.to_ascii_lowercase()) => {
            let (want, got) = (want.clone(), commit.to_owned());
            Err(ContextError(Failure::Commit { remote: remote(), want, got })) // ADD-55
        }
        _ => Ok(()),
    }
}

/// Git's rules for names of references, and none that could be an option.
fn check_reference(source: &GitSource, reference: &str) -> Result<(), ContextError> {
    let bad_byte = |b: u8| b <= b' ' || b == 0x7f || b"~^:?*[\\".contains(&b);
    let bad_part = |part: &str| {
        part.is_empty() || part.starts_with('.') || part.ends_with(".lock") || part.ends_with('.')
    };
    let bad = reference.is_empty()
        || reference.starts_with('-')
        || reference.contains("..")
        || reference.contains("@{")
        || reference == "@"
        || reference.bytes().any(bad_byte)
        || reference.split('/').any(bad_part);
    match bad {
        false => Ok(()),
        true => Err(ContextError(Failure::BadGit {
            remote: Git::printable(&source.remote),
            reason: format!("invalid reference `{}`", reference.escape_default()),
        })),
    }
}

#[cfg(test)]
mod tests;
