//! Cache mounts: who may be in one, and what people ask of them.

use std::fs;
use std::path::Path;

use graph::CacheSharing;
use oci::Digest;

use super::fixture::*;
use crate::{CacheMount, CacheMountBlob, CacheMountId, CacheMountRequest, Cleared, InUse, Lease};

fn id(text: &str) -> CacheMountId {
    CacheMountId { id: text.to_owned(), ..CacheMountId::default() }
}

fn open(lease: &Lease, id: &CacheMountId, sharing: CacheSharing) -> CacheMount {
    let request = CacheMountRequest { id, sharing, empty: false };
    lease.cache_mount(&request, &|_| Ok(()), &|| false).expect("a cache mount")
}

#[test]
fn cache_mounts_are_shared_as_asked() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let never = || false;
    let apt = id("/apt");
    let open = |sharing, empty| {
        let request = CacheMountRequest { id: &apt, sharing, empty };
        let fill = |path: &std::path::Path| std::fs::write(path.join("first"), "1");
        lease.cache_mount(&request, &fill, &never).expect("a cache mount")
    };
    let has = |mount: &crate::CacheMount, name: &str| mount.path().join(name).exists();
    let one = open(CacheSharing::Shared, false);
    let two = open(CacheSharing::Shared, false);
    assert_eq!(one.path(), two.path()); // MNT-33
    assert!(has(&one, "first"), "MNT-34");
    std::fs::write(one.path().join("mine"), "1").expect("write");
    let private = open(CacheSharing::Private, false);
    assert_ne!(one.path(), private.path());
    let request = CacheMountRequest { id: &apt, sharing: CacheSharing::Locked, empty: false };
    let refused = lease.cache_mount(&request, &|_| Ok(()), &|| true).expect_err("in use");
    assert!(refused.is_cancelled());
    let empty = open(CacheSharing::Shared, true); // MNT-38
    assert!(empty.path() != one.path() && !has(&empty, "mine") && has(&one, "mine"));
    drop((one, two, private, empty));
    assert!(has(&open(CacheSharing::Locked, false), "mine"), "it persists");
    assert!(!has(&open(CacheSharing::Locked, true), "mine"), "MNT-38");
    let (other, bad) = (id("/other"), id("/bad"));
    let other = CacheMountRequest { id: &other, sharing: CacheSharing::Shared, empty: false };
    let other = lease.cache_mount(&other, &|_| Ok(()), &never).expect("a cache mount");
    assert!(!has(&other, "first"), "G3: identities do not meet");
    let failing = CacheMountRequest { id: &bad, sharing: CacheSharing::Shared, empty: false };
    let fail = |_: &std::path::Path| Err(std::io::Error::other("no"));
    lease.cache_mount(&failing, &fail, &never).expect_err("init failed");
    let good = lease.cache_mount(&failing, &|_| Ok(()), &never).expect("a cache mount");
    assert!(good.path().is_dir());
    drop((other, good));
}

#[test]
fn they_are_listed_as_people_know_them() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    assert_eq!(store.cache_mounts().expect("list"), []);
    let mine = CacheMountId { namespace: "ns".to_owned(), ..id("/root/.npm") };
    let held = open(&lease, &mine, CacheSharing::Private);
    let other = open(&lease, &mine, CacheSharing::Private);
    fs::write(held.path().join("a"), vec![1; 10_000]).expect("write");
    fs::hard_link(held.path().join("a"), held.path().join("b")).expect("link");
    drop(other);
    let [found] = &store.cache_mounts().expect("list")[..] else { panic!("one") };
    assert_eq!((found.key, found.id.as_ref()), (mine.key(), Some(&mine)));
    let [first, second] = found.dirs[..] else { panic!("two directories") };
    assert!(first.in_use && !second.in_use && first.is_whole);
    // Blocks, and the two names once.
    assert!((10_000..30_000).contains(&first.size_bytes), "{}", first.size_bytes);
    assert!(first.used_secs > 1_700_000_000);
    // A note that was damaged costs the name, nothing else.
    let about = store.root().join(format!("cache-mounts/{}/about", mine.key().hex()));
    fs::write(about, "torn").expect("write");
    assert_eq!(store.cache_mounts().expect("list")[0].id, None);
    drop(open(&lease, &mine, CacheSharing::Shared));
    assert_eq!(store.cache_mounts().expect("list")[0].id, Some(mine));
}

#[test]
fn clearing_leaves_what_is_in_use() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let mine = id("m");
    let held = open(&lease, &mine, CacheSharing::Shared);
    drop((
        open(&lease, &mine, CacheSharing::Private),
        open(&lease, &id("n"), CacheSharing::Shared),
    ));
    let clear = || store.clear_cache_mount(&mine.key()).expect("clear");
    assert_eq!(clear(), Cleared { removed: 1, in_use: 1 });
    assert!(held.path().is_dir());
    drop(held);
    assert_eq!(clear(), Cleared { removed: 1, in_use: 0 });
    assert_eq!(clear(), Cleared::default());
    assert_eq!(store.clear_cache_mount(&Digest::of(b"no such")).expect("none"), Cleared::default());
    assert_eq!(store.cache_mounts().expect("list").len(), 1);
}

/// Whoever looks whether a directory is free holds its lock for a moment; no build may take another one for that.
#[test]
fn looking_costs_nobody_a_directory() {
    let root = Root::new();
    let (store, mine) = (root.open(), id("m"));
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.cache_mounts().expect("list");
            }
        });
        let lease = store.lease().expect("lease");
        for _ in 0..500 {
            let mount = open(&lease, &mine, CacheSharing::Private);
            assert!(mount.path().ends_with("0/data"), "{:?}", mount.path());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn content_is_put_in_place_and_read_as_a_whole() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let mine = id("m");
    assert!(lease.read_cache_mount(&mine).expect("read").expect("free").is_none());
    assert!(lease.is_cache_mount_empty(&mine).expect("look"));
    let prepare = |name: &str| {
        let prepared = lease.prepare_cache_mount().expect("prepare");
        fs::write(prepared.path().join(name), "1").expect("write");
        prepared
    };
    drop(prepare("lost"));
    assert!(prepare("one").install(&mine, None).expect("install"));
    assert!(!lease.is_cache_mount_empty(&mine).expect("look"));
    let mount = lease.read_cache_mount(&mine).expect("read").expect("free").expect("there");
    let has = |path: &Path, name: &str| path.join(name).exists();
    assert!(has(mount.path(), "one") && !has(mount.path(), "lost"));
    let blob = CacheMountBlob {
        state: "1".to_owned(),
        form: "tar".to_owned(),
        digest: "2".to_owned(),
        size_bytes: 3,
    };
    assert_eq!(lease.cache_mount_blob(&mount).expect("none"), None);
    lease.note_cache_mount_blob(&mount, &blob).expect("note");
    assert_eq!(lease.cache_mount_blob(&mount).expect("note"), Some(blob));
    // Readers and steps that share it may be in together, and then nothing is put in its place.
    let step = open(&lease, &mine, CacheSharing::Shared);
    assert_eq!(step.path(), mount.path());
    assert!(!prepare("two").install(&mine, None).expect("in use"));
    assert_eq!(lease.read_cache_mount(&mine).expect("read").map(drop), Err(InUse));
    drop((step, mount));
    assert!(prepare("two").install(&mine, None).expect("install"));
    let mount = open(&lease, &mine, CacheSharing::Locked);
    assert!(has(mount.path(), "two") && !has(mount.path(), "one"));
}
