//! `shale load --to`: images of the store into an engine of this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use engine::{BuildError, EngineKind, HandOff, InEngine};

use super::transfer::{NO_STEPS, shown};
use super::{Done, Failure, Process, print};
use crate::args::{DockerConfig, LoadArgs, UsageError, engine_places};
use crate::exit::Exit;

/// Hands images to an engine, one after the other, and prints what it has then.
pub(crate) fn run(process: &mut Process, typed: &LoadArgs, to: &str) -> Done {
    let usual = process.around.raw("CONTAINERD_ADDRESS").map(PathBuf::from);
    let kind = match engine_kind(to)? {
        // As its own programs do.
        EngineKind::Containerd { address, namespace } => {
            EngineKind::Containerd { address: address.or(usual), namespace }
        }
        kind => kind,
    };
    let places = engine_places(&process.around);
    let mut text = String::new();
    for image in &typed.images {
        let request = HandOff { kind: kind.clone(), places: places.clone(), image: image.clone() };
        match one(process, typed, &request)? {
            Given::InEngine(given) => text.push_str(&said(&given)),
            // The other process has done all of them, and said so.
            Given::Elsewhere(code) => return Ok(code),
        }
    }
    print(&text)
}

enum Given {
    InEngine(InEngine),
    Elsewhere(ExitCode),
}

fn one(process: &mut Process, typed: &LoadArgs, request: &HandOff) -> Result<Given, Failure> {
    let engine = engine::find_engine(&request.kind, &request.places, &process.cancel)?;
    let environment = process.environment(&DockerConfig::default(), NO_STEPS)?;
    // Programs of engines work on what is the user's own, which a process in other namespaces is not.
    if process.engine.is_some() && engine.is_program() {
        for image in &typed.images {
            let request = HandOff { image: image.clone(), ..request.clone() };
            shown(process, typed.quiet, |process, events| {
                engine::make_ready(&request, &environment, (events, &process.cancel))
            })?;
        }
        return Ok(Given::Elsewhere(Exit::Ok.into()));
    }
    let hand_off = |process: &Process| {
        shown(process, typed.quiet, |process, events| {
            engine::hand_off(request, &engine, &environment, (events, &process.cancel))
        })
    };
    if let Some(given) = hand_off(process)? {
        return Ok(Given::InEngine(given));
    }
    let code = process.in_engine(None, None, process.around.stderr_terminal)?;
    if !engine.is_program() || code != ExitCode::SUCCESS {
        return Ok(Given::Elsewhere(code));
    }
    let unread = || {
        let text = format!("the layers of {} cannot be read", request.image);
        BuildError::new(engine::BuildErrorKind::Environment, text)
    };
    Ok(Given::InEngine(hand_off(process)?.ok_or_else(unread)?))
}

fn said(given: &InEngine) -> String {
    match given.names.as_slice() {
        [] => format!("Loaded image ID: {}\n", given.id),
        names => names.iter().map(|name| format!("Loaded image: {}\n", name.familiar())).collect(),
    }
}

/// Reads the value of `--to`.
fn engine_kind(text: &str) -> Result<EngineKind, UsageError> {
    let (name, place) = match text.split_once(['=', '/']) {
        Some((name, _)) => (name, &text[name.len()..]),
        None => (text, ""),
    };
    match (name, place) {
        ("docker", "") => Ok(EngineKind::Docker),
        ("podman", "") => Ok(EngineKind::Podman),
        ("containerd", place) => {
            let (address, namespace) = containerd_place(place);
            Ok(EngineKind::Containerd { address, namespace })
        }
        ("docker" | "podman", _) => Err(UsageError::new(format!("--to {name} takes no place"))
            .with_hint(
                "name the engine's socket in DOCKER_HOST or CONTAINER_HOST, as unix:///path",
            )),
        _ => Err(UsageError::new(format!("unknown engine {text:?}"))
            .with_hint("docker, podman or containerd[=SOCKET][/NAMESPACE]")),
    }
}

/// `=SOCKET/NAMESPACE`, each of which may be missing. A socket's path ends in `.sock`, or has no namespace behind it.
fn containerd_place(text: &str) -> (Option<PathBuf>, Option<String>) {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let Some(rest) = text.strip_prefix('=') else {
        return (None, some(text.trim_start_matches('/')));
    };
    match rest.rsplit_once('/') {
        Some((socket, namespace)) if socket.ends_with(".sock") => {
            (Some(PathBuf::from(socket)), some(namespace))
        }
        _ => (some(rest).map(PathBuf::from), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_have_names_and_containerd_a_place() {
        assert_eq!(engine_kind("docker"), Ok(EngineKind::Docker));
        assert_eq!(engine_kind("podman"), Ok(EngineKind::Podman));
        let check = |text: &str, address: Option<&str>, namespace: Option<&str>| {
            let (address, namespace) = (address.map(PathBuf::from), namespace.map(str::to_owned));
            assert_eq!(
                engine_kind(text),
                Ok(EngineKind::Containerd { address, namespace }),
                "{text}"
            );
        };
        check("containerd", None, None);
        check("containerd/k8s.io", None, Some("k8s.io"));
        check("containerd=/run/c.sock", Some("/run/c.sock"), None);
        check("containerd=/run/c.sock/k8s.io", Some("/run/c.sock"), Some("k8s.io"));
        for bad in ["docker=/x", "lxc", "", "podman/x"] {
            assert!(engine_kind(bad).is_err(), "{bad}");
        }
    }
}
