//! The program `shale`: arguments in, exit code out.
//!
//! Owns everything that a person sees and types, the environment and the standard streams; no other crate reads or
//! writes them. Refuses to know how anything is built. The subtle thing: a build that has work to do runs this twice,
//! the second time in a process that the first one started in namespaces of its own (design D1).

#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod render;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
