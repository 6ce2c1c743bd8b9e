//! Real registry servers: with and without TLS, with passwords and with signed tokens. What they were asked is in their
//! access logs.

use testkit::cutting::{CuttingWay, Direction};
use testkit::need;
use testkit::server::{PASSWORD, RegistryAuth, RegistrySettings, USER};
use testkit::tls::ROOT_PEM;
use testkit::token_server::TokenServer;
use world::{Registry, World};

/// A world with an image `app` of one layer and a server; with TLS it trusts the server's root.
fn prepared(settings: &RegistrySettings) -> (World, Registry) {
    let mut world = World::new();
    if settings.tls {
        let roots = world.write("roots.pem", ROOT_PEM);
        world.set("SSL_CERT_FILE", &roots.display().to_string());
    }
    world.dockerfile("FROM scratch\nCOPY file /file\n");
    world.write("context/file", "x".repeat(100_000));
    world.build(&["-t", "app"]).ok();
    let registry = Registry::start_with(&world, settings);
    (world, registry)
}

fn log_in(world: &World, registry: &Registry) {
    let arguments = ["login", "-u", USER, "--password-stdin", &registry.address()];
    world.shale_with_input(&arguments, PASSWORD.as_bytes()).ok();
}

/// Pushes, mounts, lists, pulls into another store, and removes; whatever the server wants of its clients.
fn goes_round(world: &World, registry: &Registry) {
    let address = registry.address();
    let (first, second) = (format!("{address}/team/app:1"), format!("{address}/other/app:2"));
    for name in [&first, &second] {
        world.shale(&["tag", "app", name]).ok();
        world.shale(&["push", name]).ok();
    }
    let requests = registry.requests();
    let mounted = |r: &&String| r.starts_with("POST /v2/other/app/blobs/uploads/?mount=");
    assert!(requests.iter().filter(mounted).count() >= 1, "{requests:#?}");
    let sent = |r: &&String| {
        (r.starts_with("PUT ") || r.starts_with("PATCH ")) && r.contains("/v2/other/app/blobs/")
    };
    assert_eq!(requests.iter().find(sent), None, "nothing was sent twice");

    world.shale(&["rmi", "-f", "app", &first, &second]).ok();
    world.shale(&["prune", "--all", "--force"]);
    world.shale(&["pull", &second]).ok();
    let tar = world.shale(&["save", &second, "-o", "../saved.tar"]);
    tar.ok();

    let found = world.shale(&["search", &format!("{address}/app")]);
    let found: Vec<&str> =
        found.ok().lines().skip(1).map(|l| l.split(' ').next().unwrap()).collect();
    assert_eq!(found, [format!("{address}/other/app"), format!("{address}/team/app")]);
    let tags = |name: &str| world.shale(&["registry", "tags", name]);
    assert_eq!(tags(&first).ok(), "1");
    let removed = world.shale(&["registry", "rm", &first]);
    assert!(removed.ok().starts_with(&format!("Deleted: {address}/team/app@sha256:")), "{removed}");
    world.shale(&["pull", &first]).fails(4, &["not found"]);
    assert!(!tags(&first).stdout.contains('1'), "the tag went with it");
    assert_eq!(tags(&second).ok(), "2", "another repository's image stays");
}

#[test]
fn images_go_round_in_plain_http() {
    need!("docker-registry");
    let (world, registry) = prepared(&RegistrySettings::default());
    goes_round(&world, &registry);
}

#[test]
fn images_go_round_with_tls_and_a_password() {
    need!("docker-registry");
    let settings =
        RegistrySettings { tls: true, auth: RegistryAuth::Password, ..Default::default() };
    let (world, registry) = prepared(&settings);
    let name = format!("{}/team/app:1", registry.address());
    world.shale(&["tag", "app", &name]).ok();
    world.shale(&["push", &name]).fails(4, &["401"]);
    let wrong = ["login", "-u", USER, "--password-stdin", &registry.address()];
    assert_ne!(world.shale_with_input(&wrong, b"battery staple").code, Some(0));
    log_in(&world, &registry);
    goes_round(&world, &registry);
}

#[test]
fn a_server_of_an_unknown_root_is_not_trusted() {
    need!("docker-registry");
    let settings = RegistrySettings { tls: true, ..Default::default() };
    let (mut world, registry) = prepared(&settings);
    let name = format!("{}/team/app:1", registry.address());
    world.shale(&["tag", "app", &name]).ok();
    world.shale(&["push", &name]).ok();
    // A root of somebody else's.
    let roots = world.write("others.pem", testkit::tls::CLIENT_PEM);
    world.set("SSL_CERT_FILE", &roots.display().to_string());
    world.shale(&["push", &name]).fails(4, &["TLS"]);
    world.shale(&["manifest", "inspect", &name]).fails(4, &["TLS"]);
    world.shale(&["manifest", "inspect", "--insecure", &name]).ok();
}

#[test]
fn images_go_round_with_signed_tokens() {
    need!("docker-registry");
    let tokens = TokenServer::start(USER, PASSWORD, false);
    let auth = RegistryAuth::Tokens(tokens.realm());
    let (world, registry) = prepared(&RegistrySettings { auth, ..Default::default() });
    log_in(&world, &registry);
    goes_round(&world, &registry);
    let scopes = tokens.scopes();
    let asked = |scope: &str| scopes.iter().any(|s| s.split(' ').any(|one| one == scope));
    for scope in [
        "repository:team/app:pull,push",
        "repository:other/app:pull,push",
        "repository:other/app:pull",
        "repository:team/app:delete,pull",
        "registry:catalog:*",
    ] {
        assert!(asked(scope), "{scope} is not among {scopes:#?}");
    }
}

#[test]
fn who_has_no_password_may_pull_what_is_open_to_all() {
    need!("docker-registry");
    let tokens = TokenServer::start(USER, PASSWORD, true);
    let auth = RegistryAuth::Tokens(tokens.realm());
    let (world, registry) = prepared(&RegistrySettings { auth, ..Default::default() });
    let name = format!("{}/team/app:1", registry.address());
    world.shale(&["tag", "app", &name]).ok();
    world.shale(&["push", &name]).fails(4, &["401"]);
    log_in(&world, &registry);
    world.shale(&["push", &name]).ok();
    world.shale(&["logout", &registry.address()]).ok();
    World::new().shale(&["pull", &name]).ok();
    world.shale(&["registry", "rm", &name]).fails(4, &["401"]);
    assert_eq!(world.shale(&["registry", "tags", &name]).ok(), "1");
}

#[test]
fn long_lists_come_page_by_page() {
    need!("docker-registry");
    let settings = RegistrySettings { catalog_page: Some(2), ..Default::default() };
    let (world, registry) = prepared(&settings);
    let address = registry.address();
    let mut names: Vec<String> = (0..5).map(|n| format!("{address}/p{n}/app")).collect();
    for name in &names {
        world.shale(&["tag", "app", name]).ok();
        world.shale(&["push", name]).ok();
    }
    let listed = |more: &[&str]| {
        let term = format!("{address}/");
        let mut arguments = vec!["search", "--format", "{{.Name}}", &term];
        arguments.extend(more);
        world.shale(&arguments).ok().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), names);
    let pages = registry.requests();
    let pages = pages.iter().filter(|r| r.starts_with("GET /v2/_catalog")).count();
    assert_eq!(pages, 3, "two, two and one");
    names.truncate(3);
    assert_eq!(listed(&["--limit", "3"]), names);
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn transfers_that_were_cut_go_on_where_they_were() {
    need!("docker-registry");
    let (world, registry) = prepared(&RegistrySettings::default());
    let way = CuttingWay::to(&registry.address());
    world.write("context/file", noise(8 << 20));
    let name = format!("{}/team/app:1", way.host());
    world.build(&["-t", &name]).ok();
    way.cut_after(Direction::Up, 3 << 20);
    world.shale(&["push", &name]).ok();
    assert_eq!(way.cuts(), 1);
    // This server forgets what had come of the cut upload; the push goes on all the same.
    let before = registry.requests().len();
    // All of it is there: a push that is done again sends the manifest and no blob.
    world.shale(&["push", &name]).ok();
    let again = registry.requests().split_off(before);
    assert!(again.iter().any(|r| r.starts_with("HEAD /v2/team/app/blobs/")), "{again:#?}");
    assert!(!again.iter().any(|r| r.contains("/blobs/uploads/")), "{again:#?}");

    way.cut_after(Direction::Down, 3 << 20);
    let (other, before) = (World::new(), registry.requests().len());
    other.shale(&["pull", &name]).ok();
    assert_eq!(way.cuts(), 2);
    let requests = registry.requests().split_off(before);
    let blobs = requests.iter().filter(|r| r.starts_with("GET /v2/team/app/blobs/sha256:")).count();
    assert_eq!(blobs, 3, "the config, the layer, and the rest of the layer: {requests:#?}");
    other.dockerfile(&format!("FROM scratch\nCOPY --from={name} /file /\n"));
    other.build(&["-o", "../out"]).ok();
    assert!(std::fs::read(other.path("out/file")).unwrap() == noise(8 << 20));
}

/// A second implementation, which says only at the root of its API how it wants to be authenticated to.
#[test]
fn images_go_through_another_server_too() {
    need!("container-registry");
    let world = World::new();
    world.dockerfile("FROM scratch\nCOPY file /file\n");
    world.write("context/file", "x".repeat(100_000));
    let registry = Registry::other(&world);
    let name = format!("{}/team/app:1", registry.address());
    world.build(&["-t", &name]).ok();
    world.shale(&["push", &name]).fails(4, &["401"]);
    log_in(&world, &registry);
    world.shale(&["push", &name]).ok();
    let mut other = World::new();
    other.set("DOCKER_CONFIG", &world.path("home/.docker").display().to_string());
    other.shale(&["pull", &name]).ok();
    other.dockerfile(&format!("FROM {name}\nCOPY --from={name} /file /copy\n"));
    other.build(&[]).ok();
    assert!(other.shale(&["manifest", "inspect", &name]).ok().contains("\"layers\""));
}
