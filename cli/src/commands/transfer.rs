//! `shale pull` and `shale push`.

use engine::{BuildError, BuildErrorKind, Environment, PushOptions};
use executor::WorkerOptions;
use oci::{Platform, Reference};
use progress::Emitter;

use super::{Done, Failure, Process, print, warn};
use crate::args::{
    DockerConfig, PullArgs, PushArgs, UsageError, image_name, platforms, transport_hint,
};
use crate::exit::Exit;
use crate::render::{Display, Screen};

/// Moving images runs no step.
pub(crate) const NO_STEPS: WorkerOptions =
    WorkerOptions { require_isolation: false, require_network: false };

/// Fetches an image, or all of a repository, and says what came of it in docker's words.
pub(crate) fn pull(process: &mut Process, typed: &PullArgs) -> Done {
    let name = image_name(&typed.name)?;
    check_all_tags(typed.all_tags, &typed.name, &name)?;
    let platforms = platforms(typed.platform.as_slice())?;
    let platform = platforms.into_iter().next().unwrap_or_else(Platform::host);
    let config = configuration(process);
    let environment = process.environment(&config, NO_STEPS)?;
    if !typed.all_tags {
        if is_untagged(&typed.name, &name) && !typed.quiet {
            print("Using default tag: latest\n")?;
        }
        let is_new = pull_one(process, typed.quiet, &name, &platform, &environment)?;
        return print(&pulled(typed.quiet, &name.familiar(), &name.to_string(), is_new));
    }
    let mut is_new = false;
    for tagged in engine::remote_tags(&name, &environment)? {
        is_new |= pull_one(process, typed.quiet, &tagged, &platform, &environment)?;
    }
    print(&pulled(typed.quiet, &name.familiar_name(), &name.name(), is_new))
}

/// Fetches one image. Whether it was not here before.
fn pull_one(
    process: &Process,
    quiet: bool,
    name: &Reference,
    platform: &Platform,
    environment: &Environment,
) -> Result<bool, Failure> {
    if !quiet {
        let wanted = name.digest().map(|digest| digest.to_string());
        let wanted = wanted.as_deref().or(name.tag()).unwrap_or_default();
        print(&format!("{wanted}: Pulling from {}\n", name.repository()))?;
    }
    let pulled = shown(process, quiet, |process, events| {
        engine::pull(name, platform, environment, events, &process.cancel)
    })
    .map_err(|error| not_pulled(error, name))?;
    if !quiet {
        print(&format!("Digest: {}\n", pulled.digest))?;
    }
    Ok(pulled.is_new)
}

/// Who names what no registry has often meant another tag, or no registry at all.
fn not_pulled(error: BuildError, name: &Reference) -> BuildError {
    if error.kind() != BuildErrorKind::Registry || error.hint().is_some() {
        return error;
    }
    if let Some(hint) = transport_hint(&name.familiar()) {
        return error.with_hint(hint);
    }
    let is_missing = of_registry(&error)
        .is_some_and(|error| error.kind() == registry::RegistryErrorKind::NotFound);
    match is_missing {
        true => {
            let hint =
                format!("`shale registry tags {}` lists what is there", name.familiar_name());
            error.with_hint(hint)
        }
        false => error,
    }
}

/// The last lines of a pull.
fn pulled(quiet: bool, familiar: &str, full: &str, is_new: bool) -> String {
    match (quiet, is_new) {
        (true, _) => format!("{full}\n"),
        (false, true) => format!("Status: Downloaded newer image for {familiar}\n{full}\n"),
        (false, false) => format!("Status: Image is up to date for {familiar}\n{full}\n"),
    }
}

/// Uploads an image, or all of a repository, and says what came of it in docker's words. Layers may have to be encoded
/// first, in an engine.
pub(crate) fn push(process: &mut Process, typed: &PushArgs) -> Done {
    let name = image_name(&typed.name)?;
    check_all_tags(typed.all_tags, &typed.name, &name)?;
    let platforms = platforms(typed.platform.as_slice())?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let config = configuration(process);
    let environment = process.environment(&config, NO_STEPS)?;
    let names = match typed.all_tags {
        true => engine::local_tags(&name, &environment)?,
        false => vec![name.clone()],
    };
    if names.is_empty() {
        let text = format!("the store has no image of the name {}", name.familiar_name());
        let error = BuildError::new(BuildErrorKind::Files, text);
        return Err(error.with_hint("see what there is with `shale images`").into());
    }
    if !typed.quiet {
        if !typed.all_tags && is_untagged(&typed.name, &name) {
            print("Using default tag: latest\n")?;
        }
        print(&format!("The push refers to repository [{}]\n", name.name()))?;
    }
    let options = PushOptions {
        platform: platforms.into_iter().next(),
        gives_foreign: typed.allow_nondistributable_artifacts,
    };
    for name in names {
        let pushed = shown(process, typed.quiet, |process, events| {
            engine::push(&name, &options, &environment, events, &process.cancel)
        })
        .map_err(|error| not_pushed(error, &typed.name, &name))?;
        let line = match (typed.quiet, name.tag()) {
            (true, _) => format!("{name}\n"),
            (false, Some(tag)) => {
                format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size_bytes)
            }
            (false, None) => format!("digest: {} size: {}\n", pushed.digest, pushed.size_bytes),
        };
        print(&line)?;
    }
    Ok(Exit::Ok.into())
}

/// All tags of one tag are a contradiction.
fn check_all_tags(all_tags: bool, typed: &str, name: &Reference) -> Result<(), UsageError> {
    if all_tags && !is_untagged(typed, name) {
        let text = "tag can't be used with --all-tags/-a";
        let hint = format!("name the repository alone: {}", name.familiar_name());
        return Err(UsageError::new(text).with_hint(hint));
    }
    Ok(())
}

/// Whether a name was typed without tag and digest.
fn is_untagged(typed: &str, name: &Reference) -> bool {
    let has_tag = typed.rsplit('/').next().is_some_and(|last| last.contains(':'));
    name.digest().is_none() && !has_tag
}

/// Who names no registry and may not push to the usual one meant another one; what a broken connection has left undone
/// is done by the same command again.
fn not_pushed(error: BuildError, typed: &str, name: &Reference) -> BuildError {
    if let Some(hint) = transport_hint(typed) {
        return error.with_hint(hint);
    }
    let is_asked = ["docker.io/", "index.docker.io/"].iter().any(|asked| typed.starts_with(asked));
    match error.kind() {
        BuildErrorKind::Registry if name.registry() == "docker.io" && !is_asked => {
            let hint = format!(
                "{typed} names no registry, which means docker.io: tag it with the registry's name first \
                 (`shale tag {typed} REGISTRY/{typed}`), then push that"
            );
            error.with_hint(hint)
        }
        BuildErrorKind::Registry if error.hint().is_none() && is_temporary(&error) => {
            let hint = format!(
                "`shale push {typed}` again sends only what {} does not have yet",
                name.registry()
            );
            error.with_hint(hint)
        }
        _ => error,
    }
}

/// Whether the registry was the trouble, not what was asked of it.
fn is_temporary(error: &BuildError) -> bool {
    of_registry(error).is_some_and(|error| {
        error.is_temporary() || error.kind() == registry::RegistryErrorKind::Unreachable
    })
}

/// The registry's error below another one.
fn of_registry(error: &BuildError) -> Option<&registry::RegistryError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(error) = one.downcast_ref() {
            return Some(error);
        }
        cause = one.source();
    }
    None
}

pub(crate) fn configuration(process: &Process) -> DockerConfig {
    let config = DockerConfig::read(&process.around);
    config.warning.iter().for_each(|warning| warn(warning));
    config
}

/// Does something with its progress on standard error.
pub(crate) fn shown<T>(
    process: &Process,
    quiet: bool,
    work: impl FnOnce(&Process, &Emitter) -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let display = match (quiet, process.around.stderr_terminal) {
        (true, _) => Display::Quiet,
        (false, true) => Display::Tty,
        (false, false) => Display::Plain,
    };
    let screen = Screen::start(display, Box::new(std::io::stderr()));
    let events = Emitter::new(screen.sink());
    let result = work(process, &events);
    events.emit(progress::EventKind::BuildFinished { ok: result.is_ok() });
    screen.finish(&process.cancel);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_without_a_registry_is_told_to_name_one() {
        let hint = |kind, typed: &str| {
            let name = image_name(typed).expect("a name");
            let error = not_pushed(BuildError::new(kind, "denied"), typed, &name);
            error.hint().map(str::to_owned)
        };
        let said = hint(BuildErrorKind::Registry, "team/a:1").expect("a hint");
        assert!(said.contains("`shale tag team/a:1 REGISTRY/team/a:1`"), "{said}");
        assert_eq!(hint(BuildErrorKind::Registry, "docker.io/team/a"), None);
        assert_eq!(hint(BuildErrorKind::Registry, "localhost:5000/a"), None);
        assert_eq!(hint(BuildErrorKind::Dockerfile, "a"), None);
        let said = hint(BuildErrorKind::Files, "oci:app").expect("a hint");
        assert!(said.contains("shale save"), "{said}");
    }
}
