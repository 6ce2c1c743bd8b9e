//! A real registry server (package docker-registry) of one test.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::World;

/// A running server; it ends with this value.
pub struct Registry {
    server: Child,
    port: u16,
    log: PathBuf,
}

impl Registry {
    /// Starts a server with its data in the world, on a free port of the loopback interface.
    pub fn start(world: &World) -> Registry {
        let port = free_port();
        let data = world.path("registry");
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        let config = world.write("registry.yml", config);
        let log = world.path("registry.log");
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&log).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Registry { server, port, log };
        registry.wait();
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Every request so far that was answered with success: method and path.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let request = |line: &str| {
            let mut parts = line.split('"');
            let request = parts.nth(1)?.strip_suffix(" HTTP/1.1")?;
            parts.next()?.trim_start().starts_with('2').then(|| request.to_owned())
        };
        log.lines().filter_map(request).collect()
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not answer");
            // The server says nowhere that it listens.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
