//! Loading into a real Docker and a real Podman, each with a state of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use exporter::{EngineSocket, ExportErrorKind as Kind, load};

use crate::fixture::{Fixture, chain, names};

struct Service(Child);

impl Drop for Service {
    /// Asks it to end, so that it takes its own children with it.
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Service {
    fn start(command: &mut Command) -> Service {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Service(command.spawn().expect("start the engine"))
    }

    fn wait_for(&mut self, socket: &Path) -> EngineSocket {
        let started = Instant::now();
        loop {
            match EngineSocket::find(&[socket.to_owned()]) {
                Ok(engine) => return engine,
                Err(error) => {
                    let ended = self.0.try_wait().expect("wait");
                    assert!(ended.is_none(), "the engine has ended: {ended:?}");
                    assert!(started.elapsed() < Duration::from_secs(60), "{}", chain(&error));
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Loads the sample and gives what the engine's client then lists.
fn check(engine: &EngineSocket, fixture: &Fixture, list: &mut Command) {
    let prepared = fixture.prepared();
    let loaded = load(&prepared, &names(&["localhost/app:1"]), engine, fixture.job());
    let loaded = loaded.unwrap_or_else(|e| panic!("{}", chain(&e)));
    assert!(loaded.messages.iter().any(|m| m.contains("localhost/app:1")), "{loaded:?}");
    let output = list.args(["images", "--quiet", "--no-trunc"]).output().expect("list images");
    let shown = String::from_utf8_lossy(&output.stdout);
    let id = prepared.images[0].config_descriptor.digest.to_string();
    // Engines with containerd's store list images by their manifests.
    assert!(shown.contains(&id) || shown.contains(&prepared.target.digest.to_string()), "{shown}");
}

#[test]
fn podman_takes_an_image_over_its_socket() {
    testkit::need!("podman", "root");
    let fixture = Fixture::new();
    let state = tempfile::tempdir().expect("temp dir");
    let socket = state.path().join("podman.sock");
    let podman = || {
        let mut command = Command::new("podman");
        let (root, run) = (state.path().join("root"), state.path().join("run"));
        command.arg("--storage-driver=vfs").arg("--root").arg(root).arg("--runroot").arg(run);
        command
    };
    let address = format!("unix://{}", socket.display());
    let mut service = Service::start(podman().args(["system", "service", "--time=0", &address]));
    let engine = service.wait_for(&socket);
    assert!(engine.podman_api.is_some());
    check(&engine, &fixture, &mut podman());
}

#[test]
fn docker_takes_an_image_over_its_socket() {
    testkit::need!("dockerd", "docker", "root");
    let fixture = Fixture::new();
    let state = tempfile::tempdir().expect("temp dir");
    let socket = state.path().join("docker.sock");
    let address = format!("unix://{}", socket.display());
    let path = |name: &str| state.path().join(name);
    let mut service = Service::start(
        Command::new("dockerd")
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args(["--host", &address, "--storage-driver=vfs", "--bridge=none"])
            .args(["--iptables=false", "--ip6tables=false"]),
    );
    let engine = service.wait_for(&socket);
    assert!(engine.podman_api.is_none());
    check(&engine, &fixture, Command::new("docker").args(["--host", &address]));
}

#[test]
fn without_an_engine_the_error_names_the_sockets() {
    let error = EngineSocket::find(&["/nonexistent/a.sock".into()]).expect_err("nobody");
    assert_eq!(error.kind(), Kind::Engine);
    assert_eq!(error.to_string(), "no container engine answers at /nonexistent/a.sock");
}
