//! RUN (RUN-09, RUN-20, RUN-24, RUN-27, MNT-01, LEX-114 to LEX-119).

use super::csv::csv_fields;
use super::flags::Takes;
use super::{Fault, FoundHeredoc, Line, command, heredoc, shown};
use crate::ast::{Command, Kind, MountFlag, Run, Word};
use crate::quote::go_quote;
use crate::suggest::did_you_mean;

const FLAGS: [(&str, Takes); 4] = [
    ("mount", Takes::List),
    ("network", Takes::Value),
    ("security", Takes::Value),
    ("device", Takes::List),
];

/// `RUN`.
pub(super) fn run(line: &Line<'_>, heredocs: &[FoundHeredoc<'_>]) -> Result<Kind, Fault> {
    let command = command::command(line)?;
    let flags = line.flags(&FLAGS)?;
    if command == Command::Exec(Vec::new()) {
        let message = "arguments are required";
        return Err(Fault::plain("arguments", message).at(line.args.clone(), "")); // LEX-85
    }
    let mounts = flags.list("mount").into_iter().map(mount);
    let mounts = mounts.collect::<Result<_, _>>()?;
    let network = flags.find("network").cloned();
    if let Some(mode) = &network {
        one_of(mode, &["default", "none", "host"], |mode| format!("invalid network mode {mode}"))?;
    }
    let security = flags.find("security").cloned();
    if let Some(mode) = &security {
        one_of(mode, &["sandbox", "insecure"], |mode| format!("security {mode} is not valid"))?;
    }
    Ok(Kind::Run(Run {
        mounts,
        network,
        security,
        devices: flags.list("device"),
        only_heredoc: !heredocs.is_empty() && heredoc::word(line.args()).is_some(),
        script: heredoc::script(line.args(), heredocs),
        heredocs: heredocs.iter().map(|found| found.to_ast(|range| line.place(range))).collect(),
        command,
    }))
}

/// Splits a mount flag; what its options mean is checked when the instruction is evaluated.
fn mount(flag: Word) -> Result<MountFlag, Fault> {
    let fields = csv_fields(&flag.text).map_err(|error| {
        let message = format!("failed to parse csv mounts: {error}");
        Fault::new("mount", message).at(flag.span, "")
    })?;
    let mut options = Vec::with_capacity(fields.len());
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field.as_str(), None),
        };
        let key = key.to_lowercase();
        if key == "from" && value.as_deref().is_some_and(has_variable) {
            let message = "'from' doesn't support variable expansion, define alias stage instead";
            let fault = Fault::new("mount", message.to_owned()).at(flag.span, "");
            return Err(fault.help("write FROM $IMAGE AS name above and from=name here"));
        }
        options.push((key, value));
    }
    Ok(MountFlag { span: flag.span, text: flag.text, options })
}

/// A dollar sign with something behind it (EXP-52).
fn has_variable(text: &str) -> bool {
    text.find('$').is_some_and(|at| !matches!(text[at + 1..].chars().next(), None | Some('\n')))
}

fn one_of(
    given: &Word,
    known: &[&'static str],
    message: impl Fn(String) -> String,
) -> Result<(), Fault> {
    if known.contains(&given.text.as_str()) {
        return Ok(());
    }
    let hint = did_you_mean(&given.text, known.iter().copied());
    let message = message(go_quote(&shown(&given.text))) + &hint;
    let fault = Fault::new("flag", message).at(given.span, "");
    Err(fault.help(format!("known: {}", known.join(", "))))
}
