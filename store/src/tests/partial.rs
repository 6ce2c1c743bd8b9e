//! Blobs that came in part.

use std::io::{self, Read, Write as _};

use oci::Digest;

use super::fixture::*;
use crate::{GcFilter, GcPolicy, Holder, ItemKind};

/// Long enough to be kept.
fn content() -> Vec<u8> {
    (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Yields bytes, then fails.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the line went dead")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_transfer_goes_on_where_the_last_one_was_cut() {
    let root = Root::new();
    let bytes = content();
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let expect = Some((digest, size));
    {
        let lease = root.open().lease().expect("a lease");
        let writer = lease.resumed_blob_writer(&digest, size).expect("a writer");
        assert_eq!(writer.size_bytes(), 0);
        lease.fill_blob(writer, expect, &mut Broken(&bytes[..2_000_000])).expect_err("cut");
        assert!(!lease.has_blob(&digest).expect("a look"));
    }
    // Another process, after the first was killed.
    let store = root.open();
    let lease = store.lease().expect("a lease");
    store.gc(&GcPolicy::default()).expect("a collection");
    let writer = lease.resumed_blob_writer(&digest, size).expect("a writer");
    assert_eq!(writer.size_bytes(), 2_000_000);
    assert_eq!(writer.hasher().finish(), Digest::of(&bytes[..2_000_000]));
    // Two never write to one file.
    let other = lease.resumed_blob_writer(&digest, size).expect("a writer");
    assert_eq!(other.size_bytes(), 0);
    drop(other);
    lease.fill_blob(writer, expect, &mut &bytes[2_000_000..]).expect("the rest");
    let mut got = Vec::new();
    let blob = lease.open_blob(&digest).expect("a look").expect("the blob");
    io::BufReader::new(blob).read_to_end(&mut got).expect("read");
    assert!(got == bytes);
    assert_eq!(partial(&store), [""; 0]);
}

#[test]
fn what_was_wrong_or_short_is_not_kept() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("a lease");
    let bytes = content();
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let mut wrong = bytes.clone();
    wrong[7] ^= 1;
    let long = [&bytes[..], b"more"].concat();
    for bad in [&wrong, &long, &bytes[..2_000_000].to_vec()] {
        let writer = lease.resumed_blob_writer(&digest, size).expect("a writer");
        assert_eq!(writer.size_bytes(), 0);
        let error = lease.fill_blob(writer, Some((digest, size)), &mut &bad[..]);
        assert!(error.expect_err("wrong").is_wrong_content());
        assert_eq!(partial(&store), [""; 0]);
    }
    let mut writer = lease.resumed_blob_writer(&digest, size).expect("a writer");
    writer.write_all(&bytes[..1000]).expect("written");
    drop(writer);
    assert_eq!(partial(&store), [""; 0], "too little to be worth it");
}

#[test]
fn a_collection_of_everything_takes_unfinished_blobs() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("a lease");
    let bytes = content();
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let write = || {
        let mut writer = lease.resumed_blob_writer(&digest, size).expect("a writer");
        writer.restart().expect("anew");
        writer.write_all(&bytes[..1_500_000]).expect("written");
        writer
    };
    let all = GcPolicy { all: true, ..GcPolicy::default() };
    let held = |holder: Holder| {
        let usage = store.usage().expect("counted");
        let items = usage.items.into_iter().filter(|item| item.kind == ItemKind::Partial);
        let items: Vec<_> = items.collect();
        assert_eq!(items.len(), 1, "{items:?}");
        assert!(items[0].bytes >= 1_500_000 && items[0].holder == holder, "{items:?}");
    };
    let writer = write();
    held(Holder::Process);
    store.gc(&all).expect("a collection");
    assert_eq!(partial(&store).len(), 1, "somebody is at it");
    drop(writer);
    held(Holder::Nobody);
    store.gc(&GcPolicy::default()).expect("a collection");
    let of_images = GcFilter { kinds: vec![ItemKind::Blob], ..GcFilter::default() };
    store.gc(&GcPolicy { filter: of_images, ..all.clone() }).expect("a collection");
    let told = store.gc(&GcPolicy { dry_run: true, ..all.clone() }).expect("a collection");
    assert_eq!(told.count(ItemKind::Partial), 1);
    assert_eq!(partial(&store).len(), 1, "it may be gone on with");
    let report = store.gc(&all).expect("a collection");
    assert_eq!((report.count(ItemKind::Partial), report.bytes), (1, told.bytes));
    assert_eq!(partial(&store), [""; 0]);
    drop(write());
    let path = store.disk().path(&format!("partial/{}", partial(&store)[0]));
    let file = std::fs::File::options().append(true).open(path).expect("there");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("old");
    store.gc(&GcPolicy::default()).expect("a collection");
    assert_eq!(partial(&store), [""; 0], "given up");
    drop(write());
    lease.forget_partial_blob(&digest).expect("forgotten");
    assert_eq!(partial(&store), [""; 0]);
}

#[test]
fn places_of_a_blob_are_kept_latest_first() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("a lease");
    let blob = digest("a");
    assert_eq!(store.blob_places(&blob).expect("none"), [""; 0]);
    for name in ["r/1", "r/2", "r/1", "r/1"] {
        lease.note_blob_place(&blob, name).expect("noted");
    }
    assert_eq!(store.blob_places(&blob).expect("two"), ["r/1", "r/2"]);
    (0..20).for_each(|n| lease.note_blob_place(&blob, &format!("r/{n}")).expect("noted"));
    assert_eq!(store.blob_places(&blob).expect("some").len(), 8);
    let path = store.root().join("places").join(blob.hex());
    std::fs::write(&path, "torn").expect("written");
    assert_eq!(store.blob_places(&blob).expect("torn"), [""; 0]);
}

#[test]
fn digests_of_repositories_go_with_the_image() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("a lease");
    let (one, two) = (image(&[], "{\"v\":1}"), image(&[], "{\"v\":2}"));
    lease.put_image(&one).expect("put");
    lease.put_image(&two).expect("put");
    let name = |name: &str| -> oci::Reference {
        format!("r.example/{name}@{}", digest("manifest")).parse().expect("a name")
    };
    for (image, repository) in [(&one, "b"), (&one, "a"), (&one, "a"), (&two, "a:1")] {
        lease.note_repo_digest(&image.id.0, &name(repository)).expect("noted");
    }
    let (a, b) = (name("a"), name("b"));
    let known = store.repo_digests().expect("some");
    assert_eq!(known.len(), 3, "each once, without tags: {known:?}");
    assert!(known.contains(&(two.id.0, a.clone())));
    store.forget_repo_digests(&one.id.0, &name("a:2")).expect("forgotten");
    let known = store.repo_digests().expect("less");
    assert_eq!(known, [(two.id.0, a.clone()), (one.id.0, b.clone())]);
    store.remove_image(&two.id).expect("removed");
    assert_eq!(store.repo_digests().expect("less"), [(one.id.0, b.clone())]);
    let path = store.disk().list("repo-digests").expect("a list").remove(0);
    std::fs::write(store.root().join("repo-digests").join(path), "torn").expect("written");
    assert_eq!(store.repo_digests().expect("torn"), []);
    lease.note_repo_digest(&one.id.0, &b).expect("mended");
    assert_eq!(store.repo_digests().expect("whole"), [(one.id.0, b)]);
    // What is about nothing goes, but not at once: it may be about what is on its way.
    lease.note_repo_digest(&digest("gone"), &a).expect("noted");
    store.gc(&GcPolicy::default()).expect("collected");
    assert_eq!(store.repo_digests().expect("fresh").len(), 2);
    assert_sound(&store, "with notes");
}

fn partial(store: &crate::Store) -> Vec<String> {
    store.disk().list("partial").expect("a list")
}
