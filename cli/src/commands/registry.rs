//! `shale registry explain`: where an image would be asked for, and why.

use std::error::Error as _;

use ::registry::{Asked, RegistryError};
use engine::{BuildError, BuildErrorKind};
use oci::Reference;

use super::{Done, Failure, Process, print, warn};
use crate::args::{DockerConfig, ExplainArgs, RegistryArgs, RegistryCommand, image_name};
use crate::exit::Exit;
use crate::render::{Explained, ExplainedPlace, explain_json, explain_text};

/// Does what is to be done with registries.
pub(crate) fn run(process: &mut Process, typed: &RegistryArgs) -> Done {
    match &typed.command {
        RegistryCommand::Explain(typed) => explain(process, typed),
        RegistryCommand::Tags(typed) => super::search::tags(process, typed),
        RegistryCommand::Rm(typed) => super::search::rm(process, typed),
    }
}

fn explain(process: &Process, typed: &ExplainArgs) -> Done {
    let reference: Reference = image_name(&typed.reference)?;
    let config = DockerConfig::read(&process.around);
    config.warning.iter().for_each(|warning| warn(warning));
    let failed = |error| Failure::Engine(BuildError::of(BuildErrorKind::Registry, error));
    let client = process.client(config.registry_options(&process.around).map_err(failed)?);
    let asked = if typed.push { Asked::Push } else { Asked::Manifest };
    let plan = client.plan(&reference, asked).map_err(failed)?;
    let mut places = Vec::new();
    for endpoint in plan.endpoints {
        let is_tried = typed.attempt && endpoint.unused.is_none();
        places.push(ExplainedPlace {
            credentials: client.credentials_of(&endpoint),
            proxy: client.proxy_of(&endpoint),
            answer: is_tried.then(|| client.ping_endpoint(&endpoint).map_err(chain)),
            endpoint,
        });
    }
    let explained = Explained {
        reference,
        is_push: typed.push,
        blocked: plan.blocked,
        places,
        notes: plan.notes,
    };
    let text = if typed.json { explain_json(&explained) } else { explain_text(&explained) };
    print(&text)?;
    Ok(match typed.attempt && !explained.is_answered() {
        true => Exit::Registry.into(),
        false => Exit::Ok.into(),
    })
}

fn chain(error: RegistryError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
