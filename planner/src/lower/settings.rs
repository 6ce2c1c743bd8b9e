//! Instructions that only set something: ARG ENV LABEL MAINTAINER USER VOLUME STOPSIGNAL ONBUILD.

use parser::ast::{Arg, KeyValues, Word};

use super::StageBuild;
use crate::scope::is_scan_argument;
use crate::site::{Fail, Site};
use crate::{epoch, lint};

/// ARG in a stage: items one by one, each sees the earlier ones (EXP-73, EXP-76).
pub(super) fn arg(build: &mut StageBuild<'_, '_>, arg: &Arg, site: &Site) -> Result<(), Fail> {
    let mut texts = Vec::new();
    for (name, default) in &arg.items {
        let name = &name.text;
        let globals = &build.lowering.variant.globals;
        let value = match (build.request().build_arg(name), default) {
            (Some(value), _) => Some(resolved_epoch(build, name, value)), // EXP-77
            (None, Some(default)) => Some(build.word(default, site)?),
            (None, None) => globals.get(name).map(|value| resolved_epoch(build, name, value)),
        };
        build.take_room(value.as_ref().map_or(0, String::len), site)?;
        if let Some(value) = &value
            && !is_scan_argument(name)
        {
            build.state.variables.set(name, value);
        }
        texts.push(match &value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        });
        build.state.args.push((name.clone(), value));
    }
    build.note(format!("ARG {}", texts.join(" "))); // ARG-03
    Ok(())
}

/// RUN sees the number that an epoch's name stands for, and nothing when it stands for none (EPO-06).
fn resolved_epoch(build: &StageBuild<'_, '_>, name: &str, value: &str) -> String {
    match value.parse::<i64>() {
        _ if name != epoch::NAME => value.to_owned(),
        Ok(seconds) => seconds.to_string(),
        Err(_) if value.is_empty() => String::new(),
        Err(_) => build.lowering.epoch.map(|seconds| seconds.to_string()).unwrap_or_default(),
    }
}

/// ENV: all pairs see the environment before the line (EXP-72).
pub(super) fn env(
    build: &mut StageBuild<'_, '_>,
    env: &KeyValues,
    site: &Site,
) -> Result<(), Fail> {
    let pairs = expand(build, env, site)?;
    for (key, value) in &pairs {
        lint::secret_key(build.lowering.findings, "ENV", key, site);
        build.state.variables.set(key, value);
        let entry = format!("{key}={value}");
        let list = &mut build.state.config.config.env;
        let is_key = |known: &&mut String| known.split('=').next() == Some(key);
        match list.iter_mut().find(is_key) {
            Some(known) => *known = entry, // ENV-02
            None => list.push(entry),
        }
    }
    build.note(format!("ENV {}", join(&pairs)));
    Ok(())
}

pub(super) fn label(
    build: &mut StageBuild<'_, '_>,
    label: &KeyValues,
    site: &Site,
) -> Result<(), Fail> {
    let pairs = expand(build, label, site)?;
    build.note(format!("LABEL {}", join(&pairs)));
    build.state.config.config.labels.extend(pairs);
    Ok(())
}

fn expand(
    build: &StageBuild<'_, '_>,
    pairs: &KeyValues,
    site: &Site,
) -> Result<Vec<(String, String)>, Fail> {
    let pairs = pairs.pairs.iter();
    pairs.map(|(k, v)| Ok((build.word(k, site)?, build.word(v, site)?))).collect()
}

fn join(pairs: &[(String, String)]) -> String {
    let texts: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    texts.join(" ")
}

/// The text as it stands, nothing expanded (MAINT-01).
pub(super) fn maintainer(build: &mut StageBuild<'_, '_>, text: &str) {
    build.state.config.author = Some(text.to_owned());
    build.note(format!("MAINTAINER {text}"));
}

pub(super) fn user(build: &mut StageBuild<'_, '_>, user: &Word, site: &Site) -> Result<(), Fail> {
    let user = build.word(user, site)?;
    build.note(format!("USER {user}"));
    build.state.config.config.user = user;
    Ok(())
}

pub(super) fn volume(
    build: &mut StageBuild<'_, '_>,
    paths: &[Word],
    site: &Site,
) -> Result<(), Fail> {
    let mut volumes = Vec::new();
    for path in paths {
        let volume = build.word(path, site)?;
        if volume.is_empty() {
            let message = "VOLUME specified can not be an empty string"; // VOL-01
            return Err(site.error_in("empty-volume", message, path.span));
        }
        volumes.push(volume);
    }
    build.note(format!("VOLUME [{}]", volumes.join(" ")));
    build.state.config.config.volumes.extend(volumes);
    Ok(())
}

pub(super) fn stopsignal(
    build: &mut StageBuild<'_, '_>,
    signal: &Word,
    site: &Site,
) -> Result<(), Fail> {
    let text = build.word(signal, site)?;
    if !is_signal(&text) {
        let message = format!("invalid signal: {text}");
        return Err(site.error_in("invalid-signal", message, signal.span));
    }
    build.note(format!("STOPSIGNAL {text}"));
    build.state.config.config.stop_signal = Some(text);
    Ok(())
}

/// Kept for whoever builds from this image; no history (ONB-03).
pub(super) fn onbuild(build: &mut StageBuild<'_, '_>, trigger: &str) {
    build.state.config.config.on_build.push(trigger.to_owned());
}

/// A number other than 0, or a name of signal(7) (STOP-01).
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, max: u32| {
        name.strip_prefix(prefix).is_some_and(|offset| {
            offset.len() <= 2
                && !offset.starts_with('0')
                && offset.parse::<u32>().is_ok_and(|offset| (1..=max).contains(&offset))
        })
    };
    SIGNALS.split(' ').any(|known| known == name)
        || real_time("RTMIN+", 15)
        || real_time("RTMAX-", 14)
}

const SIGNALS: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR \
                       QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM \
                       WINCH XCPU XFSZ RTMIN RTMAX";
