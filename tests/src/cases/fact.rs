//! The lines of a build: its settings and the facts that must hold, as data.
//!
//! Owns their syntax. How a fact is judged is in [`judge`](super::judge).

use std::ops::RangeInclusive;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::format::{Block, Mistake};
use super::stage::STAMP;
use super::tar::NewEntry;
use super::words::{self, Word};

/// One run of shale.
#[derive(Debug)]
pub(super) struct Build {
    pub(super) arguments: Vec<String>,
    /// `None` for `.`.
    pub(super) context: Option<String>,
    pub(super) stdin: Option<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) output: Output,
    pub(super) agent: bool,
    /// Another store than that of all cases, by a name of the case's: another machine.
    pub(super) store: Option<String>,
    /// Arguments of builds of the same context that run at the same time.
    pub(super) besides: Vec<Vec<String>>,
    /// Ctrl-C is pressed once standard error has this.
    pub(super) interrupt: Option<String>,
    pub(super) facts: Vec<Line>,
}

/// What is added to the command line to have a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// An OCI archive, unless shale was only asked to report something.
    Archive,
    /// Attributes without the destination.
    Attributes(String),
    None,
}

/// A fact with its place in the file.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) text: String,
    /// The image it is about, of several.
    pub(super) platform: Option<String>,
    pub(super) fact: Fact,
}

#[derive(Debug)]
pub(super) enum Fact {
    Fails,
    /// The error points at a line in one of these; none: at no line.
    At(Vec<RangeInclusive<usize>>),
    Exit(i32),
    Says(Regex),
    Never(Regex),
    /// `None`: the member is not there.
    Config(String, Option<Value>),
    ConfigOnly,
    History {
        text: String,
        empty: bool,
    },
    /// Of the history, after the base's.
    Dates(Vec<String>),
    Layers(usize),
    Entry(String, Entry),
    Hardlink(String, String),
    /// `None`: the file has none of that name.
    Xattr(String, String, Option<Vec<u8>>),
    /// Seconds since the epoch.
    Mtime(String, i64),
    No(String),
    NothingElse,
    LayerFiles(usize, Vec<String>),
    Media(Vec<String>),
    Warning(String, usize),
    NoWarnings,
    Json(Document, String, Option<Value>),
    Sees {
        method: String,
        path: String,
        times: Option<usize>,
    },
}

/// What a pointer points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    Stdout,
    Manifest,
    /// The image's config document.
    Image,
    Index,
}

/// What must be at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: EntryKind,
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<(u64, u64)>,
    pub(super) content: Option<Content>,
    pub(super) size: Option<usize>,
}

impl Entry {
    fn new(kind: EntryKind) -> Entry {
        Entry { kind, mode: None, owner: None, content: None, size: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    File,
    Directory,
    Fifo,
    Char(u32, u32),
    Block(u32, u32),
    Link(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Text(String),
    /// Hexadecimal.
    Sha256(String),
}

/// A fact over all builds.
#[derive(Debug)]
pub(super) struct Across {
    pub(super) number: usize,
    pub(super) text: String,
    pub(super) fact: AcrossFact,
}

#[derive(Debug)]
pub(super) enum AcrossFact {
    Pattern(String, String),
    /// Builds, counted from 1.
    SameDigest(Vec<usize>),
    OtherDigest(Vec<usize>),
}

impl Build {
    /// Whether shale is asked to report something and builds nothing.
    pub(super) fn only_reports(&self) -> bool {
        let mut before = "";
        self.arguments.iter().any(|argument| {
            let method = match before {
                "--call" => Some(argument.as_str()),
                _ => argument.strip_prefix("--call="),
            };
            before = argument;
            ["--check", "--check=true", "--help", "-h"].contains(&argument.as_str())
                || argument.starts_with("--print")
                || method.is_some_and(|method| method != "build")
        })
    }

    /// Whether it must fail.
    pub(super) fn fails(&self) -> bool {
        self.facts.iter().any(|line| matches!(line.fact, Fact::Fails))
    }

    pub(super) fn parse(block: &Block<'_>, arguments: &str) -> Result<Build, Mistake> {
        let arguments = words::shell(arguments).map_err(|m| Mistake::new(block.line, m))?;
        let mut build = Build {
            arguments,
            context: None,
            stdin: None,
            env: Vec::new(),
            output: Output::Archive,
            agent: false,
            store: None,
            besides: Vec::new(),
            interrupt: None,
            facts: Vec::new(),
        };
        let mut platform = None;
        for (number, line) in block.lines() {
            if build.setting(line).map_err(|m| Mistake::new(number, m))? {
                continue;
            }
            if let Some(name) = line.strip_prefix("platform ") {
                platform = Some(name.trim().to_owned());
                continue;
            }
            let fact = fact(line).map_err(|m| Mistake::new(number, m))?;
            let (text, platform) = (line.to_owned(), platform.clone());
            build.facts.push(Line { number, text, platform, fact });
        }
        build.judge()?;
        Ok(build)
    }

    fn setting(&mut self, line: &str) -> Result<bool, String> {
        let Some((name, value)) = line.split_once(": ") else {
            self.agent |= line == "agent";
            return Ok(line == "agent");
        };
        let value = value.trim();
        match name {
            "context" => self.context = Some(value.to_owned()),
            "beside" => self.besides.push(words::shell(value)?),
            "store" => self.store = Some(value.to_owned()),
            "interrupt" => self.interrupt = Some(value.to_owned()),
            "stdin" => self.stdin = Some(value.to_owned()),
            "env" => {
                let (name, value) = value.split_once('=').ok_or("not NAME=VALUE")?;
                self.env.push((name.to_owned(), value.to_owned()));
            }
            "output" if value == "none" => self.output = Output::None,
            "output" => self.output = Output::Attributes(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Facts that cannot be judged together.
    fn judge(&self) -> Result<(), Mistake> {
        let fails = self.fails();
        let reports = self.only_reports();
        for line in &self.facts {
            let wrong = |message: &str| Err(Mistake::new(line.number, message));
            match &line.fact {
                Fact::At(_) if !fails => return wrong("`at` without `fails`"),
                Fact::Exit(0) if fails => return wrong("`exit 0` and `fails`"),
                Fact::Exit(1..) if !fails && !reports => return wrong("`exit` without `fails`"),
                fact if fact.is_of_image() && fails => {
                    return wrong("a failed build has no image to look at");
                }
                fact if fact.is_of_image() && (reports || self.output == Output::None) => {
                    return wrong("no image comes of this that could be looked at");
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Fact {
    /// Whether it looks at what was made.
    pub(super) fn is_of_image(&self) -> bool {
        match self {
            Fact::Fails | Fact::At(_) | Fact::Exit(_) | Fact::Says(_) | Fact::Never(_) => false,
            Fact::Warning(..) | Fact::NoWarnings | Fact::Sees { .. } => false,
            Fact::Json(document, ..) => *document != Document::Stdout,
            _ => true,
        }
    }
}

fn fact(line: &str) -> Result<Fact, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let alone = |fact: Fact| if rest.is_empty() { Ok(fact) } else { Err(format!("`{rest}`?")) };
    match word {
        "fails" => alone(Fact::Fails),
        "at" => at(rest),
        "exit" => Ok(Fact::Exit(number(rest)?)),
        "says" => Ok(Fact::Says(pattern(rest)?)),
        "never" => Ok(Fact::Never(pattern(rest)?)),
        "config" if rest == "only" => Ok(Fact::ConfigOnly),
        "config" => {
            let (key, want) = pointer_and_json(rest)?;
            Ok(Fact::Config(key, want))
        }
        "layer" | "empty" => Ok(Fact::History { text: history(rest)?, empty: word == "empty" }),
        "dates" => Ok(Fact::Dates(bare_words(rest)?)),
        "layers" => Ok(Fact::Layers(number(rest)?)),
        "file" | "dir" | "fifo" | "char" | "block" | "link" => entry(word, rest),
        "hardlink" => {
            let [path, other] = exactly(rest)?;
            Ok(Fact::Hardlink(absolute(path)?, absolute(other)?))
        }
        "xattr" => {
            let [path, name, hex] = exactly(rest)?;
            let value = match hex.text() {
                "-" => None,
                hex => Some(from_hex(hex)?),
            };
            Ok(Fact::Xattr(absolute(path)?, name.text().to_owned(), value))
        }
        "mtime" => {
            let [path, date] = exactly(rest)?;
            Ok(Fact::Mtime(absolute(path)?, seconds(date.text())?))
        }
        "no" if rest == "warnings" => Ok(Fact::NoWarnings),
        "no" => {
            let [path] = exactly(rest)?;
            Ok(Fact::No(absolute(path)?))
        }
        "nothing" if rest == "else" => Ok(Fact::NothingElse),
        "layer-files" => layer_files(rest),
        "media" => Ok(Fact::Media(bare_words(rest)?)),
        "warning" => {
            let [rule, line] = exactly(rest)?;
            Ok(Fact::Warning(rule.text().to_owned(), number(line.text())?))
        }
        "json" | "manifest" | "image" | "index" => {
            let (pointer, want) = pointer_and_json(rest)?;
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!("not a JSON pointer: {pointer}"));
            }
            Ok(Fact::Json(document(word), pointer, want))
        }
        "sees" => sees(rest),
        _ => Err(format!("unknown fact `{word}`")),
    }
}

fn document(word: &str) -> Document {
    match word {
        "manifest" => Document::Manifest,
        "image" => Document::Image,
        "index" => Document::Index,
        _ => Document::Stdout,
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("not a number: `{text}`"))
}

fn pattern(text: &str) -> Result<Regex, String> {
    if text.is_empty() {
        return Err("an empty pattern is found everywhere".to_owned());
    }
    let mut builder = RegexBuilder::new(text);
    builder.case_insensitive(true).multi_line(true);
    builder.build().map_err(|error| format!("not a regular expression: {error}"))
}

fn at(rest: &str) -> Result<Fact, String> {
    let mut ranges = Vec::new();
    for word in rest.split_whitespace().filter(|word| *word != "none") {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        ranges.push(number(first)?..=number(last)?);
    }
    let none = rest.trim() == "none";
    if none != ranges.is_empty() || rest.contains("none") != none {
        return Err(format!("lines, or `none`, are wanted: `{rest}`"));
    }
    Ok(Fact::At(ranges))
}

/// A word, and behind it JSON or `-`.
fn pointer_and_json(rest: &str) -> Result<(String, Option<Value>), String> {
    let Some((key, json)) = words::take(rest)? else { return Err("a name is wanted".to_owned()) };
    let want = match json.trim() {
        "-" => None,
        json => {
            let value = serde_json::from_str(json);
            Some(value.map_err(|error| format!("not JSON ({error}): {json}"))?)
        }
    };
    Ok((key.text().to_owned(), want))
}

/// The rest of the line as it stands, or one JSON string.
fn history(rest: &str) -> Result<String, String> {
    if !rest.starts_with('"') {
        return Ok(rest.to_owned());
    }
    serde_json::from_str(rest).map_err(|error| format!("not a JSON string ({error}): {rest}"))
}

fn exactly<const N: usize>(rest: &str) -> Result<[Word; N], String> {
    let words = words::all(rest)?;
    words.try_into().map_err(|w: Vec<Word>| format!("{N} words are wanted, here are {}", w.len()))
}

fn bare_words(rest: &str) -> Result<Vec<String>, String> {
    Ok(words::all(rest)?.iter().map(|word| word.text().to_owned()).collect())
}

fn absolute(path: impl std::borrow::Borrow<Word>) -> Result<String, String> {
    let path = path.borrow().text();
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err(format!("no / first: `{path}`")) }
}

fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(digit).collect();
    bytes.ok_or_else(|| format!("not hexadecimal: `{text}`"))
}

/// Seconds since the epoch.
fn seconds(date: &str) -> Result<i64, String> {
    let date: jiff::Timestamp = date.parse().map_err(|error| format!("not a date: {error}"))?;
    Ok(date.as_second())
}

/// An entry of an archive as `file`, `dir` and so on describe it; paths are not absolute there.
pub(super) fn archive_entry(line: &str) -> Result<NewEntry, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (name, entry, link) = match word {
        "hardlink" => {
            let [path, other] = exactly(rest)?;
            let entry = Entry::new(EntryKind::File);
            (path.text().to_owned(), entry, other.text().to_owned())
        }
        "file" | "dir" | "fifo" | "char" | "block" | "link" => {
            let (name, entry) = described(word, rest)?;
            (name, entry, String::new())
        }
        _ => return Err(format!("unknown kind of entry `{word}`")),
    };
    let (kind, link, device) = match &entry.kind {
        EntryKind::File if word == "hardlink" => (b'1', link, (0, 0)),
        EntryKind::File => (b'0', link, (0, 0)),
        EntryKind::Link(target) => (b'2', target.clone(), (0, 0)),
        EntryKind::Char(major, minor) => (b'3', link, (*major, *minor)),
        EntryKind::Block(major, minor) => (b'4', link, (*major, *minor)),
        EntryKind::Directory => (b'5', link, (0, 0)),
        EntryKind::Fifo => (b'6', link, (0, 0)),
    };
    let content = match entry.content {
        Some(Content::Text(text)) => text.into_bytes(),
        Some(Content::Sha256(_)) => return Err("content is wanted, not a digest".to_owned()),
        None => Vec::new(),
    };
    let mode = entry.mode.unwrap_or(if kind == b'5' { 0o755 } else { 0o644 });
    let owner = entry.owner.unwrap_or_default();
    Ok(NewEntry { name, kind, mode, owner, mtime: STAMP, link, device, content })
}

/// `mtime PATH DATE` for an entry above.
pub(super) fn archive_time(line: &str) -> Result<Option<(String, i64)>, String> {
    let Some(rest) = line.strip_prefix("mtime ") else { return Ok(None) };
    let [path, date] = exactly(rest)?;
    Ok(Some((path.text().to_owned(), seconds(date.text())?)))
}

fn entry(word: &str, rest: &str) -> Result<Fact, String> {
    let (path, entry) = described(word, rest)?;
    Ok(Fact::Entry(absolute(Word::Bare(path))?, entry))
}

fn described(word: &str, rest: &str) -> Result<(String, Entry), String> {
    let words = words::all(rest)?;
    let mut words = words.iter();
    let path = words.next().ok_or("a path is wanted")?.text().to_owned();
    let kind = match word {
        "file" => EntryKind::File,
        "dir" => EntryKind::Directory,
        "fifo" => EntryKind::Fifo,
        "link" => {
            EntryKind::Link(words.next().ok_or("the link's target is wanted")?.text().to_owned())
        }
        _ => {
            let numbers = words.next().and_then(|word| word.text().split_once(':'));
            let (major, minor) = numbers.ok_or("the device's numbers are wanted")?;
            let (major, minor) = (number(major)?, number(minor)?);
            if word == "char" {
                EntryKind::Char(major, minor)
            } else {
                EntryKind::Block(major, minor)
            }
        }
    };
    let mut entry = Entry::new(kind);
    while let Some(word) = words.next() {
        attribute(&mut entry, word, &mut words)?;
    }
    Ok((path, entry))
}

fn attribute<'a>(
    entry: &mut Entry,
    word: &Word,
    rest: &mut impl Iterator<Item = &'a Word>,
) -> Result<(), String> {
    let is_file = entry.kind == EntryKind::File;
    let bare = match word {
        Word::Quoted(text) if is_file => {
            entry.content = Some(Content::Text(text.clone()));
            return Ok(());
        }
        Word::Quoted(text) => return Err(format!("content of what is no file: {text:?}")),
        Word::Bare(bare) => bare,
    };
    if let Some(hex) = bare.strip_prefix("sha256:") {
        from_hex(hex)?;
        entry.content = Some(Content::Sha256(hex.to_owned()));
    } else if bare == "size" {
        entry.size = Some(number(rest.next().ok_or("a size is wanted")?.text())?);
    } else if let Some((user, group)) = bare.split_once(':') {
        entry.owner = Some((number(user)?, number(group)?));
    } else {
        let mode = u32::from_str_radix(bare, 8).ok().filter(|mode| *mode <= 0o7777);
        entry.mode = Some(mode.ok_or_else(|| format!("not an attribute: `{bare}`"))?);
    }
    let only_of_files = entry.content.is_some() || entry.size.is_some();
    let has_mode = !matches!(entry.kind, EntryKind::Link(_)) || entry.mode.is_none();
    if only_of_files && !is_file || !has_mode {
        return Err(format!("only a file has `{bare}`"));
    }
    Ok(())
}

fn layer_files(rest: &str) -> Result<Fact, String> {
    let words = bare_words(rest)?;
    let (nth, paths) = words.split_first().ok_or("the layer's number is wanted")?;
    let nth: usize = number(nth)?;
    if nth == 0 {
        return Err("the topmost layer is 1".to_owned());
    }
    Ok(Fact::LayerFiles(nth, paths.to_vec()))
}

fn sees(rest: &str) -> Result<Fact, String> {
    let words = bare_words(rest)?;
    let (method, path, times) = match words.as_slice() {
        [method, path] => (method, path, None),
        [method, path, times] => (method, path, Some(number(times)?)),
        _ => return Err("a method and a path are wanted".to_owned()),
    };
    let path = path.trim_start_matches('/').to_owned();
    Ok(Fact::Sees { method: method.clone(), path, times })
}

impl Across {
    pub(super) fn parse_all(block: &Block<'_>) -> Result<Vec<Across>, Mistake> {
        let lines = block.lines().map(|(number, line)| {
            let fact = across(line).map_err(|message| Mistake::new(number, message))?;
            Ok(Across { number, text: line.to_owned(), fact })
        });
        lines.collect()
    }
}

fn across(line: &str) -> Result<AcrossFact, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let builds = || -> Result<Vec<usize>, String> {
        let builds: Result<Vec<usize>, String> = rest.split_whitespace().map(number).collect();
        let builds = builds?;
        if builds.len() < 2 || builds.contains(&0) {
            return Err("two builds or more are wanted, the first is 1".to_owned());
        }
        Ok(builds)
    };
    match word {
        "pattern" => {
            let [path, letters] = exactly(rest)?;
            let letters = letters.text().to_owned();
            if !letters.chars().all(|c| c == '-' || c.is_ascii_uppercase()) {
                return Err(format!("not letters: `{letters}`"));
            }
            Ok(AcrossFact::Pattern(absolute(path)?, letters))
        }
        "same-digest" => Ok(AcrossFact::SameDigest(builds()?)),
        "other-digest" => Ok(AcrossFact::OtherDigest(builds()?)),
        _ => Err(format!("unknown fact `{word}`")),
    }
}
