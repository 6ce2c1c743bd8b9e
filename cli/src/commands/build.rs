//! `shale build`.

use std::sync::{Arc, Mutex, PoisonError};

use engine::{BuildError, BuildOutcome, BuildResult, Environment, OutputDest, OutputKind};
use executor::WorkerOptions;
use progress::{Emitter, Event, EventKind, Sink};

use super::metadata::metadata;
use super::problems::{failed_to_solve, warn_of};
use super::{Done, Process, call, print, warn};
use crate::args::{BuildArgs, BuildCommand, DockerConfig, Method, build_command};
use crate::exit::Exit;
use crate::render::Screen;

/// Builds.
pub(crate) fn run(process: &mut Process, typed: &BuildArgs) -> Done {
    let config = DockerConfig::read(&process.around);
    let command = build_command(typed, &config, &process.around)?;
    if process.engine.is_none() {
        command.warnings.iter().for_each(|warning| warn(warning));
    }
    let options = WorkerOptions {
        require_isolation: command.request.require_isolation,
        require_network: command.require_network,
    };
    process.cache_max.clone_from(&typed.cache_max);
    let environment = process.environment(&config, options)?;
    match command.call.method {
        Method::Build => build(process, &command, environment),
        _ => call::run(process, &command, &environment),
    }
}

fn build(process: &Process, command: &BuildCommand, environment: Environment) -> Done {
    let screen = Screen::start(command.display, Box::new(std::io::stderr()));
    // Without a worker this may turn out to be a mere look: then nothing of it is shown.
    let held = Held::default();
    let events = match process.engine {
        Some(_) => Emitter::new(screen.sink()),
        None => Emitter::new(Box::new(held.clone())),
    };
    let outcome = engine::build(&command.request, &environment, &events, &process.cancel);
    drop(environment);
    let result = match outcome {
        Ok(BuildOutcome::NeedsWorker(facts)) if process.engine.is_none() => {
            return process.in_engine(Some(&facts), command.stdin.as_deref(), false);
        }
        Ok(BuildOutcome::NeedsWorker(_)) => {
            Err(BuildError::new(engine::BuildErrorKind::Environment, "the engine has no worker"))
        }
        Ok(BuildOutcome::Done(result)) => Ok(result),
        Err(error) => Err(error),
    };
    events.emit(EventKind::BuildFinished { ok: result.is_ok() });
    let mut sink = screen.sink();
    held.take_all().iter().for_each(|event| sink.take(event));
    screen.finish(&process.cancel);
    match result {
        Ok(result) => {
            warn_of(command, &result.warnings);
            tell(command, &result)
        }
        Err(error) => {
            warn_of(command, error.warnings());
            Err(failed_to_solve(error))
        }
    }
}

/// Writes the result's files and prints its id.
fn tell(command: &BuildCommand, result: &BuildResult) -> Done {
    let outputs = &command.request.outputs;
    let files = |kind| matches!(kind, OutputKind::Local | OutputKind::Tar);
    let only_files = !outputs.is_empty() && outputs.iter().all(|output| files(output.kind));
    let id = image_id(result);
    if let (Some(path), Some(id), false) = (&command.iidfile, &id, only_files) {
        engine::write_file(path, id.as_bytes())?; // OUT-40
    }
    if let Some(path) = &command.metadata_file {
        let text = metadata(result, command.metadata_warnings);
        engine::write_file(path, text.as_bytes())?;
    }
    let to_stdout = outputs.iter().any(|output| output.dest == Some(OutputDest::Stdout));
    let only_kept = outputs.iter().all(|output| output.kind == OutputKind::Image);
    let nameless = command.request.tags.is_empty() && only_kept;
    match id {
        Some(id) if (command.quiet || nameless) && !to_stdout => print(&format!("{id}\n")),
        _ => Ok(Exit::Ok.into()),
    }
}

/// The config's digest of a plain image, the index's where there is one (OUT-40).
fn image_id(result: &BuildResult) -> Option<String> {
    match (&result.images[..], &result.index) {
        ([image], None) => Some(image.id.to_string()),
        (_, index) => index.as_ref().map(ToString::to_string),
    }
}

/// Keeps events until it is known whether they are to be shown.
#[derive(Clone, Default)]
struct Held(Arc<Mutex<Vec<Event>>>);

impl Held {
    fn take_all(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sink for Held {
    fn take(&mut self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}
