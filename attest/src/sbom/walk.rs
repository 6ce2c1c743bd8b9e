//! The one walk over all files: which are read for packages, by name, place and mode.
//!
//! Lock files are not read: they say what somebody meant to install, not what is there.

use layer::{Entry, EntryKind};
use tree::TreeError;

use super::look::{Left, Look, NAME_COSTS};
use super::read::{self, Regular};
use super::{executable, jar, node, php, python, ruby};

/// Deeper is nobody's work.
const DEPTH_MAX: usize = 256;
/// A smaller program has no room for a list of what it is made of.
const PROGRAM_MIN_BYTES: u64 = 512;

/// What reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    Python,
    Node,
    Ruby,
    Php,
    Jar,
    Executable,
}

pub(super) fn scan(look: &Look<'_>) -> Result<(), TreeError> {
    look.tree.prefetch(b"");
    let mut todo: Vec<(Vec<u8>, usize)> = vec![(Vec::new(), 0)];
    while let Some((dir, depth)) = todo.pop() {
        if !look.spend_on(&dir) {
            return Ok(());
        }
        let mut inner = Vec::new();
        for (entry, _) in look.tree.list(&dir)? {
            if !look.spend(NAME_COSTS, &entry.path) {
                return Ok(());
            }
            if !entry.is_dir() {
                file(look, &dir, entry)?;
            } else if depth >= DEPTH_MAX {
                look.leave_out(Left::Deep, &entry.path);
            } else if !dir.is_empty() || !matches!(entry.name(), b"proc" | b"sys" | b"dev") {
                inner.push((entry.path, depth + 1));
            }
        }
        todo.extend(inner.into_iter().rev());
    }
    Ok(())
}

fn file(look: &Look<'_>, dir: &[u8], entry: Entry) -> Result<(), TreeError> {
    let Some(reader) = reader(dir, &entry) else { return Ok(()) };
    let by_link = matches!(entry.kind, EntryKind::Symlink { .. });
    let file = match by_link {
        true => read::regular(look, &entry.path)?,
        false => Regular::of(entry),
    };
    let Some(file) = file else { return Ok(()) };
    if !look.is_new(reader as u8, &file, by_link) {
        return Ok(());
    }
    match reader {
        Reader::Python => python::scan(look, &file),
        Reader::Node => node::scan(look, &file),
        Reader::Ruby => ruby::scan(look, &file),
        Reader::Php => php::scan(look, &file),
        Reader::Jar => jar::scan(look, &file),
        Reader::Executable => executable::scan(look, &file),
    }
}

/// What reads a file in a directory; most files nobody does.
fn reader(dir: &[u8], entry: &Entry) -> Option<Reader> {
    let mut above = dir.rsplit(|b| *b == b'/');
    let (parent, grandparent) = (above.next().unwrap_or_default(), above.next());
    let by_name = match entry.name() {
        b"METADATA" => parent.ends_with(b".dist-info").then_some(Reader::Python),
        b"PKG-INFO" => parent.ends_with(b".egg-info").then_some(Reader::Python),
        b"package.json" => is_node_module(dir).then_some(Reader::Node),
        b"installed.json" => (parent == b"composer").then_some(Reader::Php),
        name if name.ends_with(b".egg-info") => Some(Reader::Python),
        name if name.ends_with(b".gemspec") => {
            let is_default = parent == b"default" && grandparent == Some(b"specifications");
            (parent == b"specifications" || is_default).then_some(Reader::Ruby)
        }
        name if jar::is_archive(name) => Some(Reader::Jar),
        _ => None,
    };
    match entry.kind {
        EntryKind::File { size_bytes, .. } => {
            let may_run = entry.mode & 0o111 != 0 && size_bytes >= PROGRAM_MIN_BYTES;
            by_name.or(may_run.then_some(Reader::Executable))
        }
        // What a link leads to is walked over by itself; only a file of another name is worth a look.
        EntryKind::Symlink { .. } => by_name,
        _ => None,
    }
}

/// `…/node_modules/name`, `…/node_modules/@scope/name`.
fn is_node_module(dir: &[u8]) -> bool {
    let mut parts = dir.rsplit(|b| *b == b'/');
    let (name, above) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match above {
        b"node_modules" => !name.starts_with(b"@") && !name.starts_with(b"."),
        scope => scope.starts_with(b"@") && parts.next() == Some(b"node_modules"),
    }
}
