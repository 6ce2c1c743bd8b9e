//! A directory for one test, and commands in it as one of two persons.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Who runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    /// Whoever runs the tests.
    Me,
    /// An account of these tests, with ranges of ids.
    Other,
}

/// All that can be tried here.
pub(crate) fn persons() -> Vec<Person> {
    match am_root() {
        true => vec![Person::Me, Person::Other],
        false => vec![Person::Me],
    }
}

pub(crate) fn am_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a test that needs root can run; one that cannot says so. CI runs the tests as root.
pub(crate) fn root_for(test: &str) -> bool {
    if !am_root() {
        eprintln!("skipped: {test} needs root");
    }
    am_root()
}

const ACCOUNT: &str = "shale-steps";

/// Makes the account, once; useradd gives it ranges.
fn account() -> &'static str {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        if !passwd.lines().any(|line| line.starts_with(&format!("{ACCOUNT}:"))) {
            let done = Command::new("useradd").args(["--create-home", ACCOUNT]).status().unwrap();
            assert!(done.success());
        }
        let ranges = std::fs::read_to_string("/etc/subuid").unwrap();
        assert!(ranges.contains(ACCOUNT), "useradd gave no ids");
    });
    ACCOUNT
}

/// A directory with the program and a root for its layers.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    person: Person,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code(),
        }
    }
}

impl Place {
    pub(crate) fn new(person: Person) -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let tests = std::env::current_exe().unwrap();
        let built = tests.parent().and_then(Path::parent).unwrap().join("examples/steps");
        // The other person may not be able to reach the place where it was built. By another process: a descriptor of
        // ours that writes could be inherited by a child of another test, and then the copy cannot be executed.
        let copied = Command::new("cp").arg(&built).arg(dir.path()).status().unwrap();
        assert!(copied.success(), "cargo builds examples for tests");
        Place { dir, person }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The command that runs `script` in one step.
    pub(crate) fn command(&self, keys: &[&str], argv: &[&str]) -> Command {
        let program = self.dir.path().join("steps");
        let mut command = match self.person {
            Person::Me => Command::new(program),
            Person::Other => {
                let mut command = Command::new("runuser");
                command.args(["-u", account(), "--"]).arg(program);
                command
            }
        };
        command.arg(self.root()).arg("1").args(keys).arg("--").args(argv);
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, keys: &[&str], argv: &[&str]) -> Said {
        self.command(keys, argv).output().unwrap().into()
    }

    /// Runs a shell script in a step.
    pub(crate) fn sh(&self, keys: &[&str], script: &str) -> Said {
        self.run(keys, &["/bin/sh", "-c", script])
    }

    /// Starts a shell script in a step and waits until it has printed a line.
    pub(crate) fn start(&self, keys: &[&str], script: &str) -> Child {
        use std::io::Read;
        let mut command = self.command(keys, &["/bin/sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = child.stdout.as_mut().unwrap();
        let mut byte = [0];
        while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {}
        child
    }

    /// Makes the layer, so that a test can change it before its step.
    pub(crate) fn make_layer(&self) -> PathBuf {
        assert_eq!(self.sh(&[], "true").code, Some(0));
        self.root().join("base")
    }
}

/// Ids of the processes whose command line has a word.
pub(crate) fn processes_with(word: &str) -> Vec<u32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = std::process::id();
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own && String::from_utf8_lossy(&line).contains(word)
    })
    .collect()
}

/// Waits until something is true.
pub(crate) fn eventually(deadline: Duration, what: &str, is_true: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < deadline, "{what}");
        std::thread::yield_now();
    }
}
