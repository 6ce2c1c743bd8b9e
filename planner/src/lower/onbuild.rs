//! ONBUILD triggers of a base: parsed when they run, with the FROM line as their place (ONB-04 to ONB-12).

use parser::ast::{Instruction, Kind};
use parser::{Severity, SourceText};

use crate::site::{Fail, Site};

/// Reads the triggers of a base in order.
pub(super) fn parse(triggers: Vec<String>, from: &Site) -> Result<Vec<(Instruction, Site)>, Fail> {
    triggers.into_iter().map(|trigger| parse_one(trigger, from)).collect()
}

fn parse_one(trigger: String, from: &Site) -> Result<(Instruction, Site), Fail> {
    // A comment above FROM is not about what the base's author wrote.
    let site = Site { trigger: Some(trigger.clone()), check: None, ..from.clone() };
    let text = SourceText::new("ONBUILD", &trigger);
    let mut instruction = parser::parse_trigger(&text).map_err(|diagnostics| {
        let error = diagnostics.iter().find(|d| d.severity == Severity::Error);
        match error {
            Some(error) => {
                let mut fail = site.error(error.code, error.message.clone()); // ERR-67
                fail.help.clone_from(&error.help);
                fail
            }
            None => site.error("onbuild-trigger", "onbuild trigger should be a single expression"),
        }
    })?;
    instruction.span = from.span;
    match instruction.kind {
        Kind::Onbuild(_) => {
            let message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"; // ONB-01
            Err(site.error("onbuild-trigger", message))
        }
        Kind::Maintainer(_) => Err(forbidden("MAINTAINER", &site)),
        _ => Ok((instruction, site)),
    }
}

/// Whether a trigger will count in `[stage i/n]`, told from its keyword alone.
pub(super) fn makes_step(trigger: &str) -> bool {
    let keyword = trigger.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    matches!(&*keyword, "RUN" | "COPY" | "ADD" | "WORKDIR")
}

pub(super) fn forbidden(keyword: &str, site: &Site) -> Fail {
    site.error("onbuild-trigger", format!("{keyword} isn't allowed as an ONBUILD trigger"))
}
