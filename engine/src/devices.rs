//! Devices for steps: what names mean on this machine, and whether the build may have them (RUN-27, RUN-28).

use std::collections::HashSet;

use executor::{Device, Devices};
use graph::{DeviceName, Graph, Op, Run};
use planner::Entitlement;

use crate::error::{BuildError, BuildErrorKind};
use crate::place;
use crate::session::Session;
use crate::stop::Stop;

/// Fails if a step requires a device that there is not, or wants one that the build was not allowed. Steps that are
/// cached count too, as with BuildKit.
pub(crate) fn check(session: &Session, graph: &Graph) -> Result<(), Stop> {
    for step in &graph.vertices {
        if let Op::Run(run) = &step.op
            && let Err(refused) = of(session, run)
        {
            return Err(place::at_origin(session, &step.origin, refused).into());
        }
    }
    Ok(())
}

/// The devices that a step gets, each once.
pub(crate) fn of(session: &Session, run: &Run) -> Result<Vec<Device>, BuildError> {
    if run.devices.is_empty() {
        return Ok(Vec::new());
    }
    let offered = session.devices.get_or_init(|| Devices::read(&session.request.device_dirs));
    let mut devices: Vec<Device> = Vec::new();
    for DeviceName { name, required } in &run.devices {
        let found = offered.find(name);
        if found.is_empty() && *required {
            return Err(not_registered(session, offered, name));
        }
        for device in found {
            if !devices.iter().any(|known| known.name == device.name) {
                devices.push(device.clone());
            }
        }
    }
    let allowed = allowed(session, offered);
    let forbidden = devices.iter().filter(|device| {
        !device.is_auto_allowed
            && allowed.as_ref().is_some_and(|names| !names.contains(&device.name))
    });
    let forbidden: Vec<&str> = forbidden.map(|device| device.name.as_str()).collect();
    match forbidden[..] {
        [] => Ok(devices),
        [only] => Err(not_allowed(format!("device {only} is"), only)),
        [first, ..] => Err(not_allowed(format!("devices {} are", forbidden.join(", ")), first)),
    }
}

/// Names of the devices that `--allow` grants; `None` for all.
fn allowed(session: &Session, offered: &Devices) -> Option<HashSet<String>> {
    let mut names = HashSet::new();
    for entitlement in &session.request.plan.allow {
        match entitlement {
            Entitlement::Device(None) => return None,
            Entitlement::Device(Some(name)) => {
                names.extend(offered.find(name).iter().map(|device| device.name.clone()));
            }
            Entitlement::NetworkHost | Entitlement::SecurityInsecure => {}
        }
    }
    Some(names)
}

fn not_registered(session: &Session, offered: &Devices, name: &str) -> BuildError {
    let text = format!("required device {name:?} is not registered");
    let error = BuildError::new(BuildErrorKind::Environment, text);
    let directories = session.request.device_dirs.iter();
    let directories: Vec<String> = directories.map(|dir| dir.display().to_string()).collect();
    let places = directories.join(" and ");
    error.with_hint(match offered.faults() {
        [] => format!("describe it in a CDI file (.json, .yaml) in {places}"),
        [fault, ..] => format!("a CDI file in {places} cannot be read: {fault}"),
    })
}

fn not_allowed(what: String, first: &str) -> BuildError {
    let text = format!("{what} requested by the build but not allowed");
    BuildError::new(BuildErrorKind::Dockerfile, text)
        .with_hint(format!("allow it with --allow device={first}, or all with --allow device"))
}
