//! `save`, `load` and `import`: forms, platforms, and archives of people who mean no good.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::need;
use world::{Run, World};

use crate::round_trips::zoo::{DIR, FILE, Facts, Tar, docker_archive};

fn one_layer() -> Vec<u8> {
    Tar::default().add("f", FILE, b"content").finish()
}

/// The id of an image, or the digest of an index.
fn id(world: &World, name: &str) -> String {
    world.shale(&["images", "-q", "--no-trunc", name]).ok().to_owned()
}

fn load(world: &World, archive: &[u8]) -> Run {
    world.write("archive", archive);
    world.shale(&["load", "-i", "../archive"])
}

/// A world with an image `app:1` for two platforms.
fn two_platforms() -> World {
    let world = World::new();
    world.dockerfile("FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    world.build(&["--platform", "linux/amd64,linux/s390x", "-t", "app:1"]).ok();
    world
}

#[test]
fn every_compression_is_read() {
    need!("xz", "bzip2");
    let archive = docker_archive(&[one_layer()], "app:1");
    let world = World::new();
    world.write("plain.tar", &archive);
    for (program, suffix) in [("xz", "xz"), ("bzip2", "bz2"), ("gzip", "gz")] {
        world.program(program, &["-k", "../plain.tar"]).ok();
        let other = World::new();
        let packed = std::fs::read(world.path(&format!("plain.tar.{suffix}"))).unwrap();
        assert_eq!(load(&other, &packed).ok(), "Loaded image: app:1");
        let cut = load(&World::new(), &packed[..packed.len() - 40]);
        cut.fails(1, &["cannot load ../archive"]);
    }
    let cut = load(&World::new(), &archive[..archive.len() - 3000]);
    cut.fails(1, &["cannot load ../archive"]);
}

#[test]
fn an_index_stays_an_index_where_all_of_it_is_there() {
    let world = two_platforms();
    let index = id(&world, "app:1");
    for format in ["docker", "oci"] {
        world.shale(&["save", "--format", format, "-o", "../app.tar", "app:1"]).ok();
        let path = world.path("app.tar");
        let archive = path.to_str().unwrap();
        let other = World::new();
        other.shale(&["load", "-i", archive]).ok();
        assert_eq!(id(&other, "app:1"), index, "{format}");
        other.shale(&["export", "--platform", "linux/s390x", "-o", "../tree/", "app:1"]).ok();
        assert!(other.path("tree/s390x").exists());
        // One of them.
        let one = World::new();
        one.shale(&["load", "-i", archive, "--platform", "linux/s390x"]).ok();
        let told = one.shale(&["inspect", "--format", "{{.Architecture}}", "app:1"]);
        assert_eq!(told.ok(), "s390x");
        assert_ne!(id(&one, "app:1"), index);
        let none = ["load", "-i", archive, "--platform", "linux/arm64"];
        World::new().shale(&none).fails(1, &["linux/arm64"]);
    }
    // One is saved, and loaded without being asked for.
    world.shale(&["save", "--platform", "linux/s390x", "-o", "../one.tar", "app:1"]).ok();
    let other = World::new();
    other.shale(&["load", "-i", world.path("one.tar").to_str().unwrap()]).ok();
    assert_eq!(other.shale(&["inspect", "--format", "{{.Architecture}}", "app:1"]).ok(), "s390x");
    world.shale(&["save", "--platform", "linux/arm64", "app:1"]).fails(2, &["nothing for"]);
}

/// A layout in a directory, to be changed.
struct Layout<'a>(&'a World);

impl Layout<'_> {
    fn read(&self, file: &str) -> Value {
        serde_json::from_str(&self.0.read(&format!("layout/{file}"))).unwrap()
    }

    fn blob(&self, descriptor: &Value) -> String {
        format!("blobs/{}", descriptor["digest"].as_str().unwrap().replace(':', "/"))
    }

    /// Writes a blob and gives its descriptor.
    fn add(&self, media_type: &str, document: &Value) -> Value {
        let text = document.to_string();
        let hex: String =
            Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.write(&format!("layout/blobs/sha256/{hex}"), &text);
        json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": text.len() })
    }
}

#[test]
fn attestations_of_an_index_come_along() {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let world = two_platforms();
    world.shale(&["save", "--format", "oci-dir", "-o", "../layout", "app:1"]).ok();
    let layout = Layout(&world);
    let mut listed = layout.read("index.json");
    let mut index = layout.read(&layout.blob(&listed["manifests"][0]));
    let config =
        layout.add("application/vnd.oci.image.config.v1+json", &json!({ "os": "unknown" }));
    let statement = layout.add("application/vnd.in-toto+json", &json!({ "said": "of the image" }));
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [statement] });
    let mut attached = layout.add(MANIFEST, &manifest);
    attached["platform"] = json!({ "architecture": "unknown", "os": "unknown" });
    attached["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    index["manifests"].as_array_mut().unwrap().push(attached);
    let mut entry = layout.add("application/vnd.oci.image.index.v1+json", &index);
    entry["annotations"] = listed["manifests"][0]["annotations"].clone();
    let digest = entry["digest"].clone();
    listed["manifests"] = json!([entry]);
    world.write("layout/index.json", listed.to_string());
    let other = World::new();
    other.shale(&["load", "-i", world.path("layout").to_str().unwrap()]).ok();
    assert_eq!(id(&other, "app:1"), digest);
    other.shale(&["save", "--format", "oci-dir", "-o", "../layout", "app:1"]).ok();
    let again = Layout(&other);
    assert_eq!(again.read("index.json")["manifests"][0]["digest"], digest);
    assert_eq!(again.read(&again.blob(&statement)), json!({ "said": "of the image" }));
    // Without the statement it is no whole index: what is for this machine is taken.
    std::fs::remove_file(world.path(&format!("layout/{}", layout.blob(&statement)))).unwrap();
    let third = World::new();
    let loaded = third.shale(&["load", "-i", world.path("layout").to_str().unwrap()]);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(loaded.ok(), "Loaded image: app:1");
        assert_ne!(id(&third, "app:1"), digest.as_str().unwrap());
    }
}

#[test]
fn an_archive_can_do_no_harm() {
    let refused = |archive: Vec<u8>, words: &[&str]| {
        let world = World::new();
        let first = load(&world, &archive);
        first.fails(1, words);
        assert_eq!(world.shale(&["images", "-aq"]).ok(), "", "{first}");
    };
    let tar = Tar::default;
    let manifest = |config: &str, layers: &[&str]| {
        json!([{ "Config": config, "RepoTags": ["evil:1"], "Layers": layers }]).to_string()
    };
    let with = |tar: Tar, config: &str, layers: &[&str]| {
        tar.add("manifest.json", FILE, manifest(config, layers).as_bytes()).finish()
    };
    refused(tar().finish(), &["the image archive is empty"]);
    refused(tar().add("other", FILE, b"").finish(), &["index.json", "manifest.json"]);
    refused(with(tar(), "../../../../../../etc/passwd", &[]), &["is missing"]);
    refused(with(tar(), "/etc/passwd", &[]), &["is missing"]);
    let link = |to: &'static str| Facts { kind: b'2', link: to.as_bytes(), ..FILE };
    refused(with(tar().add("c", link("/etc/passwd"), b""), "c", &[]), &["is missing"]);
    let looped = tar().add("c", link("d"), b"").add("d", link("c"), b"");
    refused(with(looped, "c", &[]), &["is missing"]);
    refused(with(tar().add("c", FILE, &vec![b' '; 5 << 20]), "c", &[]), &["longer than"]);
    refused(with(tar().add("c", DIR, b""), "c", &[]), &["is missing"]);
    let config = |count: usize| {
        let ids = vec![format!("sha256:{}", "0".repeat(64)); count];
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": ids } })
            .to_string()
    };
    let one = tar().add("c", FILE, config(1).as_bytes());
    refused(with(one, "c", &[]), &["names 1 layers, there are 0"]);
    let many = tar().add("c", FILE, config(501).as_bytes()).add("l", FILE, &one_layer());
    refused(with(many, "c", &vec!["l"; 501]), &["more than 500 layers"]);
    let other = tar().add("c", FILE, config(1).as_bytes()).add("l", FILE, &one_layer());
    refused(with(other, "c", &["l"]), &["is not the"]);
    let no_tar = tar().add("c", FILE, config(1).as_bytes()).add("l", FILE, &[7; 100_000]);
    refused(with(no_tar, "c", &["l"]), &["is not the"]);
    let tagged = json!([{ "Config": "c", "RepoTags": ["Not A Name"], "Layers": [] }]).to_string();
    refused(tar().add("manifest.json", FILE, tagged.as_bytes()).finish(), &["tag `Not A Name`"]);
    refused(tar().add("index.json", FILE, b"{}").finish(), &["index.json"]);
    let forged = json!({ "schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "a".repeat(64)), "size": 2 }] });
    let blob = format!("blobs/sha256/{}", "a".repeat(64));
    let forged = tar().add("index.json", FILE, forged.to_string().as_bytes());
    refused(forged.add(&blob, FILE, b"{}").finish(), &["has digest", "not sha256:aaaa"]);
}

#[test]
fn indexes_in_indexes_have_an_end() {
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    let world = World::new();
    let layout = Layout(&world);
    let mut entry = layout.add(INDEX, &json!({ "schemaVersion": 2, "manifests": [] }));
    for _ in 0..20 {
        entry = layout.add(INDEX, &json!({ "schemaVersion": 2, "manifests": [entry] }));
    }
    let top = json!({ "schemaVersion": 2, "manifests": [entry] });
    world.write("layout/index.json", top.to_string());
    world.shale(&["load", "-i", "../layout"]).fails(1, &["nested too deep"]);
}

/// Answers one request with a file.
fn serve_once(content: Vec<u8>) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://user:secret@{}/root.tar", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            asked.push(byte[0]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&content).unwrap();
    });
    (url, server)
}

#[test]
fn import_takes_files_streams_and_urls() {
    let world = World::new();
    world.write("root.tar", one_layer());
    let settings = ["-c", "CMD [\"/f\", \"x\"]", "-c", "ENV A=b", "-m", "a message"];
    let import = [&["import"][..], &settings].concat();
    world.shale(&[&import[..], &["../root.tar", "file:1"]].concat()).ok();
    world.shale_with_input(&[&import[..], &["-", "stream:1"]].concat(), &one_layer()).ok();
    let (url, server) = serve_once(testkit::image::gzip(&one_layer()));
    let imported = world.shale(&["import", "--platform", "linux/s390x", &url, "url:1"]);
    assert_eq!(imported.ok(), id(&world, "url:1"));
    server.join().unwrap();
    let told = |name: &str| -> Value {
        serde_json::from_str(world.shale(&["inspect", name]).ok()).unwrap()
    };
    let (file, stream, url) = (told("file:1"), told("stream:1"), told("url:1"));
    assert_eq!(file[0]["Config"]["Cmd"], json!(["/f", "x"]));
    assert_eq!(file[0]["Config"]["Env"], json!(["A=b"]));
    assert_eq!(file[0]["RootFS"], stream[0]["RootFS"]);
    assert_eq!(file[0]["RootFS"], url[0]["RootFS"]);
    assert_eq!(url[0]["Architecture"], "s390x");
    let history = world.shale(&["history", "--no-trunc", "url:1"]);
    assert!(history.ok().contains("Imported from http://"), "{history}");
    assert!(!history.stdout.contains("secret"), "{history}");
    assert!(world.shale(&["history", "file:1"]).ok().contains("a message"));
    world.shale(&["import", "../nosuch.tar"]).fails(1, &["nosuch.tar"]);
    world.shale(&["import", "http://127.0.0.1:1/x.tar"]).fails(4, &["127.0.0.1:1"]);
    world.shale(&["import", "-c", "RUN x", "../root.tar"]).fails(2, &["--change"]);
    world.shale(&["import", "-c", "FROM x", "../root.tar"]).fails(2, &["config only"]);
    world.write("context/text", "no tar");
    world.shale(&["import", "text"]).fails(1, &["cannot import text"]);
}

#[test]
fn an_archive_goes_where_it_was_told_to_and_nowhere_else() {
    let world = World::new();
    load(&world, &docker_archive(&[one_layer()], "app:1")).ok();
    world.shale(&["save", "-o", "/dev/null", "app:1"]).ok();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    world.shale(&["export", "-o", "/dev/null", "app:1"]).ok();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    world.shale(&["save", "-o", "..", "app:1"]).fails(1, &["is a directory"]);
    world.shale(&["save", "-o", "../none/x.tar", "app:1"]).fails(1, &["none/x.tar"]);
    world.shale(&["save", "--format", "zip", "app:1"]).fails(2, &["docker, oci or oci-dir"]);
    world.shale(&["save", "--format", "oci-dir", "app:1"]).fails(2, &["-o"]);
    world.shale(&["save", "-o", "/dev/full", "app:1"]).fails(5, &["no space left"]);
    world.shale(&["export", "-o", "/dev/full", "app:1"]).fails(5, &["no space left"]);
}
