//! `shale build --call=…`: answers about the Dockerfile on standard output; nothing is built (spec 9.3).

use engine::{BuildError, BuildErrorKind, CheckReport, Environment};
use progress::{Emitter, EventKind};

use super::problems::{failed_to_solve, warn_of};
use super::{Done, Process, print};
use crate::args::{BuildCommand, Method};
use crate::exit::Exit;
use crate::render::{
    Screen, check_json, check_report, describe_json, describe_text, outline_json, outline_text,
    targets_json, targets_text,
};

/// Answers what was asked.
pub(super) fn run(process: &Process, command: &BuildCommand, environment: &Environment) -> Done {
    match command.call.method {
        Method::Outline => outline(process, command, environment),
        Method::Targets => targets(process, command, environment),
        Method::Describe if command.call.is_json => print(&describe_json()),
        Method::Describe => print(&describe_text()),
        Method::Check | Method::Build => check(process, command, environment),
    }
}

fn outline(process: &Process, command: &BuildCommand, environment: &Environment) -> Done {
    let asked = shown(process, command, |events| {
        engine::parameters(&command.request, environment, events, &process.cancel)
    });
    let answer = asked.map_err(|error| {
        warn_of(command, error.warnings());
        failed_to_solve(error)
    })?;
    match command.call.is_json {
        true => print(&outline_json(&answer.facts, &answer.source)),
        false => print(&outline_text(&answer.facts)),
    }
}

fn targets(process: &Process, command: &BuildCommand, environment: &Environment) -> Done {
    let asked = shown(process, command, |events| {
        engine::targets(&command.request, environment, events, &process.cancel)
    });
    let answer = asked.map_err(failed_to_solve)?;
    match command.call.is_json {
        true => print(&targets_json(&answer.facts, &answer.source)),
        false => print(&targets_text(&answer.facts)),
    }
}

/// Any finding, and anything that is wrong with the file, makes the exit code 1 (CALL-05).
fn check(process: &Process, command: &BuildCommand, environment: &Environment) -> Done {
    let report = shown(process, command, |events| {
        engine::check(&command.request, environment, events, &process.cancel)
    })?;
    match command.call.is_json {
        true => print(&as_json(&report))?,
        false => print(&as_text(&report))?,
    };
    match report.error {
        Some(error) => {
            let kind = error.kind();
            let exit = process.report(&failed_to_solve(error));
            Ok(if is_about_the_file(kind) { Exit::Failed } else { exit }.into())
        }
        None if report.findings.is_empty() || command.call.ignores_status => Ok(Exit::Ok.into()),
        None => Ok(Exit::Failed.into()),
    }
}

fn as_json(report: &CheckReport) -> String {
    let error = match (&report.error, &report.violation) {
        (Some(error), _) => Some((error.to_string(), error.diagnostics())),
        (None, Some(violation)) => {
            Some((violation.message.clone(), std::slice::from_ref(violation)))
        }
        (None, None) => None,
    };
    let error = error.as_ref().map(|(message, places)| (message.as_str(), *places));
    check_json(&report.findings, error, report.source.as_ref())
}

/// The error itself follows on standard error.
fn as_text(report: &CheckReport) -> String {
    match (report.error.is_some(), report.findings.is_empty()) {
        (false, _) => check_report(&report.findings),
        (true, false) => check_report(&report.findings) + "\n",
        (true, true) => String::new(),
    }
}

/// The rest says that the file could not be looked at.
fn is_about_the_file(kind: BuildErrorKind) -> bool {
    matches!(kind, BuildErrorKind::Dockerfile | BuildErrorKind::Registry | BuildErrorKind::Step)
}

/// Shows the progress of finding the answer.
fn shown<T>(
    process: &Process,
    command: &BuildCommand,
    ask: impl FnOnce(&Emitter) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let screen = Screen::start(command.display, Box::new(std::io::stderr()));
    let events = Emitter::new(screen.sink());
    let answer = ask(&events);
    events.emit(EventKind::BuildFinished { ok: answer.is_ok() });
    screen.finish(&process.cancel);
    answer
}
