//! Every operation that changes the disk fails once, and every process dies once at each of them (R4, R14).

use super::fixture::*;
use crate::fault::testing::{self, Kind};
use crate::{Store, StoreError};

/// Everything that changes a store, in one go.
fn workload(root: &Root) -> Result<(), StoreError> {
    let store = root.open_in("boot-1")?;
    build(&store, "a", false)?;
    build(&store, "b", true)?;
    let lease = store.lease()?;
    let id = crate::CacheMountId { id: "/cache".to_owned(), ..Default::default() };
    let request =
        crate::CacheMountRequest { id: &id, sharing: graph::CacheSharing::Shared, empty: true };
    drop(lease.cache_mount(&request, &|_| Ok(()), &|| false)?);
    drop(lease.single_flight("work", &|| false)?);
    lease.put_manifest(&digest("{}"), "type/x", b"{}")?;
    lease.put_listing(&graph::TreeDigest(digest("a listing")), b"a listing")?;
    let project = crate::Project::new(b"context", b"Dockerfile");
    for started_us in 0..2 {
        lease.put_build_log(&crate::BuildLogName { started_us, project }, b"{}")?;
    }
    drop(lease);
    store.remove_tag(&reference("b"))?;
    store.gc(&all())?;
    build(&store, "c", true)?;
    store.empty_trash().map(drop)
}

/// The store is sound, a tag is whole or not there, and the same work can be done again, with and without a boot.
fn assert_recovers(root: &Root, when: &str) {
    let store = root.open_in("boot-1").unwrap_or_else(|e| panic!("{when}: {e}"));
    assert_sound(&store, when);
    workload(root).unwrap_or_else(|e| panic!("{when}, done again: {e}: {:?}", cause(&e)));
    assert_sound(&store, when);
    assert_clean(&store, when);
}

fn assert_clean(store: &Store, when: &str) {
    for dir in ["ingest", "leases", "locks", "trash"] {
        assert_eq!(names(store, dir), [""; 0], "{when}: {dir}");
    }
}

fn cause(error: &StoreError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

fn sweep(kind: Kind) -> u64 {
    for nth in 0.. {
        let root = Root::in_memory();
        let (result, passed) = testing::with(Some((nth, kind)), || workload(&root));
        if passed <= nth {
            assert!(result.is_ok(), "nothing failed");
            return nth;
        }
        let when = format!("{} at {nth}", if kind == Kind::Killed { "killed" } else { "full" });
        if let Err(error) = &result
            && kind == Kind::DiskFull
        {
            assert!(error.is_disk_full(), "{when}: {error}: {:?}", cause(error));
        }
        // A power cut at the same moment: what is left must be sound too.
        if nth % 5 == 0 {
            let store = root.open_in("boot-2").unwrap_or_else(|e| panic!("{when}: {e}"));
            assert_sound(&store, &when);
            for (tag, tagged) in store.tags().expect("list") {
                for image in tagged.images() {
                    assert!(store.image(&image).expect("read").is_some(), "{when}: {tag}");
                }
            }
        }
        assert_recovers(&root, &when);
    }
    unreachable!("the sweep ends when no operation is left")
}

#[test]
fn a_kill_at_any_point_leaves_a_sound_store() {
    assert!(sweep(Kind::Killed) > 100);
}

#[test]
fn a_full_disk_at_any_point_is_named_and_leaves_a_sound_store() {
    assert!(sweep(Kind::DiskFull) > 100);
}
