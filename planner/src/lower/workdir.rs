//! WORKDIR, and paths joined to it (WDIR-01 to WDIR-13).

use graph::{Mkdir, Op};
use parser::ast::Word;

use super::StageBuild;
use super::copy::parse_who;
use crate::lint;
use crate::site::{Fail, Site};

pub(super) fn lower(
    build: &mut StageBuild<'_, '_>,
    path: &Word,
    name: &str,
    site: &Site,
) -> Result<(), Fail> {
    let written = build.word(path, site)?;
    let findings = build.lowering.findings;
    lint::relative_workdir(findings, &written, &mut build.state.workdir_seen, site);
    let current = build.state.config.config.working_dir.clone();
    let directory = join(&current, &written);
    build.state.config.config.working_dir.clone_from(&directory);
    let history = format!("WORKDIR {directory}"); // WDIR-09
    if directory == "/" {
        build.note(history); // WDIR-08
        return Ok(());
    }
    let mkdir = Mkdir {
        path: clean(&directory),
        owner: parse_who(&build.state.config.config.user),
        epoch: build.lowering.epoch, // WDIR-10
    };
    build.push_layer(Op::Mkdir(mkdir), name, history, site);
    Ok(())
}

/// A directory seen from the current one: absolute ones as written, others joined and cleaned (WDIR-02, WDIR-03).
pub(super) fn join(current: &str, written: &str) -> String {
    match written {
        absolute if absolute.starts_with('/') => absolute.to_owned(),
        "" if !current.is_empty() => current.to_owned(),
        relative => clean(&format!("/{current}/{relative}")),
    }
}

/// The current directory, absolute and clean.
pub(super) fn current(build: &StageBuild<'_, '_>) -> String {
    clean(&build.state.config.config.working_dir)
}

/// An absolute path without `.`, `..` and doubled slashes; relative ones start at the root.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_joined() {
        let check = |current: &str, written: &str, want: &str| {
            assert_eq!(join(current, written), want, "{current} {written}");
        };
        check("/", "/wd/x/", "/wd/x/"); // WDIR-02
        check("/wd/x/", "..", "/wd");
        check("", "a", "/a");
        check("/a", "", "/a"); // WDIR-03
        check("", "", "/");
        check("/a", ".", "/a");
        check("/a", "/../b", "/../b");
    }
}
