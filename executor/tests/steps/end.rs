//! The end of steps: output to the last byte, signals, and that nothing survives a kill (security.md D17).

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Person, Place, eventually, persons, processes_with, root_for};

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

/// Mounts of the machine that have to do with a place.
fn mounts_of(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let root = place.root().display().to_string();
    text.lines().filter(|line| line.contains(&root)).map(str::to_owned).collect()
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let _ = rustix::process::kill_process(pid, signal);
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

#[test]
fn d17_nothing_survives_a_kill() {
    for person in persons() {
        let place = Place::new(person);
        place.make_layer();
        let first = match person {
            Person::Me => 0,
            Person::Other => 1, // runuser is before ours
        };
        // The first process, engine, launcher, init, command; with the others stopped and without.
        for victim in 0..5 {
            kill_one(&place, "net=none", first + victim, false);
            kill_one(&place, "net=none", first + victim, true);
        }
        // Helpers of networks go as well.
        for victim in 0..3 {
            kill_one(&place, "net=default", first + victim, false);
        }
        assert_eq!(mounts_of(&place), Vec::<String>::new());
    }
}

fn kill_one(place: &Place, net: &str, victim: usize, stopped: bool) {
    let word = format!("word-{}-{net}-{victim}-{stopped}", std::process::id());
    let mut child = place.start(&[net], &stubborn(&word));
    let all = family(child.id());
    assert!(all.len() >= 6, "{all:?}");
    assert_eq!(mounts_of(place), Vec::<String>::new(), "what is mounted is mounted elsewhere");
    let victim_pid = all[victim];
    let stop = all.iter().filter(|pid| stopped && **pid != victim_pid && **pid != child.id());
    for pid in stop.clone() {
        signal(*pid, rustix::process::Signal::STOP);
    }
    signal(victim_pid, rustix::process::Signal::KILL);
    // Death comes from above even to those that are stopped; from below it is told to who can read it.
    let below: Vec<u32> = all[victim..].to_vec();
    eventually(Duration::from_secs(5), &format!("{net} {victim} {stopped} {all:?}"), || {
        below.iter().all(|pid| !is_alive(*pid)) && (stopped || processes_with(&word).is_empty())
    });
    // runuser stops with what it runs.
    for pid in stop.chain([&child.id()]) {
        signal(*pid, rustix::process::Signal::CONT);
    }
    let _ = child.wait();
    eventually(Duration::from_secs(5), &format!("{all:?}"), || {
        all.iter().all(|pid| !is_alive(*pid)) && processes_with(&word).is_empty()
    });
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
        // One that takes its time: until the second one.
        let slow = format!("trap : TERM; : {word}; echo; while :; do sleep 1; done");
        let mut child = place.start(&["net=none"], &slow);
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
        &["/bin/sh", "-ic", "test -t 0 && echo a terminal; echo ours > /dev/tty"],
    );
    let inner = format!("{inner:?}; echo after; stty -a >/dev/null && echo back");
    let output = Command::new("script").args(["-qec", &inner, "/dev/null"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(text.contains("a terminal\nours\nafter\nback\n"), "{text:?}");
}

#[test]
fn a_memory_limit_is_felt() {
    if !root_for("a_memory_limit_is_felt") {
        return; // groups are root's to make here
    }
    let place = Place::new(Person::Me);
    let script = "dd if=/dev/zero of=/dev/null bs=200M count=1";
    let said = place.sh(&["net=none", "memory=50000000"], script);
    assert_ne!(said.code, Some(0), "{said:?}");
    assert_eq!(place.sh(&["net=none"], script).code, Some(0));
}
