//! Several processes on one store. A lock belongs to an open file, so two stores opened in one process are to each
//! other what two processes are; death is tried with real ones.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::fixture::*;
use crate::{GcPolicy, ItemKind, Store, StoreOptions};

#[test]
fn what_a_lease_or_a_tag_needs_is_not_collected() {
    let root = Root::new();
    let (builder, collector) = (root.open(), root.open());
    let image = build(&builder, "app", true).expect("build");
    let lease = builder.lease().expect("lease");
    let held = commit(&lease).expect("commit");
    let (blob, _) = lease.put_blob(None, &mut &b"held"[..]).expect("store");
    assert_eq!(layers_of(&collector.gc(&all()).expect("gc")), 0);
    assert!(lease.layer(held).expect("read").is_some() && lease.has_blob(&blob).expect("look"));
    drop(lease);
    let report = collector.gc(&all()).expect("gc");
    assert_eq!((layers_of(&report), report.count(ItemKind::Blob)), (1, 1));
    let lease = builder.lease().expect("lease");
    assert!(lease.layer(held).expect("read").is_none() && !lease.has_blob(&blob).expect("look"));
    let layers = lease.image(&image).expect("read").expect("tagged").stack.layers;
    assert!(lease.hold_layers(&layers).expect("hold"));
    drop(lease);
    builder.remove_tag(&reference("app")).expect("remove");
    assert_eq!(layers_of(&collector.gc(&GcPolicy::default()).expect("gc")), 0, "still an image");
    assert_eq!(
        layers_of(
            &collector.gc(&GcPolicy { max_bytes: Some(0), ..GcPolicy::default() }).expect("gc")
        ),
        1
    );
    assert_sound(&collector, "after gc");
    assert_eq!(collector.usage().expect("usage").images, 0);
}

/// R17 in small: a layer that was found stays for as long as the lease lives, whatever runs beside.
#[test]
fn nothing_that_was_found_goes_away_under_a_build() {
    let root = Root::new();
    root.open();
    let stop = AtomicBool::new(false);
    let (hits, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let store = root.open();
            while !stop.load(Ordering::Relaxed) {
                taken.fetch_add(layers_of(&store.gc(&all()).expect("gc")), Ordering::Relaxed);
                store.empty_trash().expect("empty the trash");
            }
        });
        let builders: Vec<_> = (0..4)
            .map(|number| {
                let (root, hits) = (&root, &hits);
                scope.spawn(move || {
                    for round in 0..60 {
                        let found = check_one_build(&root.open(), (number + round) % 3);
                        hits.fetch_add(usize::from(found), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = builders.into_iter().map(|builder| builder.join()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(ends.iter().all(Result::is_ok), "a build has failed");
    });
    assert!(taken.into_inner() > 0, "the collector had something to do");
    assert!(hits.into_inner() > 0, "the builders found something");
    assert_sound(&root.open(), "after the race");
}

fn check_one_build(store: &Store, number: usize) -> bool {
    let lease = store.lease().expect("lease");
    let keys = keys(&number.to_string());
    let near = keys.near.expect("the fixture's keys have one");
    let found = lease.find_near(&near).expect("find");
    let hit = found.filter(|record| lease.hold_layers(&record.stack.layers).expect("hold"));
    let was_hit = hit.is_some();
    let id = match hit {
        Some(record) => record.stack.layers[0],
        None => commit(&lease).expect("commit"),
    };
    lease.put_record(&keys, &record(&[id])).expect("put");
    for _ in 0..20 {
        let dir = lease.layer_dir(id).expect("a held layer stays");
        rustix::fs::statat(&dir, "file", rustix::fs::AtFlags::empty()).expect("with its content");
        thread::yield_now();
    }
    was_hit
}

#[test]
fn equal_work_of_eight_is_done_once() {
    let root = Root::new();
    root.open();
    let (done, at_work) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let store = root.open();
                let lease = store.lease().expect("lease");
                let keys = keys("once");
                let near = keys.near.expect("the fixture's keys have one");
                let _guard = lease.single_flight(&near.to_string(), &|| false).expect("a turn");
                assert_eq!(at_work.fetch_add(1, Ordering::SeqCst), 0, "alone");
                if lease.find_near(&near).expect("find").is_none() {
                    done.fetch_add(1, Ordering::SeqCst);
                    let id = commit(&lease).expect("commit");
                    lease.put_record(&keys, &record(&[id])).expect("put");
                }
                at_work.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!(done.into_inner(), 1);
    let store = root.open();
    assert_eq!((names(&store, "layers").len(), names(&store, "locks").len()), (1, 0));
}

#[test]
fn a_wait_can_be_cancelled() {
    let root = Root::new();
    let store = root.open();
    let lease = store.lease().expect("lease");
    let guard = lease.single_flight("work", &|| false).expect("a turn");
    assert!(lease.single_flight("work", &|| true).expect_err("taken").is_cancelled());
    assert!(lease.try_single_flight("work").expect("look").is_none());
    drop(guard);
    assert!(lease.try_single_flight("work").expect("look").is_some());
}

#[test]
fn eight_first_opens_make_one_store() {
    let root = Root::new();
    thread::scope(|scope| {
        for number in 0..8 {
            let root = &root;
            scope.spawn(move || build(&root.open(), &format!("b{number}"), true).expect("build"));
        }
    });
    let store = root.open();
    assert_eq!(store.tags().expect("list").len(), 8);
    assert_sound(&store, "after all");
}

const CHILD_ROOT: &str = "STORE_TEST_CHILD_ROOT";

/// Not a test by itself: the process that is killed below.
#[test]
fn child_that_is_killed() {
    let Some(root) = std::env::var_os(CHILD_ROOT) else { return };
    let options = StoreOptions { boot_id: Some("boot-1".to_owned()), userxattr: false };
    let store = Store::open(root.as_ref(), &options).expect("open");
    let lease = store.lease().expect("lease");
    let id = commit(&lease).expect("commit");
    let ingest = lease.new_ingest().expect("ingest");
    std::fs::write(ingest.path().join("half"), "x").expect("write");
    let _guard = lease.single_flight("work", &|| false).expect("a turn");
    writeln!(std::io::stdout(), "\nready {id}").expect("the parent reads");
    loop {
        thread::park();
    }
}

#[test]
fn a_killed_process_lets_go_of_everything() {
    let root = Root::new();
    let store = root.open();
    let program = std::env::current_exe().expect("the test's own file");
    let mut child = Command::new(program)
        .args(["--exact", "tests::sharing::child_that_is_killed", "--nocapture"])
        .env(CHILD_ROOT, root.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the child");
    let lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let ready =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
    let id = ready.expect("the child has a layer").parse().expect("a layer id");
    let lease = store.lease().expect("lease");
    assert!(lease.try_single_flight("work").expect("look").is_none());
    assert_eq!(layers_of(&store.gc(&all()).expect("gc")), 0);
    assert_eq!(names(&store, "ingest").len(), 1, "the child's work is left alone");
    child.kill().expect("kill");
    child.wait().expect("wait");
    drop(lease.single_flight("work", &|| false).expect("the lock is free"));
    drop(lease);
    drop(store.lease().expect("a lease sweeps"));
    assert_eq!((names(&store, "ingest"), names(&store, "leases")), (Vec::new(), Vec::new()));
    assert_eq!(layers_of(&store.gc(&all()).expect("gc")), 1);
    assert!(store.lease().expect("lease").layer(id).expect("read").is_none());
}
