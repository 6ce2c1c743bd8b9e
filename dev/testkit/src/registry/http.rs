//! HTTP/1.1 as far as a registry needs it.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::sync::Arc;

use super::{FaultKind, Logged, Shared, api};

/// A request with its body.
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// An answer.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Arc<[u8]>,
}

impl Request {
    pub(super) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Values of a query parameter, decoded.
    pub(super) fn query(&self, name: &str) -> Vec<String> {
        pairs(self.target.split_once('?').map_or("", |(_, q)| q), name)
    }

    /// Values of a form parameter, decoded.
    pub(super) fn form(&self, name: &str) -> Vec<String> {
        pairs(&String::from_utf8_lossy(&self.body), name)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

impl Response {
    pub(super) fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Arc::from([].as_slice()) }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Response {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn body(mut self, body: impl Into<Arc<[u8]>>) -> Response {
        self.body = body.into();
        self
    }

    pub(super) fn error(status: u16, code: &str) -> Response {
        let body = serde_json::json!({"errors": [{"code": code, "message": code.to_lowercase()}]});
        Response::new(status)
            .with("content-type", "application/json")
            .body(body.to_string().into_bytes())
    }
}

/// Answers requests of one connection until it ends.
pub(super) fn serve(stream: &mut (impl Read + Write), shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut reader)? {
        let fault = shared.state().take_fault(&request.method, &request.target);
        if matches!(fault, Some(FaultKind::Close)) {
            log(shared, request, 0);
            return Ok(());
        }
        if matches!(fault, Some(FaultKind::ExpireTokens)) {
            shared.state().tokens.clear();
        }
        if matches!(fault, Some(FaultKind::NoRange)) {
            request.headers.remove("range");
        }
        let mut response = match &fault {
            Some(FaultKind::Status(status, headers, body)) => {
                let mut response = Response::new(*status).body(body.clone().into_bytes());
                response.headers = headers.clone();
                response
            }
            _ => api::answer(shared, &request),
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
        log(shared, request, response.status);
        let out = reader.get_mut();
        match fault {
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

fn log(shared: &Shared, request: Request, status: u16) {
    let body = if request.path() == "/token" {
        String::from_utf8_lossy(&request.body).into_owned()
    } else {
        String::new()
    };
    let Request { method, target, headers, .. } = request;
    shared.state().log.push(Logged { method, path: target, headers, body, status });
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

fn write_head(out: &mut impl Write, response: &Response) -> io::Result<()> {
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

fn pairs(text: &str, name: &str) -> Vec<String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(n, _)| *n == name)
        .map(|(_, value)| decode(value))
        .collect()
}

fn decode(text: &str) -> String {
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
