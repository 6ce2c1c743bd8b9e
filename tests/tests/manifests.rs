//! Lists of manifests, joined parts, and searches.

use serde_json::Value;
use testkit::need;
use testkit::search_index::SearchIndex;
use world::{Registry, Run, World};

/// Builds an image for a platform; what is in it depends on the platform and on `word`.
fn build(world: &World, platform: &str, word: &str, more: &[&str]) -> Run {
    world.dockerfile("FROM scratch\nCOPY file /file\n");
    world.write("context/file", format!("{word} {platform}"));
    let mut arguments = vec!["--platform", platform];
    arguments.extend(more);
    world.build(&arguments)
}

fn json(run: &Run) -> Value {
    serde_json::from_str(run.ok()).unwrap_or_else(|error| panic!("{error}: {run}"))
}

/// Platforms of an index, in its order.
fn platforms(index: &Value) -> Vec<String> {
    let entries = index["manifests"].as_array().unwrap();
    let platform = |entry: &Value| {
        let word = |name: &str| entry["platform"][name].as_str().unwrap_or_default().to_owned();
        [word("os"), word("architecture"), word("variant")]
            .join("/")
            .trim_end_matches('/')
            .to_owned()
    };
    entries.iter().map(platform).collect()
}

#[test]
fn a_list_is_put_together_here_and_pushed() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let address = registry.address();
    let [list, there, elsewhere] =
        ["app:all", "app:amd64", "other/app:s390x"].map(|n| format!("{address}/{n}"));
    build(&world, "linux/amd64", "there", &["-t", &there, "--push"]).ok();
    build(&world, "linux/s390x", "elsewhere", &["-t", &elsewhere, "--push"]).ok();
    build(&world, "linux/arm64", "here", &["-t", "here"]).ok();
    world.shale(&["rmi", &there, &elsewhere]).ok();

    let created = world.shale(&["manifest", "create", &list, &there, "here"]);
    assert_eq!(created.ok(), format!("Created manifest list {list}"));
    let again = world.shale(&["manifest", "create", &list, &elsewhere]);
    again.fails(1, &["refusing to amend an existing manifest list with no --amend flag"]);
    world.shale(&["manifest", "create", "--amend", &list, &elsewhere]).ok();
    world.shale(&["manifest", "create", "-a", &list, "nowhere.invalid/a"]).fails(4, &["nowhere"]);

    let annotate = |image: &str, flags: &[&str]| {
        let mut arguments = vec!["manifest", "annotate"];
        arguments.extend(flags);
        arguments.extend([list.as_str(), image]);
        world.shale(&arguments)
    };
    annotate("here", &["--variant", "v8", "--os-features", "sse4", "--os-version", "1.2"]).ok();
    annotate("here", &["--arch", "none"])
        .fails(1, &["manifest entry for image has unsupported os/arch combination: linux/none"]);
    annotate("gone", &["--arch", "arm"])
        .fails(1, &["manifest for image gone:latest does not exist in"]);

    let shown = json(&world.shale(&["manifest", "inspect", &list]));
    assert_eq!(platforms(&shown), ["linux/amd64", "linux/arm64/v8", "linux/s390x"]);
    let here = &shown["manifests"][1];
    assert_eq!(here["platform"]["os.features"][0], "sse4");
    assert_eq!(here["platform"]["os.version"], "1.2");
    let one = json(&world.shale(&["manifest", "inspect", "-v", &list, "here"]));
    assert_eq!(one["Descriptor"], *here);
    assert!(world.shale(&["manifest", "ls"]).ok().contains(&list));

    let pushed = world.shale(&["manifest", "push", "--purge", &list]);
    let lines: Vec<&str> = pushed.ok().lines().collect();
    let copied =
        lines.iter().filter(|line| line.starts_with(&format!("Pushed ref {address}/app@")));
    assert_eq!(
        (copied.count(), lines.len()),
        (2, 3),
        "what its repository did not have, and the digest: {pushed}"
    );
    let by_digest = format!("{address}/app@{}", lines[2]);
    assert_eq!(json(&world.shale(&["manifest", "inspect", &by_digest])), shown);
    assert_eq!(
        platforms(&json(&world.shale(&["manifest", "inspect", &list]))).len(),
        3,
        "the registry's"
    );
    world.shale(&["manifest", "rm", &list]).fails(1, &["No such manifest: ", &list]);
    world.shale(&["manifest", "push", &list]).fails(1, &["No such manifest: "]);

    let other = World::new();
    other.shale(&["pull", "--platform", "linux/arm64", &list]).ok();
    other.dockerfile(&format!("FROM --platform=linux/arm64 {list}\n"));
    other.build(&["-o", "../out"]).ok();
    assert_eq!(other.read("out/file"), "here linux/arm64");
}

#[test]
fn images_stay_as_long_as_a_list_names_them() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let list = format!("{}/app:all", registry.address());
    build(&world, "linux/arm64", "first", &["-t", "here"]).ok();
    world.shale(&["manifest", "create", &list, "here"]).ok();
    build(&world, "linux/arm64", "second", &["-t", "here"]).ok();
    world.shale(&["prune", "--all", "--force"]).ok();
    world.shale(&["manifest", "push", &list]).ok();
    world.dockerfile(&format!("FROM --platform=linux/arm64 {list}\n"));
    world.build(&["-o", "../out", "--pull"]).ok();
    assert_eq!(world.read("out/file"), "first linux/arm64");
    world.shale(&["manifest", "rm", &list]).ok();
}

#[test]
fn docker_shows_the_same() {
    need!("docker-registry", "docker");
    let world = World::new();
    let registry = Registry::start(&world);
    let address = registry.address();
    let names = ["app:amd64", "app:arm64", "app:all"].map(|name| format!("{address}/{name}"));
    for (name, platform) in names.iter().zip(["linux/amd64", "linux/arm64"]) {
        build(&world, platform, "x", &["-t", name, "--push"]).ok();
    }
    world.shale(&["join", &names[2], &names[0], &names[1]]).ok();
    for name in &names {
        for verbose in ["-v", "-v=false"] {
            let arguments = ["manifest", "inspect", "--insecure", verbose, name];
            let theirs = world.program("docker", &arguments);
            let ours: Vec<&str> = arguments.into_iter().filter(|a| *a != "-v=false").collect();
            let ours = world.shale(&ours);
            assert_eq!(json(&ours), json(&theirs), "{verbose} {name}");
        }
    }
    assert_eq!(
        world.shale(&["manifest", "inspect", &names[0]]).ok(),
        world.program("docker", &["manifest", "inspect", "--insecure", &names[0]]).ok()
    );
}

#[test]
fn parts_of_several_machines_are_joined_when_all_are_there() {
    need!("docker-registry");
    let world = World::new();
    let registry = Registry::start(&world);
    let repository = format!("{}/team/app", registry.address());
    let name = format!("{repository}:1.2");
    let output = format!("type=image,name={repository},push-by-digest=true,push=true");
    let part = |platform: &str, file: &str| {
        let machine = World::new();
        let arguments = ["-o", &output, "--metadata-file", "../part.json"];
        build(&machine, platform, "x", &arguments).ok();
        world.write(file, machine.read("part.json"));
    };
    let expect = "--expect=linux/amd64,linux/arm64";
    let join = |more: &[&str]| {
        let mut arguments = vec!["join", &name, expect];
        arguments.extend(more);
        world.shale(&arguments)
    };
    part("linux/arm64", "parts/arm/part.json");
    join(&["--from", "../parts"]).fails(1, &["missing: linux/amd64", "nothing was pushed"]);
    world.shale(&["manifest", "inspect", &name]).fails(4, &["not found"]);

    part("linux/amd64", "parts/amd/part.json");
    let latest = format!("{repository}:latest");
    let arguments = ["--from", "../parts", "-t", &latest, "--metadata-file", "../joined.json"];
    let joined = join(&arguments);
    let digest = joined.ok().to_owned();
    let facts: Value = serde_json::from_str(&world.read("joined.json")).unwrap();
    assert_eq!(facts["containerimage.digest"], digest.as_str());
    let index = json(&world.shale(&["manifest", "inspect", &latest]));
    assert_eq!(platforms(&index), ["linux/amd64", "linux/arm64"]);

    // By their digests, in any order, the same parts are the same index.
    let digests =
        [1, 0].map(|at: usize| index["manifests"][at]["digest"].as_str().unwrap().to_owned());
    assert_eq!(join(&["-q", &digests[0], &digests[1]]).ok(), digest);
    let dry = join(&["--dry-run", &digests[1], &digests[0]]);
    assert_eq!(json(&dry), index);

    part("linux/arm64/v9", "parts/more/part.json");
    join(&["--from", "../parts"]).fails(1, &["not expected: linux/arm64/v9"]);
    world.write("parts/more/part.json", "{}");
    join(&["--from", "../parts"]).fails(1, &["more/part.json is no result of a build"]);
    world.shale(&["join", &name]).fails(2, &["nothing to join was named"]);
}

#[test]
fn parts_are_found_by_their_tags_and_brought_along() {
    need!("docker-registry");
    let world = World::new();
    let [from, to] = ["from", "to"].map(|_| World::new()).map(|w| (Registry::start(&w), w));
    let repository = format!("{}/team/app", from.0.address());
    for platform in ["linux/amd64", "linux/arm/v7"] {
        let tag = format!("{repository}:run-7-{}", platform.replace('/', "-"));
        build(&world, platform, "x", &["-t", &tag, "--push"]).ok();
    }
    build(
        &world,
        "linux/amd64",
        "another",
        &["-t", &format!("{repository}:run-8-amd64"), "--push"],
    )
    .ok();
    let name = format!("{repository}:7");
    world
        .shale(&["join", &name, "--from-tags", "run-7-*", "--expect", "linux/amd64,linux/arm/v7"])
        .ok();
    world.shale(&["join", &name, "--from-tags", "run-*"]).fails(1, &["linux/amd64 comes twice"]);
    world.shale(&["join", &name, "--from-tags", "none-*"]).fails(1, &["has no tag like none-*"]);

    // Within a registry blobs are mounted, to another one they are copied.
    let near = format!("{}/near/app:7", from.0.address());
    let run = world.shale(&["join", &near, &name]);
    run.ok();
    assert!(run.stderr.contains(" mounted ") && !run.stderr.contains(" copied "), "{run}");
    let far = format!("{}/far/app:7", to.0.address());
    let annotation = "org.opencontainers.image.description=both";
    let run = world.shale(&["join", &far, &near, "--annotation", annotation]);
    run.ok();
    assert!(run.stderr.contains(" copied "), "{run}");
    let index = json(&world.shale(&["manifest", "inspect", &far]));
    assert_eq!(index["annotations"]["org.opencontainers.image.description"], "both");
    drop(from);
    let other = World::new();
    other.dockerfile(&format!("FROM --platform=linux/arm/v7 {far}\n"));
    other.build(&["-o", "../out"]).ok();
    assert_eq!(other.read("out/file"), "x linux/arm/v7");
}

#[test]
fn a_registry_is_searched() {
    let world = World::new();
    let long = "A server that speaks to everybody, and says so in many words";
    let index = SearchIndex::start(&[
        ("web", long, 5000, true),
        ("someone/web", "Not\u{1b}[31m official", 5, false),
        ("db", "", 1, false),
    ]);
    let search = |more: &[&str]| {
        let term = format!("{}/web", index.host());
        let mut arguments = vec!["search"];
        arguments.extend(more);
        arguments.push(&term);
        world.shale(&arguments)
    };
    let listed = search(&[]);
    let lines: Vec<Vec<&str>> =
        listed.ok().lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "DESCRIPTION", "STARS", "OFFICIAL", "AUTOMATED"]);
    assert_eq!((lines[1][0], *lines[1].last().unwrap()), ("web", "[OK]"));
    assert_eq!(lines.len(), 3);
    assert!(!listed.stdout.contains('\u{1b}') && !listed.stdout.contains(long), "{listed}");
    assert!(search(&["--no-trunc"]).ok().contains(long));
    let names = |more: &[&str]| {
        let all: Vec<&str> =
            ["--format", "{{.Name}} {{.StarCount}}"].iter().chain(more).copied().collect();
        search(&all).ok().to_owned()
    };
    assert_eq!(names(&["-f", "is-official=true"]), "web 5000");
    assert_eq!(names(&["-f", "stars=6"]), "web 5000");
    assert_eq!(names(&["-f", "is-official=false"]), "someone/web 5");
    assert_eq!(names(&["--limit", "1"]), "web 5000");
    let first: Value =
        serde_json::from_str(search(&["--format", "json"]).ok().lines().next().unwrap()).unwrap();
    assert_eq!((&first["Name"], &first["IsOfficial"]), (&"web".into(), &"true".into()));
    search(&["-f", "color=red"]).fails(2, &["invalid filter 'color'"]);
    search(&["--limit", "0"]).fails(2, &["--limit"]);
    search(&["--format", "{{.Nope}}"]).fails(1, &["template"]);
}
