//! Steps that cannot be, and what is said of them.

use crate::harness::{Place, persons};

fn check(keys: &[&str], argv: &[&str], want: &str) {
    for person in persons() {
        let said = Place::new(person).run(&[&["net=none"], keys].concat(), argv);
        assert_eq!(said.code, Some(200), "{person:?} {said:?}");
        assert!(said.err.contains(want), "{person:?} wants {want:?}: {}", said.err);
    }
}

#[test]
fn err_36_programs() {
    check(&[], &["/nosuch"], "executable file `/nosuch` not found\n");
    check(&[], &["nosuch"], "executable file `nosuch` not found in $PATH");
    check(&[], &["/etc/passwd"], "cannot execute `/etc/passwd`: permission denied");
    check(&[], &["/etc"], "cannot execute `/etc`: permission denied");
}

#[test]
fn err_37_users() {
    check(
        &["user=nosuch"],
        &["true"],
        "unable to find user nosuch: no matching entries in passwd file",
    );
    check(
        &["user=bob:nosuch"],
        &["true"],
        "unable to find group nosuch: no matching entries in group file",
    );
}

#[test]
fn xenv_18_foreign_programs() {
    for person in persons() {
        let place = Place::new(person);
        let base = place.make_layer();
        let write = |name: &str, content: &[u8]| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(base.join(name), content).unwrap();
            std::fs::set_permissions(base.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        };
        let mut foreign = std::fs::read(base.join("bin/busybox")).unwrap();
        foreign.truncate(4096);
        foreign[18] = 0xf3; // the machine of the ELF header: RISC-V
        write("foreign", &foreign);
        write("script", b"#!/no/such/shell\n");
        let said = place.run(&["net=none"], &["/foreign"]);
        assert!(said.err.contains("cannot execute `/foreign`: exec format error"), "{said:?}");
        let said = place.run(&["net=none"], &["/script"]);
        assert!(said.err.contains("the interpreter of `/script` is not in the"), "{said:?}");
    }
}

#[test]
fn a6_hostile_accounts_end_at_once() {
    for person in persons() {
        let place = Place::new(person);
        let base = place.make_layer();
        std::fs::remove_file(base.join("etc/passwd")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            base.join("etc/passwd"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .unwrap();
        let said = place.run(&["net=none", "user=bob"], &["true"]);
        assert!(said.err.contains("not a regular file"), "{said:?}");
    }
}

#[test]
fn mount_errors() {
    check(
        &["tmpfs=/proc/x"],
        &["true"],
        "mount at `/proc/x`: nothing can be mounted on /proc and /sys",
    );
    check(&["tmpfs=/a/../sys"], &["true"], "mount at `/a/../sys`: nothing can be mounted");
    check(&["tmpfs=/dev"], &["true"], "mount at `/dev`: /dev is made by the engine");
    check(&["bind=/x:nosuch"], &["true"], "mount at `/x`: \"nosuch\": not found");
    check(
        &["tmpfs=/etc/passwd"],
        &["true"],
        "mount at `/etc/passwd`: a file is there or on the way",
    );
    check(&["workdir=/etc/passwd"], &["true"], "working directory `/etc/passwd`");
}

#[test]
fn exit_statuses() {
    for person in persons() {
        let place = Place::new(person);
        assert_eq!(place.sh(&["net=none"], "exit 3").code, Some(3));
        assert_eq!(place.sh(&["net=none"], "sh -c 'kill -9 $$; :'; exit $?").code, Some(137));
    }
}
