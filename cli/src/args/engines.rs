//! Where container engines are: the variables of docker and podman, docker's contexts, and the usual sockets.

use std::path::{Path, PathBuf};

use engine::{EngineAddress, EnginePlaces, EngineTls};
use oci::Digest;
use serde_json::Value;

use super::{DockerConfig, Surroundings};

/// Where the container engines of this machine, and those that the user names, may be.
pub(crate) fn engine_places(around: &Surroundings) -> EnginePlaces {
    let docker = docker_named(around);
    let podman = around.text("CONTAINER_HOST").map(|host| address(host, None));
    let usual = |name: &str| -> Vec<EngineAddress> {
        let all = usual_sockets(around).into_iter();
        all.filter(|path| path.ends_with(name)).map(EngineAddress::Unix).collect()
    };
    let path = around.raw("PATH").map(std::env::split_paths).into_iter().flatten();
    let named = |place: &Result<EngineAddress, String>| place.clone().into_iter().collect();
    EnginePlaces {
        any: match docker.as_ref().or(podman.as_ref()) {
            Some(place) => named(place),
            None => usual_sockets(around).into_iter().map(EngineAddress::Unix).collect(),
        },
        docker: docker.as_ref().map_or_else(|| usual("docker.sock"), named),
        podman: podman.as_ref().map_or_else(|| usual("podman.sock"), named),
        podman_program: podman.is_none(),
        // A relative one would be looked up in whatever directory this is.
        program_dirs: path.filter(|dir| dir.is_absolute()).collect(),
        elsewhere: [docker, podman].into_iter().flatten().find_map(Result::err),
    }
}

/// The Docker engine that the user has named, as docker's client finds it: DOCKER_HOST, else the context of
/// DOCKER_CONTEXT, else the one that config.json has as current. `None` when none is.
fn docker_named(around: &Surroundings) -> Option<Result<EngineAddress, String>> {
    if let Some(host) = around.text("DOCKER_HOST") {
        return Some(address(host, variable_tls(around)));
    }
    let directory = DockerConfig::path(around)?.parent()?.to_owned();
    let current = || {
        let config = document(&directory.join("config.json"))?;
        Some(config["currentContext"].as_str()?.to_owned())
    };
    let name = around.text("DOCKER_CONTEXT").map(str::to_owned).or_else(current)?;
    if name.is_empty() || name == "default" {
        return None;
    }
    let place = of_context(&directory.join("contexts"), &name);
    Some(place.map_err(|why| format!("docker's context {name}: {why}")))
}

/// The certificates of DOCKER_TLS_VERIFY, and of DOCKER_TLS, with which docker checks none: those of DOCKER_CERT_PATH,
/// else docker's own directory.
fn variable_tls(around: &Surroundings) -> Option<EngineTls> {
    around.raw("DOCKER_TLS_VERIFY").or_else(|| around.raw("DOCKER_TLS"))?;
    let named = around.raw("DOCKER_CERT_PATH").map(|path| around.absolute(path));
    let directory = named.or_else(|| Some(DockerConfig::path(around)?.parent()?.to_owned()))?;
    Some(EngineTls { ca: Some(directory.join("ca.pem")), identity: identity(&directory) })
}

/// A certificate and its key, where both are.
fn identity(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let both = (directory.join("cert.pem"), directory.join("key.pem"));
    (both.0.exists() && both.1.exists()).then_some(both)
}

/// The address that a context of docker stands for. Its files are named after the digest of its name.
fn of_context(contexts: &Path, name: &str) -> Result<EngineAddress, String> {
    let key = Digest::of(name.as_bytes()).hex();
    let file = contexts.join("meta").join(&key).join("meta.json");
    let meta = document(&file)
        .ok_or_else(|| format!("there is none, or {} cannot be read", file.display()))?;
    let endpoint = &meta["Endpoints"]["docker"];
    let Some(host) = endpoint["Host"].as_str().filter(|host| !host.is_empty()) else {
        return Err(format!("{} names no docker host", file.display()));
    };
    let certificates = contexts.join("tls").join(&key).join("docker");
    let ca = Some(certificates.join("ca.pem")).filter(|ca| ca.exists());
    let identity = identity(&certificates);
    let has_tls = ca.is_some() || identity.is_some();
    if endpoint["SkipTLSVerify"] == Value::Bool(true) {
        return Err("it says SkipTLSVerify, and engines are only spoken to when their \
                    certificate is checked"
            .to_owned());
    }
    address(host, has_tls.then_some(EngineTls { ca, identity }))
}

/// Reads an address as docker writes it; TLS is for `tcp` alone.
fn address(text: &str, tls: Option<EngineTls>) -> Result<EngineAddress, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
    match scheme {
        "unix" => Ok(EngineAddress::Unix(PathBuf::from(rest))),
        "tcp" => tcp(rest, tls).ok_or_else(|| format!("{text} is no host and port")),
        "ssh" => Err(format!("{text} is reached through ssh, which shale does not speak")),
        _ => Err(format!("{text} is no unix:// or tcp:// address")),
    }
}

/// `HOST[:PORT]`, an IPv6 address in brackets. A path behind it means nothing to engines.
fn tcp(text: &str, tls: Option<EngineTls>) -> Option<EngineAddress> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let usual = if tls.is_some() { 2376 } else { 2375 };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port =
        port.filter(|port| !port.is_empty()).map_or(Some(usual), |port| port.parse().ok())?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let is_plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b));
    is_plain.then(|| EngineAddress::Tcp { host: host.to_owned(), port, tls })
}

/// A small JSON file; `None` when it is none.
fn document(file: &Path) -> Option<Value> {
    serde_json::from_slice(&registry::read_local_file(file).ok()?).ok()
}

/// Sockets at which a running Docker or Podman may be found, the user's own first.
fn usual_sockets(around: &Surroundings) -> Vec<PathBuf> {
    let own = around.raw("XDG_RUNTIME_DIR").map(PathBuf::from);
    let own = own.iter().flat_map(|run| [run.join("docker.sock"), run.join("podman/podman.sock")]);
    let common = ["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from);
    own.chain(common).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(vars: &[(&str, &str)]) -> Surroundings {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Surroundings { vars, directory: "/cwd".into(), ..Surroundings::default() }
    }

    fn shown(all: &[EngineAddress]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_engine_to_load_into_is_the_users_choice() {
        let any = |vars: &[(&str, &str)]| shown(&engine_places(&around(vars)).any);
        assert_eq!(any(&[]), ["/var/run/docker.sock", "/run/podman/podman.sock"]);
        assert_eq!(any(&[("XDG_RUNTIME_DIR", "/run/user/5")])[0], "/run/user/5/docker.sock");
        assert_eq!(any(&[("DOCKER_HOST", "unix:///x.sock")]), ["/x.sock"]);
        assert_eq!(any(&[("CONTAINER_HOST", "tcp://h:1")]), ["tcp://h:1"]);
        let places = engine_places(&around(&[("CONTAINER_HOST", "unix:///p")]));
        assert_eq!(shown(&places.docker), ["/var/run/docker.sock"]);
        assert_eq!((shown(&places.podman), places.podman_program), (vec!["/p".to_owned()], false));
    }

    #[test]
    fn addresses_are_read_as_docker_reads_them() {
        let check = |text: &str, want: Result<&str, &str>| {
            let read = address(text, None).map(|address| address.to_string());
            match want {
                Ok(want) => assert_eq!(read.as_deref(), Ok(want), "{text}"),
                Err(want) => assert!(read.expect_err(text).contains(want), "{text}"),
            }
        };
        check("tcp://h:1/", Ok("tcp://h:1"));
        check("h:1", Ok("tcp://h:1"));
        check("tcp://h", Ok("tcp://h:2375"));
        check("tcp://:5", Ok("tcp://127.0.0.1:5"));
        check("tcp://[::1]:5", Ok("tcp://[::1]:5"));
        check("tcp://h:70000", Err("no host and port"));
        check("tcp://a b", Err("no host and port"));
        check("ssh://me@h", Err("through ssh"));
        check("npipe:////./x", Err("no unix:// or tcp://"));
        let tls = tcp("h", Some(EngineTls::default())).expect("an address");
        assert_eq!(tls.to_string(), "tcp://h:2376");
    }

    #[test]
    fn certificates_are_those_of_the_named_directory() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().to_str().expect("text");
        let vars =
            [("DOCKER_HOST", "tcp://h:1"), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", path)];
        let tls = |vars: &[(&str, &str)]| match engine_places(&around(vars)).docker.as_slice() {
            [EngineAddress::Tcp { tls, .. }] => tls.clone(),
            other => panic!("{other:?}"),
        };
        let found = tls(&vars).expect("TLS");
        assert_eq!((found.ca, found.identity), (Some(dir.path().join("ca.pem")), None));
        for name in ["cert.pem", "key.pem"] {
            std::fs::write(dir.path().join(name), "").expect("a file");
        }
        assert!(tls(&vars).expect("TLS").identity.is_some());
        assert_eq!(tls(&vars[..1]), None);
        // Nothing goes in plain text to whom the user wants TLS with.
        assert!(tls(&[vars[0], ("DOCKER_TLS", "1"), vars[2]]).is_some());
    }

    #[test]
    fn contexts_name_engines_too() {
        let dir = tempfile::tempdir().expect("temp dir");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::fs::write(path, text).expect("a file");
        };
        let key = Digest::of(b"far").hex();
        let meta = |endpoint: &str| {
            let text = format!("{{\"Name\":\"far\",\"Endpoints\":{{\"docker\":{endpoint}}}}}");
            write(&format!("contexts/meta/{key}/meta.json"), &text);
        };
        let docker = |more: &[(&str, &str)]| {
            let config = [("DOCKER_CONFIG", dir.path().to_str().expect("text"))];
            engine_places(&around(&[&config, more].concat()))
        };
        meta(r#"{"Host":"tcp://far:9"}"#);
        let far = [("DOCKER_CONTEXT", "far")];
        assert_eq!(shown(&docker(&far).docker), ["tcp://far:9"]);
        assert_eq!(shown(&docker(&[]).docker), ["/var/run/docker.sock"]);
        write("config.json", r#"{"currentContext":"far"}"#);
        assert_eq!(shown(&docker(&[]).any), ["tcp://far:9"]);
        let default = [("DOCKER_CONTEXT", "default")];
        assert_eq!(shown(&docker(&default).docker), ["/var/run/docker.sock"]);
        let host = [far[0], ("DOCKER_HOST", "unix:///d")];
        assert_eq!(shown(&docker(&host).docker), ["/d"], "the variable comes first");
        write(&format!("contexts/tls/{key}/docker/ca.pem"), "");
        match docker(&[]).docker.as_slice() {
            [EngineAddress::Tcp { tls: Some(tls), .. }] => assert!(tls.ca.is_some()),
            other => panic!("{other:?}"),
        }
        meta(r#"{"Host":"tcp://far:9","SkipTLSVerify":true}"#);
        let places = docker(&[]);
        assert!(places.docker.is_empty(), "{places:?}");
        assert!(places.elsewhere.expect("why").contains("SkipTLSVerify"));
        let none = docker(&[("DOCKER_CONTEXT", "none")]).elsewhere.expect("why");
        assert!(none.starts_with("docker's context none: there is none"), "{none}");
    }
}
