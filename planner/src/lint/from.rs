//! Rules on FROM lines and the images that they name.

use oci::{ImageConfig, Platform, Reference};
use parser::Expanded;
use parser::ast::{Dockerfile, From, Kind};
use parser::{SourceText, did_you_mean};

use super::{Findings, Rule};
use crate::EngineName;
use crate::outline::site;
use crate::scope::Variables;
use crate::site::Site;

/// LINT-28: variables of a FROM line that have no value and no ARG above the first FROM.
pub(crate) fn undeclared_arguments(
    findings: &Findings,
    file: &Dockerfile,
    globals: &Variables,
    expanded: &Expanded,
    site: &Site,
) {
    let args = file.global_args.iter().filter_map(|instruction| match &instruction.kind {
        Kind::Arg(arg) => Some(&arg.items),
        _ => None,
    });
    let declared: Vec<&str> = args.flatten().map(|(name, _)| name.text.as_str()).collect();
    for name in &expanded.unset {
        if declared.contains(&name.as_str()) {
            continue;
        }
        let hint = did_you_mean(name, declared.iter().copied().chain(globals.names()));
        let message = format!("FROM argument '{name}' is not declared{hint}");
        findings.add(Rule::UndefinedArgInFrom, message, site);
    }
}

/// LINT-34, LINT-37: what `--platform` says and what became of it.
pub(crate) fn platform_flag(
    findings: &Findings,
    from: &From,
    expanded: &Expanded,
    globals: &Variables,
    site: &Site,
) {
    let Some(flag) = &from.platform else { return };
    match (&expanded.used[..], &expanded.unset[..]) {
        ([], []) => constant_platform(findings, from, &expanded.text, site),
        ([only], []) if only == "TARGETPLATFORM" && globals.get(only) == Some(&expanded.text) => {
            let message = format!(
                "Setting platform to predefined {} in FROM is redundant as this is the default \
                 behavior",
                flag.text
            );
            findings.add(Rule::RedundantTargetPlatform, message, site);
        }
        _ => {}
    }
}

/// A stage that is named after its platform is meant so.
fn constant_platform(findings: &Findings, from: &From, text: &str, site: &Site) {
    let Ok(platform) = text.parse::<Platform>() else { return };
    let name = from.name.as_ref().map(|name| name.text.to_lowercase()).unwrap_or_default();
    if !name.contains(&platform.os) && !name.contains(&platform.architecture) {
        let message = format!("FROM --platform flag should not use constant value {text:?}");
        findings.add(Rule::FromPlatformFlagConstDisallowed, message, site);
    }
}

/// LINT-36: the images that the file names without any build argument. `defaults` are the global variables then.
pub(crate) fn default_names(
    findings: &Findings,
    file: &Dockerfile,
    source: &SourceText,
    defaults: &Variables,
) {
    for stage in &file.stages {
        let Kind::From(from) = &stage.from.kind else { continue };
        let site = site(file, source, &stage.from);
        // What cannot be expanded without arguments has its own error, or asks for the argument on purpose (`:?`).
        let Ok(name) = defaults.word(&from.image, &site) else { return };
        if name.parse::<Reference>().is_err() && EngineName::parse(&name).is_none() {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                from.image.text
            );
            findings.add(Rule::InvalidDefaultArgInFrom, message, &site);
        }
    }
}

/// LINT-33: an image is made for another system than the one it is wanted for.
pub(crate) fn base_platform(
    findings: &Findings,
    name: &str,
    wanted: &Platform,
    config: &ImageConfig,
    site: &Site,
) {
    let says_nothing = config.os.is_empty() && config.architecture.is_empty();
    let is_empty = config.rootfs.diff_ids.is_empty();
    let fits = config.os == wanted.os && config.architecture == wanted.architecture;
    if says_nothing || is_empty || fits {
        return;
    }
    let message = format!(
        "Base image {name} was pulled with platform \"{}\", expected \"{wanted}\" for current build",
        config.platform()
    );
    findings.add(Rule::InvalidBaseImagePlatform, message, site);
}
