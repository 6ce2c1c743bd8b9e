//! Tokens, passwords and their renewal.

use registry::RegistryErrorKind as Kind;
use testkit::image::TestImage;
use testkit::registry::{Auth, FaultKind, Settings, TestRegistry};

use super::*;

fn start(auth: Auth) -> TestRegistry {
    let registry = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    TestImage::new(&[]).push_to(&registry, "app", "1");
    registry
}

fn tokens(anonymous: &'static str) -> Auth {
    let (basic, identity) = (Some("dTpw".to_owned()), Some("refresh+me".to_owned()));
    Auth::Token { basic, identity, anonymous, expires_in_secs: 300 }
}

fn check(registry: &TestRegistry, entry: &str, expect: Option<Kind>) -> RegistryClient {
    let config = format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host());
    let client = RegistryClient::new(options(&config));
    let got = client.resolve(&reference(registry, "app:1"));
    let kind = got.as_ref().err().map(RegistryError::kind);
    assert_eq!(kind, expect, "{entry}: {}", got.err().map(|e| chain(&e)).unwrap_or_default());
    client
}

#[test]
fn every_kind_of_credential_gets_in() {
    let basic = start(Auth::Basic("dTpw".to_owned()));
    check(&basic, r#"{"auth":"dTpw"}"#, None);
    check(&basic, r#"{"username":"u","password":"p"}"#, None);
    check(&basic, r#"{"auth":"dTp4"}"#, Some(Kind::Unauthorized));
    check(&basic, "{}", Some(Kind::Unauthorized));
    let token = start(tokens(""));
    check(&token, r#"{"auth":"dTpw"}"#, None);
    check(&token, r#"{"identitytoken":"refresh+me"}"#, None);
    check(&token, r#"{"identitytoken":"other"}"#, Some(Kind::Unauthorized));
    check(&token, r#"{"auth":"dTp4"}"#, Some(Kind::Unauthorized));
    check(&token, "{}", Some(Kind::Unauthorized));
    check(&start(tokens("pull")), "{}", None);
}

#[test]
fn one_token_serves_many_requests_until_it_is_refused() {
    let registry = start(tokens("pull"));
    let client = check(&registry, "{}", None);
    let asked = |registry: &TestRegistry| {
        registry.calls().iter().filter(|c| c.starts_with("GET /token")).count()
    };
    client.resolve(&reference(&registry, "app:1")).expect("same token");
    assert_eq!(asked(&registry), 1);
    registry.fail_with("GET", "/manifests/", 1, FaultKind::ExpireTokens);
    client.resolve(&reference(&registry, "app:1")).expect("new token");
    assert_eq!(asked(&registry), 2);
}

#[test]
fn a_token_server_that_is_busy_is_asked_again() {
    let registry = start(tokens("pull"));
    let busy = FaultKind::Status(503, vec![], String::new());
    registry.fail_with("", "/token", 2, busy.clone());
    check(&registry, "{}", None);
    registry.fail_with("", "/token", 9, busy);
    check(&registry, "{}", Some(Kind::Server));
}

#[test]
fn refusals_quote_the_token_server_and_no_secret() {
    let registry = start(tokens(""));
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"dTpzM2NyM3Q="}}}}}}"#, registry.host());
    let error = RegistryClient::new(options(&config))
        .resolve(&reference(&registry, "app:1"))
        .expect_err("wrong password");
    let text = chain(&error);
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(!text.contains("s3cr3t") && !text.contains("dTpzM2NyM3Q"), "{text}");
}

#[test]
fn refusals_say_who_was_refused_and_how_to_log_in() {
    let says = |registry: &TestRegistry, entry: &str, who: &str, hint: &str| {
        let config = format!(r#"{{"auths":{{"{}":{entry}}}}}"#, registry.host());
        let error = RegistryClient::new(options(&config))
            .resolve(&reference(registry, "app:1"))
            .expect_err("refused");
        let text = chain(&error);
        assert!(text.ends_with(&format!("({})", who.replace("HOST", &registry.host()))), "{text}");
        let login = format!("{hint}: `shale login {}`", registry.host());
        assert_eq!(error.hint().as_deref(), Some(login.as_str()), "{text}");
    };
    for registry in [start(Auth::Basic("dTpw".to_owned())), start(tokens(""))] {
        says(&registry, "{}", "no credentials for HOST were sent", "log in first");
        says(&registry, r#"{"auth":"dTp4"}"#, "sent: password of u from test", "log in again");
    }
}

#[test]
fn helpers_are_asked_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let registry = start(Auth::Basic("dTpw".to_owned()));
    let dir = tempfile::tempdir().expect("temp dir");
    let program = dir.path().join("docker-credential-x");
    let count = dir.path().join("count");
    let script = format!(
        "#!/bin/sh\nread -r s; echo \"$s\" >>{}\necho '{{\"Username\":\"u\",\"Secret\":\"p\"}}'\n",
        count.display()
    );
    std::fs::write(&program, script).expect("write");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let text = CredentialsText {
        origin: "config.json".to_owned(),
        text: format!(r#"{{"credHelpers":{{"{}":"x"}}}}"#, registry.host()),
    };
    let source = CredentialsSource { texts: vec![text], helper_dirs: vec![dir.path().to_owned()] };
    let credentials = Credentials::load(&source).expect("valid");
    let client = RegistryClient::new(RegistryOptions { credentials, ..options("") });
    for _ in 0..2 {
        client.resolve(&reference(&registry, "app:1")).expect("resolve");
    }
    let asked = std::fs::read_to_string(&count).expect("asked");
    assert_eq!(asked, format!("{}\n", registry.host()));
}
