use super::*;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A server that answers by path and writes down what it was asked. Returns its address and the requests' heads.
fn server(answer: fn(&str, &str) -> String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (own, log) = (address.clone(), Arc::clone(&asked));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|n| n > 0) {}
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            log.lock().expect("log").push(head);
            let _ = stream.write_all(answer(&own, &path).as_bytes());
        }
    });
    (address, asked)
}

fn ok(headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn to(location: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    )
}

fn answers(own: &str, path: &str) -> String {
    match path {
        "/file" => ok("Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT\r\nETag: \"e\"\r\n", "hello"),
        "/moved" => to("/file"),
        "/away" => to(&format!("http://localhost:{}/file", own.rsplit(':').next().expect("port"))),
        "/loop" => to("/loop"),
        _ if path.starts_with("/hop?") => to(&path[5..]),
        "/passwd" => to("file:///etc/passwd"),
        _ => "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
    }
}

struct Fetched {
    result: Result<Option<HttpFile>, ContextError>,
    content: Option<Vec<u8>>,
}

fn fetch<'a>(url: &'a str, change: impl FnOnce(&mut HttpRequest<'a>)) -> Fetched {
    let agent = |_: &str, _: Option<&str>| Ok(Agent::new_with_defaults());
    let downloads = Downloads { agent: &agent, cancelled: &|| false, told: &|_, _| () };
    let dir = tempfile::tempdir().expect("temporary directory");
    let into = dir.path().join("content");
    let mut request =
        HttpRequest { url, checksum: None, auth: None, known: None, size_max_bytes: 100 };
    change(&mut request);
    let result = fetch_http(&downloads, &request, &into);
    Fetched { result, content: std::fs::read(into).ok() }
}

#[test]
fn files_come_with_their_facts() {
    let (address, _) = server(answers);
    let got = fetch(&format!("http://{address}/moved"), |_| ());
    let file = got.result.expect("fetch").expect("file");
    assert_eq!(file.digest, Digest::of(b"hello"));
    assert_eq!((file.size_bytes, file.etag.as_deref()), (5, Some("\"e\"")));
    assert_eq!(file.location, format!("http://{address}/file"));
    assert_eq!(file.mtime, Some(Mtime { secs: 1_445_412_480, nanos: 0 })); // ADD-34
    assert_eq!(got.content.as_deref(), Some(&b"hello"[..]));
}

#[test]
fn what_is_wrong_leaves_no_file() {
    let (address, _) = server(answers);
    let check = |path: &str, want: &str, change: &dyn Fn(&mut HttpRequest<'_>)| {
        let got = fetch(&format!("http://{address}{path}"), |request| change(request));
        let error = got.result.expect_err(path).to_string();
        assert!(error.contains(want), "{path}: {error}");
        assert_eq!(got.content, None, "{path}");
    };
    check("/none", "invalid response status 404", &|_| ()); // ADD-35
    check("/loop", "more than 10 redirects", &|_| ());
    check("/passwd", "only http and https", &|_| ());
    check("/file", "more than 4 bytes", &|request| request.size_max_bytes = 4);
    check("/file", "digest mismatch for", &|request| {
        request.checksum = Some(Digest::of(b"other")); // ADD-39
    });
}

#[test]
fn credentials_stay_at_their_host() {
    let (address, asked) = server(answers);
    let auth = HttpAuth::bearer("token-1");
    let away = format!("http://{address}/away");
    let got = fetch(&away, |request| request.auth = Some(&auth));
    got.result.expect("fetch");
    let user = fetch(&format!("http://u:secret@{address}/none"), |_| ());
    let error = user.result.expect_err("not there").to_string();
    assert!(!error.contains("secret"), "{error}");
    let asked = asked.lock().expect("log");
    let with_auth = |head: &String| head.to_lowercase().contains("authorization:");
    assert_eq!(asked.iter().map(with_auth).collect::<Vec<_>>(), [true, false, true]);
    assert!(!format!("{auth:?}").contains("token-1"));
}

#[test]
fn credentials_do_not_come_back_from_a_foreign_server() {
    let (other, _) = server(|_, path| to(path.trim_start_matches("/to/")));
    let (address, asked) = server(answers);
    let back = format!("http://{address}/hop?http://{other}/to/http://{address}/file");
    let auth = HttpAuth::header("Custom c-1");
    fetch(&back, |request| request.auth = Some(&auth)).result.expect("fetch");
    let asked = asked.lock().expect("log");
    let with_auth = |head: &String| head.contains("c-1");
    assert_eq!(asked.iter().map(with_auth).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_known_etag_may_be_enough() {
    let (address, asked) =
        server(|_, _| "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned());
    let url = format!("http://{address}/file");
    let known = KnownContent { etag: "\"e\"", location: &url };
    let got = fetch(&url, |request| request.known = Some(known));
    assert_eq!(got.result.expect("fetch"), None); // ADD-36
    assert!(asked.lock().expect("log")[0].to_lowercase().contains("if-none-match: \"e\""));
}

#[test]
fn a_server_may_ignore_the_question_but_repeat_the_etag() {
    let (address, asked) = server(answers);
    let location = format!("http://{address}/file");
    for (etag, path, want) in [
        ("\"e\"", "file", false),
        ("W/\"e\"", "file", false),
        ("\"e\"", "moved", false),
        ("\"old\"", "file", true),
    ] {
        let known = KnownContent { etag, location: &location };
        let url = format!("http://{address}/{path}");
        let got = fetch(&url, |request| request.known = Some(known));
        assert_eq!(got.result.expect("fetch").is_some(), want, "{etag} {path}");
    }
    // The same ETag at another place is no answer, and is not asked about.
    asked.lock().expect("log").clear();
    let known = KnownContent { etag: "\"e\"", location: "http://other/file" };
    let got = fetch(&location, |request| request.known = Some(known));
    assert!(got.result.expect("fetch").is_some());
    assert!(!asked.lock().expect("log")[0].to_lowercase().contains("if-none-match"));
}
