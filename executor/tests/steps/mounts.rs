//! `--mount`: what a step sees of it, and that the layer shows no trace.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::harness::{Place, persons};

/// Names in a layer with their modification times.
fn layer(dir: &Path) -> BTreeMap<String, (i64, i64)> {
    fn walk(dir: &Path, prefix: &str, into: &mut BTreeMap<String, (i64, i64)>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            let stat = entry.metadata().unwrap();
            into.insert(path.clone(), (stat.mtime(), stat.mtime_nsec()));
            if stat.is_dir() {
                walk(&entry.path(), &format!("{path}/"), into);
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(dir, "", &mut all);
    all
}

#[test]
fn mnt_11_no_trace_in_the_layer() {
    for person in persons() {
        let place = Place::new(person);
        let base = place.make_layer();
        let _ = std::fs::create_dir(base.join("sys"));
        std::os::unix::fs::symlink("/srv/data", base.join("link")).unwrap();
        let keep = format!("keep={}", place.root().join("kept").display());
        let keys = [
            "net=none",
            &keep,
            "secret=/run/secrets/s",
            "cache=/var/cache/x",
            "tmpfs=/tmp/a/b",
            "bind=/link/in",
            "bind=/filled/in:etc/passwd",
        ];
        let script = "touch /var/cache/x/f /tmp/a/b/f && echo x > /filled/own";
        let said = place.sh(&keys, script);
        assert_eq!(said.code, Some(0), "{said:?}");
        let kept = layer(&place.root().join("kept"));
        // Directories that were copied up are as before, so that the diff can leave them out.
        for (path, time) in &kept {
            match path.as_str() {
                "filled" | "filled/own" => {}
                path => {
                    let stat = std::fs::metadata(base.join(path)).expect("no name is left behind");
                    assert_eq!((stat.mtime(), stat.mtime_nsec()), *time, "{path}");
                }
            }
        }
        assert!(kept.contains_key("filled/own") && !kept.contains_key("filled/in"), "{kept:?}");
        let root = std::fs::metadata(place.root().join("kept")).unwrap();
        assert_ne!(root.mtime_nsec(), 0);
    }
}

#[test]
fn a10_and_what_mounts_show() {
    let script = "echo $SECRET; cat /run/secrets/s; echo; ls -l /run/secrets/s | cut -d' ' -f1; \
                  echo new > /rw/etc/passwd; rm -r /rw/bin; cat /rw/etc/passwd; \
                  (echo x > /ro/x) 2>/dev/null || echo read-only; \
                  (echo x >> /run/secrets/s) 2>/dev/null || echo secret is read-only; \
                  cat /cache/n 2>/dev/null; echo kept > /cache/n; head -n1 /pw; \
                  stat -c %a /t; test -e /ro/etc/passwd && echo ro shows";
    for person in persons() {
        let place = Place::new(person);
        let keys = [
            "net=none",
            "secret=/run/secrets/s",
            "bindrw=/rw",
            "bind=/ro",
            "cache=/cache",
            "bind=/pw:etc/passwd",
            "tmpfs=/t",
        ];
        let want = "the secret\nthe secret\n-r--------\nnew\nread-only\nsecret is read-only\n\
                    root:x:0:0:root:/root:/bin/sh\n1777\nro shows\n";
        assert_eq!(place.sh(&keys, script).out, want, "{person:?}");
        // The bound tree is as it was, the cache is not.
        assert!(place.root().join("base/bin/sh").exists());
        let said = place.sh(&["net=none", "cache=/cache"], "cat /cache/n; head -n1 /etc/passwd");
        assert_eq!(said.out, "kept\nroot:x:0:0:root:/root:/bin/sh\n");
    }
}

#[test]
fn a1_sources_stay_in_their_root() {
    for person in persons() {
        let place = Place::new(person);
        let base = place.make_layer();
        std::fs::write(place.root().join("canary"), "canary").unwrap();
        std::os::unix::fs::symlink("/", base.join("d")).unwrap();
        std::os::unix::fs::symlink("../../../../..", base.join("e")).unwrap();
        std::os::unix::fs::symlink("../..", place.root().join("cache/out")).unwrap();
        let canary = place.root().join("canary");
        let script =
            format!("ls /m /n; cat /m{c} /n{c} /m/canary /n/canary; true", c = canary.display());
        let said = place.sh(&["net=none", "bindrw=/m:d", "bind=/n:e"], &script);
        assert!(said.out.contains("/m:\nbin\n") && said.out.contains("/n:\nbin\n"), "{said:?}");
        assert!(!said.out.contains("canary"), "{said:?}");
        let said = place.sh(&["net=none", "cache=/c:out"], "ls -A /c; echo x > /c/made-here");
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(place.root().join("cache/made-here").exists(), "the cache is its own root");
    }
}

#[test]
fn a4_targets_stay_in_the_root() {
    for person in persons() {
        let place = Place::new(person);
        let base = place.make_layer();
        let outside = place.root().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, base.join("x")).unwrap();
        std::os::unix::fs::symlink("proc/self", base.join("p")).unwrap();
        let said = place.sh(&["net=none", "tmpfs=/x/../w", "secret=/x/deep/s"], "cat /x/deep/s");
        assert_eq!(said.out, "the secret", "{said:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        let said = place.sh(&["net=none", "tmpfs=/p/attr"], "true");
        assert!(said.err.contains("nothing can be mounted on /proc"), "{said:?}");
    }
}

#[test]
fn many_layers() {
    for person in persons() {
        let place = Place::new(person);
        let said = place.sh(&["net=none", "layers=300"], "ls / | grep -c file");
        assert_eq!(said.out, "299\n", "{person:?} {said:?}");
    }
}
