//! What a step sees and may: the "shale target" column of the security specification, section 2.

use crate::harness::{Person, Place, persons, root_for};

const BASIC: &str = r#"
echo pid $$
id
hostname
umask
pwd
env | sort
grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status | tr '\t' ' '
sh -c 'ls /proc/self/fd' | tr '\n' ' '; echo
readlink /proc/self/fd/0
(: < /dev/tty) 2>&1 | sed 's/.*: //'
ulimit -c
cat /etc/hosts | tr '\t' ' '
test $(ls /proc | grep -cE '^[0-9]+$') -le 5 && echo few processes
cat /proc/self/oom_score_adj
"#;

fn facts(person: Person) -> String {
    let said = Place::new(person).sh(&["net=none"], BASIC);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    said.out
}

#[test]
fn one_table_for_everybody() {
    let want = "\
pid 1
uid=0(root) gid=0(root) groups=0(root)
buildkitsandbox
0022
/
HOME=/root
PATH=/usr/local/bin:/bin
PWD=/
SHLVL=1
Groups: 0 
CapInh: 0000000000000000
CapPrm: 00000000a80425fb
CapEff: 00000000a80425fb
CapBnd: 00000000a80425fb
CapAmb: 0000000000000000
NoNewPrivs: 0
Seccomp: 2
0 1 2 3 
/dev/null
No such device or address
0
127.0.0.1 localhost buildkitsandbox
::1 localhost ip6-localhost ip6-loopback
10.9.8.7 extra
few processes
500
";
    for person in persons() {
        assert_eq!(facts(person), want, "{person:?}");
    }
}

#[test]
fn d5_d6_another_user() {
    for person in persons() {
        let place = Place::new(person);
        let script =
            "id; grep -E '^Cap(Prm|Eff|Bnd)|^Groups' /proc/self/status | tr '\\t' ' '; echo $HOME";
        let check = |user: &str, want: &str| {
            let said = place.sh(&["net=none", &format!("user={user}")], script);
            let want = want.replace(
                "CAPS",
                "CapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 00000000a80425fb",
            );
            assert_eq!(said.out, want, "{person:?} {user} {}", said.err);
        };
        check(
            "bob",
            "uid=1234(bob) gid=1234(bob) groups=77(extra),1234(bob)\nGroups: 77 1234 \nCAPS\n/home/bob\n",
        );
        check(
            "bob:77",
            "uid=1234(bob) gid=77(extra) groups=77(extra)\nGroups: 77 \nCAPS\n/home/bob\n",
        );
        check("4321", "uid=4321 gid=0(root) groups=0(root)\nGroups: 0 \nCAPS\n/\n");
    }
}

#[test]
fn mounts_are_ours_and_nothing_else() {
    let script = "cut -d' ' -f4-6 /proc/self/mountinfo | sort -k2";
    for person in persons() {
        let said = Place::new(person).sh(&["net=none"], script);
        let mut points = Vec::new();
        for line in said.out.lines() {
            let mut words = line.split(' ');
            let (_, point, options) =
                (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            let has = |option: &str| options.split(',').any(|o| o == option);
            points.push(point.to_owned());
            match point {
                "/" => assert!(has("nodev") && has("rw") && !has("nosuid"), "{line}"),
                "/dev/pts" => assert!(has("nosuid") && has("noexec"), "{line}"),
                "/dev" | "/proc" | "/dev/shm" | "/dev/mqueue" => {
                    assert!(has("nosuid") && has("nodev") && has("noexec"), "{line}");
                }
                _ if point.starts_with("/dev/") => assert!(has("nosuid"), "{line}"),
                _ => assert!(has("ro") && has("nosuid") && has("nodev") && has("noexec"), "{line}"),
            }
        }
        for point in ["/proc/sys", "/proc/keys", "/proc/kallsyms", "/sys", "/etc/hosts"] {
            assert!(points.iter().any(|p| p == point), "{point} of {points:?}");
        }
        let known = |p: &String| {
            let roots = ["/", "/etc/hosts", "/etc/resolv.conf"];
            roots.contains(&p.as_str())
                || ["/proc", "/sys", "/dev"].iter().any(|root| p.starts_with(root))
        };
        assert!(points.iter().all(known), "{points:?}");
    }
}

#[test]
fn d13_d16_hidden_and_protected() {
    let script = r#"
for f in kcore keys kallsyms config.gz key-users slabinfo vmallocinfo pagetypeinfo \
    timer_list interrupts
do test ! -e /proc/$f || test ! -s /proc/$f || { wc -c < /proc/$f | grep -qx 0 || echo "/proc/$f"; }; done
for d in /proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap /sys/fs/cgroup
do test ! -d $d || ls -A $d; done
for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/mm/ksm/run /sys/fs/cgroup/x
do (echo x > $f) 2>/dev/null && echo "wrote $f"; done
true"#;
    for net in ["net=none", "net=host"] {
        for person in persons() {
            let said = Place::new(person).sh(&[net], script);
            assert_eq!((said.out.as_str(), said.code), ("", Some(0)), "{person:?} {net} {said:?}");
        }
    }
}

#[test]
fn d8_d9_refused_calls() {
    let script = "unshare -U true; unshare -m true; mount -t tmpfs t /tmp; umount /proc; \
                  hostname x; chroot / true && echo chroot works; swapoff -a; \
                  mknod /tmp/sda b 8 0 && cat /tmp/sda; mknod /tmp/null c 1 3; cat /tmp/null";
    for person in persons() {
        let said = Place::new(person).sh(&["net=none"], script);
        assert_eq!(said.out, "chroot works\n", "{person:?} {said:?}");
        for call in [
            "unshare: unshare(0x10000000)",
            "unshare: unshare(0x20000)",
            "mount:",
            "umount:",
            "hostname:",
        ] {
            let line = said.err.lines().find(|line| line.contains(call));
            let line = line.unwrap_or_else(|| panic!("{call}: {}", said.err));
            assert!(line.contains("not permitted") || line.contains("permission denied"), "{line}");
        }
        // A node can be made by real root and is dead.
        assert!(said.err.contains("/tmp/sda") && said.err.contains("/tmp/null"), "{}", said.err);
    }
}

#[test]
fn d1_descriptors_of_the_caller_stay_outside() {
    for person in persons() {
        let place = Place::new(person);
        place.make_layer();
        let command = place.command(&["net=none"], &["/bin/sh", "-c", "ls /proc/self/fd | wc -l"]);
        let line = format!("{command:?}");
        for closed in ["", " <&-", " <&- 2>&-"] {
            let script = format!("exec 17</ 18</etc/passwd 40</dev/null; {line}{closed}");
            let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "4\n", "{person:?} {closed}"); // and ls's own
        }
    }
}

#[test]
fn d2_the_engine_cannot_be_written() {
    let script = "printf '#!/proc/self/exe\\n' > /evil; chmod +x /evil; \
                  /evil >/dev/null 2>&1; \
                  for f in /proc/[0-9]*/exe; do \
                  (: >> $f) 2>/dev/null && echo wrote $(readlink $f); \
                  readlink $f; done | sort -u";
    for person in persons() {
        let said = Place::new(person).sh(&["net=none"], script);
        // Whatever may be opened for writing is the step's own.
        assert!(said.out.lines().all(|line| line.contains("/bin/busybox")), "{said:?}");
    }
}

#[test]
fn d3_images_with_links_for_our_directories() {
    for person in persons() {
        for (name, target) in
            [("dev", "/"), ("dev", "/etc"), ("proc", "../../../tmp"), ("sys", "none")]
        {
            let place = Place::new(person);
            let base = place.make_layer();
            let _ = std::fs::remove_dir(base.join(name));
            std::os::unix::fs::symlink(target, base.join(name)).unwrap();
            let said = place.sh(&["net=none"], "true");
            assert_eq!(said.code, Some(200), "{said:?}");
            assert!(said.err.contains(&format!("mount at `/{name}`")), "{said:?}");
        }
    }
}

#[test]
fn b7_nodes_that_a_step_makes_are_dead_everywhere() {
    // Twins of /dev/null, so that one that lives is seen and does no harm.
    let script = "for dir in / /tmp /dev /dev/shm /dev/mqueue /dev/pts; do \
                  mknod -m 666 $dir/twin c 1 3 2>/dev/null && (: < $dir/twin) 2>/dev/null \
                  && echo $dir; done; \
                  for node in null zero full random urandom; do (: < /dev/$node) || echo no $node; done";
    for person in persons() {
        let said = Place::new(person).sh(&["net=none"], script);
        assert_eq!((said.out.as_str(), said.code), ("", Some(0)), "{person:?} {said:?}");
    }
    if root_for("b7_nodes_that_a_step_makes_are_dead_everywhere") {
        // The check itself: where nodes are meant to live, it finds them.
        let said = Place::new(Person::Me).sh(&["net=none", "insecure=1"], script);
        assert!(said.out.contains("/dev\n"), "{said:?}");
    }
}

#[test]
fn insecure_is_what_it_says() {
    if !root_for("insecure_is_what_it_says") {
        return; // the namespace of an ordinary user has less to give; nothing is asserted about it
    }
    let script = "grep -E '^(CapEff|Seccomp:)' /proc/self/status | tr '\\t' ' '; \
                  mount -t tmpfs t /tmp && echo mounted; test -e /dev/net/tun || ls /dev | grep -c .";
    let said = Place::new(Person::Me).sh(&["net=none", "insecure=1"], script);
    assert!(said.out.contains("Seccomp: 0\nmounted\n"), "{said:?}");
    assert!(!said.out.contains("a80425fb"), "{said:?}");
}
