//! A comparison in one phrase: `src/api.ts changed, +1 file`, `build:4 changed`, `ENV FOO changed`.
//!
//! Owns the words behind `because`. What is said is true to the letter: a path is named only when just it differs in
//! that way, all else is counted.

use graph::{Op, StackIdentity, Vertex, VertexId};
use planner::parts;

use super::document::{Different, FileDifference, FileList, InputKind};
use super::inputs::{Input, What, source_name};
use crate::work::Work;

/// So many things are named in one phrase.
const NAMED_MAX: usize = 3;

/// The phrase of what differs; `None` when that is nothing. `below` says how what lies below differs, if it does.
pub(crate) fn of(different: &[Different], below: &str) -> Option<String> {
    let mut phrases = instruction(different);
    for one in different {
        match (one.kind, &one.files) {
            (InputKind::Instruction, _) => {}
            (InputKind::Below, _) => phrases.push(below.to_owned()),
            (_, Some(list)) => phrases.push(files(&one.name, list)),
            (_, None) => phrases.push(format!("{} {}", one.name, verb(one))),
        }
    }
    let more = phrases.len().saturating_sub(NAMED_MAX);
    phrases.truncate(NAMED_MAX);
    if more > 0 {
        phrases.push(format!("{more} more"));
    }
    (!phrases.is_empty()).then(|| phrases.join(", "))
}

fn verb(one: &Different) -> &'static str {
    match (&one.old, &one.new) {
        (None, _) => "is new",
        (_, None) => "is gone",
        _ => "changed",
    }
}

/// What of the instruction differs. What stands in its line is its text; variables and the like are named.
fn instruction(different: &[Different]) -> Vec<String> {
    let parts = || different.iter().filter(|one| one.kind == InputKind::Instruction);
    if parts().any(|one| one.name == parts::FORMAT) {
        return vec![format!("{} changed", parts::FORMAT)];
    }
    let is_own = |one: &&Different| {
        let own = [parts::COMMAND, "kind of instruction", "source", "destination", "path"];
        own.contains(&one.name.as_str())
    };
    let mut phrases = Vec::new();
    if parts().any(|one| is_own(&one)) {
        // The text may be what it was, and another WORKDIR be meant.
        let only_place = parts().filter(is_own).all(|one| one.name == "destination");
        let what = if only_place { "destination" } else { "instruction" };
        phrases.push(format!("{what} changed"));
    }
    // A flag of a line that was written anew is part of it.
    let is_anew = phrases.iter().any(|phrase| phrase.starts_with("instruction"));
    let is_flag = |one: &&Different| one.name.starts_with("--") && is_anew;
    let others: Vec<&Different> = parts().filter(|one| !is_own(one) && !is_flag(one)).collect();
    phrases.extend(others.iter().map(|one| format!("{} {}", one.name, verb(one))));
    phrases
}

/// What people call what lies directly below.
pub(crate) fn directly_below(work: &Work) -> String {
    match work.vertex().below.map(|id| work.graph.vertex(id)) {
        Some(vertex) => called(work, vertex),
        None => "the base".to_owned(),
    }
}

fn called(work: &Work, vertex: &Vertex) -> String {
    if let Op::Image(image) = &vertex.op {
        return format!("base image {}", image.reference.familiar());
    }
    match work.session.journal.address(vertex.id) {
        Some(address) if address.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("step {address}")
        }
        Some(address) => address,
        None => match source_name(&vertex.origin) {
            "" => "the base".to_owned(),
            name => name.to_owned(),
        },
    }
}

/// Of what lies below, the topmost that differs: what people call it, and how it differs. `then` is what lay below, if
/// that is known.
pub(crate) fn below(
    work: &Work,
    inputs: &[Input],
    then: Option<&StackIdentity>,
) -> (String, &'static str) {
    const CHANGED: &str = "changed";
    let now = inputs.iter().find_map(|input| match &input.what {
        What::Below(identity) => identity.as_ref(),
        _ => None,
    });
    let nearest = || (directly_below(work), CHANGED);
    let (Some(now), Some(then)) = (now, then) else { return nearest() };
    if now.base != then.base {
        let image = chain(work).find(|vertex| matches!(vertex.op, Op::Image(_)));
        return image.map_or_else(nearest, |vertex| (called(work, vertex), CHANGED));
    }
    let layers = layers_below(work);
    let layer = |at: usize| called(work, work.graph.vertex(layers[at]));
    if layers.len() != now.contents.len() {
        return nearest();
    }
    match differing(now, then) {
        Differing::Nothing => ("SOURCE_DATE_EPOCH".to_owned(), CHANGED), // WDIR-12
        Differing::Layer(at) => (layer(at), CHANGED),
        Differing::New(at) => (layer(at), "is new"),
        Differing::Gone => ("a step below".to_owned(), "is gone"),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Differing {
    Nothing,
    /// This layer has another content.
    Layer(usize),
    /// This layer is there in addition.
    New(usize),
    /// Some are there no more.
    Gone,
}

fn differing(now: &StackIdentity, then: &StackIdentity) -> Differing {
    let (now, then) = (&now.contents[..], &then.contents[..]);
    let first = now.iter().zip(then).take_while(|(a, b)| a == b).count();
    let (now, then) = (&now[first..], &then[first..]);
    let last = now.iter().rev().zip(then.iter().rev()).take_while(|(a, b)| a == b).count();
    let (now, then) = (&now[..now.len() - last], &then[..then.len() - last]);
    match (now.len(), then.len()) {
        (0, 0) => Differing::Nothing,
        (0, _) => Differing::Gone,
        (count, 0) => Differing::New(first + count - 1),
        (count, _) => Differing::Layer(first + count - 1),
    }
}

/// The vertices whose layers lie below, lowest first.
fn layers_below(work: &Work) -> Vec<VertexId> {
    let mut layers: Vec<VertexId> =
        chain(work).filter(|vertex| vertex.op.makes_layer()).map(|vertex| vertex.id).collect();
    layers.reverse();
    layers
}

fn chain(work: &Work) -> impl Iterator<Item = &Vertex> {
    let below = |vertex: &&Vertex| vertex.below.map(|id| work.graph.vertex(id));
    std::iter::successors(Some(work.vertex()), below).skip(1)
}

/// `src/api.ts changed, +1 file, 212 files mode-only`.
fn files(name: &str, list: &FileList) -> String {
    let mut sorted = Sorted::default();
    list.entries.iter().for_each(|entry| sorted.add(entry));
    let mut said = Said::default();
    let path = |one: &FileDifference| format!("{}{}", one.path, list.place);
    match &sorted.changed[..] {
        [] => {}
        [one] => said.name(format!("{} changed", path(one))),
        [one, others @ ..] => {
            said.name(format!("{} and {} more changed", path(one), others.len()));
        }
    }
    let renamed = |one: &FileDifference| format!("{} renamed to {}", old_name(one), path(one));
    said.group(&sorted.renamed, renamed, |count| format!("{count} renamed"));
    said.group(&sorted.new, |one| format!("{} is new", path(one)), |count| format!("+{count}"));
    said.group(&sorted.gone, |one| format!("{} is gone", path(one)), |count| format!("-{count}"));
    let as_how = |one: &FileDifference| format!("{} {}", path(one), one.how.join(", "));
    said.group(&sorted.mode, as_how, |count| format!("{count} mode-only"));
    said.group(&sorted.other, as_how, |count| format!("{count} otherwise"));
    if list.more > 0 {
        said.parts.push(format!("{} more", list.more));
    }
    match said.named {
        true => said.parts.join(", "),
        false => format!("{name}: {}", said.parts.join(", ")),
    }
}

fn old_name(one: &FileDifference) -> &str {
    let from = one.how.first().and_then(|how| how.strip_prefix("renamed from "));
    from.unwrap_or("a file")
}

#[derive(Default)]
struct Sorted<'a> {
    changed: Vec<&'a FileDifference>,
    renamed: Vec<&'a FileDifference>,
    new: Vec<&'a FileDifference>,
    gone: Vec<&'a FileDifference>,
    mode: Vec<&'a FileDifference>,
    other: Vec<&'a FileDifference>,
}

impl<'a> Sorted<'a> {
    fn add(&mut self, entry: &'a FileDifference) {
        let has = |test: fn(&str) -> bool| entry.how.iter().any(|how| test(how));
        let is_changed = |how: &str| how == "content" || (how.contains(" -> ") && is_kind(how));
        let list = if entry.how.iter().any(|how| is_changed(how)) {
            &mut self.changed
        } else if has(|how| how.starts_with("renamed")) {
            &mut self.renamed
        } else if has(|how| how == "new") {
            &mut self.new
        } else if has(|how| how == "gone") {
            &mut self.gone
        } else if entry.how.len() == 1 && has(|how| how.starts_with("mode")) {
            &mut self.mode
        } else {
            &mut self.other
        };
        list.push(entry);
    }
}

/// Neither a mode nor an owner: what it is differs.
fn is_kind(how: &str) -> bool {
    !how.starts_with("mode ") && !how.starts_with("owner ")
}

/// What a phrase has said so far. One path is named at most, all else is counted.
#[derive(Default)]
struct Said {
    parts: Vec<String>,
    named: bool,
}

impl Said {
    fn name(&mut self, text: String) {
        self.parts.push(text);
        self.named = true;
    }

    fn group(
        &mut self,
        entries: &[&FileDifference],
        one: impl Fn(&FileDifference) -> String,
        many: impl Fn(String) -> String,
    ) {
        // A directory that comes or goes with its files is not worth a word.
        let files = entries.iter().filter(|entry| !entry.directory).count();
        match entries {
            [] => {}
            [entry] if !self.named => self.name(one(entry)),
            _ if files == 1 && !self.named => {
                let file = entries.iter().find(|entry| !entry.directory);
                self.name(one(file.expect("one of them is none")));
            }
            _ if files > 0 => self.parts.push(many(counted(files, "file", "files"))),
            _ => self.parts.push(many(counted(entries.len(), "directory", "directories"))),
        }
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use graph::ContentId;
    use oci::Digest;

    use super::*;

    fn entry(path: &str, how: &str) -> FileDifference {
        let directory = path.ends_with('/');
        let path = path.trim_end_matches('/').to_owned();
        FileDifference { path, directory, how: how.split('|').map(str::to_owned).collect() }
    }

    #[test]
    fn files_are_named_once_and_counted_else() {
        let check = |entries: &[(&str, &str)], want: &str| {
            let entries = entries.iter().map(|(path, how)| entry(path, how)).collect();
            let list = FileList { same: 5, total: 9, place: String::new(), entries, more: 0 };
            assert_eq!(files("src", &list), want);
        };
        let mode = "mode 0644 -> 0664";
        check(&[("src/a", "content")], "src/a changed");
        check(&[("src/a", "content|mode 0644 -> 0755")], "src/a changed");
        check(&[("src/a", "file -> link")], "src/a changed");
        check(&[("src/a", "content"), ("src/b", "content")], "src/a and 1 more changed");
        check(
            &[("src/a", "content"), ("n", "new"), ("b", mode), ("c", mode), ("g", "gone")],
            "src/a changed, +1 file, -1 file, 2 files mode-only",
        );
        check(&[("n", "new")], "n is new");
        check(&[("g", "gone")], "g is gone");
        check(&[("b", mode)], "b mode 0644 -> 0664");
        check(&[("b", "renamed from a")], "a renamed to b");
        check(&[("n", "new"), ("b", mode), ("c", mode)], "n is new, 2 files mode-only");
        check(&[("b", mode), ("c", mode)], "src: 2 files mode-only");
        check(&[("n", "new"), ("m", "new")], "src: +2 files");
        check(&[("d/", "new"), ("d/f", "new")], "d/f is new");
        check(&[("d/", "new")], "d is new");
        check(&[("d/", "new"), ("e/", "new")], "src: +2 directories");
        check(&[("a", "owner 0:0 -> 7:7")], "a owner 0:0 -> 7:7");
        let (place, entries) = (" in stage b".to_owned(), vec![entry("o/", mode)]);
        let list = FileList { same: 1, total: 2, place, entries, more: 0 };
        assert_eq!(files("o in stage b", &list), "o in stage b mode 0644 -> 0664");
    }

    fn different(kind: InputKind, name: &str, old: bool, new: bool) -> Different {
        let digest = |there: bool, text: &str| there.then(|| text.to_owned());
        let (old, new) = (digest(old, "a"), digest(new, "b"));
        Different { name: name.to_owned(), kind, old, new, files: None }
    }

    #[test]
    fn an_edited_line_is_an_instruction_and_a_variable_has_its_name() {
        let check = |names: &[(&str, bool, bool)], want: &[&str]| {
            let list: Vec<Different> = names
                .iter()
                .map(|(name, old, new)| different(InputKind::Instruction, name, *old, *new))
                .collect();
            assert_eq!(instruction(&list), want);
        };
        check(&[("ENV FOO", true, true)], &["ENV FOO changed"]);
        check(&[("ENV FOO", false, true)], &["ENV FOO is new"]);
        check(&[("USER", true, true)], &["USER changed"]);
        check(&[("--network", true, true)], &["--network changed"]);
        check(&[("command", true, true)], &["instruction changed"]);
        check(&[("destination", true, true)], &["destination changed"]);
        check(&[("source", true, true), ("destination", true, true)], &["instruction changed"]);
        let both = ["destination changed", "--chmod is new"];
        check(&[("destination", true, true), ("--chmod", false, true)], &both);
        check(&[("command", true, true), ("--network", true, true)], &["instruction changed"]);
        let env = [("command", true, true), ("ENV A", true, false)];
        check(&env, &["instruction changed", "ENV A is gone"]);
        check(
            &[("ENV A", true, true), (parts::FORMAT, true, true)],
            &["shale's cache format changed"],
        );
    }

    #[test]
    fn the_topmost_layer_that_differs_is_the_reason() {
        let identity = |text: &str| StackIdentity {
            base: None,
            contents: text.bytes().map(|byte| ContentId(Digest::of(&[byte]))).collect(),
        };
        let check = |then: &str, now: &str, want: Differing| {
            assert_eq!(differing(&identity(now), &identity(then)), want, "{then} {now}");
        };
        check("abc", "abc", Differing::Nothing);
        check("abc", "abd", Differing::Layer(2));
        check("abc", "adc", Differing::Layer(1));
        check("abc", "xyc", Differing::Layer(1));
        check("ab", "axb", Differing::New(1));
        check("abc", "ac", Differing::Gone);
        check("abc", "adec", Differing::Layer(2));
    }
}
