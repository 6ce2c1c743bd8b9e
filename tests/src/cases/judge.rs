//! Judges facts: what a build made and said against what its case wants.
//!
//! Owns the meaning of each fact. Every judgement is a list of failures, each with the fact's place in its file.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::Value;

use super::bases::Bases;
use super::fact::{Across, AcrossFact, Build, Document, Fact, Line};
use super::image::{Image, Outcome, sha256};
use super::report;
use super::run::Ran;
use super::stage::Placeholders;
use super::tree::{NodeKind, Tree, shown};

/// A fact that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Line of the case file.
    pub(super) line: usize,
    /// What was wanted and what there is.
    pub(super) message: String,
}

/// What the facts of one build are judged against.
pub(super) struct Scene<'a> {
    /// Line of the build's section.
    pub(super) line: usize,
    pub(super) build: &'a Build,
    pub(super) ran: &'a Ran,
    pub(super) bases: &'a Bases,
    pub(super) placeholders: &'a Placeholders,
    /// Paths that facts over all builds name.
    pub(super) named: &'a BTreeSet<String>,
}

/// All facts of a build that do not hold.
pub(super) fn build(scene: &Scene<'_>) -> Vec<Failure> {
    let whole = whole(scene);
    if !whole.is_empty() {
        return whole;
    }
    let mut failures = Vec::new();
    for line in &scene.build.facts {
        if let Err(message) = one(scene, line) {
            failures.push(Failure { line: line.number, message });
        }
    }
    failures.extend(collected(scene));
    failures
}

/// Whether it ended as it had to; without that no fact needs to be looked at.
fn whole(scene: &Scene<'_>) -> Vec<Failure> {
    let ran = scene.ran;
    let fail = |message: String| vec![Failure { line: scene.line, message }];
    if ran.said().contains("panicked at") {
        return fail("shale panicked".to_owned());
    }
    let ended = match (ran.code, ran.signal) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("ended by signal {}", signal.unwrap_or_default()),
    };
    let exact = scene.build.facts.iter().find_map(|line| match line.fact {
        Fact::Exit(code) => Some((line.number, code)),
        _ => None,
    });
    if let Some((line, code)) = exact {
        if ran.code != Some(code) {
            return vec![Failure {
                line,
                message: format!("wanted exit code {code}, got {ended}"),
            }];
        }
    } else if scene.build.fails() {
        if !matches!(ran.code, Some(1..126)) {
            return fail(format!("wanted a failure in good order, got {ended}"));
        }
    } else if scene.build.only_reports() && has_warnings(scene.build) {
        if !matches!(ran.code, Some(0..126)) {
            return fail(format!("wanted a report, got {ended}"));
        }
    } else if ran.code != Some(0) {
        return fail(format!("wanted success, got {ended}"));
    }
    if scene.build.fails() && ran.left_behind {
        return fail("the failed build left an output behind".to_owned());
    }
    match &ran.outcome {
        Some(Err(why)) => fail(format!("the output is not right: {why}")),
        Some(Ok(outcome)) => platforms(scene, outcome),
        None => Vec::new(),
    }
}

fn has_warnings(build: &Build) -> bool {
    build.facts.iter().any(|line| matches!(line.fact, Fact::Warning(..)))
}

/// One image, or one for each platform that is named.
fn platforms(scene: &Scene<'_>, outcome: &Outcome) -> Vec<Failure> {
    let named: BTreeSet<&str> =
        scene.build.facts.iter().filter_map(|line| line.platform.as_deref()).collect();
    let there: Vec<String> = outcome.images.iter().map(Image::platform).collect();
    let there_set: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    let fits = if named.is_empty() {
        // Of several images one must be named, when something is said of it.
        let is_silent = !scene.build.facts.iter().any(|line| line.fact.is_of_image());
        there.len() == 1 || outcome.files.is_some() || is_silent
    } else {
        outcome.files.is_none() && named == there_set && there_set.len() == there.len()
    };
    if fits {
        return Vec::new();
    }
    let wanted = if named.is_empty() { "one image".to_owned() } else { format!("{named:?}") };
    let message = format!("wanted {wanted}, got images for {there:?}");
    vec![Failure { line: scene.line, message }]
}

/// The image that a fact is about.
fn image<'a>(scene: &Scene<'a>, line: &Line) -> Result<&'a Image, String> {
    let Some(Ok(outcome)) = &scene.ran.outcome else { return Err("there is no output".to_owned()) };
    let found = match &line.platform {
        Some(platform) => outcome.images.iter().find(|image| image.platform() == *platform),
        None => outcome.images.first(),
    };
    found.ok_or_else(|| "there is no image in this output".to_owned())
}

/// Its files, and the base's that they are compared with.
fn trees<'a>(scene: &Scene<'a>, line: &Line) -> Result<(&'a Tree, Option<&'a Tree>), String> {
    if let Some(Ok(Outcome { files: Some(files), .. })) = &scene.ran.outcome {
        return Ok((files, scene.bases.tree_like(files)));
    }
    let image = image(scene, line)?;
    Ok((&image.tree, scene.bases.tree_below(image)))
}

fn one(scene: &Scene<'_>, line: &Line) -> Result<(), String> {
    let said = || scene.ran.said();
    match &line.fact {
        Fact::Fails | Fact::Exit(_) | Fact::ConfigOnly | Fact::History { .. } => Ok(()),
        Fact::Warning(..) | Fact::NothingElse => Ok(()),
        Fact::At(wanted) => {
            let lines = report::error_lines(&said());
            let holds = report::points_at(&lines, wanted);
            if holds { Ok(()) } else { Err(format!("the error points at {lines:?}")) }
        }
        Fact::Says(pattern) => match pattern.is_match(&said()) {
            true => Ok(()),
            false => Err("this is not in the output".to_owned()),
        },
        Fact::Never(pattern) => match pattern.find(&said()) {
            None => Ok(()),
            Some(found) => Err(format!("the output says {:?}", found.as_str())),
        },
        Fact::Config(key, want) => {
            let config = &image(scene, line)?.config;
            same(want.as_ref(), member(config, key), scene.placeholders)
        }
        Fact::Dates(want) => dates(scene, image(scene, line)?, want),
        Fact::Layers(count) => equal(count, &image(scene, line)?.layers.len()),
        Fact::Entry(path, want) => {
            let (tree, _) = trees(scene, line)?;
            let node = tree.get(path).ok_or("nothing is there")?;
            entry::judge(want, node, scene.placeholders)
        }
        Fact::Hardlink(path, other) => hardlink(trees(scene, line)?.0, path, other),
        Fact::Xattr(path, name, want) => {
            let node = trees(scene, line)?.0.get(path).ok_or("nothing is there")?;
            match node.xattrs.get(name) {
                got if got == want.as_ref() => Ok(()),
                got => Err(format!("got {got:02x?} of {:?}", node.xattrs.keys())),
            }
        }
        Fact::Mtime(path, want) => {
            let node = trees(scene, line)?.0.get(path).ok_or("nothing is there")?;
            let date = |second: i64| jiff::Timestamp::from_second(second).map(|t| t.to_string());
            if node.mtime == *want { Ok(()) } else { Err(format!("got {:?}", date(node.mtime))) }
        }
        Fact::No(path) => match trees(scene, line)?.0.get(path) {
            None => Ok(()),
            Some(node) => Err(format!("a {} is there", node.kind_name())),
        },
        Fact::LayerFiles(nth, want) => layer_files(image(scene, line)?, *nth, want),
        Fact::Media(want) => media(image(scene, line)?, want),
        Fact::NoWarnings => match report::warnings(&said()) {
            none if none.is_empty() => Ok(()),
            some => Err(format!("got {some:?}")),
        },
        Fact::Json(document, pointer, want) => json(scene, line, *document, pointer, want.as_ref()),
        Fact::Sees { method, path, times } => sees(scene, method, path, *times),
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(want: &T, got: &T) -> Result<(), String> {
    if want == got { Ok(()) } else { Err(format!("got {got:?}")) }
}

/// A member of the config object, or of the document itself.
fn member<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    const OUTER: [&str; 7] =
        ["architecture", "os", "variant", "author", "created", "os.version", "os.features"];
    let object = if OUTER.contains(&key) { config } else { &config["config"] };
    object.get(key).filter(|value| !value.is_null())
}

/// Compares JSON, with placeholders put back in what there is.
fn same(want: Option<&Value>, got: Option<&Value>, words: &Placeholders) -> Result<(), String> {
    let got = got.map(|got| inward(got, words));
    if want == got.as_ref() {
        return Ok(());
    }
    Err(got.map_or("it is not there".to_owned(), |got| format!("got {got}")))
}

fn inward(value: &Value, words: &Placeholders) -> Value {
    match value {
        Value::String(text) => Value::String(words.inward(text)),
        Value::Array(list) => list.iter().map(|value| inward(value, words)).collect(),
        Value::Object(members) => {
            let members = members.iter();
            members.map(|(key, value)| (words.inward(key), inward(value, words))).collect()
        }
        other => other.clone(),
    }
}

fn hardlink(tree: &Tree, path: &str, other: &str) -> Result<(), String> {
    match (tree.get(path), tree.get(other)) {
        (Some(a), Some(b)) if std::sync::Arc::ptr_eq(a, b) => Ok(()),
        (Some(_), Some(_)) => Err("they are two files".to_owned()),
        (None, _) => Err(format!("nothing is at {path}")),
        (_, None) => Err(format!("nothing is at {other}")),
    }
}

fn dates(scene: &Scene<'_>, image: &Image, want: &[String]) -> Result<(), String> {
    let entries = image.config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    let own = &entries[scene.bases.history_below(&image.history())..];
    let got: Vec<&str> = own.iter().map(|entry| entry["created"].as_str().unwrap_or("-")).collect();
    // A capital letter stands for any time, the same letter for the same time and another letter for another one.
    let is_letter = |word: &str| word.len() == 1 && word.as_bytes()[0].is_ascii_uppercase();
    let fits = |(at, word): (usize, &String)| match is_letter(word) {
        false => got[at] == word,
        true => want[..at].iter().zip(&got).all(|(other, time)| {
            got[at] != "-" && (!is_letter(other) || (other == word) == (*time == got[at]))
        }),
    };
    let holds = got.len() == want.len() && want.iter().enumerate().all(fits);
    if holds { Ok(()) } else { Err(format!("got {}", got.join(" "))) }
}

fn layer_files(image: &Image, nth: usize, want: &[String]) -> Result<(), String> {
    let at = image.layers.len().checked_sub(nth);
    let layer = at.map(|at| &image.layers[at]).ok_or("there are not so many layers")?;
    let got: Vec<String> = layer.paths().iter().map(|path| shown(path)).collect();
    let mut want: Vec<&str> = want.iter().map(|path| path.trim_matches('/')).collect();
    want.sort_unstable();
    if want == got { Ok(()) } else { Err(format!("got {}", got.join(" "))) }
}

fn media(image: &Image, want: &[String]) -> Result<(), String> {
    let layers = image.manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let got: Vec<&str> =
        layers.iter().map(|layer| layer["mediaType"].as_str().unwrap_or_default()).collect();
    if got == want { Ok(()) } else { Err(format!("got {}", got.join(" "))) }
}

fn json(
    scene: &Scene<'_>,
    line: &Line,
    document: Document,
    pointer: &str,
    want: Option<&Value>,
) -> Result<(), String> {
    let parsed: Value;
    let document = match document {
        Document::Stdout => {
            let stdout = serde_json::from_str(&scene.ran.stdout);
            parsed = stdout.map_err(|e| format!("standard output is not JSON: {e}"))?;
            &parsed
        }
        Document::Manifest => &image(scene, line)?.manifest,
        Document::Image => &image(scene, line)?.config,
        Document::Index => match &scene.ran.outcome {
            Some(Ok(outcome)) => &outcome.index,
            _ => return Err("there is no output".to_owned()),
        },
    };
    same(want, document.pointer(pointer), scene.placeholders)
}

fn sees(scene: &Scene<'_>, method: &str, path: &str, times: Option<usize>) -> Result<(), String> {
    let fits = |(m, p): &&(String, String)| {
        let whole = path.contains('?') || !p.contains('?');
        let p = if whole { p.as_str() } else { p.split('?').next().unwrap_or_default() };
        m == method && p == path
    };
    let count = scene.ran.requests.iter().filter(fits).count();
    let holds = times.map_or(count > 0, |times| times == count);
    if holds { Ok(()) } else { Err(format!("it came {count} times of {:?}", scene.ran.requests)) }
}

/// Facts that mean something only all together.
fn collected(scene: &Scene<'_>) -> Vec<Failure> {
    let mut failures: Vec<Failure> = warnings(scene).into_iter().collect();
    let mut platforms: Vec<Option<&String>> =
        scene.build.facts.iter().map(|line| line.platform.as_ref()).collect();
    platforms.sort();
    platforms.dedup();
    for platform in platforms {
        let lines = scene.build.facts.iter().filter(|line| line.platform.as_ref() == platform);
        let lines: Vec<&Line> = lines.collect();
        for judged in
            [config_only(scene, &lines), history(scene, &lines), nothing_else(scene, &lines)]
        {
            failures.extend(judged.err());
        }
    }
    failures
}

fn at(line: &Line, message: String) -> Failure {
    Failure { line: line.number, message }
}

fn warnings(scene: &Scene<'_>) -> Option<Failure> {
    let mut want = Vec::new();
    let mut place = None;
    for line in &scene.build.facts {
        if let Fact::Warning(rule, number) = &line.fact {
            want.push((rule.clone(), *number));
            place = place.or(Some(line));
        }
    }
    want.sort();
    let got = report::warnings(&scene.ran.said());
    let place = place.filter(|_| want != got)?;
    let plain = |list: &[(String, usize)]| {
        list.iter().map(|(rule, line)| format!("{rule} {line}")).collect::<Vec<_>>().join(", ")
    };
    Some(at(place, format!("wanted the warnings {}; got {}", plain(&want), plain(&got))))
}

fn config_only(scene: &Scene<'_>, lines: &[&Line]) -> Result<(), Failure> {
    let Some(line) = lines.iter().find(|line| matches!(line.fact, Fact::ConfigOnly)) else {
        return Ok(());
    };
    let image = image(scene, line).map_err(|message| at(line, message))?;
    let named: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| match &line.fact {
            Fact::Config(key, _) => Some(key.as_str()),
            _ => None,
        })
        .collect();
    let members = image.config["config"].as_object().into_iter().flatten();
    let others = members.filter(|(key, value)| !value.is_null() && !named.contains(key.as_str()));
    let others: Vec<String> = others.map(|(key, value)| format!("{key} {value}")).collect();
    if others.is_empty() { Ok(()) } else { Err(at(line, format!("also {}", others.join(", ")))) }
}

/// A long entry may be written as its begin, length and digest.
fn folded(text: &str) -> String {
    const LENGTH_MAX: usize = 4096;
    let length = text.chars().count();
    if length <= LENGTH_MAX {
        return text.to_owned();
    }
    let start: String = text.chars().take(60).collect();
    format!("{start}... {length} characters, {}", sha256(text.as_bytes()))
}

fn history(scene: &Scene<'_>, lines: &[&Line]) -> Result<(), Failure> {
    let wanted = lines.iter().filter_map(|line| match &line.fact {
        Fact::History { text, empty } => Some((*line, text, *empty)),
        _ => None,
    });
    let wanted: Vec<(&Line, &String, bool)> = wanted.collect();
    let Some((first, ..)) = wanted.first() else { return Ok(()) };
    let image = image(scene, first).map_err(|message| at(first, message))?;
    let all = image.history();
    let own = &all[scene.bases.history_below(&all)..];
    let kind = |empty: bool| if empty { "empty" } else { "layer" };
    for (index, (line, text, empty)) in wanted.iter().enumerate() {
        let Some((got, got_empty)) = own.get(index) else {
            return Err(at(line, "the history is shorter".to_owned()));
        };
        let got = scene.placeholders.inward(got);
        if **text != got && **text != folded(&got) || empty != got_empty {
            return Err(at(line, format!("got {} {got}", kind(*got_empty))));
        }
    }
    match own.get(wanted.len()) {
        None => Ok(()),
        Some((text, empty)) => {
            let (last, ..) = wanted.last().expect("one at least");
            Err(at(last, format!("behind it: {} {text}", kind(*empty))))
        }
    }
}

/// Paths that differ from the base and that no line names.
fn nothing_else(scene: &Scene<'_>, lines: &[&Line]) -> Result<(), Failure> {
    let Some(line) = lines.iter().find(|line| matches!(line.fact, Fact::NothingElse)) else {
        return Ok(());
    };
    let (tree, base) = trees(scene, line).map_err(|message| at(line, message))?;
    let empty = Tree::default();
    let base = base.unwrap_or(&empty);
    let named = named(scene, lines);
    let is_named = |path: &[u8]| {
        let utf8 = std::str::from_utf8(path).ok().map(|path| scene.placeholders.inward(path));
        let latin: String = path.iter().map(|byte| char::from(*byte)).collect();
        utf8.is_some_and(|path| named.contains(&path)) || named.contains(&latin)
    };
    let mut others = Vec::new();
    for (path, node) in &tree.0 {
        let absolute = [b"/", &path[..]].concat();
        let same = base.0.get(path).is_some_and(|known| known.is_same_but_time(node));
        if !same && !is_named(&absolute) {
            others.push(format!("{} {}", node.kind_name(), shown(&absolute)));
        }
    }
    for path in base.0.keys().filter(|path| !tree.0.contains_key(*path)) {
        let absolute = [b"/", &path[..]].concat();
        if !is_named(&absolute) && !below_named(&absolute, &is_named) {
            others.push(format!("no {}", shown(&absolute)));
        }
    }
    others.extend(other_links(tree, base, lines));
    if others.is_empty() {
        return Ok(());
    }
    let more = others.len().saturating_sub(8);
    others.truncate(8);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(at(line, format!("also {}{more}", others.join(", "))))
}

/// Whether a path lies below one that is named: with a directory goes all that is in it.
fn below_named(path: &[u8], is_named: &impl Fn(&[u8]) -> bool) -> bool {
    let slashes = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/');
    slashes.map(|(at, _)| &path[..at]).any(is_named)
}

fn named(scene: &Scene<'_>, lines: &[&Line]) -> BTreeSet<String> {
    let mut named = scene.named.clone();
    for line in lines {
        match &line.fact {
            Fact::Entry(path, _) | Fact::No(path) => drop(named.insert(path.clone())),
            Fact::Hardlink(path, other) => named.extend([path.clone(), other.clone()]),
            _ => {}
        }
    }
    named
}

/// Hard links that no line names and that the base does not have.
fn other_links(tree: &Tree, base: &Tree, lines: &[&Line]) -> Vec<String> {
    let known = base.hard_links();
    let named: BTreeSet<&str> = lines
        .iter()
        .flat_map(|line| match &line.fact {
            Fact::Hardlink(path, other) => vec![path.as_str(), other.as_str()],
            _ => Vec::new(),
        })
        .collect();
    let groups = tree.hard_links();
    let others = groups.iter().filter(|group| {
        let free = group.iter().filter(|path| !named.contains(shown(path).as_str())).count();
        free > 0 && !known.contains(group)
    });
    let text =
        |group: &Vec<Vec<u8>>| group.iter().map(|path| shown(path)).collect::<Vec<_>>().join(" = ");
    others.map(|group| format!("hardlink {}", text(group))).collect()
}

/// All facts over the builds of a case that do not hold.
pub(super) fn across(facts: &[Across], ran: &[Ran]) -> Vec<Failure> {
    let mut failures = Vec::new();
    for line in facts {
        let judged = match &line.fact {
            AcrossFact::Pattern(path, letters) => pattern(path, letters, ran),
            AcrossFact::SameDigest(builds) => digests(builds, ran, true),
            AcrossFact::OtherDigest(builds) => digests(builds, ran, false),
        };
        if let Err(message) = judged {
            failures.push(Failure { line: line.number, message });
        }
    }
    failures
}

fn pattern(path: &str, want: &str, ran: &[Ran]) -> Result<(), String> {
    let mut seen: Vec<&NodeKind> = Vec::new();
    let letter = |ran| {
        let Some(content) = content(ran, path) else { return '-' };
        let known = seen.iter().position(|known| *known == content).unwrap_or_else(|| {
            seen.push(content);
            seen.len() - 1
        });
        char::from(b'A' + u8::try_from(known).unwrap_or(25))
    };
    let got: String = ran.iter().map(letter).collect();
    if got == want { Ok(()) } else { Err(format!("got {got}")) }
}

fn content<'a>(ran: &'a Ran, path: &str) -> Option<&'a NodeKind> {
    let Some(Ok(outcome)) = &ran.outcome else { return None };
    let tree = outcome.files.as_ref().or_else(|| outcome.images.first().map(|image| &image.tree));
    Some(&tree?.get(path)?.kind)
}

fn digests(builds: &[usize], ran: &[Ran], want_same: bool) -> Result<(), String> {
    let mut lists = Vec::new();
    for build in builds {
        let ran = ran.get(build - 1).ok_or_else(|| format!("there is no build {build}"))?;
        let Some(Ok(outcome)) = &ran.outcome else {
            return Err(format!("build {build} made no image"));
        };
        let list: Vec<&str> = outcome.images.iter().map(|image| image.digest.as_str()).collect();
        if list.is_empty() {
            return Err(format!("build {build} made no image"));
        }
        lists.push(list);
    }
    let distinct: BTreeSet<_> = lists.iter().collect();
    let holds = if want_same { distinct.len() == 1 } else { distinct.len() == lists.len() };
    if holds { Ok(()) } else { Err(format!("got {lists:?}")) }
}
