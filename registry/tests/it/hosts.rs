//! The configuration files of podman, containerd and docker: each case of testdata/registries is a directory of files,
//! and `expect.txt` has references with what becomes of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use registry::{
    Asked, Credential, Credentials, CredentialsSource, CredentialsText, Endpoint, Hosts,
    HostsSource, KeptAs, Scheme,
};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/registries")
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let dir = top().join(kind);
    let entries = std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

/// `SHALE_BLESS=1` writes what was found into the case, to be read before it is kept.
#[track_caller]
fn is_expected(dir: &Path, got: &str, expect: &str) {
    if std::env::var_os("SHALE_BLESS").is_some() {
        std::fs::write(dir.join("expect.txt"), got).expect("written");
    } else {
        assert_eq!(got, expect, "{}", dir.display());
    }
}

#[test]
fn files_mean_what_the_cases_say() {
    for dir in cases("hosts") {
        let expect = std::fs::read_to_string(dir.join("expect.txt")).expect("expect.txt");
        let mut got = String::new();
        for question in expect.lines().filter_map(|line| line.strip_prefix("> ")) {
            let _ = write!(got, "> {question}\n{}", plan_of(&dir, question));
        }
        is_expected(&dir, &got, &expect);
    }
}

/// `pull REF` or `push REF`.
fn plan_of(dir: &Path, question: &str) -> String {
    let hosts = Hosts::new(HostsSource {
        registries_conf: vec![dir.join("user.conf"), dir.join("registries.conf")],
        named_registries_conf: None,
        registries_conf_dirs: vec![dir.join("registries.conf.d")],
        hosts_dirs: vec![dir.join("user-hosts"), dir.join("hosts")],
        certs_dirs: vec![dir.join("certs")],
        daemon_json: vec![dir.join("user-daemon.json"), dir.join("daemon.json")],
    });
    let (verb, name) = question.split_once(' ').expect("a verb and a reference");
    let asked = match verb {
        "pull" => Asked::Manifest,
        "blob" => Asked::Blob,
        "push" => Asked::Push,
        other => panic!("no such verb: {other}"),
    };
    let reference = name.parse().unwrap_or_else(|e| panic!("{name}: {e}"));
    let text = match hosts.plan(&reference, asked) {
        Ok(plan) => {
            let blocked = plan.blocked.iter().map(|said| format!("blocked by {said}\n"));
            let notes = plan.notes.iter().map(|note| format!("note: {note}\n"));
            blocked.chain(plan.endpoints.iter().map(one)).chain(notes).collect()
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).expect("a cause");
            format!("error: {cause}\n")
        }
    };
    text.replace(&format!("{}/", dir.display()), "")
}

fn one(endpoint: &Endpoint) -> String {
    let link = &endpoint.link;
    let role = if endpoint.is_origin { "registry" } else { "mirror" };
    let mut line = format!("{role} {} {}", link.url(), endpoint.repository);
    if link.skip_verify && link.scheme != Scheme::Http {
        line.push_str(" unverified");
    }
    for file in &link.files.ca {
        let _ = write!(line, " ca={}", file.display());
    }
    for (cert, key) in &link.files.client {
        let _ = write!(line, " client={},{}", cert.display(), key.display());
    }
    for (name, value) in &link.headers {
        let _ = write!(line, " {name}={}", value.reveal());
    }
    if let Some(namespace) = &link.namespace {
        let _ = write!(line, " ns={namespace}");
    }
    for (word, said) in &endpoint.said {
        let _ = write!(line, " [{word} {said}]");
    }
    if let Some(why) = &endpoint.unused {
        let _ = write!(line, " unused: {why}");
    }
    line.push('\n');
    line
}

#[test]
fn credentials_come_from_where_the_cases_say() {
    let helpers = tempfile::tempdir().expect("temp dir");
    for (name, script) in [
        ("knows", r#"read -r s; echo "{\"Username\":\"helped\",\"Secret\":\"$s\"}""#),
        ("token", r#"echo '{"Username":"<token>","Secret":"t"}'"#),
        ("empty", "echo 'credentials not found in native keychain'; exit 1"),
        ("broken", "echo the-secret-itself; exit 1"),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = helpers.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    for dir in cases("credentials") {
        let mut texts = Vec::new();
        for name in ["first.json", "second.json"] {
            if let Ok(text) = std::fs::read_to_string(dir.join(name)) {
                texts.push(CredentialsText { origin: name.to_owned(), text });
            }
        }
        let helper_dirs = vec![helpers.path().to_owned()];
        let credentials = Credentials::load(&CredentialsSource { texts, helper_dirs });
        let credentials = credentials.unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let expect = std::fs::read_to_string(dir.join("expect.txt")).expect("expect.txt");
        let mut got = String::new();
        for name in expect.lines().filter_map(|line| line.split(" = ").next()) {
            let _ = writeln!(got, "{name} = {}", credential_of(&credentials, name));
        }
        is_expected(&dir, &got, &expect);
    }
}

/// What is found, and where it would be looked for.
fn credential_of(credentials: &Credentials, name: &str) -> String {
    let (registry, repository) = name.split_once('/').unwrap_or((name, ""));
    let found = match credentials.get(registry, repository) {
        Ok(Credential::Anonymous) => "anonymous".to_owned(),
        Ok(Credential::Basic { user, password }) => format!("{user}:{}", password.reveal()),
        Ok(Credential::IdentityToken(token)) => format!("identity {}", token.reveal()),
        Ok(Credential::RegistryToken(token)) => format!("registry {}", token.reveal()),
        Err(error) => {
            let cause = std::error::Error::source(&error).expect("a cause");
            let text = format!("{error}: {cause}");
            assert!(!text.contains("secret"), "{text}");
            text.split("; `").next().unwrap_or_default().to_owned()
        }
    };
    let kept = credentials.kept(registry, repository).into_iter().map(|kept| {
        let line = kept.line.map(|line| format!(":{line}")).unwrap_or_default();
        match kept.how {
            KeptAs::Helper { program, word } => format!("{program} {word} {}{line}", kept.file),
            KeptAs::Entry { key, kind } => format!("{kind} {key} {}{line}", kept.file),
        }
    });
    let kept: Vec<String> = kept.collect();
    format!("{found} [{}]", kept.join(", "))
}
