//! The end of steps: output to the last byte, signals, and that nothing survives a kill (security.md D17).

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Person, Place, am_root, eventually, persons, processes_with};

#[test]
fn no_output_is_lost() {
    for person in persons() {
        let place = Place::new(person);
        let said = place.sh(&["net=none"], "seq 1 200000; seq 1 1000 >&2");
        assert_eq!(said.out.lines().count(), 200_000, "{person:?}");
        assert_eq!(said.err.lines().count(), 1000);
        let said = place.sh(&["net=none"], "(sleep 1000; echo late) & echo early");
        assert_eq!(said.out, "early\n", "what is left in the background ends with the command");
    }
}

/// A step that will not go by itself, known by a word in its command lines.
fn stubborn(word: &str) -> String {
    format!(
        "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; : {word}; echo; sleep 1000; :' &) ; \
         sh -c ': {word}; sleep 1000; :'"
    )
}

/// Processes of a command: itself and everything below it.
fn family(of: u32) -> Vec<u32> {
    let mut all = vec![of];
    let mut at = 0;
    while at < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[at]);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        at += 1;
    }
    all
}

fn mounts() -> BTreeSet<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(str::to_owned).collect()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

#[test]
fn d17_nothing_survives_a_kill() {
    let before = mounts();
    let net = if am_root() { "net=default" } else { "net=none" };
    for person in persons() {
        let place = Place::new(person);
        place.make_layer();
        let net = if person == Person::Me { net } else { "net=none" };
        for (round, stopped) in [false, true].into_iter().cycle().take(12).enumerate() {
            let word = format!("word-{}-{round}-{person:?}", std::process::id());
            let mut child = place.start(&[net], &stubborn(&word));
            let all = family(child.id());
            assert!(all.len() >= 6, "{all:?}");
            // Each of ours in turn; the processes of the step itself come after them.
            let victim = all[round / 2 % 5];
            if stopped {
                for pid in &all {
                    if *pid != victim {
                        signal(*pid, rustix::process::Signal::STOP);
                    }
                }
            }
            signal(victim, rustix::process::Signal::KILL);
            if stopped {
                // What is only told by end-of-file needs somebody who can read it.
                for pid in &all[..2] {
                    signal(*pid, rustix::process::Signal::CONT);
                }
            }
            eventually(Duration::from_secs(5), &format!("{person:?} {round} {stopped}"), || {
                processes_with(&word).is_empty()
            });
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    assert_eq!(mounts(), before, "the machine's mount table is as before");
}

#[test]
fn signals_end_a_step() {
    for person in persons() {
        let place = Place::new(person);
        place.make_layer();
        let word = format!("signal-{}-{person:?}", std::process::id());
        // No handler: at once. A handler: it gets its time.
        let plain = format!(": {word}; echo; sleep 1000; :");
        let handled =
            format!("trap 'sleep 0.2; exit 7' TERM; : {word}; echo; while :; do sleep 0.1; done");
        for script in [&plain, &handled] {
            let mut child = place.start(&["net=none"], script);
            let begin = Instant::now();
            let ours = match person {
                Person::Me => child.id(),
                Person::Other => family(child.id())[1], // below runuser
            };
            signal(ours, rustix::process::Signal::INT);
            let status = child.wait().unwrap();
            assert_eq!(status.code(), Some(200), "{script}");
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?} {script}", begin.elapsed());
            assert!(processes_with(&word).is_empty());
        }
        // Deaf: until the second one.
        let mut child = place.start(&["net=none"], &stubborn(&word));
        let begin = Instant::now();
        let ours = match person {
            Person::Me => child.id(),
            Person::Other => family(child.id())[1],
        };
        signal(ours, rustix::process::Signal::INT);
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().unwrap().is_none());
        signal(ours, rustix::process::Signal::INT);
        assert_eq!(child.wait().unwrap().code(), Some(200));
        assert!(begin.elapsed() < Duration::from_secs(8));
    }
}

#[test]
fn a_step_with_our_descriptors() {
    for person in persons() {
        let place = Place::new(person);
        place.make_layer();
        let mut command = place.command(&["net=none", "tty=1"], &["/bin/sh", "-c", "cat; exit 4"]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.process_group(0).spawn().unwrap();
        use std::io::Write;
        child.stdin.take().unwrap().write_all(b"through").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"through");
        assert_eq!(output.status.code(), Some(4));
    }
}

#[test]
fn a_terminal_is_the_steps_and_comes_back() {
    // script(1) gives us one.
    let place = Place::new(Person::Me);
    place.make_layer();
    let inner = place.command(
        &["net=none", "tty=1"],
        &["/bin/sh", "-ic", "test -t 0 && echo a terminal; stty size >/dev/null && echo ours"],
    );
    let inner = format!("{inner:?}; echo after; stty -a >/dev/null && echo back");
    let output = Command::new("script").args(["-qec", &inner, "/dev/null"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(text.contains("a terminal\nours\nafter\nback\n"), "{text:?}");
}

#[test]
fn a_memory_limit_is_felt() {
    if !am_root() {
        return; // groups are root's to make here
    }
    let place = Place::new(Person::Me);
    let script = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    let said = place.sh(&["net=none", "memory=50000000"], script);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert_eq!(place.sh(&["net=none"], script).code, Some(0));
}
