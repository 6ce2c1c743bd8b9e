//! A real docker engine (package docker.io) of one test, on a socket of its own, without touching the host's network.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Run, World};

/// A running engine; it ends with this value.
pub struct Dockerd {
    server: Child,
    socket: String,
    /// Outside of the world: what the engine leaves mounted while it runs is its own business.
    data: tempfile::TempDir,
}

impl Dockerd {
    /// Starts an engine.
    pub fn start() -> Dockerd {
        let data = tempfile::Builder::new().prefix("shale-dockerd-").tempdir().unwrap();
        let path = |name: &str| data.path().join(name).to_string_lossy().into_owned();
        let socket = format!("unix://{}", path("docker.sock"));
        let log = std::fs::File::create(path("log")).unwrap();
        let server = Command::new("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--host", &socket])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let dockerd = Dockerd { server, socket, data };
        dockerd.wait();
        dockerd
    }

    /// The socket as DOCKER_HOST names it.
    pub fn host(&self) -> &str {
        &self.socket
    }

    /// The socket of its containerd.
    pub fn containerd(&self) -> String {
        self.data.path().join("exec/containerd/containerd.sock").to_string_lossy().into_owned()
    }

    /// Runs the docker command against this engine.
    pub fn docker(&self, world: &World, arguments: &[&str]) -> Run {
        let mut all = vec!["--host", &self.socket];
        all.extend(arguments);
        world.program("docker", &all)
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let answers = || {
            let mut version = Command::new("docker");
            version.args(["--host", &self.socket, "version"]);
            version.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
        };
        while !answers() {
            let log = std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "dockerd does not answer:\n{log}");
            // The engine says nowhere but in its log that it listens.
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // TERM lets it stop its containers and its containerd; KILL would leave both.
        let _ = Command::new("kill").arg(self.server.id().to_string()).status();
        let _ = self.server.wait();
    }
}
