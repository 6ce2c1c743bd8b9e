//! COPY, and what ADD has in common with it (COPY-01 to COPY-114).

use graph::{Copy, CopySource, InlineFile, Op, Selection, Unpack, VertexId, Who};
use parser::ast::{self, Transfer, Word};
use parser::expand::heredoc_body;

use super::from::Tree;
use super::names::{self, Asker};
use super::{StageBuild, chmod, display, workdir};
use crate::git::{self, GitForm};
use crate::lint;
use crate::site::{Fail, Site};

pub(super) fn lower(
    build: &mut StageBuild<'_, '_>,
    copy: &ast::Copy,
    name: &str,
    site: &Site,
) -> Result<(), Fail> {
    let words = Words::expand(build, &copy.transfer, site)?;
    for (source, word) in words.sources.iter().zip(&copy.transfer.sources) {
        check_source(source, site).map_err(|fail| site.narrowed(fail, word.span))?;
        if copy.from.is_none() {
            let lowering = &build.lowering;
            lint::copied_from_context(lowering.findings, lowering.sources, "Copy", source, site);
        }
    }
    let input = input(build, copy.from.as_ref(), site)?;
    let sources = words.sources.iter().map(|path| CopySource::Tree {
        input,
        selection: selection(path, &copy.transfer, copy.parents),
        unpack: Unpack::No,
    });
    let sources = sources.collect();
    let flags = if copy.parents { "COPY --parents" } else { "COPY" };
    words.finish(build, sources, &copy.transfer, (flags, name), site)
}

/// COPY-03.
fn check_source(source: &str, site: &Site) -> Result<(), Fail> {
    if git::parse(source, GitForm::Add).is_some() {
        return Err(site.error("copy-source", "source can't be a git ref for COPY"));
    }
    if is_url(source) {
        return Err(site.error("copy-source", "source can't be a URL for COPY"));
    }
    Ok(())
}

pub(crate) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The vertex that is read: `--from`, or the build context.
fn input(
    build: &mut StageBuild<'_, '_>,
    from: Option<&Word>,
    site: &Site,
) -> Result<VertexId, Fail> {
    let Some(from) = from else { return Ok(build.lowering.local("")) };
    let expanded = build.word(from, site)?;
    if expanded != from.text {
        return Err(site.error_in(
            "variable-in-from",
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround", // EXP-51
            from.span,
        ));
    }
    let tree = names::tree(build, &expanded, &Asker::Copy, site);
    match tree.map_err(|fail| site.narrowed(fail, from.span))? {
        Tree::Stack(vertex) | Tree::Source(vertex) => Ok(vertex),
    }
}

/// What a path of a source means; an empty one is the root (COPY-16).
pub(super) fn selection(path: &str, transfer: &Transfer, parents: bool) -> Selection {
    Selection {
        path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
        wildcards: has_wildcards(path),
        parents,
        exclude: transfer.exclude.iter().map(|word| word.text.clone()).collect(),
        itself: false,
    }
}

fn has_wildcards(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// The words of a COPY or ADD, expanded.
pub(super) struct Words {
    pub(super) sources: Vec<String>,
    heredocs: Vec<InlineFile>,
    dest: String,
    chown: String,
    chmod: String,
}

impl Words {
    pub(super) fn expand(
        build: &StageBuild<'_, '_>,
        transfer: &Transfer,
        site: &Site,
    ) -> Result<Words, Fail> {
        let variables = &build.state.variables;
        let word = |word: &Word| build.word(word, site);
        let flag = |flag: &Option<Word>| flag.as_ref().map_or(Ok(String::new()), word);
        let mut heredocs = Vec::new();
        for heredoc in &transfer.heredocs {
            let content = match heredoc.expand {
                false => heredoc.body.clone(), // EXP-63
                true => {
                    let value = |name: &str| variables.get(name).map(str::to_owned);
                    let expanded = heredoc_body(&heredoc.body, &value).map_err(|error| {
                        site.error_in("expansion", error.to_string(), heredoc.span)
                    })?;
                    build.take_room(expanded.text.len(), site)?;
                    build.report_unset(&expanded.unset, site);
                    expanded.text
                }
            };
            heredocs.push(InlineFile {
                name: heredoc.name.clone(),
                content: content.into_bytes().into(),
            });
        }
        Ok(Words {
            sources: transfer.sources.iter().map(word).collect::<Result<_, _>>()?,
            heredocs,
            dest: word(&transfer.dest)?,
            chown: flag(&transfer.chown)?,
            chmod: flag(&transfer.chmod)?,
        })
    }

    /// Adds the heredocs behind the other sources (COPY-113) and puts the copy on the stage. `shown` is how the
    /// history text begins and the step's name.
    pub(super) fn finish(
        self,
        build: &mut StageBuild<'_, '_>,
        mut sources: Vec<CopySource>,
        transfer: &Transfer,
        shown: (&str, &str),
        site: &Site,
    ) -> Result<(), Fail> {
        let history = self.history(shown.0);
        let at_flag = |code, message: String, flag: &Option<Word>| {
            site.error_in(code, message, flag.as_ref().map(|word| word.span).unwrap_or_default())
        };
        let chmod = match &*self.chmod {
            "" => None,
            text => {
                Some(chmod::parse(text).map_err(|m| at_flag("invalid-chmod", m, &transfer.chmod))?)
            }
        };
        let chown = match &*self.chown {
            "" => None,
            text => {
                Some(checked_who(text).map_err(|m| at_flag("invalid-chown", m, &transfer.chown))?)
            }
        };
        let dest_is_dir = matches!(&*self.dest, "" | "." | "/.")
            || self.dest.ends_with('/')
            || self.dest.ends_with("/."); // COPY-31
        let dest = match self.dest.starts_with('/') {
            true => workdir::clean(&self.dest),
            false => workdir::clean(&format!("{}/{}", workdir::current(build), self.dest)),
        };
        for (at, file) in self.heredocs.iter().enumerate() {
            // Of two with one name the last stays (LEX-113).
            if self.heredocs[at + 1..].iter().all(|later| later.name != file.name) {
                sources.push(CopySource::Inline(file.clone()));
            }
        }
        let copy = Copy {
            sources,
            dest,
            dest_is_dir,
            chown,
            link: transfer.link && chmod.is_none(), // COPY-84
            chmod,
        };
        build.push_layer(Op::Copy(copy), shown.1, history, site);
        Ok(())
    }

    /// COPY-04; without what opens a URL, for an image goes to other people (security.md E4).
    fn history(&self, begin: &str) -> String {
        let mut text = begin.to_owned();
        for (flag, value) in [("chown", &self.chown), ("chmod", &self.chmod)] {
            if !value.is_empty() {
                text += &format!(" --{flag}={value}");
            }
        }
        for source in &self.sources {
            text += &format!(" {}", display::without_users(source));
        }
        for heredoc in &self.heredocs {
            text += &format!(" <<{}", heredoc.name);
        }
        text + &format!(" {} # buildkit", self.dest)
    }
}

/// Reads `user[:group]` (COPY-52 to COPY-54).
pub(super) fn parse_who(text: &str) -> Who {
    match text.split_once(':') {
        Some((user, group)) => Who { user: user.to_owned(), group: Some(group.to_owned()) },
        None => Who { user: text.to_owned(), group: None },
    }
}

/// COPY-58.
fn checked_who(text: &str) -> Result<Who, String> {
    let who = parse_who(text);
    let negative = |name: &str| name.parse::<i64>().is_ok_and(|id| id < 0);
    if negative(&who.user) || who.group.as_deref().is_some_and(negative) {
        return Err(format!("invalid chown parameter: '{text}'. an id cannot be negative"));
    }
    Ok(who)
}
