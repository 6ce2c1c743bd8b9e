//! Into a running Docker or Podman, through its socket.

use std::path::{Path, PathBuf};

use oci::Reference;

use crate::error::{Failure, show};
use crate::http::{self, Answer};
use crate::job::Job;
use crate::prepare::Prepared;
use crate::{ExportError, write_docker_archive};

/// A container engine that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSocket {
    /// Its socket.
    pub path: PathBuf,
    /// Version of Podman's own API; `None` for Docker.
    pub podman_api: Option<String>,
}

/// What an engine said to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Its lines, for people.
    pub messages: Vec<String>,
}

impl EngineSocket {
    /// The first of some sockets at which an engine answers.
    pub fn find(candidates: &[PathBuf]) -> Result<EngineSocket, ExportError> {
        for path in candidates {
            if let Ok(answer) = http::get(path, "/_ping")
                && answer.status == 200
            {
                let podman_api = answer.header("libpod-api-version").map(str::to_owned);
                return Ok(EngineSocket { path: path.clone(), podman_api });
            }
        }
        let shown = candidates.iter().map(|path| path.display().to_string()).collect();
        Err(Failure::NoEngine(shown).into())
    }

    fn load_path(&self) -> String {
        match &self.podman_api {
            Some(version) if version.bytes().all(|b| b.is_ascii_digit() || b == b'.') => {
                format!("/v{version}/libpod/images/load")
            }
            Some(_) => "/v4.0.0/libpod/images/load".to_owned(),
            None => "/images/load?quiet=1".to_owned(),
        }
    }
}

/// Streams a `docker load` archive into an engine, one platform only.
pub fn load(
    prepared: &Prepared,
    names: &[Reference],
    engine: &EngineSocket,
    job: Job,
) -> Result<Loaded, ExportError> {
    let socket = engine.path.display().to_string();
    let (answer, sent) = http::post(&engine.path, &engine.load_path(), |out| {
        write_docker_archive(prepared, names, out, job)
    })
    .map_err(|source| {
        let socket = socket.clone();
        ExportError::from(Failure::EngineIo { operation: "send the image to", socket, source })
    })?;
    job.check()?;
    match (refusal(&answer), sent) {
        (Some(reason), _) => Err(Failure::EngineRefused { socket, reason }.into()),
        (None, Err(error)) => Err(error),
        (None, Ok(())) => Ok(Loaded { messages: messages(&answer) }),
    }
}

/// Why an engine did not take the image: a bad status, or an error among the lines of a good one.
fn refusal(answer: &Answer) -> Option<String> {
    let lines = json_lines(&answer.body);
    let text = |value: &serde_json::Value| {
        let found = [&value["errorDetail"]["message"], &value["error"], &value["cause"]]
            .into_iter()
            .find_map(|v| v.as_str());
        found.map(|t| show(t.as_bytes()))
    };
    if let Some(reason) = lines.iter().find_map(text) {
        return Some(reason);
    }
    if answer.status < 300 {
        return None;
    }
    let message = lines.iter().find_map(|value| value["message"].as_str());
    Some(match message {
        Some(message) => show(message.as_bytes()),
        None => format!("status {}", answer.status),
    })
}

fn messages(answer: &Answer) -> Vec<String> {
    let mut out = Vec::new();
    for value in json_lines(&answer.body) {
        if let Some(line) = value["stream"].as_str() {
            out.push(show(line.trim().as_bytes()));
        }
        for name in value["Names"].as_array().into_iter().flatten().filter_map(|v| v.as_str()) {
            out.push(show(name.as_bytes()));
        }
    }
    out
}

/// The JSON values that follow one another in a body; what is none of them is skipped.
fn json_lines(body: &[u8]) -> Vec<serde_json::Value> {
    serde_json::Deserializer::from_slice(body).into_iter().map_while(Result::ok).collect()
}

/// Sockets where engines usually are, for the caller to put behind those that the user names.
pub fn usual_sockets(runtime_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from("/var/run/docker.sock")];
    all.extend(runtime_dir.map(|dir| dir.join("docker.sock")));
    all.extend(runtime_dir.map(|dir| dir.join("podman/podman.sock")));
    all.push(PathBuf::from("/run/podman/podman.sock"));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    /// Serves one connection: reads until the request's end marker, then writes an answer.
    fn serve_once(answer: &'static str, end: &'static [u8]) -> (tempfile::TempDir, PathBuf) {
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
        });
        (dir, path)
    }

    #[test]
    fn engines_are_told_apart_by_their_ping() {
        let docker = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK";
        let (_dir, path) = serve_once(docker, b"\r\n\r\n");
        let found = EngineSocket::find(&[PathBuf::from("/nonexistent"), path]).expect("docker");
        assert_eq!(found.load_path(), "/images/load?quiet=1");
        let podman = "HTTP/1.1 200 OK\r\nLibpod-API-Version: 4.3.1\r\nConnection: close\r\n\r\nOK";
        let (_dir, path) = serve_once(podman, b"\r\n\r\n");
        let found = EngineSocket::find(&[path]).expect("podman");
        assert_eq!(found.load_path(), "/v4.3.1/libpod/images/load");
        assert!(EngineSocket::find(&[]).is_err());
    }

    #[test]
    fn bodies_go_in_chunks_and_errors_come_back() {
        let check = |answer: &'static str, expect: Result<&[&str], &str>| {
            let (_dir, path) = serve_once(answer, b"\r\n0\r\n\r\n");
            let fill = |out: &mut dyn std::io::Write| out.write_all(&[7; 300_000]);
            let (answer, sent) = http::post(&path, "/images/load", fill).expect("answered");
            sent.expect("sent");
            match expect {
                Ok(lines) => assert_eq!(
                    (refusal(&answer), messages(&answer)),
                    (None, lines.iter().map(|l| l.to_string()).collect())
                ),
                Err(reason) => assert_eq!(refusal(&answer).as_deref(), Some(reason)),
            }
        };
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n21\r\n{\"stream\":\"Loaded image: a:b\\n\"}\n\r\n0\r\n\r\n",
            Ok(&["Loaded image: a:b"]),
        );
        check("HTTP/1.1 200 OK\r\n\r\n{\"Names\":[\"localhost/a:b\"]}", Ok(&["localhost/a:b"]));
        check(
            "HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"x\"}{\"errorDetail\":{\"message\":\"no space\"},\"error\":\"no space\"}",
            Err("no space"),
        );
        check("HTTP/1.1 500 Oops\r\nContent-Length: 15\r\n\r\n{\"message\":\"b\"}", Err("b"));
        check("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", Err("status 403"));
    }
}
