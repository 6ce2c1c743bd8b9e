//! `cargo xtask tidy`: checks the source against the project's own rules. `cargo xtask coverage`: writes the table of
//! behaviours and their cases. `cargo xtask walk DIR`: a bare walk, as a measure for others.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for a terminal")]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The crate lies two levels below the top.
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy(&top),
        Some("coverage") => coverage(&top),
        Some("walk") => walk(std::env::args_os().nth(2)),
        _ => {
            eprintln!("usage: cargo xtask tidy|coverage|walk DIR");
            ExitCode::from(2)
        }
    }
}

fn coverage(top: &Path) -> ExitCode {
    match xtask::coverage(top) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

fn walk(dir: Option<std::ffi::OsString>) -> ExitCode {
    match xtask::walk(Path::new(&dir.unwrap_or_else(|| ".".into()))) {
        Ok(seen) => {
            println!("{seen}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

fn tidy(top: &Path) -> ExitCode {
    match xtask::tidy(top) {
        Ok(findings) => {
            findings.iter().for_each(|finding| println!("{finding}"));
            println!("tidy: {} findings", findings.len());
            ExitCode::from(u8::from(!findings.is_empty()))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}
