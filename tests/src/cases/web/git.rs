//! Git repositories, served by git's own `http-backend`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::http::{Request, Response};

/// Answers for a path in a repository below `root`.
pub(super) fn answer(request: &Request, root: &Path, path: &str) -> Response {
    run(request, root, path)
        .unwrap_or_else(|error| Response::new(500, format!("git http-backend: {error}\n").into()))
}

fn run(request: &Request, root: &Path, path: &str) -> std::io::Result<Response> {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{path}"))
        .env("QUERY_STRING", request.query().unwrap_or_default())
        .env("REQUEST_METHOD", &request.method)
        .env("REMOTE_ADDR", "127.0.0.1")
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", root)
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            // It may end before it has read all.
            let _ = stdin.map(|mut stdin| stdin.write_all(&request.body));
        });
        child.wait_with_output()
    })?;
    Ok(parse(&output.stdout))
}

/// A CGI answer: headers, of which one may be the status, and the body.
fn parse(answer: &[u8]) -> Response {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len());
    let body = answer.get(end + 4..).unwrap_or_default().to_vec();
    let mut response = Response::new(200, body);
    for line in String::from_utf8_lossy(&answer[..end]).lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "status" => {
                let status = value.split(' ').next().and_then(|status| status.parse().ok());
                response.status = status.unwrap_or(500);
            }
            "content-length" => {}
            _ => response.headers.push((name.to_owned(), value)),
        }
    }
    response
}
