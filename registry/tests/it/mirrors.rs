//! Mirrors, other places and blocked registries, against real servers: who is asked, in which order, with what.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use registry::{Credential, Hosts, HostsSource, Pushed, RegistryErrorKind as Kind, TlsRoots};
use testkit::image::TestImage;
use testkit::registry::{Auth, FaultKind, Settings, TestRegistry};

use super::*;

/// Files that a test writes, and what people are told.
struct Setting {
    dir: tempfile::TempDir,
    told: Arc<Mutex<Vec<String>>>,
}

impl Setting {
    fn new() -> Setting {
        Setting { dir: tempfile::tempdir().expect("temp dir"), told: Arc::default() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        std::fs::write(&path, text).expect("write");
        path
    }

    fn options(&self, config_json: &str) -> RegistryOptions {
        let at = |name: &str| self.dir.path().join(name);
        let hosts_file = self.write("hosts-file", "127.0.0.1 registry.test\n");
        let root = self.write("other.pem", super::tls::OTHER_ROOT);
        RegistryOptions {
            hosts: Hosts::new(HostsSource {
                registries_conf: vec![at("registries.conf")],
                named_registries_conf: None,
                registries_conf_dirs: vec![at("registries.conf.d")],
                hosts_dirs: vec![at("hosts")],
                certs_dirs: vec![at("certs")],
                daemon_json: vec![at("daemon.json")],
            }),
            hosts_file,
            roots: TlsRoots::Files(vec![root]),
            ..options(config_json)
        }
    }

    fn client(&self, config_json: &str) -> RegistryClient {
        let client = RegistryClient::new(self.options(config_json));
        let told = self.told.clone();
        client.listen(move |text| told.lock().expect("not poisoned").push(text.to_owned()));
        client
    }

    fn told(&self) -> Vec<String> {
        self.told.lock().expect("not poisoned").clone()
    }
}

/// An image with one layer, and the parts of it.
fn image(registry: &TestRegistry, repository: &str) -> (Vec<u8>, Descriptor) {
    let bytes = noise(5000);
    let descriptor = blob_descriptor(&bytes);
    registry.put_blob(repository, &bytes);
    TestImage::new(&[]).push_to(registry, repository, "1");
    (bytes, descriptor)
}

/// A mirror of `docker.io` and its `registries.conf`; nobody else may be asked.
fn hub_mirrors(setting: &Setting, mirrors: &[&str]) {
    let mut text = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1\"\n".to_owned();
    for mirror in mirrors {
        text.push_str(&format!("[[registry.mirror]]\nlocation = \"{mirror}\"\n"));
    }
    setting.write("registries.conf", &text);
}

#[test]
fn a_mirror_answers_for_manifests_and_blobs() {
    let (setting, mirror) = (Setting::new(), TestRegistry::start());
    let (bytes, descriptor) = image(&mirror, "hub/team/app");
    hub_mirrors(&setting, &[&mirror.name("hub")]);
    let client = setting.client("");
    let reference: Reference = "team/app:1".parse().expect("a reference");
    client.resolve(&reference).expect("the mirror has it");
    assert_eq!(read_blob(&client, &reference, &descriptor).expect("a blob"), bytes);
    assert!(setting.told().is_empty(), "{:?}", setting.told());
    let manifest = client.resolve(&reference).expect("again").digest;
    client.resolve(&reference.with_digest(manifest)).expect("by digest");
}

#[test]
fn a_mirror_that_fails_is_passed_over() {
    let check = |status: Option<u16>, told: bool| {
        let (setting, good) = (Setting::new(), TestRegistry::start());
        let bad = TestRegistry::start();
        image(&good, "team/app");
        if let Some(status) = status {
            let kind = FaultKind::Status(status, vec![], String::new());
            bad.fail_with("GET", "manifests", 100, kind);
        }
        let dead = "127.0.0.1:1".to_owned();
        let first = if status.is_some() { bad.host() } else { dead };
        hub_mirrors(&setting, &[&first, &good.host()]);
        let client = setting.client("");
        let reference: Reference = "team/app:1".parse().expect("a reference");
        client.resolve(&reference).unwrap_or_else(|e| panic!("{status:?}: {}", chain(&e)));
        client.resolve(&reference).expect("again");
        let lines = setting.told();
        assert_eq!(!lines.is_empty(), told, "{status:?}: {lines:?}");
        if status.is_none() {
            // Who does not answer is told once, and not asked again.
            assert_eq!(lines.len(), 1, "{lines:?}");
            assert!(lines[0].starts_with("mirror 127.0.0.1:1/team/app is passed over: "));
        }
    };
    check(None, true);
    check(Some(404), false);
    check(Some(401), false);
    check(Some(403), false);
    check(Some(500), true);
    check(Some(429), true);
}

#[test]
fn wrong_bytes_of_a_mirror_are_never_taken() {
    let (setting, bad) = (Setting::new(), TestRegistry::start());
    let good = TestRegistry::start();
    image(&bad, "team/app");
    image(&good, "team/app");
    bad.fail_with("GET", "manifests", 1, FaultKind::Body(b"{}".to_vec()));
    hub_mirrors(&setting, &[&bad.host(), &good.host()]);
    let client = setting.client("");
    let got = client.resolve(&"team/app:1".parse().expect("a reference")).expect("the other");
    assert!(got.bytes.len() > 2);
    assert!(setting.told()[0].contains("has digest"), "{:?}", setting.told());
}

#[test]
fn wrong_bytes_of_a_blob_are_asked_for_elsewhere() {
    let (setting, bad) = (Setting::new(), TestRegistry::start());
    let good = TestRegistry::start();
    let (_, descriptor) = image(&bad, "team/app");
    let (bytes, _) = image(&good, "team/app");
    bad.fail_with("GET", "blobs", 100, FaultKind::Body(vec![b'x'; 5000]));
    hub_mirrors(&setting, &[&bad.host(), &good.host()]);
    let client = setting.client("");
    let reference: Reference = "team/app:1".parse().expect("a reference");
    let error = read_blob(&client, &reference, &descriptor).expect_err("other bytes");
    assert_eq!(error.kind(), Kind::Digest);
    assert_eq!(client.wrong_mirrors(&descriptor.digest), 1);
    assert_eq!(read_blob(&client, &reference, &descriptor).expect("the other"), bytes);
    assert!(setting.told()[0].contains("other bytes"), "{:?}", setting.told());
}

#[test]
fn a_blob_goes_on_at_the_next_place() {
    let (setting, first) = (Setting::new(), TestRegistry::start());
    let second = TestRegistry::start();
    let (_, descriptor) = image(&first, "team/app");
    let (bytes, _) = image(&second, "team/app");
    hub_mirrors(&setting, &[&first.host(), &second.host()]);
    let client = setting.client("");
    let reference: Reference = "team/app:1".parse().expect("a reference");
    client.resolve(&reference).expect("a manifest");
    first.fail_with("GET", "blobs", 1, FaultKind::CutBody(1000));
    let gone = FaultKind::Status(404, vec![], String::new());
    first.fail_with("GET", "blobs", 10, gone);
    assert_eq!(read_blob(&client, &reference, &descriptor).expect("a blob"), bytes);
    let log = second.log();
    let last = log.last().expect("a request");
    assert_eq!(last.headers.get("range").map(String::as_str), Some("bytes=1000-"), "{last:?}");
}

#[test]
fn credentials_are_for_the_place_that_they_name() {
    let encoded = |who: &str| STANDARD.encode(format!("{who}:secret-of-{who}"));
    let basic = |who: &str| Settings { auth: Auth::Basic(encoded(who)), ..Settings::default() };
    let (setting, stranger) = (Setting::new(), TestRegistry::start_with(basic("stranger")));
    let mirror = TestRegistry::start_with(basic("mirror"));
    image(&mirror, "hub/app");
    hub_mirrors(&setting, &[&stranger.host(), &mirror.name("hub")]);
    let config = format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"docker.io/library":{{"auth":"{}"}},
            "{}":{{"auth":"{}"}}}}}}"#,
        encoded("hub"),
        encoded("hub"),
        mirror.host(),
        encoded("mirror"),
    );
    // `app` is `library/app`: the mirror must be asked for that.
    let (bytes, descriptor) = image(&mirror, "hub/library/app");
    let client = setting.client(&config);
    let reference: Reference = "app:1".parse().expect("a reference");
    client.resolve(&reference).expect("the mirror has it");
    assert_eq!(read_blob(&client, &reference, &descriptor).expect("a blob"), bytes);
    for logged in stranger.log().iter().chain(&mirror.log()) {
        let sent = logged.headers.get("authorization").cloned().unwrap_or_default();
        assert!(!sent.contains(&encoded("hub")), "{logged:?}");
    }
    assert!(stranger.log().iter().all(|logged| !logged.headers.contains_key("authorization")));
}

#[test]
fn what_is_blocked_is_not_asked_for() {
    let (setting, registry) = (Setting::new(), TestRegistry::start());
    image(&registry, "team/app");
    let host = registry.host();
    let text = format!("# no\n[[registry]]\nlocation = \"{host}/team\"\nblocked = true\n");
    let path = setting.write("registries.conf", &text);
    let client = setting.client("");
    let blocked = client.resolve(&reference(&registry, "team/app:1")).expect_err("blocked");
    assert_eq!(blocked.kind(), Kind::Blocked);
    assert!(chain(&blocked).contains(&format!("{}:4", path.display())), "{}", chain(&blocked));
    let taken = client.push_manifest(&reference(&registry, "team/app:2"), "x/y", b"{}");
    assert_eq!(taken.expect_err("blocked").kind(), Kind::Blocked);
    assert!(registry.log().is_empty());
    // Another repository of the same registry is free; so is one whose name only begins alike.
    let other = client.resolve(&reference(&registry, "teams/app:1")).expect_err("not there");
    assert_eq!(other.kind(), Kind::NotFound);
}

#[test]
fn a_mirror_that_is_blocked_is_left_out() {
    let (setting, mirror) = (Setting::new(), TestRegistry::start());
    let origin = TestRegistry::start();
    image(&mirror, "app");
    image(&origin, "app");
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry]]\nlocation = \"{}\"\nblocked = true\n",
        origin.host(),
        mirror.host(),
        mirror.host(),
    );
    setting.write("registries.conf", &text);
    setting.client("").resolve(&reference(&origin, "app:1")).expect("the registry itself");
    assert!(mirror.log().is_empty());
}

#[test]
fn mirrors_for_digests_are_not_asked_for_tags() {
    let (setting, mirror) = (Setting::new(), TestRegistry::start());
    let origin = TestRegistry::start();
    let (bytes, descriptor) = image(&mirror, "app");
    image(&origin, "app");
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\nmirror-by-digest-only = true\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        origin.host(),
        mirror.host(),
    );
    setting.write("registries.conf", &text);
    let client = setting.client("");
    let tagged = reference(&origin, "app:1");
    let digest = client.resolve(&tagged).expect("a manifest").digest;
    assert!(mirror.log().is_empty());
    client.resolve(&tagged.with_digest(digest)).expect("a manifest");
    assert_eq!(read_blob(&client, &tagged, &descriptor).expect("a blob"), bytes);
    let asked = mirror.log();
    assert_eq!(asked.iter().filter(|l| l.path.contains("/app/")).count(), 2, "{asked:?}");
}

#[test]
fn hosts_toml_says_path_header_and_namespace() {
    let (setting, mirror) = (Setting::new(), TestRegistry::start());
    let origin = TestRegistry::start();
    image(&mirror, "app");
    image(&origin, "app");
    let host = origin.host().replace(':', "_");
    let text = format!(
        "server = \"http://{}\"\n[host.\"http://{}/v2\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
         override_path = true\n[host.\"http://{}/v2\".header]\nX-Team = \"blue\"\n\
         Authorization = \"Team blue\"\n",
        origin.host(),
        mirror.host(),
        mirror.host(),
    );
    setting.write(&format!("hosts/{host}_/hosts.toml"), &text);
    let client = setting.client("");
    client.resolve(&reference(&origin, "app:1")).expect("the mirror has it");
    let asked = mirror.log();
    let last = asked.last().expect("a request");
    assert_eq!(last.headers.get("x-team").map(String::as_str), Some("blue"));
    assert_eq!(last.headers.get("authorization").map(String::as_str), Some("Team blue"));
    assert!(last.path.contains(&format!("ns={}", origin.host().replace(':', "%3A"))), "{last:?}");
    assert!(origin.log().is_empty());
    // The mirror takes no pushes.
    let pushed = push(&client, &reference(&origin, "app:2"), b"new");
    assert_eq!(pushed, Pushed::Uploaded);
    assert!(origin.log().iter().all(|logged| !logged.headers.contains_key("x-team")));
    assert_eq!(mirror.log().len(), asked.len());
}

fn push(client: &RegistryClient, reference: &Reference, bytes: &'static [u8]) -> Pushed {
    let open = || -> std::io::Result<Box<dyn std::io::Read>> { Ok(Box::new(bytes)) };
    let size = bytes.len() as u64;
    client.push_blob(reference, &Digest::of(bytes), size, &open, None).expect("pushed")
}

#[test]
fn daemon_json_has_mirrors_of_docker_hub() {
    let (setting, mirror) = (Setting::new(), TestRegistry::start());
    image(&mirror, "library/app");
    let text =
        format!("{{\n  \"registry-mirrors\": [\n    \"http://{}\"\n  ]\n}}\n", mirror.host());
    setting.write("daemon.json", &text);
    let client = setting.client("");
    client.resolve(&"app:1".parse().expect("a reference")).expect("the mirror has it");
}

#[test]
fn certificates_of_a_directory_are_for_one_host() {
    let settings = Settings { tls: true, client_certificate: true, ..Settings::default() };
    let registry = TestRegistry::start_with(settings);
    let port = registry.host().rsplit_once(':').expect("a port").1.to_owned();
    let name = format!("registry.test:{port}");
    let setting = Setting::new();
    let reference: Reference = format!("{name}/app:1").parse().expect("a reference");
    let kind = || setting.client("").resolve(&reference).expect_err("no image").kind();
    assert_eq!(kind(), Kind::Tls);
    let file = |name: &str| format!("certs/registry.test:{port}/{name}");
    setting.write(&file("ca.crt"), testkit::tls::ROOT_PEM);
    // The server hangs up on clients without a certificate.
    assert!(matches!(kind(), Kind::Tls | Kind::Unreachable), "{:?}", kind());
    setting.write(&file("client.cert"), testkit::tls::CLIENT_PEM);
    let error = setting.client("").resolve(&reference).expect_err("no key");
    assert!(chain(&error).contains("client.key"), "{}", chain(&error));
    setting.write(&file("client.key"), testkit::tls::CLIENT_KEY);
    assert_eq!(kind(), Kind::NotFound);
    // Another name of the same server gets neither.
    let other: Reference = registry.name("app:1").parse().expect("a reference");
    assert_eq!(setting.client("").resolve(&other).expect_err("no root").kind(), Kind::Tls);
}

#[test]
fn insecure_registries_are_asked_in_both_ways() {
    for tls in [true, false] {
        let registry = TestRegistry::start_with(Settings { tls, ..Settings::default() });
        let port = registry.host().rsplit_once(':').expect("a port").1.to_owned();
        let reference: Reference =
            format!("registry.test:{port}/app:1").parse().expect("a reference");
        let setting = Setting::new();
        let kind = || setting.client("").resolve(&reference).expect_err("no image").kind();
        assert_eq!(kind(), Kind::Tls, "TLS {tls}");
        let text = format!("{{\"insecure-registries\":[\"registry.test:{port}\"]}}");
        let daemon = setting.write("daemon.json", &text);
        assert_eq!(kind(), Kind::NotFound, "TLS {tls}");
        std::fs::remove_file(daemon).expect("removed");
        let text = format!("[[registry]]\nlocation = \"registry.test:{port}\"\ninsecure = true\n");
        setting.write("registries.conf", &text);
        assert_eq!(kind(), Kind::NotFound, "TLS {tls}");
    }
}

#[test]
fn a_login_gives_what_is_to_be_kept() {
    let auth = Auth::Basic(STANDARD.encode("bob:right"));
    let registry = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    let login = |password: &str| {
        let config = format!(
            r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
            registry.host(),
            STANDARD.encode(format!("bob:{password}"))
        );
        RegistryClient::new(options(&config)).login(&registry.host()).map_err(|e| e.kind())
    };
    assert!(matches!(login("right"), Ok(Credential::Basic { .. })));
    assert_eq!(login("wrong"), Err(Kind::Unauthorized));
}

#[test]
fn a_login_goes_to_the_registry_itself() {
    // The mirror takes pushes and gives tokens to everybody; it must not hear of the registry's password.
    let tokens =
        || Auth::Token { basic: None, identity: None, anonymous: "pull", expires_in_secs: 300 };
    let mirror = TestRegistry::start_with(Settings { auth: tokens(), ..Settings::default() });
    let auth = Auth::Basic(STANDARD.encode("bob:right"));
    let registry = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    let setting = Setting::new();
    let file = format!("hosts/{}/hosts.toml", registry.host().replacen(':', "_", 1) + "_");
    setting.write(&file, &format!("[host.\"http://{}\"]\n", mirror.host()));
    let config = format!(
        r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
        registry.host(),
        STANDARD.encode("bob:right")
    );
    setting.client(&config).login(&registry.host()).expect("the registry takes it");
    assert_eq!(mirror.calls(), [""; 0]);
    // Nobody is asked who only stands for it.
    setting.write(&file, &format!("server = \"http://{}\"\n", mirror.host()));
    let error = setting.client(&config).login(&registry.host()).expect_err("another host");
    assert_eq!(error.kind(), Kind::Configuration, "{}", chain(&error));
    assert_eq!(mirror.calls(), [""; 0]);
}

#[test]
fn a_token_server_may_give_an_identity_token() {
    let basic = Some(STANDARD.encode("bob:right"));
    let auth = Auth::Token { basic, identity: None, anonymous: "", expires_in_secs: 300 };
    let registry = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    let answer = br#"{"token":"token-1","refresh_token":"kept"}"#;
    registry.fail_with("GET", "/token", 2, FaultKind::Body(answer.to_vec()));
    let config = format!(
        r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#,
        registry.host(),
        STANDARD.encode("bob:right")
    );
    let got = RegistryClient::new(options(&config)).login(&registry.host()).expect("right");
    assert!(matches!(&got, Credential::IdentityToken(token) if token.reveal() == "kept"));
    let log = registry.log();
    assert!(log.last().expect("a request").path.contains("offline_token=true"), "{log:?}");
}

#[test]
fn tokens_are_for_the_name_at_the_mirror() {
    let basic = Some(STANDARD.encode("m:pw"));
    let auth = Auth::Token { basic, identity: None, anonymous: "", expires_in_secs: 300 };
    let mirror = TestRegistry::start_with(Settings { auth, ..Settings::default() });
    let (bytes, descriptor) = image(&mirror, "hub/team/app");
    let setting = Setting::new();
    hub_mirrors(&setting, &[&mirror.name("hub")]);
    let config = format!(
        r#"{{"auths":{{"{}/hub":{{"auth":"{}"}}}}}}"#,
        mirror.host(),
        STANDARD.encode("m:pw")
    );
    let client = setting.client(&config);
    let reference: Reference = "team/app:1".parse().expect("a reference");
    client.resolve(&reference).expect("the mirror has it");
    assert_eq!(read_blob(&client, &reference, &descriptor).expect("a blob"), bytes);
}
