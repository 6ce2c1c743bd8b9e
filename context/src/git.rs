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
use pattern::IgnoreRules;
use rustix::fs::{Mode, OFlags};
use sys::Cancel;

use command::Git;

use crate::error::Failure;
use crate::{ContextError, HttpAuth, LocalTree, View};

/// A repository and how git is run for it.
#[derive(Clone, Debug)]
pub struct GitRequest<'a> {
    /// What is wanted.
    pub source: &'a GitSource,
    /// Credentials for an http remote, and for no other place (ADD-60).
    pub auth: Option<&'a HttpAuth>,
    /// Socket of the agent that has the keys for an ssh remote.
    pub ssh_agent: Option<&'a Path>,
    /// Variables that git gets: PATH and proxies; of HOME it gets the known hosts. Nothing else of the environment
    /// reaches it.
    pub env: &'a [(OsString, OsString)],
    /// Ends git when it is cancelled.
    pub cancel: &'a Cancel,
}

/// What a reference of a remote means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedGit {
    /// The commit's full id.
    pub commit: String,
    /// The full name of the branch or tag that was looked up.
    pub reference: Option<String>,
    /// The id of an annotated tag that leads to the commit.
    pub tag: Option<String>,
}

/// A repository that was checked out.
pub struct GitCheckout {
    /// The wanted directory of the repository.
    pub tree: LocalTree,
    /// When the commit was made.
    pub commit_time: Mtime,
}

/// The commit that the wanted branch, tag, commit or default branch is now; the remote is asked, unless the reference
/// is a full commit id. `home` is an empty directory for git.
///
/// # Errors
/// A malformed remote or reference, one that is not there, a commit other than the checksum says, git's own failures.
pub fn resolve_git(request: &GitRequest<'_>, home: &Path) -> Result<ResolvedGit, ContextError> {
    let resolved = resolve(request, home)?;
    check_commit(request.source, &resolved)?;
    Ok(resolved)
}

/// Fetches a commit that [`resolve_git`] found, and checks it out below `into`, an empty directory.
///
/// # Errors
/// As [`resolve_git`], and a directory that the repository has not.
pub fn fetch_git(
    request: &GitRequest<'_>,
    resolved: &ResolvedGit,
    into: &Path,
) -> Result<GitCheckout, ContextError> {
    let source = request.source;
    check_commit(source, resolved)?;
    let commit = resolved.commit.as_str();
    let git = Git::new(request, into)?;
    let dir = into.join(CHECKOUT);
    fetch(&git, source, commit, &dir)?;
    git.run("checkout", &dir, &["checkout", "--quiet", "--detach", commit])?;
    let time = git.run("log", &dir, &["log", "-1", "--format=%ct", commit])?;
    let commit_time = Mtime { secs: time.trim().parse().unwrap_or(0), nanos: 0 };
    if source.submodules && dir.join(".gitmodules").is_file() {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"];
        git.run("submodule update", &dir, &update)?;
    }
    if source.keep_git_dir {
        keep_reference(&git, resolved, &dir)?;
    }
    open_git(source, commit_time, into)
}

/// Opens what [`fetch_git`] checked out for the same source earlier.
///
/// # Errors
/// It is not there, or the repository has no such directory.
pub fn open_git(
    source: &GitSource,
    commit_time: Mtime,
    into: &Path,
) -> Result<GitCheckout, ContextError> {
    let root = open_dir(&into.join(CHECKOUT), source)?;
    let view = View { plain_modes: true, mtime: source.commit_times.then_some(commit_time) };
    let subdir = open_subdir(root, source)?;
    // No file of a commit can be called so, but the repository itself and links to those of submodules are (ADD-54).
    let hidden = (!source.keep_git_dir).then(|| IgnoreRules::new(["**/.git"]));
    let hidden = hidden.transpose().expect("the pattern is well-formed");
    let tree = LocalTree::new(subdir, hidden, None, view);
    Ok(GitCheckout { tree, commit_time })
}

const CHECKOUT: &str = "checkout";

/// Who keeps `.git` finds the branch or tag in it, and nothing that differs between two fetches.
fn keep_reference(git: &Git<'_>, resolved: &ResolvedGit, dir: &Path) -> Result<(), ContextError> {
    let name = resolved.reference.as_deref().filter(|name| name.starts_with("refs/"));
    match (name, &resolved.tag) {
        (Some(name), Some(_)) => {
            let both = format!("+{name}:{name}");
            let alone = ["fetch", "--quiet", "--no-tags", "--depth=1", "--", "origin", &both];
            let all = ["fetch", "--quiet", "--no-tags", "--", "origin", &both];
            git.run("fetch", dir, &alone).or_else(|_| git.run("fetch", dir, &all))?;
        }
        (Some(name), None) => {
            git.run("update-ref", dir, &["update-ref", "--", name, &resolved.commit])?;
        }
        (None, _) => {}
    }
    let noise = dir.join(".git/FETCH_HEAD");
    match std::fs::remove_file(&noise) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ContextError::file("remove", &noise)(error))
        }
        _ => Ok(()),
    }
}

/// Asks the remote, unless the commit is known from the text alone.
fn resolve(request: &GitRequest<'_>, home: &Path) -> Result<ResolvedGit, ContextError> {
    let source = request.source;
    let reference = source.reference.as_deref().unwrap_or("HEAD");
    let bare = |commit: &str| ResolvedGit {
        commit: commit.to_owned(),
        reference: source.reference.clone().filter(|name| !is_commit(name)),
        tag: None,
    };
    if is_commit(reference) {
        return Ok(bare(reference));
    }
    check_reference(source, reference)?;
    if source.fetch_by_commit {
        let reason = match source.checksum.as_deref().map(str::to_ascii_lowercase) {
            Some(commit) if is_commit(&commit) => return Ok(bare(&commit)),
            Some(_) => "fetch-by-commit requires a full commit id as the checksum",
            None => "fetch-by-commit requires a checksum or a commit as the reference",
        };
        let remote = Git::printable(&source.remote);
        return Err(ContextError(Failure::BadGit { remote, reason: reason.to_owned() }));
    }
    let git = Git::new(request, home)?;
    let peeled = format!("{reference}^{{}}");
    let ask = ["ls-remote", "--quiet", "--", git.remote(), reference, &peeled];
    let listed = git.run("ls-remote", home, &ask)?;
    let found = choose(&listed, reference).filter(|found| is_commit(&found.commit));
    found.ok_or_else(|| {
        let (remote, reference) = (git.remote().to_owned(), reference.to_owned());
        ContextError(Failure::NoReference { remote, reference })
    })
}

/// Picks the line of ls-remote that a short name means: a branch before a tag, a tag's commit before the tag.
fn choose(listed: &str, reference: &str) -> Option<ResolvedGit> {
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
    let named = |name: &str, tag: Option<String>| {
        let commit = find(name)?;
        let name = name.strip_suffix("^{}").unwrap_or(name).to_owned();
        Some(ResolvedGit { commit, reference: Some(name), tag })
    };
    if reference == "HEAD" {
        return named("HEAD", None);
    }
    let full_peeled = format!("{full}^{{}}");
    named(&full_peeled, find(&full))
        .or_else(|| named(&full, None))
        .or_else(|| named(&head, None))
        .or_else(|| named(&peeled, find(&tag)))
        .or_else(|| named(&tag, None))
}

/// Brings the commit into a new repository: alone if the remote can do that, else with its history.
fn fetch(git: &Git<'_>, source: &GitSource, commit: &str, dir: &Path) -> Result<(), ContextError> {
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

fn check_commit(source: &GitSource, resolved: &ResolvedGit) -> Result<(), ContextError> {
    let remote = || Git::printable(&source.remote);
    let commit = &resolved.commit;
    if !is_commit(commit) {
        let reason = format!("`{commit}` is no full commit id");
        return Err(ContextError(Failure::BadGit { remote: remote(), reason }));
    }
    match &source.checksum {
        Some(want)
            if ![Some(commit), resolved.tag.as_ref()]
                .into_iter()
                .flatten()
                .any(|id| id.starts_with(&want.to_ascii_lowercase())) =>
        {
            let tag = resolved.tag.as_ref().map(|tag| format!(" or {tag}")).unwrap_or_default();
            let (want, got) = (want.clone(), format!("{commit}{tag}"));
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
