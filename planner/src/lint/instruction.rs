//! Rules on instructions as they are evaluated, so in stages that are needed only (LINT-08).

use parser::ast::{Command, Instruction, Kind};

use super::{Findings, Rule};
use crate::Sources;
use crate::scope::{Variables, is_scan_argument};
use crate::site::Site;

/// Which instructions a stage has had so far, for the rule that only the last one counts (LINT-31).
#[derive(Debug, Default)]
pub(crate) struct Said {
    cmd: Option<Site>,
    entrypoint: Option<Site>,
    healthcheck: Option<Site>,
}

/// Rules that an instruction's own words decide. `has_shell` tells of a SHELL in the stage or below it.
pub(crate) fn instruction(
    findings: &Findings,
    instruction: &Instruction,
    has_shell: bool,
    said: &mut Said,
    site: &Site,
) {
    let keyword = &instruction.keyword.text;
    match &instruction.kind {
        Kind::Cmd(command) => {
            only_last(findings, keyword, &mut said.cmd, site);
            json_args(findings, keyword, command, has_shell, site);
        }
        Kind::Entrypoint(command) => {
            only_last(findings, keyword, &mut said.entrypoint, site);
            json_args(findings, keyword, command, has_shell, site);
        }
        Kind::Healthcheck(_) => only_last(findings, keyword, &mut said.healthcheck, site),
        Kind::Env(pairs) | Kind::Label(pairs) if pairs.legacy => {
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" \
                 format"
            );
            findings.add(Rule::LegacyKeyValueFormat, message, site); // LINT-32
        }
        Kind::Arg(arg) => {
            for (name, _) in &arg.items {
                secret_key(findings, "ARG", &name.text, site);
            }
        }
        _ => {}
    }
}

/// LINT-31: reported at the one that does not count; whether it is wanted says the comment above the one that does.
fn only_last(findings: &Findings, keyword: &str, earlier: &mut Option<Site>, site: &Site) {
    if let Some(earlier) = earlier.replace(site.clone()) {
        let earlier = Site { check: site.check.clone(), ..earlier };
        let message = format!(
            "Multiple {keyword} instructions should not be used in the same stage because only \
             the last one will be used"
        );
        findings.add(Rule::MultipleInstructionsDisallowed, message, &earlier);
    }
}

/// LINT-26.
fn json_args(findings: &Findings, keyword: &str, command: &Command, has_shell: bool, site: &Site) {
    if !has_shell && matches!(command, Command::Shell(_)) {
        let message = format!(
            "JSON arguments recommended for {keyword} to prevent unintended behavior related to \
             OS signals"
        );
        findings.add(Rule::JsonArgsRecommended, message, site);
    }
}

/// LINT-35.
pub(crate) fn secret_key(findings: &Findings, instruction: &str, key: &str, site: &Site) {
    if is_secret(key) {
        let message = format!(
            "Do not use ARG or ENV instructions for sensitive data ({instruction} {key:?})"
        );
        findings.add(Rule::SecretsUsedInArgOrEnv, message, site);
    }
}

/// Whether a name of a variable sounds as if its value were a secret (LINT-35).
pub fn is_secret(name: &str) -> bool {
    const SECRETS: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
    has(&SECRETS) && !has(&HARMLESS)
}

/// LINT-29. `seen` is whether the stage or one below it had a WORKDIR, which the rule looked at then.
pub(crate) fn relative_workdir(findings: &Findings, path: &str, seen: &mut bool, site: &Site) {
    let was_seen = std::mem::replace(seen, true);
    if !was_seen && !path.starts_with('/') {
        let message = format!(
            "Relative workdir {path:?} can have unexpected results if the base image changes"
        );
        findings.add(Rule::WorkdirRelativePath, message, site);
    }
}

/// LINT-30: names in a word that had no value. Those of ARGs without value are meant so.
pub(crate) fn undefined_variables<'a>(
    findings: &Findings,
    unset: &[String],
    declared: impl Iterator<Item = &'a str> + Clone,
    variables: &Variables,
    site: &Site,
) {
    for name in unset {
        if is_scan_argument(name) || declared.clone().any(|known| known == name) {
            continue;
        }
        let hint = match parser::suggest(name, variables.names()) {
            Some(best) => format!(" (did you mean ${best}?)"),
            None => String::new(),
        };
        let message = format!("Usage of undefined variable '${name}'{hint}");
        findings.add(Rule::UndefinedVar, message, site);
    }
}

/// LINT-38: a source of COPY or ADD in the build context that the ignore file hides. `verb` is `Copy` or `Add`.
pub(crate) fn copied_from_context(
    findings: &Findings,
    sources: &dyn Sources,
    verb: &str,
    path: &str,
    site: &Site,
) {
    let clean = crate::lower::clean_path(path);
    if sources.is_ignored(clean.trim_start_matches('/')) {
        let shown = match clean.trim_start_matches('/') {
            "" if path.starts_with('/') => "/",
            "" => ".",
            relative => relative,
        };
        let message =
            format!("Attempting to {verb} file {shown:?} that is excluded by .dockerignore");
        findings.add(Rule::CopyIgnoredFile, message, site);
    }
}

/// LINT-40, LINT-41: a port of EXPOSE, the protocol as written and whether it names something of the host.
pub(crate) fn exposed_port(
    findings: &Findings,
    port: &str,
    protocol: &str,
    names_host: bool,
    site: &Site,
) {
    if protocol.contains(char::is_uppercase) {
        let message =
            format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
        findings.add(Rule::ExposeProtoCasing, message, site);
    }
    if names_host {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
        );
        findings.add(Rule::ExposeInvalidFormat, message, site);
    }
}
