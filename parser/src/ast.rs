//! The tree of a Dockerfile: what was written, every part with its place, nothing expanded.

use crate::Span;

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dockerfile {
    /// `# syntax=`, `# escape=`, `# check=`.
    pub directives: Directives,
    /// ARG instructions before the first FROM (EXP-74), in order.
    pub global_args: Vec<Instruction>,
    /// The stages in file order; their index is the stage's number.
    pub stages: Vec<Stage>,
}

/// Parser directives (LEX-40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// Value of `syntax` as written.
    pub syntax: Option<Word>,
    /// The escape character: backslash or backtick.
    pub escape: char,
    /// Value of `check` as written.
    pub check: Option<Word>,
}

impl Default for Directives {
    fn default() -> Directives {
        Directives { syntax: None, escape: '\\', check: None }
    }
}

/// FROM and the instructions that follow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The FROM instruction; its kind is always [`Kind::From`].
    pub from: Instruction,
    /// What follows, up to the next FROM.
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// From the keyword's line to the last line, heredoc bodies and terminators included (LEX-13).
    pub span: Span,
    /// The keyword as written.
    pub keyword: Word,
    /// Comment lines directly above, without `#` and one blank, oldest first (LEX-25).
    pub comments: Vec<String>,
    /// Value of a `# check=` comment directly above (LEX-56).
    pub check: Option<Word>,
    /// The joined logical line after the keyword, flags included, as BuildKit calls it "original"
    /// (for display).
    pub original: String,
    /// What it says.
    pub kind: Kind,
}

/// A word with its place. The text has continuations joined but is neither unquoted nor expanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// What an instruction says, by keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants are the instructions' names")]
pub enum Kind {
    From(From),
    Arg(Arg),
    Env(KeyValues),
    Label(KeyValues),
    Maintainer(Word),
    Run(Run),
    Copy(Copy),
    Add(Add),
    Workdir(Word),
    User(Word),
    /// Word list or JSON list, white space around the items taken away (VOL-01).
    Volume(Vec<Word>),
    /// In the order written; history has them sorted (EXPO-06).
    Expose(Vec<Word>),
    Stopsignal(Word),
    Cmd(Command),
    Entrypoint(Command),
    /// JSON form only (SHELL-01).
    Shell(Vec<String>),
    Healthcheck(Healthcheck),
    /// A whole instruction as text (ONB-02), heredoc bodies included.
    Onbuild(Word),
}

/// `FROM [--platform=P] image [AS name]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// `--platform`, quotes removed, not expanded. `None` when absent or empty.
    pub platform: Option<Word>,
    /// The image or stage, not expanded.
    pub image: Word,
    /// The keyword `AS` as written, for LINT-21.
    pub as_keyword: Option<Word>,
    /// The stage's name as written; `Word::text` keeps its case (FROM-02).
    pub name: Option<Word>,
}

/// `ARG NAME[=default] …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// The names in order with their defaults (raw words, not unquoted).
    pub items: Vec<(Word, Option<Word>)>,
}

/// Pairs of ENV and LABEL; keys and values raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValues {
    /// The pairs in order.
    pub pairs: Vec<(Word, Word)>,
    /// Written in the old form `ENV key rest of line` (LEX-89).
    pub legacy: bool,
}

/// A command: a JSON array, or text for a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `["a", "b"]`, JSON escapes resolved.
    Exec(Vec<String>),
    /// Text for the shell.
    Shell(String),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// `--mount`, in order, each the value of the flag with the flag's quotes removed.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Option<Word>,
    /// `--security`.
    pub security: Option<Word>,
    /// `--device`, in order.
    pub devices: Vec<Word>,
    /// The command. For the shell form with heredocs this is the line as written, without bodies.
    pub command: Command,
    /// Heredocs in the order written (LEX-100).
    pub heredocs: Vec<Heredoc>,
    /// The arguments are exactly one heredoc word (LEX-114).
    pub only_heredoc: bool,
    /// Line, bodies and terminators put together verbatim (LEX-117); equal to the line without
    /// heredocs.
    pub script: String,
}

/// One `--mount` flag, split into its options (MNT-01). Values are raw, to be expanded except
/// `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The flag's place.
    pub span: Span,
    /// The flag's value as one text.
    pub text: String,
    /// `key[=value]` in order; keys lower-cased. Their meaning is checked when the instruction is
    /// evaluated.
    pub options: Vec<(String, Option<String>)>,
}

/// `COPY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// `--from`, `None` when absent or empty.
    pub from: Option<Word>,
    /// What COPY and ADD share.
    pub transfer: Transfer,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Add {
    /// What COPY and ADD share.
    pub transfer: Transfer,
    /// `--checksum`, `None` when absent.
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, `None` when absent.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, `None` when absent.
    pub unpack: Option<bool>,
}

/// The parts of COPY and ADD that are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// `--chown`, `None` when absent or empty.
    pub chown: Option<Word>,
    /// `--chmod`, `None` when absent or empty.
    pub chmod: Option<Word>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
    /// Sources that are no heredocs, in order.
    pub sources: Vec<Word>,
    /// Heredoc sources, in order (COPY-113); of several with one name the last body only (LEX-113).
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub dest: Word,
}

/// A heredoc with its body (LEX-102).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heredoc {
    /// The name, quotes removed.
    pub name: String,
    /// File descriptor before `<<`, 0 if none was given.
    pub fd: u32,
    /// Unquoted name: the body is expanded (COPY and ADD only).
    pub expand: bool,
    /// `<<-`: leading tabs were stripped from the body.
    pub chomp: bool,
    /// The body, newlines included, tabs stripped when `chomp`.
    pub body: String,
    /// Place of the word.
    pub span: Span,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`.
    None,
    /// `HEALTHCHECK [options] CMD command`; times in nanoseconds, 0 when absent (HEAL-02).
    Cmd {
        /// The command.
        command: Command,
        /// `--interval`.
        interval_ns: i64,
        /// `--timeout`.
        timeout_ns: i64,
        /// `--start-period`.
        start_period_ns: i64,
        /// `--start-interval`.
        start_interval_ns: i64,
        /// `--retries`.
        retries: i64,
    },
}
