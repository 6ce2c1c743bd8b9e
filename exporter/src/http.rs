//! HTTP/1.1 over a unix socket, as far as container engines need it: one request, a body of unknown length, an answer.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An engine's answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Answers may be this long.
const BODY_MAX_BYTES: u64 = 4 << 20;
const HEAD_MAX_BYTES: u64 = 64 << 10;

/// Asks for a path.
pub(crate) fn get(socket: &Path, path: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    let patience = Some(Duration::from_secs(10));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")?;
    read_answer(&mut BufReader::new(stream))
}

/// Posts what `fill` writes. When the engine answers and hangs up early, its answer counts, not the broken pipe.
pub(crate) fn post<E>(
    socket: &Path,
    path: &str,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> io::Result<(Answer, Result<(), E>)> {
    let stream = UnixStream::connect(socket)?;
    let mut head = &stream;
    write!(
        head,
        "POST {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
    )?;
    let mut chunks = Chunks { out: &stream, buffer: Vec::with_capacity(CHUNK_BYTES) };
    let filled = fill(&mut chunks);
    let sent = match &filled {
        Ok(()) => chunks.finish(),
        // No last chunk: the engine must not take a part for the whole.
        Err(_) => stream.shutdown(std::net::Shutdown::Write),
    };
    match read_answer(&mut BufReader::new(&stream)) {
        Ok(answer) => Ok((answer, filled)),
        Err(error) => sent.and(Err(error)),
    }
}

const CHUNK_BYTES: usize = 128 << 10;

/// Writes chunks of a fixed size.
struct Chunks<'a> {
    out: &'a UnixStream,
    buffer: Vec<u8>,
}

impl Chunks<'_> {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        write!(self.out, "{:x}\r\n", self.buffer.len())?;
        self.buffer.extend(b"\r\n");
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.send()?;
        self.out.write_all(b"0\r\n\r\n")
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_BYTES - self.buffer.len();
        let count = room.min(bytes.len());
        self.buffer.extend(&bytes[..count]);
        if self.buffer.len() == CHUNK_BYTES {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

fn read_answer(reader: &mut impl io::BufRead) -> io::Result<Answer> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP");
    let (status, headers) = loop {
        let (status, headers) = read_head(reader)?.ok_or_else(malformed)?;
        // 100 Continue and the like come before the answer.
        if status >= 200 {
            break (status, headers);
        }
    };
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|e| e.eq_ignore_ascii_case("chunked")) {
        read_chunks(reader, &mut body)?;
    } else {
        let length = header("content-length").and_then(|text| text.parse::<u64>().ok());
        let length = length.unwrap_or(u64::MAX).min(BODY_MAX_BYTES);
        reader.take(length).read_to_end(&mut body)?;
    }
    Ok(Answer { status, headers, body })
}

type Head = (u16, Vec<(String, String)>);

fn read_head(reader: &mut impl io::BufRead) -> io::Result<Option<Head>> {
    let mut head = reader.take(HEAD_MAX_BYTES);
    let mut line = String::new();
    head.read_line(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let Some(status) = status else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => return Ok(Some((status, headers))),
        }
    }
}

fn read_chunks(reader: &mut impl io::BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        reader.by_ref().take(100).read_line(&mut line)?;
        let digits = line.trim().split(';').next().unwrap_or_default();
        let length = u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk has no length"))?;
        let room = BODY_MAX_BYTES.saturating_sub(body.len() as u64);
        if length == 0 || length > room {
            return Ok(());
        }
        reader.take(length).read_to_end(body)?;
        let mut end = String::new();
        reader.by_ref().take(2).read_line(&mut end)?;
    }
}
