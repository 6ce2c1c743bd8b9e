//! CMD, ENTRYPOINT and SHELL, and the command part of other instructions (LEX-80 to LEX-85).

use super::{Fault, Line};
use crate::ast::{Command, Kind};

/// `CMD`.
pub(super) fn cmd(line: &Line<'_>) -> Result<Kind, Fault> {
    let command = command(line)?;
    line.no_flags()?;
    Ok(Kind::Cmd(command))
}

/// `ENTRYPOINT`.
pub(super) fn entrypoint(line: &Line<'_>) -> Result<Kind, Fault> {
    let command = command(line)?;
    line.no_flags()?;
    Ok(Kind::Entrypoint(command))
}

/// `SHELL`, in JSON form only (SHELL-01).
pub(super) fn shell(line: &Line<'_>) -> Result<Kind, Fault> {
    let strings = line.json_form()?;
    line.no_flags()?;
    match strings {
        Some(strings) if !strings.is_empty() => {
            Ok(Kind::Shell(strings.into_iter().map(|(text, _)| text).collect()))
        }
        None if !line.args().is_empty() => {
            let message = "SHELL requires the arguments to be in JSON form";
            let fault = Fault::new("arguments", message).at(line.args.clone(), "");
            Err(fault.help("write SHELL [\"/bin/bash\", \"-c\"], in double quotes"))
        }
        _ => Err(line.wrong_arguments("SHELL requires at least one argument".to_owned())),
    }
}

/// All arguments as a command; nothing at all is an empty text for the shell (LEX-94).
pub(super) fn command(line: &Line<'_>) -> Result<Command, Fault> {
    Ok(match line.json_form()? {
        Some(strings) => Command::Exec(strings.into_iter().map(|(text, _)| text).collect()),
        None => Command::Shell(line.args().to_owned()),
    })
}
