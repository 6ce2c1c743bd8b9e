//! Which platforms' programs start here: the machine's own, their 32-bit forms, and those that binfmt_misc has an
//! interpreter for.
//!
//! Owns asking the kernel. Refuses to register anything: an interpreter is the whole machine's business.

mod binfmt;
mod elf;

use std::path::{Path, PathBuf};

use oci::Platform;

/// What a step needs so that programs of a platform start in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interpreter {
    /// Nothing: the kernel executes them, or holds their interpreter open.
    NotNeeded,
    /// This file of the machine, at the same path in the step.
    Shown(PathBuf),
}

/// Why programs of a platform do not start here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotRun {
    /// Programs of another operating system.
    #[error("programs for {0} do not run on linux")]
    System(String),
    /// The kernel says that it is no program.
    #[error(
        "exec format error: the kernel does not start {0} programs, and binfmt_misc has no interpreter for them"
    )]
    NoInterpreter(String),
    /// The interpreter would not start in a root file system of another platform.
    #[error("the interpreter {path} of binfmt_misc entry `{entry}` {problem}")]
    Unusable {
        /// Name of the entry.
        entry: String,
        /// The interpreter.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CannotRun {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CannotRun::System(_) => "build it for linux, or copy files without RUN",
            CannotRun::NoInterpreter(_) | CannotRun::Unusable { .. } => {
                "install the package qemu-user-static (qemu-user-binfmt from Debian 13 on), which registers an \
                 emulator with binfmt_misc; or move the step to a stage that says FROM --platform=$BUILDPLATFORM"
            }
        }
    }
}

/// Whether programs of a platform start in a step on this machine. Asks the kernel each time.
///
/// # Errors
/// They do not, and why.
pub fn interpreter(platform: &Platform) -> Result<Interpreter, CannotRun> {
    let host = Platform::host();
    if platform.os != host.os {
        return Err(CannotRun::System(platform.os.clone()));
    }
    if platform.architecture == host.architecture {
        return Ok(Interpreter::NotNeeded);
    }
    let missing = || CannotRun::NoInterpreter(platform.architecture.clone());
    let program = elf::Program::of(&platform.architecture).ok_or_else(missing)?;
    let entry = match host.runs(platform) && program.starts() {
        true => return Ok(Interpreter::NotNeeded),
        false => binfmt::find(Path::new(binfmt::DIRECTORY), &program.header()),
    };
    match entry {
        Some(entry) if entry.is_held_open => Ok(Interpreter::NotNeeded),
        Some(entry) => shown(entry),
        // In a container the list is mostly not to be seen, and what it says holds all the same.
        None if program.starts() => Ok(Interpreter::NotNeeded),
        None => Err(missing()),
    }
}

/// The interpreter of an entry that names a path only: it has to be in the step's root, and to need nothing else there.
fn shown(entry: binfmt::Entry) -> Result<Interpreter, CannotRun> {
    let problem = match elf::needs_loader(&entry.interpreter) {
        Ok(false) => return Ok(Interpreter::Shown(entry.interpreter)),
        Ok(true) => "is linked dynamically and registered without the flag F".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    let path = entry.interpreter.display().to_string();
    Err(CannotRun::Unusable { entry: entry.name, path, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_programs_start() {
        let host = Platform::host();
        assert_eq!(interpreter(&host), Ok(Interpreter::NotNeeded));
        let program = elf::Program::of(&host.architecture).expect("a known architecture");
        assert!(program.starts(), "the smallest program does not start");
    }

    #[test]
    fn other_systems_are_refused() {
        let windows = Platform::new("windows", "amd64", "");
        let error = interpreter(&windows).expect_err("no linux program");
        assert_eq!(error.to_string(), "programs for windows do not run on linux");
    }

    #[test]
    fn an_interpreter_that_is_gone_or_not_alone_is_refused() {
        let entry = |path: &Path| binfmt::Entry {
            name: "qemu-x".to_owned(),
            interpreter: path.to_owned(),
            is_held_open: false,
        };
        let error = shown(entry(Path::new("/no/such/file"))).expect_err("it is gone");
        assert!(error.to_string().contains("`qemu-x` cannot be read"), "{error}");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let alone = dir.path().join("alone");
        let program = elf::Program::of(&Platform::host().architecture).expect("a known one");
        std::fs::write(&alone, program.bytes()).expect("a file");
        assert_eq!(shown(entry(&alone)), Ok(Interpreter::Shown(alone)));
    }
}
