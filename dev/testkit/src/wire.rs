//! Answers byte by byte, for what no well-behaved server would send.
//!
//! Owns how pieces go over a connection: slowly, in part, or ended by a reset. Knows nothing of what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::http::{Request, Response, write_head};

/// Makes the bytes that are sent instead of an answer.
#[derive(Clone)]
pub struct Wire {
    /// Whether the request has its effect all the same, so that its right answer is known.
    pub(crate) has_effect: bool,
    make: Arc<Make>,
}

pub(crate) type Make = dyn Fn(&Answered) -> Vec<Piece> + Send + Sync;

/// A request and its right answer.
pub struct Answered<'a> {
    /// Method of the request.
    pub method: &'a str,
    /// Its headers, names in lower case.
    pub request: &'a BTreeMap<String, String>,
    /// Status of the right answer; 0 when the request has no effect.
    pub status: u16,
    /// Headers of the right answer.
    pub headers: Vec<(String, String)>,
    /// Body of the right answer.
    pub body: Vec<u8>,
}

/// A part of what goes over the connection, which is closed behind the last one.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes, at once.
    Bytes(Vec<u8>),
    /// Bytes one by one with a wait before each.
    Drip(Vec<u8>, Duration),
    /// Silence.
    Pause(Duration),
    /// Bytes again and again, until the other side has enough.
    Endless(Vec<u8>),
    /// The connection is reset, not closed.
    Reset,
    /// The connection stays open for the next request; the last piece.
    KeepOpen,
}

impl Wire {
    /// What is sent depends on the right answer.
    pub fn after(make: impl Fn(&Answered) -> Vec<Piece> + Send + Sync + 'static) -> Wire {
        Wire { has_effect: true, make: Arc::new(make) }
    }

    /// The request is not even looked at.
    pub fn instead(pieces: Vec<Piece>) -> Wire {
        Wire { has_effect: false, make: Arc::new(move |_| pieces.clone()) }
    }

    pub(crate) fn pieces(&self, request: &Request, response: &Response) -> Vec<Piece> {
        let headers = response.headers.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        (self.make)(&Answered {
            method: &request.method,
            request: &request.headers,
            status: response.status,
            headers,
            body: response.body.to_vec(),
        })
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Answered<'_> {
    /// Sets a header, or takes it away.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// The same answer, to be changed.
    pub fn copy(&self) -> Answered<'_> {
        Answered {
            method: self.method,
            request: self.request,
            status: self.status,
            headers: self.headers.clone(),
            body: self.body.clone(),
        }
    }

    /// The head alone, with the length of the body where no header says how long it is.
    pub fn head(&self) -> Vec<u8> {
        let mut response = Response::new(self.status).body(self.body.clone());
        let mut lines = Vec::new();
        for (name, value) in &self.headers {
            match name.as_str() {
                // The writer looks for this one itself.
                "content-length" => response.headers.push(("content-length", value.clone())),
                _ => lines.extend(format!("{name}: {value}\r\n").into_bytes()),
            }
        }
        let is_chunked = self.headers.iter().any(|(name, _)| name == "transfer-encoding");
        let mut head = Vec::new();
        write_head(&mut head, &response).unwrap();
        if is_chunked {
            head = format!("HTTP/1.1 {} Status\r\n\r\n", self.status).into_bytes();
        }
        head.truncate(head.len() - 2);
        head.extend(lines);
        head.extend(b"\r\n");
        head
    }

    /// Head and body.
    pub fn whole(&self) -> Vec<u8> {
        let mut all = self.head();
        if self.method != "HEAD" {
            all.extend(&self.body);
        }
        all
    }
}

/// Sends pieces. True when the connection goes on.
pub(crate) fn send(out: &mut impl Write, socket: &TcpStream, pieces: &[Piece]) -> io::Result<bool> {
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => out.write_all(bytes)?,
            Piece::Drip(bytes, wait) => {
                for byte in bytes {
                    thread::sleep(*wait);
                    out.write_all(&[*byte])?;
                    out.flush()?;
                }
            }
            Piece::Pause(wait) => {
                out.flush()?;
                thread::sleep(*wait);
            }
            Piece::Endless(bytes) => loop {
                out.write_all(bytes)?;
            },
            Piece::Reset => {
                out.flush()?;
                reset_at_close(socket);
                return Ok(false);
            }
            Piece::KeepOpen => {
                out.flush()?;
                return Ok(true);
            }
        }
    }
    out.flush()?;
    Ok(false)
}

/// The other side will see a reset when the socket is closed.
pub(crate) fn reset_at_close(socket: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO)).unwrap();
}
