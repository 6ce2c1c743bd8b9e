//! Results outside of the store (spec section 8).

use world::World;

const DOCKERFILE: &str = "\
FROM base
RUN mkdir /d && echo a > /d/a && ln /d/a /d/hard && ln -s a /d/soft && chmod 4755 /d/a
RUN touch /d/gone
RUN rm /d/gone && chown 1000:1000 /d
";

fn prepared() -> Option<World> {
    let world = World::new();
    world.base().then(|| {
        world.dockerfile(DOCKERFILE);
        world
    })
}

#[test]
fn an_oci_archive_is_a_whole_layout() {
    let Some(world) = prepared() else { return };
    let outputs = ["-o", "type=oci,dest=../app.tar", "-o", "type=oci,tar=false,dest=../layout"];
    world.build(&[&["-t", "app:1"][..], &outputs].concat()).ok();
    let index: serde_json::Value = serde_json::from_str(&world.read("layout/index.json")).unwrap();
    let manifest = &index["manifests"][0];
    assert_eq!(manifest["annotations"]["org.opencontainers.image.ref.name"], "1"); // OUT-21
    let blob = |descriptor: &serde_json::Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        let path = format!("../layout/blobs/{digest}");
        let sum = world.program("sha256sum", &[&path]);
        assert_eq!(format!("sha256/{}", sum.ok().split(' ').next().unwrap()), digest);
        let bytes = std::fs::read(world.path("context").join(path)).unwrap();
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    };
    let manifest: serde_json::Value = serde_json::from_slice(&blob(manifest)).unwrap();
    blob(&manifest["config"]);
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().for_each(|layer| drop(blob(layer)));
    assert_eq!(layers.len(), 4);
    let listed = world.program("tar", &["-tf", "../app.tar"]);
    assert!(listed.ok().contains("oci-layout"), "{listed}");
}

#[test]
fn a_tree_and_a_tar_hold_the_final_files() {
    let Some(world) = prepared() else { return };
    world.build(&["-o", "../tree", "-o", "type=tar,dest=../tree.tar"]).ok();
    assert_eq!(world.read("tree/d/a"), "a\n");
    assert_eq!(world.read("tree/d/soft"), "a\n");
    assert!(!world.path("tree/d/gone").exists());
    let listed = world.program("tar", &["--numeric-owner", "-tvf", "../tree.tar"]);
    let line = |end: &str| {
        let found = listed.ok().lines().find(|line| line.ends_with(end)).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no {end} in\n{listed}"))
    };
    assert!(line(" d/a").starts_with("-rwsr-xr-x 0/0"), "{listed}"); // OUT-32
    assert!(line(" d/").contains(" 1000/1000 "), "{listed}");
    assert!(listed.ok().contains("link to d/a"), "{listed}");
    assert!(!listed.ok().contains(".wh."), "{listed}");
}

#[test]
fn standard_output_is_an_output() {
    let Some(world) = prepared() else { return };
    let run = world.build(&["-o", "-"]);
    run.ok();
    assert!(run.stdout.contains("ustar"), "{}", run.stderr);
    world.build(&["-o", "-", "-o", "type=oci"]).fails(2, &["multiple outputs"]); // OUT-05
}

#[test]
fn the_same_build_has_the_same_digest() {
    let Some(world) = prepared() else { return };
    let build = |file: &str| {
        let output = format!("type=oci,dest=../{file},rewrite-timestamp=true");
        let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--no-cache", "-o", &output];
        world.build(&epoch).ok();
        std::fs::read(world.path(file)).unwrap()
    };
    // The base has a time of its own, so that it is imported once.
    assert!(build("a.tar") == build("b.tar"), "two builds, two archives"); // EPO-17
}

#[test]
fn what_was_saved_can_be_loaded() {
    let Some(world) = prepared() else { return };
    world.build(&["-t", "app:1"]).ok();
    let id = world.shale(&["images", "-q", "app:1"]).ok().to_owned();
    for format in ["oci", "docker"] {
        world.shale(&["save", "--format", format, "-o", "../saved.tar", "app:1"]).ok();
        let other = World::new();
        let saved = world.path("saved.tar");
        other.shale(&["load", "-i", saved.to_str().unwrap()]).ok();
        assert_eq!(other.shale(&["images", "-q", "app:1"]).ok(), id, "{format}");
        assert_eq!(other.shale(&["run", "app:1", "cat", "/d/hard"]).ok(), "a");
    }
}

#[test]
fn facts_on_the_result_go_to_files() {
    let Some(world) = prepared() else { return };
    let files = ["--metadata-file", "../facts.json", "-o", "type=oci,dest=../app.tar"];
    world.build(&[&["-t", "app"][..], &files].concat()).ok();
    let facts: serde_json::Value = serde_json::from_str(&world.read("facts.json")).unwrap();
    for member in ["containerimage.digest", "containerimage.config.digest", "image.name"] {
        assert!(facts[member].is_string(), "{member} in {facts}"); // OUT-13
    }
}

#[test]
fn epo_12_each_output_has_its_own_times() {
    let Some(world) = prepared() else { return };
    let layers = |file: &str| {
        let read = |name: &str| {
            let text = world.program("tar", &["-xOf", file, name]);
            serde_json::from_str::<serde_json::Value>(text.ok()).unwrap()
        };
        let path = |blob: &serde_json::Value| {
            format!("blobs/{}", blob["digest"].as_str().unwrap().replace(':', "/"))
        };
        let manifest = read(&path(&read("index.json")["manifests"][0]));
        read(&path(&manifest["config"]))["rootfs"]["diff_ids"].clone()
    };
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let build = |outputs: &[&str]| world.build(&[&epoch[..], outputs].concat()).ok().to_owned();
    let rewritten = "type=oci,dest=../rewritten.tar,rewrite-timestamp=true";
    let plain = "type=oci,dest=../plain.tar";
    for (first, second) in [(rewritten, plain), (plain, rewritten)] {
        build(&["-o", first, "-o", second, "-t", "app"]);
        let [rewritten, plain] = ["../rewritten.tar", "../plain.tar"].map(layers);
        assert_eq!(rewritten[0], plain[0], "the base's layer stays");
        assert_ne!(rewritten[1], plain[1]);
        build(&["-o", "type=oci,dest=../alone.tar"]);
        assert_eq!(layers("../alone.tar"), plain);
        build(&["-o", "type=oci,dest=../alone.tar,rewrite-timestamp=true"]);
        assert_eq!(layers("../alone.tar"), rewritten);
        // The first one is what the name means.
        world.shale(&["save", "--format", "oci", "-o", "../saved.tar", "app"]).ok();
        let named = if first.contains("rewrite") { rewritten } else { plain };
        assert_eq!(layers("../saved.tar"), named);
    }
}
