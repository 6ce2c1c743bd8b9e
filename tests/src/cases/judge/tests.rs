//! Each kind of fact, once true and once false, on results made by hand: a runner that finds nothing wrong would be
//! worth nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use testkit::rootfs::TarBuilder;

use super::super::bases::Bases;
use super::super::fact::Build;
use super::super::format::{Kind, parse};
use super::super::image::{Image, Outcome};
use super::super::run::Ran;
use super::super::stage::Placeholders;
use super::super::tar::{self, NewEntry};
use super::super::tree::{Layer, Tree};
use super::*;

/// The section of a build whose body this is, in line 4 of its case.
fn section(body: &str) -> (Build, Vec<Across>) {
    let (heading, body) = body.split_once('\n').unwrap_or((body, ""));
    let text = format!("Shows.\nids: A\nfrom: spec\n=== build{heading}\n{body}");
    let mut case = parse("a/b.case", &text).unwrap_or_else(|m| panic!("{text}: {m:?}"));
    let across = match case.sections.pop().map(|section| section.kind) {
        Some(Kind::All(facts)) => facts,
        Some(Kind::Build(build)) => return (*build, Vec::new()),
        other => panic!("{other:?}"),
    };
    match case.sections.pop().map(|section| section.kind) {
        Some(Kind::Build(build)) => (*build, across),
        other => panic!("{other:?}"),
    }
}

fn entry(name: &str, kind: u8, link: &str) -> NewEntry {
    let device = (1, 3);
    let (name, link) = (name.to_owned(), link.to_owned());
    let (owner, mtime) = ((5, 6), 1_600_000_000);
    NewEntry { name, kind, mode: 0o640, owner, mtime, link, device, content: Vec::new() }
}

/// A base of one layer, and a layer above it with something of each kind.
fn layers() -> [Vec<u8>; 2] {
    let base = TarBuilder::new().dir("etc", 0o755).file("etc/hostname", 0o644, b"base\n");
    let base = base.file("etc/gone", 0o644, b"").finish();
    let file = NewEntry { content: b"text 127.0.0.1:9\n".to_vec(), ..entry("f", b'0', "") };
    let raw = NewEntry { content: vec![0xff, b'a'], ..entry("raw", b'0', "") };
    let own = [
        file,
        raw,
        entry("h", b'1', "f"),
        entry("d", b'5', ""),
        entry("l", b'2', "to 127.0.0.1:9"),
        entry("p", b'6', ""),
        entry("c", b'3', ""),
        entry("b", b'4', ""),
        entry("etc/.wh.gone", b'0', ""),
    ];
    [base, tar::write(&own)]
}

fn image() -> Image {
    let layers = layers();
    let digests: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
    let mut tree = Tree::default();
    let layers = layers.map(|layer| Arc::new(Layer::read(&layer).unwrap()));
    for layer in &layers {
        tree.apply(layer).unwrap();
    }
    Image {
        digest: "sha256:1".to_owned(),
        manifest: json!({"layers": [{"mediaType": "base"}, {"mediaType": "own"}], "a": {"b": 1}}),
        config: json!({
            "architecture": "amd64", "os": "linux", "author": "me",
            "config": {"Env": ["A=b"], "User": "127.0.0.1:9", "Cmd": null},
            "rootfs": {"diff_ids": digests},
            "history": [
                {"created_by": "base", "created": "2001-01-01T00:00:00Z"},
                {"created_by": "RUN x", "created": "2002-02-02T00:00:00Z"},
                {"created_by": "ENV y", "empty_layer": true},
            ],
        }),
        layers: layers.into(),
        tree,
    }
}

fn bases() -> Bases {
    let base = &layers()[0];
    let history = vec![("base".to_owned(), false)];
    Bases::of_one(history, vec![sha256(base)], Tree::of_archive(base).unwrap())
}

fn ok() -> Ran {
    let index = json!({"manifests": [{"digest": "sha256:1"}]});
    Ran {
        code: Some(0),
        stdout: "{\"a\": [1, 2]}\n".to_owned(),
        stderr: "#1 hello\nwarning: Odd: thing (line 3)\n".to_owned(),
        outcome: Some(Ok(Outcome { images: vec![image()], index, files: None })),
        requests: vec![("GET".to_owned(), "p?q=1".to_owned()), ("GET".to_owned(), "p".to_owned())],
        ..Ran::default()
    }
}

fn failed() -> Ran {
    let stderr = "error: no luck\n --> Dockerfile:3:1\n  |\n".to_owned();
    Ran { code: Some(7), stderr, ..Ran::default() }
}

/// What the facts of one build come to.
fn judged(ran: &Ran, body: &str) -> Vec<Failure> {
    let (build, across_facts) = section(body);
    let placeholders =
        Placeholders::new("b", "127.0.0.1:9", "127.0.0.1:10", Path::new("/agent.sock"));
    let bases = bases();
    let named = BTreeSet::new();
    let (placeholders, bases, named) = (&placeholders, &bases, &named);
    let scene = Scene { line: 4, build: &build, ran, bases, placeholders, named };
    let mut failures = super::build(&scene);
    failures.extend(across(&across_facts, std::slice::from_ref(ran)));
    failures
}

#[track_caller]
fn holds(ran: &Ran, body: &str) {
    let failures = judged(ran, body);
    assert!(failures.is_empty(), "{body}: {failures:?}");
}

/// Fails, at the last line of the body and with these words.
#[track_caller]
fn breaks(ran: &Ran, body: &str, words: &str) {
    let failures = judged(ran, body);
    let line = 3 + body.lines().count();
    let fits = |failure: &Failure| failure.line == line && failure.message.contains(words);
    assert!(failures.iter().any(fits), "{body}: {words:?} in line {line} is not in {failures:?}");
}

#[test]
fn facts_of_files() {
    for (fact, wrong, words) in [
        ("file /f 0640 5:6 \"text @registry@\\n\" size 17", "file /f 0644", "wanted mode 0644"),
        ("file /raw \"\\u00ffa\"", "file /raw \"b\"", "got"),
        ("file /f", "file /f 5:7", "wanted owner 5:7"),
        ("file /f size 17", "file /f size 18", "wanted 18 bytes"),
        ("file /etc/hostname", "file /none", "nothing is there"),
        ("dir /d 0640 5:6", "dir /f", "got a file"),
        ("fifo /p", "fifo /d", "got a dir"),
        ("char /c 1:3", "char /c 1:5", "got char 1:3"),
        ("block /b 1:3", "block /c 1:3", "got char"),
        ("link /l \"to @registry@\" 5:6", "link /l other", "got a link"),
        ("hardlink /f /h", "hardlink /f /raw", "two files"),
        ("xattr /f user.a -", "xattr /f user.a 00", "got None"),
        ("mtime /f 2020-09-13T12:26:40Z", "mtime /f 2020-09-13T12:26:41Z", "2020-09-13T12:26:40Z"),
        ("no /none", "no /f", "a file is there"),
        ("no /etc/gone", "no /etc/hostname", "a file is there"),
    ] {
        holds(&ok(), &format!("\n{fact}\n"));
        breaks(&ok(), &format!("\n{wrong}\n"), words);
    }
    let digest = sha256(b"text 127.0.0.1:9\n");
    holds(&ok(), &format!("\nfile /f {digest}\n"));
    breaks(&ok(), &format!("\nfile /f sha256:{}\n", "0".repeat(64)), &digest);
}

#[test]
fn nothing_else_means_all() {
    let all = "file /raw\nhardlink /f /h\ndir /d\nlink /l \"to @registry@\"\nfifo /p\nchar /c 1:3\n\
               block /b 1:3\nno /etc/gone\n";
    holds(&ok(), &format!("\n{all}nothing else\n"));
    for line in all.lines() {
        let without = all.replace(&format!("{line}\n"), "");
        breaks(&ok(), &format!("\n{without}nothing else\n"), "also");
    }
}

#[test]
fn facts_of_images() {
    for (fact, wrong, words) in [
        ("config Env [\"A=b\"]", "config Env [\"A=c\"]", "got [\"A=b\"]"),
        ("config User \"@registry@\"", "config User \"127.0.0.1:9\"", "got"),
        ("config Cmd -", "config Cmd [\"sh\"]", "not there"),
        ("config author \"me\"", "config author -", "got \"me\""),
        (
            "config Env [\"A=b\"]\nconfig User \"@registry@\"\nconfig only",
            "config only",
            "also Env",
        ),
        ("layer RUN x\nempty ENV y", "layer RUN y", "got layer RUN x"),
        ("layer \"RUN x\"\nempty ENV y", "layer RUN x", "behind it: empty ENV y"),
        ("layer RUN x\nempty ENV y", "layer RUN x\nlayer ENV y", "got empty ENV y"),
        ("layer RUN x\nempty ENV y", "layer RUN x\nempty ENV y\nempty z", "shorter"),
        (
            "dates 2002-02-02T00:00:00Z -",
            "dates 2002-02-02T00:00:00Z",
            "got 2002-02-02T00:00:00Z -",
        ),
        ("dates A -", "dates A B", "got 2002-02-02T00:00:00Z -"),
        ("layers 2", "layers 1", "got 2"),
        ("media base own", "media own base", "got base own"),
        ("layer-files 1 /b c d etc/.wh.gone f h l p raw", "layer-files 1 f", "got b c d"),
        ("layer-files 2 etc /etc/gone etc/hostname", "layer-files 3 f", "not so many"),
        ("image /config/Env/0 \"A=b\"", "image /config/Env/1 \"A=b\"", "not there"),
        ("manifest /a/b 1", "manifest /a/b 2", "got 1"),
        ("index /manifests/1 -", "index /manifests/0 -", "got"),
        ("json /a/1 2", "json /a/1 3", "got 2"),
        ("json /b -", "json /a -", "got [1,2]"),
        ("platform linux/amd64\nlayers 2", "platform linux/amd64\nlayers 3", "got 2"),
    ] {
        holds(&ok(), &format!("\n{fact}\n"));
        breaks(&ok(), &format!("\n{wrong}\n"), words);
    }
    let other = judged(&ok(), "\nplatform linux/arm64\nlayers 2\n");
    assert!(other[0].message.contains("got images for [\"linux/amd64\"]"), "{other:?}");
    let mut two = ok();
    if let Some(Ok(outcome)) = &mut two.outcome {
        outcome.images.push(image());
    }
    assert!(judged(&two, "\nlayers 2\n")[0].message.contains("wanted one image"));
}

#[test]
fn facts_of_what_was_said() {
    for (fact, wrong, words) in [
        ("says HELLO$", "says ^hello", "not in the output"),
        ("never goodbye", "never hel+o", "says \"hello\""),
        ("warning Odd 3", "warning Odd 4", "got Odd 3"),
        ("warning Odd 3", "warning Other 1", "got Odd 3"),
        ("sees GET p 2", "sees GET p 1", "came 2 times"),
        ("sees GET p?q=1 1", "sees POST p", "came 0 times"),
        ("sees GET /none 0", "sees GET /none", "came 0 times"),
    ] {
        holds(&ok(), &format!("\n{fact}\n"));
        breaks(&ok(), &format!("\n{wrong}\n"), words);
    }
    breaks(&ok(), "\nno warnings\n", "Odd");
    holds(&Ran { stderr: String::new(), ..ok() }, "\nno warnings\n");
}

#[test]
fn ends_of_builds() {
    holds(&failed(), "\nfails\nat 3\nat 1-4\nexit 7\nsays no luck\n");
    holds(&ok(), "\n");
    breaks(&failed(), "\nfails\nat 2\n", "points at [3]");
    breaks(&failed(), "\nfails\nat none\n", "points at [3]");
    breaks(&failed(), "\nfails\nexit 6\n", "got exit code 7");
    let first = |ran: &Ran, body: &str, words: &str| {
        let failures = judged(ran, body);
        let fits = failures.first().is_some_and(|failure| failure.message.contains(words));
        assert!(fits, "{body}: {words:?} is not in {failures:?}");
    };
    first(&ok(), "\nfails\n", "got exit code 0");
    first(&failed(), "\nlayers 2\n", "wanted success, got exit code 7");
    first(&failed(), "\n", "wanted success");
    first(&Ran { code: Some(126), ..failed() }, "\nfails\n", "in good order");
    first(&Ran { code: None, signal: Some(9), ..failed() }, "\nfails\n", "signal 9");
    first(&Ran { left_behind: true, ..failed() }, "\nfails\n", "left an output");
    let panicked = "thread 'main' panicked at x".to_owned();
    first(&Ran { stderr: panicked, ..failed() }, "\nfails\n", "panicked");
    let unread = Some(Err("torn".to_owned()));
    first(&Ran { outcome: unread, ..ok() }, "\n", "torn");
    let report = || Ran { code: Some(1), outcome: None, ..ok() };
    holds(&report(), " --check\nwarning Odd 3\n");
    holds(&report(), " --check\nwarning Odd 3\nexit 1\n");
    first(&report(), " --check\nwarning Odd 3\nexit 0\n", "got exit code 1");
    first(&report(), " --check\nsays hello\n", "wanted success");
}

#[test]
fn facts_over_all_builds() {
    holds(&ok(), "\n=== all\npattern /f A\n");
    holds(&ok(), "\n=== all\npattern /none -\n");
    breaks(&ok(), "\n=== all\npattern /f -\n", "got A");
    let other = || {
        let mut ran = ok();
        if let Some(Ok(outcome)) = &mut ran.outcome {
            outcome.images[0].digest = "sha256:2".to_owned();
            let layer =
                tar::write(&[NewEntry { content: b"new".to_vec(), ..entry("f", b'0', "") }]);
            outcome.images[0].tree.apply(&Layer::read(&layer).unwrap()).unwrap();
        }
        ran
    };
    let all = [ok(), other(), ok(), failed()];
    let judged = |facts: &str| {
        let (_, facts) = section(&format!("\n=== all\n{facts}\n"));
        across(&facts, &all).iter().map(|failure| failure.message.clone()).collect::<String>()
    };
    assert_eq!(judged("pattern /f ABA-"), "");
    assert_eq!(judged("pattern /f AAA-"), "got ABA-");
    assert_eq!(judged("same-digest 1 3\nother-digest 1 2"), "");
    assert!(judged("same-digest 1 2").contains("sha256:2"));
    assert!(judged("other-digest 1 3").contains("sha256:1"));
    assert_eq!(judged("same-digest 1 4"), "build 4 made no image");
    assert_eq!(judged("same-digest 1 5"), "there is no build 5");
}
