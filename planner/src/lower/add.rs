//! ADD: archives, URLs and git repositories (ADD-01 to ADD-61).

use graph::{CopySource, GitSource, HttpSource, Selection, Unpack};
use oci::Digest;
use parser::ast;

use super::StageBuild;
use super::copy::{Words, is_url, selection};
use super::mounts::base_name;
use crate::git::{self, GitForm, WrittenGit};
use crate::lint;
use crate::site::{Fail, Site};

pub(super) fn lower(
    build: &mut StageBuild<'_, '_>,
    add: &ast::Add,
    name: &str,
    site: &Site,
) -> Result<(), Fail> {
    let words = Words::expand(build, &add.transfer, site)?;
    let checksum = match &add.checksum {
        Some(word) => Some(build.word(word, site)?).filter(|sum| !sum.is_empty()),
        None => None,
    };
    // A heredoc beside the one source is no other source: the checksum is not about it.
    if checksum.is_some() && words.sources.len() > 1 {
        let message = "checksum can't be specified for multiple sources";
        return Err(site.error("add-checksum", message)); // ADD-40
    }
    let mut sources = Vec::new();
    for (path, word) in words.sources.iter().zip(&add.transfer.sources) {
        let checksum = checksum.as_deref();
        // Decided for each source after expansion (ADD-02).
        let source = match git::parse(path, GitForm::Add) {
            Some(written) => {
                let written = written
                    .map_err(|e| site.error_in("git-reference", e.to_string(), word.span))?;
                git_source(build, add, written, checksum, site)?
            }
            None if is_url(path) => {
                let http = http_source(path, checksum);
                let http = http.map_err(|message| site.error("add-checksum", message))?;
                let input = build.lowering.http(http, site)?;
                CopySource::Http { input, unpack: unpack(add.unpack.unwrap_or(false)) } // ADD-30
            }
            None => local_source(build, add, path, checksum, site)?,
        };
        sources.push(source);
    }
    if checksum.is_some() && words.sources.is_empty() {
        return Err(needs_remote(site));
    }
    words.finish(build, sources, &add.transfer, ("ADD", name), site)
}

fn needs_remote(site: &Site) -> Fail {
    site.error("add-checksum", "checksum requires HTTP(S) or Git sources")
}

fn local_source(
    build: &mut StageBuild<'_, '_>,
    add: &ast::Add,
    path: &str,
    checksum: Option<&str>,
    site: &Site,
) -> Result<CopySource, Fail> {
    if checksum.is_some() {
        return Err(needs_remote(site));
    }
    lint::copied_from_context(build.lowering.findings, build.lowering.sources, "Add", path, site);
    let unpack = unpack(add.unpack.unwrap_or(true)); // ADD-10, ADD-22
    let input = build.lowering.local("");
    Ok(CopySource::Tree { input, selection: selection(path, &add.transfer, false), unpack })
}

/// The file at a URL; the error says what is wrong with the checksum.
pub(crate) fn http_source(url: &str, checksum: Option<&str>) -> Result<HttpSource, String> {
    let checksum = checksum.map(parse_digest).transpose()?;
    Ok(HttpSource { url: url.to_owned(), checksum, file_name: file_name(url) })
}

/// ADD-54, ADD-55.
fn git_source(
    build: &mut StageBuild<'_, '_>,
    add: &ast::Add,
    written: WrittenGit,
    checksum: Option<&str>,
    site: &Site,
) -> Result<CopySource, Fail> {
    let fail = |message: String| site.error("git-reference", message);
    if let (Some(flag), Some(query)) = (add.keep_git_dir, written.keep_git_dir)
        && flag != query
    {
        return Err(fail("inconsistent keep-git-dir configuration".to_owned()));
    }
    let mut source = written.with(add.keep_git_dir.unwrap_or(false), false);
    if let Some(wanted) = checksum {
        git::check_commit(wanted).map_err(|error| fail(error.to_string()))?;
        if let Some(query) = source.checksum.as_deref().filter(|query| *query != wanted) {
            return Err(fail(format!("checksum mismatch {wanted:?} != {query:?}")));
        }
        source.checksum = Some(wanted.to_owned());
    }
    whole_repository(build, source, add, site)
}

fn whole_repository(
    build: &mut StageBuild<'_, '_>,
    source: GitSource,
    add: &ast::Add,
    site: &Site,
) -> Result<CopySource, Fail> {
    let selection = Selection {
        path: "/".to_owned(),
        exclude: add.transfer.exclude.iter().map(|word| word.text.clone()).collect(),
        ..Selection::default()
    };
    let input = build.lowering.git(source, site)?;
    Ok(CopySource::Tree { input, selection, unpack: Unpack::No })
}

fn unpack(archives: bool) -> Unpack {
    if archives { Unpack::Archives } else { Unpack::No }
}

/// The last element of the path, percent signs decoded (ADD-31).
fn file_name(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let path = url[..end].split_once("://").map_or("", |(_, rest)| rest);
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let decoded = decode(path);
    match base_name(&decoded) {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name => name.to_owned(),
    }
}

/// Takes percent signs out; a malformed text stays as it is.
fn decode(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let digit = |at: usize| tail.get(at).and_then(|b| (*b as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return path.to_owned() };
        out.push((high * 16 + low) as u8);
        rest = &tail[2..];
    }
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

/// ADD-39.
fn parse_digest(text: &str) -> Result<Digest, String> {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return Err(format!("invalid checksum digest format: {text}"));
    };
    if algorithm != "sha256" {
        return Err(format!("unsupported digest algorithm: {text}"));
    }
    if hex.len() != 64 {
        return Err(format!("invalid checksum digest length: {text}"));
    }
    Digest::from_hex(hex).map_err(|_| format!("invalid checksum digest format: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_urls() {
        let check = |url: &str, want: &str| assert_eq!(file_name(url), want, "{url}");
        check("http://h/a/b.txt?x=1#y", "b.txt"); // ADD-31
        check("http://h/with%20blank.txt", "with blank.txt");
        check("http://h/dir/", "dir");
        check("http://h/", "__unnamed__");
        check("http://h", "__unnamed__");
        check("http://h/?f=a/b", "__unnamed__");
        check("http://h/100%", "100%");
    }
}
