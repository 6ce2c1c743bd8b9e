//! Commands on the images of the store. What docker prints and how it ends was recorded: the files of testdata/images
//! and testdata/templates are sessions that were really held with it (`SHALE_RECORD_DOCKER=1` holds them again).

use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::need;
use testkit::rootfs::TarBuilder;
use world::{Dockerd, Registry, Run, World, user};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An image for an archive: its config, its layers, its names.
struct Image {
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
    names: Vec<&'static str>,
}

fn image(names: &[&'static str], layers: &[&[u8]], mut config: Value) -> Image {
    let diff_ids: Vec<String> = layers.iter().map(|tar| format!("sha256:{}", hex(tar))).collect();
    config["architecture"] = json!("amd64");
    config["os"] = json!("linux");
    config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
    let config = config.to_string().into_bytes();
    let layers = layers.iter().map(|tar| tar.to_vec()).collect();
    Image { config, layers, names: names.to_vec() }
}

/// Images of several ages with shared layers, one of them without a name, as an archive of `docker save`.
fn fixture() -> Vec<u8> {
    let file = |name: &str, length: usize| TarBuilder::new().file(name, 0o644, &vec![b'x'; length]);
    let base = file("a", 1000).file("b", 0o644, &[b'x'; 2345]).finish();
    let (big, small) = (file("big", 1_234_567).finish(), file("c", 10).finish());
    let base_entry = json!({
        "created": "2020-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:abc in / ",
    });
    let long = "RUN /bin/sh -c a very long command that has more than forty-five characters & <html> # buildkit";
    let images = [
        image(
            &["app:1", "app:latest"],
            &[&base, &big],
            json!({
                "author": "me",
                "created": "2020-01-02T03:04:05.678901234Z",
                "config": {
                    "Env": ["PATH=/bin", "A=b"], "Cmd": ["sh", "-c", "echo <&>"], "WorkingDir": "/w",
                    "Labels": {"kind": "a", "org.x.y": "z"}, "ExposedPorts": {"80/tcp": {}},
                },
                "history": [
                    base_entry,
                    {"created": "2020-01-01T00:00:00Z", "created_by": "ENV A=b", "empty_layer": true,
                     "comment": "buildkit.dockerfile.v0"},
                    {"created": "2020-01-02T03:04:05.678901234Z", "created_by": long,
                     "comment": "buildkit.dockerfile.v0"},
                ],
            }),
        ),
        image(
            &["other:1"],
            &[&base, &small],
            json!({
                "created": "2021-01-01T00:00:00Z",
                "config": {"Entrypoint": ["/x"], "Labels": {"kind": "b"},
                           "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5_000_000_000u64}},
                "history": [
                    base_entry,
                    {"created": "2021-01-01T00:00:00Z", "created_by": "COPY c / # buildkit", "comment": "c"},
                ],
            }),
        ),
        image(
            &[],
            &[&small],
            json!({
                "created": "2022-01-01T00:00:00Z",
                "config": {"Labels": {"kind": "c"}},
                "history": [{"created": "2022-01-01T00:00:00Z", "created_by": "COPY\tc"}],
            }),
        ),
        image(
            &["registry.example:5000/team/app:v1"],
            &[&base],
            json!({
                "created": "2019-05-06T07:08:09Z", "config": {}, "history": [base_entry],
            }),
        ),
        image(&["empty:1"], &[], json!({"config": {}, "history": []})),
    ];
    archive(&images)
}

fn archive(images: &[Image]) -> Vec<u8> {
    let mut tar = TarBuilder::new();
    let mut listed = Vec::new();
    let mut known = Vec::new();
    for image in images {
        let config = format!("{}.json", hex(&image.config));
        tar = tar.file(&config, 0o644, &image.config);
        let mut layers = Vec::new();
        for layer in &image.layers {
            let name = format!("{}.tar", hex(layer));
            if !known.contains(&name) {
                tar = tar.file(&name, 0o644, layer);
                known.push(name.clone());
            }
            layers.push(name);
        }
        let names = if image.names.is_empty() { Value::Null } else { json!(image.names) };
        listed.push(json!({"Config": config, "RepoTags": names, "Layers": layers}));
    }
    tar.file("manifest.json", 0o644, json!(listed).to_string().as_bytes()).finish()
}

/// A command of a session and what docker did.
struct Recorded {
    line: String,
    code: i32,
    /// The code of shale, where it is another one on purpose.
    here: Option<i32>,
    stdout: String,
    /// What its error says, for templates.
    error: Option<String>,
}

/// `~ COMMAND` prepares, `$ COMMAND` is compared; below it `= CODE[, here CODE]`, `> LINE` of its output, `! ERROR`.
fn read_session(text: &str) -> Vec<Result<Recorded, String>> {
    let mut session: Vec<Result<Recorded, String>> = Vec::new();
    for line in text.lines() {
        let (sign, rest) = line.split_at(line.len().min(1));
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match (sign, session.last_mut()) {
            ("~", _) => session.push(Err(rest.to_owned())),
            ("$", _) => session.push(Ok(Recorded {
                line: rest.to_owned(),
                code: 0,
                here: None,
                stdout: String::new(),
                error: None,
            })),
            ("=", Some(Ok(last))) => {
                let (code, here) = rest.split_once(", here ").unwrap_or((rest, ""));
                (last.code, last.here) = (code.parse().unwrap(), here.parse().ok());
            }
            (">", Some(Ok(last))) => last.stdout.push_str(&format!("{rest}\n")),
            ("!", Some(Ok(last))) => last.error = Some(rest.to_owned()),
            _ => assert!(line.is_empty() || sign == "#", "not understood: {line:?}"),
        }
    }
    session
}

fn write_session(text: &str, session: &[Result<Recorded, String>]) -> String {
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    let mut out = head.join("\n") + "\n";
    for step in session {
        match step {
            Err(line) => out.push_str(&format!("\n~ {line}\n")),
            Ok(step) => {
                let here = step.here.map_or(String::new(), |code| format!(", here {code}"));
                out.push_str(&format!("\n$ {}\n= {}{here}\n", step.line, step.code));
                let lines = step.stdout.lines().map(|line| format!("> {line}"));
                lines.for_each(|line| out.push_str(&format!("{}\n", line.trim_end())));
                out.extend(step.error.as_ref().map(|error| format!("! {error}\n")));
            }
        }
    }
    out
}

/// Words as a shell takes them apart, with single quotes only; `@` stands for the directory of the fixture.
fn words(line: &str, directory: &Path) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for char in line.chars() {
        match char {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '@' if !quoted && word.is_none() => word = Some(directory.display().to_string()),
            char => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// Without what changes with the time, and what real disks say.
fn timeless(text: &str) -> String {
    let ago = Regex::new(r#"\d+ (years|months) ago"#).unwrap();
    let space = Regex::new(r"(?m)^Total reclaimed space: .*$").unwrap();
    let text = ago.replace_all(text, "N $1 ago");
    let text = space.replace_all(&text, "Total reclaimed space: N");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// As [`timeless`]; ten years need more room in a column than nine.
fn settled(text: &str) -> String {
    let text = timeless(text);
    match text.contains(" ago") {
        true => Regex::new("   +").unwrap().replace_all(&text, "   ").into_owned(),
        false => text,
    }
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name)
}

/// Holds a session with shale, or records it with docker.
fn hold(name: &str) {
    let world = World::new();
    world.write("fixture.tar", fixture());
    let path = recorded(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut session = read_session(&text);
    if std::env::var_os("SHALE_RECORD_DOCKER").is_some() {
        record(&world, &mut session);
        std::fs::write(&path, write_session(&text, &session)).unwrap();
        return;
    }
    let mut wrong = Vec::new();
    for step in &session {
        let line = step.as_ref().map_or_else(|line| line.as_str(), |step| step.line.as_str());
        let arguments = words(line, &world.path(""));
        let run = world.shale(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        match step {
            Err(_) => drop(run.ok()),
            Ok(step) => wrong.extend(difference(step, &run)),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn difference(step: &Recorded, run: &Run) -> Option<String> {
    let is_code = run.code == Some(step.here.unwrap_or(step.code));
    let is_output = settled(&step.stdout) == settled(&run.stdout);
    let is_error = step.error.as_ref().is_none_or(|error| run.stderr.contains(error.as_str()));
    if is_code && is_output && is_error && !run.stderr.contains("panicked at") {
        return None;
    }
    let error = step.error.as_deref().unwrap_or_default();
    Some(format!("{run}\n--- docker: {} {error}\n{}", step.code, step.stdout))
}

fn record(world: &World, session: &mut [Result<Recorded, String>]) {
    let dockerd = Dockerd::start();
    for step in session {
        let line = step.as_ref().map_or_else(|line| line.as_str(), |step| step.line.as_str());
        let arguments = words(line, &world.path(""));
        let run = dockerd.docker(world, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        match step {
            Err(_) => drop(run.ok()),
            Ok(step) => {
                step.code = run.code.unwrap();
                step.stdout = timeless(&run.stdout);
                let error = run.stderr.lines().find(|line| line.starts_with("template parsing"));
                step.error = error.map(str::to_owned);
            }
        }
    }
}

#[test]
fn lists_and_removals_are_docker_s() {
    hold("images/docker.txt");
}

#[test]
fn templates_are_docker_s() {
    hold("templates/docker.txt");
}

/// Bytes in the blobs and layers of a store, and in its trash.
fn kept_bytes(world: &World) -> u64 {
    let top = world.store();
    let areas = ["blobs", "layers", "trash", "manifests"].map(|area| top.join(area));
    let sum = areas.iter().map(|area| world.program("du", &["-s", "-B1", &area.to_string_lossy()]));
    sum.map(|run| run.ok().split_whitespace().next().unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn what_only_a_removed_image_has_brought_is_deleted() {
    let world = World::new();
    let before = {
        world.shale(&["load", "-q"]).fails(1, &[]);
        world.write("fixture.tar", fixture());
        kept_bytes(&world)
    };
    let archive = world.path("fixture.tar").to_string_lossy().into_owned();
    world.shale(&["load", "-qi", &archive]).ok();
    assert!(kept_bytes(&world) > before + 1_200_000);
    // A build unpacks the layers, and its result stands on them.
    world.dockerfile("FROM app:1\nCOPY Dockerfile /\n");
    world.build(&["-t", "child"]).ok();
    world.shale(&["rmi", "app:1", "app:latest"]).ok();
    assert!(kept_bytes(&world) > before + 1_200_000, "the child needs its base");
    world.shale(&["rmi", "child"]).ok();
    // The result of COPY is the cache's, and what it stands on stays with it.
    assert!(kept_bytes(&world) > before + 1_200_000, "the cache needs it");
    world.shale(&["cache", "prune"]).ok();
    let names = ["other:1", "registry.example:5000/team/app:v1", "empty:1"];
    world.shale(&[&["rmi"], &names[..]].concat()).ok();
    world.shale(&["image", "prune"]).ok();
    assert!(world.shale(&["images", "-aq"]).ok().is_empty());
    assert!(kept_bytes(&world) < before + 100_000, "{} {before}", kept_bytes(&world));
    world.shale(&["load", "-qi", &archive]).ok();
    world.shale(&["rmi", "app:1", "app:latest"]).ok();
    assert!(kept_bytes(&world) < before + 100_000, "blobs go at once");
}

fn unpacked_layers_go(world: &World) {
    let archive = world.write("fixture.tar", fixture());
    let archive = archive.to_string_lossy();
    world.shale(&["load", "-qi", &archive]).ok();
    // Unpacks the layers, and keeps no result that stands on them.
    world.dockerfile("FROM app:1\n");
    world.build(&["-o", "../home/out"]).ok();
    let layers = || world.program("ls", &[&world.store().join("layers").to_string_lossy()]);
    assert_eq!(layers().ok().lines().count(), 2);
    world.shale(&["rmi", "app:1", "app:latest", "other:1"]).ok();
    assert_eq!(layers().ok().lines().count(), 1, "one is of another image, too");
    world.shale(&["image", "prune", "-a"]).ok();
    assert_eq!(layers().ok(), "");
    let trash = world.program("ls", &["-A", &world.store().join("trash").to_string_lossy()]);
    assert_eq!(trash.ok(), "");
}

#[test]
fn unpacked_layers_go_with_the_last_image() {
    unpacked_layers_go(&World::new());
}

#[test]
fn unpacked_layers_of_an_ordinary_user_go_too() {
    need!("root");
    let Some(user) = user("shale-test-ranges") else { return };
    unpacked_layers_go(&World::of(user));
}

#[test]
fn an_image_of_a_registry_has_its_digest() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let repository = format!("{}/team/app", registry.address());
    let name = format!("{repository}:1");
    world.dockerfile("FROM scratch\nCOPY Dockerfile /\nLABEL a=b\n");
    world.build(&["-t", &name, "--push"]).ok();
    let first = world.shale(&["inspect", "-f", "{{index .RepoDigests 0}}", &name]).ok().to_owned();
    let other = World::new();
    other.shale(&["pull", "-q", &name]).ok();
    let digests = other.shale(&["inspect", "--format", "{{json .RepoDigests}}", &name]);
    assert_eq!(digests.ok(), format!("[{first:?}]"));
    let digest = first.split_once('@').unwrap().1;
    let listed = other.shale(&["images", "--digests", "--format", "{{.Tag}} {{.Digest}}"]);
    assert_eq!(listed.ok(), format!("1 {digest}"));
    // The digest is a name of it.
    let by_digest = other.shale(&["inspect", "-f", "{{.RepoTags}}", &first]);
    assert_eq!(by_digest.ok(), format!("[{name}]"));
    other.shale(&["rmi", &first]).fails(1, &["goes with this name", &name]);
    // As docker: the size of the files, not that of the blob.
    let length = "FROM scratch\nCOPY Dockerfile /\nLABEL a=b\n".len();
    let size = other.shale(&["inspect", "-f", "{{.Size}}", &name]);
    assert_eq!(size.ok(), length.to_string());
    let removed = other.shale(&["rmi", &name]);
    let lines: Vec<&str> = removed.ok().lines().collect();
    assert_eq!(lines[..2], [format!("Untagged: {name}"), format!("Untagged: {first}")]);
    // By its digest alone it has no tag.
    other.shale(&["pull", "-q", &first]).ok();
    let listed =
        other.shale(&["images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}"]);
    assert_eq!(listed.ok(), format!("{repository} <none> {digest}"));
    assert_eq!(
        other.shale(&["rmi", &first]).ok().lines().next(),
        Some(&*format!("Untagged: {first}"))
    );
}

#[test]
fn digests_are_those_of_repositories() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let name = |name: &str| format!("{}/{name}", registry.address());
    let digests = |world: &World, of: &str| {
        world.shale(&["inspect", "-f", "{{join .RepoDigests \" \"}}", of]).ok().to_owned()
    };
    let sent = |output: &str| {
        let (_, digest) = output.split_once("digest: ").expect("a digest");
        digest.split_whitespace().next().unwrap_or_default().to_owned()
    };
    // What met no registry has none, whatever it is called.
    world.dockerfile("FROM scratch\nLABEL a=b\n");
    let (ci, other) = (name("ci:1"), name("other:1"));
    world.build(&["-t", &ci, "-t", &other]).ok();
    assert_eq!(digests(&world, &ci), "");
    let digest = sent(world.shale(&["push", &ci]).ok());
    let known = format!("{}@{digest}", name("ci"));
    assert_eq!(digests(&world, &ci), known);
    let format = ["images", "--digests", "--format", "{{.Repository}} {{.Digest}}"];
    let rows = world.shale(&format);
    assert!(rows.ok().contains(&format!("{} {digest}", name("ci"))), "{}", rows.ok());
    assert!(rows.ok().contains(&format!("{} <none>", name("other"))), "{}", rows.ok());
    world.shale(&["push", "-a", "-q", &name("other")]).ok();
    assert_eq!(digests(&world, &ci), format!("{known} {}@{digest}", name("other")));
    // The name may mean something else by now: the digest does not.
    world.dockerfile("FROM scratch\nLABEL a=c\n");
    world.build(&["-t", &ci]).ok();
    let label = world.shale(&["inspect", "-f", "{{.Config.Labels.a}}", &known]);
    assert_eq!(label.ok(), "b");
    assert_eq!(digests(&world, &ci), "");
    // An index is known by its own digest, also where one image of it was pulled.
    let both = name("both:1");
    world.build(&["--platform", "linux/amd64,linux/arm64", "-t", &both]).ok();
    let index = format!("{}@{}", name("both"), sent(world.shale(&["push", &both]).ok()));
    assert_eq!(digests(&world, &both), index);
    let puller = World::new();
    assert!(puller.shale(&["pull", &both]).ok().contains("Downloaded newer image"));
    assert_eq!(digests(&puller, &both), index);
    assert_eq!(digests(&puller, &index), index);
    assert!(puller.shale(&["pull", &index]).ok().contains("Image is up to date"));
    puller.shale(&["tag", &both, "elsewhere"]).ok();
    let removed = puller.shale(&["rmi", &both]);
    assert_eq!(removed.ok(), format!("Untagged: {both}\nUntagged: {index}"));
    assert_eq!(digests(&puller, "elsewhere"), "");
}

#[test]
fn ids_may_be_short_and_must_be_clear() {
    let world = World::new();
    let mut names = Vec::new();
    // Of seventeen ids two begin alike.
    for number in 0..17 {
        world.dockerfile(&format!("FROM scratch\nENV N={number}\n"));
        names.push(world.build(&["-q"]).ok().to_owned());
    }
    let digits: Vec<&str> = names.iter().map(|id| id.strip_prefix("sha256:").unwrap()).collect();
    let doubled = |id: &&&str| digits.iter().filter(|other| other[..1] == id[..1]).count() > 1;
    let one = digits.iter().find(doubled).unwrap();
    for command in ["inspect", "history", "rmi"] {
        world.shale(&[command, &one[..1]]).fails(1, &["several images", &one[..1]]);
    }
    let id = world.shale(&["inspect", "-f", "{{.Id}}", &one[..12]]);
    assert_eq!(id.ok(), format!("sha256:{one}"));
    world.shale(&["tag", &format!("sha256:{}", &one[..12]), "named"]).ok();
    world.shale(&["rmi", &one[..12]]).ok();
    world.shale(&["inspect", one]).fails(1, &["no such image"]);
    world.shale(&["system", "prune", "-f"]).ok();
    assert!(world.shale(&["images", "-q"]).ok().is_empty());
}

#[test]
fn df_counts_what_is_there() {
    let world = World::new();
    world.write("fixture.tar", fixture());
    world.shale(&["load", "-qi", &world.path("fixture.tar").to_string_lossy()]).ok();
    let rows = world.shale(&["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}"]);
    assert_eq!(rows.ok(), "Images|5|4\nBuild Cache|0|0\nCache Mounts|0|0");
    let size = world.shale(&["system", "df", "--format", "{{.Size}}"]);
    assert!(size.ok().starts_with("1.2"), "{size}");
    let verbose = world.shale(&["system", "df", "-v"]);
    // The base is in three of them.
    let app = verbose.ok().lines().find(|line| line.starts_with("app ")).unwrap();
    let cells: Vec<&str> =
        app.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[4..], ["1.24MB", "3.345kB", "1.235MB", "0"], "{verbose}");
    let json = world.shale(&["system", "df", "--format", "json"]);
    let first: Value = serde_json::from_str(json.ok().lines().next().unwrap()).unwrap();
    assert_eq!(first["Type"], "Images");
}

#[test]
fn a_config_is_to_be_had_byte_for_byte() {
    let world = World::new();
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"x.own":[1]}"#;
    let own =
        Image { config: config.as_bytes().to_vec(), layers: Vec::new(), names: vec!["own:1"] };
    world.write("own.tar", archive(&[own]));
    world.shale(&["load", "-qi", &world.path("own.tar").to_string_lossy()]).ok();
    assert_eq!(world.shale(&["inspect", "--raw", "own:1"]).ok(), config);
    let id = world.shale(&["inspect", "-f", "{{.ID}}", "own:1"]);
    assert_eq!(id.ok(), format!("sha256:{}", hex(config.as_bytes())));
}

#[test]
fn each_platform_can_be_looked_at() {
    let world = World::new();
    world.dockerfile("FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\n");
    world.build(&["--platform", "linux/amd64,linux/arm64", "-t", "app"]).ok();
    for arch in ["amd64", "arm64"] {
        let platform = format!("linux/{arch}");
        let asked = ["inspect", "--platform", &platform, "-f", "{{.Config.Labels.arch}}", "app"];
        assert_eq!(world.shale(&asked).ok(), arch);
        let asked = ["history", "--platform", &platform, "--no-trunc", "app"];
        assert!(world.shale(&asked).ok().contains(&format!("LABEL arch={arch}")), "{arch}");
    }
    world.shale(&["inspect", "--platform", "linux/s390x", "app"]).fails(1, &["linux/s390x"]);
    assert_eq!(world.shale(&["images", "-q"]).ok().lines().count(), 1);
    assert_eq!(world.shale(&["images", "-qa"]).ok().lines().count(), 3);
    let json = world.shale(&["system", "df", "-v", "--format", "{{json .}}"]);
    let all: Value = serde_json::from_str(json.ok()).unwrap();
    assert_eq!(all["Images"][0]["Repository"], "app", "{all}");
    assert!(all["BuildCache"].is_array() && all["CacheMounts"].is_array(), "{all}");
}
