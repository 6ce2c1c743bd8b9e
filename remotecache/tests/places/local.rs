//! Directories in OCI layout.

use std::fs;
use std::path::Path;

use remotecache::RemoteErrorKind;
use serde_json::Value;

use super::*;

fn dest(dir: &Path, tag: &str) -> ExportPlace {
    ExportPlace::Local { dest: dir.to_owned(), tag: tag.to_owned(), reset: true }
}

fn src(dir: &Path, tag: &str) -> ImportPlace {
    ImportPlace::Local { src: dir.to_owned(), tag: tag.to_owned(), digest: None }
}

fn blob_count(dir: &Path) -> usize {
    fs::read_dir(dir.join("blobs/sha256")).expect("blobs").count()
}

fn index(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("index.json")).expect("index")).expect("JSON")
}

#[test]
fn what_is_exported_is_imported() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("new/cache");
    assert!(from(src(&path, "latest")).read().expect("no error").is_none());
    let cache = cache(&["a", "b"]);
    assert_eq!(export(&*to(dest(&path, "latest")), &cache), [Put::Sent, Put::Sent]);
    check(&*from(src(&path, "latest")), &cache);
    assert!(from(src(&path, "other")).read().expect("no error").is_none());
    assert_eq!(export(&*to(dest(&path, "latest")), &cache), [Put::Existed, Put::Existed]);
    let digest = index(&path)["manifests"][0]["digest"].as_str().expect("digest").parse();
    let digest = Some(digest.expect("digest"));
    let by_digest = ImportPlace::Local { src: path.clone(), tag: "none".to_owned(), digest };
    check(&*from(by_digest), &cache); // CIO-05
}

#[test]
fn a_directory_does_not_grow_without_bound() {
    let dir = tempfile::tempdir().expect("temp dir");
    let keep = cache(&["keep", "both"]);
    export(&*to(dest(dir.path(), "kept")), &keep);
    export(&*to(dest(dir.path(), "latest")), &cache(&["both", "old"]));
    let before = blob_count(dir.path());
    let new = cache(&["new"]);
    export(&*to(dest(dir.path(), "latest")), &new);
    assert!(blob_count(dir.path()) <= before, "the old blobs are gone");
    check(&*from(src(dir.path(), "latest")), &new);
    check(&*from(src(dir.path(), "kept")), &keep);
    assert_eq!(index(dir.path())["manifests"].as_array().expect("list").len(), 2);
    // The old blobs stay when that is asked for.
    let before = blob_count(dir.path());
    let place =
        ExportPlace::Local { dest: dir.path().to_owned(), tag: "latest".to_owned(), reset: false };
    export(&*to(place), &cache(&["newer"]));
    assert_eq!(blob_count(dir.path()), before + 4);
}

#[test]
fn what_another_export_is_adding_is_not_removed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let (slow, fast) = (cache(&["slow"]), cache(&["fast"]));
    let first = to(dest(dir.path(), "slow"));
    let bytes = slow.blobs[0].clone();
    let open = || Ok(Box::new(Cursor::new(bytes.clone())) as Box<dyn Read + Send>);
    first.put(&slow.document.layers[0].descriptor, &open, None).expect("put");
    export(&*to(dest(dir.path(), "fast")), &fast);
    first.publish(&slow.document).expect("publish");
    check(&*from(src(dir.path(), "slow")), &slow);
    check(&*from(src(dir.path(), "fast")), &fast);
}

#[test]
fn other_images_of_the_directory_stay() {
    let dir = tempfile::tempdir().expect("temp dir");
    let image = testkit::image::TestImage::new(&[testkit::rootfs::TarBuilder::new()
        .file("a", 0o644, b"hello")
        .finish()]);
    image.write_layout(dir.path(), "app");
    let cache = cache(&["a"]);
    export(&*to(dest(dir.path(), "cache")), &cache);
    export(&*to(dest(dir.path(), "cache")), &super::cache(&["b"]));
    for digest in [image.digest(), Digest::of(&image.config), Digest::of(&image.layers[0])] {
        assert!(dir.path().join("blobs/sha256").join(digest.hex()).exists());
    }
    let error = from(src(dir.path(), "app")).read().expect_err("an image without a cache");
    assert_eq!(error.kind(), RemoteErrorKind::Foreign);
}

#[test]
fn damage_is_an_error_and_never_content() {
    let dir = tempfile::tempdir().expect("temp dir");
    let cache = cache(&["a"]);
    let damaged = |change: &dyn Fn(&Path)| {
        let path = dir.path().join("cache");
        let _ = fs::remove_dir_all(&path);
        export(&*to(dest(&path, "latest")), &cache);
        change(&path);
        from(src(&path, "latest")).read().map(|read| read.is_some()).map_err(|e| e.kind())
    };
    let write = |name: &'static str, bytes: &'static [u8]| {
        move |path: &Path| fs::write(path.join(name), bytes).expect("write")
    };
    assert_eq!(damaged(&|_| ()), Ok(true));
    assert_eq!(damaged(&write("index.json", b"{")), Err(RemoteErrorKind::Damaged));
    assert_eq!(damaged(&write("index.json", b"")), Err(RemoteErrorKind::Damaged));
    let all = |path: &Path, change: &dyn Fn(&Path)| {
        let blobs = fs::read_dir(path.join("blobs/sha256")).expect("blobs");
        blobs.for_each(|entry| change(&entry.expect("entry").path()));
    };
    let cut = damaged(&|path| {
        all(path, &|blob| {
            let bytes = fs::read(blob).expect("read");
            fs::write(blob, &bytes[..bytes.len() - 1]).expect("write");
        })
    });
    assert_eq!(cut, Err(RemoteErrorKind::Damaged));
    let gone = damaged(&|path| all(path, &|blob| fs::remove_file(blob).expect("remove")));
    assert_eq!(gone, Err(RemoteErrorKind::NotFound));
    // A layer that was changed is noticed by whoever reads it.
    let path = dir.path().join("cache");
    export(&*to(dest(&path, "latest")), &cache);
    let blob = &cache.document.layers[0].descriptor;
    let file = path.join("blobs/sha256").join(blob.digest.hex());
    fs::write(&file, noise("other", 20_000)).expect("write");
    let error = read_blob(&*from(src(&path, "latest")), blob).expect_err("other bytes");
    assert!(error.contains("has digest"), "{error}");
}

#[test]
fn wrong_content_is_not_put() {
    let dir = tempfile::tempdir().expect("temp dir");
    let place = to(dest(dir.path(), "latest"));
    let blob = Descriptor::new("x", Digest::of(b"right"), 5);
    let open = || Ok(Box::new(Cursor::new(b"wrong")) as Box<dyn Read + Send>);
    let error = place.put(&blob, &open, None).expect_err("wrong content");
    assert_eq!(error.kind(), RemoteErrorKind::Damaged);
    assert!(!place.has(&blob).expect("asked"));
    assert_eq!(fs::read_dir(dir.path().join("ingest")).expect("ingest").count(), 1); // the lock
}

#[test]
fn a_link_in_the_place_of_a_lock_makes_no_file_elsewhere() {
    for lock in ["ingest/lock", "index.json.lock"] {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("cache");
        let elsewhere = dir.path().join("elsewhere");
        fs::create_dir_all(path.join("ingest")).expect("directory");
        std::os::unix::fs::symlink(&elsewhere, path.join(lock)).expect("link");
        let place = to(dest(&path, "latest"));
        assert!(place.publish(&remotecache::CacheDocument::default()).is_err(), "{lock}");
        assert!(!elsewhere.exists(), "{lock}");
    }
}

#[test]
fn each_form_of_manifest_is_read_again() {
    for (oci, image_manifest, media_type) in [
        (true, true, media::OCI_MANIFEST),
        (true, false, media::OCI_INDEX),
        (false, false, media::DOCKER_INDEX),
    ] {
        let dir = tempfile::tempdir().expect("temp dir");
        let mut export_to = CacheExport::new(dest(dir.path(), "latest"));
        (export_to.oci_media_types, export_to.image_manifest) = (oci, image_manifest);
        let mut cache = cache(&["a", "b"]);
        export(&*open(&export_to), &cache);
        let index = index(dir.path());
        assert_eq!(index["manifests"][0]["mediaType"], media_type);
        let layer = if oci { media::OCI_LAYER_GZIP } else { media::DOCKER_LAYER_GZIP };
        for kept in &mut cache.document.layers {
            kept.descriptor.media_type = layer.to_owned();
        }
        check(&*from(src(dir.path(), "latest")), &cache);
        let digest: Digest =
            index["manifests"][0]["digest"].as_str().expect("text").parse().expect("digest");
        let manifest = fs::read(dir.path().join("blobs/sha256").join(digest.hex())).expect("read");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        // BuildKit's importer looks for its config here.
        let config = match image_manifest {
            true => &manifest["config"],
            false => manifest["manifests"].as_array().expect("list").last().expect("one"),
        };
        assert_eq!(config["mediaType"], "application/vnd.buildkit.cacheconfig.v0"); // CIO-10
    }
}
