use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use tree::Tree;

/// Makes a repository with a branch, a tag and an annotated tag, and serves it as plain files.
struct Served {
    _dir: tempfile::TempDir,
    url: String,
    v1: String,
}

fn sh(dir: &Path, script: &str) -> String {
    let mut command = Command::new("sh");
    command.arg("-euc").arg(script).current_dir(dir).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@example");
        command.env(format!("GIT_{who}_DATE"), "2020-01-02T03:04:05Z");
    }
    let output = command.output().expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn serve() -> Served {
    let dir = tempfile::tempdir().expect("temporary directory");
    let v1 = sh(
        dir.path(),
        "git init -q -b main w; cd w
         echo one > one; mkdir sub; echo two > sub/two; echo '#!/bin/sh' > sub/run
         chmod 755 sub/run; ln -s one link; ln -s / sub/away
         git add .; git commit -q -m first; git tag v1; git rev-parse HEAD
         echo changed > one; git commit -q -a -m second; git tag -a -m annotated v2
         git checkout -q -b side; echo side > side; git add .; git commit -q -m third
         git checkout -q main; cd ..
         git clone -q --bare w repo.git; cd repo.git; git update-server-info",
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/repo.git", listener.local_addr().expect("address"));
    let root = dir.path().to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("accept");
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            let mut line = String::new();
            let _ = reader.read_line(&mut line);
            let mut rest = String::new();
            while reader.read_line(&mut rest).is_ok_and(|n| n > 2) {
                rest.clear();
            }
            let path = line.split(' ').nth(1).unwrap_or_default();
            let path = path.split('?').next().unwrap_or_default();
            let (status, body) = match std::fs::read(root.join(path.trim_start_matches('/'))) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    Served { _dir: dir, url, v1: v1.trim().to_owned() }
}

fn source(remote: &str, reference: &str) -> GitSource {
    GitSource {
        remote: remote.to_owned(),
        reference: (!reference.is_empty()).then(|| reference.to_owned()),
        subdir: String::new(),
        checksum: None,
        keep_git_dir: false,
        submodules: true,
        commit_times: false,
        fetch_by_commit: false,
    }
}

fn env() -> Vec<(OsString, OsString)> {
    vec![("PATH".into(), std::env::var_os("PATH").expect("PATH"))]
}

/// The names in the root of what is checked out, and the content of `one` if it is there.
fn checkout(source: &GitSource) -> Result<(String, String), ContextError> {
    let env = env();
    let cancel = Cancel::new();
    let request = GitRequest { source, auth: None, ssh_agent: None, env: &env, cancel: &cancel };
    let home = tempfile::tempdir().expect("temporary directory");
    let resolved = resolve_git(&request, home.path())?;
    let dir = tempfile::tempdir().expect("temporary directory");
    let got = fetch_git(&request, &resolved, dir.path())?;
    assert_eq!(got.commit_time.secs, 1_577_934_245);
    let names = got.tree.children(b"").expect("root");
    let names: Vec<String> = names.iter().map(|n| String::from_utf8_lossy(n).into()).collect();
    let mut one = String::new();
    if let Ok(mut file) = got.tree.open(b"one") {
        use std::io::Read;
        file.read_to_string(&mut one).expect("read");
    }
    Ok((names.join(" "), one.trim().to_owned()))
}

#[test]
fn references_are_checked_out() {
    let served = serve();
    let check = |reference: &str, names: &str, one: &str| {
        let got = checkout(&source(&served.url, reference)).expect(reference);
        assert_eq!(got, (names.to_owned(), one.to_owned()), "{reference}");
    };
    check("", "link one sub", "changed"); // ADD-51
    check("v1", "link one sub", "one");
    check("v2", "link one sub", "changed");
    check("side", "link one side sub", "changed");
    check("refs/heads/side", "link one side sub", "changed");
    check(&served.v1, "link one sub", "one");
}

#[test]
fn directories_and_checksums() {
    let served = serve();
    let changed = |change: &dyn Fn(&mut GitSource)| {
        let mut source = source(&served.url, "v1");
        change(&mut source);
        checkout(&source).map(|(names, _)| names)
    };
    assert_eq!(changed(&|s| s.subdir = "sub".into()).expect("sub"), "away run two");
    assert_eq!(changed(&|s| s.keep_git_dir = true).expect("kept"), ".git link one sub"); // ADD-54
    let prefix = served.v1[..8].to_owned();
    assert!(changed(&|s| s.checksum = Some(prefix.clone())).is_ok()); // ADD-55
    let wrong = changed(&|s| s.checksum = Some("1111".into())).expect_err("wrong commit");
    assert!(wrong.to_string().contains("expected checksum to match 1111, got"), "{wrong}");
    for subdir in ["none", "one", "sub/away", "sub/away/etc"] {
        let error = changed(&|s| s.subdir = subdir.into()).expect_err(subdir); // C12
        assert!(error.to_string().contains("has no directory"), "{error}");
    }
    let error = changed(&|s| s.reference = Some("nosuch".into())).expect_err("nosuch");
    assert_eq!(error.kind(), crate::ErrorKind::NotFound);
}

#[test]
fn nothing_is_taken_for_an_option() {
    let served = serve();
    for bad in ["--upload-pack=touch x", "-x", "a..b", "a b", "x.lock", "@{0}", "a//b", "a:b"] {
        let error = checkout(&source(&served.url, bad)).expect_err(bad);
        assert!(error.to_string().contains("invalid reference"), "{bad}: {error}");
    }
    for remote in ["ext::sh -c x", "--output=x", "/tmp", "file:///tmp"] {
        assert!(checkout(&source(remote, "main")).is_err(), "{remote}");
    }
}
