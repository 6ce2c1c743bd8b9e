//! Connections to engines: unix sockets, and TCP with or without TLS.
//!
//! Owns what an address looks like and who is trusted at its other end. Refuses to know what is said.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use registry::{HostResolver, read_local_file};
use rustix::net::sockopt;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A port of a host.
    Tcp {
        /// Its name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// How the connection is protected, if it is.
        tls: Option<EngineTls>,
    },
}

/// Certificates for a connection. The engine's is always checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineTls {
    /// Certificates that the engine's is checked against; the machine's own without them.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl From<PathBuf> for EngineAddress {
    fn from(path: PathBuf) -> EngineAddress {
        EngineAddress::Unix(path)
    }
}

/// A socket's path, or the address with its scheme.
impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineAddress::Unix(path) => write!(f, "{}", path.display()),
            EngineAddress::Tcp { host, port, .. } if host.contains(':') => {
                write!(f, "tcp://[{host}]:{port}")
            }
            EngineAddress::Tcp { host, port, .. } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl EngineAddress {
    /// What requests name in their `Host` header.
    pub(super) fn host_header(&self) -> String {
        match self {
            EngineAddress::Unix(_) => "engine".to_owned(),
            EngineAddress::Tcp { .. } => self.to_string()["tcp://".len()..].to_owned(),
        }
    }
}

/// How long one try to connect to a host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a silent engine is asked for a sign of life.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);

/// A connection of any kind, whose reads and writes come back now and then.
pub(super) enum Connection {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connection {
    /// Connects. Reads and writes give up after `look_every`, to be asked again.
    pub(super) fn open(address: &EngineAddress, look_every: Duration) -> io::Result<Connection> {
        match address {
            EngineAddress::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(look_every))?;
                stream.set_write_timeout(Some(look_every))?;
                Ok(Connection::Unix(stream))
            }
            EngineAddress::Tcp { host, port, tls } => {
                let config = tls.as_ref().map(|tls| Ok::<_, io::Error>((tls_config(tls)?, host)));
                let config = config.transpose()?;
                let stream = connect(host, *port)?;
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                stream.set_read_timeout(Some(look_every))?;
                stream.set_write_timeout(Some(look_every))?;
                let Some((config, host)) = config else { return Ok(Connection::Tcp(stream)) };
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let client = ClientConnection::new(Arc::new(config), name);
                let client = client.map_err(io::Error::other)?;
                Ok(Connection::Tls(Box::new(StreamOwned::new(client, stream))))
            }
        }
    }

    /// Nothing more is sent: what was is a part.
    pub(super) fn cut(&self) -> io::Result<()> {
        match self {
            Connection::Unix(stream) => stream.shutdown(Shutdown::Write),
            Connection::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Connection::Tls(stream) => stream.sock.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.read(buffer),
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Unix(stream) => stream.write(bytes),
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Unix(_) | Connection::Tcp(_) => Ok(()),
            // What it has taken may still be unsent.
            Connection::Tls(stream) => stream.flush(),
        }
    }
}

/// Tries all addresses of a host. They are not asked of the C library: a static binary must not load its parts.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = None;
    let names = HostResolver::new(Path::new("/etc/hosts"), Path::new("/etc/resolv.conf"));
    for address in names.addresses(host) {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("the host has no address")))
}

/// Has the kernel ask now and then whether the other end is still there: loading may take long without a word, and an
/// engine whose machine has gone would never be missed.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE_EVERY)?;
    Ok(sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE_EVERY)?)
}

fn tls_config(tls: &EngineTls) -> io::Result<ClientConfig> {
    let roots = roots(tls.ca.as_deref())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let private = read_local_file(key).map_err(|error| in_file(key, error))?;
    let private = PrivateKeyDer::from_pem_slice(&private).map_err(|error| in_file(key, error))?;
    config.with_client_auth_cert(chain, private).map_err(|error| in_file(certificate, error))
}

fn roots(ca: Option<&Path>) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let Some(ca) = ca else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(store);
    };
    for certificate in certificates(ca)? {
        store.add(certificate).map_err(|error| in_file(ca, error))?;
    }
    Ok(store)
}

fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = read_local_file(file).map_err(|error| in_file(file, error))?;
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| in_file(file, error))?;
    match all.is_empty() {
        true => Err(in_file(file, "there is no certificate in it")),
        false => Ok(all),
    }
}

fn in_file(file: &Path, error: impl fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

    use rustls::ServerConnection;
    use sys::Cancel;

    use super::*;
    use crate::http;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// Takes one posted body of a client that shows its certificate; tells how long the request was.
    fn serve() -> (u16, Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("an address").port();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let (stream, _) = listener.accept().expect("accept");
            let config = testkit::tls::server_config_for_clients();
            let server = ServerConnection::new(config).expect("a server");
            let mut stream = StreamOwned::new(server, stream);
            let (mut got, mut buffer) = (Vec::new(), vec![0; 65536]);
            while !got.ends_with(b"\r\n0\r\n\r\n") {
                match stream.read(&mut buffer) {
                    Ok(count @ 1..) => got.extend(&buffer[..count]),
                    Ok(0) | Err(_) => return,
                }
            }
            let _ = stream.write_all(ANSWER).and_then(|()| stream.flush());
            let _ = sender.send(got.len());
        });
        (port, receiver)
    }

    fn address(port: u16, dir: &Path, has_identity: bool) -> EngineAddress {
        let write = |name: &str, text: &str| {
            let path = dir.join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let ca = Some(write("ca.pem", testkit::tls::ROOT_PEM));
        let certificate = write("cert.pem", testkit::tls::CLIENT_PEM);
        let key = write("key.pem", testkit::tls::CLIENT_KEY);
        let identity = has_identity.then_some((certificate, key));
        let host = "localhost".to_owned();
        EngineAddress::Tcp { host, port, tls: Some(EngineTls { ca, identity }) }
    }

    #[test]
    fn engines_behind_tls_are_spoken_to_by_whom_they_know() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (port, got) = serve();
        let engine = address(port, dir.path(), true);
        assert_eq!(engine.to_string(), format!("tcp://localhost:{port}"));
        let fill = |out: &mut dyn Write| out.write_all(&[7; 3_000_000]);
        let posted = http::post(&engine, "/load", &Cancel::new(), fill).expect("answered");
        posted.1.expect("sent");
        assert_eq!((posted.0.status, &*posted.0.body), (200, &b"ok"[..]));
        assert!(got.recv().expect("told") > 3_000_000);
        let (port, got) = serve();
        let nobody = address(port, dir.path(), false);
        assert!(http::get(&nobody, "/_ping", &Cancel::new()).is_err());
        assert!(got.recv().is_err(), "nothing was taken from whom it does not know");
    }

    #[test]
    fn an_engine_with_a_foreign_certificate_gets_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (port, got) = serve();
        let mut engine = address(port, dir.path(), true);
        // The client's is none that signed the server's.
        let other = Some(dir.path().join("cert.pem"));
        if let EngineAddress::Tcp { tls: Some(tls), .. } = &mut engine {
            tls.ca = other;
        }
        assert!(http::get(&engine, "/_ping", &Cancel::new()).is_err());
        assert!(got.recv().is_err());
    }

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut engine = address(1, dir.path(), true);
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").expect("a file");
        if let EngineAddress::Tcp { tls: Some(tls), .. } = &mut engine {
            tls.ca = Some(empty);
        }
        let error = http::get(&engine, "/_ping", &Cancel::new()).err().expect("no certificate");
        assert!(error.to_string().ends_with("empty.pem: there is no certificate in it"), "{error}");
        if let EngineAddress::Tcp { tls: Some(tls), .. } = &mut engine {
            tls.ca = Some(dir.path().to_owned());
        }
        let error = http::get(&engine, "/_ping", &Cancel::new()).err().expect("no file");
        assert!(error.to_string().ends_with(": it is not a regular file"), "{error}");
    }
}
