//! Listings and what builds write down: kept, checked when read, bounded in number.

use graph::TreeDigest;
use oci::Digest;

use super::fixture::*;
use crate::{BuildLogName, Project};

#[test]
fn a_listing_is_checked_by_its_name() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let text = b"a listing".repeat(1000);
    let digest = TreeDigest(Digest::of(&text));
    assert_eq!(lease.listing(&digest).expect("read"), None);
    lease.put_listing(&digest, b"another text").expect("put");
    assert_eq!(lease.listing(&digest).expect("read"), None, "not what the name says");
    lease.put_listing(&digest, &text).expect("put");
    assert_eq!(lease.listing(&digest).expect("read"), Some(text.clone()));
    // It does not depend on the boot: nobody promised it, and whoever reads it checks it.
    let store = root.open_in("boot-2").expect("open after a boot");
    let lease = store.lease().expect("lease");
    assert_eq!(lease.listing(&digest).expect("read"), Some(text.clone()));
    let path = store.root().join("listings").join(digest.0.hex());
    let whole = std::fs::read(&path).expect("the file");
    for torn in [&whole[..0], &whole[..whole.len() / 2], b"nonsense"] {
        std::fs::write(&path, torn).expect("write");
        assert_eq!(lease.listing(&digest).expect("read"), None);
        lease.put_listing(&digest, &text).expect("a torn one does not stand in the way");
        assert_eq!(lease.listing(&digest).expect("read"), Some(text.clone()));
    }
    assert_sound(&store, "with a listing");
}

#[test]
fn the_newest_builds_are_kept_and_the_newest_of_each_project() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let name = |started_us, context: &str| BuildLogName {
        started_us,
        project: Project::new(context.as_bytes(), b"Dockerfile"),
    };
    lease.put_build_log(&name(1, "quiet"), b"one").expect("put");
    lease.put_build_log(&name(2, "busy"), b"two").expect("put");
    for at in 3..=100 {
        lease.put_build_log(&name(at, "busy"), format!("{at}").as_bytes()).expect("put");
    }
    let names = store.build_logs().expect("list");
    assert_eq!((names[0].started_us, names.len()), (100, 65));
    assert_eq!(names.last(), Some(&name(1, "quiet")));
    assert!(names.last().expect("one").project.is_of_context(b"quiet"));
    assert_eq!(store.build_log(&names[0]).expect("read").as_deref(), Some(&b"100"[..]));
    assert_eq!(store.build_log(&name(2, "busy")).expect("read"), None);
    // The clock was set back.
    lease.put_build_log(&name(5, "busy"), b"again").expect("put");
    let newest = store.build_logs().expect("list")[0];
    assert_eq!(store.build_log(&newest).expect("read").as_deref(), Some(&b"again"[..]));
    for at in 0..300 {
        lease.put_build_log(&name(1000 + at, &format!("project {at}")), b"x").expect("put");
    }
    assert_eq!(store.build_logs().expect("list").len(), 256);
    let path = store.root().join("logs/builds");
    let file = std::fs::read_dir(path).expect("a directory").next().expect("a file").expect("it");
    std::fs::write(file.path(), "shale build 1 00").expect("write");
    let torn = store.build_logs().expect("list");
    let read = torn.iter().filter(|name| store.build_log(name).expect("read").is_none());
    assert_eq!(read.count(), 1, "a torn one counts as absent");
    assert_sound(&store, "with logs");
}
