//! Real servers, for what only they can answer. Tests that start one say first that they need its program.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The distribution project's own registry (package docker-registry): `need!("docker-registry")`. It ends with this
/// value.
pub struct RegistryServer {
    _process: Process,
    host: String,
    dir: PathBuf,
    _own_dir: Option<tempfile::TempDir>,
}

/// What a registry server wants of its clients.
#[derive(Clone, Debug, Default)]
pub struct RegistrySettings {
    /// It speaks TLS, with a certificate that [`crate::tls::ROOT_PEM`] signed.
    pub tls: bool,
    /// It has to be authenticated to.
    pub auth: RegistryAuth,
    /// Repositories that a page of its list has at most.
    pub catalog_page: Option<u32>,
}

/// How a registry server is authenticated to.
#[derive(Clone, Debug, Default)]
pub enum RegistryAuth {
    /// Not at all.
    #[default]
    Open,
    /// With [`USER`] and [`PASSWORD`].
    Password,
    /// With tokens of the [`crate::token_server::TokenServer`] at this URL.
    Tokens(String),
}

/// The user whom a registry server lets in.
pub const USER: &str = "somebody";
/// Her password.
pub const PASSWORD: &str = "correct horse";
/// Both as the server keeps them: bcrypt, the cheapest.
const HTPASSWD: &str = "somebody:$2b$04$97e7v3hwUVBDleIzbYelO.lR599sk3WyNoGIAuHK/AaBFsh0rpAli\n";

impl RegistrySettings {
    /// The server's configuration; files that it names are written.
    fn config(&self, dir: &Path, host: &str) -> String {
        let file = |name: &str, content: &[u8]| {
            let path = dir.join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let mut text = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp:\n  addr: '{host}'\n",
            dir.join("data").display()
        );
        if self.tls {
            let certificate = file("server.pem", crate::tls::SERVER_PEM);
            let key = file("server.key", crate::tls::SERVER_KEY);
            text.push_str(&format!("  tls: {{certificate: {certificate}, key: {key}}}\n"));
        }
        match &self.auth {
            RegistryAuth::Open => {}
            RegistryAuth::Password => {
                let path = file("htpasswd", HTPASSWD.as_bytes());
                text.push_str(&format!("auth: {{htpasswd: {{realm: test, path: {path}}}}}\n"));
            }
            RegistryAuth::Tokens(realm) => {
                let roots = file("roots.pem", crate::tls::ROOT_PEM.as_bytes());
                let (service, issuer) = (crate::token_server::SERVICE, crate::token_server::ISSUER);
                text.push_str(&format!(
                    "auth: {{token: {{realm: '{realm}', service: '{service}', issuer: {issuer}, rootcertbundle: {roots}}}}}\n"
                ));
            }
        }
        if let Some(entries) = self.catalog_page {
            text.push_str(&format!("catalog: {{maxentries: {entries}}}\n"));
        }
        text
    }
}

impl RegistryServer {
    /// Starts a server with a store of its own.
    pub fn start() -> RegistryServer {
        let own = tempfile::tempdir().unwrap();
        let server = RegistryServer::start_in(own.path());
        RegistryServer { _own_dir: Some(own), ..server }
    }

    /// Starts a server that has its files in this directory, which is made.
    pub fn start_in(dir: &Path) -> RegistryServer {
        RegistryServer::start_with(dir, &RegistrySettings::default())
    }

    /// As [`RegistryServer::start_in`] with other settings.
    pub fn start_with(dir: &Path, settings: &RegistrySettings) -> RegistryServer {
        std::fs::create_dir_all(dir).unwrap();
        let host = free_address();
        let config = dir.join("config.yml");
        let text = settings.config(dir, &host);
        std::fs::write(&config, text).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let mut command = Command::new("docker-registry");
        let process = Process::start(command.arg("serve").arg(&config).stdout(log), &host);
        RegistryServer { _process: process, host, dir: dir.to_owned(), _own_dir: None }
    }

    /// Starts a server that others wrote (crate container-registry): `need!("container-registry")`; dev/test installs
    /// it. It wants a password, [`PASSWORD`].
    pub fn start_other(dir: &Path) -> RegistryServer {
        let data = dir.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let host = free_address();
        let log = File::create(dir.join("log")).unwrap();
        let mut command = Command::new("container-registry");
        command.args(["--bind", &host, "--password", PASSWORD, "--storage"]).arg(&data);
        let process = Process::start(command.stdout(log), &host);
        RegistryServer { _process: process, host, dir: dir.to_owned(), _own_dir: None }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the server keeps its files, to be damaged by tests.
    pub fn data(&self) -> &Path {
        &self.dir
    }

    /// Every request so far that was answered with success: method and path.
    pub fn requests(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap();
        let request = |line: &str| {
            let mut parts = line.split('"');
            let request = parts.nth(1)?.strip_suffix(" HTTP/1.1")?;
            parts.next()?.trim_start().starts_with('2').then(|| request.to_owned())
        };
        log.lines().filter_map(request).collect()
    }
}

/// The S3 server of the moto project (Python package `moto[server,s3]`): `need!("moto_server")`; dev/test installs it.
/// It ends with this value.
pub struct MotoServer {
    _process: Process,
    host: String,
}

impl MotoServer {
    /// Starts a server.
    pub fn start() -> MotoServer {
        let host = free_address();
        let (ip, port) = host.split_once(':').unwrap();
        let mut command = Command::new("moto_server");
        command.args(["-H", ip, "-p", port]).stdout(Stdio::null());
        let process = Process::start(&mut command, &host);
        MotoServer { _process: process, host }
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

/// A running program; it ends with this value.
struct Process(Child);

impl Process {
    /// Starts a program and waits until it listens. Where its output goes is said by the command.
    fn start(command: &mut Command, host: &str) -> Process {
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = Process(child);
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(host).is_err() {
            assert!(Instant::now() < deadline, "{command:?} does not listen");
            // The server says nowhere that it does.
            std::thread::sleep(Duration::from_millis(20));
        }
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address of the loopback interface that nobody listens on now.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
