//! HTTP/1.1 as far as container engines need it: one request on a connection, bodies of unknown length both ways.
//! Refuses to know what engines say.

mod connect;

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sys::Cancel;

pub use connect::{EngineAddress, EngineTls};

use connect::Connection;

/// An engine's answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    #[cfg(test)]
    pub(crate) fn new(status: u16, body: &[u8]) -> Answer {
        Answer { status, headers: Vec::new(), body: body.to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Answers may be this long when they are read whole.
const BODY_MAX_BYTES: u64 = 64 << 20;
const HEAD_MAX_BYTES: u64 = 64 << 10;
/// Answers that engines have at hand come sooner.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for a path.
pub(crate) fn get(engine: &EngineAddress, path: &str, cancel: &Cancel) -> io::Result<Answer> {
    small(engine, "GET", path, PATIENCE, cancel)
}

/// As [`get`], of something that may be no engine at all.
pub(crate) fn ping(engine: &EngineAddress, path: &str, cancel: &Cancel) -> io::Result<Answer> {
    small(engine, "GET", path, Duration::from_secs(10), cancel)
}

/// Has something done that takes no body.
pub(crate) fn command(engine: &EngineAddress, path: &str, cancel: &Cancel) -> io::Result<Answer> {
    small(engine, "POST", path, PATIENCE, cancel)
}

/// Has something taken away.
pub(crate) fn delete(engine: &EngineAddress, path: &str, cancel: &Cancel) -> io::Result<Answer> {
    small(engine, "DELETE", path, PATIENCE, cancel)
}

fn small(
    engine: &EngineAddress,
    method: &str,
    path: &str,
    patience: Duration,
    cancel: &Cancel,
) -> io::Result<Answer> {
    let mut stream = Watched::connect(engine, Some(patience), cancel)?;
    let length = if method == "POST" || method == "DELETE" { "Content-Length: 0\r\n" } else { "" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {}\r\n{length}Connection: close\r\n\r\n",
        engine.host_header()
    )?;
    stream.flush()?;
    read_answer(BufReader::new(stream))
}

/// Asks for a path whose answer may be long, and may be long in coming.
pub(crate) fn open<'a>(
    engine: &EngineAddress,
    path: &str,
    cancel: &'a Cancel,
) -> io::Result<Result<Box<dyn Read + Send + 'a>, Answer>> {
    let mut stream = Watched::connect(engine, None, cancel)?;
    let host = engine.host_header();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut reader = BufReader::with_capacity(CHUNK_BYTES, stream);
    let (status, headers) = read_final_head(&mut reader)?;
    let mut body = Body::new(&headers, reader);
    if status == 200 {
        return Ok(Ok(Box::new(body)));
    }
    let mut bytes = Vec::new();
    body.by_ref().take(BODY_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(Err(Answer { status, headers, body: bytes }))
}

/// Posts what `fill` writes, which is written while `fill` makes more. When the engine answers and hangs up early, its
/// answer counts, not the broken pipe.
pub(crate) fn post<E>(
    engine: &EngineAddress,
    path: &str,
    cancel: &Cancel,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> io::Result<(Answer, Result<(), E>)> {
    let mut stream = Watched::connect(engine, None, cancel)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n",
        engine.host_header()
    )?;
    let (full, to_send) = sync_channel(CHUNKS_AHEAD);
    let (used, free) = channel();
    let (filled, sent) = thread::scope(|scope| {
        let stream = &mut stream;
        let sender = scope.spawn(move || send_chunks(stream, &to_send, &used));
        let mut chunks = Chunks { full, free, buffer: Chunks::empty() };
        let filled = fill(&mut chunks);
        // A part must not be taken for the whole: only this has the last chunk sent.
        let ended = filled.is_ok().then(|| chunks.finish());
        drop(chunks);
        let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("sending has failed")));
        (filled, ended.unwrap_or(Ok(())).and(sent))
    });
    let sent = match &filled {
        Ok(()) => sent,
        Err(_) => stream.stream.cut(),
    };
    match read_answer(BufReader::new(stream)) {
        Ok(answer) => Ok((answer, filled)),
        Err(error) => sent.and(Err(error)),
    }
}

/// Writes chunks as they come, and gives their buffers back.
fn send_chunks(
    stream: &mut Watched<'_>,
    chunks: &Receiver<Vec<u8>>,
    used: &Sender<Vec<u8>>,
) -> io::Result<()> {
    for chunk in chunks {
        stream.write_all(&chunk)?;
        // Whoever fills them may be at its end.
        let _ = used.send(chunk);
    }
    stream.flush()
}

/// A connection that ends when the user wants an end, or, with some patience, when nothing comes.
struct Watched<'a> {
    stream: Connection,
    patience: Option<Duration>,
    cancel: &'a Cancel,
}

/// How often the wish to stop is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Watched<'_> {
    fn connect<'a>(
        engine: &EngineAddress,
        patience: Option<Duration>,
        cancel: &'a Cancel,
    ) -> io::Result<Watched<'a>> {
        let stream = Connection::open(engine, LOOK_EVERY)?;
        Ok(Watched { stream, patience, cancel })
    }

    fn patiently<T>(
        &mut self,
        mut work: impl FnMut(&mut Connection) -> io::Result<T>,
    ) -> io::Result<T> {
        let begun = Instant::now();
        loop {
            // An engine may go on answering for ever.
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("stopped"));
            }
            match work(&mut self.stream) {
                Err(error) if is_timeout(&error) => {}
                done => return done,
            }
            if self.patience.is_some_and(|patience| begun.elapsed() >= patience) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|stream| stream.read(buffer))
    }
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.patiently(|stream| stream.flush())
    }
}

const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that may be full and unsent.
const CHUNKS_AHEAD: usize = 8;
/// The length of a chunk, in digits of which the first may be zeros.
const CHUNK_HEAD_BYTES: usize = 10;

/// Makes chunks of one size of what is written to it; somebody else sends them.
struct Chunks {
    full: SyncSender<Vec<u8>>,
    /// Buffers to be filled again.
    free: Receiver<Vec<u8>>,
    /// The next chunk, with room for its head.
    buffer: Vec<u8>,
}

impl Chunks {
    fn empty() -> Vec<u8> {
        let mut buffer = Vec::with_capacity(CHUNK_HEAD_BYTES + CHUNK_BYTES + 2);
        buffer.resize(CHUNK_HEAD_BYTES, 0);
        buffer
    }

    fn send(&mut self) -> io::Result<()> {
        let length = self.buffer.len() - CHUNK_HEAD_BYTES;
        if length == 0 {
            return Ok(());
        }
        let next = self.free.try_recv().unwrap_or_else(|_| Chunks::empty());
        let mut chunk = std::mem::replace(&mut self.buffer, next);
        self.buffer.truncate(CHUNK_HEAD_BYTES);
        chunk[..CHUNK_HEAD_BYTES].copy_from_slice(format!("{length:08x}\r\n").as_bytes());
        chunk.extend(b"\r\n");
        self.give(chunk)
    }

    fn give(&self, bytes: Vec<u8>) -> io::Result<()> {
        // It has met an end: its own error, or the answer, says why.
        self.full.send(bytes).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Sends the rest, and that it was all.
    fn finish(&mut self) -> io::Result<()> {
        self.send()?;
        self.give(b"0\r\n\r\n".to_vec())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = CHUNK_HEAD_BYTES + CHUNK_BYTES - self.buffer.len();
        let count = room.min(bytes.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if count == room {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

fn read_answer(mut reader: impl io::BufRead) -> io::Result<Answer> {
    let (status, headers) = read_final_head(&mut reader)?;
    let mut body = Vec::new();
    Body::new(&headers, reader).take(BODY_MAX_BYTES).read_to_end(&mut body)?;
    Ok(Answer { status, headers, body })
}

type Head = (u16, Vec<(String, String)>);

/// The head of the answer: 100 Continue and the like come before it.
fn read_final_head(reader: &mut impl io::BufRead) -> io::Result<Head> {
    loop {
        let head = read_head(reader)?;
        let (status, headers) = head
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))?;
        if status >= 200 {
            return Ok((status, headers));
        }
    }
}

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

/// A body, whatever tells its end.
struct Body<R> {
    inner: R,
    left: Left,
}

enum Left {
    /// Bytes of it.
    Bytes(u64),
    /// Bytes of this chunk; whether there was one before.
    Chunk(u64, bool),
    /// All that comes.
    All,
    Nothing,
}

impl<R: io::BufRead> Body<R> {
    fn new(headers: &[(String, String)], inner: R) -> Body<R> {
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let is_chunked =
            header("transfer-encoding").is_some_and(|e| e.eq_ignore_ascii_case("chunked"));
        let length = header("content-length").and_then(|text| text.parse().ok());
        let left = match (is_chunked, length) {
            (true, _) => Left::Chunk(0, false),
            (false, Some(length)) => Left::Bytes(length),
            (false, None) => Left::All,
        };
        Body { inner, left }
    }

    /// The length of the next chunk; zero is the end.
    fn next_chunk(&mut self, has_end: bool) -> io::Result<u64> {
        let mut line = String::new();
        if has_end {
            self.inner.by_ref().take(2).read_line(&mut line)?;
            line.clear();
        }
        self.inner.by_ref().take(100).read_line(&mut line)?;
        let digits = line.trim().split(';').next().unwrap_or_default();
        u64::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off"))
    }
}

impl<R: io::BufRead> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Left::Chunk(0, has_end) = self.left {
            self.left = match self.next_chunk(has_end)? {
                0 => Left::Nothing,
                length => Left::Chunk(length, true),
            };
        }
        let left = match self.left {
            Left::Nothing | Left::Bytes(0) => return Ok(0),
            Left::All => return self.inner.read(buffer),
            Left::Bytes(left) | Left::Chunk(left, _) => left,
        };
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..want])?;
        if count == 0 && want > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut off"));
        }
        match &mut self.left {
            Left::Bytes(left) | Left::Chunk(left, _) => *left -= count as u64,
            Left::All | Left::Nothing => {}
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// Serves one connection: reads until the request's end marker, then writes an answer.
    fn serve_once(answer: &'static str, end: &'static [u8]) -> (tempfile::TempDir, EngineAddress) {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).expect("bind");
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut got = Vec::new();
            let mut byte = [0];
            while !got.ends_with(end) && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                got.push(byte[0]);
            }
            let _ = stream.write_all(answer.as_bytes());
            // Whoever waits for more waits until the listener is dropped with this.
            if answer.is_empty() {
                let _ = stream.read_to_end(&mut got);
            }
        });
        (dir, EngineAddress::Unix(path))
    }

    #[test]
    fn answers_of_all_framings_are_read() {
        let check = |answer: &'static str, want: (u16, &str)| {
            let (_dir, path) = serve_once(answer, b"\r\n\r\n");
            let got = get(&path, "/x", &Cancel::new()).expect("answered");
            assert_eq!((got.status, &*got.body), (want.0, want.1.as_bytes()), "{answer}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd", (200, "ab"));
        check("HTTP/1.1 404 No\r\nConnection: close\r\n\r\nto the end", (404, "to the end"));
        check("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", (204, ""));
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n";
        check(chunked, (200, "abcd"));
    }

    #[test]
    fn a_part_is_not_taken_for_the_whole() {
        let check = |answer: &'static str| {
            let (_dir, path) = serve_once(answer, b"\r\n\r\n");
            let cancel = Cancel::new();
            let mut bytes = Vec::new();
            let read = match open(&path, "/x", &cancel) {
                Ok(Ok(mut body)) => body.read_to_end(&mut bytes).map(drop),
                Ok(Err(answer)) => panic!("status {}", answer.status),
                Err(error) => Err(error),
            };
            assert!(read.is_err(), "{answer}: {bytes:?}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc");
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc");
        check("no HTTP");
    }

    #[test]
    fn bodies_go_in_chunks_and_answers_come_back() {
        let answer = "HTTP/1.1 500 Oops\r\nContent-Length: 15\r\n\r\n{\"message\":\"b\"}";
        let (_dir, path) = serve_once(answer, b"\r\n0\r\n\r\n");
        let fill = |out: &mut dyn Write| out.write_all(&[7; 300_000]);
        let (answer, sent) = post(&path, "/load", &Cancel::new(), fill).expect("answered");
        sent.expect("sent");
        assert_eq!((answer.status, answer.body.len()), (500, 15));
    }

    #[test]
    fn the_wish_to_stop_ends_the_wait() {
        let (_dir, path) = serve_once("", b"\r\n\r\n");
        let cancel = Cancel::new();
        cancel.cancel();
        let error = get(&path, "/x", &cancel).err().expect("no answer");
        assert_eq!(error.to_string(), "stopped");
    }
}
