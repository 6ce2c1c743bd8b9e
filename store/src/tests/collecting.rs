//! What collections take and leave, whatever happens at the same moment, and how much of the disk is left taken.

use std::rc::Rc;

use oci::Digest;
use rustix::fs::FlockOperation;

use super::fixture::*;
use crate::fault::testing;
use crate::{
    CacheMountId, CacheMountRequest, CacheRecord, GcPolicy, Holder, ItemKind, Lease, Store,
    StoredManifest, Tagged, disk,
};

/// A step's layer with so many bytes, that took so long, filed under a name.
fn step(lease: &Lease, name: &str, kib: usize, took_ms: u64) -> graph::LayerId {
    let ingest = lease.new_ingest().expect("ingest");
    std::fs::create_dir(ingest.path().join("diff")).expect("a new directory");
    let bytes = vec![7; kib << 10];
    std::fs::write(ingest.path().join("diff/file"), bytes).expect("a new file");
    let id = lease.commit_layer(ingest, "diff", CREATED).expect("commit");
    let record = CacheRecord { took_ms, step: format!("RUN {name}"), ..record(&[id]) };
    lease.put_record(&keys(name), &record).expect("put");
    id
}

fn steps_left(store: &Store) -> Vec<String> {
    let items = store.usage().expect("usage").items;
    let steps = items.into_iter().filter(|item| item.kind == ItemKind::Step);
    let mut texts: Vec<String> = steps.map(|item| item.text).collect();
    texts.sort();
    texts
}

#[test]
fn what_is_worth_least_goes_until_the_disk_has_room() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    step(&lease, "cheap", 400, 1);
    step(&lease, "dear", 400, 60_000);
    step(&lease, "small", 4, 1);
    drop(lease);
    let total = store.usage().expect("usage").total_bytes;
    let to = |max_bytes| GcPolicy { max_bytes: Some(max_bytes), ..GcPolicy::default() };
    let above = GcPolicy { above_bytes: total + 4096, ..to(0) };
    assert_eq!(store.gc(&above).expect("gc").removed, []);
    let look = store.gc(&GcPolicy { dry_run: true, ..to(total - 1) }).expect("gc");
    let report = store.gc(&to(total - 1)).expect("gc");
    assert_eq!(look.removed, report.removed);
    assert_eq!(report.removed.len(), 1);
    assert!(report.bytes > 400 << 10 && report.left_bytes < total, "{report:?}");
    assert_eq!(steps_left(&store), ["RUN dear", "RUN small"]);
    assert_sound(&store, "after gc");
    // What was counted is what is known from now on, the trash excepted until it is emptied.
    store.empty_trash().expect("empty the trash");
    let known = store.estimated_bytes().expect("read").expect("counted");
    let now = store.usage().expect("usage").total_bytes;
    assert!(known.abs_diff(now) < 64 << 10, "{known} {now}");
}

#[test]
fn what_results_stand_on_can_be_left() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let base = commit(&lease).expect("commit");
    let alone = commit(&lease).expect("commit");
    lease.put_chain(&oci::ChainId(digest("alone")), &[alone]).expect("put");
    lease.put_record(&keys("on it"), &record(&[base])).expect("put");
    drop(lease);
    let policy = GcPolicy { keep_results: true, ..all() };
    let report = store.gc(&policy).expect("gc");
    let removed: Vec<&str> = report.removed.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(removed, [alone.to_string()]);
    assert!(store.has_layers(&[base]).expect("look"));
    assert_sound(&store, "after gc");
}

#[test]
fn what_a_lease_adds_is_told() {
    let root = Root::new();
    let store = root.open();
    assert_eq!(store.estimated_bytes().expect("read"), None);
    store.gc(&GcPolicy::default()).expect("gc");
    let before = store.estimated_bytes().expect("read").expect("counted");
    let lease = store.lease().expect("lease");
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = calls.clone();
    lease.watch_growth(64 << 10, move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!lease.tell_added().expect("tell"), "nothing yet");
    for number in 0..4u8 {
        lease.put_blob(None, &mut &vec![number; 50 << 10][..]).expect("store");
    }
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 3, "at 64, 128 and 192 KiB");
    assert!(lease.tell_added().expect("tell") && !lease.tell_added().expect("again"));
    let after = root.open().estimated_bytes().expect("read").expect("counted");
    assert_eq!(after - before, 4 * (52 << 10));
    // What was told while somebody counted is not forgotten.
    let (counted, told_length) = (store.counted().expect("read"), store.told_length());
    lease.put_blob(None, &mut &[9; 3 << 12][..]).expect("store");
    assert!(lease.tell_added().expect("tell"));
    let counted = counted.expect("counted");
    lease.put_counted(&counted, told_length.expect("a length")).expect("put");
    let after = store.estimated_bytes().expect("read").expect("counted");
    assert!((3 << 12..8 << 12).contains(&(after - before)), "{after} {before}");
    // A count of the day before yesterday is none.
    let now = std::time::SystemTime::now();
    let old = now - std::time::Duration::from_secs(48 * 3600);
    let file = std::fs::File::options().write(true).open(store.root().join("usage"));
    let file = file.expect("it was counted");
    file.set_modified(old).expect("a time");
    assert_eq!(store.estimated_bytes().expect("read"), None);
    file.set_modified(now).expect("a time");
    assert_eq!(store.estimated_bytes().expect("read"), Some(after));
    // After a boot nothing that was counted is believed.
    assert_eq!(root.open_in("boot-2").expect("open").estimated_bytes().expect("read"), None);
}

#[test]
fn a_look_counts_images_whose_layers_stay() {
    let root = Root::new();
    let store = root.open();
    let id = build(&store, "app", true).expect("build");
    let lease = store.lease().expect("lease");
    let layers = lease.image(&id).expect("read").expect("known").stack.layers;
    lease.put_image(&image(&layers, "{\"v\":2}")).expect("put");
    drop(lease);
    let look = store.gc(&GcPolicy { dry_run: true, ..all() }).expect("gc");
    assert_eq!((layers_of(&look), look.images), (0, 1));
    assert_eq!(store.gc(&all()).expect("gc").images, 1);
    assert_eq!(store.images().expect("list").len(), 1, "the named one");
}

#[test]
fn an_image_in_use_keeps_its_layers_without_its_name() {
    let root = Root::new();
    let (builder, collector) = (root.open(), root.open());
    let id = build(&builder, "app", true).expect("build");
    let lease = builder.lease().expect("lease");
    let image = lease.image(&id).expect("read").expect("known");
    collector.remove_tag(&reference("app")).expect("remove");
    assert_eq!(layers_of(&collector.gc(&all()).expect("gc")), 0);
    assert!(lease.image(&id).expect("read").is_some(), "it stays too");
    assert!(lease.hold_layers(&image.stack.layers).expect("hold"));
    drop(lease);
    let report = collector.gc(&all()).expect("gc");
    assert_eq!((layers_of(&report), report.images), (1, 1));
    assert_sound(&collector, "after gc");
}

#[test]
fn what_a_manifest_names_stays_with_the_name() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let layer = commit(&lease).expect("commit");
    let (blob, size_bytes) = lease.put_blob(None, &mut &b"layer blob"[..]).expect("store");
    let (config, _) = lease.put_blob(None, &mut &b"{}"[..]).expect("store");
    let bytes = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{config}","size":2}},"layers":[{{"mediaType":"l","digest":"{blob}","size":{size_bytes}}}]}}"#
    );
    let manifest = StoredManifest {
        media_type: oci::media::OCI_MANIFEST.to_owned(),
        digest: Digest::of(bytes.as_bytes()),
        bytes: bytes.into_bytes(),
    };
    let image = crate::StoredImage { manifest: Some(manifest), ..image(&[layer], "{}") };
    lease.put_image(&image).expect("put");
    lease.set_tags(&[(reference("pushed"), Tagged::Image(image.id))]).expect("tag");
    drop(lease);
    let everything = GcPolicy { max_bytes: Some(0), ..all() };
    assert_eq!(store.gc(&everything).expect("gc").count(ItemKind::Blob), 0);
    let usage = store.usage().expect("usage");
    let blobs = usage.items.iter().filter(|item| item.kind == ItemKind::Blob);
    assert!(blobs.clone().all(|item| item.holder == Holder::Tag), "{usage:?}");
    assert_eq!(blobs.count(), 2);
    // Without its name the image goes with the blob that it cannot be without.
    store.remove_tag(&reference("pushed")).expect("remove");
    assert_eq!(store.gc(&GcPolicy { keep_images: true, ..everything }).expect("gc").removed, []);
    let only = GcPolicy {
        filter: crate::GcFilter { kinds: vec![ItemKind::Blob], ..Default::default() },
        ..all()
    };
    let report = store.gc(&only).expect("gc");
    assert_eq!((report.count(ItemKind::Blob), report.images), (2, 1));
    assert_sound(&store, "after gc");
}

#[test]
fn steps_that_an_image_shares_are_only_forgotten_on_request() {
    let root = Root::new();
    let store = root.open();
    let id = build(&store, "app", true).expect("build");
    let near = keys("app").near.expect("the fixture's keys have one");
    let is_known = || store.lease().expect("lease").find_near(&near).expect("find").is_some();
    store.gc(&all()).expect("gc");
    assert!(is_known());
    let report = store.gc(&GcPolicy { forget_shared: true, ..all() }).expect("gc");
    assert_eq!((report.removed.len(), report.bytes), (1, 0));
    assert!(!is_known() && store.image(&id).expect("read").is_some());
    assert_sound(&store, "after gc");
}

/// Whether this thread's other half holds one of the store's locks: another process would wait then.
fn is_locked(store: &Store) -> bool {
    ["store.lock", "generations.lock", "gc.lock"].iter().any(|name| {
        let file = store.disk().open_lock(name).expect("a lock file");
        !disk::try_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("try")
    })
}

/// A collection of everything at every moment of a build: the build ends well, and its image is whole.
#[test]
fn a_collection_at_any_moment_of_a_build_takes_nothing_from_it() {
    let mut collections = 0;
    for nth in 0.. {
        let root = Rc::new(Root::in_memory());
        // Once with everything to find, once with nothing.
        build(&root.open(), if nth % 2 == 0 { "app" } else { "other" }, false).expect("build");
        let ran = Rc::new(std::cell::Cell::new(0));
        let (other, count) = (root.clone(), ran.clone());
        let collect = move || {
            let store = other.open();
            if !is_locked(&store) {
                store.gc(&GcPolicy { forget_shared: true, ..all() }).expect("gc");
                store.empty_trash().expect("empty the trash");
                count.set(1);
            }
        };
        let (built, passed) = testing::interleaved(nth, collect, || {
            let store = root.open();
            build(&store, "app", true)
        });
        if passed <= nth {
            break;
        }
        collections += ran.get();
        let id = built.unwrap_or_else(|e| panic!("at {nth}: {e}"));
        assert_whole(&root.open(), id, nth);
    }
    assert!(collections > 20, "{collections}");
}

/// A build at every moment of a collection.
#[test]
fn a_build_at_any_moment_of_a_collection_loses_nothing() {
    let mut builds = 0;
    for nth in 0.. {
        let root = Rc::new(Root::in_memory());
        let store = root.open();
        for name in ["app", "other"] {
            build(&store, name, false).expect("build");
        }
        let built = Rc::new(std::cell::Cell::new(None));
        let (other, result) = (root.clone(), built.clone());
        let build_now = move || {
            let store = other.open();
            // `gc.lock` is no business of a build.
            let file = store.open_store_lock().expect("a lock file");
            let operation = FlockOperation::NonBlockingLockExclusive;
            if disk::try_lock(&file, operation).expect("try") {
                drop(file);
                result.set(Some(build(&store, "app", true).expect("build beside a collection")));
            }
        };
        let (report, passed) = testing::interleaved(nth, build_now, || store.gc(&all()));
        report.unwrap_or_else(|e| panic!("at {nth}: {e}"));
        if passed <= nth {
            break;
        }
        if let Some(id) = built.get() {
            builds += 1;
            assert_whole(&root.open(), id, nth);
        }
    }
    assert!(builds > 5, "{builds}");
}

/// A step that uses a cache mount at every moment of a collection: what it leaves there is gone only when the
/// collection knew of this use.
#[test]
fn a_cache_mount_that_was_used_since_the_look_stays() {
    const OLD_SECS: i64 = 1_000_000_000;
    let mut uses = 0;
    for nth in 0.. {
        let root = Root::in_memory();
        let store = root.open();
        let lease = store.lease().expect("lease");
        let id = CacheMountId { id: "/apt".to_owned(), ..CacheMountId::default() };
        let home = store.root().join("cache-mounts").join(id.key().hex());
        let slot = home.join("0");
        let open = move |lease: &Lease| {
            let sharing = graph::CacheSharing::Shared;
            let request = CacheMountRequest { id: &id, sharing, empty: false };
            lease.cache_mount(&request, &|_| Ok(()), &|| false).expect("a cache mount")
        };
        drop(open(&lease));
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(OLD_SECS as u64);
        let set = std::fs::File::open(&slot).and_then(|dir| dir.set_modified(old));
        set.expect("the slot's time");
        let used = Rc::new(std::cell::Cell::new(false));
        let (done, probe, own) = (used.clone(), home.join("probe"), lease.clone());
        let use_now = move || {
            let file = std::fs::File::create(&probe).expect("the lock");
            let operation = FlockOperation::NonBlockingLockExclusive;
            if disk::try_lock(&file, operation).expect("try") {
                drop(file);
                let mount = open(&own);
                std::fs::write(mount.path().join("mark"), "").expect("write");
                done.set(true);
            }
        };
        let (report, passed) = testing::interleaved(nth, use_now, || store.gc(&all()));
        let report = report.unwrap_or_else(|e| panic!("at {nth}: {e}"));
        if passed <= nth {
            break;
        }
        let knew = report.removed.iter().all(|item| item.used_secs != OLD_SECS);
        if used.get() {
            uses += 1;
            assert!(knew || slot.join("data/mark").exists(), "at {nth}: {report:?}");
        }
    }
    assert!(uses > 20, "{uses}");
}

fn assert_whole(store: &Store, id: oci::ImageId, nth: u64) {
    let lease = store.lease().expect("lease");
    let image = lease.image(&id).expect("read").unwrap_or_else(|| panic!("at {nth}: no image"));
    assert!(lease.hold_layers(&image.stack.layers).expect("hold"), "at {nth}: no layers");
    drop(lease);
    assert_sound(store, &format!("at {nth}"));
}

#[test]
fn what_a_manifest_list_names_stays() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let name: oci::Reference = "r.test/app:all".parse().expect("a name");
    let (blob, _) = lease.put_blob(None, &mut &b"a layer's tar"[..]).expect("store");
    let list = crate::ManifestList {
        name: name.clone(),
        images: Vec::new(),
        blobs: vec![blob],
        document: "{}".to_owned(),
    };
    lease.set_manifest_list(&list).expect("keep");
    drop(lease);
    let everything = GcPolicy { max_bytes: Some(0), ..GcPolicy::default() };
    store.gc(&everything).expect("gc");
    let lease = store.lease().expect("lease");
    assert!(lease.has_blob(&blob).expect("look"), "the list names it");
    assert_eq!(store.manifest_list(&name).expect("read"), Some(list.clone()));
    assert_eq!(store.manifest_lists().expect("read"), [list]);
    assert!(store.remove_manifest_list(&name).expect("remove"));
    assert!(!store.remove_manifest_list(&name).expect("remove"));
    drop(lease);
    store.gc(&everything).expect("gc");
    assert!(!store.lease().expect("lease").has_blob(&blob).expect("look"));
}
