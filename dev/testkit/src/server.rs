//! The distribution project's own registry server (package docker-registry), for what only a real one can answer.
//! Tests that start one say `need!("docker-registry")` first.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server with a store of its own; it ends with this value.
pub struct RegistryServer {
    child: Child,
    host: String,
    dir: tempfile::TempDir,
}

impl RegistryServer {
    /// Starts a server on a free port of the loopback interface and waits until it listens.
    pub fn start() -> RegistryServer {
        let dir = tempfile::tempdir().unwrap();
        let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '{host}'}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = RegistryServer { child, host, dir };
        let started = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "the server does not listen");
            std::thread::yield_now();
        }
        server
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the server keeps its files, to be damaged by tests.
    pub fn data(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The S3 server of the moto project (Python package `moto[server,s3]`). Tests that start one say
/// `need!("moto_server")` first; dev/test installs it.
pub struct MotoServer {
    child: Child,
    host: String,
}

impl MotoServer {
    /// Starts a server on a free port of the loopback interface and waits until it listens.
    pub fn start() -> MotoServer {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = MotoServer { child, host: format!("127.0.0.1:{port}") };
        let started = Instant::now();
        while TcpStream::connect(&server.host).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            self.host
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for MotoServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
