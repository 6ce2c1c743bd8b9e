//! Git references: how they are told from paths and URLs, and what their parts say (ADD-50 to ADD-55).

use graph::GitSource;

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
    Some(parse(text, form)?.map(|written| {
        let keep_git_dir = written.keep_git_dir.unwrap_or(false);
        GitSource { keep_git_dir, ..written.source }
    }))
}

/// A reference as written: whether `.git` is kept may not have been said.
#[derive(Debug)]
pub(crate) struct WrittenGit {
    pub(crate) source: GitSource,
    pub(crate) keep_git_dir: Option<bool>,
}

pub(crate) fn parse(text: &str, form: GitForm) -> Option<Result<WrittenGit, GitError>> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = match is_scp_like(rest) {
        true => (rest, ""),
        false => rest.split_once('?').unwrap_or((rest, "")),
    };
    let remote = match () {
        () if form == GitForm::Context && remote.starts_with("github.com/") => {
            format!("https://{remote}")
        }
        () if is_remote(remote) => remote.to_owned(),
        () => return None,
    };
    Some(with_parts(remote, fragment, query))
}

fn is_remote(remote: &str) -> bool {
    let has = |scheme: &str| remote.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
    has("git://")
        || has("ssh://")
        || ((has("http://") || has("https://")) && remote.ends_with(".git"))
        || is_scp_like(remote)
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
    commit_times: bool,
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
            // All commits are fetched by their id where the server lets us.
            "fetch-by-commit" => set(boolean(key, value)?, |_| ()),
            "mtime" => {
                self.commit_times = match &*value {
                    "commit" => true,
                    "checkout" => false,
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
        for (what, prefix, value) in
            [("tag", "refs/tags/", &self.tag), ("branch", "refs/heads/", &self.branch)]
        {
            if value.is_empty() {
                continue;
            }
            let full = format!("{prefix}{}", value.strip_prefix(prefix).unwrap_or(value));
            if !self.reference.is_empty() && self.reference != *value && self.reference != full {
                let (fragment, query) = (self.reference, value.clone());
                return Err(GitError::Conflict { what, fragment, query });
            }
            self.reference = full;
        }
        if self.reference.is_empty() {
            self.reference = self.checksum.clone().unwrap_or_default();
        }
        let source = GitSource {
            remote,
            reference: Some(self.reference).filter(|reference| !reference.is_empty()),
            subdir: self.subdir.trim_matches('/').to_owned(),
            checksum: self.checksum,
            keep_git_dir: false,
            submodules: self.submodules,
            commit_times: self.commit_times,
        };
        Ok(WrittenGit { source, keep_git_dir: self.keep_git_dir })
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
    let is_hex = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
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
                } = git;
                let mut out = format!("{remote} {} {subdir:?}", reference.unwrap_or_default());
                for (word, on) in
                    [("keep", keep_git_dir), ("flat", !submodules), ("mtime", commit_times)]
                {
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
        check("https://h/x.git?commit=0123ab", "https://h/x.git 0123ab \"\" =0123ab");
        // ADD-53
        check("https://h/x.git?foo=1", "unexpected query \"foo\"");
        check("https://h/x.git?ref=", "query \"ref\" has no value");
        check("https://h/x.git?ref=a&ref=b", "query \"ref\" has multiple values");
        check("https://h/x.git?ref=a#b", "ref conflicts: \"b\" vs \"a\"");
        check("https://h/x.git?branch=a&tag=b", "branch conflicts with tag");
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
}
