//! Machines that allow less, or more: made in mount namespaces of their own, so only for tests that run as root.

use std::process::Command;

use crate::harness::{Person, Place, Said, persons, root_for};

/// Runs a step in a mount namespace that was changed before.
fn on(place: &Place, change: &str, keys: &[&str], script: &str) -> Said {
    let step = place.command(keys, &["/bin/sh", "-c", script]);
    let line = format!("set -e; {change}\nexec {step:?}");
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &line]);
    command.output().unwrap().into()
}

const OPEN_TUN: &str = "mount -t tmpfs t /mnt; mknod -m 666 /mnt/tun c 10 200; \
                        mount --bind /mnt/tun /dev/net/tun; umount -l /mnt";

#[test]
fn d11_an_ordinary_user_with_an_open_tun() {
    if !root_for("d11_an_ordinary_user_with_an_open_tun") {
        return;
    }
    let script = "ip -o addr | grep -qv ' lo ' && echo has an address; \
                  grep CapEff /proc/self/status | tr '\\t' ' '; \
                  ip route get 169.254.169.254 2>&1 | grep -c 'No route to host'";
    let said = on(&Place::new(Person::Other), OPEN_TUN, &["net=default", "strict=1"], script);
    assert_eq!(said.out, "has an address\nCapEff: 00000000a80425fb\n1\n", "{said:?}");
}

#[test]
fn d11_slirp4netns_where_there_is_no_pasta() {
    if !root_for("d11_slirp4netns_where_there_is_no_pasta") {
        return;
    }
    // Whatever its name leads to is no program.
    let change = format!(
        "{OPEN_TUN}; for f in /usr/bin/pasta /usr/bin/pasta.avx2 /usr/bin/passt; do \
                  test ! -e $f || mount --bind /etc/hostname $f; done"
    );
    for person in persons() {
        let place = Place::new(person);
        let script = "ip -o addr | grep -c 10.0.2.100; ip route | grep -c 'default via 10.0.2.2'";
        let said = on(&place, &change, &["net=default", "strict=1"], script);
        assert_eq!(said.out, "1\n1\n", "{person:?} {said:?}");
    }
}

#[test]
fn d13_a_masked_proc() {
    if !root_for("d13_a_masked_proc") {
        return;
    }
    let place = Place::new(Person::Other);
    let change = "mount -t tmpfs t /proc/fs";
    let script = "cut -d' ' -f5 /proc/self/mountinfo | grep -c '^/proc$'; \
                  (echo x > /proc/sys/kernel/hostname) 2>/dev/null || echo read-only; \
                  test -s /proc/kallsyms || echo masked";
    let said = on(&place, change, &["net=none"], script);
    assert_eq!(said.out, "1\nread-only\nmasked\n", "{said:?}");
    assert_eq!(said.err.matches("this machine's /proc is masked").count(), 1, "{said:?}");
    let said = on(&place, change, &["net=host", "strict=1"], "true");
    assert_eq!(said.code, Some(200), "{said:?}");
    assert!(said.err.starts_with("error: this machine's /proc is masked"), "{said:?}");
}

#[test]
fn d1_a_user_without_ranges() {
    if !root_for("d1_a_user_without_ranges") {
        return;
    }
    let place = Place::new(Person::Other);
    let empty = place.root().with_extension("empty");
    std::fs::write(&empty, "").unwrap();
    let change = format!("mount --bind {} /etc/subuid", empty.display());
    let script = "id -u; wc -l < /proc/self/uid_map; touch /a && stat -c %u:%g /a; ls -d /dev/pts";
    let said = on(&place, &change, &["net=none"], script);
    assert_eq!(said.out, "0\n1\n0:0\n/dev/pts\n", "{said:?}");
    let said = on(&place, &change, &["net=none", "user=bob"], "true");
    assert!(said.err.contains("no further ids"), "{said:?}");
}

#[test]
fn d13_a_store_on_overlay() {
    if !root_for("d13_a_store_on_overlay") {
        return;
    }
    for person in persons() {
        let place = Place::new(person);
        place.make_layer();
        let root = place.root();
        let change = format!(
            "mkdir /tmp/.over-$$; mount -t tmpfs -o mode=777 t /tmp/.over-$$; cd /tmp/.over-$$; \
             mkdir -m 777 u w m; mount -t overlay o -o lowerdir={0},upperdir=u,workdir=w m; \
             mount --move m {0}; cd /; umount -l /tmp/.over-$$; rmdir /tmp/.over-$$; chmod 777 {0}",
            root.display()
        );
        let keep = format!("keep={}/layer1", root.display());
        let script = "rm /etc/group; rm -r /tmp; mkdir /tmp; echo x > /tmp/f; ln /tmp/f /g";
        // Both steps on one such machine.
        let first = place.command(&["net=none", &keep], &["/bin/sh", "-c", script]);
        let change = format!("{change}\n{first:?}");
        let look =
            "ls /tmp; test -e /etc/group || echo gone; stat -c %h /g; test -e /file1 && echo two";
        let said = on(&place, &change, &["net=none", "layers=2"], look);
        assert_eq!(said.out, "f\ngone\n2\ntwo\n", "{person:?} {said:?}");
    }
}
