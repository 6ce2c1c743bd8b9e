//! The web server of a run: each case has a folder of files, told answers, git repositories, and a log of requests.
//!
//! Owns http as far as cases need it. Knows nothing of builds.

mod git;
mod http;

use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;

use super::format::Answer;
use super::image::sha256;
use http::{Request, Response};

/// A running server; it serves as long as the process lives.
pub(super) struct Web {
    address: SocketAddr,
    sites: Arc<Mutex<Sites>>,
}

type Sites = HashMap<String, Site>;

/// One case's folder.
struct Site {
    root: PathBuf,
    answers: HashMap<String, Answer>,
    log: Vec<(String, String)>,
}

impl Web {
    pub(super) fn start() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sites: Arc<Mutex<Sites>> = Arc::default();
        let server = sites.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sites = server.clone();
                // A client that goes away is no failure.
                std::thread::spawn(move || serve(stream, &sites).ok());
            }
        });
        Web { address, sites }
    }

    /// `127.0.0.1:PORT`.
    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Opens the folder of a case.
    pub(super) fn open(&self, name: &str, root: PathBuf, answers: HashMap<String, Answer>) {
        let site = Site { root, answers, log: Vec::new() };
        lock(&self.sites).insert(name.to_owned(), site);
    }

    /// The requests since the last time: method, and path with its query.
    pub(super) fn take_log(&self, name: &str) -> Vec<(String, String)> {
        let mut sites = lock(&self.sites);
        sites.get_mut(name).map(|site| std::mem::take(&mut site.log)).unwrap_or_default()
    }

    /// Closes the folder of a case.
    pub(super) fn close(&self, name: &str) {
        lock(&self.sites).remove(name);
    }
}

fn lock(sites: &Mutex<Sites>) -> MutexGuard<'_, Sites> {
    sites.lock().expect("no holder panics")
}

fn serve(stream: TcpStream, sites: &Mutex<Sites>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = http::Connection::new(stream);
    while let Some(request) = connection.read()? {
        let response = answer(&request, sites);
        connection.write(&request, &response)?;
    }
    Ok(())
}

/// What a request is about.
struct Target {
    root: PathBuf,
    path: String,
    /// The answer told for the path, or for a repository that it lies in.
    told: Answer,
}

fn target(request: &Request, sites: &Mutex<Sites>) -> Option<Target> {
    let path = request.path();
    // A registry's requests begin so; the repository's first part is then the case.
    let (below, path) = match path.strip_prefix("/v2/") {
        Some(path) => ("v2/", path),
        None => ("", path.trim_start_matches('/')),
    };
    let (name, path) = path.split_once('/')?;
    let path = &format!("{below}{path}");
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let mut sites = lock(sites);
    let site = sites.get_mut(name)?;
    let query = request.query().map_or(String::new(), |query| format!("?{query}"));
    site.log.push((request.method.clone(), format!("{path}{query}")));
    let repository = repository(path).map(|(repository, _)| repository);
    let told = site.answers.get(path).or_else(|| site.answers.get(repository?));
    let told = told.cloned().unwrap_or_default();
    Some(Target { root: site.root.clone(), path: path.to_owned(), told })
}

/// A path inside a git repository, cut behind the repository's name.
fn repository(path: &str) -> Option<(&str, &str)> {
    let end = path.find(".git/")? + ".git".len();
    Some(path.split_at(end))
}

fn answer(request: &Request, sites: &Mutex<Sites>) -> Response {
    if request.path() == "/" {
        return Response::new(200, b"root\n".to_vec());
    }
    let Some(target) = target(request, sites) else {
        return Response::new(404, b"no such case\n".to_vec());
    };
    if let Some(refused) = refused(request, &target.told) {
        return refused;
    }
    let mut response = if target.told.status.is_some_and(|status| status != 200) {
        let status = target.told.status.unwrap_or(200);
        let body = std::fs::read(target.root.join(&target.path));
        Response::new(status, body.unwrap_or_else(|_| format!("status {status}\n").into_bytes()))
    } else if repository(&target.path).is_some() {
        git::answer(request, &target.root, &target.path)
    } else {
        file(request, &target)
    };
    for (name, value) in target.told.headers {
        response.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(&name));
        if value != "-" {
            response.headers.push((name, value));
        }
    }
    response
}

/// The refusal, when something secret is asked for and not there.
fn refused(request: &Request, told: &Answer) -> Option<Response> {
    let given = request.header("authorization").unwrap_or_default();
    let (wanted, scheme) = match (&told.password, &told.token) {
        (Some(password), _) => {
            let password = base64::engine::general_purpose::STANDARD.encode(password);
            (format!("Basic {password}"), "Basic realm=\"case\"")
        }
        (None, Some(token)) => (format!("Bearer {token}"), "Bearer realm=\"case\""),
        (None, None) => return None,
    };
    if given == wanted {
        return None;
    }
    let mut refused = Response::new(401, b"who are you?\n".to_vec());
    refused.headers.push(("WWW-Authenticate".to_owned(), scheme.to_owned()));
    Some(refused)
}

fn file(request: &Request, target: &Target) -> Response {
    let Ok(body) = std::fs::read(target.root.join(&target.path)) else {
        return Response::new(404, b"not here\n".to_vec());
    };
    let told = |name: &str| {
        let headers = &target.told.headers;
        headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
    };
    let tag = told("etag").unwrap_or_else(|| format!("\"{}\"", &sha256(&body)[7..23]));
    let asked = request.header("if-none-match").unwrap_or_default();
    let asked: VecDeque<&str> = asked.split(',').map(str::trim).collect();
    let is_known = tag != "-" && asked.contains(&tag.as_str());
    let mut response = Response::new(200, body);
    response.headers.push(("Content-Type".to_owned(), "application/octet-stream".to_owned()));
    response.headers.push(("ETag".to_owned(), tag));
    if is_known {
        response.status = 304;
        response.body.clear();
        return response;
    }
    let modified = "Sat, 01 Jan 2022 10:20:30 GMT".to_owned();
    response.headers.push(("Last-Modified".to_owned(), modified));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// The whole answer to a request with further headers.
    fn ask(web: &Web, request: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(web.address()).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn files_answers_and_the_log() {
        let root = tempfile::tempdir().unwrap();
        for name in ["f", "secret", "bare"] {
            std::fs::write(root.path().join(name), "text\n").unwrap();
        }
        let told = |status, header: &str| {
            let headers = header.split_once(": ").map(|(n, v)| (n.to_owned(), v.to_owned()));
            Answer { status, headers: headers.into_iter().collect(), ..Answer::default() }
        };
        let secret = Answer { password: Some("me:word".to_owned()), ..Answer::default() };
        let token = Answer { token: Some("word".to_owned()), ..Answer::default() };
        let below = root.path().join("v2/r/manifests");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("1"), "text\n").unwrap();
        let answers = [
            ("away", told(Some(302), "Location: /c/f")),
            ("bare", told(None, "ETag: -")),
            ("secret", secret),
            ("f2", token),
        ];
        let answers = answers.map(|(path, answer)| (path.to_owned(), answer));
        let web = Web::start();
        web.open("c", root.path().to_owned(), HashMap::from(answers));
        let starts = |request: &str, headers: &str, status: &str| {
            let answer = ask(&web, request, headers);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
            answer
        };
        let file = starts("GET /c/%66?q=1", "", "200");
        assert!(file.ends_with("\r\n\r\ntext\n") && file.contains("Last-Modified: Sat, 01"));
        let tag = file.lines().find_map(|line| line.strip_prefix("ETag: ")).unwrap();
        starts("GET /c/f", &format!("If-None-Match: \"x\", {tag}\r\n"), "304");
        assert!(starts("HEAD /c/f", "", "200").ends_with("\r\n\r\n"));
        assert!(!starts("GET /c/bare", "", "200").contains("ETag"));
        assert!(starts("GET /c/away", "", "302").contains("Location: /c/f\r\n"));
        assert!(starts("GET /v2/c/r/manifests/1", "", "200").ends_with("\r\n\r\ntext\n"));
        for missing in ["/c/none", "/d/f", "/c/../f", "/v2/", "/v2/d/f"] {
            starts(&format!("GET {missing}"), "", "404");
        }
        assert!(starts("GET /c/secret", "", "401").contains("Basic realm"));
        starts("GET /c/secret", "Authorization: Basic bWU6d29yZA==\r\n", "200");
        starts("GET /c/f2", "Authorization: Bearer other\r\n", "401");
        starts("GET /c/f2", "Authorization: Bearer word\r\n", "404");
        let log = web.take_log("c");
        assert_eq!(log[0], ("GET".to_owned(), "f?q=1".to_owned()));
        assert_eq!((log.len(), web.take_log("c").len()), (11, 0));
        web.close("c");
        starts("GET /c/f", "", "404");
    }

    #[test]
    fn git_repositories() {
        testkit::need!("git");
        let root = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            let ended = git.args(arguments).current_dir(root.path()).output().unwrap();
            assert!(ended.status.success(), "{arguments:?}: {ended:?}");
            String::from_utf8(ended.stdout).unwrap()
        };
        git(&["init", "-q", "--bare", "-b", "main", "r.git"]);
        let tree = git(&["--git-dir=r.git", "hash-object", "-wt", "tree", "/dev/null"]);
        let me = ["-c", "user.name=me", "-c", "user.email=me@example.test", "--git-dir=r.git"];
        let commit = git(&[&me[..], &["commit-tree", "-m", "x", tree.trim()]].concat());
        git(&["--git-dir=r.git", "update-ref", "refs/heads/main", commit.trim()]);
        let secret = Answer { password: Some("me:word".to_owned()), ..Answer::default() };
        let web = Web::start();
        let answers = HashMap::from([("r.git".to_owned(), secret)]);
        web.open("c", root.path().to_owned(), answers);
        let url = format!("http://me:word@{}/c/r.git", web.address());
        assert!(git(&["ls-remote", &url]).starts_with(commit.trim()));
        let got = git(&["clone", "-q", &url, "copy"]);
        assert_eq!((got.as_str(), root.path().join("copy/.git").is_dir()), ("", true));
        let asked = web.take_log("c");
        assert!(
            asked.iter().any(|(method, path)| method == "POST" && path == "r.git/git-upload-pack")
        );
    }
}
