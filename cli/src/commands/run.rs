//! `shale run`: an image's command in the foreground.

use std::process::ExitCode;

use engine::RunImageRequest;
use executor::WorkerOptions;
use progress::Emitter;

use super::{Done, Process};
use crate::args::{DockerConfig, RunArgs, Surroundings, UsageError, add_host, network, pair};
use crate::render::{Display, Screen};

/// Runs. The exit code is the command's.
pub(crate) fn run(process: &mut Process, typed: &RunArgs) -> Done {
    let (request, require_network) = request(typed, &process.around)?;
    if process.engine.is_none() {
        return process.in_engine(None, None, true);
    }
    let options = WorkerOptions { require_isolation: false, require_network };
    let environment = process.environment(&DockerConfig::default(), options)?;
    let screen = Screen::start(Display::Quiet, Box::new(std::io::stderr()));
    let events = Emitter::new(screen.sink());
    let exit = engine::run_image(&request, &environment, &events, &process.cancel);
    screen.finish_soon();
    Ok(ExitCode::from(exit?.code() as u8))
}

fn request(typed: &RunArgs, around: &Surroundings) -> Result<(RunImageRequest, bool), UsageError> {
    let (network, require_network) = network(&typed.network)?;
    let mut env = Vec::new();
    for text in &typed.env {
        let (name, value) = pair(text);
        let here = || around.vars.get(std::ffi::OsStr::new(&name));
        let value = value.or_else(|| here().map(|value| value.to_string_lossy().into_owned()));
        env.extend(value.map(|value| (name, value)));
    }
    let hosts = typed.add_host.iter().map(|text| add_host(text));
    let request = RunImageRequest {
        image: typed.image.clone(),
        argv: typed.command.clone(),
        entrypoint: typed.entrypoint.clone(),
        env,
        workdir: typed.workdir.clone(),
        user: typed.user.clone(),
        network,
        hostname: typed.hostname.clone(),
        extra_hosts: hosts.collect::<Result<_, _>>()?,
    };
    Ok((request, require_network))
}
