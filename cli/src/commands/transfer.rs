//! `shale pull` and `shale push`.

use engine::BuildError;
use executor::WorkerOptions;
use oci::Platform;
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
    })?;
    print(&format!("{digest}\n"))
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
