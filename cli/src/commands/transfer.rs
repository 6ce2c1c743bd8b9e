//! `shale pull` and `shale push`.

use engine::{BuildError, BuildErrorKind};
use executor::WorkerOptions;
use oci::{Platform, Reference};
use progress::Emitter;

use super::{Done, Process, print, warn};
use crate::args::{DockerConfig, PullArgs, PushArgs, image_name, platforms};
use crate::render::{Display, Screen};

/// Moving images runs no step.
pub(crate) const NO_STEPS: WorkerOptions =
    WorkerOptions { require_isolation: false, require_network: false };

/// Fetches an image and prints its id.
pub(crate) fn pull(process: &mut Process, typed: &PullArgs) -> Done {
    let name = image_name(&typed.name)?;
    let platforms = platforms(typed.platform.as_slice())?;
    let platform = platforms.into_iter().next().unwrap_or_else(Platform::host);
    let config = configuration(process);
    let environment = process.environment(&config, NO_STEPS)?;
    let id = shown(process, typed.quiet, |process, events| {
        engine::pull(&name, &platform, &environment, events, &process.cancel)
    })?;
    print(&format!("{id}\n"))
}

/// Uploads an image and prints its digest. Its layers may have to be encoded first, in an engine.
pub(crate) fn push(process: &mut Process, typed: &PushArgs) -> Done {
    let name = image_name(&typed.name)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, false);
    }
    let config = configuration(process);
    let environment = process.environment(&config, NO_STEPS)?;
    let digest = shown(process, typed.quiet, |process, events| {
        engine::push(&name, &environment, events, &process.cancel)
    })
    .map_err(|error| not_pushed(error, &typed.name, &name))?;
    print(&format!("{digest}\n"))
}

/// Who names no registry and may not push to the usual one meant another one.
fn not_pushed(error: BuildError, typed: &str, name: &Reference) -> BuildError {
    let is_asked = ["docker.io/", "index.docker.io/"].iter().any(|asked| typed.starts_with(asked));
    match error.kind() {
        BuildErrorKind::Registry if name.registry() == "docker.io" && !is_asked => {
            let hint = format!(
                "{typed} names no registry, which means docker.io: tag it with the registry's name first \
                 (`shale tag {typed} REGISTRY/{typed}`), then push that"
            );
            error.with_hint(hint)
        }
        _ => error,
    }
}

fn configuration(process: &Process) -> DockerConfig {
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
    }
}
