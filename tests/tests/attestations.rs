//! Attestations in a store and a real registry, and the same digests from two stores (spec 8.6, EPO-17, ATT-21).

use serde_json::Value;
use testkit::need;
use world::{Registry, World};

/// Two stages that are independent of each other, files of all kinds of contents, a package database.
const DOCKERFILE: &str = "\
FROM BASE AS one
RUN mkdir /one && seq 1 300000 > /one/numbers && touch /one/now
FROM BASE AS two
RUN echo two > /two && ln /two /twin
FROM BASE
ARG COLOUR=red
COPY file /file
COPY --from=two /two /twin /
COPY --from=one /one /one
RUN mkdir -p /var/lib/dpkg && printf 'Package: p\\nVersion: 1\\n' > /var/lib/dpkg/status
RUN echo $COLOUR > /colour
";

/// A base in a registry, so that two stores mean the same by its name.
fn with_base(world: &World) -> Option<(Registry, String)> {
    if !world.base() {
        return None;
    }
    let registry = Registry::start(world);
    let base = format!("{}/base:1", registry.address());
    world.shale(&["tag", "base", &base]).ok();
    world.shale(&["push", &base]).ok();
    Some((registry, base))
}

fn set_up(world: &World, base: &str) {
    world.dockerfile(&DOCKERFILE.replace("BASE", base));
    world.write("context/file", "the same\n");
}

/// Digest of what an output has made: of a file, or of a directory with names, modes, times and owners.
fn sum(world: &World, path: &str) -> String {
    let script = format!(
        "if [ -d ../{path} ]; then cd ../{path} && tar --sort=name --numeric-owner -c * | sha256sum; \
         else sha256sum < ../{path}; fi"
    );
    world.program("sh", &["-c", &script]).ok().to_owned()
}

const OUTPUTS: [(&str, &str); 9] = [
    ("gzip.tar", "type=oci,rewrite-timestamp=true"),
    ("level.tar", "type=oci,rewrite-timestamp=true,compression-level=9"),
    ("zstd.tar", "type=oci,rewrite-timestamp=true,compression=zstd"),
    ("estargz.tar", "type=oci,rewrite-timestamp=true,compression=estargz"),
    ("plain.tar", "type=oci,rewrite-timestamp=true,compression=uncompressed"),
    ("referrers.tar", "type=oci,rewrite-timestamp=true,oci-referrers=true"),
    ("docker.tar", "type=docker,rewrite-timestamp=true"),
    ("files.tar", "type=tar"),
    ("files", "type=local"),
];

/// Builds with all outputs at once; gives what they are.
fn all_outputs(world: &World, more: &[&str]) -> Vec<(String, String)> {
    let written = OUTPUTS.map(|(path, attributes)| format!("{attributes},dest=../{path}"));
    let mut arguments = vec!["--provenance=mode=max", "--sbom=true", "-t", "app:1"];
    arguments.extend(["--build-arg", "SOURCE_DATE_EPOCH=1700000000"]);
    arguments.extend(written.iter().flat_map(|output| ["-o", output.as_str()]));
    arguments.extend(more);
    world.build(&arguments).ok();
    OUTPUTS.iter().map(|(path, _)| ((*path).to_owned(), sum(world, path))).collect()
}

#[test]
fn two_stores_give_the_same_digests() {
    need!("docker-registry");
    let origin = World::new();
    let Some((_registry, base)) = with_base(&origin) else { return };
    let one = World::new();
    set_up(&one, &base);
    let first = all_outputs(&one, &[]);

    // Another machine: one processor, one step at a time, other steps first, files of another time.
    let mut two = World::new();
    two.set("RAYON_NUM_THREADS", "1");
    set_up(&two, &base);
    two.program("touch", &["-d", "2024-05-06T07:08:09", "file"]).ok();
    two.build(&["--target", "two", "-o", "type=cacheonly"]).ok();
    let second = all_outputs(&two, &["--jobs", "1"]);
    assert_eq!(first, second); // EPO-17

    // The same store again: everything is cached, and says the same.
    assert_eq!(all_outputs(&two, &[]), second);
    // Another argument is another result and another provenance.
    let other = all_outputs(&two, &["--build-arg", "COLOUR=blue"]);
    assert!(other.iter().zip(&second).all(|(a, b)| a.1 != b.1), "{other:?}");
}

/// A document of a registry.
fn fetch(world: &World, url: &str) -> Value {
    let accept = "Accept: application/vnd.oci.image.index.v1+json, \
                  application/vnd.oci.image.manifest.v1+json";
    let answer = world.program("curl", &["-sSfL", "-H", accept, url]);
    serde_json::from_str(answer.ok()).unwrap()
}

#[test]
fn attestations_stay_with_their_index() {
    need!("docker-registry", "skopeo", "curl");
    let world = World::new();
    let Some((registry, base)) = with_base(&world) else { return };
    set_up(&world, &base);
    let address = registry.address();
    let name = format!("{address}/team/app:1");
    world.build(&["-t", &name, "--provenance=true", "--sbom=true"]).ok();
    world.shale(&["push", &name]).ok(); // ATT-03
    let repository = format!("http://{address}/v2/team/app");
    let index = fetch(&world, &format!("{repository}/manifests/1"));
    let [image, attestation] = index["manifests"].as_array().unwrap().as_slice() else {
        panic!("{index}")
    };
    assert_eq!(attestation["platform"]["os"], "unknown"); // ATT-04
    let manifest = fetch(
        &world,
        &format!("{repository}/manifests/{}", attestation["digest"].as_str().unwrap()),
    );
    for layer in manifest["layers"].as_array().unwrap() {
        let statement =
            fetch(&world, &format!("{repository}/blobs/{}", layer["digest"].as_str().unwrap()));
        let subject = statement["subject"][0]["digest"]["sha256"].as_str().unwrap();
        assert_eq!(format!("sha256:{subject}"), image["digest"]); // ATT-08
    }

    // What is pushed at once is the same but for its times.
    let direct = format!("{address}/team/direct:1");
    world.build(&["-t", &direct, "--provenance=true", "--push"]).ok();
    let index = fetch(&world, &format!("http://{address}/v2/team/direct/manifests/1"));
    assert_eq!(index["manifests"][0]["digest"], image["digest"]);

    // Others find the image in it.
    let other = World::new();
    other.dockerfile(&format!("FROM {name}\nRUN grep red /colour\n"));
    other.build(&[]).ok();
    let copied = ["copy", "--src-tls-verify=false", &format!("docker://{name}"), "oci:../copied:1"];
    other.program("skopeo", &copied).ok();
}

#[test]
fn referrers_are_found_by_the_image() {
    need!("docker-registry", "curl");
    let world = World::new();
    let Some((registry, base)) = with_base(&world) else { return };
    set_up(&world, &base);
    let name = format!("{}/app:1", registry.address());
    let push = |more: &[&str]| {
        let arguments = ["-t", &name, "-o", "type=registry,oci-referrers=true"];
        world.build(&[&arguments[..], more].concat()).ok();
        let digest = world.program("sh", &["-c", "cat ../facts"]).ok().to_owned();
        let facts: Value = serde_json::from_str(&digest).unwrap();
        facts["containerimage.digest"].as_str().unwrap().to_owned()
    };
    let plain = push(&["--metadata-file", "../facts"]);
    let with = push(&["--provenance=true", "--metadata-file", "../facts"]);
    assert_eq!(plain, with, "the image stays as it is"); // ATT-06
    let tag = plain.replace(':', "-");
    let listed = fetch(&world, &format!("http://{}/v2/app/manifests/{tag}", registry.address()));
    let [one] = listed["manifests"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    assert_eq!(one["artifactType"], "application/vnd.in-toto+json");
}
