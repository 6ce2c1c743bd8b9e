//! The format of case files, as testdata/cases/README.md defines it: text to [`Case`].
//!
//! Owns the head and the sections; the lines of a build are in [`fact`](super::fact). Runs nothing.

use std::path::Path;

use super::fact::{self, Across, Build};
use super::tar::{self, NewEntry};
use super::words;

/// One case.
#[derive(Debug)]
pub struct Case {
    /// The file's name without `.case`.
    pub name: String,
    /// Where the file is, below testdata/cases.
    pub path: String,
    /// The behaviours that it proves.
    pub ids: Vec<String>,
    /// What the machine must have.
    pub needs: Vec<String>,
    /// Why the reference is surprising here.
    pub surprise: Option<String>,
    pub(super) sections: Vec<Section>,
}

/// A part of a case, with the line of the file where it begins.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    /// A file of the context.
    File {
        path: String,
        mode: u32,
        content: Vec<u8>,
    },
    /// A file of the web server.
    Http {
        path: String,
        content: Vec<u8>,
    },
    /// How the web server answers.
    Answer {
        path: String,
        answer: Answer,
    },
    /// A script before the first build.
    Setup(String),
    /// A script before the next build.
    Change(String),
    Build(Box<Build>),
    /// Exact standard output of the build before.
    Stdout(String),
    All(Vec<Across>),
}

/// How the web server answers for a path, beside the file that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    /// Name and value; a value of `-` leaves out a header that is sent otherwise.
    pub(super) headers: Vec<(String, String)>,
    /// `USER:WORD` for basic auth.
    pub(super) password: Option<String>,
    /// For bearer auth.
    pub(super) token: Option<String>,
}

/// Something in a case file that the format does not know.
#[derive(Debug)]
pub struct Mistake {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

impl Mistake {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Mistake {
        Mistake { line, message: message.into() }
    }
}

/// A section as text.
pub(super) struct Block<'a> {
    /// Line of its heading.
    pub(super) line: usize,
    /// The heading behind `=== `.
    pub(super) heading: &'a str,
    /// With the line break of each line.
    pub(super) body: String,
}

impl Block<'_> {
    /// The body's lines that are not empty, with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.body.lines().enumerate();
        lines
            .map(|(index, line)| (self.line + 1 + index, line))
            .filter(|(_, line)| !line.is_empty())
    }
}

/// Reads a case file. `path` is below testdata/cases and gives the case its name.
///
/// # Errors
/// The first line that is not of the format.
pub fn parse(path: &str, text: &str) -> Result<Case, Mistake> {
    let name = Path::new(path).file_stem().and_then(|n| n.to_str()).unwrap_or_default();
    let (head, blocks) = split(text)?;
    let mut case = Case {
        name: name.to_owned(),
        path: path.to_owned(),
        ids: Vec::new(),
        needs: Vec::new(),
        surprise: None,
        sections: Vec::new(),
    };
    read_head(&mut case, &head)?;
    for block in &blocks {
        let kind = section(block)?;
        case.sections.push(Section { line: block.line, kind });
    }
    judge_order(&case)?;
    Ok(case)
}

/// The head's lines, and the sections.
fn split(text: &str) -> Result<(Vec<&str>, Vec<Block<'_>>), Mistake> {
    let mut head = Vec::new();
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let bare = line.strip_suffix('\n');
        if let Some(heading) = line.strip_prefix("=== ") {
            let heading = heading.trim_end();
            blocks.push(Block { line: index + 1, heading, body: String::new() });
        } else if bare == Some("===") {
            return Err(Mistake::new(index + 1, "a section without a name"));
        } else if let Some(block) = blocks.last_mut() {
            block.body.push_str(unescaped(line));
            if bare.is_none() {
                return Err(Mistake::new(index + 1, "no line break at the end of the file"));
            }
        } else {
            head.push(line.trim_end());
        }
    }
    Ok((head, blocks))
}

/// `==== x` stands for a body line `=== x`, `===== x` for `==== x`.
fn unescaped(line: &str) -> &str {
    let signs = line.len() - line.trim_start_matches('=').len();
    if signs > 3 && line[signs..].starts_with(' ') { &line[1..] } else { line }
}

fn read_head(case: &mut Case, head: &[&str]) -> Result<(), Mistake> {
    let mut about = 0;
    let mut from = None;
    for (index, line) in head.iter().enumerate() {
        let wrong = |message: String| Err(Mistake::new(index + 1, message));
        let words = |rest: &str| {
            let split = rest.split([' ', ',', '\t']).filter(|word| !word.is_empty());
            split.map(str::to_owned).collect::<Vec<_>>()
        };
        if let Some(rest) = line.strip_prefix("ids:") {
            case.ids.extend(words(rest));
        } else if let Some(rest) = line.strip_prefix("from:") {
            from = Some(rest.trim());
            if !["buildkit", "docker-20.10", "buildah", "spec"].contains(&rest.trim()) {
                return wrong(format!("results are not had from `{}`", rest.trim()));
            }
        } else if let Some(rest) = line.strip_prefix("needs:") {
            case.needs.extend(words(rest));
            let known = |need: &&String| *need == "root" || need.starts_with("tool:");
            if let Some(need) = case.needs.iter().find(|need| !known(need)) {
                return wrong(format!("unknown need `{need}`"));
            }
        } else if let Some(rest) = line.strip_prefix("surprise:") {
            case.surprise = Some(rest.trim().to_owned());
        } else if !line.is_empty() {
            if !case.ids.is_empty() || from.is_some() {
                return wrong(format!("not a line of the head: {line}"));
            }
            about += 1;
        }
    }
    match (about, case.ids.is_empty(), from) {
        (0, ..) => Err(Mistake::new(1, "the head does not say what is shown")),
        (_, true, _) => Err(Mistake::new(1, "no `ids:` in the head")),
        (.., None) => Err(Mistake::new(1, "no `from:` in the head")),
        _ => Ok(()),
    }
}

fn section(block: &Block<'_>) -> Result<Kind, Mistake> {
    let wrong = |message: String| Mistake::new(block.line, message);
    let (word, rest) = block.heading.split_once(' ').unwrap_or((block.heading, ""));
    let bare = |kind: Kind| if rest.is_empty() { Ok(kind) } else { Err(wrong(extra(word, rest))) };
    match word {
        "Dockerfile" if rest.is_empty() => {
            let content = block.body.clone().into_bytes();
            Ok(Kind::File { path: "Dockerfile".to_owned(), mode: 0o644, content })
        }
        "file" | "bytes" => {
            let (path, mode) = path_and_mode(rest).map_err(wrong)?;
            let content =
                if word == "bytes" { json_bytes(block)? } else { block.body.clone().into() };
            Ok(Kind::File { path, mode, content })
        }
        "tar" => Ok(Kind::File {
            path: one_path(rest).map_err(wrong)?,
            mode: 0o644,
            content: tar::write(&tar_entries(block)?),
        }),
        "http" => http(block, rest),
        "answer" => {
            let path = one_path(rest).map_err(wrong)?;
            Ok(Kind::Answer { path, answer: answer(block)? })
        }
        "setup" => bare(Kind::Setup(block.body.clone())),
        "change" => bare(Kind::Change(block.body.clone())),
        "stdout" => bare(Kind::Stdout(block.body.clone())),
        "build" => Ok(Kind::Build(Box::new(Build::parse(block, rest)?))),
        "all" => bare(Kind::All(Across::parse_all(block)?)),
        _ => Err(wrong(format!("unknown section `{word}`"))),
    }
}

fn extra(word: &str, rest: &str) -> String {
    format!("`=== {word}` with `{rest}` behind it")
}

/// A path that stays inside its directory.
fn inside(path: &str) -> Result<String, String> {
    let leaves = path.split('/').any(|part| part.is_empty() || part == "..");
    if leaves { Err(format!("not a path below: `{path}`")) } else { Ok(path.to_owned()) }
}

fn path_and_mode(rest: &str) -> Result<(String, u32), String> {
    let words = words::all(rest)?;
    let (path, mode) = match words.as_slice() {
        [path] => (path, 0o644),
        [path, mode] => {
            let number = u32::from_str_radix(mode.text(), 8).ok().filter(|mode| *mode <= 0o7777);
            (path, number.ok_or(format!("not a mode: `{}`", mode.text()))?)
        }
        _ => return Err("a path, and perhaps a mode, is wanted".to_owned()),
    };
    Ok((inside(path.text())?, mode))
}

fn one_path(rest: &str) -> Result<String, String> {
    match words::all(rest)?.as_slice() {
        [path] => inside(path.text().trim_start_matches('/')),
        _ => Err("one path is wanted".to_owned()),
    }
}

fn http(block: &Block<'_>, rest: &str) -> Result<Kind, Mistake> {
    let words = words::all(rest).map_err(|m| Mistake::new(block.line, m))?;
    let (path, content) = match words.as_slice() {
        [path] => (path, block.body.clone().into_bytes()),
        [path, json] if json.text() == "JSON" => (path, json_bytes(block)?),
        _ => return Err(Mistake::new(block.line, "a path, and perhaps JSON, is wanted")),
    };
    let path = inside(path.text().trim_start_matches('/'));
    Ok(Kind::Http { path: path.map_err(|m| Mistake::new(block.line, m))?, content })
}

fn json_bytes(block: &Block<'_>) -> Result<Vec<u8>, Mistake> {
    match serde_json::from_str::<String>(&block.body) {
        Ok(text) => Ok(words::bytes(&text)),
        Err(error) => Err(Mistake::new(block.line + 1, format!("not one JSON string: {error}"))),
    }
}

/// Entries in the words of facts, with the time of all that is staged unless a line gives another.
fn tar_entries(block: &Block<'_>) -> Result<Vec<NewEntry>, Mistake> {
    let mut entries: Vec<NewEntry> = Vec::new();
    for (number, line) in block.lines() {
        let wrong = |message| Mistake::new(number, message);
        if let Some((path, time)) = fact::archive_time(line).map_err(wrong)? {
            let entry = entries.iter_mut().rfind(|entry| entry.name == path);
            let entry = entry.ok_or_else(|| wrong("no such entry above".to_owned()))?;
            entry.mtime = time;
        } else {
            entries.push(fact::archive_entry(line).map_err(wrong)?);
        }
    }
    Ok(entries)
}

fn answer(block: &Block<'_>) -> Result<Answer, Mistake> {
    let mut answer = Answer::default();
    for (number, line) in block.lines() {
        let Some((name, value)) = line.split_once(':') else {
            return Err(Mistake::new(number, format!("not `name: value`: {line}")));
        };
        let value = value.trim().to_owned();
        match name {
            "status" => match value.parse() {
                Ok(status @ 200..=599) => answer.status = Some(status),
                _ => return Err(Mistake::new(number, format!("not a status: {value}"))),
            },
            "password" => answer.password = Some(value),
            "token" => answer.token = Some(value),
            _ => answer.headers.push((name.to_owned(), value)),
        }
    }
    Ok(answer)
}

/// Some sections mean something only at their places.
fn judge_order(case: &Case) -> Result<(), Mistake> {
    let mut builds = 0;
    let mut pending_change = None;
    for section in &case.sections {
        let wrong = |message: &str| Err(Mistake::new(section.line, message));
        match &section.kind {
            Kind::Build(_) => {
                builds += 1;
                pending_change = None;
            }
            Kind::Change(_) => pending_change = Some(section.line),
            Kind::Stdout(_) | Kind::All(_) if builds == 0 => return wrong("no build before it"),
            Kind::File { .. } | Kind::Http { .. } | Kind::Answer { .. } | Kind::Setup(_)
                if builds > 0 =>
            {
                return wrong(
                    "it stands behind a build; what changes later is done by `=== change`",
                );
            }
            _ => {}
        }
    }
    match pending_change {
        _ if builds == 0 => Err(Mistake::new(1, "no `=== build`")),
        Some(line) => Err(Mistake::new(line, "no build behind this change")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Shows something.\nids: A-1, A-2\nfrom: spec\nneeds: root tool:git\n";

    fn case(body: &str) -> Result<Case, Mistake> {
        parse("area/a-name.case", &format!("{HEAD}{body}"))
    }

    /// The line and the words of a mistake.
    fn mistake(body: &str, line: usize, words: &str) {
        let mistake = case(body).expect_err(body);
        let found = (mistake.line, mistake.message.contains(words));
        assert_eq!(found, (line, true), "{body}: {mistake:?}");
    }

    #[test]
    fn a_whole_case() {
        let text = "=== Dockerfile\nFROM x\n==== y\n\n=== file \"a b\" 0755\n=== bytes c\n\"\\u00ff\\n\"\n\
                    === tar d.tar\nfile f \"x\"\nmtime f 2020-01-01T00:00:00Z\n=== http /p JSON\n\"a\"\n\
                    === answer q\nstatus: 302\nLocation: @http@/p\nETag: -\n=== setup\nln -s a b\n\
                    === build -f 'x y' \"\"\nfails\n=== change\ntouch z\n=== build\ncontext: -\nstdin: c\n\
                    env: A=b=c\noutput: type=tar\nagent\nfile /f\n=== stdout\nout\n=== all\n\
                    pattern /f -A\n";
        let case = case(text).unwrap();
        assert_eq!((case.name.as_str(), case.ids.len(), case.needs.len()), ("a-name", 2, 2));
        let file = |index: usize| match &case.sections[index].kind {
            Kind::File { path, mode, content } => (path.clone(), *mode, content.clone()),
            Kind::Http { path, content } => (path.clone(), 0, content.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(file(0), ("Dockerfile".to_owned(), 0o644, b"FROM x\n=== y\n\n".to_vec()));
        assert_eq!(file(1), ("a b".to_owned(), 0o755, Vec::new()));
        assert_eq!(file(2).2, b"\xff\n");
        assert_eq!(file(3).2.len(), 2048);
        assert_eq!(file(4), ("p".to_owned(), 0, b"a".to_vec()));
        let Kind::Answer { answer, .. } = &case.sections[5].kind else { panic!() };
        assert_eq!((answer.status, answer.headers.len()), (Some(302), 2));
        let Kind::Build(first) = &case.sections[7].kind else { panic!() };
        assert_eq!(first.arguments, ["-f", "x y", ""]);
        let Kind::Build(second) = &case.sections[9].kind else { panic!() };
        assert_eq!(second.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(
            (second.context.as_deref(), second.agent, second.facts.len()),
            (Some("-"), true, 1)
        );
        assert_eq!(second.facts[0].number, 33);
        assert_eq!(case.sections.len(), 12);
    }

    #[test]
    fn heads_that_are_not_whole() {
        for (text, words) in [
            ("ids: A\nfrom: spec\n=== build\n", "what is shown"),
            ("Shows.\nfrom: spec\n=== build\n", "no `ids:`"),
            ("Shows.\nids:\nfrom: spec\n=== build\n", "no `ids:`"),
            ("Shows.\nids: A\n=== build\n", "no `from:`"),
            ("Shows.\nids: A\nfrom: hearsay\n=== build\n", "hearsay"),
            ("Shows.\nids: A\nfrom: spec\nneeds: luck\n=== build\n", "luck"),
            ("Shows.\nids: A\nfrom: spec\nsomething: else\n=== build\n", "not a line of the head"),
        ] {
            let message = parse("a/b.case", text).expect_err(text).message;
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn sections_that_are_none() {
        mistake("=== nonsense\n=== build\n", 5, "unknown section");
        mistake("=== build\n===\n", 6, "without a name");
        mistake("=== build\nlayers 1", 6, "no line break");
        mistake("=== file ../a\n=== build\n", 5, "not a path below");
        mistake("=== file a 999\n=== build\n", 5, "not a mode");
        mistake("=== bytes a\nplain\n=== build\n", 6, "not one JSON string");
        mistake("=== tar a\nlayers 1\n=== build\n", 6, "unknown kind");
        mistake("=== answer a\nstatus: 99\n=== build\n", 6, "not a status");
        mistake("=== setup now\n=== build\n", 5, "behind it");
        mistake("=== Dockerfile\nFROM x\n", 1, "no `=== build`");
        mistake("=== build\n=== file a\n", 6, "behind a build");
        mistake("=== build\n=== change\n", 6, "no build behind");
        mistake("=== stdout\n=== build\n", 5, "no build before");
        mistake("=== build 'a\n", 5, "not closed");
    }

    #[test]
    fn facts_that_are_none() {
        for (fact, words) in [
            ("nonsense 1", "unknown fact"),
            ("file x", "no / first"),
            ("file /x 0999", "not an attribute"),
            ("file /x sha256:xy", "not hexadecimal"),
            ("dir /x \"text\"", "no file"),
            ("dir /x size 3", "only a file"),
            ("char /x", "numbers"),
            ("config Env [", "not JSON"),
            ("config", "a name"),
            ("says (", "not a regular expression"),
            ("says", "empty pattern"),
            ("layers many", "not a number"),
            ("layer-files 0", "topmost"),
            ("mtime /x yesterday", "not a date"),
            ("xattr /x a", "3 words"),
            ("json a 1", "not a JSON pointer"),
            ("sees GET", "a method and a path"),
            ("no", "1 words"),
            ("fails here", "here"),
            ("at 1", "without `fails`"),
            ("exit 3", "without `fails`"),
        ] {
            mistake(&format!("=== build\n{fact}\n"), 6, words);
        }
        mistake("=== build\nfails\nlayers 1\n", 7, "a failed build");
        mistake("=== build --check\nlayers 1\n", 6, "no image comes");
        mistake("=== build\noutput: none\nlayers 1\n", 7, "no image comes");
        mistake("=== build\nfails\nat none 3\n", 7, "are wanted");
        mistake("=== build\n=== all\nsame-digest 1\n", 7, "two builds");
        mistake("=== build\n=== all\npattern /x ab\n", 7, "not letters");
    }
}
