//! Which registry is asked, as whom, and how it is known to be it: mirrors, blocked and insecure registries,
//! certificates, credentials, login and logout, `shale registry explain`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testkit::image::TestImage;
use testkit::registry::{Auth, Settings, TestRegistry};
use testkit::rootfs::TarBuilder;
use world::World;

const CONF: &str = "home/.config/containers/registries.conf";

/// A registry with the image `team/app:1`.
fn registry(settings: Settings) -> TestRegistry {
    let registry = TestRegistry::start_with(settings);
    TestImage::new(&[tar()]).push_to(&registry, "team/app", "1");
    registry
}

fn open() -> TestRegistry {
    registry(Settings::default())
}

/// A registry for `bob`, whose password is `let me: in`.
fn guarded() -> TestRegistry {
    let auth = Auth::Basic(encoded());
    registry(Settings { auth, ..Settings::default() })
}

fn encoded() -> String {
    STANDARD.encode("bob:let me: in")
}

/// A layer with one file.
fn tar() -> Vec<u8> {
    TarBuilder::new().file("hello", 0o644, b"hello").finish()
}

/// `registries.conf` with mirrors for Docker Hub, which itself is nowhere.
fn mirrors(world: &World, hosts: &[&str]) {
    let mut text = "[[registry]]\nprefix = \"docker.io\"\nlocation = \"127.0.0.1:1\"\n".to_owned();
    for host in hosts {
        text.push_str(&format!("[[registry.mirror]]\nlocation = \"{host}\"\n"));
    }
    world.write(CONF, text);
}

#[test]
fn a_mirror_stands_in_and_a_dead_one_is_passed_over() {
    let (world, mirror) = (World::new(), open());
    mirrors(&world, &["127.0.0.1:1/dead", &mirror.host()]);
    let run = world.shale(&["pull", "team/app:1"]);
    run.ok();
    let warning = "mirror 127.0.0.1:1/dead/team/app is passed over: ";
    assert_eq!(run.stderr.matches(warning).count(), 1, "{run}");
    // The image has the name that was asked for.
    assert!(world.shale(&["images"]).ok().contains("team/app"));
    world.dockerfile("FROM team/app:1\nCOPY --from=team/app:1 /hello /again\n");
    world.build(&["--pull"]).ok();
    drop(mirror);
    world.build(&["--pull", "--no-cache"]).fails(4, &["refused"]);
}

#[test]
fn mirrors_of_hosts_toml_and_of_daemon_json() {
    let (world, mirror) = (World::new(), open());
    let daemon = format!("{{\"registry-mirrors\": [\"http://{}\"]}}", mirror.host());
    // Docker Hub must not be asked by a test: what does not come from the mirror fails before.
    world.write("home/.config/docker/daemon.json", daemon);
    world.shale(&["pull", "team/app:1"]).ok();
    let world = World::new();
    let text = format!(
        "server = \"http://127.0.0.1:1\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        mirror.host()
    );
    world.write("home/.config/containerd/certs.d/r.example/hosts.toml", text);
    world.shale(&["pull", "r.example/team/app:1"]).ok();
    assert!(mirror.log().iter().any(|logged| logged.path.ends_with("ns=r.example")));
    let missing = world.shale(&["pull", "r.example/team/none:1"]);
    missing.fails(4, &["127.0.0.1:1", "refused"]);
}

#[test]
fn a_blocked_registry_is_not_asked() {
    let (world, registry) = (World::new(), open());
    let host = registry.host();
    world.write(CONF, format!("[[registry]]\nlocation = \"{host}\"\n\nblocked = true\n"));
    let name = registry.name("team/app:1");
    world.shale(&["pull", &name]).fails(4, &["is blocked by", "registries.conf:4"]);
    world.dockerfile(&format!("FROM {name}\n"));
    let words = ["is blocked by", "registries.conf:4", "Dockerfile:1", "shale registry explain"];
    world.build(&[]).fails(4, &words);
    world.dockerfile("FROM scratch\nENV A=b\n");
    world.build(&["-t", &name, "--push"]).fails(4, &["is blocked by"]);
    let run = world.shale(&["registry", "explain", &name]);
    assert!(run.ok().contains("blocked         by "), "{run}");
    assert!(registry.log().is_empty());
    // The variable names another file.
    let mut world = world;
    let other = world.write("other.conf", "");
    world.set("CONTAINERS_REGISTRIES_CONF", other.to_str().unwrap());
    world.shale(&["pull", &name]).ok();
    world.set("CONTAINERS_REGISTRIES_CONF", "/nowhere.conf");
    world.shale(&["pull", &name]).fails(2, &["/nowhere.conf", "no such file"]);
}

#[test]
fn a_certificate_of_an_own_authority() {
    let registry = registry(Settings { tls: true, ..Settings::default() });
    let (name, host) = (registry.name("team/app:1"), registry.host());
    for dir in ["containers", "docker", "containerd"] {
        let world = World::new();
        world.shale(&["pull", &name]).fails(4, &["TLS"]);
        world.write(&format!("home/.config/{dir}/certs.d/{host}/ca.crt"), testkit::tls::ROOT_PEM);
        world.shale(&["pull", &name]).ok();
    }
    let world = World::new();
    world.write(CONF, format!("[[registry]]\nlocation = \"{host}\"\ninsecure = true\n"));
    world.shale(&["pull", &name]).ok();
    let world = World::new();
    let daemon = r#"{"insecure-registries": ["127.0.0.0/8"]}"#;
    world.write("home/.config/docker/daemon.json", daemon);
    world.shale(&["pull", &name]).ok();
}

#[test]
fn a_client_shows_its_certificate() {
    let settings = Settings { tls: true, client_certificate: true, ..Settings::default() };
    let registry = registry(settings);
    let (world, name) = (World::new(), registry.name("team/app:1"));
    let file = |name: &str| format!("home/.config/docker/certs.d/{}/{name}", registry.host());
    world.write(&file("ca.crt"), testkit::tls::ROOT_PEM);
    assert_eq!(world.shale(&["pull", &name]).code, Some(4));
    world.write(&file("me.cert"), testkit::tls::CLIENT_PEM);
    world.shale(&["pull", &name]).fails(2, &["me.cert", "me.key"]);
    world.write(&file("me.key"), testkit::tls::CLIENT_KEY);
    world.shale(&["pull", &name]).ok();
}

#[test]
fn credentials_come_from_every_place_where_tools_keep_them() {
    let registry = guarded();
    let (name, host) = (registry.name("team/app:1"), registry.host());
    let text = format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, encoded());
    World::new().shale(&["pull", &name]).fails(4, &["401"]);
    let files = [
        "home/.docker/config.json",
        "docker/config.json",
        "auth.json",
        "run/containers/auth.json",
        "home/.config/containers/auth.json",
    ];
    for file in files {
        let mut world = World::new();
        let path = world.write(file, &text);
        let dir = path.parent().unwrap();
        match file {
            "docker/config.json" => world.set("DOCKER_CONFIG", dir.to_str().unwrap()),
            "auth.json" => world.set("REGISTRY_AUTH_FILE", path.to_str().unwrap()),
            "run/containers/auth.json" => {
                world.set("XDG_RUNTIME_DIR", dir.parent().unwrap().to_str().unwrap());
            }
            _ => {}
        }
        world.shale(&["pull", &name]).ok();
        let explained = world.shale(&["registry", "explain", &name]);
        assert!(explained.ok().contains("password of bob"), "{file}: {explained}");
        assert!(explained.stdout.contains(path.to_str().unwrap()), "{file}: {explained}");
    }
    let mut world = World::new();
    world.write("context/own/config.json", &text);
    world.shale(&["--config", "own", "pull", &name]).ok();
    world.shale(&["pull", &name]).fails(4, &["401"]);
    world.set("DOCKER_AUTH_CONFIG", &text);
    world.shale(&["pull", &name]).ok();
    // An entry of a namespace is for it alone.
    let world = World::new();
    let text = format!(r#"{{"auths": {{"{host}/other": {{"auth": "{}"}}}}}}"#, encoded());
    world.write("home/.docker/config.json", text);
    world.shale(&["pull", &name]).fails(4, &["401"]);
}

/// A helper that keeps its one secret in a file.
fn helper(world: &mut World) -> std::path::PathBuf {
    let kept = world.path("home/kept");
    let script = format!(
        "#!/bin/sh\nk={}\ncase $1 in\nstore) cat > $k;;\nerase) rm $k;;\n\
         get) cat $k 2>/dev/null || {{ echo 'credentials not found in it'; exit 1; }};;\n\
         *) echo '{{}}';;\nesac\n",
        kept.display()
    );
    let path = world.write("helpers/docker-credential-file", script);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    world.set("PATH", &format!("{}:/usr/bin:/bin", path.parent().unwrap().display()));
    kept
}

#[test]
fn a_login_is_tried_then_kept_in_the_file() {
    let (world, registry) = (World::new(), guarded());
    let (name, host) = (registry.name("team/app:1"), registry.host());
    let before = "{\n\t\"HttpHeaders\": {\"X\":  1.50e3},\n\t\"auths\": {\"other.example\": {}}\n}";
    let file = world.write("home/.docker/config.json", before);
    let login = |password: &str| {
        let arguments = ["login", "-u", "bob", "--password-stdin", &host];
        world.shale_with_input(&arguments, format!("{password}\n").as_bytes())
    };
    login("wrong").fails(4, &["log in to", "401", "(sent: password of bob)"]);
    assert_eq!(world.read("home/.docker/config.json"), before);
    let run = login("let me: in");
    assert_eq!(run.ok(), "Login Succeeded");
    assert!(run.stderr.contains("unencrypted in"), "{run}");
    let text = world.read("home/.docker/config.json");
    assert!(text.starts_with("{\n\t\"HttpHeaders\": {\"X\":  1.50e3},\n"), "{text}");
    assert!(text.contains("\"other.example\": {}") && text.contains(&encoded()), "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    world.shale(&["pull", &name]).ok();
    // What is kept is tried again.
    assert_eq!(world.shale(&["login", &host]).ok(), "Login Succeeded");
    let run = world.shale(&["logout", &format!("https://{host}/v2/")]);
    assert_eq!(run.ok(), format!("Removing login credentials for {host}"));
    assert!(!world.read("home/.docker/config.json").contains(&encoded()));
    let (unsent, hint) = (format!("no credentials for {host}"), format!("`shale login {host}`"));
    world.shale(&["pull", &name]).fails(4, &["401", &unsent, &hint]);
    let file = world.write("refused/Dockerfile", format!("FROM {host}/other\n"));
    world
        .shale(&["build", file.parent().unwrap().to_str().unwrap()])
        .fails(4, &["401", &unsent, &hint]);
    assert_eq!(world.shale(&["logout", &host]).ok(), format!("Not logged in to {host}"));
    // A file that is not docker's own stays as it is, and still counts.
    let entry = format!(r#"{{"auths": {{"{host}": {{"auth": "dTpw"}}}}}}"#);
    let other = world.write("home/.config/containers/auth.json", entry).display().to_string();
    let run = world.shale(&["logout", &host]);
    assert_eq!(run.ok(), format!("Not logged in to {host}"));
    assert!(run.stderr.contains(&format!("{other} still has credentials for {host}")), "{run}");
    let sent = format!("sent: password of u from {other}");
    world.shale(&["pull", &name]).fails(4, &["401", &sent, &hint]);
}

#[test]
fn a_login_says_what_is_missing() {
    let (world, registry) = (World::new(), guarded());
    let host = registry.host();
    let check = |arguments: &[&str], words: &[&str]| {
        let run = world.shale(&[&["login"], arguments, &[&host]].concat());
        run.fails(2, words);
    };
    check(&["--password-stdin"], &["Must provide --username with --password-stdin"]);
    check(&["-u", "bob", "-p", "x", "--password-stdin"], &["mutually exclusive"]);
    check(&["-u", "bob"], &["no terminal", "--password-stdin"]);
    check(&["-p", "x"], &["username"]);
    world.shale(&["login", "-u", "b", "-p", "x", "team/app"]).fails(2, &["not the name of a"]);
    // A file that cannot be read is not written.
    let file = world.write("home/.docker/config.json", "{");
    check(&["-u", "bob", "-p", "x"], &["config.json", "not a registry configuration"]);
    world.shale(&["logout", &host]).fails(2, &["config.json"]);
    std::fs::remove_file(file).unwrap();
    assert!(registry.log().is_empty());
    let run = world.shale(&["login", "-u", "bob", "-p", "let me: in", &host]);
    run.ok();
    assert!(run.stderr.contains("--password can be seen"), "{run}");
}

#[test]
fn helpers_keep_what_they_are_named_for() {
    let (mut world, registry) = (World::new(), guarded());
    let (name, host) = (registry.name("team/app:1"), registry.host());
    let kept = helper(&mut world);
    let config = format!(r#"{{"credHelpers": {{"{host}": "file"}}}}"#);
    world.write("home/.docker/config.json", config);
    let arguments = ["login", "-u", "bob", "--password-stdin", &host];
    let run = world.shale_with_input(&arguments, b"let me: in");
    assert_eq!(run.ok(), "Login Succeeded");
    assert!(!run.stderr.contains("unencrypted"), "{run}");
    let secret: serde_json::Value = serde_json::from_str(&world.read("home/kept")).unwrap();
    assert_eq!(secret["ServerURL"], host.as_str());
    assert_eq!(secret["Username"], "bob");
    assert!(!world.read("home/.docker/config.json").contains(&encoded()));
    world.shale(&["pull", &name]).ok();
    let explained = world.shale(&["registry", "explain", &name]);
    assert!(explained.ok().contains("docker-credential-file (credHelpers in "), "{explained}");
    world.shale(&["logout", &host]).ok();
    assert!(!kept.exists());
    // One that fails is named; what it prints is not shown.
    world.write("home/.docker/config.json", r#"{"credsStore": "bad"}"#);
    let bad = world.write("helpers/docker-credential-bad", "#!/bin/sh\necho hush; exit 7\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bad, mode).unwrap();
    let run = world.shale(&["pull", &name]);
    run.fails(4, &["docker-credential-bad", "exit status: 7"]);
    assert!(!run.stderr.contains("hush"), "{run}");
}

#[test]
fn explain_asks_nobody_and_tells_no_secret() {
    let (mut world, registry) = (World::new(), guarded());
    let host = registry.host();
    let config = format!(r#"{{"auths": {{"{host}": {{"auth": "{}"}}}}}}"#, encoded());
    world.write("home/.docker/config.json", config);
    let conf = format!(
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"{host}\"\n\
         [[registry.mirror]]\nlocation = \"127.0.0.1:1\"\ninsecur = true\n\
         [[registry]]\nlocation = \"bad.example\"\nblockd = true\n"
    );
    world.write(CONF, conf);
    world.set("HTTPS_PROXY", "http://user:hidden@proxy.example:3128");
    let text = world.shale(&["registry", "explain", "r.example/team/app:1"]);
    let json = world.shale(&["registry", "explain", "--json", "r.example/team/app:1"]);
    assert!(registry.log().is_empty());
    for run in [&text, &json] {
        for secret in ["hidden", "let me: in", &encoded()] {
            assert!(!run.ok().contains(secret), "{run}");
        }
    }
    let said: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(said["reference"], "r.example/team/app:1");
    assert_eq!(said["endpoints"][0]["role"], "mirror");
    assert_eq!(said["endpoints"][1]["host"], host.as_str());
    assert_eq!(said["endpoints"][1]["said"][0]["line"], 1);
    assert_eq!(said["endpoints"][1]["credentials"][0]["kind"], "password of bob");
    // A slip that podman passes over.
    assert!(text.stdout.contains("registries.conf:6: insecur is no word"), "{text}");
    assert!(text.stdout.contains("registries.conf:9: blockd is no word"), "{text}");
    let tried = world.shale(&["registry", "explain", "--try", "r.example/team/app:1"]);
    assert!(tried.ok().contains("answers      no: "), "{tried}");
    assert!(tried.stdout.contains("answers      yes"), "{tried}");
    let proxied = world.shale(&["registry", "explain", "--json", "other.example/x"]);
    let said: serde_json::Value = serde_json::from_str(proxied.ok()).unwrap();
    assert_eq!(said["endpoints"][0]["proxy"], "http://proxy.example:3128");
    world.set("NO_PROXY", "other.example");
    let direct = world.shale(&["registry", "explain", "--json", "other.example/x"]);
    let said: serde_json::Value = serde_json::from_str(direct.ok()).unwrap();
    assert!(said["endpoints"][0]["proxy"].is_null());
    drop(registry);
    let gone = world.shale(&["registry", "explain", "--try", "r.example/team/app:1"]);
    assert_eq!(gone.code, Some(4), "{gone}");
}
