//! What survives a power cut. Another boot id stands for the cut; what the kernel had not written is made up.

use graph::NearKey;
use oci::ImageId;

use super::fixture::*;
use crate::fault::testing;
use crate::{Lease, Reached, Store, Tagged};

fn near(name: &str) -> NearKey {
    keys(name).near.expect("the fixture's keys have one")
}

fn is_hit(lease: &Lease, name: &str) -> bool {
    let record = lease.find_near(&near(name)).expect("find");
    record.is_some_and(|record| lease.hold_layers(&record.stack.layers).expect("hold"))
}

fn is_whole(store: &Store, image: &ImageId) -> bool {
    let lease = store.lease().expect("lease");
    let image = lease.image(image).expect("read");
    image.is_some_and(|image| lease.hold_layers(&image.stack.layers).expect("hold"))
}

#[test]
fn after_a_boot_only_what_was_promised_is_believed() {
    let root = Root::new();
    let store = root.open();
    let kept = build(&store, "kept", true).expect("build");
    let lost = build(&store, "lost", false).expect("build");
    std::fs::write(store.area("stat").join("cache"), "x").expect("write");
    assert!(is_whole(&root.open(), &lost), "same boot");

    let store = root.open_in("boot-2").expect("open after a boot");
    let lease = store.lease().expect("lease");
    assert!(is_hit(&lease, "kept") && !is_hit(&lease, "lost"));
    assert!(is_whole(&store, &kept) && !is_whole(&store, &lost));
    assert_eq!(lease.tag(&reference("kept")).expect("read"), Some(Tagged::Image(kept)));
    assert_eq!(names(&store, "stat"), [""; 0]);
    assert!(store.has_trash().expect("list"));
    assert_sound(&store, "after a boot");
    let report = store.empty_trash().expect("empty the trash");
    assert!(report.left.is_empty() && report.removed > 0 && !store.has_trash().expect("list"));
    // A second open of the same boot changes nothing, a third boot neither.
    root.open_in("boot-2").expect("open");
    assert!(is_whole(&root.open_in("boot-3").expect("open"), &kept));
}

#[test]
fn a_promise_closes_the_lists_of_builds_that_have_ended() {
    let root = Root::new();
    let store = root.open();
    let quiet = build(&store, "quiet", false).expect("build");
    build(&store, "loud", true).expect("build");
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(is_whole(&store, &quiet) && is_hit(&store.lease().expect("lease"), "quiet"));
    assert_sound(&store, "after a boot");
}

#[test]
fn a_promise_covers_what_others_made() {
    let root = Root::new();
    let store = root.open();
    let image = build(&store, "app", false).expect("build");
    // Only the second build has a tag; it finds everything done.
    assert_eq!(build(&store, "app", true).expect("build"), image);
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(is_whole(&store, &image));
    assert_eq!(store.tag(&reference("app")).expect("read"), Some(Tagged::Image(image)));
}

#[test]
fn a_tag_alone_is_a_promise() {
    let root = Root::new();
    let image = build(&root.open(), "app", false).expect("build");
    let lease = root.open().lease().expect("lease");
    lease.set_tags(&[(reference("later"), Tagged::Image(image))]).expect("tag");
    drop(lease);
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(is_whole(&store, &image));
    assert_eq!(store.tag(&reference("later")).expect("read"), Some(Tagged::Image(image)));
}

#[test]
fn a_killed_build_promises_nothing() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let id = commit(&lease).expect("commit");
    lease.put_record(&keys("a"), &record(&[id])).expect("put");
    std::mem::forget(lease); // no end, no drop
    build(&store, "b", true).expect("build");
    drop(store);
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(!is_hit(&store.lease().expect("lease"), "a"));
    assert_sound(&store, "after a boot");
}

/// A power cut may leave any un-synced file empty, even one whose name was promised before it was replaced.
#[test]
fn files_that_were_replaced_later_may_be_torn() {
    let root = Root::new();
    let store = root.open();
    let image = build(&store, "app", true).expect("build");
    let layers = store.image(&image).expect("read").expect("known").stack.layers;
    let torn = [
        format!("layers/{}/facts", layers[0]),
        format!("layers/{}/toc", layers[0]),
        format!("records/near/{}", near("app").0.hex()),
        format!("chains/{}", digest("tar").hex()),
        format!("layer-blobs/{}", digest("tar").hex()),
    ];
    for path in torn {
        std::fs::write(store.root().join(&path), "").expect(&path);
    }
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(is_whole(&store, &image) && store.tag(&reference("app")).expect("read").is_some());
    let lease = store.lease().expect("lease");
    assert!(lease.layer_toc(layers[0]).expect("read").is_none(), "it is made again");
    drop(lease);
    build(&store, "app", true).expect("build again");
    assert!(is_hit(&store.lease().expect("lease"), "app"));
}

#[test]
fn a_removed_blob_is_not_believed_when_it_comes_back() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let (blob, _) = lease.put_blob(None, &mut &b"abc"[..]).expect("store");
    lease.finish(true, &Reached::default()).expect("finish");
    drop(lease);
    assert_eq!(store.gc(&Default::default()).expect("gc").removed.len(), 1);
    let lease = store.lease().expect("lease");
    lease.put_blob(None, &mut &b"abc"[..]).expect("store");
    drop(lease);
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(!store.lease().expect("lease").has_blob(&blob).expect("look"));
}

#[test]
fn a_damaged_blob_is_replaced_and_its_promise_taken_back() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let (blob, _) = lease.put_blob(None, &mut &b"abc"[..]).expect("store");
    lease.finish(true, &Reached::default()).expect("finish");
    let path = store.root().join(format!("blobs/sha256/{}", blob.hex()));
    std::fs::write(&path, "").expect("write");
    lease.put_blob(Some((blob, 3)), &mut &b"abc"[..]).expect("store again");
    assert_eq!(std::fs::read(&path).expect("read"), b"abc");
    drop(lease);
    let store = root.open_in("boot-2").expect("open after a boot");
    assert!(!store.lease().expect("lease").has_blob(&blob).expect("look"));
}

#[test]
fn a_build_that_changes_nothing_syncs_nothing() {
    let root = Root::new();
    let store = root.open();
    build(&store, "a", true).expect("build");
    let before = names(&store, "generations");
    build(&store, "a", true).expect("build again");
    assert_eq!(names(&store, "generations"), before);
}

#[test]
fn many_lists_become_one() {
    let root = Root::new();
    let store = root.open();
    for number in 0..40 {
        build(&store, &format!("b{number}"), true).expect("build");
    }
    assert!(names(&store, "generations").len() <= 33);
    let store = root.open_in("boot-2").expect("open after a boot");
    assert_eq!(store.tags().expect("list").len(), 40);
    assert_eq!(store.images().expect("list").len(), 40);
    assert_sound(&store, "after a boot");
}

#[test]
fn a_recovery_that_was_cut_short_begins_again() {
    let root = Root::in_memory();
    let image = build(&root.open(), "kept", true).expect("build");
    for nth in 0.. {
        build(&root.open_in(&format!("before-{nth}")).expect("open"), "lost", false)
            .expect("build");
        let plan = Some((nth, testing::Kind::Killed));
        let (_, passed) = testing::with(plan, || root.open_in(&format!("cut-{nth}")));
        let store = root.open_in(&format!("after-{nth}")).expect("open");
        assert_sound(&store, "after a cut");
        assert!(is_whole(&store, &image) && !is_hit(&store.lease().expect("lease"), "lost"));
        if passed <= nth {
            assert!(nth > 10, "a recovery changes more than that");
            break;
        }
    }
}
