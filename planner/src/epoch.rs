//! SOURCE_DATE_EPOCH: which one holds, and what it means (EPO-01 to EPO-06).

use oci::Platform;
use parser::SourceText;
use parser::ast::{Add, Arg, Dockerfile, Kind, Stage};

use crate::git::{self, GitForm};
use crate::lower::{add_http_source, is_url};
use crate::outline::{site, stage_name};
use crate::scope::{TextRoom, Variables};
use crate::site::{Fail, Site, nowhere};
use crate::{ContextValue, LowerRequest, Sources, TimedSource, context_value};

pub(crate) const NAME: &str = "SOURCE_DATE_EPOCH";

/// An epoch, or what has its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Epoch {
    /// Seconds since 1970, if one holds.
    Known(Option<i64>),
    /// The time of this source.
    Of(TimedSource),
}

impl Epoch {
    /// The epoch in seconds since 1970, if one holds.
    pub(crate) fn seconds(&self, sources: &dyn Sources) -> Result<Option<i64>, Fail> {
        match self {
            Epoch::Known(seconds) => Ok(*seconds),
            Epoch::Of(source) => sources.source_time(source).map_err(|error| {
                nowhere("invalid-epoch", format!("cannot find the time for {NAME}: {error}"))
            }),
        }
    }
}

/// What the epoch of a build is, by sources that the policy lets be used.
///
/// # Errors
/// As [`of_value`], and a source that may not be used.
pub(crate) fn read(
    request: &LowerRequest,
    globals: &Variables,
    file: &Dockerfile,
    source: &SourceText,
    platform: &Platform,
) -> Result<Epoch, Fail> {
    let refused = |message: String| nowhere("source-policy", message);
    match of_value(request, globals, file, source, platform)? {
        Epoch::Of(TimedSource::Http(http)) => {
            let http = request.policy.http(http).map_err(refused)?;
            Ok(Epoch::Of(TimedSource::Http(http)))
        }
        Epoch::Of(TimedSource::Git(git)) => {
            request.policy.git(&git).map_err(refused)?;
            Ok(Epoch::Of(TimedSource::Git(git)))
        }
        known => Ok(known),
    }
}

/// What SOURCE_DATE_EPOCH's value means. `globals` are the file's global arguments, build arguments put in.
///
/// # Errors
/// The value is none (EPO-03), or names a stage that is not just one remote source (EPO-05).
fn of_value(
    request: &LowerRequest,
    globals: &Variables,
    file: &Dockerfile,
    source: &SourceText,
    platform: &Platform,
) -> Result<Epoch, Fail> {
    if request.epoch.is_some() {
        return Ok(Epoch::Known(request.epoch));
    }
    let value = request.build_arg(NAME).or_else(|| globals.get(NAME)).unwrap_or("");
    if value.is_empty() {
        return Ok(Epoch::Known(None)); // EPO-02
    }
    if let Ok(seconds) = value.parse::<i64>() {
        return Ok(Epoch::Known(Some(seconds)));
    }
    if value == "context" {
        return Ok(Epoch::Known(request.context_epoch)); // EPO-04
    }
    if let Some(context) = context_value::find(&request.contexts, value, platform) {
        return Ok(match &context.value {
            ContextValue::Git(git) => Epoch::Of(TimedSource::Git(git.clone())),
            ContextValue::Http(url) => {
                let http = add_http_source(url, None).map_err(|m| nowhere("invalid-epoch", m))?;
                Epoch::Of(TimedSource::Http(http))
            }
            // The times of images and directories say nothing.
            _ => Epoch::Known(None),
        });
    }
    let is_it = |stage: &&Stage| stage_name(stage).is_some_and(|n| n.eq_ignore_ascii_case(value));
    match file.stages.iter().find(is_it) {
        Some(stage) => {
            let mut globals = globals.clone();
            globals.remove(NAME);
            let site = site(file, source, &stage.from);
            of_stage(request, stage, globals, &site).map(Epoch::Of)
        }
        None => Err(nowhere("invalid-epoch", format!("invalid {NAME}: {value}"))),
    }
}

/// The one remote source that a stage consists of (EPO-05).
fn of_stage(
    request: &LowerRequest,
    stage: &Stage,
    mut variables: Variables,
    site: &Site,
) -> Result<TimedSource, Fail> {
    let fail = |message: &str| site.error("invalid-epoch", format!("{NAME} stage {message}"));
    let Kind::From(from) = &stage.from.kind else { unreachable!("a stage starts with FROM") };
    if variables.word(&from.image, site)? != "scratch" {
        return Err(fail("must use FROM scratch"));
    }
    let mut found = None;
    let room = TextRoom::new();
    for instruction in &stage.instructions {
        match &instruction.kind {
            Kind::Arg(arg) => set_arguments(request, (&mut variables, &room), arg, site)?,
            Kind::Add(_) if found.is_some() => {
                return Err(fail("must contain exactly one remote ADD"));
            }
            Kind::Add(add) => found = Some(of_add(&variables, add, site)?),
            _ => {
                let name = instruction.keyword.text.to_ascii_lowercase();
                let reason = "does not meet source-only requirements";
                return Err(fail(&format!("{reason}: unsupported {name} instruction")));
            }
        }
    }
    found.ok_or_else(|| fail("must contain exactly one remote ADD"))
}

fn set_arguments(
    request: &LowerRequest,
    (variables, room): (&mut Variables, &TextRoom),
    arg: &Arg,
    site: &Site,
) -> Result<(), Fail> {
    for (name, default) in &arg.items {
        let value = match (request.build_arg(&name.text), default) {
            (Some(value), _) => value.to_owned(),
            (None, Some(default)) => variables.word(default, site)?,
            (None, None) => continue,
        };
        room.take(value.len(), site)?;
        variables.set(&name.text, &value);
    }
    Ok(())
}

fn of_add(variables: &Variables, add: &Add, site: &Site) -> Result<TimedSource, Fail> {
    let fail = |message: String| site.error("invalid-epoch", message);
    let [word] = &add.transfer.sources[..] else {
        return Err(fail(format!("{NAME} stage must contain exactly one remote ADD source")));
    };
    if !add.transfer.heredocs.is_empty() {
        return Err(fail(format!("{NAME} stage must contain exactly one remote ADD source")));
    }
    let text = variables.word(word, site)?;
    let checksum = add.checksum.as_ref().map(|word| variables.word(word, site)).transpose()?;
    let checksum = checksum.filter(|checksum| !checksum.is_empty());
    match git::parse(&text, GitForm::Add) {
        Some(written) => {
            let mut git = written.map_err(|error| fail(error.to_string()))?.with(false, false);
            if let Some(wanted) = &checksum {
                git::check_commit(wanted).map_err(|error| fail(error.to_string()))?;
            }
            git.checksum = checksum.or(git.checksum);
            Ok(TimedSource::Git(git))
        }
        None if is_url(&text) => {
            add_http_source(&text, checksum.as_deref()).map(TimedSource::Http).map_err(fail)
        }
        None => Err(fail(format!("{NAME} stage source must be a single HTTP(S) or Git ADD"))),
    }
}
