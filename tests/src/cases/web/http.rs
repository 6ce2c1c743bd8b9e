//! HTTP/1.1, requests in and responses out.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

/// A request with its body.
pub(super) struct Request {
    pub(super) method: String,
    target: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Decoded, without the query.
    pub(super) fn path(&self) -> String {
        decoded(self.target.split('?').next().unwrap_or_default())
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// By its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Response {
    pub(super) fn new(status: u16, body: Vec<u8>) -> Response {
        Response { status, headers: Vec::new(), body }
    }
}

/// One client.
pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Connection {
        Connection(BufReader::new(stream))
    }

    /// The next request; `None` when the client has gone.
    pub(super) fn read(&mut self) -> io::Result<Option<Request>> {
        let mut first = String::new();
        if self.0.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut words = first.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
        let (method, target) = (method.to_owned(), target.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Request { method, target, headers, body: Vec::new() };
        if request.header("expect").is_some() {
            self.0.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        request.body = self.body(&request)?;
        Ok(Some(request))
    }

    fn body(&mut self, request: &Request) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if request.header("transfer-encoding").is_none() {
            let length = request.header("content-length").and_then(|length| length.parse().ok());
            (&mut self.0).take(length.unwrap_or(0)).read_to_end(&mut body)?;
            return Ok(body);
        }
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            (&mut self.0).take(size).read_to_end(&mut body)?;
            self.0.read_line(&mut line)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    pub(super) fn write(&mut self, request: &Request, response: &Response) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Answer\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if response.status != 304 {
            head.push_str(&format!("Content-Length: {}\r\n", response.body.len()));
        }
        head.push_str("\r\n");
        let out = self.0.get_mut();
        out.write_all(head.as_bytes())?;
        if request.method != "HEAD" && response.status != 304 {
            out.write_all(&response.body)?;
        }
        out.flush()
    }
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| first == b'%');
        out.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}
