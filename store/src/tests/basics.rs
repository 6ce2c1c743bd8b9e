//! What is put in comes out, what is wrong is refused.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use oci::{ChainId, DiffId, Digest};

use super::fixture::*;
use crate::TarSizes;
use crate::fault::testing;
use crate::{
    AttachedManifest, LayerBlob, Store, StoreOptions, StoredManifest, Tagged, TaggedIndex,
    VerifyDepth,
};

#[test]
fn opening_makes_a_private_store_and_checks_who_may_write_it() {
    let root = Root::new();
    let store = root.open();
    let mode = |path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o7777;
    assert_eq!(mode(store.root().to_owned()), 0o700);
    assert_eq!(mode(store.root().join("layers")), 0o700);
    let chmod = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
    };
    // G1: open to others, or below a directory where others may rename.
    chmod(store.root(), 0o755);
    let open = root.open_in("boot-1").expect_err("open to others");
    assert!(open.is_not_writable() && open.to_string().contains("chmod 700"), "{open}");
    chmod(store.root(), 0o700);
    chmod(root.dir.path(), 0o777);
    assert!(root.open_in("boot-1").expect_err("replaceable").is_not_writable());
    chmod(root.dir.path(), 0o1777);
    root.open();
    chmod(root.dir.path(), 0o700);
    // A link is followed, and what it leads to is checked.
    let link = root.dir.path().join("link");
    std::os::unix::fs::symlink("store", &link).expect("a new link");
    let options = StoreOptions { boot_id: Some("boot-1".to_owned()), userxattr: false };
    assert_eq!(Store::open(&link, &options).expect("open by link").root(), store.root());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(store.root(), Some(12345), None).expect("root may chown");
        assert!(root.open_in("boot-1").expect_err("foreign").is_not_writable());
    }
}

#[test]
fn other_formats_and_other_directories_are_refused() {
    let root = Root::new();
    let store = root.open();
    std::fs::write(store.root().join("version"), "shale-store 2\n").expect("write");
    let error = root.open_in("boot-1").expect_err("a newer format");
    assert!(error.is_newer_version() && !error.is_not_writable(), "{error}");
    std::fs::write(store.root().join("version"), "what").expect("write");
    assert!(!root.open_in("boot-1").expect_err("no store").is_newer_version());

    let foreign = Root::new();
    std::fs::create_dir(foreign.path()).expect("a new directory");
    std::fs::write(foreign.path().join("thesis.txt"), "").expect("a new file");
    // Nobody is told to close it, either.
    for mode in [0o700, 0o755] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(foreign.path(), mode).expect("chmod");
        let error = foreign.open_in("boot-1").expect_err("not empty, no store");
        assert!(error.to_string().contains("neither empty nor a store"), "{error}");
        assert!(error.is_not_writable());
    }
}

#[test]
fn layers_keep_what_is_said_of_them() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let id = commit_bare(&lease).expect("commit");
    let info = lease.layer(id).expect("read").expect("known");
    assert_eq!((info.toc, info.present, info.content_id), (false, true, None));
    assert!(lease.layer_toc(id).expect("read").is_none());

    let (toc, diff_id) = (toc(), DiffId(digest("tar")));
    lease.set_toc(id, toc.clone(), layer::content_id(&toc)).expect("set toc");
    lease.set_diff_id(id, "plain", diff_id, 99).expect("set diff id");
    let again = root.open();
    let lease = again.lease().expect("lease");
    let info = lease.layer(id).expect("read").expect("known");
    assert_eq!(info.content_id, Some(layer::content_id(&toc)));
    assert_eq!((info.diff_ids["plain"], info.tar_sizes_bytes["plain"]), (diff_id, 99));
    assert_eq!((info.size_bytes, info.created.as_str()), (Some(CONTENT.len() as u64), CREATED));
    assert_eq!(lease.layer_toc(id).expect("read").expect("known").entries(), toc.entries());
    let dir = lease.layer_dir(id).expect("open");
    assert!(rustix::fs::statat(&dir, "file", rustix::fs::AtFlags::empty()).is_ok());
    assert!(lease.layer(graph::LayerId(1)).expect("read").is_none());
    assert!(lease.layer_dir(graph::LayerId(1)).expect_err("unknown").is_missing());
    let ingest = lease.new_ingest().expect("ingest");
    assert!(lease.commit_layer(ingest, "../x", CREATED).expect_err("not a name").is_missing());
}

#[test]
fn an_ingest_leaves_nothing() {
    let store = Root::new();
    let store_open = store.open();
    let lease = store_open.lease().expect("lease");
    let ingest = lease.new_ingest().expect("ingest");
    std::fs::create_dir_all(ingest.path().join("work/work")).expect("new directories");
    let mode = std::fs::Permissions::from_mode(0o000);
    std::fs::set_permissions(ingest.path().join("work/work"), mode).expect("chmod");
    let path = ingest.path().to_owned();
    drop(ingest);
    assert!(!path.exists());
    drop(lease);
    assert_eq!(names(&store_open, "ingest"), [""; 0]);
    assert_eq!(names(&store_open, "leases"), [""; 0]);
}

#[test]
fn blobs_are_what_they_were_said_to_be() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let (right, wrong) = (Digest::of(b"abc"), Digest::of(b"abd"));
    for expect in [(wrong, 3), (right, 2), (right, 4)] {
        let error = lease.put_blob(Some(expect), &mut &b"abc"[..]).expect_err("not as said");
        assert!(error.is_wrong_content(), "{error}");
    }
    // R24: no endless body is read to its end.
    let endless = lease.put_blob(Some((right, 3)), &mut std::io::repeat(b'a'));
    assert!(endless.expect_err("too long").is_wrong_content());
    assert!(!lease.has_blob(&right).expect("look"));
    assert_eq!(lease.put_blob(None, &mut &b"abc"[..]).expect("store"), (right, 3));
    // What is there is not read again.
    let put = lease.put_blob(Some((right, 3)), &mut std::io::repeat(b'a'));
    assert_eq!(put.expect("known"), (right, 3));
    let mut writer = lease.blob_writer().expect("writer");
    writer.write_all(b"never finished").expect("write");
    drop(writer);
    drop(lease);
    assert_eq!(names(&store, "ingest"), [""; 0]);
    assert_sound(&store, "after refusals");
}

#[test]
fn records_are_found_by_each_key_and_torn_ones_are_absent() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let (id, keys) = (commit(&lease).expect("commit"), keys("a"));
    let record = record(&[id]);
    lease.put_record(&keys, &record).expect("put");
    for key in &keys.cache {
        assert_eq!(lease.find(key).expect("find").as_ref(), Some(&record));
    }
    let near = keys.near.expect("the fixture's keys have one");
    assert_eq!(lease.find_near(&near).expect("find").as_ref(), Some(&record));
    let listed = lease.records_with_keys(&keys.instruction).expect("list");
    assert_eq!(listed, [(keys.clone(), record.clone())]);

    let path = store.root().join(format!("records/near/{}", near.0.hex()));
    let whole = std::fs::read(&path).expect("read");
    for bytes in [&whole[..whole.len() / 2], b"", b"garbage", &[0; 200]] {
        std::fs::remove_file(&path).expect("remove"); // its other names stay whole
        std::fs::write(&path, bytes).expect("write");
        assert_eq!(lease.find_near(&near).expect("a miss, no error"), None);
        assert_eq!(store.verify(crate::VerifyDepth::Records).expect("verify").len(), 1);
    }
    let other = keys.cache[0].0.hex();
    std::fs::remove_file(&path).expect("remove");
    std::fs::copy(store.root().join(format!("records/cache/{other}")), &path).expect("copy");
    assert_eq!(lease.find_near(&near).expect("find").as_ref(), Some(&record), "its own name");
    let foreign = super::fixture::keys("b").near.expect("the fixture's keys have one");
    let foreign_path = store.root().join(format!("records/near/{}", foreign.0.hex()));
    std::fs::copy(&path, &foreign_path).expect("copy");
    assert_eq!(lease.find_near(&foreign).expect("find"), None, "another's name");
    std::fs::remove_file(&foreign_path).expect("remove");
    lease.add_near(&near, &record).expect("put again");
    assert_eq!(lease.find_near(&near).expect("find"), Some(record.clone()));
    assert_sound(&store, "after the repair");
    // Many results of one instruction do not pile up.
    for number in 0..30 {
        let near = Some(graph::NearKey(digest(&number.to_string())));
        lease.put_record(&crate::RecordKeys { near, ..keys.clone() }, &record).expect("put");
    }
    assert_eq!(lease.records_of(&keys.instruction).expect("list").len(), 16);
}

#[test]
fn chains_manifests_and_layer_blobs_come_back() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let id = commit(&lease).expect("commit");
    let (diff_id, chain) = (DiffId(digest("tar")), ChainId(digest("tar")));
    lease.put_chain(&chain, &[id]).expect("put");
    assert_eq!(lease.chain(&chain).expect("find"), Some(vec![id]));
    lease.put_chain(&chain, &[id, graph::LayerId(7)]).expect("put");
    assert_eq!(lease.chain(&chain).expect("a layer is gone"), None);
    lease.put_manifest(&digest("{}"), "type/x", b"{}").expect("put");
    let manifest = lease.manifest(&digest("{}")).expect("find").expect("known");
    assert_eq!((manifest.0.as_str(), manifest.1.as_slice()), ("type/x", &b"{}"[..]));
    lease.put_manifest(&digest("x"), "type/x", b"y").expect_err("another digest");
    let (blob, size_bytes) = lease.put_blob(None, &mut &b"abc"[..]).expect("store");
    let blob = LayerBlob {
        compression: "gzip".to_owned(),
        media_type: "m".to_owned(),
        digest: blob,
        size_bytes,
    };
    let sizes = TarSizes { tar_bytes: Some(10), files_bytes: Some(7) };
    lease.set_tar_sizes(diff_id, sizes).expect("nothing to add to");
    lease.set_layer_blob(diff_id, &blob).expect("set");
    assert_eq!(store.tar_sizes(diff_id).expect("read"), TarSizes::default());
    lease.set_tar_sizes(diff_id, TarSizes { files_bytes: None, ..sizes }).expect("set");
    lease.set_tar_sizes(diff_id, TarSizes { tar_bytes: None, ..sizes }).expect("set");
    let gone = LayerBlob { compression: "zstd".to_owned(), digest: digest("gone"), ..blob.clone() };
    lease.set_layer_blob(diff_id, &gone).expect("set");
    assert_eq!(lease.layer_blobs(diff_id).expect("list"), std::slice::from_ref(&blob));
    assert_eq!(store.tar_sizes(diff_id).expect("read"), sizes, "a new note keeps them");
    let alone = DiffId(digest("alone"));
    lease.note_other_layer_blob(alone, &blob).expect("note");
    lease.set_tar_sizes(alone, sizes).expect("set");
    lease.set_layer_blob(alone, &blob).expect("set");
    assert_eq!(store.tar_sizes(alone).expect("read"), sizes, "one that is taken keeps them");
}

#[test]
fn every_blob_that_was_found_to_be_a_tar_is_remembered_but_one_is_taken() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let diff_id = DiffId(digest("tar"));
    let blob = |text: &str| {
        let (digest, size_bytes) = lease.put_blob(None, &mut text.as_bytes()).expect("store");
        let (compression, media_type) = ("gzip".to_owned(), "m".to_owned());
        LayerBlob { compression, media_type, digest, size_bytes }
    };
    let is_known = |blob: &LayerBlob| lease.is_layer_blob(diff_id, &blob.digest).expect("look");
    let (first, second, odd) = (blob("first"), blob("second"), blob("odd"));
    assert!(!is_known(&first));
    lease.set_layer_blob(diff_id, &first).expect("set");
    lease.note_other_layer_blob(diff_id, &odd).expect("note");
    lease.set_layer_blob(diff_id, &second).expect("set");
    assert_eq!(lease.layer_blobs(diff_id).expect("list"), std::slice::from_ref(&second));
    assert!(is_known(&first) && is_known(&second) && is_known(&odd));
    lease.note_other_layer_blob(diff_id, &second).expect("it stays taken");
    assert_eq!(lease.layer_blobs(diff_id).expect("list"), std::slice::from_ref(&second));
    // Taken once more, it is noted once.
    lease.set_layer_blob(diff_id, &first).expect("set");
    assert_eq!(lease.layer_blobs(diff_id).expect("list"), std::slice::from_ref(&first));
    // Not every one for ever, but those that are taken.
    for at in 0..20 {
        lease.note_other_layer_blob(diff_id, &blob(&format!("{at}"))).expect("note");
    }
    assert!(is_known(&first) && !is_known(&odd) && !is_known(&blob("1")) && is_known(&blob("19")));
}

#[test]
fn tags_name_whole_images_only_and_move() {
    let root = Root::new();
    let store = root.open();
    let first = build(&store, "app", true).expect("build");
    let lease = store.lease().expect("lease");
    let id = commit(&lease).expect("commit");
    let second = image(&[id], "{\"v\":2}");
    let tag = reference("app:latest");
    let missing =
        lease.set_tags(&[(tag.clone(), Tagged::Image(second.id))]).expect_err("no such image");
    assert!(missing.is_missing());
    lease.put_image(&second).expect("put");
    lease.set_tags(&[(tag.clone(), Tagged::Image(second.id))]).expect("tag");
    assert_eq!(store.tags().expect("list"), [(tag.clone(), Tagged::Image(second.id))]);
    let ids: Vec<_> = lease.images().expect("list").into_iter().map(|image| image.id).collect();
    assert!(ids.contains(&first) && ids.contains(&second.id), "untagged ones stay");
    let prefix = &second.id.0.hex()[..12];
    assert_eq!(store.images_by_prefix(prefix).expect("list"), [second.id]);
    let broken = image(&[graph::LayerId(1)], "{\"v\":3}");
    lease.put_image(&broken).expect("put");
    assert!(
        lease
            .set_tags(&[(tag.clone(), Tagged::Image(broken.id))])
            .expect_err("no layer")
            .is_missing()
    );
    store.remove_image(&broken.id).expect("remove");
    assert!(store.remove_tag(&tag).expect("remove") && !store.remove_tag(&tag).expect("again"));
    assert_sound(&store, "after all");
}

#[test]
fn an_image_that_somebody_needs_is_not_forgotten() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let forget = |lease: &crate::Lease, id| lease.forget_image(id).expect("forget");
    let one = image(&[commit(&lease).expect("commit")], "{}");
    lease.put_image(&one).expect("put");
    let tag = reference("app:1");
    lease.set_tags(&[(tag.clone(), Tagged::Image(one.id))]).expect("tag");
    assert!(!forget(&lease, &one.id), "it has a name");
    store.remove_tag(&tag).expect("remove");
    let other = store.lease().expect("lease");
    assert!(!forget(&other, &one.id), "whoever has made it may be about to name it");
    drop(lease);
    assert!(other.image(&one.id).expect("look").is_some());
    assert!(forget(&other, &one.id), "one's own use is none");
    assert!(!forget(&other, &one.id), "it is gone");
    assert_sound(&store, "after it is forgotten");
}

#[test]
fn a_tag_names_an_index_with_all_its_images() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let document = |text: &str| StoredManifest {
        media_type: oci::media::OCI_MANIFEST.to_owned(),
        bytes: text.as_bytes().to_vec(),
        digest: digest(text),
    };
    let id = commit(&lease).expect("commit");
    let images = ["{\"a\":1}", "{\"a\":2}"].map(|config| image(&[id], config));
    let listed = |manifest: &str| TaggedIndex {
        index: document("{\"manifests\":[]}"),
        images: images.iter().map(|image| (image.id, document(manifest))).collect(),
        attached: vec![AttachedManifest {
            manifest: document("{\"layers\":[]}"),
            blobs: vec![document("{}"), document("{\"s\":\"\u{fc}\"}")],
        }],
    };
    let tag = reference("several:1");
    let tagged = Tagged::Index(listed("{ \"m\": 1}\n"));
    let set = |tagged: &Tagged| lease.set_tags(&[(tag.clone(), tagged.clone())]);
    lease.put_image(&images[0]).expect("put");
    assert!(set(&tagged).expect_err("one image is not there").is_missing());
    lease.put_image(&images[1]).expect("put");
    set(&tagged).expect("tag");
    assert_eq!(store.tag(&tag).expect("read").as_ref(), Some(&tagged));
    assert_eq!(tagged.images(), images.each_ref().map(|image| image.id));
    assert_eq!(store.tags().expect("list"), [(tag.clone(), tagged.clone())]);
    let mut wrong = listed("{}");
    wrong.index.digest = digest("something else");
    assert!(set(&Tagged::Index(wrong)).is_err());
    store.gc(&all()).expect("collect");
    assert!(images.iter().all(|image| store.image(&image.id).expect("read").is_some()));
    assert_sound(&store, "with an index");
    store.remove_image(&images[1].id).expect("remove");
    let problems = store.verify(VerifyDepth::Contents).expect("verify");
    assert!(format!("{problems:?}").contains("missing"), "{problems:?}");
}

#[test]
fn an_image_gains_a_manifest_and_keeps_its_layers() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let [a, b] = [commit(&lease).expect("commit"), commit(&lease).expect("commit")];
    let old = image(&[a], "{}");
    lease.put_image(&old).expect("put");
    let manifest = StoredManifest {
        media_type: oci::media::OCI_MANIFEST.to_owned(),
        bytes: b"{\"x\":1}\n".to_vec(),
        digest: Digest::of(b"{\"x\":1}\n"),
    };
    let new = crate::StoredImage { manifest: Some(manifest.clone()), ..image(&[b], "{}") };
    lease.put_image(&new).expect("put");
    let kept = lease.image(&old.id).expect("read").expect("known");
    assert_eq!((&kept.stack, kept.manifest), (&old.stack, Some(manifest)));
}

#[test]
fn a_cached_build_writes_nothing_but_its_lease() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let mut layers = Vec::new();
    for step in 0..20 {
        layers.push(commit(&lease).expect("commit"));
        let keys = keys(&step.to_string());
        lease.put_record(&keys, &record(&layers)).expect("put");
    }
    let image = image(&layers, "{}");
    lease.put_image(&image).expect("put");
    lease.set_tags(&[(reference("app"), Tagged::Image(image.id))]).expect("tag");
    drop(lease);
    let (hits, changes) = testing::with(None, || {
        let lease = root.open().lease().expect("lease");
        let mut hits = 0;
        for step in 0..20 {
            let near = keys(&step.to_string()).near.expect("the fixture's keys have one");
            let record = lease.find_near(&near).expect("find").expect("known");
            hits += usize::from(lease.hold_layers(&record.stack.layers).expect("hold"));
        }
        lease.set_tags(&[(reference("app"), Tagged::Image(image.id))]).expect("tag");
        hits
    });
    assert_eq!(hits, 20);
    // The lease: made, named, 20 appends for layers and one for the image, removed.
    assert_eq!(changes, 24);
}
