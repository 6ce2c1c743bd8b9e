//! OCI layouts and docker archives, both ways.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use exporter::import::ImageArchive;
use exporter::{
    Annotations, ExportErrorKind as Kind, ImageOptions, Prepared, metadata, prepare,
    write_docker_archive, write_file, write_oci_archive, write_oci_directory,
};
use layer::Compression;
use oci::{Digest, Platform, media};
use store::LayerBlob;

use crate::fixture::{Fixture, bytes_of, chain, names};

/// Every part of what was prepared comes back from an archive, byte for byte.
fn check_archive(archive: &ImageArchive, prepared: &Prepared, tag: Option<&str>) {
    let listed = archive.find(tag).expect("listed");
    let image = &prepared.images[0];
    let got = archive.image(&listed, &image.platform).expect("image");
    assert_eq!(got.config, image.config);
    let manifest = got.manifest.expect("our archives have manifests");
    assert_eq!(manifest.digest, image.descriptor.digest);
    check_layers(archive, prepared, tag);
}

/// The layers' tars and the platform come back; documents may have been written anew by another tool.
fn check_layers(archive: &ImageArchive, prepared: &Prepared, tag: Option<&str>) {
    let listed = archive.find(tag).expect("listed");
    let image = &prepared.images[0];
    let got = archive.image(&listed, &image.platform).expect("image");
    assert_eq!(got.platform, image.platform);
    let config = oci::ImageConfig::from_json(&image.config).expect("config");
    let diff_ids: Vec<_> = got.layers.iter().map(|layer| layer.diff_id).collect();
    assert_eq!(diff_ids, config.rootfs.diff_ids);
    for layer in &got.layers {
        let mut blob = Vec::new();
        archive.open_layer(layer).expect("open").read_to_end(&mut blob).expect("read");
        let mut tar = Vec::new();
        layer::decompress(blob.as_slice()).read_to_end(&mut tar).expect("decompress");
        assert_eq!(Digest::of(&tar), layer.diff_id.0);
    }
}

fn unpack(bytes: &[u8], into: &Fixture) -> ImageArchive {
    ImageArchive::unpack(&mut { bytes }, &into.lease).unwrap_or_else(|e| panic!("{}", chain(&e)))
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("temp dir")
}

#[test]
fn archives_are_deterministic_and_come_back() {
    let fixture = Fixture::new();
    let prepared = fixture.prepared();
    let names = names(&["app:1", "127.0.0.1:5000/team/app"]);
    let write = |prepared: &Prepared| {
        bytes_of(|out| write_oci_archive(prepared, &names, out, fixture.job())).expect("write")
    };
    let bytes = write(&prepared);
    assert!(bytes == write(&fixture.prepared()), "two exports differ");
    let other = Fixture::new();
    let archive = unpack(&bytes, &other);
    check_archive(&archive, &prepared, None);
    check_archive(&archive, &prepared, Some("app:1"));
    check_archive(&archive, &prepared, Some(&prepared.target.digest.to_string()));
    assert_eq!(archive.listed().len(), 1);
    let mut got: Vec<String> = archive.listed()[0].names.iter().map(|n| n.to_string()).collect();
    got.sort();
    assert_eq!(got, ["127.0.0.1:5000/team/app:latest", "docker.io/library/app:1"]); // OUT-21
    let docker = bytes_of(|out| write_docker_archive(&prepared, &names, out, fixture.job()));
    let other = Fixture::new();
    check_archive(
        &unpack(&testkit::image::gzip(&docker.expect("docker")), &other),
        &prepared,
        None,
    );
    assert!(archive.find(Some("2")).is_err());
}

#[test]
fn a_layout_directory_is_added_to() {
    let fixture = Fixture::new();
    let dir = scratch();
    let layout = dir.path().join("layout");
    let one = fixture.prepared();
    let layers = fixture.layers(&[testkit::rootfs::TarBuilder::new().dir("x", 0o755).finish()]);
    let other =
        prepare(&[fixture.image(&layers, "linux/amd64")], &ImageOptions::default(), fixture.job());
    let other = other.expect("prepare");
    for (prepared, tag) in [(&one, "app:1"), (&other, "app:2"), (&other, "app:1"), (&one, "app:3")]
    {
        write_oci_directory(prepared, &names(&[tag]), &layout, fixture.job()).expect("write");
    }
    let archive = ImageArchive::open_directory(&layout).expect("open");
    check_archive(&archive, &other, Some("app:1")); // replaced, OUT-23
    check_archive(&archive, &other, Some("2"));
    check_archive(&archive, &one, Some("3"));
    let left: Vec<_> =
        fs::read_dir(&layout).expect("list").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    // A changed byte is found out.
    let blob = layout.join("blobs/sha256").join(other.images[0].layers[0].digest.hex());
    let mut bytes = fs::read(&blob).expect("read");
    bytes[20] ^= 1;
    fs::write(&blob, bytes).expect("write");
    let image = archive.image(&archive.find(Some("2")).expect("listed"), &Platform::host());
    let mut layer = archive.open_layer(&image.expect("image").layers[0]).expect("open");
    assert!(layer.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn several_platforms_make_an_index() {
    let fixture = Fixture::new();
    let layers = fixture.layers(&crate::fixture::sample_tars());
    let images = ["linux/arm64", "linux/amd64"].map(|p| fixture.image(&layers, p));
    let prepared = prepare(&images, &ImageOptions::default(), fixture.job()).expect("prepare");
    assert_eq!(prepared.target.media_type, media::OCI_INDEX);
    let bytes = bytes_of(|out| write_oci_archive(&prepared, &[], out, fixture.job())).expect("oci");
    let other = Fixture::new();
    let archive = unpack(&bytes, &other);
    let listed = archive.find(None).expect("the only one");
    for image in &images {
        let got = archive.image(&listed, &image.platform).expect("platform");
        assert_eq!((got.platform, got.config), (image.platform.clone(), image.config.clone()));
    }
    let riscv = "linux/riscv64".parse().expect("platform");
    assert_eq!(archive.image(&listed, &riscv).expect_err("none").kind(), Kind::NotFound);
    let refused = bytes_of(|out| write_docker_archive(&prepared, &[], out, fixture.job()));
    let text = refused.expect_err("ERR-73").to_string();
    assert_eq!(text, "docker exporter does not currently support exporting manifest lists");
    let meta = metadata(&prepared, &names(&["a"]));
    assert_eq!(meta["containerimage.digest"], prepared.target.digest.to_string());
    assert!(!meta.contains_key("containerimage.config.digest")); // OUT-13
}

#[test]
fn annotations_go_where_they_are_sent() {
    let fixture = Fixture::new();
    let layers = fixture.layers(&crate::fixture::sample_tars());
    let images = ["linux/arm64", "linux/amd64"].map(|p| fixture.image(&layers, p));
    let arm = || Some("linux/arm64".parse::<Platform>().expect("platform"));
    let pair = |key: &str| (None, key.to_owned(), "v".to_owned());
    let one = |key: &str| [(key.to_owned(), "v".to_owned())].into();
    let annotations = Annotations {
        manifest: vec![pair("all"), (arm(), "arm".to_owned(), "v".to_owned())],
        manifest_descriptor: vec![pair("descriptor")],
        index: one("index"),
        index_descriptor: one("index-descriptor"),
    };
    let options = ImageOptions { annotations, ..ImageOptions::default() };
    let prepared = prepare(&images, &options, fixture.job()).expect("prepare");
    let keys = |bytes: &[u8], at: &str| -> Vec<String> {
        let json: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
        let map = json.pointer(at).and_then(|found| found.as_object());
        map.map_or(Vec::new(), |map| map.keys().cloned().collect())
    };
    assert_eq!(keys(&prepared.images[0].manifest, "/annotations"), ["all", "arm"]); // IMG-46
    assert_eq!(keys(&prepared.images[1].manifest, "/annotations"), ["all"]);
    let index = prepared.index.as_deref().expect("an index");
    assert_eq!(keys(index, "/annotations"), ["index"]);
    assert_eq!(keys(index, "/manifests/0/annotations"), ["descriptor"]);
    assert!(prepared.target.annotations.contains_key("index-descriptor"));

    let refused = |images: &[exporter::BuiltImage], options: ImageOptions, want: &str| {
        let error = prepare(images, &options, fixture.job()).expect_err(want);
        assert_eq!(error.to_string(), want); // IMG-47
    };
    let docker = ImageOptions { oci_types: false, ..options.clone() };
    refused(&images, docker, "cannot export annotations with \"oci-mediatypes=false\"");
    let single = "index annotations not supported for single platform export";
    refused(&images[..1], options, single);
    let annotations = Annotations {
        manifest: vec![(arm(), "k".to_owned(), "v".to_owned())],
        ..Annotations::default()
    };
    let only_arm = ImageOptions { annotations, ..ImageOptions::default() };
    let missing = "invalid annotation: no platform linux/arm64 found in source";
    refused(&images[1..], only_arm, missing);
}

#[test]
fn blobs_are_made_once_and_converted_when_asked() {
    let fixture = Fixture::new();
    let mut image = fixture.sample();
    let of = |image: &exporter::BuiltImage, options: &ImageOptions| {
        prepare(std::slice::from_ref(image), options, fixture.job())
    };
    let gzip = of(&image, &ImageOptions::default()).expect("gzip");
    // Without the directories only the blobs of the store can serve.
    image.layers.iter_mut().for_each(|layer| layer.layer = None);
    assert_eq!(of(&image, &ImageOptions::default()).expect("again").target, gzip.target);
    let zstd = ImageOptions { compression: Compression::zstd(), ..ImageOptions::default() };
    let converted = of(&image, &zstd).expect("zstd");
    assert_eq!(converted.images[0].layers[0].media_type, media::OCI_LAYER_ZSTD);
    assert_eq!(converted.images[0].config, gzip.images[0].config);
    // A base layer keeps what it has unless forced (IMG-28).
    let plain = ImageOptions { compression: Compression::None, ..ImageOptions::default() };
    image.layers.iter_mut().for_each(|layer| layer.is_base = true);
    let kept = of(&image, &plain).expect("kept");
    assert_ne!(kept.images[0].layers[0].media_type, media::OCI_LAYER);
    let forced = of(&image, &ImageOptions { force_compression: true, ..plain }).expect("forced");
    assert_eq!(forced.images[0].layers[0].media_type, media::OCI_LAYER);
    // The blob that the base names goes before one that fits better (IMG-28).
    let own = converted.images[0].layers[0].clone();
    image.layers[0].own = Some(LayerBlob {
        compression: "zstd".to_owned(),
        media_type: own.media_type.clone(),
        digest: own.digest,
        size_bytes: own.size_bytes,
    });
    let of_base = of(&image, &ImageOptions::default()).expect("own");
    assert_eq!(of_base.images[0].layers[0].digest, own.digest);
    let force = ImageOptions { force_compression: true, ..ImageOptions::default() };
    let of_force = of(&image, &force).expect("forced gzip");
    assert_eq!(of_force.images[0].layers[0].digest, gzip.images[0].layers[0].digest);
    let docker = ImageOptions { oci_types: false, ..ImageOptions::default() };
    let docker_own = of(&image, &docker).expect("own, docker types");
    assert_eq!(docker_own.images[0].layers[0].media_type, media::DOCKER_LAYER_ZSTD);
    image.layers[0].own = None;
    let docker_image = of(&image, &docker).expect("docker types");
    assert_eq!(docker_image.images[0].layers[0].media_type, media::DOCKER_LAYER_GZIP);
    assert_eq!(docker_image.target.media_type, media::DOCKER_MANIFEST);
    let conflict = of(&image, &ImageOptions { oci_types: false, ..zstd }).expect_err("IMG-43");
    assert!(conflict.to_string().contains("conflicts with"), "{conflict}");
}

#[test]
fn a_damaged_store_or_a_full_disk_leaves_no_file() {
    let fixture = Fixture::new();
    let prepared = fixture.prepared();
    let out = fixture.dir.path().join("out.tar");
    let write = |path: &Path| {
        write_file(path, &mut |out| write_docker_archive(&prepared, &[], out, fixture.job()))
    };
    let full = write(Path::new("/dev/full")).expect_err("no room");
    assert_eq!(full.kind(), Kind::DiskFull, "{}", chain(&full));
    let digest = prepared.images[0].layers[1].digest;
    let blob = fixture.dir.path().join("store/blobs/sha256").join(digest.hex());
    let mut bytes = fs::read(&blob).expect("blob");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut mode = fs::metadata(&blob).expect("stat").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
    fs::set_permissions(&blob, mode).expect("chmod");
    fs::write(&blob, bytes).expect("damage");
    let error = write(&out).expect_err("damaged");
    assert!(chain(&error).contains(&digest.to_string()), "{}", chain(&error));
    fixture.cancel.cancel();
    assert_eq!(write(&out).expect_err("cancelled").kind(), Kind::Cancelled);
    let left: Vec<_> = fs::read_dir(fixture.dir.path()).expect("list").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

fn skopeo(args: &[&str]) -> String {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "--override-os", "linux", "--override-arch", "amd64"])
        .args(args)
        .output()
        .expect("run skopeo");
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {args:?}: {shown}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn skopeo_reads_our_archives_and_we_read_its() {
    testkit::need!("skopeo");
    let fixture = Fixture::new();
    let prepared = fixture.prepared();
    let names = names(&["app:1"]);
    let dir = scratch();
    let path = |name: &str| dir.path().join(name).display().to_string();
    write_file(Path::new(&path("oci.tar")), &mut |out| {
        write_oci_archive(&prepared, &names, out, fixture.job())
    })
    .expect("oci");
    write_file(Path::new(&path("docker.tar")), &mut |out| {
        write_docker_archive(&prepared, &names, out, fixture.job())
    })
    .expect("docker");
    write_oci_directory(&prepared, &names, Path::new(&path("layout")), fixture.job()).expect("dir");
    let sources = [
        format!("oci-archive:{}", path("oci.tar")),
        format!("docker-archive:{}", path("docker.tar")),
        format!("oci:{}:1", path("layout")),
    ];
    for (at, source) in sources.iter().enumerate() {
        let shown: serde_json::Value =
            serde_json::from_str(&skopeo(&["inspect", source])).expect("JSON");
        assert_eq!(shown["Architecture"], "amd64", "{source}");
        assert_eq!(shown["Layers"].as_array().map(Vec::len), Some(2), "{source}");
        let copy = path(&format!("copy-{at}.tar"));
        skopeo(&["copy", source, &format!("docker-archive:{copy}:copied/app:1")]);
        let other = Fixture::new();
        let archive = unpack(&fs::read(&copy).expect("copied"), &other);
        check_layers(&archive, &prepared, Some("copied/app:1"));
        let layout = path(&format!("layout-{at}"));
        skopeo(&["copy", source, &format!("oci:{layout}:copied")]);
        let archive = ImageArchive::open_directory(Path::new(&layout)).expect("layout");
        check_layers(&archive, &prepared, Some("copied"));
    }
}

#[test]
fn hostile_archives_are_refused() {
    let check = |tar: Vec<u8>, expect: Kind| {
        let fixture = Fixture::new();
        let listed = ImageArchive::unpack(&mut tar.as_slice(), &fixture.lease)
            .and_then(|archive| archive.image(&archive.listed()[0], &Platform::host()));
        assert_eq!(listed.expect_err("hostile").kind(), expect);
        assert!(!fixture.dir.path().join("evil").exists());
    };
    let tar = testkit::rootfs::TarBuilder::new;
    check(tar().finish(), Kind::Malformed);
    check(b"not a tar, but long enough for a block".repeat(30), Kind::Malformed);
    check(tar().file("manifest.json", 0o644, b"[").finish(), Kind::Malformed);
    let entry = |config: &str| {
        format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":[]}}]"#).into_bytes()
    };
    let passwd = tar().symlink("c.json", "../../../etc/passwd");
    check(passwd.file("manifest.json", 0o644, &entry("c.json")).finish(), Kind::NotFound);
    check(tar().file("manifest.json", 0o644, &entry("/etc/passwd")).finish(), Kind::NotFound);
    let looped = tar().symlink("a", "b").symlink("b", "a");
    check(looped.file("manifest.json", 0o644, &entry("a")).finish(), Kind::NotFound);
    let index = br#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":2}]}"#;
    let name = format!("blobs/sha256/{}", "a".repeat(64));
    let forged = tar().file("index.json", 0o644, index).file(&name, 0o644, b"{}");
    check(forged.finish(), Kind::Malformed);
}

/// A layout with an image of a config of this length, and an index that lists it so many times.
fn layout_with(times: usize, config_bytes: usize) -> Vec<u8> {
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let (digest, size) = (Digest::of(bytes), bytes.len());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let padding = "x".repeat(config_bytes);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","author":"{padding}",
            "rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    );
    let config_entry = descriptor(media::OCI_CONFIG, config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{config_entry},"layers":[]}}"#,
        media::OCI_MANIFEST
    );
    let entry = descriptor(media::OCI_MANIFEST, manifest.as_bytes());
    let list = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    let index = list(&vec![entry; times].join(","));
    let top = list(&descriptor(media::OCI_INDEX, index.as_bytes()));
    let mut tar = testkit::rootfs::TarBuilder::new().file("index.json", 0o644, top.as_bytes());
    for blob in [config, manifest, index] {
        let name = format!("blobs/sha256/{}", Digest::of(blob.as_bytes()).hex());
        tar = tar.file(&name, 0o644, blob.as_bytes());
    }
    tar.finish()
}

#[test]
fn an_index_lists_no_more_than_memory_has_room_for() {
    let check = |times: usize, config_bytes: usize, expect: Option<&str>| {
        let fixture = Fixture::new();
        let archive = unpack(&layout_with(times, config_bytes), &fixture);
        let whole = archive.whole(&archive.listed()[0], &Platform::host());
        let error = whole.err().map(|error| chain(&error)).unwrap_or_default();
        assert!(error.contains(expect.unwrap_or_default()), "{error}");
        assert_eq!(error.is_empty(), expect.is_none(), "{error}");
    };
    check(40, 10, None);
    check(1001, 10, Some("more than 1000 manifests"));
    check(20, 4 << 20 >> 1, None);
    check(40, 4 << 20 >> 1, Some("documents of more than 67108864 bytes"));
}

#[test]
fn a_docker_archive_names_the_images_of_its_index() {
    let fixture = Fixture::new();
    let mut tar = testkit::rootfs::TarBuilder::new();
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let hex = Digest::of(config).hex();
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"sha256:{hex}","size":{}}},"layers":[]}}"#,
        media::OCI_CONFIG,
        config.len()
    );
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
        media::OCI_MANIFEST,
        Digest::of(manifest.as_bytes()),
        manifest.len()
    );
    let docker = format!(
        r#"[{{"Config":"blobs/sha256/{hex}","RepoTags":["a:1"],"Layers":[]}},
            {{"Config":"{hex}.json","RepoTags":["b:1"],"Layers":[]}},
            {{"Config":"other.json","RepoTags":["c:1"],"Layers":[]}}]"#
    );
    for (name, bytes) in [
        ("index.json", index.as_bytes()),
        ("manifest.json", docker.as_bytes()),
        (&*format!("blobs/sha256/{hex}"), config),
        (&*format!("blobs/sha256/{}", Digest::of(manifest.as_bytes()).hex()), manifest.as_bytes()),
    ] {
        tar = tar.file(name, 0o644, bytes);
    }
    let archive = unpack(&tar.finish(), &fixture);
    assert_eq!(archive.listed().len(), 1);
    assert_eq!(archive.listed()[0].names, names(&["a:1", "b:1"]));
}
