//! Git references: how they are told from paths and URLs, and what their parts say (ADD-50 to ADD-55).

use graph::GitSource;

use crate::{LowerRequest, epoch};

/// Where a reference stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GitForm {
    /// Source of ADD, where `github.com/org/repo` is a path.
    Add,
    /// A build context, where it is a repository (CTX-13).
    Context,
}

/// A git reference is malformed (ADD-53).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum GitError {
    #[error("unexpected query {key:?}")]
    UnknownQuery { key: String },
    #[error("query {key:?} has no value")]
    NoValue { key: String },
    #[error("query {key:?} has multiple values")]
    ManyValues { key: String },
    #[error("{what} conflicts: {fragment:?} vs {query:?}")]
    Conflict { what: &'static str, fragment: String, query: String },
    #[error("branch conflicts with tag")]
    BranchAndTag,
    #[error("invalid {key} value: {value:?}")]
    BadBool { key: String, value: String },
    #[error("invalid mtime value: {value:?} (must be \"checkout\" or \"commit\")")]
    BadMtime { value: String },
    #[error("invalid checksum {text} for Git URL, expected hex commit hash")]
    BadChecksum { text: String },
}

/// Reads a git reference. `None` when the text is something else: a path or another URL.
pub fn parse_git(text: &str, form: GitForm) -> Option<Result<GitSource, GitError>> {
    Some(parse(text, form)?.map(|written| written.with(false, false)))
}

/// Reads the reference of the main build context: a build argument may keep `.git` (CTX-14), and with one that sets an
/// epoch files have the commit's time unless the reference says otherwise.
pub fn parse_git_context(
    text: &str,
    request: &LowerRequest,
) -> Option<Result<GitSource, GitError>> {
    let keeps = request.build_arg("BUILDKIT_CONTEXT_KEEP_GIT_DIR").and_then(parse_bool);
    let has_epoch = request.build_arg(epoch::NAME).is_some_and(|value| !value.is_empty());
    let parsed = parse(text, GitForm::Context)?;
    Some(parsed.map(|mut written| {
        if keeps == Some(true) {
            written.keep_git_dir = Some(true);
        }
        written.with(false, has_epoch)
    }))
}

/// A reference as written: whether `.git` is kept and which times files have may not have been said.
#[derive(Debug)]
pub(crate) struct WrittenGit {
    source: GitSource,
    pub(crate) keep_git_dir: Option<bool>,
    commit_times: Option<bool>,
}

impl WrittenGit {
    /// The source with what holds where nothing was said.
    pub(crate) fn with(self, keep_git_dir: bool, commit_times: bool) -> GitSource {
        GitSource {
            keep_git_dir: self.keep_git_dir.unwrap_or(keep_git_dir),
            commit_times: self.commit_times.unwrap_or(commit_times),
            ..self.source
        }
    }
}

pub(crate) fn parse(text: &str, form: GitForm) -> Option<Result<WrittenGit, GitError>> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    let remote = match () {
        () if form == GitForm::Context && remote.starts_with("github.com/") => {
            format!("https://{remote}")
        }
        () => as_remote(remote)?,
    };
    Some(with_parts(remote, fragment, query))
}

/// The remote, its scheme in lower case; `None` when it is none.
fn as_remote(text: &str) -> Option<String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return is_scp_like(text).then(|| text.to_owned());
    };
    let scheme = scheme.to_ascii_lowercase();
    let is_remote = match &*scheme {
        "git" | "ssh" => !rest.is_empty(),
        "http" | "https" => rest.ends_with(".git"),
        _ => false,
    };
    is_remote.then(|| format!("{scheme}://{rest}"))
}

/// `user@host:path`.
fn is_scp_like(remote: &str) -> bool {
    let Some((user, rest)) = remote.split_once('@') else { return false };
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !user.is_empty()
        && user.chars().all(word)
        && rest.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !host.contains('/') && !path.starts_with("//")
        })
}

fn with_parts(remote: String, fragment: &str, query: &str) -> Result<WrittenGit, GitError> {
    let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
    let mut parts = Parts {
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        submodules: true,
        ..Parts::default()
    };
    for (key, value) in query_pairs(query)? {
        parts.take(key, value)?;
    }
    parts.finish(remote)
}

#[derive(Default)]
struct Parts {
    reference: String,
    subdir: String,
    tag: String,
    branch: String,
    checksum: Option<String>,
    keep_git_dir: Option<bool>,
    submodules: bool,
    commit_times: Option<bool>,
    fetch_by_commit: bool,
}

impl Parts {
    fn take(&mut self, key: String, value: String) -> Result<(), GitError> {
        match &*key {
            "ref" => agree("ref", &mut self.reference, value),
            "subdir" => agree("subdir", &mut self.subdir, value),
            "tag" => agree("tag", &mut self.tag, value),
            "branch" => agree("branch", &mut self.branch, value),
            "checksum" | "commit" => {
                check_commit(&value)?;
                self.checksum = Some(value);
                Ok(())
            }
            "keep-git-dir" => set(boolean(key, value)?, |on| self.keep_git_dir = Some(on)),
            "submodules" => set(boolean(key, value)?, |on| self.submodules = on),
            "fetch-by-commit" => set(boolean(key, value)?, |on| self.fetch_by_commit = on),
            "mtime" => {
                self.commit_times = match &*value {
                    "commit" => Some(true),
                    "checkout" => Some(false),
                    _ => return Err(GitError::BadMtime { value }),
                };
                Ok(())
            }
            _ => Err(GitError::UnknownQuery { key }),
        }
    }

    fn finish(mut self, remote: String) -> Result<WrittenGit, GitError> {
        if !self.tag.is_empty() && !self.branch.is_empty() {
            return Err(GitError::BranchAndTag);
        }
        for (prefix, value) in [("refs/tags/", &self.tag), ("refs/heads/", &self.branch)] {
            if value.is_empty() {
                continue;
            }
            let full = format!("{prefix}{}", value.strip_prefix(prefix).unwrap_or(value));
            agree("ref", &mut self.reference, full)?;
        }
        let source = GitSource {
            remote,
            reference: Some(self.reference).filter(|reference| !reference.is_empty()),
            subdir: self.subdir.trim_matches('/').to_owned(),
            checksum: self.checksum,
            keep_git_dir: false,
            submodules: self.submodules,
            commit_times: false,
            fetch_by_commit: self.fetch_by_commit,
        };
        let Parts { keep_git_dir, commit_times, .. } = self;
        Ok(WrittenGit { source, keep_git_dir, commit_times })
    }
}

fn set(on: bool, field: impl FnOnce(bool)) -> Result<(), GitError> {
    field(on);
    Ok(())
}

fn agree(what: &'static str, field: &mut String, query: String) -> Result<(), GitError> {
    if !field.is_empty() && *field != query {
        return Err(GitError::Conflict { what, fragment: field.clone(), query });
    }
    *field = query;
    Ok(())
}

/// Says whether a text can be (the start of) a commit id (ADD-55).
pub(crate) fn check_commit(text: &str) -> Result<(), GitError> {
    let is_hex =
        !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hex { Ok(()) } else { Err(GitError::BadChecksum { text: text.to_owned() }) }
}

/// A bare `?submodules` is not a value, `?submodules=1` is.
fn boolean(key: String, value: String) -> Result<bool, GitError> {
    match parse_bool(&value) {
        Some(on) => Ok(on),
        None => Err(GitError::BadBool { key, value }),
    }
}

/// Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn query_pairs(query: &str) -> Result<Vec<(String, String)>, GitError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key), decode(value));
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(GitError::ManyValues { key });
        }
        let is_switch = matches!(&*key, "keep-git-dir" | "submodules" | "fetch-by-commit");
        match (value.is_empty(), is_switch) {
            (true, true) => pairs.push((key, "true".to_owned())),
            (true, false) => return Err(GitError::NoValue { key }),
            (false, _) => pairs.push((key, value)),
        }
    }
    Ok(pairs)
}

/// Takes percent signs and plus signs out of a query's text; malformed ones stay.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = |b: Option<&u8>| b.and_then(|b| (*b as char).to_digit(16));
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str, form: GitForm) -> String {
        match parse_git(text, form) {
            None => "no".to_owned(),
            Some(Err(error)) => error.to_string(),
            Some(Ok(git)) => {
                let GitSource {
                    remote,
                    reference,
                    subdir,
                    checksum,
                    keep_git_dir,
                    submodules,
                    commit_times,
                    fetch_by_commit,
                } = git;
                let mut out = format!("{remote} {} {subdir:?}", reference.unwrap_or_default());
                for (word, on) in [
                    ("keep", keep_git_dir),
                    ("flat", !submodules),
                    ("mtime", commit_times),
                    ("direct", fetch_by_commit),
                ] {
                    if on {
                        out += &format!(" {word}");
                    }
                }
                out + &checksum.map(|sum| format!(" ={sum}")).unwrap_or_default()
            }
        }
    }

    #[test]
    fn references_and_queries() {
        let check = |text: &str, want: &str| assert_eq!(dump(text, GitForm::Add), want, "{text}");
        check("git://h/x", "git://h/x  \"\""); // ADD-50
        check("ssh://git@h/x", "ssh://git@h/x  \"\"");
        check("git@h:o/x.git#v1:sub", "git@h:o/x.git v1 \"sub\""); // ADD-51
        check("https://h/x.git", "https://h/x.git  \"\"");
        check("https://h/x", "no");
        check("github.com/o/x", "no");
        check("./git@h:x", "no");
        check("a/b", "no");
        check("https://h/x.git?branch=b&subdir=s", "https://h/x.git refs/heads/b \"s\"");
        check("https://h/x.git?tag=v1", "https://h/x.git refs/tags/v1 \"\"");
        check(
            "https://h/x.git?ref=a&keep-git-dir=1&submodules=false&mtime=commit",
            "https://h/x.git a \"\" keep flat mtime",
        );
        // The commit of the default branch is compared, no other is fetched.
        check("https://h/x.git?commit=0123aB", "https://h/x.git  \"\" =0123aB");
        check("https://h/x.git?commit=01&fetch-by-commit", "https://h/x.git  \"\" direct =01");
        check("https://h/x.git?tag=v1#refs/tags/v1", "https://h/x.git refs/tags/v1 \"\"");
        check("git@h:o/x.git?tag=v1&subdir=s", "git@h:o/x.git refs/tags/v1 \"s\"");
        check("HTTPS://h/x.git", "https://h/x.git  \"\"");
        check("https://h/x.git/", "no");
        check("ftp://h/x.git", "no");
        check("https://h/x.git?keep-git-dir&submodules", "https://h/x.git  \"\" keep");
        // ADD-53
        check("https://h/x.git?foo=1", "unexpected query \"foo\"");
        check("https://h/x.git?ref=", "query \"ref\" has no value");
        check("https://h/x.git?ref=a&ref=b", "query \"ref\" has multiple values");
        check("https://h/x.git?ref=a#b", "ref conflicts: \"b\" vs \"a\"");
        check("https://h/x.git?branch=a&tag=b", "branch conflicts with tag");
        check("https://h/x.git?tag=a#b", "ref conflicts: \"b\" vs \"refs/tags/a\"");
        check("https://h/x.git?subdir=a#r:b", "subdir conflicts: \"b\" vs \"a\"");
        check(
            "https://h/x.git?mtime=foo",
            "invalid mtime value: \"foo\" (must be \"checkout\" or \"commit\")",
        );
        check(
            "https://h/x.git?checksum=zz",
            "invalid checksum zz for Git URL, expected hex commit hash",
        );
        let context = dump("github.com/o/x#main", GitForm::Context); // CTX-13
        assert_eq!(context, "https://github.com/o/x main \"\"");
    }

    #[test]
    fn build_arguments_change_the_main_context() {
        const KEEP: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";
        let check = |text: &str, arguments: &[(&str, &str)], want: (bool, bool)| {
            let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let build_args = arguments.iter().map(pair).collect();
            let request = LowerRequest { build_args, ..LowerRequest::default() };
            let git = parse_git_context(text, &request).expect("a reference").expect("valid");
            assert_eq!((git.keep_git_dir, git.commit_times), want, "{text} {arguments:?}");
        };
        check("git://h/x", &[], (false, false));
        check("git://h/x", &[("A", "0"), (KEEP, "1")], (true, false)); // CTX-14
        check("git://h/x", &[(KEEP, "0"), (KEEP, "true")], (true, false));
        check("git://h/x", &[(KEEP, "")], (false, false));
        check("git://h/x?keep-git-dir", &[(KEEP, "0")], (true, false));
        check("git://h/x", &[("SOURCE_DATE_EPOCH", "1")], (false, true));
        check("git://h/x", &[("SOURCE_DATE_EPOCH", "")], (false, false));
        check("git://h/x?mtime=checkout", &[("SOURCE_DATE_EPOCH", "1")], (false, false));
    }
}
