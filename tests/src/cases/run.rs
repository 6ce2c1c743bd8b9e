//! Runs shale for one build of a case, with a limit of time, and reads what came of it.

use std::io::Read;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, Output as Ended, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::fact::{Build, Output};
use super::image::{self, Cache, Outcome};
use super::stage::Stage;
use crate::World;

/// A build that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// What is left of a killed one.
const LIMIT_AFTER_KILL: Duration = Duration::from_secs(10);

/// A build that has ended, placeholders put back.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) line: String,
    /// `None` when a signal ended it.
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// What was made; `None` when there is nothing to read. The error says why it cannot be read.
    pub(super) outcome: Option<Result<Outcome, String>>,
    /// An output is there although the build failed.
    pub(super) left_behind: bool,
    /// Requests that the web server got, method and path.
    pub(super) requests: Vec<(String, String)>,
}

impl Ran {
    /// Standard error and output together.
    pub(super) fn said(&self) -> String {
        format!("{}\n{}", self.stderr, self.stdout)
    }
}

/// Runs one build.
///
/// # Errors
/// What kept it from being run to its end.
pub(super) fn run(
    world: &World,
    stage: &Stage,
    number: usize,
    build: &Build,
    agent: &Path,
    cache: &Cache,
) -> Result<Ran, String> {
    let dest = stage.output(number);
    let (output, kind) = output(build, &dest);
    let besides: Vec<Command> = build
        .besides
        .iter()
        .map(|arguments| command(world, stage, build, arguments, None, agent))
        .collect();
    let mut command = command(world, stage, build, &build.arguments, output.as_deref(), agent);
    if let Some(stdin) = &build.stdin {
        let path = stage.context().join(stdin);
        let file = std::fs::File::open(&path).map_err(|error| format!("stdin {stdin}: {error}"))?;
        command.stdin(file);
    }
    let interrupt = build.interrupt.as_ref().map(|text| stage.placeholders().outward(text));
    let line = shown(&command);
    let besides: Vec<_> = besides
        .into_iter()
        .map(|beside| std::thread::spawn(move || with_limit(beside, None)))
        .collect();
    let ended = with_limit(command, interrupt)?;
    for beside in besides {
        let beside = beside.join().map_err(|_| "the build beside it was lost".to_owned())??;
        if !beside.status.success() {
            let said = String::from_utf8_lossy(&beside.stderr).into_owned();
            return Err(format!("the build beside it failed, {}: {said}", beside.status));
        }
    }
    let inward = |bytes: &[u8]| stage.placeholders().inward(&String::from_utf8_lossy(bytes));
    let is_ok = ended.status.success();
    let outcome = (is_ok && kind.is_some()).then(|| {
        let kind = kind.as_deref().unwrap_or_default();
        if dest.exists() { image::read(kind, &dest, cache) } else { Err("no output".to_owned()) }
    });
    let is_empty = |directory: &Path| {
        std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
    };
    let left_behind = !is_ok && dest.exists() && !is_empty(&dest);
    if dest.is_dir() {
        let _ = std::fs::remove_dir_all(&dest);
    } else {
        let _ = std::fs::remove_file(&dest);
    }
    Ok(Ran {
        line: stage.placeholders().inward(&line),
        code: ended.status.code(),
        signal: ended.status.signal(),
        stdout: inward(&ended.stdout),
        stderr: inward(&ended.stderr),
        outcome,
        left_behind,
        requests: Vec::new(),
    })
}

/// The value for `--output`, and the type of what comes of it.
fn output(build: &Build, dest: &Path) -> (Option<String>, Option<String>) {
    let attributes = match &build.output {
        Output::None => return (None, None),
        Output::Archive if build.only_reports() => return (None, None),
        Output::Archive => "type=oci",
        Output::Attributes(attributes) => attributes,
    };
    let kind = attributes.split(',').find_map(|word| word.trim().strip_prefix("type="));
    let kind = kind.unwrap_or("local").to_owned();
    (Some(format!("{attributes},dest={}", dest.display())), Some(kind))
}

fn command(
    world: &World,
    stage: &Stage,
    build: &Build,
    arguments: &[String],
    output: Option<&str>,
    agent: &Path,
) -> Command {
    let outward = |text: &str| stage.placeholders().outward(text);
    let mut command = world.command(&["build"]);
    command.current_dir(stage.context());
    command.args(arguments.iter().map(|argument| outward(argument)));
    command.args(output.iter().flat_map(|output| ["--output", output]));
    command.arg(outward(build.context.as_deref().unwrap_or(".")));
    command.envs(build.env.iter().map(|(name, value)| (name, outward(value))));
    if let Some(name) = &build.store {
        command.env("SHALE_ROOT", stage.store(name));
    }
    if build.agent {
        command.env("SSH_AUTH_SOCK", agent);
    }
    command.process_group(0);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The command line as one could type it, without the environment.
fn shown(command: &Command) -> String {
    let words = command.get_args().map(|word| {
        let word = word.to_string_lossy();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@+".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    format!("shale {}", words.collect::<Vec<_>>().join(" "))
}

/// Reads all that a program says; sends its process group what a terminal sends at Ctrl-C, when it has said a text.
fn interrupted(mut stderr: impl Read, text: &str, group: Pid) -> Vec<u8> {
    let (mut said, mut piece, mut is_sent) = (Vec::new(), [0; 4096], false);
    while let Ok(count @ 1..) = stderr.read(&mut piece) {
        said.extend_from_slice(&piece[..count]);
        if !is_sent && String::from_utf8_lossy(&said).contains(text) {
            is_sent = true;
            let _ = kill_process_group(group, Signal::INT);
        }
    }
    said
}

fn with_limit(mut command: Command, interrupt: Option<String>) -> Result<Ended, String> {
    let mut child = command.spawn().map_err(|error| format!("shale does not start: {error}"))?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let group = group.expect("a process has an id above 0");
    let watched = interrupt.and_then(|text| {
        let stderr = child.stderr.take()?;
        Some(std::thread::spawn(move || interrupted(stderr, &text, group)))
    });
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut ended = child.wait_with_output();
        if let (Ok(ended), Some(watched)) = (&mut ended, watched) {
            ended.stderr = watched.join().unwrap_or_default();
        }
        sender.send(ended)
    });
    if let Ok(ended) = receiver.recv_timeout(LIMIT) {
        return ended.map_err(|error| format!("shale cannot be waited for: {error}"));
    }
    let _ = kill_process_group(group, Signal::KILL);
    let said = match receiver.recv_timeout(LIMIT_AFTER_KILL) {
        Ok(Ok(ended)) => String::from_utf8_lossy(&ended.stderr).into_owned(),
        _ => "and something of it holds its output open".to_owned(),
    };
    Err(format!("no end within {} s, killed\n{said}", LIMIT.as_secs()))
}
