//! Programs of engines that are run for them: found in given directories only, and ended when the user wants an end.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use sys::Cancel;

use crate::ExportError;
use crate::error::{Failure, show};

/// A program with its first arguments.
pub(super) struct Program {
    path: PathBuf,
    first: Vec<String>,
}

/// What a program says may be this long.
const OUTPUT_MAX_BYTES: u64 = 64 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Program {
    /// Looks for a program in absolute directories: whatever lies in the current one is not meant.
    pub(super) fn find(name: &str, dirs: &[PathBuf]) -> Option<Program> {
        let paths = dirs.iter().filter(|dir| dir.is_absolute()).map(|dir| dir.join(name));
        let path = paths.into_iter().find(|path| path.is_file())?;
        Some(Program { path, first: Vec::new() })
    }

    /// The same with arguments before all others.
    pub(super) fn with(mut self, first: &[&str]) -> Program {
        self.first.extend(first.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub(super) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// What it prints.
    pub(super) fn output(
        &self,
        arguments: &[&str],
        cancel: &Cancel,
    ) -> Result<Vec<u8>, ExportError> {
        self.feed(arguments, cancel, |_| Ok(()))
    }

    /// Whether it says yes by its exit code; 1 is no.
    pub(super) fn says(&self, arguments: &[&str], cancel: &Cancel) -> Result<bool, ExportError> {
        let mut running = self.start(arguments)?;
        drop(running.child.stdin.take());
        let (status, _, errors) = running.end(cancel).map_err(|error| self.failed(error))?;
        match status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(self.refused(status, &errors)),
        }
    }

    /// Has it read what `fill` writes; gives what it prints.
    pub(super) fn feed(
        &self,
        arguments: &[&str],
        cancel: &Cancel,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
    ) -> Result<Vec<u8>, ExportError> {
        let mut running = self.start(arguments)?;
        let mut stdin = running.child.stdin.take().expect("it was piped");
        let filled = fill(&mut stdin)
            .and_then(|()| stdin.flush().map_err(crate::error::write("the image archive")));
        if filled.as_ref().is_err_and(|error| !error.is_broken_pipe()) {
            // It must not take a part for the whole.
            let _ = running.child.kill();
        }
        drop(stdin);
        let (status, output, errors) = running.end(cancel).map_err(|error| self.failed(error))?;
        match filled {
            Err(error) if !error.is_broken_pipe() => Err(error),
            _ if !status.success() => Err(self.refused(status, &errors)),
            Err(error) => Err(error),
            Ok(()) => Ok(output),
        }
    }

    /// Its output as it comes; the end is only reached when it ended well.
    pub(super) fn read<'a>(
        &self,
        arguments: &[&str],
        cancel: &'a Cancel,
    ) -> Result<Box<dyn Read + Send + 'a>, ExportError> {
        let Running { mut child, errors, .. } = self.spawn(arguments, Stdio::null())?;
        let output = child.stdout.take().expect("it was piped");
        let program = self.shown();
        Ok(Box::new(Output { child: Some(child), output, errors, program, cancel }))
    }

    fn start(&self, arguments: &[&str]) -> Result<Running, ExportError> {
        let mut running = self.spawn(arguments, Stdio::piped())?;
        running.output = running.child.stdout.take().map(collect);
        Ok(running)
    }

    fn spawn(&self, arguments: &[&str], stdin: Stdio) -> Result<Running, ExportError> {
        let mut child = Command::new(&self.path)
            .args(&self.first)
            .args(arguments)
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| self.failed(error))?;
        let errors = child.stderr.take().map(collect);
        Ok(Running { child, output: None, errors })
    }

    fn failed(&self, source: io::Error) -> ExportError {
        Failure::EngineIo { operation: "talk to", socket: self.shown(), source }.into()
    }

    fn refused(&self, status: ExitStatus, errors: &[u8]) -> ExportError {
        let reason = reason(status, errors);
        Failure::EngineRefused { socket: self.shown(), reason }.into()
    }
}

/// Its last words, else how it ended.
fn reason(status: ExitStatus, errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    let last = last.map(|line| line.trim().trim_start_matches("Error: "));
    last.map_or_else(|| format!("it ended with {status}"), |line| show(line.as_bytes()))
}

/// A program that runs, and what it says.
struct Running {
    child: Child,
    output: Option<Receiver<Vec<u8>>>,
    errors: Option<Receiver<Vec<u8>>>,
}

impl Running {
    /// Waits for its end: both its outputs are closed then.
    fn end(mut self, cancel: &Cancel) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let output = all(self.output.take(), &mut self.child, cancel);
        let errors = all(self.errors.take(), &mut self.child, cancel);
        Ok((self.child.wait()?, output, errors))
    }
}

/// Reads to the end beside everything else.
fn collect(from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut from = from;
        let mut bytes = Vec::new();
        // What could be read counts; the rest is thrown away, or the program would wait for a reader.
        let _ = from.by_ref().take(OUTPUT_MAX_BYTES).read_to_end(&mut bytes);
        let _ = io::copy(&mut from, &mut io::sink());
        let _ = sender.send(bytes);
    });
    receiver
}

fn all(from: Option<Receiver<Vec<u8>>>, child: &mut Child, cancel: &Cancel) -> Vec<u8> {
    let Some(from) = from else { return Vec::new() };
    loop {
        match from.recv_timeout(LOOK_EVERY) {
            Ok(bytes) => return bytes,
            Err(RecvTimeoutError::Disconnected) => return Vec::new(),
            Err(RecvTimeoutError::Timeout) if cancel.is_cancelled() => {
                let _ = child.kill();
                return Vec::new();
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// A program's output on its way.
struct Output<'a> {
    child: Option<Child>,
    output: std::process::ChildStdout,
    errors: Option<Receiver<Vec<u8>>>,
    program: String,
    cancel: &'a Cancel,
}

impl Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let count = self.output.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        let Some(mut child) = self.child.take() else { return Ok(0) };
        let errors = all(self.errors.take(), &mut child, self.cancel);
        let status = child.wait()?;
        match status.success() {
            true => Ok(0),
            false => {
                Err(io::Error::other(format!("{}: {}", self.program, reason(status, &errors))))
            }
        }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Program {
        let dirs = ["relative", "/nonexistent", "/bin", "/usr/bin"].map(PathBuf::from);
        Program::find("sh", &dirs).expect("a shell").with(&["-c"])
    }

    #[test]
    fn what_a_program_is_fed_and_says_comes_through() {
        let cancel = Cancel::new();
        let fed = shell().feed(&["cat"], &cancel, |out| {
            out.write_all(&[7; 300_000]).map_err(crate::error::write("it"))
        });
        assert_eq!(fed.expect("fed"), vec![7; 300_000]);
        let failed = |script| shell().output(&[script], &cancel).expect_err("failed").to_string();
        assert!(
            failed("echo a >&2; echo 'Error: no such thing' >&2; exit 125")
                .ends_with(": no such thing")
        );
        assert!(failed("exit 3").contains("exit status: 3"));
        assert!(shell().says(&["exit 0"], &cancel).expect("yes"));
        assert!(!shell().says(&["exit 1"], &cancel).expect("no"));
        assert!(shell().says(&["exit 125"], &cancel).is_err());
    }

    #[test]
    fn an_end_is_only_reached_when_the_program_ended_well() {
        let cancel = Cancel::new();
        let read = |script| {
            let mut bytes = Vec::new();
            let mut output = shell().read(&[script], &cancel).expect("started");
            output.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| error.to_string())
        };
        assert_eq!(read("printf whole"), Ok(b"whole".to_vec()));
        let error = read("printf part; echo broken >&2; exit 1").expect_err("not whole");
        assert!(error.ends_with(": broken"), "{error}");
        assert!(Program::find("sh", &[PathBuf::from("bin")]).is_none());
    }
}
