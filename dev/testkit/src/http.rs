//! HTTP/1.1 as far as the services of this crate need it: a server on a free loopback port that answers, writes down
//! what came, and can be told to fail.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::wire::{self, Wire};

/// What answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(&self, request: &Request) -> Response;

    /// Whether clients must show who they are with a certificate.
    fn wants_client_certificate(&self) -> bool {
        false
    }

    /// For [`FaultKind::ExpireTokens`].
    fn expire_tokens(&self) {
        // Most services have none.
    }
}

/// A running service; it ends when this is dropped.
pub(crate) struct Server<S: Service> {
    address: SocketAddr,
    is_tls: bool,
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    service: S,
    stopped: AtomicBool,
    hooks: Hooks,
}

/// What tests do with any server: let it fail, and see what came.
#[derive(Default)]
pub struct Hooks {
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Vec<Logged>>,
}

/// Something to go wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Method of the requests that it hits; empty for any.
    pub method: &'static str,
    /// A part of their path and query; empty for any.
    pub path: String,
    /// How many such requests pass before it.
    pub skip: u32,
    /// How many requests it hits.
    pub times: u32,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The body ends after so many bytes, then the connection is closed.
    CutBody(usize),
    /// The connection is closed without an answer.
    Close,
    /// The request has its effect, then the connection is closed without an answer.
    LoseAnswer,
    /// The body is another one.
    Body(Vec<u8>),
    /// Headers are added to the answer or replace those it has.
    Headers(Vec<(&'static str, String)>),
    /// A `Range` header is not heeded.
    NoRange,
    /// A body without end.
    Endless,
    /// Every token given so far is no longer good.
    ExpireTokens,
    /// Bytes of the test's own are sent.
    Wire(Wire),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, for token requests.
    pub body: String,
    /// Status of the answer.
    pub status: u16,
}

impl<S: Service> Server<S> {
    /// Starts a service that is made when its address is known.
    pub(crate) fn start(is_tls: bool, make: impl FnOnce(SocketAddr) -> S) -> Server<S> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            service: make(address),
            stopped: AtomicBool::new(false),
            hooks: Hooks::default(),
        });
        let server = shared.clone();
        std::thread::spawn(move || accept(&listener, &server, is_tls));
        Server { address, is_tls, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn base(&self) -> String {
        base(self.is_tls, self.address)
    }

    pub(crate) fn service(&self) -> &S {
        &self.shared.service
    }

    pub(crate) fn hooks(&self) -> &Hooks {
        &self.shared.hooks
    }
}

impl Hooks {
    /// Lets something go wrong. Earlier faults are used up first.
    pub fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Shorthand for [`Hooks::fail`].
    pub fn fail_with(&self, method: &'static str, path: &str, times: u32, kind: FaultKind) {
        self.fail(Fault { method, path: path.to_owned(), skip: 0, times, kind });
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Logged> {
        self.log.lock().unwrap().clone()
    }

    /// `METHOD path status` of all requests so far, without queries.
    pub fn calls(&self) -> Vec<String> {
        let one = |l: &Logged| {
            let path = l.path.split('?').next().unwrap_or_default();
            format!("{} {path} {}", l.method, l.status)
        };
        self.log.lock().unwrap().iter().map(one).collect()
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.log.lock().unwrap().clear();
    }

    /// Lets nothing go wrong any more.
    pub fn clear_faults(&self) {
        self.faults.lock().unwrap().clear();
    }

    /// Takes one use of the first fault that fits a request.
    fn take_fault(&self, method: &str, path: &str) -> Option<FaultKind> {
        let mut faults = self.faults.lock().unwrap();
        let fits = |f: &Fault| {
            (f.method.is_empty() || f.method == method) && path.contains(f.path.as_str())
        };
        let mut taken = None;
        for fault in faults.iter_mut().filter(|fault| fits(fault)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if taken.is_none() {
                taken = Some(fault.kind.clone());
                fault.times = fault.times.saturating_sub(1);
            }
        }
        faults.retain(|fault| fault.times > 0);
        taken
    }

    fn write_down(&self, request: Request, status: u16) {
        let body = if request.path() == "/token" {
            String::from_utf8_lossy(&request.body).into_owned()
        } else {
            String::new()
        };
        let Request { method, target, headers, .. } = request;
        let logged = Logged { method, path: target, headers, body, status };
        self.log.lock().unwrap().push(logged);
    }
}

impl<S: Service> Drop for Server<S> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

/// `http://127.0.0.1:port`.
pub(crate) fn base(is_tls: bool, address: SocketAddr) -> String {
    let scheme = if is_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

fn accept<S: Service>(listener: &TcpListener, shared: &Arc<Shared<S>>, is_tls: bool) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = shared.clone();
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            // A client that goes away is not this server's failure.
            let _ = if is_tls {
                let config = match shared.service.wants_client_certificate() {
                    true => crate::tls::server_config_for_clients(),
                    false => crate::tls::server_config(),
                };
                let connection = rustls::ServerConnection::new(config);
                let socket = stream.try_clone().unwrap();
                let mut tls = rustls::StreamOwned::new(connection.unwrap(), stream);
                serve(&mut tls, &socket, &shared)
            } else {
                let socket = stream.try_clone().unwrap();
                serve(&mut { stream }, &socket, &shared)
            };
        });
    }
}

/// A request with its body.
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Arc<[u8]>,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Values of a query parameter, decoded.
    pub(crate) fn query(&self, name: &str) -> Vec<String> {
        pairs(self.target.split_once('?').map_or("", |(_, q)| q), name)
    }

    /// Values of a form parameter, decoded.
    pub(crate) fn form(&self, name: &str) -> Vec<String> {
        pairs(&String::from_utf8_lossy(&self.body), name)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Response {
    pub(crate) fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Arc::from([].as_slice()) }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Response {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Arc<[u8]>>) -> Response {
        self.body = body.into();
        self
    }

    pub(crate) fn error(status: u16, code: &str) -> Response {
        let body = serde_json::json!({"errors": [{"code": code, "message": code.to_lowercase()}]});
        Response::new(status)
            .with("content-type", "application/json")
            .body(body.to_string().into_bytes())
    }
}

/// Answers requests of one connection until it ends.
fn serve<S: Service>(
    stream: &mut (impl Read + Write),
    socket: &TcpStream,
    shared: &Shared<S>,
) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut reader)? {
        let fault = shared.hooks.take_fault(&request.method, &request.target);
        if matches!(fault, Some(FaultKind::Close)) {
            shared.hooks.write_down(request, 0);
            return Ok(());
        }
        if matches!(fault, Some(FaultKind::ExpireTokens)) {
            shared.service.expire_tokens();
        }
        if matches!(fault, Some(FaultKind::NoRange)) {
            request.headers.remove("range");
        }
        let mut response = match &fault {
            Some(FaultKind::Wire(wire)) if !wire.has_effect => Response::new(0),
            Some(FaultKind::Status(status, headers, body)) => {
                let mut response = Response::new(*status).body(body.clone().into_bytes());
                response.headers = headers.clone();
                response
            }
            _ => shared.service.answer(&request),
        };
        if let Some(FaultKind::Body(body)) = &fault {
            response.body = body.clone().into();
        }
        if let Some(FaultKind::Headers(headers)) = &fault {
            for (name, value) in headers {
                response.headers.retain(|(n, _)| n != name);
                response.headers.push((name, value.clone()));
            }
        }
        let is_head = request.method == "HEAD";
        if let Some(FaultKind::Wire(wire)) = &fault {
            let pieces = wire.pieces(&request, &response);
            shared.hooks.write_down(request, response.status);
            match wire::send(reader.get_mut(), socket, &pieces)? {
                true => continue,
                false => return Ok(()),
            }
        }
        shared.hooks.write_down(request, response.status);
        let out = reader.get_mut();
        match fault {
            Some(FaultKind::LoseAnswer) => return Ok(()),
            Some(FaultKind::CutBody(length)) => {
                write_head(out, &response)?;
                out.write_all(&response.body[..length.min(response.body.len())])?;
                return out.flush();
            }
            Some(FaultKind::Endless) => return write_endless(out, &response),
            _ => {}
        }
        write_head(out, &response)?;
        if !is_head {
            out.write_all(&response.body)?;
        }
        out.flush()?;
    }
    Ok(())
}

fn read_request(reader: &mut BufReader<impl Read + Write>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(0) => return Ok(None),
        Ok(_) => {}
        // Bytes that are no text: somebody speaks TLS to us.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => line.clear(),
        Err(error) => return Err(error),
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")?;
        return Ok(None);
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|e| e.eq_ignore_ascii_case("100-continue")) {
        reader.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|e| e.eq_ignore_ascii_case("chunked")) {
        read_chunks(reader, &mut body)?;
    } else if let Some(length) = headers.get("content-length").and_then(|l| l.parse().ok()) {
        reader.take(length).read_to_end(&mut body)?;
        if (body.len() as u64) < length {
            return Ok(None);
        }
    }
    Ok(Some(Request { method, target, headers, body }))
}

fn read_chunks(reader: &mut BufReader<impl Read>, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        reader.take(length).read_to_end(body)?;
        let mut end = [0; 2];
        reader.read_exact(&mut end)?;
        if length == 0 {
            return Ok(());
        }
    }
}

pub(crate) fn write_head(out: &mut impl Write, response: &Response) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Status\r\n", response.status);
    let has_length = response.headers.iter().any(|(name, _)| *name == "content-length");
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !has_length {
        head.push_str(&format!("content-length: {}\r\n", response.body.len()));
    }
    head.push_str("\r\n");
    out.write_all(head.as_bytes())
}

fn write_endless(out: &mut impl Write, response: &Response) -> io::Result<()> {
    let head = format!("HTTP/1.1 {} Status\r\ntransfer-encoding: chunked\r\n\r\n", response.status);
    out.write_all(head.as_bytes())?;
    let chunk = [&b"10000\r\n"[..], &[b' '; 0x10000], b"\r\n"].concat();
    loop {
        out.write_all(&chunk)?;
    }
}

pub(crate) fn pairs(text: &str, name: &str) -> Vec<String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(n, _)| *n == name)
        .map(|(_, value)| decode(value))
        .collect()
}

pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
