//! CMD ENTRYPOINT SHELL HEALTHCHECK: what a container started from the image runs.

use oci::Healthcheck as Check;
use parser::ast::{Command, Healthcheck};
use parser::go_quote;

use super::{StageBuild, StageState, display};

pub(super) fn cmd(build: &mut StageBuild<'_, '_>, command: &Command) {
    let argv = argv(&build.state, command);
    build.note(format!("CMD {}", quoted(&argv))); // CMD-03
    let config = &mut build.state.config.config;
    config.cmd = Some(argv).filter(|argv| !argv.is_empty()); // CMD-02
    config.args_escaped = true; // IMG-08; ENTRYPOINT leaves it alone in BuildKit.
    build.cmd_set = true;
}

pub(super) fn entrypoint(build: &mut StageBuild<'_, '_>, command: &Command) {
    let argv = argv(&build.state, command);
    build.note(format!("ENTRYPOINT {}", quoted(&argv)));
    let config = &mut build.state.config.config;
    config.entrypoint = Some(argv).filter(|argv| !argv.is_empty());
    if !build.cmd_set {
        config.cmd = None; // ENTRY-02
    }
}

pub(super) fn shell(build: &mut StageBuild<'_, '_>, shell: &[String]) {
    build.note(format!("SHELL [{}]", shell.join(" ")));
    build.state.config.config.shell = Some(shell.to_vec());
}

pub(super) fn healthcheck(build: &mut StageBuild<'_, '_>, check: &Healthcheck) {
    let check = match check {
        Healthcheck::None => Check { test: vec!["NONE".to_owned()], ..Check::default() },
        Healthcheck::Cmd {
            command,
            interval_ns,
            timeout_ns,
            start_period_ns,
            start_interval_ns,
            retries,
        } => Check {
            test: health_test(command),
            interval: *interval_ns,
            timeout: *timeout_ns,
            start_period: *start_period_ns,
            start_interval: *start_interval_ns,
            retries: *retries,
        },
    };
    build.note(format!(
        "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        display::duration(check.interval),
        display::duration(check.timeout),
        display::duration(check.start_period),
        display::duration(check.start_interval),
        check.retries
    )); // HEAL-06
    build.state.config.config.healthcheck = Some(check);
}

/// SHELL is not put in (HEAL-04).
fn health_test(command: &Command) -> Vec<String> {
    match command {
        Command::Exec(argv) => std::iter::once("CMD".to_owned()).chain(argv.clone()).collect(),
        Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
    }
}

fn argv(state: &StageState, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(text) => with_shell(state, text.clone()),
    }
}

/// The stage's shell with a text as its last argument (RUN-01, SHELL-02).
pub(super) fn with_shell(state: &StageState, text: String) -> Vec<String> {
    let mut argv = match &state.config.config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
    };
    argv.push(text);
    argv
}

fn quoted(argv: &[String]) -> String {
    let words: Vec<String> = argv.iter().map(|word| go_quote(word)).collect();
    format!("[{}]", words.join(" "))
}
