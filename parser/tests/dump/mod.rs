//! A tree and its diagnostics as text that people can check.
//!
//! Lines of an instruction start with its line numbers. Words are quoted; ` <- ` shows the source
//! where it differs from the word, as with continuations inside.

use std::fmt::Write;

use parser::ast::*;
use parser::{Diagnostic, Parse, SourceText};

/// Prints everything that was found; with places, or only what the instructions say.
pub(crate) fn dump(source: &SourceText, parse: &Parse, with_places: bool) -> String {
    let mut dump = Dump { source, with_places, text: String::new() };
    let file = &parse.dockerfile;
    if let Some(syntax) = &file.directives.syntax {
        dump.line("syntax", &dump.word(syntax));
    }
    if file.directives.escape != '\\' {
        dump.line("escape", &file.directives.escape.to_string());
    }
    if let Some(check) = &file.directives.check {
        dump.line("check", &dump.word(check));
    }
    for arg in &file.global_args {
        dump.instruction("global ", arg);
    }
    for stage in &file.stages {
        dump.instruction("", &stage.from);
        for instruction in &stage.instructions {
            dump.instruction("", instruction);
        }
    }
    for diagnostic in &parse.diagnostics {
        dump.diagnostic(diagnostic);
    }
    dump.text
}

struct Dump<'a> {
    source: &'a SourceText,
    with_places: bool,
    text: String,
}

impl Dump<'_> {
    fn instruction(&mut self, prefix: &str, instruction: &Instruction) {
        let keyword = &instruction.keyword.text;
        if self.with_places {
            let lines = self.source.lines(instruction.span);
            let place = match lines.first == lines.last {
                true => lines.first.to_string(),
                false => format!("{}-{}", lines.first, lines.last),
            };
            write!(self.text, "{prefix}{place} ").unwrap();
        }
        writeln!(self.text, "{keyword} | {:?}", instruction.original).unwrap();
        if self.with_places && !instruction.comments.is_empty() {
            let comments: Vec<String> = instruction.comments.iter().map(|c| shorten(c)).collect();
            self.line("comments", &format!("{comments:?}"));
        }
        if let Some(check) = &instruction.check {
            self.line("check", &self.word(check));
        }
        self.kind(&instruction.kind);
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::From(from) => {
                self.line("image", &self.word(&from.image));
                self.option("platform", &from.platform);
                self.option("as", &from.as_keyword);
                self.option("name", &from.name);
            }
            Kind::Arg(arg) => {
                for (name, default) in &arg.items {
                    let default = default.as_ref().map(|word| format!(" = {}", self.word(word)));
                    self.line("arg", &(self.word(name) + &default.unwrap_or_default()));
                }
            }
            Kind::Env(pairs) | Kind::Label(pairs) => {
                let name = if pairs.legacy { "old pair" } else { "pair" };
                for (key, value) in &pairs.pairs {
                    self.line(name, &format!("{} = {}", self.word(key), self.word(value)));
                }
            }
            Kind::Maintainer(word)
            | Kind::Workdir(word)
            | Kind::User(word)
            | Kind::Stopsignal(word)
            | Kind::Onbuild(word) => self.line("text", &self.word(word)),
            Kind::Run(run) => self.run(run),
            Kind::Copy(copy) => {
                self.option("from", &copy.from);
                self.flag("parents", copy.parents);
                self.transfer(&copy.transfer);
            }
            Kind::Add(add) => {
                self.option("checksum", &add.checksum);
                for (name, value) in [("keep-git-dir", add.keep_git_dir), ("unpack", add.unpack)] {
                    if let Some(value) = value {
                        self.line(name, &value.to_string());
                    }
                }
                self.transfer(&add.transfer);
            }
            Kind::Volume(words) | Kind::Expose(words) => self.words("word", words),
            Kind::Cmd(command) | Kind::Entrypoint(command) => self.command(command),
            Kind::Shell(words) => self.line("exec", &format!("{words:?}")),
            Kind::Healthcheck(Healthcheck::None) => self.line("none", ""),
            Kind::Healthcheck(Healthcheck::Cmd {
                command,
                interval_ns,
                timeout_ns,
                start_period_ns,
                start_interval_ns,
                retries,
            }) => {
                self.command(command);
                let times = [interval_ns, timeout_ns, start_period_ns, start_interval_ns];
                self.line("times", &format!("{times:?} retries {retries}"));
            }
        }
    }

    fn run(&mut self, run: &Run) {
        for mount in &run.mounts {
            self.line("mount", &format!("{:?}", mount.options));
        }
        self.option("network", &run.network);
        self.option("security", &run.security);
        self.words("device", &run.devices);
        self.command(&run.command);
        self.flag("only heredoc", run.only_heredoc);
        self.heredocs(&run.heredocs);
        if !run.heredocs.is_empty() {
            self.line("script", &format!("{:?}", run.script));
        }
    }

    fn transfer(&mut self, transfer: &Transfer) {
        self.option("chown", &transfer.chown);
        self.option("chmod", &transfer.chmod);
        self.flag("link", transfer.link);
        self.words("exclude", &transfer.exclude);
        self.words("source", &transfer.sources);
        self.heredocs(&transfer.heredocs);
        self.line("dest", &self.word(&transfer.dest));
    }

    fn heredocs(&mut self, heredocs: &[Heredoc]) {
        for heredoc in heredocs {
            let mut line = format!("{} {:?} {:?}", heredoc.fd, heredoc.name, heredoc.body);
            if !heredoc.expand {
                line.push_str(" quoted");
            }
            if heredoc.chomp {
                line.push_str(" chomp");
            }
            let place = self.shown(heredoc.span);
            self.line("heredoc", &format!("{line} <- {place:?}"));
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Exec(words) => self.line("exec", &format!("{words:?}")),
            Command::Shell(text) => self.line("shell", &format!("{text:?}")),
        }
    }

    fn diagnostic(&mut self, found: &Diagnostic) {
        let severity = format!("{:?}", found.severity).to_lowercase();
        writeln!(self.text, "{severity} {}: {}", found.code, found.message).unwrap();
        for (index, label) in found.labels.iter().enumerate() {
            if index == 0 {
                let lines = self.source.lines(label.span);
                self.line("lines", &format!("{}-{}", lines.first, lines.last));
            } else {
                let (line, column) = self.source.position(label.span.start);
                let shown = self.shown(label.span);
                self.line("at", &format!("{line}:{column} {shown:?} {}", label.text));
            }
        }
        if let Some(help) = &found.help {
            self.line("help", help);
        }
    }

    fn words(&mut self, name: &str, words: &[Word]) {
        for word in words {
            self.line(name, &self.word(word));
        }
    }

    fn option(&mut self, name: &str, word: &Option<Word>) {
        if let Some(word) = word {
            self.line(name, &self.word(word));
        }
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.line(name, "");
        }
    }

    fn line(&mut self, name: &str, value: &str) {
        writeln!(self.text, "{}", format!("    {name}: {value}").trim_end()).unwrap();
    }

    fn word(&self, word: &Word) -> String {
        match self.shown(word.span) {
            shown if shown == word.text || !self.with_places => format!("{:?}", word.text),
            shown => format!("{:?} <- {shown:?}", word.text),
        }
    }

    fn shown(&self, span: parser::Span) -> String {
        shorten(&self.source.text[span.start as usize..span.end as usize])
    }
}

fn shorten(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
