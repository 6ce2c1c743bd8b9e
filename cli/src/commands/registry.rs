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
    let registry = registry_alone(&typed.reference);
    let reference: Reference = match registry {
        // Any image: what is said of one repository alone is left out below.
        Some(host) => image_name(&format!("{host}/any"))?,
        None => image_name(&typed.reference)?,
    };
    let config = DockerConfig::read(&process.around);
    config.warning.iter().for_each(|warning| warn(warning));
    let failed = |error| Failure::Engine(BuildError::of(BuildErrorKind::Registry, error));
    let options = config
        .registry_options(&process.around)
        .map_err(|error| BuildError::of(BuildErrorKind::Dockerfile, error))?;
    let client = process.client(options);
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
        is_registry: registry.is_some(),
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

/// The registry that a text without an image names: `registry.example:5000` or `localhost`. A name of an image has
/// neither a dot before its tag nor stands for this machine.
fn registry_alone(text: &str) -> Option<&str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let host = text.split(':').next().unwrap_or_default();
    let is_host = host == "localhost" || host.contains('.') || text.starts_with('[');
    (is_host && !text.contains(['/', '@'])).then_some(text)
}

fn chain(error: RegistryError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_alone_is_a_registry() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(registry_alone(text), expect);
        check("localhost:5000", Some("localhost:5000"));
        check("localhost", Some("localhost"));
        check("127.0.0.1:5000/", Some("127.0.0.1:5000"));
        check("[::1]:5000", Some("[::1]:5000"));
        check("quay.example", Some("quay.example"));
        check("alpine", None);
        check("alpine:3.20", None);
        check("alpine:5000", None);
        check("quay.example/team/app", None);
        check("a.b@sha256:00", None);
    }
}
